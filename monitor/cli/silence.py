"""`monitor silence`: tell nobody that what matches fires, for a while; its end is told."""

from __future__ import annotations

import argparse
import getpass

from monitor.cli.base import (
    Command,
    Exit,
    declare_daemon,
    declare_output,
    declare_token,
    get_document,
    moment,
    show_json,
    table,
    tell,
)


def _declare(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    add = actions.add_parser("add", help="hide what matches")
    add.add_argument("matchers", nargs="+", help="rule=high_latency, deployment=~shop-.*")
    add.add_argument("--for", dest="lasts", required=True, help="how long, such as 2h")
    add.add_argument("--reason", required=True, help="why, for those who wonder")
    add.add_argument("--owner", help="whom to ask about it (default: you)")
    add.add_argument("--until-resolved", action="store_true", help="end it with what it hides")
    declare_token(add)
    end = actions.add_parser("end", help="end one before its time")
    end.add_argument("id", help="see `monitor silence list`")
    declare_token(end)
    listing = actions.add_parser("list", help="show what is hidden, by whom and until when")
    for each in (add, end, listing):
        declare_daemon(each)
        declare_output(each)


def _run(arguments: argparse.Namespace) -> int:
    match arguments.action:
        case "add":
            body = {
                "matchers": arguments.matchers,
                "owner": arguments.owner or getpass.getuser(),
                "reason": arguments.reason,
                "duration": arguments.lasts,
                "ends_on_resolve": arguments.until_resolved,
            }
            return tell(arguments, "/api/v1/silences", body)
        case "end":
            return tell(arguments, f"/api/v1/silences/{arguments.id}/end", {})
        case _:
            return _list(arguments)


def _list(arguments: argparse.Namespace) -> int:
    answer = get_document(arguments.url, "/api/v1/silences", "silences")
    if arguments.output == "json":
        show_json(answer)
        return Exit.OK
    rows = [
        (each["id"], " ".join(each["matchers"]), each["owner"], moment(each["ends_at"]),
         each["reason"])
        for each in answer["silences"]
        if each["active"]
    ]  # fmt: skip
    print(table(("id", "matchers", "owner", "until", "reason"), rows) if rows else "no silences")
    for each in answer["hidden"]:
        print(f"hidden: {each['rule']} on {each['deployment']} since {moment(each['since'])}: "
              f"{each['why']}")  # fmt: skip
    return Exit.OK


COMMAND = Command(
    name="silence",
    help="tell nobody that what matches fires, for a while",
    example="monitor silence add deployment=shop-staging --for 2h --reason 'load test'",
    declare=_declare,
    run=_run,
)
