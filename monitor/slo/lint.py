"""What a user should know of an objective before relying on it: when it pages, and when it cannot.

Owns the figures of `monitor check` and their text. Pure: an objective and how often its targets
are probed go in. All times are upper bounds for a window that was full of good samples before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from monitor.fields import format_duration
from monitor.model import Severity
from monitor.slo.burn import (
    HOUR_S,
    MINUTE_S,
    bad_needed,
    default_tiers,
    left_out,
    percent,
    plain,
    spent_s,
    spent_share,
    why_unreachable,
)
from monitor.slo.objective import DAY_S, Budgeting, Objective, SliKind, Tier

LONGEST_WINDOW_S = 90 * DAY_S
FEW_INTERVALS = 3
"""A window that holds fewer probes than this is decided by one of them."""
TOTAL = Fraction(1)
PARTIAL = Fraction(1, 10)
"""Share of the samples that fail in an outage that few notice."""
DEAR = Fraction(1, 10)
"""Share of the budget that one failed probe should not cost."""


class Feed(NamedTuple):
    """How often one target is probed for an objective, and how long a probe may take."""

    interval_s: float
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TierFacts:
    """What one tier needs, and how soon it tells."""

    tier: Tier
    spent_share: Fraction
    """Of the budget, by a burn of exactly its factor within the long window: burn * W / P."""
    spent_s: Fraction
    """The same as time."""
    outage_spent_s: Fraction | None
    """What a total outage has spent when it is noticed: more, since a few samples prove little."""
    long_samples: int
    """What the full window holds: samples, or slices where the budget counts those."""
    short_samples: int
    long_bad: int | None
    """How many of them must be bad; None when not even all would do."""
    short_bad: int | None
    total_outage_s: Fraction | None
    """From the first failure to the alert when everything fails; None: never."""
    partial_outage_s: Fraction | None
    """The same when one in ten fails, evenly spaced. Chance brings some sooner, some later."""
    clears_s: Fraction | None
    """From recovery to the end of the alert, after a total outage that ends when it is noticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that is to be said of one objective."""

    objective: Objective
    errors: tuple[str, ...]
    """It cannot work as written."""
    warnings: tuple[str, ...]
    """It works, but perhaps not as meant."""
    notes: tuple[str, ...]
    """What it has not, and why."""
    samples: int
    """What one period holds: samples, or slices where the budget counts those."""
    allowed_samples: Fraction
    """How many of them may be bad."""
    allowed_s: Fraction
    timeout_s: float
    """The longest timeout: a failure that is a timeout is known this much later than it began."""
    tiers: tuple[TierFacts, ...]


def exact(seconds: float) -> Fraction:
    """Return the decimal that a float was written as: 0.1 is one tenth."""
    return Fraction(str(seconds))


class _Pace:
    """How fast the units that an objective counts come in, and what share of them is bad.

    A unit is a sample; where the budget is kept in slices of time, it is a slice that has samples.
    """

    def __init__(self, objective: Objective, feeds: Sequence[Feed]) -> None:
        self._objective = objective
        self._intervals_s = tuple(exact(feed.interval_s) for feed in feeds)
        self._samples_per_s = sum((1 / each for each in self._intervals_s), Fraction())
        if objective.is_time and self._intervals_s:
            # Of time, several lengths are as much evidence as so many of their mean.
            count = len(self._intervals_s)
            self._samples_per_s = count * count / sum(self._intervals_s, Fraction())
        self.in_slices = objective.budgeting is Budgeting.TIMESLICES
        self.units_per_s = (
            min(self._samples_per_s, Fraction(1, objective.slice_s))
            if self.in_slices
            else self._samples_per_s
        )

    @property
    def _is_freshness(self) -> bool:
        return all(sli.kind is SliKind.FRESHNESS for sli in self._objective.slis)

    @property
    def _max_age_s(self) -> Fraction:
        """Return how long a target is still good after its last good sample."""
        return min((exact(sli.max_age_s or 0) for sli in self._objective.slis), default=Fraction())

    @property
    def slowest_s(self) -> Fraction:
        return max(self._intervals_s, default=Fraction())

    def units_in(self, window_s: int) -> int:
        """Return how many units the full window holds: of each target a whole number, or one.

        A window shorter than the interval is empty at times, and holds one at others.
        """
        if self.in_slices:
            return max(math.floor(window_s * self.units_per_s), bool(self._intervals_s))
        if self._objective.is_time:
            return max(math.floor(window_s * self.units_per_s), len(self._intervals_s))
        return sum(max(math.floor(window_s / each), 1) for each in self._intervals_s)

    def bad_share(self, failing: Fraction) -> Fraction:
        """Return the share of units that are bad when evenly spaced samples fail.

        A slice of m samples has m * failing bad ones, or one in some of the slices. It is bad
        when less than `slice_target` of it is good.
        """
        if failing < TOTAL and self._is_freshness:
            return Fraction()  # A good sample is always recent.
        if not self.in_slices or not self.units_per_s:
            return failing
        per_slice = self._samples_per_s / self.units_per_s
        good = 1 - max(failing, 1 / per_slice)
        return (
            min(TOTAL, per_slice * failing) if good < self._objective.slice_target else Fraction()
        )

    @property
    def delay_s(self) -> Fraction:
        """Return what passes before a failure counts.

        The slice in which an outage begins may still be good; what was fresh stays so for a while.
        """
        return self._max_age_s + (self._objective.slice_s if self.in_slices else 0)

    @property
    def never_fresh_s(self) -> Fraction:
        """Return for how long a target is stale before each probe though all probes are good."""
        return (
            max(self.slowest_s - self._max_age_s, Fraction()) if self._is_freshness else Fraction()
        )

    @property
    def dearest_s(self) -> Fraction:
        """Return how much of the budget's time one failed probe spends at most."""
        if not self._samples_per_s:
            return Fraction()
        if self._is_freshness:
            return max(2 * self.slowest_s - self._max_age_s, Fraction())
        if self.in_slices:
            alone = 1 - self.units_per_s / self._samples_per_s
            is_lost = alone < self._objective.slice_target
            return 1 / self.units_per_s if is_lost else Fraction()
        if self._objective.is_time:
            return self.slowest_s / len(self._intervals_s)
        return 1 / self._samples_per_s


def _detection_s(
    facts: Iterable[tuple[int, int | None]], share: Fraction, pace: _Pace, evaluation_s: Fraction
) -> Fraction | None:
    """Return when the k-th bad unit of each (window, k) has come in and been looked at.

    With r units a second, `share` of them bad, the k-th comes k / (r * share) after the outage
    began, which is f * (1 - target) * W / e (Site Reliability Workbook, ch. 5) in whole samples.
    A window that has no room for k of them, which is k - 1 gaps, never holds k. The next
    evaluation is at most one interval away. The bucket that is being filled counts, so buckets
    add nothing.

    Times are those at which probes begin: where failures are timeouts, add the timeout.
    """
    latest = Fraction()
    for window_s, needed in facts:
        if needed is None or not share or needed - 1 >= pace.units_per_s * share * window_s:
            return None
        latest = max(latest, needed / (pace.units_per_s * share))
    return latest + pace.delay_s + evaluation_s


def _clears_s(facts: Iterable[tuple[int, int]], pace: _Pace, evaluation_s: Fraction) -> Fraction:
    """Return when a total outage has left one of the windows far enough.

    Samples fail until recovery, so the k-th last bad one came (k - 1) / r before it and leaves a
    window of W that much sooner than W after it. One window below its number is enough, which is
    what the short one is for (Site Reliability Workbook, ch. 5). Windows are made of buckets and
    never cover more than their length.
    """
    leaves = (window_s - (needed - 1) / pace.units_per_s for window_s, needed in facts)
    return max(Fraction(), min(leaves)) + evaluation_s


def _tier_facts(tier: Tier, objective: Objective, pace: _Pace, evaluation_s: Fraction) -> TierFacts:
    """Work one tier out.

    `min_events` is asked of the long window only. It was full before the outage, so it normally
    holds; where a full window has fewer, the tier never fires.
    """
    long_n, short_n = pace.units_in(tier.long_s), pace.units_in(tier.short_s)
    test = (tier.factor, objective.allowed, objective.confidence)
    long_bad = bad_needed(long_n, *test, objective.min_events)
    # The short window says only that it still goes on: it needs no confidence.
    short_bad = bad_needed(short_n, *test[:2], Fraction(), 0)
    facts = ((tier.long_s, long_bad), (tier.short_s, short_bad))
    total_s = _detection_s(facts, pace.bad_share(TOTAL), pace, evaluation_s)
    known = [(window_s, needed) for window_s, needed in facts if needed is not None]
    return TierFacts(
        tier=tier,
        spent_share=spent_share(tier, objective.period_s),
        spent_s=spent_s(tier, objective),
        long_samples=long_n,
        outage_spent_s=None if total_s is None else total_s - pace.delay_s,
        short_samples=short_n,
        long_bad=long_bad,
        short_bad=short_bad,
        total_outage_s=total_s,
        partial_outage_s=_detection_s(facts, pace.bad_share(PARTIAL), pace, evaluation_s),
        clears_s=None if total_s is None else _clears_s(known, pace, evaluation_s),
    )


def errors_of(objective: Objective) -> Iterator[str]:
    """Yield what makes a tier of an objective impossible."""
    for tier in objective.tiers:
        yield from _tier_errors(tier, objective)


def _windows(tier: Tier) -> str:
    return f"{format_duration(tier.long_s)}/{format_duration(tier.short_s)}"


def _tier_errors(tier: Tier, objective: Objective) -> Iterator[str]:
    name = f"tier {_windows(tier)}"
    unreachable = why_unreachable(tier.factor, objective.target)
    if unreachable is not None:
        yield f"{name} can never fire: {unreachable}"
    if tier.short_s >= tier.long_s:
        yield f"{name}: the short window must be shorter than the long one"
    for window_s in sorted({tier.long_s, tier.short_s}):
        if window_s > LONGEST_WINDOW_S:
            limit = format_duration(LONGEST_WINDOW_S)
            yield f"{name}: {format_duration(window_s)} is longer than {limit}, the longest window"


def _tier_warnings(facts: TierFacts, objective: Objective, pace: _Pace) -> Iterator[str]:
    tier, unit = facts.tier, "slices" if pace.in_slices else "samples"
    name = f"tier {_windows(tier)}"
    for window_s in (tier.long_s, tier.short_s):
        if window_s < FEW_INTERVALS * pace.slowest_s:
            yield (
                f"{name}: {format_duration(window_s)} is shorter than {FEW_INTERVALS} intervals of "
                f"the slowest target ({format_duration(float(pace.slowest_s))})"
            )
    if facts.total_outage_s is not None or why_unreachable(tier.factor, objective.target):
        return
    is_long = facts.long_bad is None
    held = facts.long_samples if is_long else facts.short_samples
    window = format_duration(tier.long_s if is_long else tier.short_s)
    reason = (
        f"below min_events ({objective.min_events}) nothing is decided"
        if is_long and held < objective.min_events
        else f"even all bad they are too few to show, with {percent(objective.confidence)} "
        f"confidence, a burn rate above {plain(tier.factor)}x"
    )
    yield f"{name} never fires: {window} holds {held} {unit}, and {reason}"


def _budget_warnings(objective: Objective, pace: _Pace) -> Iterator[str]:
    share = pace.dearest_s / objective.allowed_s
    if share >= 1:
        yield (
            f"one failed probe spends the whole budget: {_floor_text(objective.allowed_s)} are "
            f"allowed, and it counts for {_ceil_text(pace.dearest_s)}"
        )
    elif share > DEAR:
        yield f"one failed probe spends {float(share * 100):.3g}% of the budget"
    if pace.never_fresh_s:
        yield (
            f"max_age is {_ceil_text(pace.never_fresh_s)} shorter than the interval of the slowest "
            "target: it is stale before each probe though all are good"
        )
    is_sliced = objective.budgeting is not Budgeting.OCCURRENCES
    if is_sliced and objective.slice_s < pace.slowest_s:
        yield (
            f"slices of {format_duration(objective.slice_s)} are shorter than the interval of the "
            f"slowest target ({format_duration(float(pace.slowest_s))}): some hold no sample"
        )


def _missing(objective: Objective) -> Iterator[str]:
    """Name the default tiers that are missing, where the defaults were asked for."""
    if objective.tiers and objective.tiers == default_tiers(objective.target, objective.period_s):
        for each in left_out(objective.target, objective.period_s):
            yield f"tier {_windows(each.tier)} is left out: {each.why}"


def lint(objective: Objective, feeds: Sequence[Feed], evaluation_interval_s: float) -> Report:
    """Return what is to be known of an objective that these targets feed.

    Args:
        objective: the objective, its tiers filled in.
        feeds: interval and timeout of each target that counts towards it, probed in parallel.
        evaluation_interval_s: time between two looks at the windows.
    """
    pace, evaluation_s = _Pace(objective, feeds), exact(evaluation_interval_s)
    tiers = tuple(_tier_facts(tier, objective, pace, evaluation_s) for tier in objective.tiers)
    warnings: list[str] = []
    if feeds:
        warnings += _budget_warnings(objective, pace)
        warnings += [text for facts in tiers for text in _tier_warnings(facts, objective, pace)]
    else:
        warnings.append("no target feeds it: it never decides anything")
    samples = pace.units_in(objective.period_s)
    return Report(
        objective=objective,
        errors=tuple(errors_of(objective)),
        notes=tuple(_missing(objective)),
        warnings=tuple(warnings),
        samples=samples,
        allowed_samples=samples * objective.allowed,
        allowed_s=objective.allowed_s,
        timeout_s=max((feed.timeout_s for feed in feeds), default=0.0),
        tiers=tiers,
    )


def _grain_s(seconds: Fraction) -> int:
    return HOUR_S if seconds >= 2 * DAY_S else MINUTE_S if seconds >= HOUR_S else 1


def _ceil_text(seconds: Fraction) -> str:
    """Return a time that is a promise, rounded up to what people care for at its length."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    grain_s = _grain_s(seconds)
    return format_duration(math.ceil(seconds / grain_s) * grain_s)


def _floor_text(seconds: Fraction) -> str:
    """Return a time that is an allowance, rounded down in the same way."""
    if seconds < 1:
        return f"{math.floor(seconds * 1000)}ms"
    grain_s = _grain_s(seconds)
    return format_duration(math.floor(seconds / grain_s) * grain_s)


_OF_WHAT = {
    SliKind.LATENCY: "of slowness",
    SliKind.FRESHNESS: "of staleness",
    SliKind.HEALTH: "of ill health",
    SliKind.CERTIFICATE: "with a certificate about to expire",
}
_ALL_BAD = {SliKind.LATENCY: "all slow", SliKind.CERTIFICATE: "all about to expire"}
_SOME_BAD = {SliKind.LATENCY: "slow", SliKind.CERTIFICATE: "about to expire"}
_WHO_HEARS = {Severity.CRITICAL: "page", Severity.WARNING: "ticket", Severity.INFO: "note"}


def _after(seconds: Fraction | None) -> str:
    return "never" if seconds is None else f"after {_ceil_text(seconds)}"


def _kind(objective: Objective) -> SliKind:
    """Return what an objective is about; of several indicators, that something is down."""
    kinds = {sli.kind for sli in objective.slis}
    return kinds.pop() if len(kinds) == 1 else SliKind.UPTIME


def _head(report: Report) -> str:
    objective = report.objective
    unit = "slices" if objective.budgeting is Budgeting.TIMESLICES else "samples"
    what = _OF_WHAT.get(_kind(objective), "of downtime")
    return (
        f"{objective.name} {percent(objective.target)} over {format_duration(objective.period_s)}: "
        f"{_floor_text(report.allowed_s)} {what}, "
        f"{plain(report.allowed_samples)} of {report.samples} {unit}"
    )


def _cells(report: Report, facts: TierFacts) -> tuple[str, ...]:
    """Return a tier's line in columns."""
    kind = _kind(report.objective)
    aim = f"{float(facts.spent_share * 100):.3g} %"
    spends, clears = f"aims at {aim}", ""
    if facts.clears_s is not None and facts.outage_spent_s is not None:
        share = float(facts.outage_spent_s / report.allowed_s * 100)
        spends = f"spends {share:.3g} % (aims at {aim})"
        clears = f"clears within {_ceil_text(facts.clears_s)};"
    some = f"{int(PARTIAL * 100)} % {_SOME_BAD.get(kind, 'failing')}"
    return (
        _WHO_HEARS[facts.tier.severity],
        _windows(facts.tier),
        f"> {plain(facts.tier.factor)}x:",
        f"{_ALL_BAD.get(kind, 'total outage')} {_after(facts.total_outage_s)},",
        f"{some} {_after(facts.partial_outage_s)}{',' if clears else ';'}",
        clears,
        spends,
    )


def _notes(report: Report) -> Iterator[str]:
    if report.timeout_s and report.tiers:
        late = format_duration(report.timeout_s)
        yield f"  (a probe that times out is known up to {late} later)"
    yield from (f"  ({text})" for text in report.notes)
    yield from (f"  error: {text}" for text in report.errors)
    yield from (f"  warning: {text}" for text in report.warnings)


def render(reports: Sequence[Report]) -> list[str]:
    """Return the reports as lines of text, the columns of all tiers aligned."""
    tables = [[_cells(report, facts) for facts in report.tiers] for report in reports]
    columns = zip(*(row for table in tables for row in table), strict=True)
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for report, table in zip(reports, tables, strict=True):
        lines.append(_head(report))
        for row in table:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            lines.append(f"  {' '.join(cells)}".rstrip())
        lines.extend(_notes(report))
    return lines
