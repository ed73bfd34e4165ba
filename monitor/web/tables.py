"""The records on the page: silences, closed incidents, deliveries, rollbacks."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.model import DeliveryResult, RollbackRecord, RollbackState, SendReason, Silence
from monitor.web.html import Child, Markup, tag
from monitor.web.incidents import SEVERITY_KIND
from monitor.web.overview import LedgerLine, Overview
from monitor.web.words import clock_text, duration_text, moment, state

CLOSED_SHOWN = 20
ROLLBACKS_SHOWN = 20
REASON_WORD = {
    SendReason.FIRST: "opened",
    SendReason.RESOLVED: "resolved",
    SendReason.NEW_ALERTS: "changed",
    SendReason.ESCALATED: "escalated",
    SendReason.ACKNOWLEDGED: "acknowledged",
    SendReason.REPEAT: "reminder",
    SendReason.TEST: "test",
}
DELIVERY_STATE = {
    DeliveryResult.DELIVERED: state("ok", "delivered"),
    DeliveryResult.RETRY: state("warn", "refused for now"),
    DeliveryResult.PERMANENT: state("bad", "refused for good"),
    DeliveryResult.UNCERTAIN: state("none", "no answer"),
}
ROLLBACK_KIND = {
    RollbackState.BLOCKED: "none",
    RollbackState.DRY_RUN: "none",
    RollbackState.INTENDED: "busy",
    RollbackState.UNCERTAIN: "warn",
    RollbackState.ACCEPTED: "busy",
    RollbackState.SUCCEEDED: "ok",
    RollbackState.FAILED: "bad",
}


def silence_table(overview: Overview) -> Sequence[Markup]:
    """Return the silences that are in force or to come."""
    rows = [_silence_row(each, overview.at) for each in overview.silences]
    return _table(("ends", "state", "what is silenced", "owner", "reason", "id"), rows)


def _silence_row(silence: Silence, now: float) -> tuple[Child, ...]:
    active = silence.is_active(now)
    return (
        [
            moment(silence.ends_at, now),
            tag("span", "or when it is over", class_="age") if silence.ends_on_resolve else None,
        ],
        state("busy", "in force")
        if active
        else state("none", f"from {clock_text(silence.starts_at, now)}"),
        [tag("code", str(each), " ") for each in silence.matchers],
        tag("b", silence.owner),
        silence.reason,
        tag("code", silence.id),
    )


def closed_table(overview: Overview) -> Sequence[Markup]:
    """Return the incidents that ended lately."""
    rows = [
        (
            moment(
                each.resolved_at if each.resolved_at is not None else each.opened_at, overview.at
            ),
            state(SEVERITY_KIND[each.severity], each.severity),
            tag("b", each.rule),
            each.deployment,
            f"lasted {_lasted(each.started_at, each.resolved_at)}",
            each.resolve_reason or "the condition no longer holds",
        )
        for each in overview.closed_incidents[:CLOSED_SHOWN]
    ]
    return _table(("closed", "severity", "alert", "deployment", "duration", "why"), rows)


def _lasted(start: float, end: float | None) -> str:
    return duration_text(end - start) if end is not None else "?"


def ledger_table(overview: Overview) -> Sequence[Markup]:
    """Return every attempt to tell somebody, newest first."""
    if overview.ledger_error is not None:
        return [tag("p", state("bad", f"The ledger cannot be read: {overview.ledger_error}"))]
    rows = [_ledger_row(line, overview.at) for line in overview.ledger]
    return _table(("time", "channel", "what", "result", "answer"), rows)


def _ledger_row(line: LedgerLine, now: float) -> tuple[Child, ...]:
    attempt, incident = line.attempt, line.incident
    answer = [attempt.detail, tag("span", f"{attempt.duration_s * 1000:,.0f} ms", class_="age")]
    if attempt.may_be_repeated:
        answer.append(tag("span", "may be a repetition", class_="age"))
    return (
        moment(attempt.at, now),
        tag("b", attempt.channel),
        f"{REASON_WORD[attempt.reason]}: {incident.rule} on {incident.deployment}",
        DELIVERY_STATE[attempt.result],
        answer,
    )


def rollback_table(overview: Overview) -> Sequence[Markup]:
    """Return the latest decisions to roll back."""
    rows = [_rollback_row(each, overview.at) for each in overview.rollbacks[:ROLLBACKS_SHOWN]]
    return _table(("time", "deployment", "from - to", "state", "because"), rows)


def _rollback_row(record: RollbackRecord, now: float) -> tuple[Child, ...]:
    request = record.request
    return (
        moment(record.updated_at, now),
        tag("b", request.deployment),
        [tag("code", request.from_revision), " to ", tag("code", request.to_revision or "?")],
        state(ROLLBACK_KIND[record.state], record.state.replace("_", " ")),
        "; ".join(text for text in (request.rule, request.reason, record.detail) if text),
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[Child]]) -> Sequence[Markup]:
    """Return a table whose cells name their column, so that a narrow screen can stack them."""
    if not rows:
        return []
    head = tag("thead", tag("tr", [tag("th", name, scope="col") for name in heads]))
    body = [
        tag(
            "tr",
            [tag("td", tag("div", cell), data_name=n) for n, cell in zip(heads, row, strict=True)],
        )
        for row in rows
    ]
    return [tag("table", head, tag("tbody", body))]
