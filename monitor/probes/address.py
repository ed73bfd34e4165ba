"""Which addresses a probe may connect to. Pure: judges addresses after resolution, not names.

Private networks are allowed, because reaching them is what a sidecar is for. What no deployment
lives at by accident (loopback, link-local, cloud metadata, multicast, unspecified) is denied
unless a CIDR of the configuration allows it. IPv6 forms that carry an IPv4 address are judged by
both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_METADATA = "cloud metadata"
_DENIED: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(cidr), kind)
    for cidr, kind in (
        ("169.254.169.254/32", _METADATA),
        ("168.63.129.16/32", _METADATA),
        ("100.100.100.200/32", _METADATA),
        ("fd00:ec2::254/128", _METADATA),
        ("fd20:ce::254/128", _METADATA),
        ("127.0.0.0/8", "loopback"),
        ("::1/128", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("fe80::/10", "link-local"),
        ("224.0.0.0/4", "multicast"),
        ("ff00::/8", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("0.0.0.0/8", "unspecified"),
        ("::/128", "unspecified"),
    )
)
_EMBEDDING = tuple(IPv6Network(cidr) for cidr in ("::/96", "64:ff9b::/96"))
"""IPv4-compatible and NAT64 addresses: the last 32 bits are an IPv4 address."""
_REMEMBERED = 1024


class AddressPolicy:
    """Decides about resolved addresses; immutable."""

    def __init__(self, allowed_networks: Sequence[str] = ()) -> None:
        """`allowed_networks` are CIDRs that are excepted from the denial.

        Raises:
            ValueError: when one of them is not a CIDR.
        """
        self._allowed = tuple(ip_network(cidr) for cidr in allowed_networks)
        # A probe asks about the same few addresses again and again.
        self.denial: Callable[[str], str | None] = lru_cache(_REMEMBERED)(self._denial)
        """Takes an address, returns why it is denied (`loopback`), or None when it may be used."""

    def _denial(self, address: str) -> str | None:
        try:
            forms = _forms(ip_address(address))
        except ValueError:
            return "not an IP address"
        if any(form in network for form in forms for network in self._allowed):
            return None
        kinds = (kind for network, kind in _DENIED for form in forms if form in network)
        return next(kinds, None)


def _forms(address: Address) -> tuple[Address, ...]:
    """Return the address with the IPv4 addresses that it stands for."""
    if isinstance(address, IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    embedded = [address.sixtofour] if address.sixtofour else []
    if any(address in network for network in _EMBEDDING):
        embedded.append(IPv4Address(int(address) & 0xFFFF_FFFF))
    return (address, *embedded)
