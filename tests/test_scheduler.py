"""The open-loop schedule, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.metrics import SCHEDULE_LATENESS, Telemetry
from monitor.model import Outcome, Sample, Target
from monitor.probes.base import Run
from monitor.scenario.loop import VirtualClock
from monitor.scheduler import GRID_S, PER_HOST_CAP, Job, Scheduler, next_start, phase_s
from tests.support.virtual import run

START = 1_000_000.0


def target(name: str = "t", interval_s: float = 10.0) -> Target:
    return Target(
        id=name, deployment="d", environment="e", probe="p", region="r",
        interval_s=interval_s, timeout_s=5.0,
    )  # fmt: skip


class Slow:
    """A probe that takes its time."""

    def __init__(self, target: Target, takes_s: float, error: Exception | None = None) -> None:
        self._target, self._takes_s, self._error = target, takes_s, error

    async def __call__(self, at: float, deadline_s: float) -> Sample:
        await asyncio.sleep(self._takes_s)
        if self._error is not None:
            raise self._error
        return Sample(target=self._target.id, at=at, outcome=Outcome.GOOD, latency_s=self._takes_s)


def collect(jobs: list[Job], lasts_s: float) -> tuple[list[Sample], Telemetry]:
    """Run a scheduler for so long and return what it delivered."""
    samples: list[Sample] = []
    telemetry = Telemetry()

    async def story() -> None:
        clock = VirtualClock(asyncio.get_running_loop(), START)
        scheduler = Scheduler(clock, samples.append, telemetry)
        scheduler.replace_jobs(jobs)
        task = asyncio.create_task(scheduler.run())
        await asyncio.sleep(lasts_s)
        task.cancel()
        await scheduler.drain(100.0)

    run(story())
    return samples, telemetry


def test_starts_do_not_wait_for_answers() -> None:
    """A target that answers more slowly than its interval is probed at every tick all the same."""
    slow = target(interval_s=2.0)
    samples, _ = collect([Job(slow, Slow(slow, 4.9))], 60.0)
    starts = [sample.at for sample in samples]
    assert len(starts) == 30
    assert {round(b - a, 6) for a, b in itertools.pairwise(starts)} == {2.0}


def test_a_probe_that_raises_is_our_own_failure() -> None:
    """An exception becomes an UNKNOWN sample; the schedule goes on."""
    broken = target()
    samples, _ = collect([Job(broken, Slow(broken, 0.1, ValueError("bug")))], 30.0)
    assert len(samples) == 3
    assert {(s.outcome, s.reason) for s in samples} == {(Outcome.UNKNOWN, "prober_error")}


def test_a_probe_that_never_ends_is_cut_off() -> None:
    """A probe that ignores its deadline is ended from outside and is no statement on the target."""
    stuck = target()
    samples, _ = collect([Job(stuck, Slow(stuck, 1e9))], 25.0)
    assert samples
    assert {(s.outcome, s.reason) for s in samples} == {(Outcome.UNKNOWN, "prober_error")}


def test_targets_that_stay_keep_their_rhythm_over_a_reload() -> None:
    """Replacing the jobs neither repeats nor skips a tick of a target that stays."""
    samples: list[Sample] = []
    kept, added = target("kept"), target("added")

    async def story() -> None:
        clock = VirtualClock(asyncio.get_running_loop(), START)
        scheduler = Scheduler(clock, samples.append, Telemetry())
        scheduler.replace_jobs([Job(kept, Slow(kept, 0.0))])
        task = asyncio.create_task(scheduler.run())
        for _ in range(20):
            await asyncio.sleep(3.0)
            scheduler.replace_jobs([Job(kept, Slow(kept, 0.0)), Job(added, Slow(added, 0.0))])
        task.cancel()

    run(story())
    starts = [sample.at for sample in samples if sample.target == "kept"]
    assert len(starts) == 6
    assert {round(b - a, 6) for a, b in itertools.pairwise(starts)} == {10.0}


@given(
    st.text(min_size=1), st.floats(1.0, 3600.0), st.floats(0, 4e9, allow_nan=False)
)  # fmt: skip
def test_every_start_is_on_the_grid_and_in_the_future(
    name: str, interval_s: float, after: float
) -> None:
    """The next start is later than now, by at most one interval, at the target's own phase."""
    each = target(name, interval_s)
    start = next_start(phase_s(each), interval_s, after)
    assert after < start <= after + interval_s * (1 + 1e-6) + 1e-6
    offset = (start - phase_s(each)) / interval_s
    assert abs(offset - round(offset)) < 1e-4


def test_phases_spread_evenly() -> None:
    """A thousand targets do not start in bunches: each tenth of the interval gets its share."""
    tenths = [int(phase_s(target(f"t{i}")) // 1.0) for i in range(1000)]
    assert all(60 <= tenths.count(tenth) <= 140 for tenth in range(10))


def test_more_probes_than_the_cap_are_counted_not_queued() -> None:
    """Beyond the cap on probes in flight a tick is skipped, counted and UNKNOWN."""
    jobs = [Job(each, Slow(each, 4.9)) for each in (target(f"t{i}") for i in range(6000))]
    samples, telemetry = collect(jobs, 12.0)
    skipped = [sample for sample in samples if sample.reason == "overload"]
    assert skipped
    assert {sample.outcome for sample in skipped} == {Outcome.UNKNOWN}
    counted = {row: n for series, row, n in telemetry.numbers() if row == ("overload",)}
    assert counted == {("overload",): len(skipped)}


class LateLook:
    """A clock that reaches `first`, to the last digit, between two looks of the scheduler."""

    def __init__(self, first: float) -> None:
        self._first, self._looks = first, 0

    def now(self) -> float:
        self._looks += 1
        return START if self._looks <= 2 else self._first

    def monotonic(self) -> float:
        return self.now()

    def wall(self, at: float) -> float:
        return at


def test_a_start_that_is_due_at_this_very_moment_is_not_waited_for_in_vain() -> None:
    """Nothing left to wait for is not the same as nothing to do."""
    only = target()
    samples: list[Sample] = []

    async def story() -> None:
        scheduler = Scheduler(
            LateLook(next_start(phase_s(only), only.interval_s, START)), samples.append, Telemetry()
        )
        scheduler.replace_jobs([Job(only, Slow(only, 0.0))])
        task = asyncio.create_task(scheduler.run())
        await asyncio.sleep(1.0)
        task.cancel()

    run(story())
    assert len(samples) == 1


@pytest.mark.parametrize(
    ("interval_s", "phases"), [(0.5, 20), (1.0, 20), (10.0, 200), (60.0, 1200)]
)
def test_phases_lie_on_a_grid(interval_s: float, phases: int) -> None:
    """Probes start in small groups, and all phases there can be are used."""
    step_s = min(GRID_S, interval_s / 20)
    found = {phase_s(target(f"t{i}", interval_s)) / step_s for i in range(20 * phases)}
    assert {round(each) for each in found} == set(range(phases))
    assert all(abs(each - round(each)) < 1e-6 for each in found)


def test_what_holds_a_start_up_is_lateness() -> None:
    """The clock of a start is read when the probe begins, not when the schedule looked at it."""
    only, telemetry = target(), Telemetry()
    samples: list[Sample] = []

    async def story() -> None:
        clock = VirtualClock(asyncio.get_running_loop(), START)
        scheduler = Scheduler(clock, samples.append, telemetry)
        job = Job(only, Slow(only, 0.0))
        scheduler.replace_jobs([job])
        scheduler._start(job, START - 0.25, START)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    run(story())
    [late] = [each for series, _, each in telemetry.histograms() if series is SCHEDULE_LATENESS]
    assert (late.sum, [sample.at for sample in samples]) == (0.25, [START])


def test_a_reload_while_probes_are_under_way_loses_none() -> None:
    """A probe that a reload finds under way still delivers."""
    slow = target(interval_s=10.0)
    samples: list[Sample] = []

    async def story() -> None:
        clock = VirtualClock(asyncio.get_running_loop(), START)
        scheduler = Scheduler(clock, samples.append, Telemetry())
        scheduler.replace_jobs([Job(slow, Slow(slow, 4.0))])
        task = asyncio.create_task(scheduler.run())
        await asyncio.sleep(next_start(phase_s(slow), 10.0, START) - START + 1.0)
        scheduler.replace_jobs([])
        await scheduler.drain(10.0)
        task.cancel()

    run(story())
    assert len(samples) == 1


class Quick(Slow):
    """A probe that does without a task, and keeps a note of who ended it."""

    def __init__(
        self, target: Target, takes_s: float | None, error: Exception | None = None
    ) -> None:
        super().__init__(target, takes_s or 0.0, error)
        self._wait_s = takes_s
        self.began = self.cancelled = 0

    def begin(self, at: float, deadline_s: float, done: Callable[[Sample], None]) -> Run:
        self.began += 1
        if self._error is not None:
            raise self._error
        sample = Sample(target=self._target.id, at=at, outcome=Outcome.GOOD)
        if self._wait_s is None:
            done(sample)
            return self
        self._timer = asyncio.get_running_loop().call_later(self._wait_s, done, sample)
        return self

    def cancel(self) -> None:
        self.cancelled += 1
        self._timer.cancel()


class Unwilling(Slow):
    """A probe that could do without a task, but not now."""

    def begin(self, at: float, deadline_s: float, done: Callable[[Sample], None]) -> None:
        return None


@pytest.mark.parametrize(
    ("takes_s", "error", "found"),
    [
        (3.0, None, {(Outcome.GOOD, "")}),
        (None, None, {(Outcome.GOOD, "")}),
        (3.0, ValueError("bug"), {(Outcome.UNKNOWN, "prober_error")}),
        (1e9, None, {(Outcome.UNKNOWN, "prober_error")}),
    ],
    ids=["later", "at once", "raises", "never"],
)
def test_a_probe_without_a_task(
    takes_s: float | None, error: Exception | None, found: set[tuple[Outcome, str]]
) -> None:
    """However it ends there is one sample a start, and what overruns its deadline is ended."""
    each = target()
    probe = Quick(each, takes_s, error)
    samples, telemetry = collect([Job(each, probe)], 35.0)
    assert {(s.outcome, s.reason) for s in samples} == found
    assert len(samples) == probe.began == 3
    assert probe.cancelled == (3 if takes_s == 1e9 else 0)
    [late] = [each for series, _, each in telemetry.histograms() if series is SCHEDULE_LATENESS]
    assert late.buckets()[-1] == ("+Inf", 3)


def test_a_probe_that_needs_a_task_this_time_gets_one() -> None:
    """Nothing is begun twice, and each start counts once."""
    each = target()
    samples, telemetry = collect([Job(each, Unwilling(each, 0.5))], 40.0)
    assert [sample.latency_s for sample in samples] == [0.5] * 4
    [late] = [each for series, _, each in telemetry.histograms() if series is SCHEDULE_LATENESS]
    assert late.buckets()[-1] == ("+Inf", 4)


@pytest.mark.parametrize("kind", [Slow, Quick])
def test_a_drain_ends_what_does_not_end_in_time(kind: type[Slow]) -> None:
    """It waits for its grace and no longer; what was ended leaves no sample."""
    each, samples = target(), []

    async def story() -> float:
        loop = asyncio.get_running_loop()
        scheduler = Scheduler(VirtualClock(loop, START), samples.append, Telemetry())
        scheduler.replace_jobs([Job(each, kind(each, 4.0))])
        task = asyncio.create_task(scheduler.run())
        await asyncio.sleep(next_start(phase_s(each), 10.0, START) - START + 1.0)
        task.cancel()
        began = loop.time()
        await scheduler.drain(2.0)
        ended = loop.time()
        await asyncio.sleep(10.0)
        return ended - began

    assert run(story()) == pytest.approx(2.0)
    assert samples == []


def test_one_host_that_hangs_leaves_slots_for_the_others() -> None:
    """Beyond its share a host's probes are skipped, counted and UNKNOWN; others are not."""
    slow = [target(f"slow{i}", 2.0) for i in range(PER_HOST_CAP)]
    other = target("other", 2.0)
    jobs = [Job(each, Slow(each, 4.9), "slow.test") for each in slow]
    samples, telemetry = collect([*jobs, Job(other, Slow(other, 4.9), "other.test")], 20.0)
    skipped = [sample for sample in samples if sample.reason == "host_busy"]
    assert skipped
    assert {sample.outcome for sample in skipped} == {Outcome.UNKNOWN}
    assert not any(sample.target == "other" for sample in skipped)
    counted = {row: n for series, row, n in telemetry.numbers() if row == ("host_busy",)}
    assert counted == {("host_busy",): len(skipped)}


class Holding(Slow):
    """A probe that keeps something between its runs."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_what_leaves_the_schedule_gives_up_what_it_holds() -> None:
    """By a reload and at the end, once each; what stays keeps it."""
    each = target()
    stays, leaves = Holding(each, 0.1), Holding(target("other"), 0.1)

    async def story() -> tuple[int, int]:
        clock = VirtualClock(asyncio.get_running_loop(), START)
        scheduler = Scheduler(clock, lambda _: None, Telemetry())
        scheduler.replace_jobs([Job(each, stays), Job(target("other"), leaves)])
        scheduler.replace_jobs([Job(each, stays)])
        between = (stays.closed, leaves.closed)
        await scheduler.drain(1.0)
        return between

    assert run(story()) == (0, 1)
    assert (stays.closed, leaves.closed) == (1, 1)
