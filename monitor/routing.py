"""Who is told what, as pure decisions: routes, groups, the life of an incident, and what is owed.

Owns no state and sends nothing. Time is an argument.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from monitor.matching import labels_of, matches
from monitor.model import (
    PRIORITY_OF,
    Acknowledgement,
    Delivery,
    DeliveryResult,
    Deployment,
    Incident,
    IncidentAlert,
    Matcher,
    Note,
    Owed,
    SendReason,
    Severity,
    Told,
    Transition,
)
from monitor.slo.alerting import AlertRule

T = TypeVar("T")

PARKED_RETRY_S = 3600.0
"""A permanent refusal is tried again this rarely, and at once after a reload or restart."""
BACKOFF_FIRST_S = 2.0
BACKOFF_CAP_S = 300.0
JOIN_S = 3600.0
"""An alert joins an incident of its group that opened, or was joined, at most so long before."""
AGAIN_S = 300.0
"""An alert that ended and fires again within this time goes on with the same incident."""
LATE_S = 300.0
"""A step of an escalation that is taken so long after its time is worth a remark."""
GROUP_BY = ("deployment", "severity")
MANY = "alerts"
"""What the rule of a digest is called, after their number."""

_SEVERITIES = tuple(Severity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A node of the route tree; what it does not say comes from above, at last from the rule."""

    matchers: tuple[Matcher, ...] = ()
    channels: tuple[str, ...] | None = None
    group_by: tuple[str, ...] | None = None
    routes: tuple[Route, ...] = ()
    continues: bool = False
    """Whether routes after this one are looked at too when it matches."""
    wait_s: float | None = None
    interval_s: float | None = None
    repeat_s: float | None = None
    """See `Tempo`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EscalationStep:
    """Who is called when nobody acknowledged an incident for `after_s` since it opened."""

    after_s: float
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tempo:
    """When receivers hear of what happens in a group, with Alertmanager's meaning."""

    wait_s: float = 0.0
    """From the opening of an incident to its first message."""
    interval_s: float = 0.0
    """Alerts that join or end are told at multiples of this after the first message; 0: at once."""
    repeat_s: float = 4 * 3600.0


EVERYTHING = Route()
AT_ONCE = Tempo()


@dataclass(frozen=True, slots=True)
class _Leaf:
    channels: tuple[str, ...]
    group_by: tuple[str, ...]
    tempo: Tempo

    def under(self, route: Route) -> _Leaf:
        """Return what holds below `route`."""
        tempo = self.tempo
        return _Leaf(
            channels=_said(route.channels, self.channels),
            group_by=_said(route.group_by, self.group_by),
            tempo=Tempo(
                wait_s=_said(route.wait_s, tempo.wait_s),
                interval_s=_said(route.interval_s, tempo.interval_s),
                repeat_s=_said(route.repeat_s, tempo.repeat_s),
            ),
        )


def _said(said: T | None, above: T) -> T:
    return above if said is None else said


def tempo_of(root: Route, incident: Incident) -> Tempo:
    """Return how often people hear of an incident: as its first alert is routed."""
    return _leaves(root, labels_of(incident.lead), _Leaf((), GROUP_BY, AT_ONCE))[0].tempo


def routed(
    root: Route, labels: Mapping[str, str], channels: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (channels, group_by) for an alert; `channels` are those of its rule."""
    found = _leaves(root, labels, _Leaf(channels, GROUP_BY, AT_ONCE))
    names = tuple(dict.fromkeys(name for each in found for name in each.channels))
    return names, found[0].group_by


def _leaves(route: Route, labels: Mapping[str, str], above: _Leaf) -> list[_Leaf]:
    here = above.under(route)
    found: list[_Leaf] = []
    for child in route.routes:
        if matches(child.matchers, labels):
            found += _leaves(child, labels, here)
            if not child.continues:
                break
    return found or [here]


def group_of(labels: Mapping[str, str], group_by: Sequence[str]) -> str:
    """Return what alerts of one group have in common, as one text."""
    return "\0".join(f"{name}={labels.get(name, '')}" for name in group_by)


def incident_key(rule: str, deployment: str) -> str:
    """Return the dedup key of a rule on a deployment: the same for all its episodes, for ever."""
    digest = hashlib.sha256(f"{rule}\0{deployment}".encode()).hexdigest()[:12]
    return f"slo-monitor/{deployment[:96]}/{rule[:96]}/{digest}"


def incident_id(key: str, opened_at: float) -> str:
    """Return the short name of one episode, the same when the same transition is replayed."""
    return hashlib.sha256(f"{key}\0{opened_at!r}".encode()).hexdigest()[:10]


# --- the life of an incident ------------------------------------------------------------------


def alert_of(
    transition: Transition,
    rule: AlertRule,
    channels: tuple[str, ...],
    about: Deployment,
    *,
    rollback: bool,
) -> IncidentAlert:
    """Return the alert that a transition to firing is about."""
    deployment = transition.deployment
    return IncidentAlert(
        rule=rule.name,
        deployment=deployment,
        severity=rule.severity,
        channels=channels,
        condition=rule.condition.text,
        summary=rule.annotations.get("summary") or f"{rule.name} on {deployment}",
        started_at=transition.since,
        opened_at=transition.at,
        environment=about.environment,
        service=about.service,
        priority=rule.priority or PRIORITY_OF[rule.severity],
        rollback=rollback,
        values=transition.values,
        labels=rule.labels,
        annotations=rule.annotations,
    )


def open_incident(
    alert: IncidentAlert,
    *,
    revision: str | None,
    group: str = "",
    taken: bool = False,
) -> Incident:
    """Return the incident that `alert` opens.

    The key is that of the alert. `taken` says that an incident of this key is open still, because
    of other alerts: receivers then need another key, or they would take this one for that one.
    """
    key = incident_key(alert.rule, alert.deployment)
    name = incident_id(key, alert.opened_at)
    return Incident(
        id=name,
        key=f"{key}/{name}" if taken else key,
        rule=alert.rule,
        deployment=alert.deployment,
        service=alert.service,
        environment=alert.environment,
        severity=alert.severity,
        channels=alert.channels,
        condition=alert.condition,
        summary=alert.summary,
        started_at=alert.started_at,
        opened_at=alert.opened_at,
        revision=revision,
        rollback=alert.rollback,
        values=alert.values,
        labels=alert.labels,
        annotations=alert.annotations,
        alerts=(alert,),
        priority=alert.priority,
        group=group,
    )


def open_own_incident(
    transition: Transition, service: str, channels: tuple[str, ...], condition: str, summary: str
) -> Incident:
    """Return an incident that is about this monitor itself."""
    alert = IncidentAlert(
        rule=transition.rule,
        deployment=transition.deployment,
        severity=Severity.CRITICAL,
        channels=channels,
        condition=condition,
        summary=summary,
        started_at=transition.since,
        opened_at=transition.at,
        environment="monitoring",
        service=service,
        values=transition.values,
    )
    return open_incident(alert, revision=None)


def joinable(
    incident: Incident, alert: IncidentAlert, group: str, revision: str | None, now: float
) -> bool:
    """Return whether `alert`, on a release, is part of what `incident` is about.

    It is not when nobody would be called for it who should be: on another release, long after the
    last alert joined, for an alert that was over for a while, or where a receiver was told of the
    end already.
    """
    if not incident.is_open or incident.group != group or incident.covers:
        return False
    if None not in {revision, incident.revision} and revision != incident.revision:
        return False
    earlier = [each for each in incident.alerts if _is_same(each, alert)]
    if any(each.is_open or each.resolved_at < now - AGAIN_S for each in earlier):  # type: ignore[operator]
        return False
    last = max(each.opened_at for each in incident.alerts)
    return now - last <= JOIN_S and not any(
        _is_over(incident, channel) for channel in alert.channels
    )


def join(incident: Incident, alert: IncidentAlert) -> Incident:
    """Return the incident with one more alert, or with one that fires again."""
    others = [each for each in incident.alerts if not _is_same(each, alert)]
    if len(others) < len(incident.alerts):
        before = next(each for each in incident.alerts if _is_same(each, alert))
        alert = replace(alert, started_at=before.started_at)
        alerts = tuple(alert if _is_same(each, alert) else each for each in incident.alerts)
    else:
        alerts = (*incident.alerts, alert)
    severity = min((incident.severity, alert.severity), key=_SEVERITIES.index)
    return replace(
        incident,
        alerts=alerts,
        severity=severity,
        priority=min(incident.priority, alert.priority),
        channels=tuple(dict.fromkeys((*incident.channels, *alert.channels))),
        rollback=incident.rollback or alert.rollback,
    )


def end_alert(incident: Incident, transition: Transition) -> Incident:
    """Return the incident after one of its alerts ended; it is over with the last of them."""
    alerts = tuple(
        replace(
            each,
            resolved_at=transition.at,
            resolve_reason=transition.reason,
            values={**each.values, **transition.values},
        )
        if (each.rule, each.deployment) == (transition.rule, transition.deployment) and each.is_open
        else each
        for each in incident.alerts
    )
    incident = replace(incident, alerts=alerts)
    if (transition.rule, transition.deployment) == (incident.rule, incident.deployment):
        incident = replace(incident, values={**incident.values, **transition.values})
    if any(each.is_open for each in alerts):
        return incident
    return replace(incident, resolved_at=transition.at, resolve_reason=transition.reason)


def part(incident: Incident, channel: str, *, whole: bool = False) -> Incident:
    """Return the incident as `channel` sees it: the alerts that it is told of, or all of them.

    A receiver that was called for others (`whole`: the fallback; or by an escalation) sees all.
    """
    own = tuple(each for each in incident.alerts if channel in each.channels)
    if (
        whole
        or incident.covers
        or channel in incident.called
        or not own
        or len(own) == len(incident.alerts)
    ):
        return incident
    lead = own[0]
    ends = [each.resolved_at for each in own if each.resolved_at is not None]
    return replace(
        incident,
        alerts=own,
        rule=lead.rule,
        deployment=lead.deployment,
        condition=lead.condition,
        summary=lead.summary,
        started_at=lead.started_at,
        opened_at=lead.opened_at,
        values=lead.values,
        labels=lead.labels,
        annotations=lead.annotations,
        resolved_at=max(ends) if len(ends) == len(own) else None,
        resolve_reason=lead.resolve_reason if len(ends) == len(own) else "",
    )


def digest_of(
    covered: Sequence[Incident], channel: str, now: float, before: Incident | None = None
) -> Incident:
    """Return one incident that speaks on `channel` for all of `covered`, criticals first."""
    alerts = sorted(
        (each for incident in covered for each in part(incident, channel).alerts),
        key=lambda each: (_SEVERITIES.index(each.severity), each.opened_at),
    )
    first = covered[0]
    deployments = {each.deployment for each in alerts}
    environments = sorted({incident.environment for incident in covered})
    ends = [each.resolved_at for each in alerts if each.resolved_at is not None]
    opened_at = now if before is None else before.opened_at
    key = f"slo-monitor/digest/{channel[:96]}/{incident_id(channel, opened_at)}"
    return Incident(
        id=incident_id(key, opened_at),
        key=key,
        rule=f"{len(alerts)} {MANY}" if before is None else before.rule,
        deployment=f"{len(deployments)} deployments" if before is None else before.deployment,
        service=first.service,
        environment=", ".join(environments[:3]) + (", ..." if len(environments) > 3 else ""),  # noqa: PLR2004 - a title has room for no more
        severity=min((each.severity for each in alerts), key=_SEVERITIES.index),
        channels=(channel,),
        condition="more alerts at once than can be told one by one",
        summary=_summary(alerts),
        started_at=min(each.started_at for each in alerts),
        opened_at=opened_at,
        resolved_at=max(ends) if len(ends) == len(alerts) else None,
        alerts=tuple(alerts),
        priority=min(incident.priority for incident in covered),
        hidden_by=_common_reason(covered),
        acknowledgement=_common_acknowledgement(covered),
        covers=tuple(incident.id for incident in covered),
    )


def _common_reason(covered: Sequence[Incident]) -> str:
    reasons = [each.hidden_by for each in covered if each.is_open]
    return reasons[0] if reasons and all(reasons) else ""


def _common_acknowledgement(covered: Sequence[Incident]) -> Acknowledgement | None:
    """Return the one that expires first, when somebody works on everything."""
    given = [each.acknowledgement for each in covered if each.is_open]
    known = [each for each in given if each is not None]
    return min(known, key=lambda it: it.until) if known and len(known) == len(given) else None


def _summary(alerts: Sequence[IncidentAlert]) -> str:
    still = [each for each in alerts if each.is_open]
    counts = [
        f"{count} {severity.value}"
        for severity in Severity
        if (count := sum(each.severity is severity for each in still))
    ]
    return f"{len(still)} of {len(alerts)} alerts fire ({', '.join(counts) or 'none'})"


def _is_same(one: IncidentAlert, other: IncidentAlert) -> bool:
    return (one.rule, one.deployment) == (other.rule, other.deployment)


def _is_over(incident: Incident, channel: str) -> bool:
    own = [each for each in incident.alerts if channel in each.channels]
    return bool(own) and not any(each.is_open for each in own)


# --- escalation ---------------------------------------------------------------------------------


def escalate(
    incident: Incident, steps: Sequence[EscalationStep], now: float
) -> tuple[Incident, bool]:
    """Return the incident with the steps of its escalation that are due, and whether one is late.

    An acknowledgement stops the escalation until it expires; so does what hides the incident.
    """
    ack = incident.acknowledgement
    if not incident.is_open or incident.hidden_by or (ack is not None and now < ack.until):
        return incident, False
    late = False
    since = max(_urgent_since(incident), incident.shown_at or 0.0)
    for number, step in enumerate(steps):
        name = f"{incident.priority}/{number + 1}"
        if name in incident.steps:
            continue
        due = since + step.after_s
        if ack is not None and ack.at < due:
            due = max(due, ack.until)
        if now < due:
            break
        late |= now - due > LATE_S
        remark = f", {now - due:.0f} s late" if now - due > LATE_S else ""
        text = f"escalated to {', '.join(step.channels)} (step {number + 1}{remark})"
        note = Note(at=now, text=text)
        incident = replace(
            incident.with_note(note),
            escalated=(*incident.escalated, note),
            channels=tuple(dict.fromkeys((*incident.channels, *step.channels))),
            called=tuple(dict.fromkeys((*incident.called, *step.channels))),
            steps=(*incident.steps, name),
        )
    return incident, late


def _urgent_since(incident: Incident) -> float:
    """Return since when the incident is as urgent as it is."""
    return min(
        (each.opened_at for each in incident.alerts if each.priority is incident.priority),
        default=incident.opened_at,
    )


# --- what is owed -------------------------------------------------------------------------------


def owed_reason(
    incident: Incident,
    row: Owed,
    *,
    repeats: bool,
    updates: bool,
    tempo: Tempo,
    repeat_s: float | None = None,
) -> tuple[SendReason, float] | None:
    """Compare the incident, as the channel sees it, with what its receiver was last told.

    Returns (why to send, not before this UTC time), or None when nothing is owed. `repeat_s` is
    the channel's own interval of reminders.

    A receiver that was told "open", or may have been, is always told "resolved". One that was
    told nothing before the end gets the whole story in the single message "resolved", except
    where an open would page somebody about what is over (`repeats` False), or it was hidden.
    """
    if row.via or (row.told is Told.RESOLVED and not incident.is_open):
        return None
    if not incident.is_open:
        return _end_owed(incident, row, repeats, tempo)
    if row.told is not Told.OPEN:
        # Told nothing, or the end of what it saw then: a reload or a step shows it more.
        return None if incident.hidden_by else _first_owed(incident, row, tempo)
    if incident.hidden_by:
        if repeat_s is None:
            return None
        # A receiver that takes silence for the end would call again when it is not hidden any more.
        updates = False
    ack = incident.acknowledgement
    found = []
    if updates and ack is not None and ack.at != row.acknowledged_at:
        found.append((0.0, SendReason.ACKNOWLEDGED))
    if updates and row.told_alerts not in {"", incident.alerts_state}:
        found.append((_tick(incident, incident.changed_at, tempo), SendReason.NEW_ALERTS))
    if repeats and row.told_at is not None:
        found.append((_repeat_at(incident, row.told_at, tempo, repeat_s), SendReason.REPEAT))
    if not found:
        return None
    due, reason = min(found, key=lambda each: each[0])
    return reason, max(row.next_at, due)


def _first_owed(incident: Incident, row: Owed, tempo: Tempo) -> tuple[SendReason, float]:
    if row.channel in incident.called:
        return SendReason.ESCALATED, row.next_at
    return SendReason.FIRST, max(row.next_at, _waits_until(incident, tempo))


def _end_owed(
    incident: Incident,
    row: Owed,
    repeats: bool,  # noqa: FBT001 - passed on
    tempo: Tempo,
) -> tuple[SendReason, float] | None:
    if row.told is Told.OPEN or row.uncertain is not None:
        return SendReason.RESOLVED, row.next_at
    if not repeats or incident.hidden_by:
        return None
    return SendReason.RESOLVED, max(row.next_at, _waits_until(incident, tempo))


def _repeat_at(incident: Incident, told_at: float, tempo: Tempo, own_s: float | None) -> float:
    """Return when a reminder is due: not while somebody works on it, and with the group's news."""
    if own_s is not None:
        return told_at + own_s
    due = told_at + tempo.repeat_s
    if tempo.interval_s > 0:
        # Older than the interval, not as old: Alertmanager's 4 h are 4 h 05 min as well.
        due = _tick(incident, math.nextafter(due, math.inf), tempo)
    ack = incident.acknowledgement
    return due if ack is None else max(due, ack.until)


def _waits_until(incident: Incident, tempo: Tempo) -> float:
    """Return when the first message is due: at once if it began long enough ago."""
    if incident.started_at <= incident.opened_at - tempo.wait_s:
        return 0.0
    return incident.opened_at + tempo.wait_s


def _tick(incident: Incident, at: float, tempo: Tempo) -> float:
    """Return the first moment, from `at` on, at which the group's news are told."""
    if tempo.interval_s == 0:
        return at
    first = max(incident.opened_at, _waits_until(incident, tempo))
    steps = math.ceil((at - first) / tempo.interval_s)
    return first + max(1, steps) * tempo.interval_s


def urgency(incident: Incident) -> tuple[int, float]:
    """Return the sort key of owed messages: critical first, then the oldest incident."""
    return _SEVERITIES.index(incident.severity), incident.opened_at


def settle(
    row: Owed,
    reason: SendReason,
    delivery: Delivery,
    told: Incident,
    *,
    now: float,
    jitter: float,
    says_who: bool = True,
) -> Owed:
    """Return the row after an attempt to say how things stand in `told`.

    `jitter` in [0, 1) spreads retries over half a step. `says_who`: whether the message said who
    works on it, besides that it is open.
    """
    row = replace(row, intent=None)
    match delivery.result:
        case DeliveryResult.DELIVERED:
            ack = told.acknowledgement
            return replace(
                row,
                told=Told.RESOLVED if reason is SendReason.RESOLVED else Told.OPEN,
                told_at=now,
                uncertain=None,
                attempts=0,
                next_at=now,
                parked="",
                remote_key=delivery.remote_key or row.remote_key,
                told_alerts=told.alerts_state,
                acknowledged_at=ack.at if ack is not None and says_who else row.acknowledged_at,
            )
        case DeliveryResult.PERMANENT:
            return replace(
                row,
                parked=delivery.detail or "refused",
                attempts=row.attempts + 1,
                next_at=now + PARKED_RETRY_S,
            )
        case DeliveryResult.UNCERTAIN:
            # It may have opened there: a later resolve needs what it would have returned.
            row = replace(row, uncertain=reason, remote_key=delivery.remote_key or row.remote_key)
        case DeliveryResult.RETRY:
            pass
    attempts = row.attempts + 1
    step = min(BACKOFF_CAP_S, BACKOFF_FIRST_S * 2 ** min(attempts - 1, 16))
    wait = max(step * (0.75 + jitter / 2), delivery.retry_after_s or 0.0)
    return replace(row, attempts=attempts, next_at=now + wait, parked="")
