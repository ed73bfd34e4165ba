"""What the kernel tells of a connection, against real connections of this machine."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from monitor.probes.tcp_info import (
    RESOLUTION_S,
    connect_delay_s,
    data_delay_s,
    end_delay_s,
    read_tcp_info,
)
from tests.probes.raw_server import replies, response, serve

Run = Callable[..., Any]
WAITED_S = 0.1


class Client(asyncio.Protocol):
    """Looks at its connection before anything else happens, after a pause of the whole loop."""

    def __init__(self) -> None:
        self.seen: dict[str, float | None] = {}
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        time.sleep(WAITED_S)
        self.seen["connect"] = connect_delay_s(transport, WAITED_S)
        transport.write(b"GET / HTTP/1.1\r\n\r\n")  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        time.sleep(WAITED_S)
        self.seen["data"] = data_delay_s(self.transport)

    def eof_received(self) -> None:
        self.seen["end"] = end_delay_s(self.transport)
        self.over.set_result(None)


def test_what_waited_in_the_kernel_is_known(run: Run) -> None:
    """Connection, data and end of the stream: each age is right to the kernel's tick."""

    async def story() -> dict[str, float | None]:
        async with serve(replies(response())) as port:
            loop = asyncio.get_running_loop()
            transport, client = await loop.create_connection(Client, "127.0.0.1", port)
            await client.over
            transport.abort()
            return client.seen

    seen = run(story())
    assert seen["connect"] == pytest.approx(WAITED_S, abs=RESOLUTION_S)
    assert seen["data"] == pytest.approx(WAITED_S, abs=RESOLUTION_S + 0.01)
    assert seen["end"] is not None


class Bare(asyncio.Transport):
    """A transport with this socket."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._extra.get(name, default)  # type: ignore[attr-defined]


def test_where_nobody_knows_the_answer_is_none() -> None:
    """A scripted transport, a closed connection and what is not TCP have no such account."""
    pair = socket.socketpair()
    with pair[0], pair[1], socket.socket() as closed:
        closed.close()
        for connection in (None, pair[0], closed):
            transport = Bare({"socket": connection})
            assert read_tcp_info(transport) is None
            assert connect_delay_s(transport, 1.0) is None
            assert data_delay_s(transport) is None
            assert end_delay_s(transport) is None
