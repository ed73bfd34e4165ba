"""What a failed probe and the look that followed it say together: which part is to blame. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.model import Cause, Sample

_DNS = frozenset({"dns", "resolver"})
_SLOW = frozenset({"slow", "timeout", "timeout_headers", "timeout_body"})
_UNCONNECTED = frozenset(
    {"connect_timeout", "connect_unreachable", "connect_refused", "tls_timeout"}
)
_BAD_TLS = frozenset({"tls_protocol", "tls_expired", "tls_name", "tls_untrusted"})


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of one step towards one address."""

    address: str
    seconds: float
    failure: str = ""
    """A probe's reason; empty when it worked."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The steps that were made after a failure, in order; a later one needs an earlier one."""

    host: str
    lookup: Tried
    connections: Sequence[Tried] = ()
    """One for each address that was tried."""
    handshake: Tried | None = None
    """With the first address that took a connection, where TLS is spoken at once."""


def judge(sample: Sample, look: Look) -> tuple[Cause, str] | None:
    """Return what to blame for `sample`, and a line for people; None when it may be ourselves."""
    if look.lookup.failure == "dns":
        return Cause.DNS, f"{look.host} cannot be looked up: {look.lookup.detail}"
    if look.lookup.failure or not look.connections:
        # Our own resolver, or an address that we may not connect to.
        return None
    if sample.reason in _DNS:
        found = _list(look.connections)
        return Cause.DNS, f"{look.host} could not be looked up a moment ago, and now is {found}"
    if all(each.failure for each in look.connections):
        return _unconnected(look)
    return _trouble_with_tls(sample, look) or _connected(sample, look)


def _trouble_with_tls(sample: Sample, look: Look) -> tuple[Cause, str] | None:
    trouble = "" if look.handshake is None else look.handshake.detail
    if not trouble and sample.reason in _BAD_TLS:
        trouble = sample.detail
    if not trouble:
        return None
    return Cause.TLS, f"{_reached(look).address} accepts connections, but {trouble}"


def _connected(sample: Sample, look: Look) -> tuple[Cause, str]:
    reached = _reached(look)
    failed = [each for each in look.connections if each.failure]
    is_unconnected = sample.reason in _UNCONNECTED
    if failed and is_unconnected:
        return Cause.ROUTE, (
            f"{len(failed)} of {len(look.connections)} addresses cannot be connected to: "
            f"{_list(failed)}; {reached.address} can"
        )
    how = f"{reached.address} accepts connections in {reached.seconds * 1000:.2g} ms"
    if look.handshake is not None:
        how += f" and TLS in {look.handshake.seconds * 1000:.2g} ms"
    if failed:
        how += f" ({_list(failed)} does not)"
    if sample.reason in _SLOW:
        return Cause.SLOW, f"{how}, but its answers are slow"
    if is_unconnected:
        return Cause.ROUTE, f"{how} now, but did not a moment ago"
    return Cause.APP, f"{how}, so the application itself answers wrongly"


def _reached(look: Look) -> Tried:
    return next(each for each in look.connections if not each.failure)


def _unconnected(look: Look) -> tuple[Cause, str]:
    refused = [each for each in look.connections if each.failure == "connect_refused"]
    if len(refused) == len(look.connections):
        who = _list(refused)
        return Cause.APP, f"{who} refuses connections: the host is there, the service is not"
    return Cause.ROUTE, f"no connection to {_list(look.connections)}: {look.connections[0].detail}"


def _list(tried: Sequence[Tried]) -> str:
    return ", ".join(each.address for each in tried)
