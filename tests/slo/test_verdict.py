"""Verdicts on the clauses of an SLA."""

from __future__ import annotations

from fractions import Fraction

import pytest

from monitor.slo.objective import Sla
from monitor.slo.signal import Unit
from monitor.slo.sketch import Sketch
from monitor.slo.tally import WindowStats
from monitor.slo.verdict import verdicts_of

PLAN = Sla(
    uptime=Fraction(999, 1000),
    latency_below_s=((Fraction(1, 2), Fraction(1)), (Fraction(999, 1000), Fraction(5, 2))),
    error_rate_below=Fraction(1, 1000),
    min_regions=3,
)


def stats(good: int, bad: int, latency_s: float | None = None) -> WindowStats:
    latencies = Sketch()
    for _ in range(good + bad if latency_s is not None else 0):
        latencies.add(latency_s or 0)
    return WindowStats(
        good=good,
        bad=bad,
        unknown=0,
        up_ms=good * 15_000,
        down_ms=bad * 15_000,
        expected_ms=0,
        latencies=latencies,
    )


def test_every_written_clause_gets_a_verdict() -> None:
    """Names, limits and units are those that people read."""
    found = verdicts_of(PLAN, stats(1000, 0, 0.2), 3)
    assert [(each.clause, each.limit, each.unit) for each in found] == [
        ("uptime", ">= 99.9%", Unit.PERCENT),
        ("p50", "< 1000ms", Unit.MS),
        ("p999", "< 2500ms", Unit.MS),
        ("error_rate", "< 0.1%", Unit.PERCENT),
        ("regions", ">= 3", Unit.COUNT),
    ]
    assert all(each.ok for each in found)


def test_unwritten_clauses_are_not_judged() -> None:
    """An empty SLA promises nothing."""
    assert verdicts_of(Sla(), stats(1, 1), 0) == ()


def test_ties_are_decided_exactly() -> None:
    """Uptime of exactly 99.9 % is kept (>=); an error rate of exactly 0.1 % is not (<)."""
    uptime, _, _, error_rate, regions = verdicts_of(PLAN, stats(999, 1), 2)
    assert (uptime.value, uptime.ok) == (99.9, True)
    assert (error_rate.value, error_rate.ok) == (0.1, False)
    assert (regions.value, regions.ok) == (2.0, False)


@pytest.mark.parametrize(("latency_s", "ok"), [(0.98, True), (1.02, False)])
def test_latencies_are_judged_in_milliseconds(latency_s: float, ok: bool) -> None:  # noqa: FBT001 - the table's column
    """The value is in ms and compared with the clause's limit."""
    p50 = verdicts_of(PLAN, stats(10, 0, latency_s), None)[1]
    assert p50.ok is ok
    assert p50.value == pytest.approx(latency_s * 1000, rel=0.01)


def test_without_data_nothing_is_kept_or_broken() -> None:
    """No data is None in value and verdict."""
    found = verdicts_of(PLAN, stats(0, 0), None)
    assert [(each.value, each.ok) for each in found] == [(None, None)] * 5


def test_many_nines_are_not_rounded_away() -> None:
    """A limit is shown with all its digits."""
    (found,) = verdicts_of(Sla(uptime=Fraction("0.9999999")), stats(1, 0), None)
    assert found.limit == ">= 99.99999%"
