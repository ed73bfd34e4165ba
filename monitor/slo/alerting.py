"""The alert state machine, with Prometheus' meaning of `for` and `keep_firing_for`.

Owns the rule and the step from one durable status to the next. Pure: evaluates no condition,
tells nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from monitor.model import EMPTY, AlertState, AlertStatus, Priority, Severity
from monitor.slo.signal import Signal


class Judged(Protocol):
    """A condition of any kind, as far as people see it."""

    @property
    def text(self) -> str:
        """The condition as it was written, or would be."""
        ...

    @property
    def signals(self) -> tuple[Signal, ...]:
        """The signals that it reads."""
        ...


class NoData(StrEnum):
    """What an evaluation without data is taken for."""

    FREEZE = "freeze"
    """Nothing changes; the budget and the page show that nothing is known."""
    ALERT = "alert"
    OK = "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """M of N: at least `least` of the last `of` periods must have a match."""

    least: int
    of: int
    period_s: float = 60.0

    def count(self, status: AlertStatus, now: float, *, matched: bool) -> tuple[float, ...]:
        """Return the starts of the periods with a match among those that end with the present."""
        this = now // self.period_s * self.period_s
        oldest = this - (self.of - 1) * self.period_s
        kept = tuple(at for at in status.matched_at if at >= oldest)
        return (*kept, this) if matched and this not in kept else kept


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """When to page, how loud, and where. `name` is unique; it is evaluated per deployment."""

    name: str
    condition: Judged
    severity: Severity
    channels: tuple[str, ...]
    for_s: float = 0
    """How long the condition must hold before it fires; 0 fires on the first match."""
    keep_firing_for_s: float = 0
    """How long it keeps firing after the last match."""
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    annotations: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    rollback: bool = False
    priority: Priority | None = None
    """How fast people must respond; None: what its severity says."""
    clear: Judged | None = None
    """While it fires it ends only where this holds; None: where `condition` does not."""
    matches: Matches | None = None
    """Counts periods before `for_s` is looked at; None: the condition alone decides."""
    no_data: NoData = NoData.FREEZE
    region: str = ""
    """Where the samples are from that it looks at; "" for everywhere."""
    by_region: bool = False
    """Whether there is one alert for each region."""


def advance(rule: AlertRule, status: AlertStatus, verdict: bool | None, now: float) -> AlertStatus:  # noqa: FBT001 - the condition's answer is the argument
    """Return the status after one evaluation at `now`.

    A `verdict` of None (no data) freezes the state: no timer is started, cleared or moved, and
    the time without data counts as time, as a failed evaluation does in Prometheus.
    """
    if verdict is None:
        return replace(status, evaluated_at=now, no_data=True)
    if rule.matches is None:
        return _advance(rule, status, verdict, now)
    matched_at = rule.matches.count(status, now, matched=verdict)
    # What holds does not end, however little of the last periods is known.
    goes_on = verdict and status.state is AlertState.FIRING
    enough = goes_on or len(matched_at) >= rule.matches.least
    return replace(_advance(rule, status, enough, now), matched_at=matched_at)


def _advance(rule: AlertRule, status: AlertStatus, verdict: bool, now: float) -> AlertStatus:  # noqa: FBT001 - passed on
    if verdict:
        return _matched(rule, status, now)
    if status.state is AlertState.FIRING and rule.keep_firing_for_s > 0:
        clear_since = now if status.clear_since is None else status.clear_since
        if now - clear_since < rule.keep_firing_for_s:
            return replace(status, clear_since=clear_since, evaluated_at=now, no_data=False)
    return inactive(rule.name, status.deployment, now)


def instance_name(rule: str, region: str) -> str:
    """Return what the alert of a rule in one region is called."""
    return f"{rule}[{region}]"


def rule_name(alert: str) -> str:
    """Return the name of the rule of an alert: that of a region has its region behind it."""
    return alert.partition("[")[0]


def inactive(rule: str, deployment: str, now: float) -> AlertStatus:
    """Return the status of an alert that is off."""
    return AlertStatus(
        rule=rule, deployment=deployment, state=AlertState.INACTIVE, evaluated_at=now
    )


def durable_part(status: AlertStatus) -> tuple[object, ...]:
    """Return what must survive a restart; when it was last evaluated is not worth a write."""
    return (
        status.state,
        status.active_at,
        status.fired_at,
        status.clear_since,
        status.no_data,
        status.matched_at,
    )


def _matched(rule: AlertRule, status: AlertStatus, now: float) -> AlertStatus:
    active_at = now if status.active_at is None else status.active_at
    # A firing alert of which `for` was raised waits again, like any other.
    due = now - active_at >= rule.for_s
    fired_at = (now if status.fired_at is None else status.fired_at) if due else None
    return AlertStatus(
        rule=status.rule,
        deployment=status.deployment,
        state=AlertState.FIRING if due else AlertState.PENDING,
        active_at=active_at,
        fired_at=fired_at,
        evaluated_at=now,
    )


def restore_status(
    rule: AlertRule,
    status: AlertStatus,
    seen_at: float,
    now: float,
    *,
    tolerance_s: float = 3600,
    grace_s: float,
) -> AlertStatus:
    """Return what a stored status is worth to a process that starts at `now`.

    `seen_at` is when the earlier process last wrote that it was alive; the time since then does
    not count for any timer. A firing alert stays firing however long it was: somebody was paged
    and is owed the end. A pending one is dropped after an absence over `tolerance_s`, and never
    fires sooner than `grace_s` from now unless it was due already.
    """
    seen_at = max(seen_at, status.evaluated_at)
    away_s = now - seen_at
    if status.state is AlertState.FIRING:
        if status.clear_since is None:
            return status
        return replace(status, clear_since=status.clear_since + away_s)
    if status.state is not AlertState.PENDING or status.active_at is None:
        return status
    if away_s > tolerance_s:
        return inactive(status.rule, status.deployment, status.evaluated_at)
    remaining_s = rule.for_s - (seen_at - status.active_at)
    if remaining_s <= 0:
        return status
    active_at = status.active_at + away_s
    if remaining_s < grace_s:
        # Where `for` itself is shorter than the grace, all of `for` is waited again.
        active_at = min(now, now + grace_s - rule.for_s)
    return replace(status, active_at=active_at)
