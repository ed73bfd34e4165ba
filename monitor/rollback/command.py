"""A program on this machine, such as the plan's `scripts/rollback.sh VERSION`.

Owns its argument list, its environment (nothing of ours), its output's bounds and its end. There is
no shell. The program leads a process group of its own, which is killed when its time is over.
"""

from __future__ import annotations

import asyncio
import asyncio.subprocess
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import IO, Annotated, Literal

from pydantic import Field, field_validator

from monitor.fields import Duration, Secret
from monitor.model import Deployment, RollbackRequest, RollbackState
from monitor.rollback.base import Hook, HookAnswer, HookConfig, HookIO
from monitor.rollback.template import fill, placeholders, values

OUTPUT_LIMIT = 64 * 2**10
"""Bytes of output that are kept, from the end; the rest is read and dropped."""
SHOWN_LIMIT = 200
LAST_WORDS_S = 0.5
"""How long output may still arrive after the program's end (something else may hold the pipe)."""

_CALL_STATES = {0: RollbackState.SUCCEEDED, os.EX_TEMPFAIL: RollbackState.INTENDED}
_QUERY_STATES = {
    0: RollbackState.SUCCEEDED,
    1: RollbackState.FAILED,
    3: RollbackState.INTENDED,
}

Argv = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]


class CommandHookConfig(HookConfig):
    """Runs a program that rolls back.

    Exit 0: done. 75 (EX_TEMPFAIL): nothing was done, try again. Anything else: failed.
    """

    kind: Literal["command"]
    argv: Argv
    """Program and arguments, with placeholders: `["./scripts/rollback.sh", "{to_revision}"]`."""
    query: Argv | None = None
    """Asked what became of a call that did not end: exit 0 done, 1 failed, 3 it never ran."""
    env: Mapping[str, str | Secret] = Field(default_factory=dict)
    """The program's whole environment (`PATH`, `HOME`, tokens), beside our own `ROLLBACK_*`."""
    cwd: str | None = None
    timeout_s: Duration = 600.0

    @field_validator("argv", "query")
    @classmethod
    def _are_templates(cls, argv: tuple[str, ...] | None) -> tuple[str, ...] | None:
        placeholders(argv or ())
        if argv is not None and (not argv[0] or any("\0" in each for each in argv)):
            msg = "expected a program and its arguments, without NUL characters"
            raise ValueError(msg)
        return argv

    @property
    def needs_target(self) -> bool:
        """Whether the target is among the arguments."""
        return "to_revision" in placeholders(self.argv)

    def build(self, deployment: Deployment, io: HookIO) -> Hook:  # noqa: ARG002 - requests name it
        """Return the hook."""
        return CommandHook(self, io)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended; `status` is None when it had to be killed."""

    status: int | None
    output: str


class CommandHook:
    """Starts the program once for each call."""

    def __init__(self, config: CommandHookConfig, io: HookIO) -> None:
        """Use `config` with the spawner of `io`."""
        self._config = config
        self._spawn = io.spawn

    async def call(self, request: RollbackRequest, deadline_s: float, now: float) -> HookAnswer:  # noqa: ARG002 - programs have their own clock
        """Run the program to its end."""
        return await self._ask(
            self._config.argv, request, deadline_s, _CALL_STATES, RollbackState.FAILED
        )

    async def query(
        self,
        request: RollbackRequest,
        remote_id: str | None,  # noqa: ARG002 - a program that is gone has no number
        deadline_s: float,
        now: float,  # noqa: ARG002 - as above
    ) -> HookAnswer:
        """Run the query program, if there is one."""
        if self._config.query is None:
            detail = "the program did not end, and no query is configured: look at it by hand"
            return HookAnswer(state=RollbackState.UNCERTAIN, detail=detail)
        return await self._ask(
            self._config.query, request, deadline_s, _QUERY_STATES, RollbackState.UNCERTAIN
        )

    async def _ask(
        self,
        argv: Sequence[str],
        request: RollbackRequest,
        deadline_s: float,
        states: Mapping[int, RollbackState],
        otherwise: RollbackState,
    ) -> HookAnswer:
        limit_s = min(self._config.timeout_s, deadline_s)
        try:
            by_name = values(request)
            filled = [fill(each, by_name) for each in argv]
            ended = await self._run(filled, self._environment(by_name, request), limit_s)
        except (OSError, ValueError) as error:
            # Nothing ran. Its text names the program or the value, never the environment.
            return HookAnswer(state=otherwise, detail=f"cannot start: {error}"[:SHOWN_LIMIT])
        said = self._shown(ended.output)
        if ended.status is None:
            detail = f"killed after {limit_s:g} s{said}"
            return HookAnswer(state=RollbackState.UNCERTAIN, detail=detail)
        state = states.get(ended.status, otherwise)
        how = f"signal {-ended.status}" if ended.status < 0 else f"exit {ended.status}"
        return HookAnswer(state=state, detail=f"{how}{said}")

    async def _run(self, argv: Sequence[str], env: Mapping[str, str], limit_s: float) -> Ended:
        async with _pipe() as (sink, tail):
            process = await self._spawn(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sink,
                stderr=asyncio.subprocess.STDOUT,
                env=env,
                cwd=self._config.cwd,
                start_new_session=True,
            )
            sink.close()
            status = await _end_of(process, limit_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await tail.ended.wait()
            return Ended(status=status, output=tail.kept.decode("utf-8", "replace"))

    def _environment(
        self, by_name: Mapping[str, str], request: RollbackRequest
    ) -> Mapping[str, str]:
        given = self._config.env.items()
        return {
            **{name: it.reveal() if isinstance(it, Secret) else it for name, it in given},
            "ROLLBACK_ID": request.id,
            "ROLLBACK_DEPLOYMENT": request.deployment,
            "ROLLBACK_ENVIRONMENT": request.environment,
            "ROLLBACK_SERVICE": request.service,
            "ROLLBACK_INCIDENT": request.incident,
            "ROLLBACK_RULE": request.rule,
            "ROLLBACK_FROM": by_name["revision"],
            "ROLLBACK_TO": by_name["to_revision"],
        }

    def _shown(self, output: str) -> str:
        for value in self._config.env.values():
            if isinstance(value, Secret):
                output = output.replace(value.reveal(), "***")
        line = "".join(c if c.isprintable() else " " for c in " ".join(output.split()))
        return f": {line[-SHOWN_LIMIT:]}" if line else ""


class _Tail(asyncio.Protocol):
    """Reads a pipe to its end and keeps the end of what came."""

    def __init__(self) -> None:
        self.kept = bytearray()
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.kept += data
        del self.kept[:-OUTPUT_LIMIT]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.ended.set()


@asynccontextmanager
async def _pipe() -> AsyncIterator[tuple[IO[bytes], _Tail]]:
    # Not asyncio's own pipe: with that one, `wait` also waits for everybody else who holds it.
    source, sink = os.pipe()
    with os.fdopen(sink, "wb", 0) as writer:
        reader = os.fdopen(source, "rb", 0)
        transport, tail = await asyncio.get_running_loop().connect_read_pipe(_Tail, reader)
        try:
            yield writer, tail
        finally:
            transport.close()


async def _end_of(process: asyncio.subprocess.Process, limit_s: float) -> int | None:
    """Return the exit status, or None after killing the process group at `limit_s`."""
    try:
        async with asyncio.timeout(limit_s):
            return await process.wait()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
