"""Runs one program to its end, without a shell: bounded output, bounded time, nothing left behind.

Owns the program's process group and its pipes. What an exit code means is the caller's business.
"""

from __future__ import annotations

import asyncio
import asyncio.subprocess
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import IO

from monitor.probes.base import Spawn

LAST_WORDS_S = 0.3
"""How long output may still come after the program's end (something else may hold the pipe)."""
_REAP_S = 0.3
"""How long the system may take to end what was killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended."""

    status: int | None
    """Exit code, negative for a signal; None when it had to be killed at the deadline."""
    stdout: bytes
    """From the beginning."""
    is_cut: bool
    """There was more on stdout than the limit."""
    stderr: bytes
    """From the end."""


async def run_program(
    spawn: Spawn,
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | None,
    limit_s: float,
    stdout_limit: int,
    stderr_limit: int,
) -> Ended:
    """Return how the program ended, at the latest after `limit_s`.

    Raises:
        OSError: it could not be started.
        ValueError: the same, for arguments that no program can be given.
    """
    out, err = _Sink(head=stdout_limit), _Sink(tail=stderr_limit)
    until = asyncio.get_running_loop().time() + limit_s
    async with _pipe(out) as out_end, _pipe(err) as err_end:
        process = await spawn(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out_end,
            stderr=err_end,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
        out_end.close()
        err_end.close()
        try:
            status = await _end_of(process, until)
            last_words = min(until, asyncio.get_running_loop().time() + LAST_WORDS_S)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(last_words):
                    await out.ended.wait()
                    await err.ended.wait()
        finally:
            # Whoever still holds a pipe was left behind; a group that is gone may have its
            # number taken by somebody else, so it is only killed on such evidence.
            if process.returncode is None or not (out.ended.is_set() and err.ended.is_set()):
                await _kill(process)
    return Ended(status=status, stdout=bytes(out.kept), is_cut=out.is_cut, stderr=bytes(err.kept))


async def _end_of(process: asyncio.subprocess.Process, until: float) -> int | None:
    try:
        async with asyncio.timeout_at(until):
            return await process.wait()
    except TimeoutError:
        return None


async def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(_REAP_S):
            await process.wait()


class _Sink(asyncio.Protocol):
    """Reads a pipe to its end, and keeps its beginning or its end."""

    def __init__(self, *, head: int = 0, tail: int = 0) -> None:
        self._head = head
        self._tail = tail
        self.kept = bytearray()
        self.is_cut = False
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        if self._tail:
            self.kept += data
            del self.kept[: -self._tail]
            return
        room = self._head - len(self.kept)
        self.is_cut = self.is_cut or len(data) > room
        self.kept += data[:room]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.ended.set()


@asynccontextmanager
async def _pipe(sink: _Sink) -> AsyncIterator[IO[bytes]]:
    # Not asyncio's own pipe: with that one, `wait` also waits for everybody else who holds it.
    source, end = os.pipe()
    with os.fdopen(end, "wb", 0) as writer:
        reader = os.fdopen(source, "rb", 0)
        try:
            loop = asyncio.get_running_loop()
            transport, _ = await loop.connect_read_pipe(lambda: sink, reader)
        except BaseException:
            reader.close()
            raise
        # From here on the transport closes the reader, in a later turn of the loop: doing so
        # here as well would close a descriptor that uvloop still watches, and it aborts.
        try:
            yield writer
        finally:
            transport.close()
