"""Reloads: all of the new plan or nothing of it, and the latest one wins."""

from __future__ import annotations

import asyncio
import io
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiosmtplib
import httpx2
import yaml

from monitor.app.clock import SystemClock
from monitor.app.daemon import App
from monitor.app.surroundings import Surroundings
from monitor.config.load import load_plan
from monitor.config.plan import Plan
from monitor.metrics import RELOAD_OK, Telemetry
from monitor.model import HeartbeatRow
from monitor.notify.base import NotifyIO
from monitor.probes.base import ProbeIO
from monitor.probes.resolver import Resolver
from monitor.rollback.base import HookIO
from monitor.store.base import State
from tests.support.memory import MemoryStore


def plan(home: Path, service: str) -> Plan:
    path = home / f"{service}.yml"
    environments = {"Production": {"url": "http://127.0.0.1:9"}}
    path.write_text(yaml.safe_dump({"service": service, "environments": environments}))
    return load_plan(path, {})


async def reloaded(
    first: Plan, read: Callable[[], Plan], times: int
) -> tuple[App, list[str | None], float]:
    """Return an app after overlapping reloads, what each said, and the metric."""
    telemetry = Telemetry()
    async with httpx2.AsyncClient(trust_env=False) as http:
        resolver = Resolver()
        with ThreadPoolExecutor(2) as executor:
            notify = NotifyIO(
                http=http, sync_transport=None, executor=executor,
                smtp_send=aiosmtplib.send, console=io.StringIO(),
            )  # fmt: skip
            around = Surroundings(
                clock=SystemClock(),
                rng=random.Random(1),  # noqa: S311 - a test
                store=MemoryStore(),
                probes=ProbeIO(
                    connect=asyncio.get_running_loop().create_connection, resolve=resolver
                ),
                notify=notify,
                hooks=HookIO(http=http, spawn=asyncio.create_subprocess_exec),
                executor=executor,
                load_plan=read,
            )
            app = App(first, around, telemetry)
            said = await asyncio.gather(*(app.reload() for _ in range(times)))
        resolver.close()
    [metric] = [value for series, _, value in telemetry.numbers() if series is RELOAD_OK]
    return app, said, metric


async def test_a_mistake_of_ours_is_a_refused_reload(tmp_path: Path) -> None:
    """Whatever is raised: the old plan stays, the metric is 0, and somebody is told."""

    def read() -> Plan:
        msg = "canary"
        raise RuntimeError(msg)

    before = plan(tmp_path, "shop")
    app, [said], metric = await reloaded(before, read, 1)
    assert (app.plan, metric) == (before, 0)
    assert said == "reload failed (RuntimeError); the log has the details"


async def test_of_two_reloads_the_later_wins(tmp_path: Path) -> None:
    """One that takes long to read does not put older files over newer ones."""
    plans = [(0.2, plan(tmp_path, "old")), (0.0, plan(tmp_path, "new"))]

    def read() -> Plan:
        takes_s, found = plans.pop(0)
        time.sleep(takes_s)
        return found

    app, said, metric = await reloaded(plan(tmp_path, "shop"), read, 2)
    assert (app.plan.service, said, metric) == ("new", [None, None], 1)


async def test_what_jobs_reported_outlives_a_restart(tmp_path: Path) -> None:
    """The board takes over what was stored; what cannot be used is said and left."""
    app, _, _ = await reloaded(plan(tmp_path, "shop"), lambda: plan(tmp_path, "shop"), 1)
    good = HeartbeatRow(name="shop/backup", at=1.0, times={"finished_at": 5.0})
    app._restore(State(heartbeats=(good,)))
    known = app.heartbeats.last("shop/backup")
    assert known is not None
    assert known.finished_at == 5.0
    app._restore(State(heartbeats=(HeartbeatRow(name="x", at=1.0, times={"finished_at": "y"}),)))  # type: ignore[dict-item]
    assert app.heartbeats.last("x") is None
