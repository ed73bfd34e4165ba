"""`monitor ack`: say that somebody works on an incident, so that nobody else is called."""

from __future__ import annotations

import argparse
from urllib.parse import quote

from monitor.cli.base import (
    Command,
    Exit,
    RefusedError,
    declare_daemon,
    declare_output,
    declare_token,
    login_name,
    moment,
    show_json,
    tell,
    visible,
)

DEFAULT_FOR = "1h"


def _declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", help="of the incident; see `monitor incidents`")
    parser.add_argument("--by", metavar="NAME", help="who works on it (default: your login)")
    parser.add_argument(
        "--for",
        dest="duration",
        metavar="DURATION",
        help=f"at most 24h, then others are called again (default {DEFAULT_FOR})",
    )
    parser.add_argument("--undo", action="store_true", help="nobody works on it any more")
    declare_daemon(parser)
    declare_token(parser)
    declare_output(parser)


def _run(arguments: argparse.Namespace) -> int:
    path = f"/api/v1/incidents/{quote(arguments.id, safe='')}"
    if arguments.undo:
        if arguments.by is not None or arguments.duration is not None:
            msg = "--undo goes without --by and --for"
            raise RefusedError(msg)
        answer = tell(arguments, f"{path}/unacknowledge", "incident")
        words = "not acknowledged any more"
    else:
        by = login_name("--by") if arguments.by is None else arguments.by
        body = {"by": by, "duration": arguments.duration or DEFAULT_FOR, "source": "cli"}
        answer = tell(arguments, f"{path}/acknowledge", "acknowledgement", body)
        said = answer["acknowledgement"]
        words = f"acknowledged by {visible(said['by'])} until {moment(said['until'])}"
    if arguments.output == "json":
        show_json(answer)
    else:
        print(f"{visible(arguments.id)}: {words}")
    return Exit.OK


COMMAND = Command(
    name="ack",
    help="say that somebody works on an incident; exit 1 when it is over already",
    example="monitor ack 01JA2B3C4D --by ada --for 2h",
    declare=_declare,
    run=_run,
)
