"""Counts of samples: what buckets hold, and what a window says.

Owns adding, taking away and ratios. Must not know buckets, windows or time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from monitor.model import Outcome
from monitor.slo.sketch import Sketch


class Tally:
    """Counts of samples, their up and down time, and their latencies."""

    __slots__ = ("bad", "down_ms", "good", "sketch", "unknown", "up_ms")

    def __init__(self) -> None:
        """Start empty."""
        self.good = self.bad = self.unknown = self.up_ms = self.down_ms = 0
        self.sketch: Sketch | None = None

    @property
    def samples(self) -> int:
        """How many samples are in it, whatever their outcome."""
        return self.good + self.bad + self.unknown

    @property
    def is_empty(self) -> bool:
        """Whether nothing was counted."""
        return not self.samples

    def count(self, outcome: Outcome, interval_ms: int, key: int | None, *, censored: bool) -> None:
        """Count one sample that stands for `interval_ms`; `key` is its latency's bucket."""
        if outcome is Outcome.GOOD:
            self.good += 1
            self.up_ms += interval_ms
        elif outcome is Outcome.BAD:
            self.bad += 1
            self.down_ms += interval_ms
        else:
            self.unknown += 1
            return
        if key is not None:
            if self.sketch is None:
                self.sketch = Sketch()
            self.sketch.add_key(key, censored=censored)

    def merge(self, other: Tally) -> None:
        """Add all of `other`."""
        self.good += other.good
        self.bad += other.bad
        self.unknown += other.unknown
        self.up_ms += other.up_ms
        self.down_ms += other.down_ms
        if other.sketch is not None:
            if self.sketch is None:
                self.sketch = Sketch()
            self.sketch.merge(other.sketch)

    def contains(self, other: Tally) -> bool:
        """Whether all of `other` may have been merged before."""
        return (
            self.good >= other.good
            and self.bad >= other.bad
            and self.unknown >= other.unknown
            and self.up_ms >= other.up_ms
            and self.down_ms >= other.down_ms
            and (
                other.sketch is None
                or (self.sketch is not None and self.sketch.contains(other.sketch))
            )
        )

    def subtract(self, other: Tally) -> None:
        """Take away what was merged before."""
        self.good -= other.good
        self.bad -= other.bad
        self.unknown -= other.unknown
        self.up_ms -= other.up_ms
        self.down_ms -= other.down_ms
        if other.sketch is not None and self.sketch is not None:
            self.sketch.subtract(other.sketch)


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


def stats_of(tallies: Sequence[Tally], expected_ms: int) -> WindowStats:
    """Return a lasting copy of what `tallies` hold together."""
    return WindowStats(
        good=sum(tally.good for tally in tallies),
        bad=sum(tally.bad for tally in tallies),
        unknown=sum(tally.unknown for tally in tallies),
        up_ms=sum(tally.up_ms for tally in tallies),
        down_ms=sum(tally.down_ms for tally in tallies),
        expected_ms=expected_ms,
        latencies=Sketch.merged(tally.sketch for tally in tallies if tally.sketch),
    )
