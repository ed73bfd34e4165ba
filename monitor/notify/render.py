"""A message in words: what every channel says, before each puts it into its own markup.

Pure: no I/O, no clock, no markup. Whatever comes out is clean and bounded (see `words`), so a
channel only escapes and fits it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from monitor.model import Acknowledgement, Incident, Message, SendReason
from monitor.notify.alerts import alerts_in_words, count_of_more
from monitor.notify.words import (
    TITLE_LIMIT,
    VALUE_LIMIT,
    clip,
    fit,
    fit_line,
    iso,
    measured,
    one_line,
    some,
    span,
)

NOTES_LIMIT = 20
LINES_LIMIT = 40
FACTS_LIMIT = 20
LINKS_LIMIT = 20
DOCUMENT_ALERTS_LIMIT = 1000
CAUTION = "This message may be a repetition: an earlier attempt to send it got no answer."

_HEADLINE = {
    SendReason.FIRST: "FIRING",
    SendReason.NEW_ALERTS: "CHANGED",
    SendReason.ESCALATED: "ESCALATED",
    SendReason.ACKNOWLEDGED: "ACKNOWLEDGED",
    SendReason.REPEAT: "STILL FIRING",
    SendReason.RESOLVED: "RESOLVED",
    SendReason.TEST: "TEST",
}
_WEB_ADDRESS = re.compile(r"https?://[!#-;=?-\[\]_a-z~]{1,1000}")


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
    leading: int
    """So many of `lines` answer the first questions; the others are for reference."""
    notes: tuple[str, ...]
    """What happened meanwhile, oldest first: a rollback's result, a configuration change."""
    caution: str
    """Says that this may be a repetition; empty when it is not."""
    links: tuple[tuple[str, str], ...]
    """(label, http address), the live page first; no address comes twice."""

    def plain(self) -> str:
        """Return the whole message as plain text of several lines, without a final line feed."""
        parts = [self.title]
        if self.caution:
            parts.append(f"({self.caution})")
        if self.summary:
            parts.append(self.summary)
        # What goes on belongs to its label, also for who cannot see where a line ends.
        parts += [f"{label}: {value}".replace("\n", "\n    ") for label, value in self.lines]
        parts += [f"- {note}" for note in self.notes]
        parts += [f"{label}: {address}" for label, address in self.links]
        return "\n".join(parts)


def render(message: Message) -> Text:
    """Return `message` in words."""
    incident = message.incident
    headline = _HEADLINE[message.reason]
    links = tuple(_links(message))
    first = tuple(
        _clean_lines([*_times(message), *_people(incident, message.at), *_facts(message)])
    )
    first += tuple(_clean_lines(_readings(incident)))
    linked = {address for _, address in links}
    rest = tuple(_clean_lines([*_matter(incident), *_annotations(incident, linked)]))
    return Text(
        title=_title(incident, headline),
        state=headline.lower(),
        summary=fit(incident.summary, VALUE_LIMIT),
        lines=first + rest,
        leading=len(first),
        notes=tuple(_notes(incident)),
        caution=CAUTION if message.may_be_repeated else "",
        links=links,
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
            "priority": incident.priority.value,
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
            **_course_of_events(message, text),
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
            still = sum(each.is_open for each in incident.alerts)
            return (*parts, repr(incident.changed_at), f"{still} of {len(incident.alerts)}")
        case SendReason.ACKNOWLEDGED if ack is not None:
            return (*parts, repr(ack.at), repr(ack.until))
        case _:
            return parts


def fingerprint(message: Message, reason: SendReason) -> str:
    """Return `identity` as 32 hexadecimal digits."""
    text = "\0".join(identity(message, reason))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _course_of_events(message: Message, text: Text) -> dict[str, Any]:
    incident, given = message.incident, message.incident.acknowledgement
    return {
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
        "alerts_open": sum(each.is_open for each in incident.alerts),
        "acknowledgement": None
        if given is None
        else {
            "by": fit_line(given.by, TITLE_LIMIT),
            "at": iso(given.at),
            "until": iso(given.until),
        },
        "facts": dict(_clean_lines(_facts(message))),
        "notes": list(text.notes),
        "links": [{"text": label, "href": address} for label, address in text.links],
        "may_be_repeated": message.may_be_repeated,
    }


def _title(incident: Incident, headline: str) -> str:
    rule, deployment, environment = (
        fit_line(name, TITLE_LIMIT)
        for name in (incident.rule, incident.deployment, incident.environment)
    )
    more = count_of_more(incident)
    # What is added comes last: who reads titles finds `rule on deployment (` as ever.
    rest = f" +{more:,} more" if more else ""
    title = f"[{incident.severity.upper()}] {headline}: {rule} on {deployment} ({environment})"
    return clip(title, TITLE_LIMIT - len(rest)) + rest


def _clean_lines(lines: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    for label, value in lines:
        if cleaned := fit(value, VALUE_LIMIT):
            yield fit_line(label, TITLE_LIMIT) or "-", cleaned


def _times(message: Message) -> Iterable[tuple[str, str]]:
    incident = message.incident
    ended, started = incident.resolved_at, incident.started_at
    if ended is None:
        yield "Since", f"{iso(started)} ({span(message.at - started)} ago)"
    else:
        yield "Since", iso(started)
        yield "Lasted", f"{span(ended - started)} (until {iso(ended)})"
    yield "Resolved because", incident.resolve_reason
    yield "Alerts", alerts_in_words(incident, message.at)


def _people(incident: Incident, now: float) -> Iterable[tuple[str, str]]:
    given = incident.acknowledgement
    if given is not None:
        yield "Acknowledged", _acknowledged(given, now)
    called = [
        fit_line(f"{iso(step.at)} {step.text}", TITLE_LIMIT)
        for step in incident.escalated[-NOTES_LIMIT:]
    ]
    yield "Escalated", "\n".join(called)


def _acknowledged(given: Acknowledgement, now: float) -> str:
    by, source = fit_line(given.by, TITLE_LIMIT) or "somebody", fit_line(given.source, 40)
    end = "until" if now < given.until else "expired"
    return f"by {by} at {iso(given.at)} ({source}), {end} {iso(given.until)}"


def _facts(message: Message) -> Iterable[tuple[str, str]]:
    return message.brief.facts[:FACTS_LIMIT] if message.brief else ()


def _readings(incident: Incident) -> Iterable[tuple[str, str]]:
    values = [
        f"{fit_line(name, TITLE_LIMIT)} = {measured(name, it)}"
        for name, it in incident.values.items()
    ]
    yield "Condition", incident.condition
    yield "Measured", "\n".join(some(values, LINES_LIMIT))


def _matter(incident: Incident) -> Iterable[tuple[str, str]]:
    labels = [
        f"{fit_line(name, TITLE_LIMIT)}={fit_line(it, TITLE_LIMIT)}"
        for name, it in incident.labels.items()
    ]
    yield "Severity", incident.severity.value
    yield "Priority", incident.priority.value
    yield "Deployment", incident.deployment
    yield "Service", incident.service
    yield "Environment", incident.environment
    yield "Revision", incident.revision or "unknown"
    yield "Labels", ", ".join(some(labels, LINES_LIMIT))


def _annotations(incident: Incident, linked: set[str]) -> Iterable[tuple[str, str]]:
    for label, value in list(incident.annotations.items())[:LINES_LIMIT]:
        # What is said already, as a link or as the summary, is not said twice.
        if value not in linked and value != incident.summary:
            yield label, value


def _notes(incident: Incident) -> list[str]:
    # The newest matter most: a rollback's result comes last.
    newest = incident.notes[-NOTES_LIMIT:]
    said = [fit_line(f"{iso(note.at)} {note.text}", VALUE_LIMIT) for note in newest]
    older = len(incident.notes) - len(newest)
    return [f"… {older} more", *said] if older else said


def _links(message: Message) -> Iterable[tuple[str, str]]:
    told: set[str] = set()
    known = message.brief.links if message.brief else ()
    written = list(message.incident.annotations.items())[:LINES_LIMIT]
    page = (("Live page", message.page_url or ""),)
    for label, address in (*page, *known[:LINKS_LIMIT], *written):
        if address not in told and _WEB_ADDRESS.fullmatch(address):
            told.add(address)
            yield fit_line(label, TITLE_LIMIT) or "link", address


def _clean_mapping(texts: Mapping[str, str]) -> dict[str, str]:
    return {fit_line(name, TITLE_LIMIT): fit(value, VALUE_LIMIT) for name, value in texts.items()}


def _json_value(value: float | str | None) -> float | str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no NaN and no infinity
    return fit(value, VALUE_LIMIT) if isinstance(value, str) else value
