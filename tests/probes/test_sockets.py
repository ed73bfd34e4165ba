"""Plain connections on an epoll of their own, against real servers on loopback."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from monitor.probes.sockets import DirectTransport, Sockets
from tests.probes.raw_server import reset, serve

FDS = Path("/proc/self/fd")
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Heard:
    """A client that notes what it hears; `on_data` may do more."""

    def __init__(self, on_data: Callable[[], None] | None = None) -> None:
        self.events: list[str] = []
        self.data = bytearray()
        loop = asyncio.get_running_loop()
        self.made: asyncio.Future[DirectTransport] = loop.create_future()
        self.over: asyncio.Future[None] = loop.create_future()
        self.error: Exception | None = None
        self._on_data = on_data

    def connection_made(self, transport: Any) -> None:
        self.events.append("made")
        self.made.set_result(transport)

    def connection_failed(self, error: OSError) -> None:
        self.events.append("failed")
        self.error = error
        self.over.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.data += data
        if self._on_data is not None:
            self._on_data()

    def eof_received(self) -> None:
        self.events.append("eof")

    def connection_lost(self, error: Exception | None) -> None:
        self.events.append("lost")
        self.error = error
        if not self.over.done():
            self.over.set_result(None)


def open_sockets() -> int:
    """How many sockets and epolls this process has open."""
    links = (link.readlink() for link in FDS.iterdir() if link.is_symlink())
    return sum("socket:" in str(to) or "eventpoll" in str(to) for to in links)


@pytest.fixture(params=sorted(LOOPS))
def play(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Run a story with sockets on the loop, and see that it leaves no descriptor behind."""

    def run(story: Callable[[Sockets], Coroutine[Any, Any, Any]]) -> Any:
        async def whole() -> Any:
            before = open_sockets()
            sockets = Sockets(time.monotonic)
            try:
                async with asyncio.timeout(20):
                    return await story(sockets)
            finally:
                sockets.close()
                sockets.close()
                # The servers' ends go a turn or two later than ours.
                for _ in range(100):
                    if open_sockets() <= before:
                        break
                    await asyncio.sleep(0.01)
                assert open_sockets() <= before

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(whole())

    return run


def test_a_conversation(play: Callable[..., Any]) -> None:
    """Connected, asked, answered, and told when the other side has finished."""

    async def story(sockets: Sockets) -> tuple[list[str], bytes]:
        async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((await reader.readline()).upper())

        async with serve(shout) as port:
            heard = Heard()
            sockets.open(heard, "127.0.0.1", port)
            (await heard.made).write(b"hello\n")
            await heard.over
        return heard.events, bytes(heard.data)

    assert play(story) == (["made", "eof", "lost"], b"HELLO\n")


def test_more_than_the_kernel_takes_at_once(play: Callable[..., Any]) -> None:
    """A long request goes out in parts and a long answer comes in whole, in order."""
    body = bytes(range(256)) * 20_000

    async def story(sockets: Sockets) -> bytes:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            whole = await reader.readexactly(2 * len(body))
            writer.write(whole)
            await writer.drain()

        async with serve(echo) as port:
            heard = Heard()
            sockets.open(heard, "127.0.0.1", port)
            transport = await heard.made
            transport.write(body)
            transport.write(body)
            await heard.over
        return bytes(heard.data)

    assert play(story) == body * 2


def test_nobody_listens(play: Callable[..., Any]) -> None:
    """A refused connection is heard as such, and nothing follows."""

    async def story(sockets: Sockets) -> tuple[list[str], int | None]:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        heard = Heard()
        sockets.open(heard, "127.0.0.1", port)
        await heard.over
        assert isinstance(heard.error, OSError)
        return heard.events, heard.error.errno

    assert play(story) == (["failed"], errno.ECONNREFUSED)


def test_what_cannot_even_begin_is_raised(play: Callable[..., Any]) -> None:
    """Neither a descriptor nor a client is left waiting."""

    async def story(sockets: Sockets) -> int | None:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        # The lowest free number is beyond the limit: there is no descriptor left.
        with socket.socket() as highest:
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest.fileno(), limits[1]))
            try:
                with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is what counts
                    sockets.open(Heard(), "127.0.0.1", 9)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        return caught.value.errno

    assert play(story) == errno.EMFILE


def test_a_reset_is_an_error_and_an_end_is_none(play: Callable[..., Any]) -> None:
    """What was received before a reset is handed over first."""

    async def story(sockets: Sockets) -> Heard:
        async def cut(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"half")
            await writer.drain()
            await asyncio.sleep(0.05)
            reset(writer)

        async with serve(cut) as port:
            heard = Heard()
            sockets.open(heard, "127.0.0.1", port)
            await heard.over
        return heard

    heard = play(story)
    assert (heard.events, bytes(heard.data)) == (["made", "lost"], b"half")
    assert isinstance(heard.error, ConnectionResetError)


def test_whoever_aborts_hears_nothing_more(play: Callable[..., Any]) -> None:
    """Not even of what lay in the kernel already; a second time changes nothing."""

    async def story(sockets: Sockets) -> tuple[list[str], int, bool]:
        async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(100):
                writer.write(b"x" * 100_000)
                await writer.drain()

        async with serve(talk) as port:
            received = asyncio.Event()

            def enough() -> None:
                transport.abort()
                received.set()

            heard = Heard(enough)
            transport = sockets.open(heard, "127.0.0.1", port)
            await received.wait()
            transport.close()
            transport.write(b"too late")
            await asyncio.sleep(0.02)
            return heard.events, len(heard.data), transport.is_closing()

    events, received, is_closing = play(story)
    assert (events, is_closing) == (["made"], True)
    assert received <= 64 * 1024


def test_a_client_that_fails_harms_no_other(play: Callable[..., Any]) -> None:
    """Its own connection ends with its error; those that are ready with it are served."""

    def stumble() -> None:
        msg = "a bug"
        raise ZeroDivisionError(msg)

    async def story(sockets: Sockets) -> tuple[Heard, Heard]:
        async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hi")

        async with serve(greet) as port:
            bad, good = Heard(stumble), Heard()
            for client in (bad, good):
                sockets.open(client, "127.0.0.1", port)
            # Both are connected and answered before the loop looks again.
            time.sleep(0.05)  # noqa: ASYNC251 - what makes them ready together
            await asyncio.gather(bad.over, good.over)
        return bad, good

    bad, good = play(story)
    assert isinstance(bad.error, ZeroDivisionError)
    assert (good.events, bytes(good.data)) == (["made", "eof", "lost"], b"hi")


def test_those_that_wait_for_others_know_since_when_they_were_ready(
    play: Callable[..., Any],
) -> None:
    """What one client takes is no delay of the next one's."""

    async def story(sockets: Sockets) -> tuple[float, float]:
        async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hi")
            await asyncio.sleep(1)

        served: list[float] = []
        both = asyncio.Event()

        def dawdle() -> None:
            served.append(time.monotonic())
            time.sleep(0.1)
            if len(served) == 2:
                both.set()

        async with serve(greet) as port:
            clients = [Heard(dawdle), Heard(dawdle)]
            opened = [sockets.open(client, "127.0.0.1", port) for client in clients]
            await both.wait()
            ready = [transport.ready_at for transport in opened]
            for transport in opened:
                transport.abort()
            return max(ready) - min(ready), served[1] - served[0]

    apart_s, waited_s = play(story)
    assert waited_s >= 0.1
    assert apart_s <= waited_s


def test_ipv6_with_and_without_a_zone(play: Callable[..., Any]) -> None:
    """Addresses are taken as a resolver writes them."""

    async def story(sockets: Sockets) -> list[list[str]]:
        server = await asyncio.start_server(lambda _r, w: w.close(), "::1", 0)
        port = server.sockets[0].getsockname()[1]
        found = []
        for address in ("::1", "::1%1"):
            heard = Heard()
            sockets.open(heard, address, port)
            await heard.over
            found.append(heard.events)
        server.close()
        return found

    assert play(story) == [["made", "eof", "lost"]] * 2
