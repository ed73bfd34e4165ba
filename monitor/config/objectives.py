"""Makes objectives out of what is written: shorthands, SLA clauses and whole `slos`.

Owns the defaults of burn-rate alerts. Checks no names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from monitor.config.slo_models import AlertingModel, BurnAlertsModel, SloModel, TierModel
from monitor.model import Severity
from monitor.slo.alerting import AlertRule
from monitor.slo.burn import default_tiers, tier
from monitor.slo.objective import (
    Budgeting,
    MaintenanceMode,
    Objective,
    Period,
    Sla,
    Sli,
    SliKind,
    Tier,
)

SEVERITIES: Mapping[str, Severity] = {"page": Severity.CRITICAL, "ticket": Severity.WARNING}


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveMaker:
    """Makes objectives with the tiers and channels that they have by default."""

    alerts: BurnAlertsModel
    page: tuple[str, ...]
    ticket: tuple[str, ...]

    def uptime(self, target: Fraction) -> Objective:
        """Return the objective of `slo: 99.9%`."""
        return self._with_alerts(Objective(target=target), AlertingModel())

    def of_sla(self, sla: Sla) -> Iterator[Objective]:
        """Yield the objectives that the clauses of an SLA are, besides its uptime."""
        for quantile, below_s in sla.latency_below_s:
            objective = Objective(
                name=quantile_name(quantile),
                target=quantile,
                slis=(Sli(kind=SliKind.LATENCY, below_s=below_s),),
                period_s=sla.period_s,
            )
            yield self._with_alerts(objective, AlertingModel())
        if sla.error_rate_below is not None:
            objective = Objective(
                name="error_rate",
                target=1 - sla.error_rate_below,
                slis=(Sli(kind=SliKind.AVAILABILITY),),
                period_s=sla.period_s,
            )
            yield self._with_alerts(objective, AlertingModel())

    def of_model(self, model: SloModel) -> Objective:
        """Return an objective of `slos`."""
        periods = [_in_zone(period, model.zone) for period in (model.period, *model.also)]
        first, *more = periods
        objective = Objective(
            name=model.name,
            target=model.objective,
            period_s=first.length_s,
            slis=model.to_slis(),
            budgeting=Budgeting(model.budgeting),
            slice_s=int(model.slice_s),
            slice_target=Fraction(1) if model.slice_target is None else model.slice_target,
            probes=None if model.probes is None else frozenset(model.probes),
            more_periods=tuple(periods if first.calendar else more),
            maintenance=MaintenanceMode(model.maintenance),
        )
        return self._with_alerts(objective, model.alerting)

    def _with_alerts(self, objective: Objective, own: AlertingModel) -> Objective:
        common = self.alerts
        enabled = common.enabled if own.enabled is None else own.enabled
        min_events = common.min_events if own.min_events is None else own.min_events
        return replace(
            objective,
            tiers=_tiers(objective, own.tiers) if enabled else (),
            channels=(
                (Severity.CRITICAL, own.page or self.page),
                (Severity.WARNING, own.ticket or self.ticket),
            ),
            min_events=min_events,
            confidence=common.confidence if own.confidence is None else own.confidence,
            min_coverage=common.min_coverage if own.min_coverage is None else own.min_coverage,
        )


def maker(
    alerts: BurnAlertsModel,
    rules: Sequence[AlertRule],
    channels: Sequence[str],
    fallback: str | None,
) -> ObjectiveMaker:
    """Return the maker with the channels that fit the user's own rules."""
    page = alerts.page or channels_of(rules, Severity.CRITICAL) or tuple(channels)
    ticket = alerts.ticket or channels_of(rules, Severity.WARNING)
    if not ticket:
        ticket = page if fallback is None else (fallback,)
    return ObjectiveMaker(alerts=alerts, page=page, ticket=ticket)


def quantile_name(quantile: Fraction) -> str:
    """Return `p95` for 19/20, `p999` for 999/1000."""
    return f"p{float(quantile * 100):.12g}".replace(".", "")


def channels_of(rules: Sequence[AlertRule], severity: Severity) -> tuple[str, ...]:
    """Return who is told of the rules of a severity, in their order."""
    names = (name for rule in rules if rule.severity is severity for name in rule.channels)
    return tuple(dict.fromkeys(names))


def _tiers(objective: Objective, written: tuple[TierModel, ...] | None) -> tuple[Tier, ...]:
    if written is None:
        return default_tiers(objective.target, objective.period_s)
    tiers = [
        tier(
            each.spend, int(each.long_s), int(each.short_s), SEVERITIES[each.severity],
            objective.period_s,
        )
        for each in written
    ]  # fmt: skip
    return tuple(sorted(tiers, key=lambda each: each.long_s))


def _in_zone(period: Period, zone: str) -> Period:
    return period if period.calendar is None else replace(period, zone=zone)
