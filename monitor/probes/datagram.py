"""UDP as a probe's outside world: the seams of `ProbeIO` with their real defaults.

Owns nothing of what is sent. Reads the machine's name servers only when it is asked to.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

OpenDatagram = Callable[
    [Callable[[], asyncio.DatagramProtocol], str, int],
    Awaitable[tuple[asyncio.DatagramTransport, Any]],
]
"""Takes (factory, address, port); the socket is connected, from a port of the system's choice."""
_RESOLV_CONF = Path("/etc/resolv.conf")


async def open_datagram(
    factory: Callable[[], asyncio.DatagramProtocol], address: str, port: int
) -> tuple[asyncio.DatagramTransport, Any]:
    """Open a UDP socket that hears `address` and `port` only."""
    loop = asyncio.get_running_loop()
    return await loop.create_datagram_endpoint(factory, remote_addr=(address, port))


def system_nameservers(path: Path = _RESOLV_CONF) -> Sequence[str]:
    """Return the addresses behind `nameserver` in resolv.conf(5), in order; none without it."""
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = path.read_text("utf-8", "replace").splitlines()
    words = (line.split() for line in lines)
    return tuple(found[1] for found in words if len(found) > 1 and found[0] == "nameserver")
