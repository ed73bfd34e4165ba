"""The other large thing on the page: an open incident."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from monitor.model import (
    Acknowledgement,
    Incident,
    IncidentAlert,
    Note,
    Owed,
    SendReason,
    Severity,
    Told,
)
from monitor.slo.signal import Unit, parse_signal
from monitor.web.html import Markup, tag
from monitor.web.overview import Overview
from monitor.web.words import (
    NO_DATA,
    clock_text,
    duration_text,
    link,
    mark,
    moment,
    number_text,
    state,
)

SEVERITY_KIND = {Severity.CRITICAL: "bad", Severity.WARNING: "warn", Severity.INFO: "none"}
ALERTS_SHOWN = 20


def incident_card(incident: Incident, overview: Overview) -> Markup:
    """Return one open incident: how bad, since when, why, who knows, what was done."""
    kind = SEVERITY_KIND[incident.severity]
    title = tag(
        "h3",
        mark(kind),
        tag("span", incident.severity, class_=f"word {kind}"),
        tag("span", incident.priority, class_="tag"),
        tag("span", incident.rule, class_="name"),
        tag("span", incident.deployment, class_="tag"),
        _standing(incident, overview.at),
        tag("span", f"for {duration_text(overview.at - incident.started_at)}", class_="word"),
    )
    facts = tag(
        "dl",
        _fact("condition", tag("code", incident.condition)),
        _fact("values", values_text(incident.values)),
        _fact("began", moment(incident.started_at, overview.at)),
        _fact("fired", moment(incident.opened_at, overview.at)),
        _fact("revision", tag("code", incident.revision)) if incident.revision else None,
        _fact("told", _told(incident, overview)),
        _fact("hidden by", incident.hidden_by) if incident.hidden_by else None,
        [
            _fact(key, link(value) if value.startswith("http") else value)
            for key, value in incident.annotations.items()
            if key != "summary"
        ],
        class_="facts",
    )
    return tag(
        "article",
        title,
        tag("p", incident.summary, class_="summary"),
        facts,
        _alerts(incident.alerts, overview.at) if len(incident.alerts) > 1 else None,
        _notes([_escalation(each) for each in incident.escalated], overview.at),
        _notes(incident.notes, overview.at),
        class_=f"incident {kind}",
    )


def _standing(incident: Incident, now: float) -> Markup:
    """Return whether somebody works on it, and whether anybody is told at all."""
    said: Acknowledgement | None = incident.acknowledgement
    if said is not None and now < said.until:
        return state("busy", f"{said.by} works on it until {clock_text(said.until, now)}")
    if incident.hidden_by:
        return state("none", "nobody is told")
    late = "" if said is None else f" any more: {said.by} did until {clock_text(said.until, now)}"
    return state("warn", f"nobody works on it{late}")


def _alerts(alerts: Sequence[IncidentAlert], now: float) -> Markup:
    """Return the alerts of a group: open ones first, the most severe of them before others."""
    ordered = sorted(alerts, key=_urgency)
    items = [_alert(each, now) for each in ordered[:ALERTS_SHOWN]]
    rest = ordered[ALERTS_SHOWN:]
    if rest:
        still = sum(each.is_open for each in rest)
        items.append(tag("li", tag("em", f"and {len(rest)} more, {still} of them open")))
    return tag("ul", items, class_="parts")


def _urgency(alert: IncidentAlert) -> tuple[bool, int, float]:
    return not alert.is_open, tuple(Severity).index(alert.severity), alert.started_at


def _alert(alert: IncidentAlert, now: float) -> Markup:
    kind = SEVERITY_KIND[alert.severity] if alert.is_open else "ok"
    return tag(
        "li",
        moment(alert.opened_at, now),
        state(kind, alert.severity if alert.is_open else "over"),
        tag("b", alert.rule),
        tag("span", alert.deployment),
        tag("span", alert.summary, class_="quiet"),
    )


def _escalation(step: Note) -> Note:
    return Note(at=step.at, text=f"escalated: {step.text}")


def _notes(notes: Sequence[Note], now: float) -> Markup | None:
    items = [tag("li", moment(note.at, now), tag("span", note.text)) for note in notes]
    return tag("ol", items, class_="notes") if items else None


def _fact(name: str, value: Markup | str) -> Markup:
    return tag("div", tag("dt", name), tag("dd", value))


def values_text(values: Mapping[str, float | str | None]) -> str:
    """Return the inputs of a condition with their units."""
    return ", ".join(f"{name} {_value_text(name, value)}" for name, value in values.items())


def _value_text(name: str, value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or NO_DATA
    signal = parse_signal(name)
    return "".join(number_text(value, signal.unit if signal else Unit.RATIO))


def _told(incident: Incident, overview: Overview) -> Markup:
    rows = {row.channel: row for row in overview.owed if row.incident == incident.id}
    names = [*incident.channels, *sorted(rows.keys() - set(incident.channels))]
    items = [tag("li", _told_one(name, rows.get(name), overview.at)) for name in names]
    return tag("ul", items, class_="told")


def _told_one(channel: str, row: Owed | None, now: float) -> Markup:
    if row is None:
        return state("none", f"{channel}: nothing owed")
    if row.parked:
        return state("bad", f"{channel}: given up until the next reload: {row.parked}")
    if row.attempts:
        failed = f"{row.attempts} failed attempt{'s' if row.attempts > 1 else ''}"
        return state("warn", f"{channel}: {failed}, next at {clock_text(row.next_at, now)}")
    if row.told is Told.NOTHING:
        what = "sending" if row.intent is SendReason.FIRST else "to be told"
        return state("busy", f"{channel}: {what}")
    at = f" at {clock_text(row.told_at, now)}" if row.told_at is not None else ""
    return state("ok", f"{channel}: told{at}")
