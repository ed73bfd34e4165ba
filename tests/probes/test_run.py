"""From an attempt to a sample, in virtual time."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

import pytest

from monitor.model import Outcome, Sample
from monitor.probes.failure import ProbeError
from monitor.probes.reason import Reason
from monitor.probes.run import CONNECT, RESOLVE, TLS, TRANSFER, WAIT, Run, measure
from monitor.probes.stall import StallLog
from tests.probes.raw_server import AT, make_io
from tests.support import virtual

Attempt = Callable[[Run], Awaitable[None]]


def measured(attempt: Attempt, stalls: StallLog | None = None) -> Sample:
    io = dataclasses.replace(make_io(), monotonic=None, stalls=stalls)
    return virtual.run(measure(attempt, target="shop", at=AT, deadline_s=2.0, io=io))


async def two_phases(run: Run) -> None:
    run.watch.enter(CONNECT)
    await asyncio.sleep(0.25)
    run.watch.enter(WAIT)
    await asyncio.sleep(0.5)
    run.watch.enter(CONNECT)
    await asyncio.sleep(0.25)


def test_phases_add_up() -> None:
    """A phase that comes twice is summed, and the last one ends with the attempt."""
    sample = measured(two_phases)
    assert (sample.outcome, sample.latency_s) == (Outcome.GOOD, 1.0)
    assert sample.phases == (("connect", 0.5), ("wait", 0.5))
    assert (sample.target, sample.at, sample.tainted_s) == ("shop", AT, 0.0)


@pytest.mark.parametrize(
    ("reason", "latency_s", "censored"),
    [
        (Reason.STATUS, 1.0, False),
        (Reason.LOSS, 1.0, False),
        (Reason.RESET, None, False),
        (Reason.PROTOCOL, None, False),
        (Reason.LOCAL_RESOURCE, None, False),
    ],
)
def test_failures(reason: Reason, latency_s: float | None, censored: bool) -> None:  # noqa: FBT001 - a table's column
    """Only a whole answer that was judged has a latency; the detail is printable and short."""

    async def attempt(run: Run) -> None:
        await two_phases(run)
        raise ProbeError(reason, "\x1b" + "x" * 300)

    sample = measured(attempt)
    assert (sample.outcome, sample.reason) == (reason.outcome, reason.value)
    assert (sample.latency_s, sample.censored) == (latency_s, censored)
    assert sample.detail.startswith("\\x1bxxx")
    assert len(sample.detail) == 200


@pytest.mark.parametrize(
    ("phase", "reason", "doing"),
    [
        (RESOLVE, "resolver", "looking up the name"),
        (CONNECT, "connect_timeout", "connecting"),
        (TLS, "tls_timeout", "shaking hands (TLS)"),
        (TRANSFER, "timeout", "reading the answer"),
        ("echo", "timeout", "waiting for an answer"),
    ],
)
def test_the_deadline(phase: str, reason: str, doing: str) -> None:
    """What it means depends on the phase; notes follow; only the resolver's delay is ours."""

    async def attempt(run: Run) -> None:
        run.watch.enter(phase)
        run.notes.append("so far so bad")
        await asyncio.sleep(10)

    sample = measured(attempt)
    assert (sample.reason, sample.detail) == (
        reason,
        f"timed out after 2 s while {doing}; so far so bad",
    )
    ours = reason == "resolver"
    assert sample.outcome is (Outcome.UNKNOWN if ours else Outcome.BAD)
    assert (sample.latency_s, sample.censored) == ((None, False) if ours else (2.0, True))
    assert sample.phases == ((phase, 2.0),)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(None, ""), (TimeoutError(), "timeout"), (ProbeError(Reason.LOSS, "x"), "loss")],
)
def test_what_is_known_at_the_deadline_decides(error: Exception | None, reason: str) -> None:
    """A kind may accept what it has, find fault with it, or have nothing."""

    async def attempt(run: Run) -> None:
        def judge() -> None:
            if error is not None:
                raise error

        run.latency_s = 0.1
        run.at_deadline = judge
        await asyncio.sleep(10)

    sample = measured(attempt)
    assert sample.reason == reason
    assert sample.latency_s == (2.0 if reason == "timeout" else 0.1)


@pytest.mark.parametrize(("is_exact", "tainted_s"), [(False, 0.5), (True, 0.0)])
def test_our_own_stall_taints(is_exact: bool, tainted_s: float) -> None:  # noqa: FBT001 - a table's column
    """Unless the kernel took the latency, a stall within the run may be in it."""
    stalls = StallLog()

    async def attempt(run: Run) -> None:
        run.is_exact = is_exact
        stalls.beat(0.0)
        run.watch.enter(WAIT)
        await asyncio.sleep(0.5)
        stalls.beat(0.5)

    sample = measured(attempt, stalls)
    assert (sample.latency_s, sample.tainted_s) == (0.5, tainted_s)
