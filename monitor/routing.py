"""Who is told what, as pure decisions: incident identity, opening, closing, and what is owed.

Owns no state and sends nothing. Time is an argument.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from monitor.model import (
    Delivery,
    DeliveryResult,
    Deployment,
    Incident,
    Owed,
    SendReason,
    Severity,
    Told,
    Transition,
)
from monitor.slo.alerting import AlertRule

PARKED_RETRY_S = 3600.0
"""A permanent refusal is tried again this rarely, and at once after a reload or restart."""
BACKOFF_FIRST_S = 2.0
BACKOFF_CAP_S = 300.0


def incident_key(rule: str, deployment: str) -> str:
    """Return the dedup key of a rule on a deployment: the same for all its episodes, for ever."""
    digest = hashlib.sha256(f"{rule}\0{deployment}".encode()).hexdigest()[:12]
    return f"slo-monitor/{deployment[:96]}/{rule[:96]}/{digest}"


def incident_id(key: str, opened_at: float) -> str:
    """Return the short name of one episode, the same when the same transition is replayed."""
    return hashlib.sha256(f"{key}\0{opened_at!r}".encode()).hexdigest()[:10]


def open_incident(
    transition: Transition,
    rule: AlertRule,
    deployment: Deployment,
    *,
    revision: str | None,
    rollback: bool,
) -> Incident:
    """Return the incident that a transition to firing opens."""
    key = incident_key(rule.name, deployment.name)
    summary = rule.annotations.get("summary") or f"{rule.name} on {deployment.name}"
    return Incident(
        id=incident_id(key, transition.at),
        key=key,
        rule=rule.name,
        deployment=deployment.name,
        service=deployment.service,
        environment=deployment.environment,
        severity=rule.severity,
        channels=rule.channels,
        condition=rule.condition.text,
        summary=summary,
        started_at=transition.since,
        opened_at=transition.at,
        revision=revision,
        rollback=rollback,
        values=transition.values,
        labels=rule.labels,
        annotations=rule.annotations,
    )


def open_blind_incident(
    transition: Transition, service: str, channels: tuple[str, ...]
) -> Incident:
    """Return the incident of a monitor that cannot see: the only one that is about itself."""
    key = incident_key(transition.rule, transition.deployment)
    return Incident(
        id=incident_id(key, transition.at),
        key=key,
        rule=transition.rule,
        deployment=transition.deployment,
        service=service,
        environment="monitoring",
        severity=Severity.CRITICAL,
        channels=channels,
        condition="nothing that is watched can be seen",
        summary=f"{service}: the monitor is blind: {transition.values['why']}. "
        "Budgets, alerts and rollbacks stand still until it sees again.",
        started_at=transition.since,
        opened_at=transition.at,
        values=transition.values,
    )


def close_incident(incident: Incident, transition: Transition) -> Incident:
    """Return the incident as it ends with a transition to resolved."""
    return replace(
        incident,
        resolved_at=transition.at,
        resolve_reason=transition.reason,
        values={**incident.values, **transition.values},
    )


def owed_reason(
    incident: Incident, row: Owed, *, repeats: bool, repeat_s: float
) -> tuple[SendReason, float] | None:
    """Compare the incident as it is with what a receiver was last told.

    Returns (why to send, not before this UTC time), or None when nothing is owed.

    A receiver that was told "open", or may have been, is always told "resolved". One that was
    told nothing before the end gets the whole story in the single message "resolved", except
    where an open would page somebody about what is over (`repeats` False).
    """
    if incident.is_open:
        if row.told is Told.NOTHING:
            return SendReason.FIRST, row.next_at
        if repeats and row.told_at is not None:
            return SendReason.REPEAT, max(row.next_at, row.told_at + repeat_s)
        return None
    if row.told is Told.RESOLVED:
        return None
    if row.told is Told.NOTHING and row.uncertain is None and not repeats:
        return None
    return SendReason.RESOLVED, row.next_at


def urgency(incident: Incident) -> tuple[int, float]:
    """Return the sort key of owed messages: critical first, then the oldest incident."""
    return list(Severity).index(incident.severity), incident.opened_at


def settle(row: Owed, reason: SendReason, delivery: Delivery, now: float, jitter: float) -> Owed:
    """Return the row after an attempt. `jitter` in [0, 1) spreads retries over half a step."""
    row = replace(row, intent=None)
    match delivery.result:
        case DeliveryResult.DELIVERED:
            return replace(
                row,
                told=Told.RESOLVED if reason is SendReason.RESOLVED else Told.OPEN,
                told_at=now,
                uncertain=None,
                attempts=0,
                next_at=now,
                parked="",
                remote_key=delivery.remote_key or row.remote_key,
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
