"""How a probe ends early, and the one place where the system's errors become reasons.

Owns the mapping of resolver, socket and TLS errors. Does no I/O and knows no probe kind.
"""

from __future__ import annotations

import errno
import socket
import ssl

from monitor.probes.reason import Reason

_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY})
_SOCKET_REASONS = {
    errno.ECONNREFUSED: Reason.CONNECT_REFUSED,
    errno.ETIMEDOUT: Reason.CONNECT_TIMEOUT,
    errno.EHOSTUNREACH: Reason.CONNECT_UNREACHABLE,
    errno.ENETUNREACH: Reason.CONNECT_UNREACHABLE,
    errno.EHOSTDOWN: Reason.CONNECT_UNREACHABLE,
    errno.ENETDOWN: Reason.CONNECT_UNREACHABLE,
    errno.ECONNRESET: Reason.RESET,
    errno.ECONNABORTED: Reason.RESET,
    errno.EPIPE: Reason.RESET,
    errno.EMFILE: Reason.LOCAL_RESOURCE,
    errno.ENFILE: Reason.LOCAL_RESOURCE,
    errno.ENOBUFS: Reason.LOCAL_RESOURCE,
    errno.ENOMEM: Reason.LOCAL_RESOURCE,
    errno.EADDRNOTAVAIL: Reason.LOCAL_RESOURCE,
    errno.EAGAIN: Reason.LOCAL_RESOURCE,
}
_X509_EXPIRED = 10
_X509_WRONG_NAME = frozenset({62, 64})
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


class ProbeError(Exception):
    """A probe cannot go on; `reason` is a label, `detail` is for people and holds no secret."""

    def __init__(self, reason: Reason, detail: str) -> None:
        """Keep both parts."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def resolve_failure(error: OSError, host: str) -> ProbeError:
    """Return what a failed look-up of `host` means."""
    if isinstance(error, socket.gaierror) and error.errno in _NO_SUCH_NAME:
        return ProbeError(Reason.DNS, f"no address for {host}")
    text = error.strerror or type(error).__name__
    return ProbeError(Reason.RESOLVER, f"cannot look up {host}: {text}")


def connect_failure(error: OSError, address: str, port: int) -> ProbeError:
    """Return what a failed connect to `address` means; an unknown error is ours (UNKNOWN)."""
    reason = _SOCKET_REASONS.get(error.errno or 0, Reason.PROBER_ERROR)
    text = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return ProbeError(reason, f"cannot connect to {address} port {port} ({text})")


def tls_failure(error: OSError, host: str) -> ProbeError:
    """Return what a failed handshake with `host` means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code == _X509_EXPIRED:
            return ProbeError(Reason.TLS_EXPIRED, f"the certificate of {host} has expired")
        if error.verify_code in _X509_WRONG_NAME:
            return ProbeError(Reason.TLS_NAME, f"the certificate is not for {host}")
        text = f"the certificate of {host} is not trusted: {error.verify_message}"
        return ProbeError(Reason.TLS_UNTRUSTED, text)
    if isinstance(error, ssl.SSLError):
        text = f"TLS handshake with {host} failed: {error.reason or 'protocol error'}"
        return ProbeError(Reason.TLS_PROTOCOL, text)
    return lost_failure(error, f"during the TLS handshake with {host}")


def lost_failure(error: OSError, when: str) -> ProbeError:
    """Return what losing an established connection means; `when` ends the sentence."""
    if isinstance(error, ssl.SSLError):
        return ProbeError(Reason.TLS_PROTOCOL, f"TLS failed {when}: {error.reason or 'protocol'}")
    return ProbeError(Reason.RESET, f"connection lost {when} ({type(error).__name__})")


def local_failure(error: OSError, doing: str) -> ProbeError:
    """Return what it means that we could not do something here: it says nothing of the target."""
    known = _SOCKET_REASONS.get(error.errno or 0)
    reason = known if known is Reason.LOCAL_RESOURCE else Reason.PROBER_ERROR
    return ProbeError(reason, f"cannot {doing}: {error.strerror or type(error).__name__}")
