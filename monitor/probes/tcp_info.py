"""What the kernel knows of a connection: when its data came, whatever we were doing then (Linux).

Owns the layout of `struct tcp_info`. Where there is no such thing (another system, a scripted
transport) the answer is None; nobody may depend on it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from dataclasses import dataclass

RESOLUTION_S = 0.008
"""Two ticks of the coarsest usual kernel clock (250 Hz): ages below this cannot be told from 0."""

_SIZE = 104
_FIELDS = struct.Struct("=52xII8xI28xI")
"""Time since data and since an acknowledgement came (ms), smoothed RTT (us), retransmissions."""


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """A connection at one moment. Ages have the resolution of the kernel's tick, 1-4 ms."""

    since_data_s: float
    """Since data came; on a fresh connection since the server accepted it."""
    since_ack_s: float
    """Since any segment came, the one that closes the connection included."""
    rtt_s: float
    """Exact to microseconds; on a fresh connection that of the SYN; 0 when it was not measured."""
    retransmissions: int


def read_tcp_info(transport: asyncio.BaseTransport) -> TcpInfo | None:
    """Return what the kernel knows about the connection of `transport`, or None."""
    connection = transport.get_extra_info("socket")
    if sys.platform != "linux" or connection is None:
        return None
    try:
        data = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
        data_ms, ack_ms, rtt_us, retransmissions = _FIELDS.unpack(data)
    except (OSError, struct.error):
        # Not TCP, closed already, or a system that only resembles Linux.
        return None
    return TcpInfo(data_ms / 1000, ack_ms / 1000, rtt_us / 1e6, retransmissions)


def connect_delay_s(transport: asyncio.BaseTransport, connect_s: float) -> float | None:
    """Return for how long the fresh connection of `transport` stood before we noticed.

    `connect_s` is how long connecting took as we saw it. None when nobody knows.
    """
    info = read_tcp_info(transport)
    if info is None:
        return None
    if info.rtt_s and not info.retransmissions:
        return connect_s - info.rtt_s
    return info.since_data_s


def data_delay_s(transport: asyncio.BaseTransport) -> float | None:
    """Return for how long the last data has been here, None when nobody knows."""
    info = read_tcp_info(transport)
    return None if info is None else info.since_data_s


def end_delay_s(transport: asyncio.BaseTransport) -> float | None:
    """Return for how long the connection's end has been here, None when nobody knows."""
    info = read_tcp_info(transport)
    return None if info is None else info.since_ack_s
