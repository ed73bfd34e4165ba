"""Who else is called when nobody answers.

Pure: owns no state; time is an argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from monitor.model import (
    Incident,
    Note,
)

LATE_S = 300.0
"""A step that is taken so long after its time is worth a remark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EscalationStep:
    """Who is called when nobody acknowledged an incident for `after_s` since it opened."""

    after_s: float
    channels: tuple[str, ...]


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
