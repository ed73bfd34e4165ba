"""Connections: deadlines, caps, and malformed requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from monitor.web.application import build_web
from monitor.web.server import CappedSite, make_runner
from tests.web.world import World

LIVEZ = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
async def site(executor: ThreadPoolExecutor) -> AsyncIterator[CappedSite]:
    app = build_web(World(), token=None, executor=executor)
    runner = make_runner(app, head_deadline_s=0.2)
    await runner.setup()
    site = CappedSite(runner, "127.0.0.1", 0, max_connections=3)
    await site.start()
    yield site
    await runner.cleanup()


async def ask(site: CappedSite, request: bytes) -> bytes:
    """Send and read to the end, which must come within two seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(request)
    try:
        async with asyncio.timeout(2):
            return await reader.read()
    finally:
        writer.close()


async def test_it_serves_where_it_says(site: CappedSite) -> None:
    """The name is the address, with the port that was taken."""
    assert site.name == f"http://127.0.0.1:{site.port}"
    assert (await ask(site, LIVEZ)).endswith(b"\r\n\r\nok\n")


@pytest.mark.parametrize("head", [b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nX-A: b\r\nX-"])
async def test_a_head_that_does_not_come_is_not_waited_for(site: CappedSite, head: bytes) -> None:
    """Idle or dripping connections are closed at the deadline, with nothing said."""
    assert await ask(site, head) == b""


async def test_an_idle_connection_is_closed_after_an_answer(site: CappedSite) -> None:
    """Keep-alive has an end: `ask` reads until the server closes."""
    assert b"200 OK" in await ask(site, LIVEZ)


async def test_connections_beyond_the_cap_are_closed_at_once(site: CappedSite) -> None:
    """Three are open; the fourth gets nothing, and the others are not disturbed."""
    held = [await asyncio.open_connection("127.0.0.1", site.port) for _ in range(3)]
    first_reader, first_writer = held[0]
    first_writer.write(LIVEZ)
    await first_reader.readuntil(b"ok\n")
    assert await ask(site, LIVEZ) == b""
    held[1][1].write(LIVEZ)
    assert (await held[1][0].readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
    for _, writer in held:
        writer.close()


@pytest.mark.parametrize(
    "request_",
    [
        b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
async def test_a_malformed_request_is_refused_and_not_logged_as_ours(
    site: CappedSite, caplog: pytest.LogCaptureFixture, request_: bytes
) -> None:
    """400 and closed; a scanner fills no log with tracebacks."""
    assert (await ask(site, request_)).startswith(b"HTTP/1.0 400")
    assert caplog.records == []


async def test_a_compressed_body_is_not_unpacked(site: CappedSite) -> None:
    """Without a token it is refused before it is read at all."""
    head = (
        b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n"
        b"Content-Type: application/json\r\nContent-Length: 100000000\r\n\r\n"
    )
    assert (await ask(site, head + b"x" * 1000)).startswith(b"HTTP/1.1 403")


async def test_the_cap_needs_a_runner_that_is_set_up(executor: ThreadPoolExecutor) -> None:
    """The order of the two steps is checked."""
    runner = make_runner(build_web(World(), token=None, executor=executor))
    with pytest.raises(RuntimeError, match="setup"):
        CappedSite(runner, "127.0.0.1", 0)
