"""Sockets for ICMP echo: the seam of `ProbeIO` and its real default on Linux.

Owns the choice of socket and what the kernel wraps around a message. Knows no echo message.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import time
from collections.abc import Callable
from typing import Protocol

PERMISSION_HINT = "widen the sysctl net.ipv4.ping_group_range or grant CAP_NET_RAW"
_RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}
"""IP_RECVERR and IPV6_RECVERR: let the socket hear that a host cannot be reached."""
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")
_NANO = 1e-9
_PACKET_MAX = 65_536
_BATCH = 16
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EPROTONOSUPPORT})

OnMessage = Callable[[bytes, float], None]
"""Takes an ICMP message, and for how many seconds it had been waiting in the kernel."""


class EchoSocket(Protocol):
    """Exchanges ICMP messages with one address."""

    identifier: int | None
    """What the kernel writes into every request; None leaves it to the sender."""

    def send(self, message: bytes) -> None:
        """Send one message; raises OSError when the system refuses."""
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


OpenEcho = Callable[[str, OnMessage, Callable[[OSError], None]], EchoSocket]
"""Takes (address, what to do with a message, with an error of the network).

Raises PermissionError when no kind of socket is allowed, OSError for the rest.
"""


class KernelEchoSocket:
    """An ICMP socket on the running loop, unprivileged where the system allows it."""

    def __init__(
        self, address: str, on_message: OnMessage, on_error: Callable[[OSError], None]
    ) -> None:
        """Connect to `address`, so that only its messages are heard."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._on_message = on_message
        self._on_error = on_error
        self._socket = _open(family)
        try:
            self._socket.settimeout(0)
            level, receive_errors = _RECVERR[family]
            self._socket.setsockopt(level, receive_errors, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._socket.connect((address, 0))
        except OSError:
            self._socket.close()
            raise
        is_raw = self._socket.type == socket.SOCK_RAW
        self._has_ip_header = is_raw and family == socket.AF_INET
        self.identifier: int | None = None if is_raw else self._socket.getsockname()[1]
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._read)

    def send(self, message: bytes) -> None:
        """Send one message; the kernel sees to its checksum where the socket is not raw."""
        self._socket.send(message)

    def close(self) -> None:
        """Stop listening."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        # A raw socket hears every ICMP message of its peer: bounded, so that no flood holds us.
        for _ in range(_BATCH):
            if self._socket.fileno() < 0:
                return
            try:
                packet, extra, _, _ = self._socket.recvmsg(_PACKET_MAX, 64)
            except BlockingIOError:
                return
            except OSError as error:
                self._on_error(error)
                return
            if self._has_ip_header:
                packet = packet[(packet[0] & 15) * 4 :] if packet else b""
            self._on_message(packet, _waited_s(extra))


open_echo: OpenEcho = KernelEchoSocket


def _open(family: socket.AddressFamily) -> socket.socket:
    ipv6 = family == socket.AF_INET6
    protocol = socket.IPPROTO_ICMPV6 if ipv6 else socket.IPPROTO_ICMP
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            return socket.socket(family, kind, protocol)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
    raise PermissionError(errno.EPERM, f"no ICMP socket is allowed: {PERMISSION_HINT}")


def _waited_s(extra: list[tuple[int, int, bytes]]) -> float:
    """Return the age of a message by the kernel's time stamp: a busy loop reads it late."""
    for level, kind, data in extra:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            with contextlib.suppress(struct.error):
                seconds, nanoseconds = _TIMESPEC.unpack_from(data)
                return max(0.0, time.time() - float(seconds) - float(nanoseconds) * _NANO)
    return 0.0
