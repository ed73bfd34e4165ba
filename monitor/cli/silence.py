"""`monitor silence`: keep quiet about alerts for a while; see and end what is silenced."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from monitor.cli.base import (
    Command,
    Exit,
    declare_daemon,
    declare_output,
    declare_token,
    fetch,
    login_name,
    moment,
    show_json,
    table,
    tell,
    visible,
)

PATH = "/api/v1/silences"
HEAD = ("id", "state", "matchers", "owner", "until", "reason")
ADD = "monitor silence add rule=high_latency deployment=~shop-.* --for 2h --reason migration"


def _declare(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = _action(actions, "add", "keep quiet about the alerts that match", ADD, _add)
    add.add_argument(
        "matchers",
        nargs="+",
        metavar="MATCHER",
        help="name=value, name!=value, name=~pattern or name!~pattern; all must match",
    )
    add.add_argument(
        "--for", dest="duration", metavar="DURATION", required=True, help="such as 2h; at most 90d"
    )
    add.add_argument("--owner", metavar="NAME", help="who answers for it (default: your login)")
    add.add_argument("--reason", required=True, help="why, for those who find it")
    add.add_argument(
        "--until-resolved", action="store_true", help="end it when what it hides is over"
    )
    words = "show the silences that are in force or to come, and what is hidden and why"
    shown = _action(actions, "list", words, "monitor silence list --all", _list)
    shown.add_argument("--all", action="store_true", help="those that are over too")
    words = "end a silence now; exit 1 when it is over already"
    end = _action(actions, "end", words, "monitor silence end 0123456789ab", _end)
    end.add_argument("id", help="see `monitor silence list`")
    for each in (add, end):
        declare_token(each)


def _action(
    actions: Any,
    name: str,
    words: str,
    example: str,
    act: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=words, description=words, epilog=f"example: {example}"
    )
    parser.set_defaults(act=act)
    declare_daemon(parser)
    declare_output(parser)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    code: int = arguments.act(arguments)
    return code


def _add(arguments: argparse.Namespace) -> int:
    body = {
        "matchers": arguments.matchers,
        "owner": login_name("--owner") if arguments.owner is None else arguments.owner,
        "reason": arguments.reason,
        "duration": arguments.duration,
        "ends_on_resolve": arguments.until_resolved,
    }
    made = tell(arguments, PATH, "accepted", body)["accepted"]
    if arguments.output == "json":
        show_json(made)
    else:
        print(f"{made['id']}: silenced until {moment(made['ends_at'])}")
    return Exit.OK


def _list(arguments: argparse.Namespace) -> int:
    answer = fetch(arguments.url, PATH, "silences")
    now = answer["at"]
    shown = [
        each
        for each in answer["silences"]
        if arguments.all or _state(each, now) in {"active", "to come"}
    ]
    if arguments.output == "json":
        show_json({"at": now, "silences": shown, "hidden": answer["hidden"]})
    else:
        print(table(HEAD, [_row(each, now) for each in shown]) if shown else "nothing is silenced")
        for each in answer["hidden"]:
            what = f"{each['rule']} on {each['deployment']} since {moment(each['since'])}"
            print(visible(f"hidden: {what}: {each['why']}"))
    return Exit.OK


def _end(arguments: argparse.Namespace) -> int:
    answer = tell(arguments, f"{PATH}/{quote(arguments.id, safe='')}/end", "ended")
    if arguments.output == "json":
        show_json(answer)
    else:
        print(f"{visible(arguments.id)}: ended")
    return Exit.OK


def _state(silence: dict[str, Any], now: float) -> str:
    if silence["active"]:
        return "active"
    if silence["ended_at"] is not None:
        return "ended"
    return "to come" if now < silence["starts_at"] else "expired"


def _row(silence: dict[str, Any], now: float) -> tuple[str, ...]:
    ends_at = silence["ends_at"] if silence["ended_at"] is None else silence["ended_at"]
    until = moment(ends_at)
    return (
        silence["id"],
        _state(silence, now),
        " ".join(silence["matchers"]),
        silence["owner"],
        f"{until} or resolved" if silence["ends_on_resolve"] else until,
        silence["reason"],
    )


COMMAND = Command(
    name="silence",
    help="keep quiet about alerts for a while",
    example=ADD,
    declare=_declare,
    run=_run,
)
