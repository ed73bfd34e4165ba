"""How much memory an answer can cost that was made to cost some.

    make bench BENCH=bombs

A server sends a gzip bomb, a body, headers, a trailer and interim answers without an end; a process
for each probes it once with a body check, so that bodies are kept and decoded. The figure is the
growth of that process's highest resident memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from bench.support.figures import Figure, conclude

BAR_MIB = 10.0
LIMIT_S = 30.0
BOMB_MIB = 256
CHUNK = b"all work and no play " * 3000


def endless(first: bytes, again: bytes) -> Iterator[bytes]:
    """Yield `first` and then `again` for ever."""
    yield first
    while True:
        yield again


def gzip_bomb() -> Iterator[bytes]:
    """Yield an answer that decodes to much more than it is."""
    body = gzip.compress(bytes(BOMB_MIB * 1024 * 1024))
    head = f"Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    yield f"HTTP/1.1 200 OK\r\n{head}".encode() + body


def answers(name: str) -> Iterator[bytes]:
    """Yield the parts of the answer called `name`."""
    ok = b"HTTP/1.1 200 OK\r\n"
    chunked = ok + b"Transfer-Encoding: chunked\r\n\r\n"
    scripts = {
        "gzip_bomb": gzip_bomb(),
        "endless_body": endless(ok + b"\r\n", CHUNK),
        "endless_chunks": endless(chunked, b"%x\r\n%b\r\n" % (len(CHUNK), CHUNK)),
        "endless_chunk_extension": endless(chunked + b"5;", b"x" * len(CHUNK)),
        "endless_headers": endless(ok, b"X-Again: and again\r\n" * 1000),
        "endless_header": endless(ok + b"X: ", CHUNK),
        "endless_status_line": endless(b"HTTP/1.1 200 ", CHUNK),
        "endless_trailer": endless(chunked + b"0\r\nX: ", CHUNK),
        "endless_interim": endless(b"", b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" * 1000),
        "well": iter([ok + b"Content-Length: 1\r\n\r\nx"]),
    }
    return scripts[name]


BOMBS = (
    "gzip_bomb",
    "endless_body",
    "endless_chunks",
    "endless_chunk_extension",
    "endless_headers",
    "endless_header",
    "endless_status_line",
    "endless_trailer",
    "endless_interim",
)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send the answer that the path names, until the client has enough."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        for part in answers(head.split()[1].decode().strip("/")):
            writer.write(part)
            await writer.drain()
    writer.transport.abort() if writer.is_closing() else writer.close()


async def measure(names: Sequence[str] = BOMBS) -> dict[str, dict[str, Any]]:
    """Return what each of these bombs did."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    found = {}
    async with server:
        for name in names:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bench.support.prober", f"{base}/well", f"{base}/{name}"),
                stdout=asyncio.subprocess.PIPE,
            )
            try:
                answer, _ = await asyncio.wait_for(process.communicate(), LIMIT_S)
            finally:
                if process.returncode is None:
                    process.kill()
            found[name] = json.loads(answer)
    return found


def main() -> int:
    """Print the growth for each bomb."""
    return conclude(
        [
            Figure(
                name=name,
                value=found["grown_mib"],
                unit="MiB",
                at_most=BAR_MIB,
                note=f"{found['reason'] or 'good'} after {found['took_s']:.2f} s",
            )
            for name, found in asyncio.run(measure()).items()
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
