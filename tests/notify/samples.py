"""Messages that the tests of every channel send."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from monitor.model import (
    Acknowledgement,
    Brief,
    Course,
    Incident,
    IncidentAlert,
    Message,
    Note,
    SendReason,
    Severity,
)

NOW = 1_800_000_000.0
CANARY = "canary0S3cr3tcanary0S3cr3tcanary"
"""32 characters, so that it can be a routing key; it must turn up nowhere."""
BUDGET = (
    "63.2 % of 43m12s (availability 99.9% over 30d); "
    "lasts between 3h11m and 4h12m if errors go on as today"
)
HOSTILE = {
    "header injection": "api\r\nBcc: everyone@example.com\r\n\r\nhello",
    "nul": "a\x00b",
    "lone surrogate": "\ud800 x \udfff",
    "broadcast": "<!channel> <!here> <@U123> @channel @HERE",
    "markup": "<script>alert(1)</script> & <b>",
    "direction": "\u202egnp.exe\u2066",
    "line separators": "a\u2028b\u2029c\x85d",
    "megabyte": "&<x" * 350_000,
    "blank": " \t\r\n ",
}


def incident(**changes: Any) -> Incident:
    """Return a plausible open incident with `changes`."""
    fields: dict[str, Any] = {
        "id": "a1b2c3d4e5",
        "key": "slo-monitor/api-production/HighErrorRate/0123456789ab",
        "rule": "HighErrorRate",
        "deployment": "api-production",
        "service": "api",
        "environment": "production",
        "severity": Severity.CRITICAL,
        "channels": ("oncall",),
        "condition": "error_rate_5m > 5",
        "summary": "Users get errors",
        "started_at": NOW - 300,
        "opened_at": NOW - 60,
        "revision": "1.4.2",
        "values": {"error_rate_5m": 7.25, "p95_latency": 1234.0, "burn_rate_1h": None},
        "annotations": {"runbook": "https://wiki.example.com/high-error-rate?a=1&b=2"},
    }
    return Incident(**{**fields, **changes})


def alert(**changes: Any) -> IncidentAlert:
    """Return a plausible firing alert with `changes`."""
    fields: dict[str, Any] = {
        "rule": "HighErrorRate",
        "deployment": "api-production",
        "severity": Severity.CRITICAL,
        "channels": ("oncall",),
        "condition": "error_rate_5m > 5",
        "summary": "Users get errors",
        "started_at": NOW - 300,
        "opened_at": NOW - 60,
    }
    return IncidentAlert(**{**fields, **changes})


def storm(count: int = 5000) -> tuple[IncidentAlert, ...]:
    """Return so many alerts of many deployments: every fifth is critical, every tenth ended."""
    return tuple(
        alert(
            deployment=f"shop-{number:04d}",
            severity=Severity.WARNING if number % 5 else Severity.CRITICAL,
            started_at=NOW - 300 + number % 60,
            resolved_at=None if number % 10 else NOW - 5,
        )
        for number in range(count)
    )


def course() -> Course:
    """Return an hour in which errors and latency rose 20 min ago."""
    onset = NOW - 1200
    at = tuple(NOW - 3600 + 60 * step for step in range(60))
    gap = {12, 13}
    return Course(
        at=at,
        error_ratio=tuple(
            None if n in gap else 0.0725 + 0.01 * (n % 3) if t >= onset else 0.0005 * (n % 4)
            for n, t in enumerate(at)
        ),
        latency_s=tuple(
            None if n in gap else 1.2 + 0.06 * (n % 5) if t >= onset else 0.21 + 0.01 * (n % 7)
            for n, t in enumerate(at)
        ),
        onset_at=onset,
        error_limit=0.05,
        latency_limit_s=2.5,
    )


def brief() -> Brief:
    """Return what is known beside the incident at three in the morning."""
    return Brief(
        facts=(
            ("SLA", "error rate < 0.1% over 30d: broken so far, 0.14 % measured"),
            ("Now", "error_rate_5m: 7.25 %, limit > 5 %; 58 of 800 samples bad"),
            ("Budget left", BUDGET),
            ("Release", "1.4.2, live for 2m when it began (since 2027-01-15T07:38:00Z)"),
            ("Regions", "failing in 2 of 3: us-east-1 (30 of 265 samples bad), eu-west-1 (28)"),
            ("Last failure", "2027-01-15T07:59:52Z http in us-east-1: status (503 from the shop)"),
        ),
        course=course(),
        links=(
            ("Acknowledge", "https://monitor.example.com/ack?token=abc&until=1h"),
            ("Silence", "https://monitor.example.com/silence?token=def"),
            ("Dashboard", "https://grafana.example.com/d/slo?var-deployment=api-production"),
        ),
    )


def message(reason: SendReason = SendReason.FIRST, **changes: Any) -> Message:
    """Return a message about `incident(**changes)`; `at` and `may_be_repeated` are its own."""
    own = {
        name: changes.pop(name) for name in ("may_be_repeated", "at", "brief") if name in changes
    }
    if reason is SendReason.RESOLVED:
        changes.setdefault("resolved_at", NOW)
    return Message(
        reason=reason,
        incident=incident(**changes),
        page_url="https://monitor.example.com/?a=1&b=2",
        **{"at": NOW, **own},
    )


def hostile(text: str, reason: SendReason = SendReason.FIRST, **changes: Any) -> Message:
    """Return a message with `text` in every place that another system can influence."""
    return message(
        reason,
        **{
            "id": text[:100],
            "key": text[:2000],
            "rule": text,
            "deployment": text,
            "service": text,
            "environment": text,
            "condition": text,
            "summary": text,
            "revision": text,
            "resolve_reason": text,
            "values": {text[:100]: text, "p95_latency": float("nan")},
            "labels": {text[:100]: text},
            "annotations": {text[:100]: text, "link": f"https://example.com/{text[:50]}"},
            "notes": tuple(Note(at=NOW, text=text) for _ in range(60)),
            "alerts": tuple(alert(rule=text, deployment=text) for _ in range(30)),
            "acknowledgement": Acknowledgement(by=text, at=NOW, until=NOW + 60, source=text),
            "escalated": tuple(Note(at=NOW, text=text) for _ in range(30)),
            "brief": Brief(
                facts=tuple((text, text) for _ in range(30)),
                links=((text, f"https://example.com/a{text[:50]}"), (text, text)),
            ),
            **changes,
        },
    )


any_text = st.text(st.characters(exclude_categories=()), max_size=300) | st.sampled_from(
    list(HOSTILE.values())
)
# Every reason, with text from anywhere and any number of lines, labels and notes.
any_message = st.builds(
    hostile,
    text=any_text,
    reason=st.sampled_from(SendReason),
    may_be_repeated=st.booleans(),
    severity=st.sampled_from(Severity),
    annotations=st.dictionaries(any_text, any_text, max_size=60),
    values=st.dictionaries(any_text, any_text | st.floats() | st.none(), max_size=60),
    notes=st.lists(any_text.map(lambda text: Note(at=NOW, text=text)), max_size=60).map(tuple),
)
