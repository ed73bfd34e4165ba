"""The `command` kind with real processes: exit codes, JSON, deadlines, and what is left behind."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.model import Outcome, Sample
from monitor.probes.base import ProbeIO
from monitor.probes.command import STDOUT_LIMIT, CommandProbeConfig, _Reading
from monitor.probes.failure import ProbeError
from monitor.probes.process import Ended
from monitor.probes.reason import Reason
from tests.probes.kinds import build, load, load_example
from tests.probes.raw_server import AT, loop_connect, no_names

Run = Callable[..., Any]
PATH = {"PATH": "/usr/bin:/bin"}
LIGHTHOUSE = {
    "categories": {
        "performance": {"score": 0.9},
        "accessibility": {"score": 0.95},
        "seo": {"score": None},
    }
}
PLAYWRIGHT = {"stats": {"expected": 3, "unexpected": 0, "flaky": 0}}


async def shell(
    script: str, deadline_s: float = 5.0, io: ProbeIO | None = None, **fields: Any
) -> Sample:
    argv = ["sh", "-c", script]
    probe = build(CommandProbeConfig, "http://shop.test", io, argv=argv, **({"env": PATH} | fields))
    return await probe(AT, deadline_s)


def prints(document: object) -> str:
    return f"printf %s '{json.dumps(document)}'"


@pytest.mark.parametrize(
    ("script", "fields", "verdict"),
    [
        ("exit 0", {}, ("good", "", "")),
        ("echo fine; echo noise >&2", {}, ("good", "", "")),
        ("exit 1", {}, ("bad", "failed", "exit 1")),
        ("echo a >&2; echo '2 failed' >&2; exit 3", {}, ("bad", "failed", "exit 3: 2 failed")),
        (
            "exit 75",
            {},
            ("unknown", "prober_error", "the program could not measure (exit 75)"),
        ),
        ("exit 75", {"exit_codes": {"unknown": []}}, ("bad", "failed", "exit 75")),
        ("exit 3", {"exit_codes": {"good": [0, 3]}}, ("good", "", "")),
        ("exit 0", {"exit_codes": {"good": [1]}}, ("bad", "failed", "exit 0")),
        ("kill -TERM $$", {}, ("bad", "failed", "signal 15")),
        ("kill -KILL $$", {}, ("unknown", "local_resource", "killed by the system")),
        (
            r"printf 'a\033[31mb\377\r' >&2; exit 1",
            {},
            ("bad", "failed", "exit 1: a\\x1b[31mb\N{REPLACEMENT CHARACTER}"),
        ),
    ],
)
def test_exit_codes(
    run: Run, script: str, fields: dict[str, Any], verdict: tuple[str, str, str]
) -> None:
    """0 is good, 75 could not measure, the rest is bad; the last complaint is shown, escaped."""
    sample = run(shell(script, **fields))
    assert (sample.outcome, sample.reason, sample.detail) == verdict
    assert (sample.latency_s is not None) is (sample.reason in {"", "failed"})


def test_arguments_and_environment_are_what_was_written(run: Run, tmp_path: Path) -> None:
    """No shell looks at the arguments, nothing of our environment gets in, {url} is filled in."""
    program = tmp_path / "look.sh"
    program.write_text('#!/bin/sh\nfor each in "$@"; do echo "[$each]"; done\nenv\npwd\n')
    program.chmod(0o755)
    argv = [str(program), "a b", "$HOME; rm", "{url}/x", "*"]
    env = {"TOKEN": {"env": "TOKEN"}, "LANG": "C"}
    seen: list[bytes] = []

    async def spawn(*words: str, **options: Any) -> Any:
        process = await asyncio.create_subprocess_exec(
            *words, **(options | {"stdout": asyncio.subprocess.PIPE})
        )
        assert process.stdout is not None
        seen.append(await process.stdout.read())
        return process

    io = ProbeIO(connect=loop_connect, resolve=no_names, spawn=spawn)
    probe = build(CommandProbeConfig, "http://shop.test", io, argv=argv, env=env, cwd=str(tmp_path))
    assert run(probe(AT, 5.0)).outcome is Outcome.GOOD
    lines = seen[0].decode().splitlines()
    assert lines[:4] == ["[a b]", "[$HOME; rm]", "[http://shop.test/x]", "[*]"]
    assert lines[-1] == str(tmp_path)
    assert {
        line for line in lines[4:-1] if not line.startswith(("PWD=", "_=", "SHLVL=", "OLDPWD="))
    } == {
        "TOKEN=env-TOKEN",
        "LANG=C",
        "PROBE_URL=http://shop.test",
        "PROBE_DEPLOYMENT=shop",
        "PROBE_REGION=here",
    }


SCORES = {
    "performance": {"path": "$.categories.performance.score", "scale": 100, "min": 90},
    "accessibility": {"path": "$.categories.accessibility.score", "scale": 100, "min": 95},
}


@pytest.mark.parametrize(
    ("document", "fields", "values", "reason", "detail"),
    [
        (LIGHTHOUSE, {"values": SCORES}, {"performance": 90, "accessibility": 95}, "", ""),
        (
            LIGHTHOUSE,
            {"values": {"p": {"path": "$.categories.performance.score", "scale": 100, "min": 91}}},
            {"p": 90},
            "json",
            "p is 90, expected at least 91",
        ),
        (
            LIGHTHOUSE,
            {"values": {"p": {"path": "$.categories.performance.score", "max": 0.5}}},
            {"p": 0.9},
            "json",
            "p is 0.9, expected at most 0.5",
        ),
        (
            LIGHTHOUSE,
            {"values": {"p": "$.categories.performance.score", "s": "$.categories.seo.score"}},
            {"p": 0.9},
            "json",
            "s: $.categories.seo.score is null, expected a number",
        ),
        (
            {"a": {"score": 0.29}},
            {"values": {"a": {"path": "$.a.score", "scale": 100, "min": 29}}},
            {"a": 29},
            "",
            "",
        ),
        (
            {"a": 1e308},
            {"values": {"a": {"path": "$.a", "scale": 100}}},
            {},
            "json",
            "a: $.a is 1e+308, expected a number",
        ),
        ({"a": True}, {"values": {"a": "$.a"}}, {}, "json", "a: $.a is true, expected a number"),
        (PLAYWRIGHT, {"json": [{"path": "$.stats.unexpected", "equals": 0}]}, {}, "", ""),
        (
            PLAYWRIGHT,
            {"json": [{"path": "$.stats.expected", "greater_than": 3}]},
            {},
            "json",
            "$.stats.expected is 3, expected more than 3",
        ),
    ],
)
async def test_json(
    document: object,
    fields: dict[str, Any],
    values: dict[str, float],
    reason: str,
    detail: str,
) -> None:
    """The plan's Lighthouse limits and a Playwright report: figures are kept and judged."""
    sample = await shell(prints(document), **fields)
    assert (sample.reason, sample.detail) == (reason, detail)
    assert dict(sample.values) == values


async def test_values_of_a_failed_run_are_kept() -> None:
    """A test run that failed says how many tests did; its exit code is the verdict."""
    sample = await shell(prints(PLAYWRIGHT) + "; exit 1", values={"passed": "$.stats.expected"})
    assert (sample.reason, dict(sample.values)) == ("failed", {"passed": 3})


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        ("echo '{'", "standard output is not JSON"),
        ("true", "standard output is not JSON"),
        ("echo NaN", "standard output is not JSON"),
        (f"head -c {STDOUT_LIMIT + 1} /dev/zero", "standard output is longer than 1024 KiB"),
    ],
)
async def test_output_that_cannot_be_judged(script: str, detail: str) -> None:
    """It is BAD when something was to be found in it, and nobody's business otherwise."""
    sample = await shell(script, values={"a": "$.a"})
    assert (sample.outcome, sample.reason, sample.detail) == (Outcome.BAD, "json", detail)
    assert (await shell(script)).outcome is Outcome.GOOD


def test_the_deadline_ends_the_whole_group(run: Run, tmp_path: Path) -> None:
    """The program and what it started are killed, and the time waited is a censored latency."""
    pids = tmp_path / "pids"
    script = f"trap '' TERM; sleep 60 & echo $! $$ > {pids}; echo so far >&2; wait"
    started = time.monotonic()
    sample = run(shell(script, 0.4))
    assert time.monotonic() - started < 3
    assert (sample.outcome, sample.reason) == (Outcome.BAD, "timeout")
    assert sample.detail == "killed after 0.4 s: so far"
    assert sample.censored
    assert sample.latency_s is not None
    assert 0.4 <= sample.latency_s < 3
    assert all(is_gone(int(pid)) for pid in pids.read_text().split())


def test_what_it_leaves_behind_is_ended(run: Run, tmp_path: Path) -> None:
    """A browser that outlives its test run would pile up; its exit code still counts."""
    pid = tmp_path / "pid"
    sample = run(shell(f"sleep 60 & echo $! > {pid}; exit 0"))
    assert sample.outcome is Outcome.GOOD
    assert is_gone(int(pid.read_text()))


def test_endless_output_is_drained_and_bounded(run: Run) -> None:
    """A program that never stops talking costs neither memory nor the deadline."""
    tracemalloc.start()
    try:
        sample = run(shell("yes & yes >&2 & wait", 0.5, values={"a": "$.a"}))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sample.reason == "timeout"
    assert peak < 10 * 2**20


def is_gone(pid: int) -> bool:
    """Whether it ended; a zombie that init has yet to bury has."""
    until = time.monotonic() + 3
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state in {"Z", "X"}:
            return True
        time.sleep(0.01)
    os.kill(pid, 9)
    return False


async def test_secrets_are_not_shown() -> None:
    """A program that complains about its token does so without it."""
    sample = await shell(
        'echo "denied: $TOKEN" >&2; exit 1', env=PATH | {"TOKEN": {"env": "CANARY"}}
    )
    assert sample.detail == "exit 1: denied: ***"


@pytest.mark.parametrize(
    ("argv", "fields", "text"),
    [
        (["/no/such/program"], {}, "cannot start /no/such/program: No such file or directory"),
        (["/"], {}, "cannot start /: Permission denied"),
        (["true"], {"cwd": "/no/such/place", "env": PATH}, "No such file or directory"),
    ],
)
def test_what_cannot_start_says_nothing_of_the_target(
    run: Run, argv: list[str], fields: dict[str, Any], text: str
) -> None:
    """It is our machine that lacks the program: UNKNOWN, and it says what is missing."""
    sample = run(build(CommandProbeConfig, argv=argv, **fields)(AT, 5.0))
    assert (sample.outcome, sample.reason) == (Outcome.UNKNOWN, "prober_error")
    assert text in sample.detail
    assert sample.latency_s is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), "local_resource"),
        (OSError(errno.EMFILE, "Too many open files"), "local_resource"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "local_resource"),
        (OSError(errno.EPERM, "Operation not permitted"), "prober_error"),
        (ValueError("embedded null byte"), "prober_error"),
        (NotImplementedError(), "prober_error"),
    ],
)
def test_a_machine_without_room(error: Exception, reason: str) -> None:
    """Our own lack of descriptors, memory or processes is UNKNOWN, on the virtual loop too."""

    async def spawn(*words: str, **options: Any) -> Any:
        raise error

    io = ProbeIO(connect=loop_connect, resolve=no_names, spawn=spawn)

    async def story() -> Sample:
        return await shell("true", io=io)

    sample = asyncio.run(story())
    assert (sample.outcome, sample.reason) == (Outcome.UNKNOWN, reason)


def test_nothing_is_left_open(run: Run) -> None:
    """Neither good nor failed nor killed runs leak descriptors."""

    async def open_descriptors() -> int:
        # Transports close what they hold in a later turn of the loop.
        for _ in range(3):
            await asyncio.sleep(0)
        return len(list(Path("/proc/self/fd").iterdir()))

    async def story() -> None:
        await shell("true")
        before = await open_descriptors()
        for _ in range(5):
            await shell("true")
            await shell("sleep 60", 0.05)
            await build(CommandProbeConfig, argv=["/no/such/program"])(AT, 5.0)
        assert await open_descriptors() <= before

    run(story())


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=10,
)


@given(st.binary(max_size=100) | JSON.map(lambda it: json.dumps(it).encode()), st.booleans())
def test_no_output_breaks_the_reading(stdout: bytes, is_cut: bool) -> None:  # noqa: FBT001 - hypothesis fills it
    """Arbitrary output gives finite values or a refusal."""
    reading = _Reading(
        load(
            CommandProbeConfig,
            argv=["x"],
            json=[{"path": "$.a", "exists": True}],
            values={"a": "$.a", "b": {"path": "$.a.b", "scale": 1e300, "min": 1}},
        )
    )
    ended = Ended(status=0, stdout=stdout, is_cut=is_cut, stderr=b"")
    assert all(abs(value) < float("inf") for _, value in reading.values(ended))
    reasons = set()
    try:
        reading.judge(ended)
    except ProbeError as error:
        reasons.add(error.reason)
    assert reasons <= {Reason.JSON}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "argv"),
        ({"argv": []}, "argv"),
        ({"argv": [""]}, "expected a program"),
        ({"argv": ["a\0b"]}, "argv.0"),
        ({"argv": "ls -l"}, "argv"),
        ({"argv": ["x"], "env": {"A=B": "c"}}, "env"),
        ({"argv": ["x"], "env": {"A": "\0"}}, "env.A"),
        ({"argv": ["x"], "exit_codes": {"good": [256]}}, "exit_codes.good.0"),
        ({"argv": ["x"], "exit_codes": {"good": [75]}}, "both good and unknown"),
        ({"argv": ["x"], "values": {"a-b": "$.a"}}, "values.a-b"),
        ({"argv": ["x"], "values": {"a": "$["}}, "values.a"),
    ],
)
def test_bad_fields_are_named(fields: dict[str, Any], problem: str) -> None:
    """An error names its field."""
    with pytest.raises(ValidationError) as caught:
        load(CommandProbeConfig, **fields)
    assert problem in str(caught.value)


def test_the_example_loads() -> None:
    """The example of the documentation is the plan's Lighthouse check."""
    config = load_example(CommandProbeConfig)
    assert list(config.values) == ["performance", "accessibility"]
    assert (config.interval_s, config.timeout_s) == (3600, 120)
