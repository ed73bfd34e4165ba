"""What a receiver is owed: an incident as it is, compared with what was told of it last.

Pure: owns no state and sends nothing; time is an argument.
"""

from __future__ import annotations

import math
from dataclasses import replace

from monitor.model import (
    SEVERITY_RANK,
    Delivery,
    DeliveryResult,
    Incident,
    Owed,
    SendReason,
    Told,
)
from monitor.routing import Tempo

PARKED_RETRY_S = 3600.0
"""A permanent refusal is tried again this rarely, and at once after a reload or restart."""
BACKOFF_FIRST_S = 2.0
BACKOFF_CAP_S = 300.0


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
    return SEVERITY_RANK[incident.severity], incident.opened_at


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
