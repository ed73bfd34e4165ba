"""`monitor ack`: say that somebody works on an incident, so that nobody else is called."""

from __future__ import annotations

import argparse
import getpass

from monitor.cli.base import Command, declare_daemon, declare_output, declare_token, tell


def _declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("incident", help="its id; see `monitor incidents`")
    parser.add_argument("--by", help="who works on it (default: you)")
    parser.add_argument("--for", dest="lasts", default="1h", help="how long it holds (default 1h)")
    parser.add_argument("--undo", action="store_true", help="take it back")
    declare_token(parser)
    declare_daemon(parser)
    declare_output(parser)


def _run(arguments: argparse.Namespace) -> int:
    path = f"/api/v1/incidents/{arguments.incident}"
    if arguments.undo:
        return tell(arguments, f"{path}/unacknowledge", {})
    by = arguments.by or getpass.getuser()
    return tell(arguments, f"{path}/acknowledge", {"by": by, "duration": arguments.lasts})


COMMAND = Command(
    name="ack",
    help="acknowledge an incident: its escalation stands still",
    example="monitor ack 7f3a9c01d2 --for 2h",
    declare=_declare,
    run=_run,
)
