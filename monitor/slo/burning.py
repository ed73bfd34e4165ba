"""The alerts that every objective has without being asked: one rule for each burn-rate tier.

Owns their names, words and verdicts. Keeps no state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from monitor.fields import format_duration
from monitor.slo.alerting import AlertRule
from monitor.slo.burn import is_surely_above
from monitor.slo.objective import Objective, Tier
from monitor.slo.record import SloRecord
from monitor.slo.series import SloCounts
from monitor.slo.signal import Signal


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnCondition:
    """An objective's budget burns faster than a tier allows, in both its windows."""

    objective: Objective
    tier: Tier
    signals: tuple[Signal, ...] = ()
    """None: it is judged on the objective's own record."""
    _most: int = field(init=False, repr=False, compare=False)
    _per: int = field(init=False, repr=False, compare=False)
    """More than so many bad ones of so many are above the factor."""

    def __post_init__(self) -> None:
        """Work the exact limit out once."""
        limit = self.tier.factor * self.objective.allowed
        object.__setattr__(self, "_most", limit.numerator)
        object.__setattr__(self, "_per", limit.denominator)

    @property
    def text(self) -> str:
        """The condition as people read it."""
        tier = self.tier
        limit = f"{float(tier.factor):.4g}"
        short = format_duration(tier.short_s)
        return f"{self.objective.name} burns > {limit}x in {tier.name} and in {short}"

    def judge(self, record: SloRecord, now: float, *, is_firing: bool) -> bool | None:
        """Return whether it holds, None where too little was measured to say.

        To begin, it takes enough samples and confidence that the long window is no accident; the
        short one only says that it still goes on. To go on, both windows above the factor do.
        """
        tier = self.tier
        bad, valid = record.ratio(tier.long_s)
        if not is_firing and valid and bad * self._per <= valid * self._most:
            # Nearly always: nothing more has to be known.
            return False
        long = record.counts(tier.long_s)
        short = record.counts(tier.short_s)
        if not long.valid or not short.valid:
            return None
        coverage = record.coverage(tier.long_s, now)
        if coverage is None or coverage < self.objective.min_coverage:
            return None
        # Before it was watched it spent nothing: two bad samples in the first minute are two of
        # the window's, not half of all there is.
        long = long._replace(good=long.good + record.unborn(tier.long_s, now))
        short = short._replace(good=short.good + record.unborn(tier.short_s, now))
        if not (self._is_above(long) and self._is_above(short)):
            return False
        return is_firing or self._is_sure(record, long)

    def _is_above(self, counts: SloCounts) -> bool:
        return counts.bad * self._per > counts.valid * self._most

    def _is_sure(self, record: SloRecord, long: SloCounts) -> bool:
        bad, valid = record.trials(long)
        objective = self.objective
        limit = self.tier.factor * objective.allowed
        return valid >= objective.min_events and is_surely_above(
            bad, valid, limit, objective.confidence
        )

    def values(self, record: SloRecord, now: float) -> Mapping[str, float | str | None]:
        """Return what a message about it shows, in the units of conditions."""
        long, short = self.tier.name, format_duration(self.tier.short_s)
        counts = record.counts(self.tier.long_s)
        coverage = record.coverage(self.tier.long_s, now)
        budgets = record.budgets(now)
        bad, valid = record.trials(counts)
        return MappingProxyType(
            {
                f"burn_rate_{long}": _rate(record, self.tier.long_s),
                f"burn_rate_{short}": _rate(record, self.tier.short_s),
                "error_budget_remaining": 100 * budgets[0].remaining if budgets else None,
                f"samples_{long}": float(valid),
                f"bad_samples_{long}": float(bad),
                f"coverage_{long}": None if coverage is None else 100 * coverage,
            }
        )


def rule_name(objective: Objective, tier: Tier) -> str:
    """Return the name of a tier's rule: `availability_burn_1h`."""
    return f"{objective.name}_burn_{tier.name}"


def tier_rules(objective: Objective, deployment: str) -> tuple[AlertRule, ...]:
    """Return one rule for each tier of an objective, fastest first."""
    channels = dict(objective.channels)
    return tuple(
        AlertRule(
            name=rule_name(objective, tier),
            condition=BurnCondition(objective=objective, tier=tier),
            severity=tier.severity,
            channels=channels.get(tier.severity, ()),
            labels=MappingProxyType({"slo": objective.name}),
            annotations=MappingProxyType({"summary": _summary(objective, tier, deployment)}),
        )
        for tier in objective.tiers
    )


def _summary(objective: Objective, tier: Tier, deployment: str) -> str:
    period = format_duration(objective.period_s)
    left = format_duration(round(objective.period_s / tier.factor))
    return (
        f"{deployment}: the {objective.name} budget ({float(objective.target * 100):.6g}% over "
        f"{period}) burns more than {float(tier.factor):.4g} times too fast; "
        f"at that rate all of it lasts {left}"
    )


def _rate(record: SloRecord, window_s: int) -> float | None:
    rate = record.burn_rate(window_s)
    return None if rate is None else float(rate)
