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
    RESET = "reset"
    TIMEOUT_HEADERS = "timeout_headers"
    """Connected, but the headers were not complete in time."""
    TIMEOUT_BODY = "timeout_body"
    PROTOCOL = "protocol"
    TRUNCATED = "truncated"
    TOO_LARGE_HEADERS = "too_large_headers"
    REDIRECTS = "redirects"
    REDIRECT_SCHEME = "redirect_scheme"
    REDIRECT_INVALID = "redirect_invalid"
    STATUS = "status"
    BODY = "body"
    JSON = "json"
    SLOW = "slow"
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


_OURS = frozenset({Reason.RESOLVER, Reason.LOCAL_RESOURCE, Reason.PROBER_ERROR})
_TIMEOUTS = frozenset(
    {
        Reason.CONNECT_TIMEOUT,
        Reason.TLS_TIMEOUT,
        Reason.TIMEOUT_HEADERS,
        Reason.TIMEOUT_BODY,
    }
)
_ANSWERS = frozenset({Reason.STATUS, Reason.BODY, Reason.JSON, Reason.SLOW})
