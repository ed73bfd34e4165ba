"""A TLS handshake that shows the presented chain before, and whether or not, it is verified.

Owns how the chain is obtained. OpenSSL verifies as always; Python hands out the chain only after
that succeeded, so that of an expired certificate nothing could be said. Python's message
callback (`SSLContext._msg_callback`, there since 3.8) shows the decrypted Certificate message as it
arrives: one handshake tells both, where a second, unverified connection might reach another
server and would double the load. The chain that was verified has a public accessor from 3.13 on;
before that the same one stands below `SSLObject`.
"""

from __future__ import annotations

import ssl
import warnings
from dataclasses import dataclass
from typing import Any, cast

from monitor.probes.failure import ProbeError, tls_failure
from monitor.probes.reason import Reason
from monitor.probes.stream import Stream

VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
_LEGACY = frozenset({"TLSv1", "TLSv1.1"})
_HANDSHAKE, _ALERT, _CERTIFICATE_MESSAGE, _FATAL = 22, 21, 11, 2
_MESSAGE_HEADER = 4
_MAX_CHAIN = 100
"""OpenSSL verifies no deeper chains either."""
_NO_COMPRESSED_CERTIFICATES = 1 << 33
"""SSL_OP_NO_RX_CERTIFICATE_COMPRESSION of OpenSSL 3.2; older ones have no such bit."""


class WitnessedTls(ssl.SSLObject):
    """The client's end of a handshake, with what the server has shown so far."""

    presented: tuple[bytes, ...] = ()
    """DER, the leaf first, as the server sent it; empty before it did."""
    is_refused = False
    """Whether the server answered with a fatal alert."""

    def verified(self) -> tuple[bytes, ...]:
        """Return the chain (DER, leaf first, root last) that a verified handshake rests on."""
        public = getattr(self, "get_verified_chain", None)
        if public is not None:
            return tuple(public())
        held: Any = self._sslobj  # type: ignore[attr-defined]  # see the module's docstring
        chain = held.get_verified_chain() or ()
        return tuple(ssl.PEM_cert_to_DER_cert(item.public_bytes()) for item in chain)


@dataclass(frozen=True, slots=True)
class Witness:
    """Makes a client context show the presented chain; `version` is the only one it then offers."""

    version: str | None = None

    def __call__(self, context: ssl.SSLContext) -> None:
        """Prepare `context`, which is not shared with anything else."""
        context.sslobject_class = WitnessedTls
        context.options |= _NO_COMPRESSED_CERTIFICATES
        context._msg_callback = _observe  # type: ignore[attr-defined]  # noqa: SLF001 - see the module's docstring
        if self.version is None:
            return
        with warnings.catch_warnings():
            # That TLS 1.0 and 1.1 are deprecated is why somebody probes that they are refused.
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = VERSIONS[self.version]
        if self.version in _LEGACY:
            # Or OpenSSL would refuse by itself, and nothing would be learnt about the server.
            context.set_ciphers("DEFAULT:@SECLEVEL=0")


class Handshake:
    """One handshake with a peer that is to be `host`; the stream is of no other use afterwards."""

    __slots__ = ("_host", "_incoming", "_outgoing", "_stream", "tls")

    def __init__(self, stream: Stream, host: str, context: ssl.SSLContext) -> None:
        """`context` was prepared by a `Witness`."""
        self._stream = stream
        self._host = host
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = cast(
            "WitnessedTls",
            context.wrap_bio(self._incoming, self._outgoing, server_hostname=host),
        )
        """What was seen, above all when `run` raised."""

    async def run(self) -> None:
        """Shake hands.

        Raises:
            ProbeError: (tls_*, reset) as the target caused it, or prober_error when our own TLS
                library could not even begin.
        """
        has_begun = False
        while not self._step(has_begun=has_begun):
            has_begun = True
            data = await self._stream.read()
            if not data:
                raise tls_failure(ConnectionResetError(), self._host)
            self._incoming.write(data)

    def _step(self, *, has_begun: bool) -> bool:
        """Go on as far as what has come allows; return whether the handshake is complete."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            if has_begun:
                raise tls_failure(error, self._host) from error
            text = f"our own TLS library refuses: {error.reason or 'protocol error'}"
            raise ProbeError(Reason.PROBER_ERROR, text) from error
        else:
            return True
        finally:
            self._stream.write(self._outgoing.read())


def certificates(message: bytes, *, with_extensions: bool) -> tuple[bytes, ...]:
    """Return the certificates (DER) of a Certificate message without its 4 bytes of header.

    `with_extensions` is TLS 1.3 (RFC 8446, 4.4.2); before, there were none (RFC 5246, 7.4.2). What
    is cut off or malformed ends the list.
    """
    at = 1 + message[0] if with_extensions and message else 0
    at += 3
    found: list[bytes] = []
    while at + 3 <= len(message) and len(found) < _MAX_CHAIN:
        end = at + 3 + int.from_bytes(message[at : at + 3], "big")
        if end > len(message):
            break
        found.append(message[at + 3 : end])
        at = end
        if with_extensions:
            at += 2 + int.from_bytes(message[at : at + 2], "big")
    return tuple(found)


def _observe(  # noqa: PLR0917 - the signature is Python's
    tls: object, direction: str, version: int, content_type: int, message_type: int, data: bytes
) -> None:
    if not isinstance(tls, WitnessedTls) or direction != "read":
        return
    if content_type == _HANDSHAKE and message_type == _CERTIFICATE_MESSAGE:
        is_new = version == ssl.TLSVersion.TLSv1_3
        tls.presented = certificates(data[_MESSAGE_HEADER:], with_extensions=is_new)
    elif content_type == _ALERT and data[:1] == bytes([_FATAL]):
        tls.is_refused = True
