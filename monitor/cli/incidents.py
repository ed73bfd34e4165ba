"""`monitor incidents`: what happened; of one, who was told what, when, and what they answered."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

from monitor.cli.base import (
    HTTP_NOT_FOUND,
    HTTP_OK,
    Command,
    DaemonError,
    Exit,
    RefusedError,
    ask_document,
    declare_daemon,
    declare_output,
    fetch,
    moment,
    show_json,
    table,
    visible,
)
from monitor.fields import format_duration

PATH = "/api/v1/incidents"
SHOWN = 20
LIMIT = 1000
HEAD = ("id", "state", "severity", "priority", "alert", "deployment", "fired", "acknowledged by")
RESULTS = {
    "delivered": "delivered",
    "retry": "refused for now",
    "permanent": "refused for good",
    "uncertain": "no answer",
}


def _declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", nargs="?", help="show this one with all that was sent about it")
    parser.add_argument(
        "--limit",
        type=_count,
        default=SHOWN,
        metavar="N",
        help=f"the latest N, open and closed (default {SHOWN})",
    )
    declare_daemon(parser)
    declare_output(parser)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:5]) <= LIMIT):
        msg = f"expected a whole number from 1 to {LIMIT}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.id is not None:
        return _one(arguments)
    answer = fetch(arguments.url, PATH, "incidents", {"limit": str(arguments.limit)})
    if arguments.output == "json":
        show_json(answer)
    elif answer["incidents"]:
        print(table(HEAD, [_row(each) for each in answer["incidents"]]))
    else:
        print("no incidents")
    return Exit.OK


def _one(arguments: argparse.Namespace) -> int:
    path = f"{PATH}/{quote(arguments.id, safe='')}"
    status, answer = ask_document(arguments.url, path)
    if status == HTTP_NOT_FOUND and "error" in answer:
        msg = f"no incident {visible(arguments.id)!r}; see `monitor incidents`"
        raise RefusedError(msg)
    if status != HTTP_OK or "incident" not in answer:
        msg = f"{arguments.url}{path} answered {status}: {answer}"
        raise DaemonError(msg)
    if arguments.output == "json":
        show_json(answer)
    else:
        print("\n\n".join(_parts(answer)))
    return Exit.OK


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    acknowledgement = each["acknowledgement"]
    return (
        each["id"],
        _state(each),
        each["severity"],
        each["priority"],
        each["rule"],
        each["deployment"],
        moment(each["opened_at"]),
        acknowledgement["by"] if acknowledgement else "-",
    )


def _state(each: dict[str, Any]) -> str:
    if each["resolved_at"] is not None:
        return "resolved"
    return f"hidden ({each['hidden_by']})" if each["hidden_by"] else "open"


def _parts(history: dict[str, Any]) -> Iterator[str]:
    """Yield what is known, block by block; blocks about nothing are left out."""
    incident = history["incident"]
    yield "\n".join(_head(incident))
    blocks = (
        ("alert", "deployment", "severity", "fired", "over", "summary"),
        [_alert(each) for each in incident["alerts"]],
    ), (
        ("sent", "to", "what", "result", "took", "answer"),
        [_attempt(each) for each in sorted(history["attempts"], key=lambda it: it["at"])],
    ), (
        ("told", "last", "at", "still owed"),
        [_owed(each) for each in history["owed"]],
    ), (
        ("escalated", "to"),
        _notes(incident["escalated"]),
    ), (
        ("noted", "what"),
        _notes(incident["notes"]),
    ), (
        ("rollback", "from", "to", "state", "because"),
        [_rollback(each) for each in history["rollbacks"]],
    )  # fmt: skip
    for head, rows in blocks:
        if rows:
            yield table(head, rows)


def _head(incident: dict[str, Any]) -> Iterator[str]:
    over = incident["resolved_at"]
    lasted = "" if over is None else f" after {_time(over - incident['started_at'])}"
    reason = incident["resolve_reason"]
    known = incident["acknowledgement"]
    title = (
        f"{incident['id']}: {incident['severity']} {incident['priority']}, "
        f"{incident['rule']} on {incident['deployment']}"
    )
    yield visible(title)
    facts = (
        ("", incident["summary"]),
        ("condition: ", incident["condition"]),
        ("revision: ", incident["revision"]),
        ("began: ", moment(incident["started_at"])),
        ("fired: ", moment(incident["opened_at"])),
        ("over: ", over and f"{moment(over)}{lasted}{f', {reason}' if reason else ''}"),
        ("acknowledged: ", known and
         f"by {known['by']} ({known['source']}) until {moment(known['until'])}"),
        ("hidden: ", incident["hidden_by"]),
    )  # fmt: skip
    for name, text in facts:
        if text:
            yield visible(f"  {name}{text}")


def _alert(alert: dict[str, Any]) -> Sequence[str]:
    return (
        alert["rule"],
        alert["deployment"],
        alert["severity"],
        moment(alert["opened_at"]),
        moment(alert["resolved_at"]),
        alert["summary"],
    )


def _attempt(attempt: dict[str, Any]) -> Sequence[str]:
    again = " (may be a repetition)" if attempt["may_be_repeated"] else ""
    return (
        moment(attempt["at"]),
        attempt["channel"],
        f"{attempt['reason'].replace('_', ' ')}{again}",
        RESULTS.get(attempt["result"], attempt["result"]),
        _time(attempt["duration_s"]),
        attempt["detail"],
    )


def _owed(row: dict[str, Any]) -> Sequence[str]:
    if row["parked"]:
        owed = f"given up: {row['parked']}"
    elif row["attempts"]:
        owed = f"{row['attempts']} failed, next at {moment(row['next_at'])}"
    else:
        owed = "sending" if row["intent"] else "-"
    return row["channel"], row["told"], moment(row["told_at"]), owed


def _notes(notes: Iterable[dict[str, Any]]) -> list[Sequence[str]]:
    return [(moment(each["at"]), each["text"]) for each in notes]


def _rollback(record: dict[str, Any]) -> Sequence[str]:
    request = record["request"]
    why = "; ".join(text for text in (request["reason"], record["detail"]) if text)
    target = request["to_revision"] or "?"
    state = record["state"].replace("_", " ")
    return moment(record["updated_at"]), request["from_revision"], target, state, why


def _time(seconds: float) -> str:
    return format_duration(round(seconds)) if seconds >= 1 else f"{seconds * 1000:.0f}ms"


COMMAND = Command(
    name="incidents",
    help="show what happened; with an ID who was told what, when, and what they answered",
    example="monitor incidents 01JA2B3C4D",
    declare=_declare,
    run=_run,
)
