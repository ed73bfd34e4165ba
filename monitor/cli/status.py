"""`monitor status`: every deployment against its SLA, and what is open."""

from __future__ import annotations

import argparse
from typing import Any

from monitor.cli.base import (
    Command,
    Exit,
    declare_daemon,
    declare_output,
    fetch,
    show_json,
    table,
)


def _declare(parser: argparse.ArgumentParser) -> None:
    declare_daemon(parser)
    declare_output(parser)


def _run(arguments: argparse.Namespace) -> int:
    answer = fetch(arguments.url, "/api/v1/deployments", "deployments")
    deployments, blind = answer["deployments"], answer["blind"]
    answer = fetch(arguments.url, "/api/v1/incidents", "incidents")
    incidents = [each for each in answer["incidents"] if not each["resolved_at"]]
    violated = any(clause["ok"] is False for each in deployments for clause in each["clauses"])
    if arguments.output == "json":
        show_json({"deployments": deployments, "open_incidents": incidents, "blind": blind})
    else:
        if blind:
            print(f"BLIND: {blind['why']}\n")
        head = ("deployment", "health", "revision", "errors 5m", "p95", "uptime", "budget left")
        print(table(head, [_row(each) for each in deployments]))
        _print_clauses(deployments)
        _print_checks(deployments)
        for each in incidents:
            print(f"\nOPEN {each['severity']}: {each['summary']} ({each['id']})")
            for note in each["notes"]:
                print(f"  - {note['text']}")
    if incidents or violated:
        return Exit.NO
    if blind:
        return Exit.UNKNOWN
    known = all(each["health"] != "unknown" for each in deployments)
    return Exit.OK if known else Exit.UNKNOWN


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    budget = each["budget"]
    return (
        each["deployment"]["name"],
        each["health"],
        each["release"]["revision"] if each["release"] else "-",
        _figure(each["error_rate_5m"], "%"),
        _figure(each["p95_latency_ms"], " ms"),
        _figure(each["uptime_percentage"], "%"),
        _figure(budget["remaining"] * 100 if budget else None, "%"),
    )


def _print_clauses(deployments: list[dict[str, Any]]) -> None:
    words = {True: "ok", False: "VIOLATED", None: "no data"}
    rows = [
        (each["deployment"]["name"], clause["clause"], clause["limit"],
         _figure(clause["value"], ""), words[clause["ok"]])
        for each in deployments
        for clause in each["clauses"]
    ]  # fmt: skip
    if rows:
        print("\n" + table(("SLA of", "clause", "limit", "measured", "verdict"), rows))


def _print_checks(deployments: list[dict[str, Any]]) -> None:
    for each in deployments:
        for picture in each["targets"]:
            last = picture["last"] or {}
            failing = [name for name, healthy in last.get("checks", ()) if not healthy]
            if failing:
                print(f"\n{picture['target']['id']} reports failing checks: {', '.join(failing)}")


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return "no data"
    # Four digits tell enough, but an overspent budget must not turn into powers of ten.
    return f"{value:.0f}{unit}" if abs(value) >= 1000 else f"{value:.4g}{unit}"  # noqa: PLR2004 - four digits


COMMAND = Command(
    name="status",
    help="show every deployment against its SLA; exit 1 when something is wrong",
    example="monitor status --url http://127.0.0.1:9911",
    declare=_declare,
    run=_run,
)
