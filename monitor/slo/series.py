"""The record of one objective: what was good, bad and not known, in units of its budget.

A unit is a sample, a second (a millisecond, where intervals are no whole seconds) or a slice. What
falls into planned maintenance and what was corrected afterwards is kept apart, so that either can
be counted in another way later on.

Owns the columns and corrections. Knows no sample.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from monitor.model import WindowRow
from monitor.slo import levels
from monitor.slo.counting import CountLevel, Counts
from monitor.slo.levels import CountLevels
from monitor.slo.objective import MaintenanceMode

GOOD, BAD, UNKNOWN = 0, 1, 2
_MEASURED, _MAINTENANCE, _CORRECTED = 0, 3, 6
COLUMNS = 9


class SloCounts(NamedTuple):
    """Units by what they are for the budget."""

    good: int
    bad: int
    unknown: int
    excluded: int
    """What was measured, or failed to be, in time that is left out."""

    @property
    def valid(self) -> int:
        """Units that are known."""
        return self.good + self.bad


class SloSeries:
    """The record of one objective over ninety days."""

    __slots__ = ("_counts", "_is_plain", "_mode", "_owner")

    def __init__(
        self, owner: str, mode: MaintenanceMode, unit_ms: int, now: float, windows: Iterable[int]
    ) -> None:
        """Start empty at `now`; `unit_ms` is what a unit is, 0 for what is no time."""
        self._owner = owner
        self._mode = mode
        self._counts = CountLevels(COLUMNS, now, windows)
        self._counts.measure_in(unit_ms)
        self._is_plain = True
        """Whether nothing was ever put apart."""

    @property
    def unit_ms(self) -> int:
        """Milliseconds that a unit is, 0 when it is no time."""
        return self._counts.unit

    def advance(self, now: float) -> None:
        """Move on to `now`; going back is ignored."""
        self._counts.advance(now)

    def add(self, at: float, which: int, units: int, *, in_maintenance: bool) -> None:
        """Count units; `which` is GOOD, BAD or UNKNOWN. Taking away is counting less than none."""
        column, counts = which, self._counts
        if in_maintenance:
            column, self._is_plain = which + _MAINTENANCE, False
        if at >= counts.next_edge:
            counts.advance(at)
        if units > 0 and at >= counts.next_edge - levels.NARROW_S:
            counts.add(column, units)
        else:
            change = [0] * COLUMNS
            change[column] = units
            self._counts.file(at, change)

    def counts(self, window_s: int) -> SloCounts:
        """Return the last `window_s` seconds, as the mode of maintenance has it."""
        if self._is_plain:
            return SloCounts(*self._counts.level(window_s).first_three(window_s), 0)
        return self._judged(self._counts.counts(window_s))

    def ratio(self, window_s: int) -> tuple[int, int]:
        """Return (bad, valid) units of a window, which is asked for most often."""
        if self._is_plain:
            good, bad, _ = self._counts.level(window_s).first_three(window_s)
            return bad, good + bad
        counts = self.counts(window_s)
        return counts.bad, counts.valid

    def between(self, start: float, end: float) -> SloCounts:
        """Return the buckets that begin in [start, end)."""
        return self._judged(self._counts.between(start, end))

    def _judged(self, counts: Counts) -> SloCounts:
        good, bad, unknown, *apart = counts
        if self._mode is MaintenanceMode.GOOD:
            return SloCounts(good + sum(apart[:3]), bad, unknown, sum(apart[3:]))
        return SloCounts(good, bad, unknown, sum(apart))

    def correct(self, start: float, end: float, *, undo: bool = False) -> None:
        """Leave out what was measured in [start, end), or count it again.

        Whole buckets: the finest that are kept. Of a wider bucket that is only partly in there
        goes what the finer ones say; where none are left, all of it when half of it is in there
        (or, to undo, any of it).
        """
        self._is_plain = False
        source, sink = (_CORRECTED, _MEASURED) if undo else (_MEASURED, _CORRECTED)
        # The widest first: of what they change, the narrower ones still have to tell.
        for number, level in reversed(list(enumerate(self._counts.levels))):
            for begins in _starts(level, start, end):
                found = self._within(number, begins, start, end, undo=undo)
                change = [0] * COLUMNS
                for which in (GOOD, BAD, UNKNOWN):
                    moved = found[source + which]
                    change[source + which], change[sink + which] = -moved, moved
                if any(change):
                    level.file(begins, change)
        self._counts.unsaved = True

    def _within(self, number: int, begins: int, start: float, end: float, *, undo: bool) -> Counts:
        """Return what of a bucket lies in [start, end)."""
        level = self._counts.levels[number]
        width_s = level.width_s
        inside_s = min(end, begins + width_s) - max(start, begins)
        finer = self._counts.levels[number - 1] if number else None
        if inside_s < width_s and finer is not None and finer.keeps(begins):
            parts = [
                self._within(number - 1, each, start, end, undo=undo)
                for each in _starts(finer, max(start, begins), min(end, begins + width_s))
            ]
            return [sum(column) for column in zip(*parts, [0] * COLUMNS, strict=True)]
        if inside_s >= width_s or undo or 2 * inside_s >= width_s:
            return level.bucket(begins)
        return [0] * COLUMNS

    def take_over(self, number: int, start: float, counts: tuple[int, int, int]) -> None:
        """Add good, bad and unknown units to one bucket of the level of this number."""
        self._counts.levels[number].file(start, (*counts, *[0] * (COLUMNS - len(counts))))
        self._counts.unsaved = True

    def serve(self, windows: Iterable[int]) -> None:
        """Keep running totals of exactly these windows."""
        self._counts.serve(windows)

    def count_as(self, mode: MaintenanceMode, unit_ms: int) -> None:
        """Judge maintenance in another way; measure in a finer unit, if it is finer."""
        self._mode = mode
        if unit_ms and unit_ms < self.unit_ms:
            self._counts.convert(lambda unit: lambda c: [x * unit // unit_ms for x in c], unit_ms)

    def flush(self) -> Iterator[WindowRow]:
        """Return the rows that have changed since the last call."""
        return levels.flush(self._owner, self._counts, (), self._counts.head)

    def restore(self, rows: Iterable[WindowRow], now: float) -> int:
        """Take over what an earlier process wrote; return how many rows were damaged."""
        found = {row.part: row for row in rows}
        if not found:
            return 0
        wanted, self._is_plain = self.unit_ms, False
        damaged = self._counts.load(found, lambda head: head)
        units = {level.unit for level in self._counts.levels}
        if len(units) > 1 or (wanted and not min(units)):
            # It counted something else under the same name.
            self._counts.convert(lambda _: lambda counts: [0] * len(counts), wanted)
        self.count_as(self._mode, wanted)
        self.advance(now)
        self._is_plain = not any(level.holds(_MAINTENANCE) for level in self._counts.levels)
        return damaged


def _starts(level: CountLevel, start: float, end: float) -> Iterator[int]:
    """Yield the starts of the buckets that are kept and overlap with [start, end)."""
    width_s = level.width_s
    for begins in range(int(start // width_s) * width_s, math.ceil(end), width_s):
        if level.keeps(begins) and begins <= level.current * width_s:
            yield begins
