"""Messages as their receivers get them, as text that a person can read in a review.

`refresh_golden.py` writes what `test_golden.py` compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from monitor.model import Acknowledgement, Message, Note, SendReason, Severity
from monitor.notify.page import page
from monitor.notify.pagerduty import trigger
from monitor.notify.render import identity, render
from monitor.notify.slack import payload
from tests.notify.samples import NOW, alert, brief, message, storm

DIRECTORY = Path(__file__).parent / "golden"

_ACKNOWLEDGED = Acknowledgement(by="ann@example.com", at=NOW - 60, until=NOW + 3540, source="link")
_SEVERAL = (
    alert(started_at=NOW - 1200),
    alert(rule="p95_latency_high", severity=Severity.WARNING, started_at=NOW - 200),
    alert(rule="HighErrorRate", deployment="cart-production", started_at=NOW - 120),
    alert(rule="availability_burn_1h", started_at=NOW - 280, resolved_at=NOW - 40),
)
_CALLED = (
    Note(at=NOW - 900, text="called oncall"),
    Note(at=NOW, text="called team-lead: nobody acknowledged within 15m"),
)
_ROLLED_BACK = (Note(at=NOW - 90, text="rolled back from 1.4.2 to 1.4.1"),)


def messages() -> Mapping[str, Message]:
    """Return one message of each kind that people get, by name."""
    began: dict[str, Any] = {"started_at": NOW - 1200, "opened_at": NOW - 1140}
    known = {**began, "brief": brief()}
    ended = tuple(replace(each, resolved_at=NOW) if each.is_open else each for each in _SEVERAL)
    return {
        "first": message(**known),
        "several": message(SendReason.NEW_ALERTS, alerts=_SEVERAL, **known),
        "acknowledged": message(SendReason.ACKNOWLEDGED, acknowledgement=_ACKNOWLEDGED, **known),
        "escalated": message(SendReason.ESCALATED, escalated=_CALLED, **known),
        "resolved": message(
            SendReason.RESOLVED,
            alerts=ended,
            notes=_ROLLED_BACK,
            acknowledgement=_ACKNOWLEDGED,
            **began,
        ),
        "storm": message(alerts=storm(), **known),
    }


def texts() -> Iterator[tuple[str, str]]:
    """Yield (file name, content) of every message in every form."""
    for name, sent in messages().items():
        text = render(sent)
        content_id = (
            None
            if sent.brief is None
            else f"course.{'-'.join(identity(sent, sent.reason))}@example.com"
        )
        yield f"{name}.txt", text.plain() + "\n"
        yield f"{name}.html", page(sent, text, content_id)
        yield f"{name}.slack.json", _json(payload(text))
        if sent.reason is not SendReason.RESOLVED:
            # A resolve has no words: it is a key and an action.
            yield f"{name}.pagerduty.json", _json(trigger(sent))


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
