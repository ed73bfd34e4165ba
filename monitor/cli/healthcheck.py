"""`monitor healthcheck`: for Docker's HEALTHCHECK and exec probes."""

from __future__ import annotations

import argparse

from monitor.cli.base import (
    HTTP_OK,
    Command,
    DaemonError,
    Exit,
    ask,
    complain,
    declare_daemon,
    declare_output,
    show_json,
)


def _declare(parser: argparse.ArgumentParser) -> None:
    declare_daemon(parser)
    declare_output(parser)


def _run(arguments: argparse.Namespace) -> int:
    try:
        status, answer = ask(arguments.url, "/livez")
        alive, why = status == HTTP_OK, str(answer)
    except DaemonError as error:
        alive, why = False, str(error)
    if arguments.output == "json":
        show_json({"alive": alive, "detail": "" if alive else why})
    elif alive:
        print("alive")
    if not alive:
        complain(f"not alive: {why}")
    return Exit.OK if alive else Exit.NO


COMMAND = Command(
    name="healthcheck",
    help="exit 0 when the daemon is alive, 1 when it is not",
    example="monitor healthcheck --url http://127.0.0.1:9911",
    declare=_declare,
    run=_run,
)
