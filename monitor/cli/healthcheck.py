"""`monitor healthcheck`: for Docker's HEALTHCHECK and exec probes."""

from __future__ import annotations

import argparse

from monitor.cli.base import Command, DaemonError, Exit, ask, complain, declare_daemon

HTTP_OK = 200


def _run(arguments: argparse.Namespace) -> int:
    try:
        status, answer = ask(arguments.url, "/livez")
    except DaemonError as error:
        complain(str(error))
        return Exit.NO
    if status != HTTP_OK:
        complain(f"not alive: {answer}")
        return Exit.NO
    print("alive")
    return Exit.OK


COMMAND = Command(
    name="healthcheck",
    help="exit 0 when the daemon is alive, 1 when it is not",
    example="monitor healthcheck --url http://127.0.0.1:9911",
    declare=declare_daemon,
    run=_run,
)
