"""`monitor notify test`: one test message through a configured channel."""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from monitor.app.surroundings import real_notify_io
from monitor.cli.base import (
    Command,
    Exit,
    complain,
    declare_config,
    declare_output,
    show_json,
)
from monitor.config.load import load_plan_from_environment
from monitor.config.plan import Plan
from monitor.grouping import incident_key
from monitor.model import Delivery, DeliveryResult, Incident, Message, SendReason, Severity

DEADLINE_S = 20.0
EXAMPLE = "monitor notify test slack --config monitor.yml"


def _declare(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    words = "send a test message through a channel; exit 1 when it is not delivered"
    test = actions.add_parser("test", help=words, description=words, epilog=f"example: {EXAMPLE}")
    test.add_argument("channel", help="a channel of the configuration")
    declare_config(test)
    declare_output(test)


def _run(arguments: argparse.Namespace) -> int:
    plan = load_plan_from_environment(Path(arguments.config))
    if arguments.channel not in plan.channels:
        known = ", ".join(plan.channels) or "none"
        complain(f"no channel {arguments.channel!r} is configured (configured: {known})")
        return Exit.USAGE
    delivery = asyncio.run(_send(plan, arguments.channel))
    if arguments.output == "json":
        show_json(
            {
                "channel": arguments.channel,
                "result": delivery.result,
                "detail": delivery.detail,
            }
        )
    else:
        print(f"{arguments.channel}: {delivery.result} {delivery.detail}".rstrip())
    return Exit.OK if delivery.result is DeliveryResult.DELIVERED else Exit.NO


async def _send(plan: Plan, channel: str) -> Delivery:
    now = time.time()
    deployment = plan.deployments[0].deployment
    incident = Incident(
        id=f"test-{random.randrange(16**8):08x}",  # noqa: S311 - tells tests apart, guards nothing
        key=incident_key("test", f"{deployment.name}-{now:.0f}"),
        rule="test",
        deployment=deployment.name,
        service=deployment.service,
        environment=deployment.environment,
        severity=Severity.INFO,
        channels=(channel,),
        condition="true",
        summary="A test message: somebody ran `monitor notify test`. Nothing is wrong.",
        started_at=now,
        opened_at=now,
    )
    with ThreadPoolExecutor(1) as executor:
        async with real_notify_io(executor) as io:
            message = Message(reason=SendReason.TEST, incident=incident, at=now)
            return await plan.channels[channel].build(channel, io).send(message, DEADLINE_S, None)


COMMAND = Command(
    name="notify",
    help="try a channel out",
    example=EXAMPLE,
    declare=_declare,
    run=_run,
)
