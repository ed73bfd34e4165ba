"""`monitor query`: one figure, as conditions name it."""

from __future__ import annotations

import argparse

from monitor.cli.base import (
    HTTP_OK,
    Command,
    DaemonError,
    Exit,
    ask_document,
    complain,
    declare_daemon,
    declare_output,
    show_json,
)


def _declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="a name of conditions, such as error_rate_5m")
    parser.add_argument("--deployment", help="deployment or service; default: the worst of all")
    parser.add_argument("--environment", help="environment; default: the worst of all")
    declare_daemon(parser)
    declare_output(parser)


def _run(arguments: argparse.Namespace) -> int:
    params = {"query": arguments.name}
    for key in ("deployment", "environment"):
        if getattr(arguments, key) is not None:
            params[key] = getattr(arguments, key)
    status, answer = ask_document(arguments.url, "/metrics", params)
    if status != HTTP_OK:
        complain(f"monitor query: {answer.get('error', answer)}")
        return Exit.USAGE
    if "value" not in answer:
        msg = f"{arguments.url} does not answer like slo-monitor (no value; see --url)"
        raise DaemonError(msg)
    if arguments.output == "json":
        show_json(answer)
    else:
        print("no data" if answer["value"] is None else answer["value"])
    return Exit.UNKNOWN if answer["value"] is None else Exit.OK


COMMAND = Command(
    name="query",
    help="print one figure of the running daemon; exit 3 when there is no data",
    example="monitor query error_rate_5m --environment Production",
    declare=_declare,
    run=_run,
)
