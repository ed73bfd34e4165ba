"""Which network a host is in, as far as its name or address tells. Pure: looks nothing up."""

from __future__ import annotations

import ipaddress

_LABELS = 2
"""The labels of a name that one organisation usually holds; too few only makes us more careful."""
_PREFIX = {4: 16, 6: 48}


def network_of(host: str) -> str:
    """Return a name for the network of `host`, "" for this machine.

    Hosts that may share their way to the world get the same one: what is down together with its
    neighbour proves little about our own network.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        labels = host.rstrip(".").lower().split(".")
        return "" if labels[-1] == "localhost" else ".".join(labels[-_LABELS:])
    if address.is_loopback:
        return ""
    prefix = _PREFIX[address.version]
    return str(ipaddress.ip_network(f"{address}/{prefix}", strict=False))
