"""Messages that the tests of every channel send."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from monitor.model import Incident, Message, Note, SendReason, Severity

NOW = 1_800_000_000.0
CANARY = "canary0S3cr3tcanary0S3cr3tcanary"
"""32 characters, so that it can be a routing key; it must turn up nowhere."""
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


def message(reason: SendReason = SendReason.FIRST, **changes: Any) -> Message:
    """Return a message about `incident(**changes)`; `at` and `may_be_repeated` are its own."""
    own = {name: changes.pop(name) for name in ("may_be_repeated", "at") if name in changes}
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
