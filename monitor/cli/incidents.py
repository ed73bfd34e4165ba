"""`monitor incidents`: what happened, and who was told what, when, with which answer."""

from __future__ import annotations

import argparse
from typing import Any

from monitor.cli.base import (
    Command,
    Exit,
    ask_document,
    complain,
    declare_daemon,
    declare_output,
    get_document,
    moment,
    show_json,
    table,
)

HTTP_NOT_FOUND = 404


def _declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("incident", nargs="?", help="id of one, for its whole ledger")
    declare_daemon(parser)
    declare_output(parser)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.incident is not None:
        return _one(arguments)
    answer = get_document(arguments.url, "/api/v1/incidents", "incidents")
    if arguments.output == "json":
        show_json(answer)
    else:
        head = ("id", "state", "priority", "alert", "deployment", "opened", "resolved", "alerts")
        rows = [_row(each) for each in answer["incidents"]]
        print(table(head, rows) if rows else "no incidents")
    return Exit.NO if any(not each["resolved_at"] for each in answer["incidents"]) else Exit.OK


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    ack = each["acknowledgement"]
    state = "resolved" if each["resolved_at"] else f"acked by {ack['by']}" if ack else "open"
    return (
        each["id"],
        f"hidden ({each['hidden_by']})" if each["hidden_by"] and state == "open" else state,
        each["priority"],
        each["rule"],
        each["deployment"],
        moment(each["opened_at"]),
        moment(each["resolved_at"]),
        str(len(each["alerts"])),
    )


def _one(arguments: argparse.Namespace) -> int:
    status, answer = ask_document(arguments.url, f"/api/v1/incidents/{arguments.incident}")
    if status == HTTP_NOT_FOUND or "incident" not in answer:
        complain(f"monitor incidents: {answer.get('error', answer)}")
        return Exit.USAGE
    incident = answer["incident"]
    if arguments.output == "json":
        show_json(answer)
    else:
        print(f"{incident['summary']}\n{incident['condition']}\n")
        head = ("alert", "deployment", "severity", "fired", "ended")
        rows = [
            (each["rule"], each["deployment"], each["severity"], moment(each["opened_at"]),
             moment(each["resolved_at"]))
            for each in incident["alerts"]
        ]  # fmt: skip
        print(table(head, rows))
        for note in incident["notes"]:
            print(f"  {moment(note['at'])} {note['text']}")
        told = [
            (moment(each["at"]), each["channel"], each["reason"], each["result"],
             f"{each['duration_s'] * 1000:.0f}ms", each["detail"])
            for each in answer["attempts"]
        ]  # fmt: skip
        head_of_told = ("at", "channel", "what", "result", "took", "answer")
        print("\n" + (table(head_of_told, told) if told else "nobody was told"))
        for each in answer["owed"]:
            if each["via"]:
                print(f"{each['channel']} was told by the digest {each['via']}")
    return Exit.OK if incident["resolved_at"] else Exit.NO


COMMAND = Command(
    name="incidents",
    help="list incidents, or show one with its ledger; exit 1 while one is open",
    example="monitor incidents 7f3a9c01d2",
    declare=_declare,
    run=_run,
)
