"""Counts of samples, and what a window says.

Owns ratios. Must not know buckets, windows or time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from monitor.slo.sketch import Sketch


class Tally(NamedTuple):
    """Counts of samples, and the time that they stand for."""

    good: int
    bad: int
    unknown: int
    up_ms: int
    down_ms: int


COLUMNS = len(Tally._fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowStats:
    """What is known of a window, of one target or of several together."""

    good: int
    bad: int
    unknown: int
    up_ms: int
    down_ms: int
    expected_ms: int
    """Time that should have been measured, summed over the targets."""
    latencies: Sketch = field(default_factory=Sketch, repr=False)

    @property
    def valid(self) -> int:
        """Samples that say something about the target."""
        return self.good + self.bad

    @property
    def error_ratio(self) -> Fraction | None:
        """Bad / valid samples, None without valid ones."""
        return Fraction(self.bad, self.valid) if self.valid else None

    @property
    def uptime(self) -> Fraction | None:
        """Up / known time, None when nothing is known."""
        known_ms = self.up_ms + self.down_ms
        return Fraction(self.up_ms, known_ms) if known_ms else None

    @property
    def coverage(self) -> float | None:
        """Known / expected time, at most 1; None while nothing is expected."""
        if self.expected_ms <= 0:
            return None
        return min(1.0, (self.up_ms + self.down_ms) / self.expected_ms)

    @property
    def censored(self) -> int:
        """Latencies that are lower bounds (timeouts)."""
        return self.latencies.censored

    def quantile(self, q: Fraction) -> float | None:
        """Return the latency in seconds that a share `q` (0-1) does not exceed, None without."""
        return self.latencies.quantile(q)


def stats_of(
    tallies: Iterable[Tally], latencies: Iterable[Sketch], expected_ms: int
) -> WindowStats:
    """Return what `tallies` and `latencies` are together."""
    columns = zip(*tallies, Tally(0, 0, 0, 0, 0), strict=True)
    good, bad, unknown, up_ms, down_ms = map(sum, columns)
    return WindowStats(
        good=good,
        bad=bad,
        unknown=unknown,
        up_ms=up_ms,
        down_ms=down_ms,
        expected_ms=expected_ms,
        latencies=Sketch.merged(latencies),
    )
