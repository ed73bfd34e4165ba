"""`monitor run`: the daemon."""

from __future__ import annotations

import argparse
import asyncio
import functools
import logging
import os
import signal
import sys
from pathlib import Path

import uvloop

from monitor import __version__
from monitor.app.daemon import App
from monitor.app.serve import serve_web
from monitor.app.surroundings import real_surroundings
from monitor.cli.base import Command, Exit, declare_config
from monitor.cli.logs import LogPipe
from monitor.cli.sentry import start_sentry
from monitor.config.load import load_plan_from_environment
from monitor.config.plan import Plan
from monitor.metrics import Telemetry

log = logging.getLogger(__name__)

STDERR = 2


def _declare(parser: argparse.ArgumentParser) -> None:
    declare_config(parser)
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info"
    )


def _run(arguments: argparse.Namespace) -> int:
    load = functools.partial(load_plan_from_environment, Path(arguments.config))
    plan = load()
    telemetry = Telemetry()
    pipe = LogPipe(STDERR, arguments.log_level, telemetry.count_log_dropped)
    pipe.start()
    for warning in plan.warnings:
        log.warning("%s", warning)
    if plan.sentry_dsn is not None:
        start_sentry(plan.sentry_dsn)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(plan, load, telemetry))
    finally:
        pipe.flush()


async def _serve(plan: Plan, load: functools.partial[Plan], telemetry: Telemetry) -> int:
    """Run until SIGTERM or SIGINT, then drain."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with real_surroundings(plan, load) as around:
        app = App(plan, around, telemetry)
        reloads: set[asyncio.Task[str | None]] = set()

        def reload() -> None:
            task = asyncio.create_task(app.reload())
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, reload)
        await app.start()
        try:
            async with serve_web(app, plan.server) as address:
                log.info(
                    "running",
                    extra={
                        "version": __version__,
                        "listen": address,
                        "deployments": len(plan.deployments),
                        "pid": os.getpid(),
                    },
                )
                await stop.wait()
                log.info("stopping")
        except OSError as error:
            where = f"{plan.server.host}:{plan.server.port}"
            print(f"monitor: cannot listen on {where}: {error.strerror}", file=sys.stderr)
            return Exit.USAGE
        finally:
            await app.stop()
    return Exit.OK


COMMAND = Command(
    name="run",
    help="run the daemon until SIGTERM; SIGHUP reloads the configuration",
    example="monitor run --config monitor.yml",
    declare=_declare,
    run=_run,
)
