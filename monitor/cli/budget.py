"""`monitor budget`: what is left of every error budget, how long it lasts and who spent it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from monitor.cli.base import (
    HTTP_CONFLICT,
    HTTP_NOT_FOUND,
    HTTP_OK,
    Command,
    DaemonError,
    Exit,
    ask_document,
    complain,
    declare_daemon,
    declare_output,
    fetch,
    moment,
    show_json,
    table,
)
from monitor.fields import format_duration

DAY_S = 86400
RELEASES = 5
MANY = 1000
"""From here on a percentage needs no decimals."""
HEAD = ("deployment", "objective", "period", "left", "between", "spent", "of", "burns", "lasts")


def _declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--deployment", help="only this deployment or service")
    parser.add_argument(
        "--gate",
        action="store_true",
        help="ask whether to deploy: exit 0 go, 1 stop, with the reasons",
    )
    declare_daemon(parser)
    declare_output(parser)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.gate:
        return _gate(arguments)
    answer = fetch(arguments.url, "/api/v1/slos", "slos")
    wanted = arguments.deployment
    found = [each for each in answer["slos"] if wanted in {None, each["deployment"]}]
    if not found:
        names = ", ".join(each["deployment"] for each in answer["slos"])
        complain(f"monitor budget: no such deployment; there are: {names}")
        return Exit.USAGE
    if arguments.output == "json":
        show_json({"at": answer["at"], "slos": found, "services": answer["services"]})
    else:
        print(table(HEAD, [row for each in found for row in _rows(each)]))
        _print_services(answer["services"])
        _print_releases(found)
    budgets = [b for each in found for slo in each["slos"] for b in slo["budgets"]]
    if not budgets:
        return Exit.UNKNOWN
    return Exit.NO if any(each["remaining"] <= 0 for each in budgets) else Exit.OK


def _gate(arguments: argparse.Namespace) -> int:
    params = {} if arguments.deployment is None else {"deployment": arguments.deployment}
    status, answer = ask_document(arguments.url, "/api/v1/gate", params)
    if status == HTTP_NOT_FOUND:
        complain(f"monitor budget: {answer.get('error', answer)}")
        return Exit.USAGE
    if status not in {HTTP_OK, HTTP_CONFLICT} or "go" not in answer:
        msg = f"{arguments.url}/api/v1/gate answered {status}: {answer}"
        raise DaemonError(msg)
    if arguments.output == "json":
        show_json(answer)
    else:
        for each in answer["deployments"]:
            print(f"{'go  ' if each['go'] else 'STOP'}  {each['deployment']}")
            for text in each["reasons"]:
                print(f"      {text}")
            for text in each["notes"]:
                print(f"      ({text})")
    return Exit.OK if answer["go"] else Exit.NO


def _rows(deployment: dict[str, Any]) -> Iterator[Sequence[str]]:
    for slo in deployment["slos"]:
        objective = slo["objective"]
        name = f"{objective['name']} {objective['target'] * 100:.6g}%"
        rates = dict(map(tuple, slo["burn_rates"]))
        burns = rates.get(3600)
        for budget in slo["budgets"]:
            yield (
                deployment["deployment"],
                name,
                budget["period"]["calendar"] or format_duration(budget["period"]["length_s"]),
                _percent(budget["remaining"]),
                f"{_percent(budget['worst'])} .. {_percent(budget['best'])}",
                _time(budget["spent_s"]),
                _time(budget["allowed_s"]),
                "-" if burns is None else f"{burns:.3g}x 1h",
                _lasts(slo["forecast"], budget),
            )
        if not slo["budgets"]:
            yield (deployment["deployment"], name, "-", "no data", *["-"] * 5)


def _lasts(forecast: dict[str, Any] | None, budget: dict[str, Any]) -> str:
    if budget["remaining"] <= 0:
        return "spent"
    if forecast is None or budget["period"]["calendar"]:
        return "-"
    soonest, latest = forecast["soonest_s"], forecast["latest_s"]
    if soonest is None:
        return "on"
    return f"{_time(soonest)} .. {'on' if latest is None else _time(latest)}"


def _print_services(services: Sequence[dict[str, Any]]) -> None:
    for each in services:
        shares = ", ".join(f"{name} {share * 100:.3g}%" for name, share in each["weights"])
        left = _percent(each["budget"]["remaining"])
        print(f"\n{each['service']} as its users met it ({shares}): {left} left")


def _print_releases(found: Sequence[dict[str, Any]]) -> None:
    rows = [
        (each["deployment"], share["revision"], moment(share["since"]), _percent(share["spent"]))
        for each in found
        for slo in each["slos"][:1]
        for share in slo["releases"][:RELEASES]
    ]
    if rows:
        print("\n" + table(("deployment", "release", "since", "spent of the budget"), rows))


def _percent(share: float) -> str:
    # Four digits tell enough, but an overspent budget must not turn into powers of ten.
    percent = share * 100
    return f"{percent:.0f}%" if abs(percent) >= MANY else f"{percent:.4g}%"


def _time(seconds: float) -> str:
    if seconds >= 2 * DAY_S:
        return f"{seconds / DAY_S:.3g}d"
    return format_duration(round(seconds)) if seconds >= 1 else f"{seconds * 1000:.3g}ms"


COMMAND = Command(
    name="budget",
    help="show every error budget, how long it lasts and which release spent it; exit 1 if spent",
    example="monitor budget --deployment shop-production",
    declare=_declare,
    run=_run,
)
