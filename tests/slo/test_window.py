"""Sliding windows against a brute-force count of the whole history."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.model import BucketRow, Outcome, Sample, WindowRow
from monitor.slo.signal import WINDOWS
from monitor.slo.sketch import Sketch
from monitor.slo.tally import WindowStats, stats_of
from monitor.slo.window import TargetWindow, latency_span_s, window_span_s
from tests.slo.world import BAD, GOOD, UNKNOWN, sample

HOUR, DAY = 3600, 86400
START = 1_700_000_003.0
EXTRA = 14 * DAY


@dataclass(frozen=True, slots=True)
class Event:
    """Time passes by `gap_s`, then a sample arrives that is `late_s` old."""

    gap_s: float
    late_s: float
    outcome: Outcome
    latency_s: float | None
    interval_s: float


@dataclass(frozen=True, slots=True)
class Counted:
    """A sample as it is counted, and what it stands for."""

    sample: Sample
    interval_s: float


seconds = st.sampled_from(
    [0, 0, 0.5, 7, 10, 15, 60, 299, 3600, 7300, 23_000, 90_000, 300_000, 8_000_000]
)
events = st.lists(
    st.builds(
        Event,
        gap_s=seconds,
        late_s=seconds | st.just(-25.0),
        outcome=st.sampled_from(Outcome),
        latency_s=st.sampled_from([None, 0.01, 0.2, 3.0, float("nan"), float("inf"), -1.0]),
        interval_s=st.sampled_from([15.0, 15.0, 15.0, 60.0, 1.5]),
    ),
    max_size=25,
)


def in_span(history: Iterable[Counted], span_s: float, now: float) -> list[Counted]:
    return [each for each in history if each.sample.at >= now - span_s]


def oracle(history: Sequence[Counted], window_s: int, now: float) -> WindowStats:
    counts = in_span(history, window_span_s(window_s, now), now)
    latencies = Sketch()
    for each in in_span(history, latency_span_s(window_s, now), now):
        if each.sample.latency_s is not None and each.sample.outcome is not UNKNOWN:
            latencies.add(each.sample.latency_s, censored=each.sample.censored)
    outcomes = [each.sample.outcome for each in counts]

    def time_ms(outcome: Outcome) -> int:
        return sum(
            round(each.interval_s * 1000) for each in counts if each.sample.outcome is outcome
        )

    return WindowStats(
        good=outcomes.count(GOOD),
        bad=outcomes.count(BAD),
        unknown=outcomes.count(UNKNOWN),
        up_ms=time_ms(GOOD),
        down_ms=time_ms(BAD),
        expected_ms=0,
        latencies=latencies,
    )


def stats(window: TargetWindow, window_s: int) -> WindowStats:
    return stats_of([window.counts(window_s)], window.latencies(window_s), 0)


def play(window: TargetWindow, now: float, event: Event) -> tuple[float, Counted]:
    now += event.gap_s
    window.advance(now)
    new = sample(now - event.late_s, event.outcome, latency_s=event.latency_s)
    window.add(new, event.interval_s)
    counted = sample(min(new.at, now), event.outcome, latency_s=event.latency_s)
    return now, Counted(counted, event.interval_s)


@settings(max_examples=80)
@given(events, seconds)
def test_every_window_equals_a_count_of_the_whole_history(
    story: list[Event], quiet_s: float
) -> None:
    """Late, early and repeated samples and long gaps give exactly the brute-force figures."""
    window, now, history = TargetWindow("t", START, (EXTRA,)), START, []
    for number, event in enumerate(story):
        now, counted = play(window, now, event)
        history.append(counted)
        # From here on its running total is kept.
        stats(window, list(WINDOWS.values())[number % len(WINDOWS)])
    now += quiet_s
    window.advance(now)
    for window_s in (*WINDOWS.values(), EXTRA, 17 * 60, 45, 5 * DAY):
        assert stats(window, window_s) == oracle(history, window_s, now), window_s


@settings(max_examples=60)
@given(events, st.integers(0, 24))
def test_what_is_taken_back_counts_as_unknown(story: list[Event], which: int) -> None:
    """As if it had been unknown from the beginning, in every window that still holds it."""
    window, plain, now = TargetWindow("t", START), TargetWindow("t", START), START
    taken: Counted | None = None
    for number, event in enumerate(story):
        then = now
        now, counted = play(window, now, event)
        if number == which:
            taken = counted
            event = Event(event.gap_s, event.late_s, UNKNOWN, None, event.interval_s)  # noqa: PLW2901
        play(plain, then, event)
    if taken is not None:
        window.take_back(taken.sample, taken.interval_s)
    for window_s in WINDOWS.values():
        assert stats(window, window_s) == stats(plain, window_s), window_s


class Disk:
    """What a store would hold."""

    def __init__(self) -> None:
        self.rows: dict[str, WindowRow] = {}

    def save(self, window: TargetWindow) -> list[str]:
        fresh = list(window.flush())
        self.rows |= {row.part: row for row in fresh}
        return [row.part for row in fresh]

    def restored(self, now: float) -> TargetWindow:
        window = TargetWindow("t", now)
        assert window.restore(self.rows.values(), now) == 0
        return window


@settings(max_examples=100)
@given(events, events, seconds)
def test_a_restart_in_the_middle_changes_nothing(
    before: list[Event], after: list[Event], away_s: float
) -> None:
    """A window restored from its flushed rows answers like one that never stopped."""
    steady, now, disk = TargetWindow("t", START), START, Disk()
    for index, event in enumerate(before):
        now, _ = play(steady, now, event)
        if index % 3 == 0:
            disk.save(steady)
    disk.save(steady)
    now += away_s
    steady.advance(now)
    restored = disk.restored(now)
    for index, event in enumerate(after):
        play(restored, now, event)
        now, _ = play(steady, now, event)
        if index % 4 == 0:
            disk.save(restored)
    disk.save(restored)
    again = disk.restored(now)
    for window_s in WINDOWS.values():
        assert stats(restored, window_s) == stats(steady, window_s), window_s
        assert stats(again, window_s) == stats(steady, window_s), window_s


@settings(max_examples=60)
@given(events, seconds)
def test_a_crash_loses_what_came_after_the_last_flush_and_nothing_else(
    story: list[Event], away_s: float
) -> None:
    """Every flush alone is enough to go on from, however the levels stood at that moment."""
    window, now, history, disk = TargetWindow("t", START), START, [], Disk()
    for event in story:
        now, counted = play(window, now, event)
        history.append(counted)
        disk.save(window)
        restored = disk.restored(now + away_s)
        for window_s in (60, HOUR, 6 * HOUR, DAY, 30 * DAY):
            assert stats(restored, window_s) == oracle(history, window_s, now + away_s), window_s


def test_a_window_covers_its_last_buckets_and_the_current_one() -> None:
    """One minute is six buckets of ten seconds, the last of them still open."""
    window = TargetWindow("t", 1000.0)
    window.add(sample(1000.0), 15)
    for now, good in [(1000.0, 1), (1049.9, 1), (1059.9, 1), (1060.0, 0)]:
        window.advance(now)
        assert stats(window, 60).good == good, now
        assert stats(window, 300).good == 1


def test_counts_and_time_are_kept_by_outcome() -> None:
    """GOOD is up time, BAD is down time, UNKNOWN is neither and has no latency."""
    window = TargetWindow("t", 1000.0)
    for outcome, latency_s in [(GOOD, 0.1), (GOOD, None), (BAD, 5.0), (UNKNOWN, 9.0)]:
        window.add(sample(1000.0, outcome, latency_s=latency_s, censored=outcome is BAD), 15)
    found = stats(window, 60)
    assert (found.good, found.bad, found.unknown, found.valid) == (2, 1, 1, 3)
    assert (found.up_ms, found.down_ms) == (30_000, 15_000)
    assert (found.error_ratio, found.uptime) == (Fraction(1, 3), Fraction(2, 3))
    assert (found.latencies.count, found.censored) == (2, 1)


def test_timeouts_count_in_percentiles_as_the_time_waited() -> None:
    """A timeout is never dropped from the latencies (fault 15)."""
    window = TargetWindow("t", 1000.0)
    for _ in range(9):
        window.add(sample(1000.0, GOOD, latency_s=0.1), 15)
    window.add(sample(1000.0, BAD, latency_s=5.0, censored=True), 15)
    p95 = stats(window, 60).quantile(Fraction(19, 20))
    assert p95 == pytest.approx(5.0, rel=0.01)


def test_a_tainted_latency_is_no_latency() -> None:
    """What our own stall may have made counts as an outcome, and in no percentile."""
    window = TargetWindow("t", 1000.0)
    for latency_s, tainted_s in ((0.1, 0.0), (9.0, 0.2)):
        sample = Sample(
            target="t",
            at=1000.0,
            outcome=Outcome.GOOD,
            latency_s=latency_s,
            tainted_s=tainted_s,
        )
        window.add(sample, 15)
    found = stats(window, 60)
    assert (found.good, found.latencies.count) == (2, 1)


def test_nothing_known_is_none() -> None:
    """Ratios and quantiles of nothing are None, not zero."""
    found = stats_of([], [], 0)
    assert (found.error_ratio, found.uptime, found.coverage) == (None, None, None)
    assert found.quantile(Fraction(1, 2)) is None


def test_a_quiet_window_writes_nothing_and_a_busy_one_a_small_row() -> None:
    """One short row at each flush; whole levels only when one of their buckets closes."""
    window, disk = TargetWindow("t", 100_000.0), Disk()
    window.add(sample(100_000.0), 15)
    assert disk.save(window) == ["head"]
    assert disk.save(window) == []
    for now in range(100_010, 100_200, 10):
        window.advance(float(now))
        window.add(sample(float(now)), 15)
        assert disk.save(window) == ["head"]
    assert len(disk.rows["head"].data) < 600
    window.advance(100_201.0)
    assert disk.save(window) == [
        "head", "counts/10", "counts/300", "latencies/10", "latencies/300",
    ]  # fmt: skip
    window.add(sample(100_100.0), 15)
    assert disk.save(window)[:3] == ["head", "counts/10", "counts/300"]
    assert stats(disk.restored(100_201.0), HOUR).good == 21


def bucket(width_s: int, start: int, good: int, sketch: bytes = b"") -> BucketRow:
    return BucketRow(
        target="t",
        width_s=width_s,
        start=start,
        good=good,
        bad=0,
        unknown=0,
        up_ms=15_000 * good,
        down_ms=0,
        sketch=sketch,
    )


def test_buckets_of_an_earlier_version_are_taken_over() -> None:
    """Counts and latencies of all widths, and a wide bucket that was only half written."""
    latency = Sketch()
    latency.add(0.2)
    rows = [
        bucket(3600, 0, 240, latency.to_bytes()),
        bucket(300, 99_600, 20, latency.to_bytes()),
        bucket(300, 99_900, 1),
        *(bucket(10, start, 1, latency.to_bytes()) for start in (99_900, 99_950, 100_020)),
    ]
    window = TargetWindow("t", 100_300.0)
    assert window.restore_buckets(rows) == 0
    assert stats(window, HOUR).good == 3
    assert stats(window, 6 * HOUR).good == 23
    assert stats(window, 7 * DAY).good == 263
    assert stats(window, 7 * DAY).up_ms == 263 * 15_000
    assert stats(window, 7 * DAY).latencies.count == 5
    disk = Disk()
    disk.save(window)
    assert stats(disk.restored(100_300.0), 7 * DAY) == stats(window, 7 * DAY)


def test_damaged_rows_are_left_out_and_counted() -> None:
    """One bad row costs one level or one bucket, not the start of the process."""
    window = TargetWindow("t", 1000.0)
    damaged = bucket(10, 990, 1, b"?")
    assert window.restore_buckets([bucket(10, 1000, 1), damaged, bucket(7, 994, 1)]) == 2
    assert stats(window, 60).good == 1
    disk = Disk()
    window.advance(2000.0)
    disk.save(window)
    rows = [
        WindowRow(owner="t", part=part, at=2000.0, data=row.data[:-1])
        for part, row in disk.rows.items()
    ]
    broken = TargetWindow("t", 2000.0)
    assert broken.restore(rows, 2000.0) == len(rows)
    assert stats(broken, HOUR).good == 0


@settings(max_examples=200)
@given(st.sampled_from(["counts/10", "counts/3600", "latencies/300", "head"]), st.binary())
def test_garbage_is_a_damaged_row_and_nothing_else(part: str, data: bytes) -> None:
    """Whatever the bytes are, the process starts."""
    window = TargetWindow("t", 2000.0)
    window.restore([WindowRow(owner="t", part=part, at=2000.0, data=data)], 2000.0)
    stats(window, HOUR)


def test_counts_ahead_of_a_clock_that_was_set_back_wait_for_their_time() -> None:
    """Stored buckets of the future are neither counted now nor lost."""
    before, disk = TargetWindow("t", 100_000.0), Disk()
    before.add(sample(100_000.0), 15)
    before.advance(100_400.0)
    disk.save(before)
    after = disk.restored(96_400.0)
    assert stats(after, 2 * HOUR).good == 0
    after.advance(100_020.0)
    assert stats(after, 2 * HOUR).good == 1


def test_serving_another_period_keeps_the_history() -> None:
    """A reload that changes the objective's period finds the samples that are kept."""
    window = TargetWindow("t", START)
    window.add(sample(START), 15)
    window.advance(START + 4 * DAY)
    window.serve([EXTRA])
    assert stats(window, EXTRA).good == 1
    window.serve([])
    assert stats(window, EXTRA).good == 1


def test_memory_does_not_grow_with_time() -> None:
    """What is stored of a window after a year is what is stored after three months."""
    window, sizes = TargetWindow("t", 0.0), []
    for now in range(0, 400 * DAY, 2 * HOUR):
        window.advance(float(now))
        window.add(sample(float(now)), 15)
        if now in {100 * DAY, 390 * DAY}:
            disk = Disk()
            disk.save(window)
            sizes.append(sum(len(row.data) for row in disk.rows.values()))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)
