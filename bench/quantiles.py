"""Quantiles and counts of every window beside those of the exact record.

    make bench BENCH=quantiles

A million latencies each of three shapes (lognormal, two humps, all the same) over a hundred days,
through the engine, with two restarts in the middle, the second after two hours without anybody. At
three moments, and after each restart, every named window's p50 to p99.9 are compared with numpy's
nearest rank over exactly the samples that the window covers, and its counts with theirs. Computes
only: its figures are the same everywhere.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from bench.support.figures import Figure, conclude
from bench.support.replay import MOMENTS, SHAPES, Record, draw, replay
from monitor.slo.engine import Engine
from monitor.slo.signal import WINDOWS
from monitor.slo.window import latency_span_s, window_span_s

COUNT = 1_000_000
QUANTILES = {
    "p50": Fraction(50, 100),
    "p90": Fraction(90, 100),
    "p95": Fraction(95, 100),
    "p99": Fraction(99, 100),
    "p99.9": Fraction(999, 1000),
}
RELATIVE_ERROR = 0.01
FEWEST = 100
"""Latencies in the emptiest window; with fewer there would be little to compare."""


@dataclass(slots=True)
class Found:
    """How far ours is from the truth, over all moments."""

    errors: dict[str, dict[str, float]] = field(default_factory=dict)
    """Largest relative error by window and quantile."""
    miscounted: int = 0
    """Sum of all differences in good, bad and unknown."""
    fewest: int = COUNT
    """Latencies in the emptiest window, unless nobody watched."""


def nearest_rank(values: NDArray[np.float64], q: Fraction) -> float:
    """Return the smallest of the sorted `values` with at least a share `q` at or below it."""
    rank = max(1, -(-q.numerator * len(values) // q.denominator))
    return float(values[rank - 1])


def relative_error(said: float | None, values: NDArray[np.float64], q: Fraction) -> float:
    """Return how far `said` is from the truth; all of it when one knows something and one not."""
    if said is None or not len(values):
        return float((said is None) is bool(len(values)))
    expected = nearest_rank(values, q)
    return abs(said - expected) / expected


class Truth:
    """The record as numpy has it."""

    def __init__(self, record: Record) -> None:
        """Take over all samples; nothing is rounded."""
        self._record = record
        self._at = np.frombuffer(record.at)
        self._latency_s = np.frombuffer(record.latency_s)
        self._outcome = np.frombuffer(record.outcome, dtype=np.int8)

    def counts(self, moment: float, span_s: float) -> tuple[int, int, int]:
        """Return how many were good, bad and unknown in the `span_s` before `moment`."""
        arrived, covered = self._covered(moment, span_s)
        good, bad, unknown = np.bincount(self._outcome[:arrived][covered], minlength=3)
        return int(good), int(bad), int(unknown)

    def latencies(self, moment: float, span_s: float) -> NDArray[np.float64]:
        """Return the sorted latencies of the `span_s` before `moment`."""
        arrived, covered = self._covered(moment, span_s)
        covered &= ~np.isnan(self._latency_s[:arrived])
        return np.sort(self._latency_s[:arrived][covered])

    def _covered(self, moment: float, span_s: float) -> tuple[int, NDArray[np.bool_]]:
        arrived = self._record.until(moment)
        # Buckets begin at whole seconds, which a difference of two floats may miss by a hair.
        return arrived, self._at[:arrived] >= round(moment - span_s)


def compare(found: Found, truth: Truth, engine: Engine, moment: float) -> None:
    """Note in `found` how far `engine` is from `truth` at `moment`."""
    [deployment] = engine.specs
    for window, window_s in WINDOWS.items():
        stats = engine.window(deployment, window_s, moment)
        exact = truth.counts(moment, window_span_s(window_s, moment))
        ours = (stats.good, stats.bad, stats.unknown)
        found.miscounted += sum(abs(a - b) for a, b in zip(ours, exact, strict=True))
        latencies = truth.latencies(moment, latency_span_s(window_s, moment))
        if moment in MOMENTS:
            found.fewest = min(found.fewest, len(latencies))
        errors = found.errors.setdefault(window, dict.fromkeys(QUANTILES, 0.0))
        for name, q in QUANTILES.items():
            errors[name] = max(errors[name], relative_error(stats.quantile(q), latencies, q))


def measure(shape: str, count: int, seed: int) -> list[Figure]:
    """Send one shape through the engine and print what each window says of it."""
    record = draw(shape, count, seed)
    found, truth = Found(), Truth(record)
    for moment, engine in replay(record):
        compare(found, truth, engine, moment)
    print(f"{shape}: largest relative error in %, {len(MOMENTS)} moments and after two restarts")
    print(f"{'':>5}", *(f"{name:>7}" for name in QUANTILES))
    for window, errors in found.errors.items():
        print(f"{window:>5}", *(f"{100 * error:7.3f}" for error in errors.values()))
    worst = max(error for errors in found.errors.values() for error in errors.values())
    return [
        Figure(
            name=f"{shape}_error",
            value=100 * worst,
            unit="%",
            at_most=100 * RELATIVE_ERROR,
            note=f"{count} samples, {len(WINDOWS)} windows, {', '.join(QUANTILES)}",
        ),
        Figure(name=f"{shape}_miscounted", value=found.miscounted, unit="samples", at_most=0),
        Figure(name=f"{shape}_fewest", value=found.fewest, unit="latencies", at_least=FEWEST),
    ]


def main(count: int = COUNT) -> int:
    """Print the errors of all shapes."""
    figures = []
    for seed, shape in enumerate(SHAPES, 1):
        figures += measure(shape, count, seed)
    return conclude(figures)


if __name__ == "__main__":
    sys.exit(main())
