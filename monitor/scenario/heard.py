"""What a receiver understood of a message: which episode it is about, and what was said of it.

Reads what was really delivered (words, events, documents), so that a promise to a receiver can be
checked against what that receiver took in. Judges nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monitor.model import SendReason
from monitor.notify.render import CAUTION
from monitor.scenario.alertmanager import AlertmanagerFake
from monitor.scenario.pagerduty import PagerDutyFake

_TITLE = re.compile(
    r"\] (?P<what>FIRING|CHANGED|ESCALATED|ACKNOWLEDGED|STILL FIRING|RESOLVED|TEST): "
    r"(?P<subject>.+ on .+) \("
)
_SINCE = re.compile(r"Since\W+(\d{4}-\d\d-\d\dT[\d:]+Z)")
_REASONS = {
    "FIRING": SendReason.FIRST,
    "CHANGED": SendReason.NEW_ALERTS,
    "ESCALATED": SendReason.ESCALATED,
    "ACKNOWLEDGED": SendReason.ACKNOWLEDGED,
    "STILL FIRING": SendReason.REPEAT,
    "RESOLVED": SendReason.RESOLVED,
    "TEST": SendReason.TEST,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One message as its reader understands it."""

    subject: str
    """`rule on deployment`."""
    since: str
    """When the trouble began: with `subject` it names the episode."""
    reason: SendReason
    marked: bool
    """It says itself that it may be a repetition."""


def heard_in(text: str) -> Heard:
    """Return what a text for people says.

    Raises:
        ValueError: it is no message of ours.
    """
    title, since = _TITLE.search(text), _SINCE.search(text)
    if title is None or since is None:
        msg = f"not a message of this monitor: {text[:200]!r}"
        raise ValueError(msg)
    return Heard(
        subject=title["subject"],
        since=since[1],
        reason=_REASONS[title["what"]],
        marked=CAUTION in text,
    )


def heard_in_document(document: Mapping[str, Any]) -> Heard:
    """Return what a document for programs says."""
    data = document["data"]
    return Heard(
        subject=f"{data['rule']} on {data['deployment']}",
        since=data["started_at"],
        reason=SendReason(document["type"].removeprefix("incident.")),
        marked=data["may_be_repeated"],
    )


def heard_by_pagerduty(fake: PagerDutyFake) -> list[Heard]:
    """Return when incidents there opened, were acknowledged and ended; what merged is one."""
    told = []
    for incident in fake.incidents:
        payload = incident.events[0]["payload"]
        subject = f"{payload['class']} on {payload['source']}"
        ends = [
            (incident.opened_at, SendReason.FIRST),
            (incident.acknowledged_at, SendReason.ACKNOWLEDGED),
            (incident.resolved_at, SendReason.RESOLVED),
        ]
        told += [
            (at, Heard(subject=subject, since=payload["timestamp"], reason=reason, marked=False))
            for at, reason in ends
            if at is not None
        ]
    return [heard for _, heard in sorted(told, key=lambda each: each[0])]


def heard_by_alertmanager(fake: AlertmanagerFake) -> list[Heard]:
    """Return the beginnings and ends of alerts there; what was merged by its labels is one."""
    told = []
    for episode in fake.episodes:
        subject = f"{episode.labels['alertname']} on {episode.labels['deployment']}"
        since = episode.posts[0]["annotations"]["since"]
        ends = [(episode.opened_at, SendReason.FIRST), (episode.resolved_at, SendReason.RESOLVED)]
        told += [
            (at, Heard(subject=subject, since=since, reason=reason, marked=False))
            for at, reason in ends
            if at is not None
        ]
    return [heard for _, heard in sorted(told, key=lambda each: each[0])]
