"""The life of an incident: what opens it, what joins it, what a channel sees, when it is over.

Pure: owns no state; time is an argument.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from monitor.model import (
    PRIORITY_OF,
    SEVERITY_RANK,
    Deployment,
    Incident,
    IncidentAlert,
    Severity,
    Transition,
)
from monitor.slo.alerting import AlertRule

JOIN_S = 3600.0
"""An alert joins an incident of its group that opened, or was joined, at most so long before."""
AGAIN_S = 300.0
"""An alert that ended and fires again within this time goes on with the same incident."""


def incident_key(rule: str, deployment: str) -> str:
    """Return the dedup key of a rule on a deployment: the same for all its episodes, for ever."""
    digest = hashlib.sha256(f"{rule}\0{deployment}".encode()).hexdigest()[:12]
    return f"slo-monitor/{deployment[:96]}/{rule[:96]}/{digest}"


def incident_id(key: str, opened_at: float) -> str:
    """Return the short name of one episode, the same when the same transition is replayed."""
    return hashlib.sha256(f"{key}\0{opened_at!r}".encode()).hexdigest()[:10]


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
    severity = min((incident.severity, alert.severity), key=SEVERITY_RANK.__getitem__)
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


def _is_same(one: IncidentAlert, other: IncidentAlert) -> bool:
    return (one.rule, one.deployment) == (other.rule, other.deployment)


def _is_over(incident: Incident, channel: str) -> bool:
    own = [each for each in incident.alerts if channel in each.channels]
    return bool(own) and not any(each.is_open for each in own)
