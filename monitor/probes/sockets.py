"""Plain TCP connections for probes on one epoll of their own (Linux).

A general event loop wraps each connection in a handle, a transport and several turns; for a probe
that opens one, asks one thing and closes it, that is most of the work. Here a connection costs the
system calls that it needs and two callbacks. The epoll itself is one file descriptor of the running
loop. When it tells of several connections at once they are served one after the other, and each
knows since when it could have been served: `DirectTransport.ready_at`.

Owns sockets and their readiness. Knows no protocol, no TLS, no names and no deadline.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import select
import socket
from collections.abc import Callable
from typing import Any, Protocol

log = logging.getLogger(__name__)

_READ_BYTES = 64 * 1024
_NAGLE_BYTES = 1024
"""A request up to this goes out in one segment; of a longer one Nagle would hold back the rest."""
_BROKEN = select.EPOLLERR | select.EPOLLHUP
_ENDED = select.EPOLLRDHUP | _BROKEN
_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_EVENTS_AT_ONCE = 1024


class Client(Protocol):
    """Who uses a connection: `asyncio.Protocol`, which also hears that there will be none."""

    def connection_made(self, transport: asyncio.BaseTransport, /) -> None:
        """The connection stands."""
        ...

    def connection_failed(self, error: OSError, /) -> None:
        """It could not be connected to; nothing follows."""
        ...

    def data_received(self, data: bytes, /) -> None:
        """Something came."""
        ...

    def eof_received(self) -> object:
        """Nothing more will come; the connection is closed."""
        ...

    def connection_lost(self, error: Exception | None, /) -> None:
        """It is over, and not by our own doing."""
        ...


class DirectTransport(asyncio.Transport):
    """One connection; `asyncio.Transport` as far as a client needs it.

    Whoever calls `abort` or `close` knows that it is over: `connection_lost` is not called then.
    """

    __slots__ = ("_client", "_is_connecting", "_outgoing", "_socket", "_sockets", "ready_at")

    def __init__(self, sockets: Sockets, connection: socket.SocketType, client: Client) -> None:
        """`connection` is on its way to be connected."""
        self._sockets = sockets
        self._socket = connection
        self._client: Client | None = client
        self._is_connecting = True
        self._outgoing = b""
        self.ready_at = 0.0
        """When the kernel told of what is being served now, in the seconds of the clock."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the `socket`; nothing else is known."""
        return self._socket if name == "socket" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing to do: what can be sent is sent at once."""

    def is_closing(self) -> bool:
        """Whether the connection is closed."""
        return self._client is None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`, the rest of it as soon as there is room."""
        if self._client is None:
            return
        if len(data) > _NAGLE_BYTES:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._outgoing += data
        if len(self._outgoing) == len(data):
            self._send()

    def abort(self) -> None:
        """Close the connection now; a second time does nothing."""
        if self._client is not None:
            # They hold each other: what a probe used is to go without the garbage collector.
            self._client = None
            self._sockets.forget(self._socket)

    def close(self) -> None:
        """Close the connection now: what has not been sent is not wanted any more."""
        self.abort()

    def serve(self, events: int) -> None:
        """Do what has become possible."""
        client = self._client
        if client is None:
            return
        if self._is_connecting:
            self._is_connecting = False
            number = 0
            if events & _BROKEN:
                number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                self.abort()
                client.connection_failed(OSError(number, os.strerror(number)))
                return
            client.connection_made(self)
        elif events & select.EPOLLOUT and self._outgoing:
            self._send()
        if events & (select.EPOLLIN | _ENDED):
            self._read(client, to_the_end=bool(events & _ENDED))

    def lose(self, error: Exception | None) -> None:
        """Close the connection and say so; a second time does nothing."""
        client = self._client
        if client is not None:
            self.abort()
            client.connection_lost(error)

    def _send(self) -> None:
        try:
            sent = self._socket.send(self._outgoing)
        except BlockingIOError:
            return
        except OSError as error:
            self.lose(error)
            return
        self._outgoing = self._outgoing[sent:]

    def _read(self, client: Client, *, to_the_end: bool) -> None:
        # Edges are told once: read on until there is nothing, or until the client has enough.
        while self._client is not None:
            try:
                data = self._socket.recv(_READ_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                self.lose(error)
                return
            if not data:
                client.eof_received()
                self.lose(None)
                return
            client.data_received(data)
            if len(data) < _READ_BYTES and not to_the_end:
                return


class Sockets:
    """Opens connections on the running loop; one owner, `close` it at the end."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Start to watch; `monotonic` is the clock of `ready_at`."""
        self._monotonic = monotonic
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._open: dict[int, DirectTransport] = {}
        self._loop.add_reader(self._epoll.fileno(), self._serve)

    def open(self, client: Client, address: str, port: int) -> DirectTransport:
        """Begin to connect to an IP address; the client hears how that ends.

        Raises:
            OSError: it cannot even begin.
        """
        connection = _begin(address, port)
        transport = DirectTransport(self, connection, client)
        number = connection.fileno()
        self._open[number] = transport
        self._epoll.register(number, _EVENTS)
        return transport

    def forget(self, connection: socket.SocketType) -> None:
        """Close an open `connection`."""
        number = connection.fileno()
        del self._open[number]
        # Closing alone leaves it there for as long as a child that is being started has a copy.
        self._epoll.unregister(number)
        connection.close()

    def close(self) -> None:
        """Close every connection and stop watching; a second time does nothing."""
        for transport in tuple(self._open.values()):
            transport.abort()
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _serve(self) -> None:
        events = self._epoll.poll(0, _EVENTS_AT_ONCE)
        # All of these could have been served now; those that wait for the others are not late.
        ready_at = self._monotonic()
        for number, what in events:
            transport = self._open.get(number)
            if transport is None:
                continue
            transport.ready_at = ready_at
            try:
                transport.serve(what)
            except Exception as error:
                # The others that are ready will not be told of again.
                log.exception("the client of a connection failed")
                transport.lose(error)


def _begin(address: str, port: int) -> socket.SocketType:
    family: int = socket.AF_INET
    where: Any = (address, port)
    if ":" in address:
        # The kernel wants the zone of an address (fe80::1%eth0) as a number.
        flags = socket.AI_NUMERICHOST
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=flags)
        family, where = socket.AF_INET6, found[0][4]
    # The class below `socket.socket`: what that adds (files, dup, counting) is not wanted here.
    connection = socket.SocketType(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    number = connection.connect_ex(where)
    if number in {0, errno.EINPROGRESS}:
        return connection
    connection.close()
    raise OSError(number, os.strerror(number))
