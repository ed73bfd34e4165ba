"""A message in words: what every channel says, before each puts it into its own markup.

Pure: no I/O, no clock, no markup. Whatever comes out is free of control characters, lone
surrogates and text-direction tricks, and bounded in size, so a channel only escapes and fits it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from monitor.fields import format_duration
from monitor.model import Incident, Message, SendReason, Severity

TITLE_LIMIT = 200
VALUE_LIMIT = 2000
NOTES_LIMIT = 20
LINES_LIMIT = 40
ALERTS_LIMIT = 20
DOCUMENT_ALERTS_LIMIT = 1000
CAUTION = "This message may be a repetition: an earlier attempt to send it got no answer."

_SEVERITIES = tuple(Severity)
_HEADLINE = {
    SendReason.FIRST: "FIRING",
    SendReason.NEW_ALERTS: "CHANGED",
    SendReason.ESCALATED: "ESCALATED",
    SendReason.ACKNOWLEDGED: "ACKNOWLEDGED",
    SendReason.REPEAT: "STILL FIRING",
    SendReason.RESOLVED: "RESOLVED",
    SendReason.TEST: "TEST",
}
# Controls except line feed and tab, lone surrogates, line separators and bidirectional overrides.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
    "\ud800-\udfff\ufeff\ufffe\uffff]"
)
_SPACE = re.compile(r"\s+")
_WEB_ADDRESS = re.compile(r"https?://[!#-;=?-\[\]_a-z~]{1,1000}")
_UNITS = (
    (re.compile(r"(error|success)_rate_|uptime_percentage|error_budget_|coverage_"), " %"),
    (re.compile(r"p[0-9.]+_latency"), " ms"),
    (re.compile(r"burn_rate_"), "x"),
    (re.compile(r"certificate_expiry_days"), " days"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One message in words; every string is clean (see the module) and none is empty by accident.

    `title` and the labels are single lines; values and notes may hold line feeds.
    """

    title: str
    state: str
    """`firing`, `changed`, `escalated`, `acknowledged`, `still firing`, `resolved` or `test`."""
    summary: str
    """What the rule's author says is wrong; may be empty."""
    lines: tuple[tuple[str, str], ...]
    """(label, value), most important first."""
    notes: tuple[str, ...]
    """What happened meanwhile, oldest first: a rollback's result, a configuration change."""
    caution: str
    """Says that this may be a repetition; empty when it is not."""
    links: tuple[tuple[str, str], ...]
    """(label, http address), the live page first."""

    def plain(self) -> str:
        """Return the whole message as plain text of several lines, without a final line feed."""
        parts = [self.title]
        if self.caution:
            parts.append(f"({self.caution})")
        if self.summary:
            parts.append(self.summary)
        parts += [f"{label}: {value}" for label, value in self.lines]
        parts += [f"- {note}" for note in self.notes]
        parts += [f"{label}: {address}" for label, address in self.links]
        return "\n".join(parts)


def render(message: Message) -> Text:
    """Return `message` in words."""
    incident = message.incident
    headline = _HEADLINE[message.reason]
    rule, deployment, environment = (
        fit_line(name, TITLE_LIMIT)
        for name in (incident.rule, incident.deployment, incident.environment)
    )
    title = f"[{incident.severity.upper()}] {headline}: {rule} on {deployment} ({environment})"
    return Text(
        title=clip(title, TITLE_LIMIT),
        state=headline.lower(),
        summary=fit(incident.summary, VALUE_LIMIT),
        lines=tuple(_lines(incident)),
        notes=tuple(_notes(incident)),
        caution=CAUTION if message.may_be_repeated else "",
        links=tuple(_links(message)),
    )


def document(message: Message, message_id: str) -> dict[str, Any]:
    """Return `message` as JSON-ready data, for receivers that are programs."""
    incident = message.incident
    text = render(message)
    return {
        "type": f"incident.{message.reason}",
        "id": one_line(message_id),
        "timestamp": iso(message.at),
        "data": {
            "incident": one_line(incident.id),
            "key": one_line(incident.key),
            "state": "open" if incident.is_open else "resolved",
            "title": text.title,
            "summary": text.summary,
            "rule": fit_line(incident.rule, TITLE_LIMIT),
            "severity": incident.severity.value,
            "deployment": fit_line(incident.deployment, TITLE_LIMIT),
            "service": fit_line(incident.service, TITLE_LIMIT),
            "environment": fit_line(incident.environment, TITLE_LIMIT),
            "revision": incident.revision and fit_line(incident.revision, TITLE_LIMIT),
            "condition": fit(incident.condition, VALUE_LIMIT),
            "values": {
                fit_line(name, TITLE_LIMIT): _json_value(it) for name, it in incident.values.items()
            },
            "labels": _clean_mapping(incident.labels),
            "annotations": _clean_mapping(incident.annotations),
            "started_at": iso(incident.started_at),
            "opened_at": iso(incident.opened_at),
            "resolved_at": None if incident.resolved_at is None else iso(incident.resolved_at),
            "resolve_reason": fit_line(incident.resolve_reason, VALUE_LIMIT),
            "alerts": [
                {
                    "rule": fit_line(each.rule, TITLE_LIMIT),
                    "deployment": fit_line(each.deployment, TITLE_LIMIT),
                    "severity": each.severity.value,
                    "state": "open" if each.is_open else "resolved",
                }
                for each in incident.alerts[:DOCUMENT_ALERTS_LIMIT]
            ],
            "alerts_total": len(incident.alerts),
            "priority": incident.priority.value,
            "notes": list(text.notes),
            "links": [{"text": label, "href": address} for label, address in text.links],
            "may_be_repeated": message.may_be_repeated,
        },
    }


def identity(message: Message, reason: SendReason) -> tuple[str, ...]:
    """Return what tells the message with `reason` of this incident from all others.

    The same however often it is tried, except for reminders and tests: those are told apart by
    their time, or a receiver that drops what it knows would show only the first.
    """
    incident = message.incident
    parts = (incident.id, reason.value)
    ack = incident.acknowledgement
    match reason:
        case SendReason.REPEAT | SendReason.TEST:
            return (*parts, str(int(message.at)))
        case SendReason.NEW_ALERTS:
            return (*parts, str(int(incident.changed_at)))
        case SendReason.ACKNOWLEDGED if ack is not None:
            return (*parts, str(int(ack.at)))
        case _:
            return parts


def clean(text: str) -> str:
    """Return `text` without characters that break a protocol or deceive a reader.

    Line feeds stay; CR LF becomes one line feed; everything else unprintable becomes U+FFFD.
    """
    return _UNPRINTABLE.sub("\ufffd", text.replace("\r\n", "\n").replace("\t", " "))


def one_line(text: str) -> str:
    """Return `text` clean and on one line."""
    return _SPACE.sub(" ", clean(text)).strip()


def clip(text: str, limit: int) -> str:
    """Return at most `limit` (>= 1) characters of `text`, ending in `…` when something is gone."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def fit(text: str, limit: int) -> str:
    """Return `text` clean, without space around it, at most `limit` characters.

    Work is bounded too: a megabyte costs no more than what is kept of it.
    """
    start = clean(text[: 2 * limit]).strip()
    return clip(f"{start}…" if len(text) > 2 * limit else start, limit)


def fit_line(text: str, limit: int) -> str:
    """Return `text` like `fit`, and on one line."""
    return _SPACE.sub(" ", fit(text, limit))


def iso(at: float) -> str:
    """Return UTC seconds as ISO 8601 to the second: `2026-01-31T12:00:00Z`."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def measured(name: str, value: float | str | None) -> str:
    """Return an input of a condition for people, with the unit that conditions use for `name`."""
    if value is None:
        return "no data"
    if isinstance(value, str):
        return fit_line(value, TITLE_LIMIT)
    unit = next((unit for pattern, unit in _UNITS if pattern.match(name)), "")
    # Four decimals keep 99.995 apart from 100; what is smaller still must not look like zero.
    digits = f"{value:.4f}".rstrip("0").rstrip(".")
    return f"{f'{value:.2g}' if digits in {'0', '-0'} and value else digits}{unit}"


def _alerts(incident: Incident) -> str:
    """Return the alerts of an incident that has several: what fires first, the worst first."""
    if len(incident.alerts) < 2:  # noqa: PLR2004 - one alone is the incident
        return ""
    ordered = sorted(
        incident.alerts, key=lambda each: (not each.is_open, _SEVERITIES.index(each.severity))
    )
    still = sum(each.is_open for each in ordered)
    lines = [
        f"{each.severity.value}: {fit_line(each.rule, TITLE_LIMIT)} on "
        f"{fit_line(each.deployment, TITLE_LIMIT)}{'' if each.is_open else ' (over)'}"
        for each in ordered[:ALERTS_LIMIT]
    ]
    if len(ordered) > ALERTS_LIMIT:
        lines.append(f"… {len(ordered) - ALERTS_LIMIT} more")
    return "\n".join([f"{still} of {len(ordered)} fire", *lines])


def _acknowledged(incident: Incident) -> str:
    ack = incident.acknowledgement
    return "" if ack is None else f"by {ack.by} until {iso(ack.until)}"


def _lines(incident: Incident) -> Iterable[tuple[str, str]]:
    ended = incident.resolved_at
    yield "Since", iso(incident.started_at)
    if ended is not None:
        lasted = format_duration(round(max(0.0, ended - incident.started_at)))
        yield "Lasted", f"{lasted} (until {iso(ended)})"
    optional = [
        ("Alerts", _alerts(incident)),
        ("Acknowledged", _acknowledged(incident)),
        ("Resolved because", incident.resolve_reason),
        ("Condition", incident.condition),
    ]
    values = [
        f"{fit_line(name, TITLE_LIMIT)} = {measured(name, it)}"
        for name, it in incident.values.items()
    ]
    optional += [("Measured", "\n".join(_some(values, LINES_LIMIT)))]
    optional += [
        ("Severity", f"{incident.severity.value} ({incident.priority.value})"),
        ("Deployment", incident.deployment),
        ("Service", incident.service),
        ("Environment", incident.environment),
        ("Revision", incident.revision or "unknown"),
    ]
    labels = [
        f"{fit_line(name, TITLE_LIMIT)}={fit_line(it, TITLE_LIMIT)}"
        for name, it in incident.labels.items()
    ]
    optional += [("Labels", ", ".join(_some(labels, LINES_LIMIT)))]
    optional += list(incident.annotations.items())[:LINES_LIMIT]
    for label, value in optional:
        if cleaned := fit(value, VALUE_LIMIT):
            yield fit_line(label, TITLE_LIMIT) or "-", cleaned


def _notes(incident: Incident) -> list[str]:
    # The newest matter most: a rollback's result comes last.
    newest = incident.notes[-NOTES_LIMIT:]
    said = [fit_line(f"{iso(note.at)} {note.text}", VALUE_LIMIT) for note in newest]
    older = len(incident.notes) - len(newest)
    return [f"… {older} more", *said] if older else said


def _links(message: Message) -> Iterable[tuple[str, str]]:
    if message.page_url and _WEB_ADDRESS.fullmatch(message.page_url):
        yield "Live page", message.page_url
    for label, value in list(message.incident.annotations.items())[:LINES_LIMIT]:
        if _WEB_ADDRESS.fullmatch(value):
            yield fit_line(label, TITLE_LIMIT) or "link", value


def _some(texts: list[str], limit: int) -> list[str]:
    rest = len(texts) - limit
    return texts if rest <= 0 else [*texts[:limit], f"… {rest} more"]


def _clean_mapping(texts: Mapping[str, str]) -> dict[str, str]:
    return {fit_line(name, TITLE_LIMIT): fit(value, VALUE_LIMIT) for name, value in texts.items()}


def _json_value(value: float | str | None) -> float | str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no NaN and no infinity
    return fit(value, VALUE_LIMIT) if isinstance(value, str) else value
