"""`monitor run`: the daemon."""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import logging
import os
import signal
import sys
import threading
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import uvloop

from monitor import __version__
from monitor.app.daemon import App
from monitor.app.serve import serve_web
from monitor.app.surroundings import real_surroundings
from monitor.cli.base import Command, Exit, complain, declare_config
from monitor.cli.logs import LogPipe
from monitor.cli.sentry import flush_sentry, start_sentry
from monitor.config.load import load_plan_from_environment
from monitor.config.plan import Plan
from monitor.config.values import parse_listen
from monitor.metrics import Telemetry

log = logging.getLogger(__name__)

STDERR = 2
GC_THRESHOLDS = (5_000, 1, 2000)
"""New containers before a look at the youngest; such looks before one at the next generation.

Each look holds the loop up for as long as it finds something alive: many short ones are better."""
SWITCH_S = 0.001
OVERTIME_S = 2.0
"""This long after the grace the process ends, whatever hangs."""


def _declare(parser: argparse.ArgumentParser) -> None:
    declare_config(parser)
    parser.add_argument(
        "--listen", type=_listen, metavar="HOST:PORT", help="instead of the configuration's"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="where state is kept, instead of storage.path"
    )
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info"
    )


def _run(arguments: argparse.Namespace) -> int:
    # Until the daemon can reload, a SIGHUP must not end it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    load = functools.partial(_load, arguments)
    plan = load()
    telemetry = Telemetry()
    pipe = LogPipe(STDERR, arguments.log_level, telemetry.count_log_dropped)
    pipe.start()
    for warning in plan.warnings:
        log.warning("%s", warning)
    try:
        if plan.sentry_dsn is not None:
            start_sentry(plan.sentry_dsn)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            _leave(runner.run(_serve(plan, load, telemetry)), pipe)
    finally:
        pipe.flush()


def spare_the_loop() -> None:
    """Keep the garbage collector from walking over all that lives as long as the process.

    A walk over the windows of 10,000 targets would hold the loop up for longer than a probe takes.
    Hardly anything here lies in cycles; what does is young when it dies, and is still found.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    # The thread that writes to disk must not keep the loop waiting either.
    sys.setswitchinterval(SWITCH_S)


def _leave(code: int, pipe: LogPipe) -> NoReturn:
    """End the process at once.

    All is drained. What hangs in a thread even now (a console that nobody reads, a name server)
    would hold an ordinary exit, which joins every thread.
    """
    flush_sentry()
    pipe.flush()
    os._exit(code)


def _leave_in_time(grace_s: float) -> None:
    """Promise an end to whoever sent SIGTERM, even when the drain itself hangs (a dead disk)."""
    timer = threading.Timer(grace_s + OVERTIME_S, os._exit, (int(Exit.NO),))
    timer.daemon = True
    timer.start()


def _listen(text: str) -> tuple[str, int]:
    try:
        return parse_listen(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _load(arguments: argparse.Namespace) -> Plan:
    """Read the configuration; what the command line says about the surroundings comes first."""
    plan = load_plan_from_environment(Path(arguments.config))
    if arguments.listen is not None:
        host, port = arguments.listen
        plan = replace(plan, server=replace(plan.server, host=host, port=port))
    if arguments.data is not None:
        plan = replace(plan, storage=replace(plan.storage, path=arguments.data))
    return plan


async def _serve(plan: Plan, load: functools.partial[Plan], telemetry: Telemetry) -> int:
    """Run until SIGTERM or SIGINT, then drain."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        app = App(plan, await stack.enter_async_context(real_surroundings(plan, load)), telemetry)
        # Listening first: an address in use is found before anything is probed or anybody told.
        try:
            address = await stack.enter_async_context(serve_web(app, plan.server))
        except OSError as error:
            where = f"{plan.server.host}:{plan.server.port}"
            complain(f"monitor: cannot listen on {where}: {error.strerror}")
            return Exit.USAGE
        reloads: set[asyncio.Task[str | None]] = set()

        def reload() -> None:
            task = asyncio.create_task(app.reload())
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, reload)
        await app.start()
        spare_the_loop()
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
        _leave_in_time(app.plan.shutdown_grace_s)
        await app.stop()
    return Exit.OK


COMMAND = Command(
    name="run",
    help="run the daemon until SIGTERM; SIGHUP reloads the configuration",
    example="monitor run --config monitor.yml",
    declare=_declare,
    run=_run,
)
