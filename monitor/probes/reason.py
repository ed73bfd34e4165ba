"""The closed set of reasons why a probe was not GOOD, and what each says about the target.

Safe as a metric label. Knows no probe kind and no library's exceptions.
"""

from __future__ import annotations

from enum import StrEnum

from monitor.model import Outcome


class Reason(StrEnum):
    """Why a probe was not GOOD."""

    DNS = "dns"
    """The name does not exist."""
    RESOLVER = "resolver"
    """The name could not be looked up: our resolver's failure until proven otherwise."""
    ADDRESS_DENIED = "address_denied"
    """The name leads to an address that probes may not connect to; nothing was sent. See
    `allowed_networks`."""
    CONNECT_REFUSED = "connect_refused"
    """The host answered that nobody listens on that port."""
    CONNECT_TIMEOUT = "connect_timeout"
    """Nothing came back to the attempt to connect."""
    CONNECT_UNREACHABLE = "connect_unreachable"
    """There is no route to the address."""
    TLS_PROTOCOL = "tls_protocol"
    """The other end does not speak TLS, or not in a way that both understand."""
    TLS_TIMEOUT = "tls_timeout"
    """Connected, but the handshake was not complete in time."""
    TLS_EXPIRED = "tls_expired"
    """The certificate, or one that it rests on, has expired or is not valid yet."""
    TLS_NAME = "tls_name"
    """The certificate is for other names."""
    TLS_UNTRUSTED = "tls_untrusted"
    """No authority that is trusted vouches for the certificate."""
    STARTTLS = "starttls"
    """The server did not agree, in the clear, to go on with TLS."""
    NOT_REFUSED = "not_refused"
    """What had to be refused was accepted."""
    RESET = "reset"
    """The connection was cut before the answer was complete."""
    TIMEOUT_HEADERS = "timeout_headers"
    """Connected, but the headers were not complete in time."""
    TIMEOUT_BODY = "timeout_body"
    """The headers came in time, the rest did not."""
    TIMEOUT = "timeout"
    """No whole answer came in time, where the kind has no more exact reason."""
    PROTOCOL = "protocol"
    """What came is not what the protocol allows."""
    TRUNCATED = "truncated"
    """The connection was closed before the answer was complete."""
    TOO_LARGE_HEADERS = "too_large_headers"
    """More headers or framing than anybody needs: 64 KiB or 200 headers."""
    REDIRECTS = "redirects"
    """More than 5 redirects."""
    REDIRECT_SCHEME = "redirect_scheme"
    """A redirect to something that is not HTTP."""
    REDIRECT_INVALID = "redirect_invalid"
    """A redirect to an address that is none, or that carries a password."""
    STATUS = "status"
    """The answer says so itself: an HTTP, gRPC or health status, a DNS response code."""
    BODY = "body"
    """What the answer holds is not what was expected."""
    LOSS = "loss"
    """Too many echo requests stayed without a reply."""
    JSON = "json"
    """The answer is not JSON, or not what was expected in it."""
    SLOW = "slow"
    """A whole answer came, but later than `max_latency` allows."""
    CAPTURE = "capture"
    """The answer lacks what a later step needs, or holds what cannot be used."""
    UNHEALTHY = "unhealthy"
    """The target says so of itself (also `degraded`, where that counts as bad)."""
    STALE = "stale"
    """What the target says of itself is too old."""
    FAILED = "failed"
    """A program or a job ended and said that it failed."""
    LATE = "late"
    """A job did not report in time, or did not end in time."""
    EXPIRING = "expiring"
    """A date is nearer than the notice that was asked for."""
    EXPIRED = "expired"
    """A date has passed."""
    HEADER = "header"
    """A header of the answer is missing or is not what was expected."""
    VERSION = "version"
    """Another version answers than the one that was expected."""
    CEL = "cel"
    """The expression on the answer does not hold, or cannot be evaluated on this answer."""
    AUTH = "auth"
    """The identity provider gave us no token; the target was not asked."""
    PROXY = "proxy"
    """The proxy on the way did not do its part; what the target would say is not known."""
    BLIND = "blind"
    """Nothing answered anywhere, so our own network is to blame; known afterwards only."""
    STALLED = "stalled"
    """Our own event loop stood still for too much of the run to judge it."""
    WAITING = "waiting"
    """Nothing was reported yet, and it is too early to blame anybody for it."""
    OVERLOAD = "overload"
    """Too many probes were under way already; this one was not begun."""
    HOST_BUSY = "host_busy"
    """Too many probes of this host were under way already; this one was not begun."""
    LOCAL_RESOURCE = "local_resource"
    """We ran out of descriptors, ports, buffers or memory."""
    PROBER_ERROR = "prober_error"
    """The probe itself failed."""

    @property
    def outcome(self) -> Outcome:
        """UNKNOWN when the reason is ours, BAD when it is the target's."""
        return Outcome.UNKNOWN if self in _OURS else Outcome.BAD

    @property
    def is_timeout(self) -> bool:
        """Whether the target was still being waited for, so that its latency is censored."""
        return self in _TIMEOUTS

    @property
    def is_answer(self) -> bool:
        """Whether a whole answer came and was judged, so that its latency counts."""
        return self in _ANSWERS


_OURS = frozenset(
    {
        Reason.RESOLVER,
        Reason.AUTH,
        Reason.PROXY,
        Reason.BLIND,
        Reason.STALLED,
        Reason.OVERLOAD,
        Reason.HOST_BUSY,
        Reason.LOCAL_RESOURCE,
        Reason.PROBER_ERROR,
        Reason.WAITING,
    }
)
_TIMEOUTS = frozenset(
    {
        Reason.CONNECT_TIMEOUT,
        Reason.TLS_TIMEOUT,
        Reason.TIMEOUT_HEADERS,
        Reason.TIMEOUT_BODY,
        Reason.TIMEOUT,
    }
)
_ANSWERS = frozenset(
    {
        Reason.STATUS,
        Reason.BODY,
        Reason.JSON,
        Reason.LOSS,
        Reason.SLOW,
        Reason.NOT_REFUSED,
        Reason.CAPTURE,
        Reason.UNHEALTHY,
        Reason.STALE,
        Reason.FAILED,
        Reason.HEADER,
        Reason.VERSION,
        Reason.CEL,
    }
)
