"""Virtual time."""

from __future__ import annotations

import asyncio
import time

import pytest

from monitor.scenario.loop import DeadlockError, InlineExecutor, VirtualClock
from tests.support.virtual import run


def test_a_month_of_sleep_passes_at_once() -> None:
    """Thirty days of virtual time take next to no real time, and the clock shows them."""

    async def sleep() -> float:
        clock = VirtualClock(asyncio.get_running_loop(), 1000.0)
        await asyncio.sleep(30 * 86400)
        return clock.now()

    before = time.monotonic()
    assert run(sleep()) == 1000.0 + 30 * 86400
    assert time.monotonic() - before < 5


def test_timers_run_in_their_order() -> None:
    """What is due earlier runs earlier, whatever was scheduled first."""
    seen: list[int] = []

    async def story() -> None:
        loop = asyncio.get_running_loop()
        for delay in (3, 1, 2):
            loop.call_later(delay, seen.append, delay)
        await asyncio.sleep(4)

    run(story())
    assert seen == [1, 2, 3]


def test_waiting_for_nothing_is_an_error() -> None:
    """A loop that nothing will ever wake raises instead of hanging."""

    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError):
        run(wait())


def test_blocking_work_takes_no_virtual_time() -> None:
    """A job on the inline executor is done before the clock can move."""

    async def work() -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(InlineExecutor(), lambda: 42), loop.time()

    assert run(work()) == (42, 0.0)


def test_an_inline_job_hands_over_its_error() -> None:
    """The exception of a job reaches whoever awaits it."""

    async def work() -> None:
        await asyncio.get_running_loop().run_in_executor(InlineExecutor(), int, "x")

    with pytest.raises(ValueError, match="invalid literal"):
        run(work())


def test_short_waits_end_after_years() -> None:
    """Beside a great time a nanosecond is lost; a timer that is due is due all the same."""

    async def story() -> None:
        for _ in range(3):
            await asyncio.sleep(3 * 365 * 86400.0)
            await asyncio.sleep(0.01)

    run(story())
