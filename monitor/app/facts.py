"""The facts of a message about one alert, one function each, read from the engine.

Every function yields (label, text) pairs, or nothing where nothing is known. Changes nothing and
keeps nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from monitor.model import Incident, Sample
from monitor.notify.words import fit_line, iso, measured, span
from monitor.slo.alerting import AlertRule
from monitor.slo.burning import BurnCondition
from monitor.slo.engine import Engine
from monitor.slo.objective import Objective, Sla, SliKind
from monitor.slo.outlook import forecast
from monitor.slo.record import SloRecord
from monitor.slo.signal import Signal, Unit
from monitor.slo.tally import WindowStats
from monitor.slo.verdict import Verdict

REGIONS_WINDOW_S = 300
REGIONS_LIMIT = 10
_LINE_LIMIT = 500
_LIMIT = r"\b{name}\s*(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?)"
_CLAUSES = {
    "error_rate": "error_rate",
    "success_rate": "error_rate",
    "uptime_percentage": "uptime",
    "burn_rate": "uptime",
    "error_budget_remaining": "uptime",
    "available_regions": "regions",
}
"""Kind of a signal -> the clause of the SLA that it is about; latencies have one each."""
_UNITS = {Unit.PERCENT: " %", Unit.MS: " ms"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One alert of an incident, and where everything about it is read. Its deployment is known."""

    engine: Engine
    incident: Incident
    rule: AlertRule | None
    now: float

    @property
    def name(self) -> str:
        """The deployment."""
        return self.incident.deployment

    @property
    def sla(self) -> Sla | None:
        """What was promised of it."""
        return self.engine.specs[self.name].sla

    @property
    def signals(self) -> tuple[Signal, ...]:
        """What the rule reads; a tier reads none."""
        return self.rule.condition.signals if self.rule else ()

    @property
    def burning(self) -> BurnCondition | None:
        """The tier, when the alert is one."""
        condition = self.rule.condition if self.rule else None
        return condition if isinstance(condition, BurnCondition) else None

    @property
    def record(self) -> SloRecord | None:
        """The record of the tier's objective, or of the deployment's first one."""
        records = self.engine.records(self.name, self.now)
        wanted = self.burning.objective.name if self.burning else None
        named = (it for it in records if wanted in {None, it.objective.name})
        return next(named, None)


Facts = Iterator[tuple[str, str]]
Source = Callable[[Case], Facts]


# --- the promise ------------------------------------------------------------------------------


def _promise(case: Case) -> Facts:
    """The clause of the SLA that the alert is about, or else the objective."""
    wanted = _clauses(case)
    verdicts = [it for it in case.engine.verdicts(case.name, case.now) if it.clause in wanted]
    sla = case.sla
    if verdicts and sla is not None:
        yield "SLA", "\n".join(_kept(verdict, sla.period_s) for verdict in verdicts)
    elif case.burning is not None:
        yield "Objective", _promised(case.burning.objective)


def _clauses(case: Case) -> set[str]:
    if case.burning is not None:
        objective = case.burning.objective
        is_uptime = objective.slis[0].kind is SliKind.UPTIME
        return {"uptime" if is_uptime else objective.name}
    named = {_CLAUSES[it.kind] for it in case.signals if it.kind in _CLAUSES}
    return named | {_clause_of(it.quantile) for it in case.signals if it.quantile is not None}


def _clause_of(quantile: Fraction) -> str:
    return f"p{float(100 * quantile):.12g}".replace(".", "")


def _kept(verdict: Verdict, period_s: int) -> str:
    what = f"{verdict.clause.replace('_', ' ')} {verdict.limit}"
    is_now = verdict.clause == "regions"
    what += " now" if is_now else f" over {span(period_s)}"
    if verdict.value is None:
        return f"{what}: no data"
    judged = ("kept" if verdict.ok else "broken") + ("" if is_now else " so far")
    return f"{what}: {judged}, {verdict.value:.4g}{_UNITS.get(verdict.unit, '')} measured"


def _promised(objective: Objective) -> str:
    return f"{objective.name} {float(objective.target * 100):.6g}% over {span(objective.period_s)}"


# --- what was measured ------------------------------------------------------------------------


def _readings(case: Case) -> Facts:
    """Each input of the condition now, against its limit, and what it rests on."""
    lines = []
    for signal in case.signals:
        value = case.engine.value(signal, case.name, case.now)
        line = f"{signal.name}: {measured(signal.name, value)}"
        limit = limit_of(case, signal)
        if limit is not None:
            line += f", limit {limit[0]} {measured(signal.name, limit[1])}"
        if signal.window_s is not None and signal.kind != "samples":
            line += f"; {_ground(case.engine.window(case.name, signal.window_s, case.now))}"
        lines.append(line)
    if lines:
        yield "Now", "\n".join(lines)


def _ground(stats: WindowStats) -> str:
    coverage = stats.coverage
    known = "" if coverage is None else f", {100 * coverage:.3g} % of the time measured"
    return f"{stats.bad} of {stats.valid} samples bad{known}"


def limit_of(case: Case, signal: Signal) -> tuple[str, float] | None:
    """Return (operator, number) that the rule compares a signal with, None when it is no number."""
    text = case.rule.condition.text if case.rule else ""
    found = re.search(_LIMIT.format(name=re.escape(signal.name)), text)
    return (found[1], float(found[2])) if found else None


def _burning(case: Case) -> Facts:
    """Both burn rates of a tier, and what they rest on."""
    condition, record = case.burning, case.record
    if condition is None or record is None:
        return
    tier = condition.tier
    rates = [
        f"{'no data' if rate is None else f'{float(rate):.3g}x'} in {span(window_s)}"
        for window_s in (tier.long_s, tier.short_s)
        for rate in (record.burn_rate(window_s),)
    ]
    bad, valid = record.trials(record.counts(tier.long_s))
    coverage = record.coverage(tier.long_s, case.now)
    known = "" if coverage is None else f", {100 * coverage:.3g} % of the time measured"
    limit = f"limit {float(tier.factor):.4g}x in both"
    ground = f"{bad} of {valid} bad in {span(tier.long_s)}{known}"
    yield "Burn rate", f"{' and '.join(rates)}, {limit}; {ground}"


def _budget(case: Case) -> Facts:
    """What is left of the budget, and for how long."""
    record = case.record
    budgets = record.budgets(case.now) if record else ()
    if not record or not budgets:
        return
    left = budgets[0]
    allowed = span(left.allowed_s)
    words = f"{100 * left.remaining:.3g} % of {allowed} ({_promised(record.objective)})"
    ahead = forecast(record, left)
    if left.remaining <= 0:
        words += "; spent"
    elif ahead is not None and ahead.soonest_s is not None:
        latest = "" if ahead.latest_s is None else f" and {_roughly(ahead.latest_s)}"
        least = "between " if latest else "at least "
        words += f"; lasts {least}{_roughly(ahead.soonest_s)}{latest} if errors go on as today"
    yield "Budget left", words


def _roughly(seconds: float) -> str:
    """Return a length of time with no more than its two largest units."""
    for unit_s in (86400, 3600, 60):
        if seconds >= 10 * unit_s:
            return span(seconds // unit_s * unit_s)
    return span(seconds // 60 * 60 if seconds >= 60 else seconds)  # noqa: PLR2004 - a minute


# --- where and since when ---------------------------------------------------------------------


def _release(case: Case) -> Facts:
    """The release on which it began."""
    began = case.incident.started_at
    seen = [it for it in case.engine.revisions(case.name) if it[1] <= began]
    if not seen:
        return
    revision, since = seen[-1]
    words = f"{revision}, live for {span(began - since)} when it began (since {iso(since)})"
    if len(seen) > 1:
        words += f"; before it {seen[-2][0]}"
    yield "Release", fit_line(words, _LINE_LIMIT)


def _regions(case: Case) -> Facts:
    """In how many regions it fails, of those that are probed."""
    by_region: dict[str, list[str]] = {}
    for target in case.engine.specs[case.name].targets:
        if target.sli:
            by_region.setdefault(target.region, []).append(target.id)
    if len(by_region) < 2:  # noqa: PLR2004 - one region has no spread
        return
    known = {
        region: case.engine.merged_window(ids, REGIONS_WINDOW_S, case.now)
        for region, ids in by_region.items()
    }
    bad = [
        f"{region} ({stats.bad} of {stats.valid} samples bad)"
        for region, stats in sorted(known.items(), key=lambda it: -it[1].bad)
        if stats.bad
    ]
    rest = f" and {len(bad) - REGIONS_LIMIT} more" if len(bad) > REGIONS_LIMIT else ""
    where = f": {', '.join(bad[:REGIONS_LIMIT])}{rest}" if bad else ""
    yield "Regions", f"failing in {len(bad)} of {len(known)}{where}"


def _failure(case: Case) -> Facts:
    """The latest bad sample of any target that counts."""
    targets = [it for it in case.engine.specs[case.name].targets if it.sli]
    found = [(case.engine.last_failure(it.id), it) for it in targets]
    failures = [(sample, target) for sample, target in found if sample is not None]
    if failures:
        sample, target = max(failures, key=lambda it: it[0].at)
        where = f"{target.probe} in {target.region}" if target.region else target.probe
        yield "Last failure", fit_line(f"{iso(sample.at)} {where}: {_why(sample)}", _LINE_LIMIT)


def _why(sample: Sample) -> str:
    reason = sample.reason.replace("_", " ") or "bad"
    return f"{reason} ({sample.detail})" if sample.detail else reason


SOURCES = (_promise, _readings, _burning, _budget, _release, _regions, _failure)
"""Most important first."""
