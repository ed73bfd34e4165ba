"""One objective of one deployment: what counts for it, and its budgets.

Owns how samples and moments become units of the record. Decides no alert.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from zlib import crc32

from monitor.model import Outcome, Sample, WindowRow
from monitor.slo.budget import Budget, Measured, budget_of
from monitor.slo.calendars import bounds
from monitor.slo.indicator import judges_samples, latency_limit, of_moment, of_sample
from monitor.slo.objective import Budgeting, Objective, Period, SliKind
from monitor.slo.series import BAD, GOOD, UNKNOWN, SloCounts, SloSeries
from monitor.slo.signal import WINDOWS
from monitor.slo.slices import Slices
from monitor.slo.targets import TargetState
from monitor.slo.window import window_span_s

EXPORTED_WINDOWS = ("5m", "1h", "6h", "1d", "3d", "30d")
"""Whose burn rates are shown beside those of the tiers."""
_SLICES = "slices"
_MAX_STEP_S = 60.0
"""A moment counts for the time since the one before, unless that is longer: then nobody looked."""
_SECOND_MS = 1000
_PLAIN = frozenset({SliKind.UPTIME, SliKind.AVAILABILITY})

Maintained = Callable[[float], bool]
"""Whether a moment is in planned maintenance; None where none is planned."""


class SloRecord:
    """The record of one objective."""

    __slots__ = (
        "_by_sample",
        "_is_time",
        "_judged_at",
        "_limits",
        "_maintained",
        "_series",
        "_slices",
        "_states",
        "_weights",
        "deployment",
        "objective",
        "owner",
        "units_per_second",
    )

    def __init__(
        self,
        deployment: str,
        objective: Objective,
        states: Sequence[TargetState],
        now: float,
        maintained: Maintained | None,
    ) -> None:
        """Begin at `now` with what the windows of `states`, the SLI targets, know already."""
        self.deployment = deployment
        self.owner = owner_of(deployment, objective)
        self._judged_at = now
        self._by_sample = judges_samples(objective)
        self._is_time = objective.is_time
        self._slices = None if _counts_occurrences(objective) else Slices(objective)
        below = (sli.below_s for sli in objective.slis)
        self._limits = tuple(latency_limit(each) for each in below if each is not None)
        self._configure(objective, states, maintained)
        self._series = SloSeries(
            self.owner, objective.maintenance, self._unit_ms(), now, self._windows()
        )
        self._take_over()

    def configure(
        self, objective: Objective, states: Sequence[TargetState], maintained: Maintained | None
    ) -> None:
        """Go on with an objective that counts the same things: `owner_of` says the same of it."""
        self._configure(objective, states, maintained)
        self._series.serve(self._windows())
        self._series.count_as(objective.maintenance, self._unit_ms())

    def _configure(
        self, objective: Objective, states: Sequence[TargetState], maintained: Maintained | None
    ) -> None:
        wanted = objective.probes
        self.objective = objective
        self._states = tuple(s for s in states if wanted is None or s.target.probe in wanted)
        self._maintained = maintained
        counted = self._states if self._by_sample else ()
        self._weights = {state.target.id: self._weight(state) for state in counted}
        """What one sample of each target counts."""
        self.units_per_second = self._units_per_second()
        """Units of one second when nothing is missing."""

    # --- what comes in ------------------------------------------------------------------------

    def take(self, sample: Sample, now: float) -> None:
        """Count a sample, if it is one of our targets and those are what counts."""
        weight = self._weights.get(sample.target)
        if weight is not None:
            at = min(now, sample.at)
            outcome = of_sample(sample, self._limits) if self._limits else sample.outcome
            self._count(at, outcome, weight)

    def take_back(self, sample: Sample, now: float) -> None:
        """Let a sample that was counted be unknown."""
        weight = self._weights.get(sample.target)
        if weight is not None:
            at = min(sample.at, now)
            self._count(at, of_sample(sample, self._limits), -weight)
            self._count(at, Outcome.UNKNOWN, weight)

    def _count(self, at: float, outcome: Outcome, units: int) -> None:
        if self._slices is not None:
            self._slices.add(at, outcome, units)
        else:
            apart = self._maintained is not None and self._maintained(at)
            # Looking an outcome up in a mapping would cost as much as counting it.
            column = GOOD if outcome is Outcome.GOOD else BAD
            column = UNKNOWN if outcome is Outcome.UNKNOWN else column
            self._series.add(at, column, units, in_maintenance=apart)

    @property
    def is_timeless(self) -> bool:
        """Whether nothing but samples changes what is counted."""
        return self._by_sample and self._slices is None

    def step(self, now: float) -> None:
        """Move on to `now`; count the moment, or the slices that are over."""
        self._series.advance(now)
        if not self._by_sample:
            self._count_moment(now)
        if self._slices is not None:
            patience_s = max((s.target.timeout_s for s in self._states), default=0.0)
            for at, which, units in self._slices.judge(now, patience_s):
                apart = self._maintained is not None and self._maintained(at)
                self._series.add(at, which, units, in_maintenance=apart)

    def _count_moment(self, now: float) -> None:
        passed_ms = round(1000 * (now - self._judged_at))
        if passed_ms <= 0:
            return
        seen = self._judged_at + _MAX_STEP_S >= now
        outcome = of_moment(self.objective, self._states, now) if seen else Outcome.UNKNOWN
        self._judged_at = now
        self._count(now, outcome, passed_ms)

    def correct(self, start: float, end: float, *, undo: bool = False) -> None:
        """Leave out what was measured in [start, end), or count it again."""
        self._series.correct(start, end, undo=undo)

    # --- what is asked ------------------------------------------------------------------------

    def counts(self, window_s: int) -> SloCounts:
        """Return the last `window_s` seconds."""
        return self._series.counts(window_s)

    def ratio(self, window_s: int) -> tuple[int, int]:
        """Return (bad, valid) units of the last `window_s` seconds."""
        return self._series.ratio(window_s)

    def between(self, start: float, end: float) -> SloCounts:
        """Return the buckets that begin in [start, end), UTC seconds."""
        return self._series.between(start, end)

    def coverage(self, window_s: int, now: float) -> float | None:
        """Return the share of the expected units that are known, None while none are expected.

        What is left out is not expected.
        """
        counts = self.counts(window_s)
        expected = self._expected(window_s, now) - counts.excluded
        return min(1.0, counts.valid / expected) if expected > 0 else None

    def unborn(self, window_s: int, now: float) -> int:
        """Return the units of a window that lie before anything of it was watched."""
        born = min((state.born for state in self._states), default=now)
        missing_s = window_span_s(window_s, now) - (now - born)
        return int(missing_s * self.units_per_second) if missing_s > 0 else 0

    def burn_rate(self, window_s: int) -> Fraction | None:
        """Return how many times faster than allowed the budget burns, None without data."""
        counts = self.counts(window_s)
        if not counts.valid:
            return None
        return Fraction(counts.bad, counts.valid) / self.objective.allowed

    def trials(self, counts: SloCounts) -> tuple[int, int]:
        """Return (bad, valid) as numbers of independent observations.

        Time comes in pieces of an interval; of several lengths it is as much evidence as so many
        pieces of the mean length.
        """
        units = self._units_per_trial()
        return int(counts.bad // units), int(counts.valid // units)

    def budgets(self, now: float) -> tuple[Budget, ...]:
        """Return the budget of the rolling period, then those of the others; without data none."""
        rolling = Period(length_s=self.objective.period_s)
        found = (self.budget(period, now) for period in (rolling, *self.objective.more_periods))
        return tuple(budget for budget in found if budget is not None)

    def budget(self, period: Period, now: float) -> Budget | None:
        """Return the budget of one period, None without data."""
        return budget_of(self.objective, period, self.measured(period, now))

    def measured(self, period: Period, now: float) -> Measured:
        """Return what is known of one period."""
        if period.calendar is None:
            start, end = now - period.length_s, now
            counts = self.counts(period.length_s)
            past_s = period.length_s
        else:
            start, end = bounds(period.calendar, period.zone, now)
            counts = self.between(start, now + 1)
            past_s = max(1, int(now - start))
        expected = self._expected(past_s, now)
        whole = self.units_per_second * Fraction(end - start) - counts.excluded
        return Measured(
            bad=counts.bad,
            valid=counts.valid,
            expected=max(0, expected - counts.excluded),
            whole=max(Fraction(0), whole),
            start=start,
            end=end,
        )

    def spent(self, bad: int) -> Fraction:
        """Return the share of the rolling period's budget that so many bad units are."""
        whole = self.units_per_second * self.objective.period_s * self.objective.allowed
        return bad / whole if whole else Fraction()

    # --- storage ------------------------------------------------------------------------------

    def flush(self) -> Iterator[WindowRow]:
        """Return the rows that have changed since the last call."""
        yield from self._series.flush()
        if self._slices is not None and self._slices.changed:
            data = self._slices.to_bytes()
            yield WindowRow(owner=self.owner, part=_SLICES, at=self._judged_at, data=data)

    def restore(self, rows: Iterable[WindowRow], now: float) -> int:
        """Take over what an earlier process wrote; return how many rows were damaged.

        Without any, what the restored windows of the targets know is taken over.
        """
        found = {row.part: row for row in rows}
        damaged = 0
        slices = found.pop(_SLICES, None)
        if slices is not None and self._slices is not None:
            try:
                self._slices.load(slices.data)
            except ValueError:
                damaged += 1
        if found:
            return damaged + self._series.restore(found.values(), now)
        self._take_over()
        return damaged

    def _take_over(self) -> None:
        """Begin with what the windows of the targets know, where that is all that counts."""
        plain = all(sli.kind in _PLAIN for sli in self.objective.slis)
        if plain and self._slices is None:
            is_time = self._is_time
            for state in self._states:
                for number, start, tally in state.window.history():
                    good, bad = tally.good, tally.bad
                    unknown = tally.unknown * (self._weight(state) if is_time else 1)
                    if is_time:
                        unit_ms = self._series.unit_ms
                        good, bad = tally.up_ms // unit_ms, tally.down_ms // unit_ms
                    self._series.take_over(number, start, (good, bad, unknown))

    # --- units --------------------------------------------------------------------------------

    def _unit_ms(self) -> int:
        """Return what a unit is, 0 when it is no time."""
        if self._slices is not None or not self._is_time:
            return 0
        whole = all(s.target.interval_s == int(s.target.interval_s) for s in self._states)
        return _SECOND_MS if self._by_sample and whole else 1

    def _weight(self, state: TargetState) -> int:
        """Return what one sample counts."""
        if not self._is_time:
            return 1
        interval_ms = round(state.target.interval_s * 1000)
        # Slices compare time with time; the unit does not matter there.
        return interval_ms // (self._unit_ms() or 1)

    def _units_per_second(self) -> Fraction:
        """Return the units of one second when nothing is missing."""
        if self._slices is not None:
            return Fraction(self._slices.units, self.objective.slice_s)
        if not self._by_sample:
            return Fraction(_SECOND_MS)
        if self._is_time:
            return Fraction(len(self._states) * _SECOND_MS, self._unit_ms())
        return sum((1 / Fraction(s.target.interval_s) for s in self._states), Fraction())

    def _units_per_trial(self) -> Fraction:
        if self._slices is not None:
            return Fraction(self._slices.units)
        if not self._is_time or not self._states:
            return Fraction(1)
        intervals_s = [Fraction(s.target.interval_s) for s in self._states]
        mean_s = sum(intervals_s, Fraction()) / len(intervals_s)
        return mean_s * _SECOND_MS / self._unit_ms()

    def _expected(self, window_s: int, now: float) -> int:
        """Return the units that should be known of the last `window_s` seconds."""
        if self._slices is not None or not self._by_sample:
            born = min((s.born for s in self._states), default=now)
            span_s = min(window_span_s(window_s, now), max(0.0, now - born))
            return int(span_s * self.units_per_second)
        if self._is_time:
            expected_ms = sum(s.expected_ms(window_s, now) for s in self._states)
            return expected_ms // self._unit_ms()
        return sum(
            int(s.expected_ms(window_s, now) // (1000 * s.target.interval_s)) for s in self._states
        )

    def _windows(self) -> set[int]:
        tiers = self.objective.tiers
        named = {WINDOWS[name] for name in EXPORTED_WINDOWS}
        spans = {each.long_s for each in tiers} | {each.short_s for each in tiers}
        return named | spans | {self.objective.period_s}


def owner_of(deployment: str, objective: Objective) -> str:
    """Return the name under which the record of an objective is stored.

    It changes with what is counted, not with how that is judged.
    """
    what = (
        objective.slis,
        objective.budgeting,
        objective.slice_s,
        objective.slice_target,
        sorted(objective.probes or ()),
    )
    plain = Objective(target=objective.target)
    if _counts_occurrences(objective) and (objective.slis, objective.probes) == (
        plain.slis,
        plain.probes,
    ):
        return f"slo:{deployment}/{objective.name}"
    return f"slo:{deployment}/{objective.name}/{crc32(repr(what).encode()):08x}"


def _counts_occurrences(objective: Objective) -> bool:
    return objective.budgeting is Budgeting.OCCURRENCES
