"""Sliding windows against a brute-force count of the whole history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.model import BucketRow, Outcome, Sample
from monitor.slo.signal import WINDOWS
from monitor.slo.tally import WindowStats, stats_of
from monitor.slo.window import TargetWindow
from tests.slo.world import BAD, GOOD, UNKNOWN, sample

HOUR, DAY = 3600, 86400
START = 1_700_000_003.0
EXTRA = 14 * DAY
WIDTHS = {10: 2 * HOUR, 300: 3 * DAY, 3600: 90 * DAY}


@dataclass(frozen=True, slots=True)
class Event:
    """Time passes by `gap_s`, then a sample arrives that is `late_s` old."""

    gap_s: float
    late_s: float
    outcome: Outcome
    latency_s: float | None


seconds = st.sampled_from([0, 0, 0.5, 7, 10, 15, 60, 299, 3600, 7300, 90_000, 300_000, 8_000_000])
events = st.lists(
    st.builds(
        Event,
        gap_s=seconds,
        late_s=seconds | st.just(-25.0),
        outcome=st.sampled_from(Outcome),
        latency_s=st.sampled_from([None, 0.01, 0.2, 3.0, float("nan"), float("inf"), -1.0]),
    ),
    max_size=25,
)


def width_of(window_s: int) -> int:
    return next(width for width, longest in WIDTHS.items() if window_s <= longest)


def oracle(history: Sequence[Sample], window_s: int, now: float) -> WindowStats:
    width = width_of(window_s)
    first = int(now // width) - -(-window_s // width) + 1
    window = TargetWindow("oracle", now)
    inside = [s for s in history if first <= s.at // width]
    for each in inside:
        window.add(sample(now, each.outcome, latency_s=each.latency_s), 15)
    return stats_of(window.tallies(60), 0)


def stats(window: TargetWindow, window_s: int) -> WindowStats:
    return stats_of(window.tallies(window_s), 0)


def play(window: TargetWindow, now: float, event: Event) -> tuple[float, Sample]:
    now += event.gap_s
    window.advance(now)
    new = sample(now - event.late_s, event.outcome, latency_s=event.latency_s)
    window.add(new, 15)
    counted = sample(min(new.at, now), event.outcome, latency_s=event.latency_s)
    return now, counted


@settings(max_examples=80)
@given(events, seconds)
def test_every_window_equals_a_count_of_the_whole_history(
    story: list[Event], quiet_s: float
) -> None:
    """Late, early and repeated samples and long gaps give exactly the brute-force figures."""
    window, now, history = TargetWindow("t", START, (EXTRA,)), START, []
    for event in story:
        now, counted = play(window, now, event)
        history.append(counted)
    now += quiet_s
    window.advance(now)
    for window_s in (*WINDOWS.values(), EXTRA, 17 * 60, 45, 5 * DAY):
        assert stats(window, window_s) == oracle(history, window_s, now), window_s


@settings(max_examples=60)
@given(events, events, seconds)
def test_a_restart_in_the_middle_changes_nothing(
    before: list[Event], after: list[Event], away_s: float
) -> None:
    """A window restored from its flushed rows answers like one that never stopped."""
    steady, now = TargetWindow("t", START), START
    rows: dict[tuple[int, int], BucketRow] = {}
    for index, event in enumerate(before):
        now, _ = play(steady, now, event)
        if index % 3 == 0:
            rows |= {(row.width_s, row.start): row for row in steady.flush()}
    rows |= {(row.width_s, row.start): row for row in steady.flush()}
    now += away_s
    steady.advance(now)
    restored = TargetWindow("t", now)
    assert restored.restore(rows.values()) == 0
    for event in after:
        play(restored, now, event)
        now, _ = play(steady, now, event)
    for window_s in WINDOWS.values():
        assert stats(restored, window_s) == stats(steady, window_s), window_s


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
    found = stats_of([], 0)
    assert (found.error_ratio, found.uptime, found.coverage) == (None, None, None)
    assert found.quantile(Fraction(1, 2)) is None


def flushed(window: TargetWindow) -> list[tuple[int, int, int]]:
    return [(row.width_s, row.start, row.good) for row in window.flush()]


def test_flush_gives_only_what_changed() -> None:
    """A second flush is empty; a late sample makes its own bucket dirty again."""
    window = TargetWindow("t", 100_000.0)
    window.add(sample(100_000.0), 15)
    assert flushed(window) == [(10, 100_000, 1)]
    assert flushed(window) == []
    window.advance(100_050.0)
    assert flushed(window) == [(10, 100_000, 1)]
    window.add(sample(100_001.0), 15)
    assert flushed(window) == [(10, 100_000, 2)]


def test_wide_buckets_are_written_once_they_are_over() -> None:
    """One row for a wide bucket, not one at every flush; a late sample brings another."""
    window = TargetWindow("t", 100_000.0)
    window.add(sample(100_000.0), 15)
    window.advance(100_201.0)
    assert (300, 99_900, 1) in flushed(window)
    window.add(sample(100_100.0), 15)
    assert (300, 99_900, 2) in flushed(window)
    window.advance(100_801.0)
    assert flushed(window) == [(3600, 97_200, 2)]


def test_a_wide_row_from_halfway_gives_way_to_the_narrow_ones() -> None:
    """What was written before a wide bucket was over is not taken for all of it."""
    halfway = BucketRow(
        target="t", width_s=300, start=99_900, good=1, bad=0, unknown=0, up_ms=15_000, down_ms=0
    )
    rows = [
        BucketRow(
            target="t", width_s=10, start=start, good=1, bad=0, unknown=0, up_ms=15_000, down_ms=0
        )
        for start in (99_900, 99_950, 100_020)
    ]
    window = TargetWindow("t", 100_300.0)
    window.restore([halfway, *rows])
    assert stats(window, 6 * HOUR).good == 3
    assert flushed(window) == [(300, 99_900, 3)]


def test_damaged_rows_are_left_out_and_counted() -> None:
    """One bad row costs one bucket, not the start of the process."""
    window = TargetWindow("t", 1000.0)
    good = BucketRow(
        target="t", width_s=10, start=1000, good=1, bad=0, unknown=0, up_ms=15_000, down_ms=0
    )
    damaged = BucketRow(
        target="t", width_s=10, start=990, good=1, bad=0, unknown=0, up_ms=1, down_ms=0, sketch=b"?"
    )
    foreign = BucketRow(
        target="t", width_s=7, start=994, good=1, bad=0, unknown=0, up_ms=1, down_ms=0
    )
    assert window.restore([good, damaged, foreign]) == 2
    assert stats(window, 60).good == 1


def test_rows_ahead_of_a_clock_that_was_set_back_wait_for_their_time() -> None:
    """Stored buckets of the future are neither counted now nor lost."""
    before = TargetWindow("t", 100_000.0)
    before.add(sample(100_000.0), 15)
    after = TargetWindow("t", 96_400.0)
    after.restore(before.flush())
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
    """Buckets older than the longest window of their width are gone."""
    window = TargetWindow("t", 0.0)
    for now in range(0, 400 * DAY, 2 * HOUR):
        window.advance(float(now))
        window.add(sample(float(now)), 15)
    held = [len(ring._buckets) for ring in window._rings]
    assert held[0] <= 2
    assert held[1] <= 37
    assert held[2] <= 90 * 12
