"""The command hook with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from monitor.fields import Secret
from monitor.model import Deployment, RollbackRequest, RollbackState
from monitor.rollback.base import Hook, HookIO
from monitor.rollback.command import OUTPUT_LIMIT, CommandHookConfig, _Tail

AT = 1_767_225_600.0
PATH = {"PATH": "/usr/bin:/bin"}
Maker = Callable[..., RollbackRequest]
Build = Callable[..., Hook]


def config(*argv: str, **changes: Any) -> CommandHookConfig:
    return CommandHookConfig(**({"kind": "command", "argv": argv, "env": PATH} | changes))


@pytest.fixture
def shell(deployment: Deployment, hook_io: HookIO) -> Build:
    """Return a maker of hooks that run a shell script."""

    def build(script: str, *arguments: str, **changes: Any) -> Hook:
        argv = ("sh", "-c", script, "rollback", *arguments)
        return config(*argv, **changes).build(deployment, hook_io)

    return build


@asynccontextmanager
async def lifeline(path: Path) -> AsyncIterator[asyncio.StreamReader]:
    """Yield a reader of the FIFO `path`; it ends when everybody who holds it has ended."""
    os.mkfifo(path)
    end = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", 0)
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), end
    )
    try:
        yield reader
    finally:
        transport.close()


def kill(pid_file: Path) -> None:
    os.kill(int(pid_file.read_text()), signal.SIGKILL)


async def test_plan_script_gets_the_version(
    tmp_path: Path, deployment: Deployment, hook_io: HookIO, request_of: Maker
) -> None:
    """The plan's `./scripts/rollback.sh VERSION` is started as it stands, in its directory."""
    script = tmp_path / "scripts" / "rollback.sh"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\necho "$# $1 in $(pwd)" > done\necho "✅ completed"\n')
    script.chmod(0o755)
    argv = ("./scripts/rollback.sh", "{to_revision}")
    hook = config(*argv, cwd=str(tmp_path)).build(deployment, hook_io)
    answer = await hook.call(request_of(), 10.0, AT)
    assert (answer.state, answer.detail) == (RollbackState.SUCCEEDED, "exit 0: ✅ completed")
    assert (tmp_path / "done").read_text() == f"1 1.4.2 in {tmp_path}\n"


@pytest.mark.parametrize(
    ("status", "called", "asked"),
    [
        ("exit 0", RollbackState.SUCCEEDED, RollbackState.SUCCEEDED),
        ("exit 1", RollbackState.FAILED, RollbackState.FAILED),
        ("exit 2", RollbackState.FAILED, RollbackState.UNCERTAIN),
        ("exit 3", RollbackState.FAILED, RollbackState.INTENDED),
        ("exit 75", RollbackState.INTENDED, RollbackState.UNCERTAIN),
        ("exit 127", RollbackState.FAILED, RollbackState.UNCERTAIN),
        ("kill -9 $$", RollbackState.FAILED, RollbackState.UNCERTAIN),
    ],
)
async def test_every_end_has_a_meaning(
    shell: Build, request_of: Maker, status: str, called: RollbackState, asked: RollbackState
) -> None:
    """Exit statuses of the program and of the query map as the contract says."""
    hook = shell(status, query=("sh", "-c", status))
    assert (await hook.call(request_of(), 10.0, AT)).state is called
    assert (await hook.query(request_of(), None, 10.0, AT)).state is asked


async def test_end_is_described(shell: Build, request_of: Maker) -> None:
    """A person sees the status and the last words, on one line."""
    failed = await shell("echo one; printf 'two\\033[31m\\n' >&2; exit 4").call(
        request_of(), 10, AT
    )
    killed = await shell("kill -9 $$").call(request_of(), 10, AT)
    assert (failed.detail, killed.detail) == ("exit 4: one two [31m", "signal 9")


async def test_environment_is_exactly_what_was_given(
    tmp_path: Path, deployment: Deployment, hook_io: HookIO, request_of: Maker
) -> None:
    """Nothing of our own environment leaks into the program."""
    given = {"HOME": "/nowhere", "TOKEN": Secret("hidden"), **PATH}
    spawned: dict[str, str] = {}

    async def spawn(*argv: str, **how: Any) -> asyncio.subprocess.Process:
        spawned.update(how["env"])
        return await hook_io.spawn(*argv, **how)

    hook = config("sh", "-c", "env > seen", env=given, cwd=str(tmp_path)).build(
        deployment, replace(hook_io, spawn=spawn)
    )
    await hook.call(request_of(to_revision=None), 10.0, AT)
    lines = (tmp_path / "seen").read_text().splitlines()
    seen = dict(line.split("=", 1) for line in lines)
    by_the_shell = {"PWD", "OLDPWD", "SHLVL", "_"}
    expected = {
        "HOME": "/nowhere",
        "TOKEN": "hidden",
        "PATH": "/usr/bin:/bin",
        "ROLLBACK_ID": "rb-shop-1-5-0-cafe",
        "ROLLBACK_DEPLOYMENT": "shop-production",
        "ROLLBACK_ENVIRONMENT": "Production",
        "ROLLBACK_SERVICE": "shop",
        "ROLLBACK_INCIDENT": "inc-1",
        "ROLLBACK_RULE": "high_error_rate",
        "ROLLBACK_FROM": "1.5.0",
        "ROLLBACK_TO": "",
    }
    assert {name: it for name, it in seen.items() if name not in by_the_shell} == expected
    assert spawned == expected


async def test_arguments_reach_the_program_unchanged(shell: Build, request_of: Maker) -> None:
    """There is no shell between us and the program: one argument stays one argument."""
    hook = shell('printf "<%s>" "$@"', "{id} {revision}", "$HOME; * '", "{environment}")
    answer = await hook.call(request_of(), 10.0, AT)
    assert answer.detail == "exit 0: <rb-shop-1-5-0-cafe 1.5.0><$HOME; * '><Production>"


async def test_timeout_kills_the_whole_group(
    tmp_path: Path, shell: Build, request_of: Maker
) -> None:
    """A program that does not end is killed with its children; what it did is not known."""
    script = "exec 9>alive; echo up >&9; sleep 60 & wait"
    hook = shell(script, cwd=str(tmp_path), timeout="800ms")
    async with lifeline(tmp_path / "alive") as reader:
        answer = await hook.call(request_of(), 10.0, AT)
        async with asyncio.timeout(10):
            assert await reader.read() == b"up\n"
    assert (answer.state, answer.detail) == (RollbackState.UNCERTAIN, "killed after 0.8 s")


async def test_the_callers_deadline_counts_too(shell: Build, request_of: Maker) -> None:
    """The shorter of the two limits ends the program."""
    answer = await shell("sleep 60").call(request_of(), 0.1, AT)
    assert (answer.state, answer.detail) == (RollbackState.UNCERTAIN, "killed after 0.1 s")


async def test_shutdown_kills_the_program(tmp_path: Path, shell: Build, request_of: Maker) -> None:
    """A cancelled call leaves nobody behind who still changes the deployment."""
    hook = shell("exec 9>alive; echo up >&9; sleep 60 & wait", cwd=str(tmp_path))
    async with lifeline(tmp_path / "alive") as reader, asyncio.timeout(10):
        call = asyncio.create_task(hook.call(request_of(), 30.0, AT))
        assert await reader.readline() == b"up\n"
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await reader.read() == b""


async def test_background_helpers_do_not_hold_the_answer(
    tmp_path: Path, shell: Build, request_of: Maker
) -> None:
    """The program's own end counts, even when something it started still holds its output."""
    hook = shell("sleep 60 & echo $! > pid; echo done", cwd=str(tmp_path))
    answer = await hook.call(request_of(), 8.0, AT)
    kill(tmp_path / "pid")
    assert (answer.state, answer.detail) == (RollbackState.SUCCEEDED, "exit 0: done")


async def test_floods_of_output_are_drained_and_bounded(
    deployment: Deployment, hook_io: HookIO, request_of: Maker
) -> None:
    """Ten megabytes do not block the program, and only the end is kept and shown."""
    script = "head -c 10000000 /dev/zero | tr '\\0' x; echo; echo the end; exit 9"
    hook = config("sh", "-c", script).build(deployment, hook_io)
    answer = await hook.call(request_of(), 20.0, AT)
    assert answer.state is RollbackState.FAILED
    assert answer.detail.endswith("xxx the end")
    assert len(answer.detail) == len("exit 9: ") + 200


def test_only_the_end_of_the_output_is_kept() -> None:
    """Memory does not grow with what the program says."""
    tail = _Tail()
    for piece in (b"a", b"b", b"c"):
        tail.data_received(piece * OUTPUT_LIMIT + b"!")
        assert len(tail.kept) == OUTPUT_LIMIT
    assert tail.kept.endswith(b"cc!")


async def test_last_words_are_waited_for(shell: Build, request_of: Maker) -> None:
    """What is still on its way when the program ends belongs to its output."""
    answer = await shell("(sleep 0.05; echo late) & echo soon").call(request_of(), 10.0, AT)
    assert answer.detail == "exit 0: soon late"


async def test_secrets_of_the_environment_are_hidden(shell: Build, request_of: Maker) -> None:
    """A program that prints its token does not put it into our records."""
    hook = shell('echo "using $TOKEN"; exit 1', env={"TOKEN": Secret("hidden"), **PATH})
    answer = await hook.call(request_of(), 10.0, AT)
    assert answer.detail == "exit 1: using ***"
    assert "hidden" not in repr((hook, config("x", env={"TOKEN": Secret("hidden")})))


@pytest.mark.parametrize("argv", [("/no/such/program",), ("no-such-program",), ("/",)])
async def test_what_cannot_start_failed(
    deployment: Deployment, hook_io: HookIO, request_of: Maker, argv: tuple[str, ...]
) -> None:
    """A missing program is a failure that names it; a missing query says nothing."""
    hook = config(*argv, query=argv).build(deployment, hook_io)
    called = await hook.call(request_of(), 10.0, AT)
    assert called.state is RollbackState.FAILED
    assert called.detail.startswith("cannot start")
    assert argv[0] in called.detail
    assert (await hook.query(request_of(), None, 10.0, AT)).state is RollbackState.UNCERTAIN


async def test_hostile_revision_starts_nothing(shell: Build, request_of: Maker) -> None:
    """A version that looks like an option is not handed to a program, which would succeed."""
    hook = shell("exit 0", "{to_revision}")
    answer = await hook.call(request_of(to_revision="--force"), 10.0, AT)
    assert answer.state is RollbackState.FAILED
    assert "is not a plain name" in answer.detail


async def test_virtual_world_refuses_processes(
    deployment: Deployment, hook_io: HookIO, request_of: Maker
) -> None:
    """Where the composition root gives no processes, a call fails and nothing runs."""

    async def refuse(*_argv: str, **_how: Any) -> asyncio.subprocess.Process:
        msg = "no processes in a scenario"
        raise PermissionError(msg)

    hook = config("true").build(deployment, replace(hook_io, spawn=refuse))
    answer = await hook.call(request_of(), 10.0, AT)
    assert answer.state is RollbackState.FAILED
    assert answer.detail == "cannot start: no processes in a scenario"


async def test_without_a_query_it_stays_uncertain(shell: Build, request_of: Maker) -> None:
    """Nobody can tell what became of it, so nothing is repeated."""
    answer = await shell("true").query(request_of(), None, 10.0, AT)
    assert answer.state is RollbackState.UNCERTAIN
    assert "by hand" in answer.detail


def test_needs_target_when_an_argument_names_it() -> None:
    """`rollback.sh VERSION` needs the version; `rollback-to-previous` does not."""
    assert config("./rollback.sh", "{to_revision}").needs_target
    assert not config("./rollback.sh", "{id}").needs_target


@pytest.mark.parametrize(
    "changes",
    [
        {"argv": ()},
        {"argv": ("",)},
        {"argv": ("sh", "a\0b")},
        {"argv": ("sh", "{version}")},
        {"argv": "rollback.sh 1"},
        {"query": ()},
        {"query": ("{nope}",)},
        {"env": {"A": 1}},
    ],
)
def test_configuration_errors(changes: dict[str, Any]) -> None:
    """What cannot work is said at load."""
    with pytest.raises(ValidationError):
        config(**({"argv": ("sh",)} | changes))
