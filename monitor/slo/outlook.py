"""What becomes of a budget: how long it lasts, which release spent it, and whether to deploy.

Reads the engine; changes nothing and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from monitor.fields import format_duration
from monitor.model import AlertState, ReleaseStatus, Severity
from monitor.slo.budget import Budget, Measured, budget_of
from monitor.slo.burn import bounds
from monitor.slo.engine import Engine
from monitor.slo.objective import Objective, Period
from monitor.slo.record import SloRecord

FORECAST_WINDOW_S = 86400
_CONFIDENCE = Fraction(9, 10)
_WINDOWS_KEPT_S = 90 * 86400
_LITTLE = 0.5
"""Coverage below which a verdict is worth a remark."""
_UNDER_WAY = frozenset({ReleaseStatus.ROLLING_BACK, ReleaseStatus.ROLLBACK_FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """When the budget is spent, if errors go on as in the last day; seconds from now.

    The true rate of errors is between two bounds, each with 90 % confidence. Nothing that leaves a
    rolling period is taken to come back to its budget.
    """

    soonest_s: float | None
    """None when it is not spent at any rate that is likely."""
    latest_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseShare:
    """What one release spent."""

    revision: str
    since: float
    until: float
    """UTC seconds."""
    spent: float
    """Share of the whole budget of the rolling period."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SloPicture:
    """One objective now."""

    objective: Objective
    budgets: tuple[Budget, ...]
    """Of the rolling period, then of the others; without data none."""
    burn_rates: tuple[tuple[int, float | None], ...]
    """(window in seconds, burn rate)."""
    forecast: Forecast | None
    releases: tuple[ReleaseShare, ...]
    """Latest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Whether a deployment may be changed now."""

    deployment: str
    go: bool
    reasons: tuple[str, ...]
    """Why not."""
    notes: tuple[str, ...]
    """What to know all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceBudget:
    """The budget of a service over the deployments that its users are spread over."""

    service: str
    weights: tuple[tuple[str, float], ...]
    """(deployment, share of the users)."""
    budget: Budget


def picture(engine: Engine, record: SloRecord, windows_s: Sequence[int], now: float) -> SloPicture:
    """Return one objective; its record is as of `now`."""
    budgets = record.budgets(now)
    rates = ((window_s, record.burn_rate(window_s)) for window_s in windows_s)
    return SloPicture(
        objective=record.objective,
        budgets=budgets,
        burn_rates=tuple((w, None if rate is None else float(rate)) for w, rate in rates),
        forecast=forecast(record, budgets[0]) if budgets else None,
        releases=tuple(_shares(engine, record, now)),
    )


def forecast(record: SloRecord, budget: Budget) -> Forecast | None:
    """Return how long the rest of a budget lasts, None without samples in the last day."""
    bad, valid = record.trials(record.counts(FORECAST_WINDOW_S))
    if not valid:
        return None
    if budget.remaining <= 0:
        return Forecast(soonest_s=0.0, latest_s=0.0)
    left_s = budget.remaining * budget.allowed_s
    low, high = bounds(bad, valid, _CONFIDENCE)
    return Forecast(
        soonest_s=left_s / high if high > 0 else None, latest_s=left_s / low if low > 0 else None
    )


def _shares(engine: Engine, record: SloRecord, now: float) -> Iterator[ReleaseShare]:
    until = now
    for revision, since in reversed(engine.revisions(record.deployment)):
        since = max(since, now - _WINDOWS_KEPT_S)  # noqa: PLW2901 - as far as is known
        if since < until:
            spent = record.spent(record.between(since, until).bad)
            yield ReleaseShare(revision=revision, since=since, until=until, spent=float(spent))
        until = min(until, since)


def gate(engine: Engine, deployment: str, now: float) -> Gate:
    """Return whether to deploy: no budget is spent, nothing critical fires, and we can see."""
    reasons: list[str] = []
    notes: list[str] = []
    if engine.blindness is not None:
        reasons.append(f"the monitor is blind: {engine.blindness.why}")
    for record in engine.records(deployment, now):
        _look_at_budgets(record, now, reasons, notes)
    for status in engine.alerts():
        rule = engine.rule(status.rule, deployment)
        if status.deployment == deployment and status.state is AlertState.FIRING and rule:
            said = reasons if rule.severity is Severity.CRITICAL else notes
            said.append(f"{status.rule} fires")
    release = engine.release(deployment)
    if release is not None and release.status in _UNDER_WAY:
        reasons.append(f"{release.revision} is {release.status.replace('_', ' ')}")
    return Gate(deployment=deployment, go=not reasons, reasons=tuple(reasons), notes=tuple(notes))


def _look_at_budgets(record: SloRecord, now: float, reasons: list[str], notes: list[str]) -> None:
    name, budgets = record.objective.name, record.budgets(now)
    if not budgets:
        notes.append(f"{name}: no data")
    for budget in budgets:
        period = budget.period.calendar or format_duration(budget.period.length_s)
        if budget.remaining <= 0:
            reasons.append(f"{name}: {-budget.remaining:.1%} over the budget of this {period}")
        elif budget.worst <= 0:
            notes.append(f"{name}: spent if all that was not measured was bad ({period})")
    coverage = record.coverage(FORECAST_WINDOW_S, now)
    if coverage is not None and coverage < _LITTLE:
        notes.append(f"{name}: only {coverage:.0%} of the last day was measured")


def services(engine: Engine, now: float) -> Iterator[ServiceBudget]:
    """Yield the budget of every service of more than one deployment with an objective.

    What users met is merged, not ratios: each second of a deployment counts by its share of the
    traffic, or all the same when none is known; a deployment without a share, where others have
    one, has no users. The objective is that of the deployment with most of them.
    """
    by_service: dict[str, list[str]] = {}
    for name, spec in engine.specs.items():
        if spec.objective is not None:
            by_service.setdefault(spec.deployment.service, []).append(name)
    for service, names in by_service.items():
        weights = _weights(engine, names)
        merged = _merged(engine, weights, now) if len(weights) > 1 else None
        if merged is not None:
            shares = tuple((name, float(share)) for name, share in weights.items())
            yield ServiceBudget(service=service, weights=shares, budget=merged)


def _weights(engine: Engine, names: Sequence[str]) -> dict[str, Fraction]:
    shares = {name: engine.specs[name].deployment.traffic_share for name in names}
    known = {name: Fraction(share) for name, share in shares.items() if share}
    return known or dict.fromkeys(names, Fraction(1, len(names)))


def _merged(engine: Engine, weights: dict[str, Fraction], now: float) -> Budget | None:
    most = max(weights, key=lambda name: weights[name])
    objective = engine.records(most, now)[0].objective
    period = Period(length_s=objective.period_s)
    bad = valid = expected = Fraction()
    for name, weight in weights.items():
        record = engine.records(name, now)[0]
        known = record.measured(period, now)
        per_s = weight / record.units_per_second
        bad += known.bad * per_s
        valid += known.valid * per_s
        expected += known.expected * per_s
    # In milliseconds of users' time.
    measured = Measured(
        bad=round(bad * 1000),
        valid=round(valid * 1000),
        expected=round(expected * 1000),
        whole=sum(weights.values(), Fraction()) * objective.period_s * 1000,
        start=now - objective.period_s,
        end=now,
    )
    return budget_of(objective, period, measured)
