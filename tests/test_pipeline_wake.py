"""A sample that may change an alert does not wait for the evaluation interval."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from monitor.model import Outcome, Sample
from monitor.pipeline import SOONEST_S
from tests.test_pipeline import TARGET, TICK_S, Bench, play, rule

DOWN = rule("down", "health == 'unhealthy'")


@asynccontextmanager
async def running() -> AsyncIterator[Bench]:
    """A pipeline that ticks by itself, in the middle between two of its ticks."""
    bench = Bench(DOWN)
    task = asyncio.create_task(bench.pipeline.run())
    await asyncio.sleep(TICK_S / 2)
    try:
        yield bench
    finally:
        task.cancel()
        await asyncio.wait([task])


def offer(bench: Bench, outcome: Outcome) -> None:
    bench.pipeline.offer(Sample(target=TARGET.id, at=bench.clock.now(), outcome=outcome))


def test_the_first_bad_and_the_first_good_sample_are_told_at_once() -> None:
    """Nobody waits for the next tick to hear that it broke, or that it is over."""

    async def story() -> None:
        async with running() as bench:
            for told, outcome in enumerate((Outcome.BAD, Outcome.GOOD), 1):
                offer(bench, outcome)
                await asyncio.sleep(0.001)
                assert len(bench.told) == told
                await asyncio.sleep(1.0)
            opened, closed = bench.told
            assert opened.is_open
            assert not closed.is_open

    play(story)


@pytest.mark.parametrize(
    ("before", "outcome"),
    [
        (Outcome.GOOD, Outcome.GOOD),
        (Outcome.GOOD, Outcome.UNKNOWN),
        (Outcome.BAD, Outcome.UNKNOWN),
    ],
)
def test_what_changes_no_alert_waits_for_the_next_tick(before: Outcome, outcome: Outcome) -> None:
    """A healthy fleet costs what it did: one tick an interval."""

    async def story() -> None:
        async with running() as bench:
            offer(bench, before)
            await asyncio.sleep(1.0)
            ticked = bench.pipeline.last_tick
            offer(bench, outcome)
            await asyncio.sleep(1.0)
            assert bench.pipeline.last_tick == ticked

    play(story)


def test_good_after_unknown_after_bad_is_still_news() -> None:
    """A moment in which nothing was known does not hide the recovery."""

    async def story() -> None:
        async with running() as bench:
            for outcome in (Outcome.BAD, Outcome.UNKNOWN, Outcome.GOOD):
                offer(bench, outcome)
                await asyncio.sleep(1.0)
            assert [each.is_open for each in bench.told] == [True, False]

    play(story)


def test_a_storm_of_bad_samples_is_a_few_ticks() -> None:
    """However many arrive, ticks keep their distance."""

    async def story() -> None:
        async with running() as bench:
            ticks = set()
            for _ in range(1000):
                offer(bench, Outcome.BAD)
                await asyncio.sleep(0.001)
                ticks.add(bench.pipeline.last_tick)
            assert 2 <= len(ticks) <= 2 + 1 / SOONEST_S

    play(story)
