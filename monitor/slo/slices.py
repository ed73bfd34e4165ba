"""Slices of time, of which each is good or bad as a whole, for budgets that count slices.

Owns the open slices and what late news means for those that were judged already.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction

from monitor.model import Outcome
from monitor.slo.objective import Budgeting, Objective
from monitor.slo.series import BAD, GOOD, UNKNOWN

KEEP_S = 900.0
"""A slice can be judged anew for so long after its end."""
RATIO_UNITS = 1_000_000
"""Units of a slice whose ratio counts: rounding costs less than a millionth of a slice."""
_COLUMN = {Outcome.GOOD: GOOD, Outcome.BAD: BAD, Outcome.UNKNOWN: UNKNOWN}

_ROW = struct.Struct("<qqqqqq")
"""Number of the slice, good, bad, unknown; good and bad units as they were judged."""

Change = tuple[float, int, int]
"""(when, GOOD | BAD, units); negative units take away."""


class Slices:
    """The recent slices of one objective."""

    __slots__ = ("_counts", "_is_ratio", "_judged", "_slice_s", "_target", "changed")

    def __init__(self, objective: Objective) -> None:
        """Start empty."""
        self._slice_s = objective.slice_s
        self._target: Fraction = objective.slice_target
        self._is_ratio = objective.budgeting is Budgeting.RATIO_TIMESLICES
        self._counts: dict[int, list[int]] = {}
        self._judged: dict[int, tuple[int, int]] = {}
        """(good units, bad units) that were counted for a slice."""
        self.changed = False

    @property
    def units(self) -> int:
        """Units of one slice."""
        return RATIO_UNITS if self._is_ratio else 1

    def add(self, at: float, outcome: Outcome, number: int) -> None:
        """Count samples (or milliseconds) of the moment `at`; a slice long gone stays as it is."""
        index = int(at // self._slice_s)
        counts = self._counts.setdefault(index, [0, 0, 0])
        counts[_COLUMN[outcome]] += number
        self.changed = True

    def judge(self, now: float, patience_s: float) -> Iterator[Change]:
        """Yield what changes in the record: slices that are over, and those judged otherwise now.

        A slice is over `patience_s` after its end, when whatever was under way is in.
        """
        for index in list(self._counts):
            end = (index + 1) * self._slice_s
            if now < end + patience_s:
                continue
            good, bad = self._verdict(self._counts[index])
            before_good, before_bad = self._judged.get(index, (0, 0))
            at = float(index * self._slice_s)
            self.changed |= (good, bad) != (before_good, before_bad)
            if good != before_good:
                yield at, GOOD, good - before_good
            if bad != before_bad:
                yield at, BAD, bad - before_bad
            self._judged[index] = good, bad
            if now >= end + KEEP_S:
                del self._counts[index], self._judged[index]
                self.changed = True

    def _verdict(self, counts: list[int]) -> tuple[int, int]:
        good, bad, _ = counts
        valid = good + bad
        if not valid:
            return 0, 0
        if self._is_ratio:
            units = round(Fraction(good * RATIO_UNITS, valid))
            return units, RATIO_UNITS - units
        return (1, 0) if Fraction(good, valid) >= self._target else (0, 1)

    def to_bytes(self) -> bytes:
        """Return the slices that can still change."""
        self.changed = False
        rows = [(i, *counts, *self._judged.get(i, (0, 0))) for i, counts in self._counts.items()]
        return b"".join(_ROW.pack(*row) for row in rows)

    def load(self, data: bytes) -> None:
        """Take over what `to_bytes` wrote.

        Raises:
            ValueError: these bytes are something else.
        """
        if len(data) % _ROW.size:
            msg = "damaged slices"
            raise ValueError(msg)
        self._counts.clear()
        self._judged.clear()
        for index, good, bad, unknown, judged_good, judged_bad in _ROW.iter_unpack(data):
            self._counts[index] = [good, bad, unknown]
            self._judged[index] = judged_good, judged_bad
