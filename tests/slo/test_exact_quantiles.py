"""Every window's counts and quantiles beside an exact record, across restarts.

The small form of `make bench BENCH=quantiles`: a sorted list is the truth.
"""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from bench.support.replay import MOMENTS, SHAPES, Record, draw, replay
from monitor.slo.engine import Engine
from monitor.slo.signal import WINDOWS
from monitor.slo.window import latency_span_s, window_span_s

COUNT = 20_000
QUANTILES = tuple(Fraction(per_mille, 1000) for per_mille in (500, 900, 950, 990, 999))


def covered(record: Record, moment: float, span_s: float) -> list[int]:
    """Return the numbers of the samples that a window with this span covers."""
    start = round(moment - span_s)
    return [n for n in range(record.until(moment)) if record.at[n] >= start]


def check(record: Record, engine: Engine, moment: float) -> None:
    [deployment] = engine.specs
    for window, window_s in WINDOWS.items():
        stats = engine.window(deployment, window_s, moment)
        counted = covered(record, moment, window_span_s(window_s, moment))
        outcomes = [record.outcome[n] for n in counted]
        exact = tuple(outcomes.count(code) for code in range(3))
        assert (stats.good, stats.bad, stats.unknown) == exact, window
        timed = covered(record, moment, latency_span_s(window_s, moment))
        latencies = sorted(s for s in map(record.latency_s.__getitem__, timed) if not math.isnan(s))
        assert len(latencies) > 100 or moment not in MOMENTS, window
        for q in QUANTILES:
            rank = max(1, math.ceil(q * len(latencies)))
            exact_s = pytest.approx(latencies[rank - 1], rel=0.01) if latencies else None
            assert stats.quantile(q) == exact_s, (window, q)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_window_is_within_a_percent_of_the_exact_quantile(shape: str) -> None:
    """And its counts are exact, before and after restarts, the second after hours of nothing."""
    record, looked = draw(shape, COUNT, seed=1), 0
    for moment, engine in replay(record):
        check(record, engine, moment)
        looked += 1
    assert looked == len(MOMENTS) + 2
