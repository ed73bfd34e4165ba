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
    CONNECT_REFUSED = "connect_refused"
    CONNECT_TIMEOUT = "connect_timeout"
    CONNECT_UNREACHABLE = "connect_unreachable"
    TLS_PROTOCOL = "tls_protocol"
    TLS_TIMEOUT = "tls_timeout"
    TLS_EXPIRED = "tls_expired"
    TLS_NAME = "tls_name"
    TLS_UNTRUSTED = "tls_untrusted"
    STARTTLS = "starttls"
    """The server did not agree, in the clear, to go on with TLS."""
    NOT_REFUSED = "not_refused"
    """What had to be refused was accepted."""
    RESET = "reset"
    TIMEOUT_HEADERS = "timeout_headers"
    """Connected, but the headers were not complete in time."""
    TIMEOUT_BODY = "timeout_body"
    TIMEOUT = "timeout"
    """No whole answer came in time, where the kind has no more exact reason."""
    PROTOCOL = "protocol"
    TRUNCATED = "truncated"
    TOO_LARGE_HEADERS = "too_large_headers"
    REDIRECTS = "redirects"
    REDIRECT_SCHEME = "redirect_scheme"
    REDIRECT_INVALID = "redirect_invalid"
    STATUS = "status"
    """The answer says so itself: an HTTP, gRPC or health status, a DNS response code."""
    BODY = "body"
    """What the answer holds is not what was expected."""
    LOSS = "loss"
    """Too many echo requests stayed without a reply."""
    JSON = "json"
    SLOW = "slow"
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
