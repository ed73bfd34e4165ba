"""Reloads: all of the new plan or nothing of it, and the latest one wins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from monitor.app.daemon import App
from monitor.config.load import load_plan
from monitor.config.plan import Plan
from monitor.metrics import RELOAD_OK, Telemetry
from monitor.model import HeartbeatRow
from monitor.store.base import State
from tests.support.surroundings import surroundings


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
    async with surroundings(read) as around:
        app = App(first, around, telemetry)
        said = await asyncio.gather(*(app.reload() for _ in range(times)))
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
