"""Scripted raw servers on the loopback interface, and probes that may reach them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import uvloop

from monitor.model import Deployment, Sample, Target
from monitor.probes.base import Connect, Probe, ProbeIO, QuickProbe, Resolve
from monitor.probes.http import HttpProbeConfig
from monitor.probes.sockets import Sockets

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class DirectLoop(uvloop.Loop):
    """A loop on which plain HTTP goes over sockets of our own, as in the daemon."""

    sockets: Sockets | None = None
    has_tasks = False
    """Whether each run gets a task, though it could do without."""

    def close(self) -> None:
        if self.sockets is not None:
            self.sockets.close()
        super().close()


class TaskLoop(DirectLoop):
    """The same for what needs a task, such as a look-up."""

    has_tasks = True


LOOPS = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
    "direct": DirectLoop,
    "direct task": TaskLoop,
}
AT = 1_700_000_000.0


@contextlib.asynccontextmanager
async def serve(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Run `handler` for every connection; yields the port."""
    tasks: list[asyncio.Task[None]] = []
    writers: list[asyncio.StreamWriter] = []

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A probe hangs up when it has seen enough; that is no failure of the script.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await handler(reader, writer)
            writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        tasks.append(asyncio.get_running_loop().create_task(guarded(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)
    assert not [result for result in results if isinstance(result, Exception)]


def replies(*parts: bytes, seen: list[bytes] | None = None) -> Handler:
    """Read one request's head, then send `parts` one by one and close."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(head)
        for part in parts:
            writer.write(part)
            await writer.drain()

    return handler


def response(body: bytes = b"", status: str = "200 OK", *headers: str) -> bytes:
    """A well-formed answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def loop_connect(factory: Any, host: str, port: int) -> Any:
    return await asyncio.get_running_loop().create_connection(factory, host, port)


def direct_sockets() -> Sockets | None:
    """The running loop's own sockets, when one runs that has them."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    if not isinstance(loop, DirectLoop):
        return None
    if loop.sockets is None:
        loop.sockets = Sockets(time.monotonic)
    return loop.sockets


async def no_names(host: str) -> Sequence[str]:
    raise socket.gaierror(socket.EAI_NONAME, f"unexpected look-up of {host}")


def make_io(
    *,
    connect: Connect = loop_connect,
    resolve: Resolve = no_names,
    allowed: Sequence[str] = ("127.0.0.0/8",),
) -> ProbeIO:
    return ProbeIO(
        connect=connect,
        sockets=direct_sockets() if connect is loop_connect else None,
        resolve=resolve,
        allowed_networks=allowed,
        monotonic=time.monotonic,
    )


async def once(probe: Probe, deadline_s: float) -> Sample:
    """Run `probe` as the scheduler does: without a task where that is possible."""
    loop = asyncio.get_running_loop()
    if isinstance(probe, QuickProbe) and not getattr(loop, "has_tasks", False):
        done: asyncio.Future[Sample] = loop.create_future()
        under_way = probe.begin(AT, deadline_s, done.set_result)
        if under_way is not None:
            try:
                return await done
            finally:
                if not done.done() or done.cancelled():
                    under_way.cancel()
    return await probe(AT, deadline_s)


async def run_probe(
    url: str, deadline_s: float = 5.0, io: ProbeIO | None = None, **fields: Any
) -> Sample:
    """Probe `url` once with a configuration that has these YAML fields."""
    config = HttpProbeConfig.model_validate(
        {"kind": "http", **fields},
        by_name=False,
        context={"secrets": lambda how, name: f"{how}-{name}"},
    )
    deployment = Deployment(name="shop", service="shop", environment="test", url=url)
    target = Target(
        id="shop/home/here",
        deployment="shop",
        environment="test",
        probe="home",
        region="here",
        interval_s=15,
        timeout_s=deadline_s,
    )
    return await once(config.build(target, deployment, url, io or make_io()), deadline_s)
