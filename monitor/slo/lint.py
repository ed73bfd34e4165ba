"""What somebody should know of an objective: how much it allows, and when it speaks.

Pure arithmetic on the objective and the intervals of its probes. Reads no configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from monitor.fields import format_duration
from monitor.slo.burn import bad_needed, default_tiers, is_reachable, left_out
from monitor.slo.objective import Budgeting, Objective, Tier

PARTIAL = Fraction(1, 10)
"""Share of requests that fail in what is called a partial outage."""
FEW_INTERVALS = 3
MAX_WINDOW_S = 90 * 86400
_MUCH = Fraction(1, 10)
"""One probe that spends more than this share of the budget is worth a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """What an objective lives on."""

    intervals_s: tuple[Fraction, ...]
    """Of each target."""
    evaluation_interval_s: Fraction

    @property
    def slowest_s(self) -> Fraction:
        """The longest interval."""
        return max(self.intervals_s)

    def mean_s(self, objective: Objective) -> Fraction:
        """Return for how much time one independent observation stands.

        Of an objective that counts time several lengths weigh as much as so many of their mean;
        one that counts samples has as many as there are.
        """
        count = len(self.intervals_s)
        if objective.budgeting is not Budgeting.OCCURRENCES:
            return Fraction(objective.slice_s * count)
        if objective.is_time:
            return sum(self.intervals_s, Fraction()) / count
        return count / sum((1 / each for each in self.intervals_s), Fraction())

    def trials(self, objective: Objective, window_s: int) -> int:
        """Return the observations of a window of which nothing is missing."""
        return int(window_s * len(self.intervals_s) / self.mean_s(objective))


@dataclass(frozen=True, slots=True, kw_only=True)
class TierFacts:
    """What one tier does. Times are after the first bad sample began; None means never.

    A failure that is a timeout is known that much later.
    """

    tier: Tier
    spends: Fraction
    """Share of the budget that is gone when it burns so fast for all of the long window."""
    bad_needed: int | None
    """Bad samples of the long window, when nothing is missing and all others are good."""
    total_s: Fraction | None
    """When everything fails."""
    partial_s: Fraction | None
    """When PARTIAL of it fails, on average."""
    reset_s: Fraction | None
    """How long it lasts after a total outage that ended as soon as it was noticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What is to be known of one objective."""

    objective: Objective
    allowed_s: Fraction
    samples: int
    """Observations in the period."""
    failures: Fraction
    """How many of them may be bad."""
    tiers: tuple[TierFacts, ...]
    left_out: tuple[tuple[Tier, str], ...]
    """The Workbook's tiers that are of no use here, and why."""
    warnings: tuple[str, ...]


def report_on(objective: Objective, feed: Feed) -> Report:
    """Return what is to be known of an objective that lives on `feed`."""
    samples = feed.trials(objective, objective.period_s)
    return Report(
        objective=objective,
        allowed_s=objective.allowed_s,
        samples=samples,
        failures=objective.allowed * samples,
        tiers=tuple(_facts(objective, tier, feed) for tier in objective.tiers),
        left_out=_left_out(objective),
        warnings=tuple(_warnings(objective, feed)),
    )


def errors_of(objective: Objective) -> Iterator[str]:
    """Yield what makes a tier of an objective useless."""
    for tier in objective.tiers:
        if not is_reachable(tier.factor, objective.target):
            most, least = 1 / objective.allowed, 1 - 1 / tier.factor
            yield (
                f"tier {tier.name} can never fire: it asks for a burn rate above "
                f"{_number(tier.factor)}, and at {_percent(objective.target)} a total outage "
                f"burns at {_number(most)} (the target must be above {_percent(least)})"
            )
        if tier.short_s >= tier.long_s:
            yield f"tier {tier.name}: the short window must be shorter than the long one"
        if tier.long_s > min(MAX_WINDOW_S, objective.period_s):
            yield f"tier {tier.name}: the long window is longer than the period, or than 90d"


def lines(report: Report) -> Iterator[str]:
    """Yield what people read: what is allowed, then one line for each tier."""
    objective = report.objective
    allowed = f"{_time(report.allowed_s)} of it may be bad"
    samples = f"{_number(report.failures)} of {report.samples} samples"
    period = format_duration(objective.period_s)
    yield f"{objective.name} {_percent(objective.target)} over {period}: {allowed}, {samples}"
    for facts in report.tiers:
        tier = facts.tier
        word = "page  " if tier.severity.value == "critical" else "ticket"
        total, partial = _after(facts.total_s), _after(facts.partial_s)
        reset = "" if facts.reset_s is None else f", over {_time(facts.reset_s)} after the end"
        yield (
            f"  {word} above {_number(tier.factor)}x in {tier.name} and "
            f"{format_duration(tier.short_s)} ({_percent(facts.spends)} of the budget): "
            f"total outage {total}, {_percent(PARTIAL)} failing {partial}{reset}"
        )
    for tier, why in report.left_out:
        yield f"  no alert on {tier.name}: {why}"


def _facts(objective: Objective, tier: Tier, feed: Feed) -> TierFacts:
    valid = feed.trials(objective, tier.long_s)
    needed = bad_needed(
        valid, tier.factor, objective.allowed, objective.confidence, objective.min_events
    )
    total_s = None if needed is None else _detection_s(objective, feed, needed, Fraction(1))
    partial_s = None
    if needed is not None and tier.factor * objective.allowed < PARTIAL:
        partial_s = _detection_s(objective, feed, needed, PARTIAL)
        partial_s = partial_s if partial_s <= tier.long_s else None
    return TierFacts(
        tier=tier,
        spends=tier.factor * tier.long_s / objective.period_s,
        bad_needed=needed,
        total_s=total_s,
        partial_s=partial_s,
        reset_s=None if needed is None else _reset_s(objective, tier, feed, needed),
    )


def _detection_s(objective: Objective, feed: Feed, needed: int, rate: Fraction) -> Fraction:
    """Return when the last of the bad samples that it takes is in and was looked at.

    The first comes at once, the others as often as there are samples; slices have to be over.
    """
    between_s = feed.mean_s(objective) / len(feed.intervals_s)
    if objective.budgeting is not Budgeting.OCCURRENCES:
        return needed * between_s / rate + feed.evaluation_interval_s
    return (needed / rate - 1) * between_s + feed.slowest_s + feed.evaluation_interval_s


def _reset_s(objective: Objective, tier: Tier, feed: Feed, needed: int) -> Fraction:
    """Return when the short window, or the long one, is no longer above the factor.

    The bad samples leave a window one by one; it is over when the rest is few enough.
    """

    def clears_s(window_s: int) -> Fraction:
        valid = feed.trials(objective, window_s)
        between_s = Fraction(window_s, max(1, valid))
        bad = min(needed, valid)
        may_stay = int(tier.factor * objective.allowed * valid)
        leaving = max(0, bad - may_stay)
        # The oldest of them leaves when it is as old as the window.
        age_s = bad * between_s
        return max(Fraction(), window_s - age_s + leaving * between_s)

    return min(clears_s(tier.long_s), clears_s(tier.short_s)) + feed.evaluation_interval_s


def _warnings(objective: Objective, feed: Feed) -> Iterator[str]:
    one_s = feed.mean_s(objective) / len(feed.intervals_s)
    share = one_s / objective.allowed_s if objective.is_time else 1 / (
        objective.allowed * max(1, feed.trials(objective, objective.period_s))
    )  # fmt: skip
    if share >= 1:
        yield "one failed probe spends the whole budget: probe oftener or promise less"
    elif share > _MUCH:
        yield f"one failed probe spends {_percent(share)} of the budget"
    for tier in objective.tiers:
        for window_s in (tier.long_s, tier.short_s):
            if window_s < FEW_INTERVALS * feed.slowest_s:
                yield (
                    f"tier {tier.name}: a window of {format_duration(window_s)} holds fewer than "
                    f"{FEW_INTERVALS} samples of a probe every {_time(feed.slowest_s)}"
                )
    if objective.budgeting is not Budgeting.OCCURRENCES and objective.slice_s < feed.slowest_s:
        yield (
            f"slices of {format_duration(objective.slice_s)} are shorter than the interval of "
            f"{_time(feed.slowest_s)}, so many of them will hold nothing"
        )


def _left_out(objective: Objective) -> tuple[tuple[Tier, str], ...]:
    used = default_tiers(objective.target, objective.period_s)
    return left_out(objective.target, objective.period_s) if objective.tiers == used else ()


def _after(time_s: Fraction | None) -> str:
    return "never" if time_s is None else f"after {_time(time_s)}"


def _time(time_s: Fraction) -> str:
    return format_duration(round(time_s)) if time_s >= 1 else f"{float(time_s * 1000):.3g}ms"


def _number(number: Fraction) -> str:
    return f"{float(number):.4g}" if number < 10000 else f"{round(number)}"  # noqa: PLR2004 - digits


def _percent(share: Fraction) -> str:
    return f"{float(share * 100):.6g}%"
