"""The way to a target: which kind of address first, and by which proxy. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.probes.http.url import Url


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How to reach every hop of a probe."""

    prefer_v6: bool | None = None
    """Which addresses to try first; None leaves the resolver's order."""
    proxy: Url | None = None
    """An HTTP proxy that relays http and tunnels https."""

    def order(self, addresses: Sequence[str]) -> Sequence[str]:
        """Return the addresses as they are to be tried; the others remain as a fallback."""
        if self.prefer_v6 is None:
            return addresses
        return sorted(addresses, key=lambda address: (":" in address) is not self.prefer_v6)


DIRECT = Route()
