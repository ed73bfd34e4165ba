"""What a scrape contains, and that making it leaves the event loop to others."""

from __future__ import annotations

import asyncio
import gc
import math
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families

from monitor.metrics import Telemetry
from monitor.model import DeliveryResult, Outcome, RollbackState, Sample
from monitor.slo.engine import Engine
from monitor.web.collect import LINES_PER_PART, Family, collect
from monitor.web.exposition import Format, render
from tests.web.world import NOW, RULES, SPECS, World

BASE_UNITS = ("seconds", "ratio", "info", "total")
UNITLESS = {
    *("monitor_channel_broken", "monitor_channel_self_test_success"),
    *("monitor_deadman_beating", "monitor_silences_active"),
    "monitor_alerts",
    "monitor_alert_no_data",
    "monitor_blind",
    "monitor_config_last_reload_successful",
    "monitor_deployment_health",
    "monitor_channel_broken",
    "monitor_outbox_depth",
    "monitor_silences_active",
    "monitor_slo_burn_rate",
    "monitor_sla_clause_ok",
    "monitor_state_lost",
    "monitor_store_durable",
}


async def families_of(world: World, monotonic: Callable[[], float] = lambda: 0.0) -> list[Family]:
    return await collect(
        world.engine,
        world.telemetry,
        channels=world.channels,
        backlog=world.backlog(),
        now=world.now(),
        monotonic=monotonic,
    )


async def gather(world: World, monotonic: Callable[[], float] = lambda: 0.0) -> list[Metric]:
    """Return the families as the reference parser reads them."""
    text = render(await families_of(world, monotonic), Format.TEXT, compress=False)
    return list(text_string_to_metric_families(text.decode()))


async def read_by_both(world: World, name: str) -> list[Metric]:
    """Return the family called `name` as both formats show it."""
    families = await families_of(world)
    text = render(families, Format.TEXT, compress=False).decode()
    openmetrics = render(families, Format.OPENMETRICS, compress=False).decode()
    found = [*text_string_to_metric_families(text), *parse_openmetrics(openmetrics)]
    both = [family for family in found if family.name == name]
    assert len(both) == 2
    return both


def values(families: Sequence[Metric], name: str, **labels: str) -> list[float]:
    return [
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]


def names_with(families: Sequence[Metric], **labels: str) -> set[str]:
    return {
        sample.name
        for family in families
        for sample in family.samples
        if labels.items() <= sample.labels.items()
    }


async def test_promtool_has_nothing_to_say(world: World) -> None:
    """Debian's `promtool check metrics` is silent on a populated engine."""
    text = render(await families_of(world), Format.TEXT, compress=False)
    families = list(text_string_to_metric_families(text.decode()))
    # The rules that promtool checks, for machines that do not have it.
    for family in families:
        assert family.documentation
        assert (
            family.name in UNITLESS or family.name.endswith(BASE_UNITS) or family.type == "counter"
        )
        for sample in family.samples:
            assert ("quantile" in sample.labels) == (family.type == "summary")
            assert ("le" in sample.labels) == sample.name.endswith("_bucket")
            assert sample.name.endswith("_total") == (family.type == "counter")
    promtool = shutil.which("promtool")
    if promtool is not None:
        checked = await asyncio.to_thread(
            subprocess.run,
            [promtool, "check", "metrics"],
            input=text,
            capture_output=True,
            check=False,
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


async def test_window_figures_are_the_engines(world: World) -> None:
    """Ratios and seconds, exactly as the engine has them."""
    families = await gather(world)
    stats = world.engine.window("checkout-production", 300, NOW)
    where = {"deployment": "checkout-production", "environment": "Production", "window": "5m"}
    assert values(families, "monitor_window_error_ratio", **where) == [float(stats.error_ratio)]
    assert stats.error_ratio == 1
    assert values(families, "monitor_window_uptime_ratio", **where) == [float(stats.uptime)]
    assert values(families, "monitor_window_coverage_ratio", **where) == [stats.coverage]
    budget = world.engine.budget("checkout-production", NOW).remaining
    assert values(
        families, "monitor_slo_error_budget_remaining_ratio", deployment="checkout-production"
    ) == [budget]
    assert values(families, "monitor_alerts", state="firing", deployment="checkout-production") == [
        1
    ]
    assert values(families, "monitor_alerts", state="firing", deployment="shop-production") == [0]


async def test_what_has_no_data_is_absent(world: World) -> None:
    """A deployment that was never probed has an objective and an unknown health, and no figures."""
    families = await gather(world)
    assert names_with(families, deployment="search-canary") >= {
        "monitor_slo_objective_ratio",
        "monitor_deployment_health",
    }
    measured = {
        name
        for name in names_with(families, deployment="search-canary")
        if name.startswith(("monitor_window", "monitor_slo_error", "monitor_slo_burn"))
    }
    # That nothing was measured is itself known.
    assert measured <= {"monitor_window_coverage_ratio"}
    assert values(
        families, "monitor_deployment_health", deployment="search-canary", health="unknown"
    ) == [1]


async def test_health_is_one_of_all_states(world: World) -> None:
    """Exactly one state of each deployment is 1."""
    families = await gather(world)
    for name in world.engine.specs:
        assert sorted(values(families, "monitor_deployment_health", deployment=name)) == [
            0,
            0,
            0,
            1,
        ]


async def test_what_left_the_configuration_leaves_the_exposition(
    world: World,
) -> None:
    """A removed deployment and a removed channel leave nothing behind, and start afresh later."""
    world.telemetry.count_rollback("checkout-production", RollbackState.FAILED)
    world.telemetry.count_notification("slack", DeliveryResult.DELIVERED, 1.0)
    await gather(world)
    left = [spec for spec in SPECS if spec.deployment.name != "checkout-production"]
    world.engine.reconfigure(left, world.engine.rules, NOW)
    world.channels = ("pagerduty",)
    world.backlog = lambda: {"pagerduty": (1, 2.0)}
    families = await gather(world)
    assert names_with(families, deployment="checkout-production") == set()
    assert names_with(families, channel="slack") == set()
    assert values(families, "monitor_outbox_oldest_seconds") == [2.0]
    world.engine.reconfigure(SPECS, world.engine.rules, NOW)
    families = await gather(world)
    gone = values(families, "monitor_rollbacks_total", deployment="checkout-production")
    assert set(gone) == {0}


async def test_a_channel_that_is_owed_stays_visible(world: World) -> None:
    """Removed by a reload while a message is owed: its backlog is still shown."""
    world.channels = ()
    assert values(await gather(world), "monitor_outbox_depth", channel="pagerduty") == [1]


async def test_control_goes_back_to_the_loop_after_each_slice(world: World) -> None:
    """With a clock that gains 1 ms a look, only a few looks pass between two turns."""
    looks = count()
    turns: list[int] = []
    seen = 0

    def clock() -> float:
        nonlocal seen
        seen = next(looks)
        return seen / 1000

    task = asyncio.create_task(gather(world, clock))
    while not task.done():
        await asyncio.sleep(0)
        turns.append(seen)
    gaps = [after - before for before, after in pairwise(turns)]
    assert len(turns) > 50
    assert max(gaps) <= 4


async def test_every_alert_is_followed_by_a_look_at_the_clock(world: World) -> None:
    """Thousands of alerts are no reason to keep the loop."""
    looks = count()
    await families_of(world, lambda: float(next(looks)))
    few = next(looks)
    more = [replace(world.engine.rules[0], name=f"rule {number}") for number in range(50)]
    world.engine.reconfigure(SPECS, more, NOW)
    looks = count()
    await families_of(world, lambda: float(next(looks)))
    assert next(looks) - few >= 49 * len(SPECS)


async def test_a_scrape_leaves_the_garbage_collector_little_to_do(world: World) -> None:
    """What is kept of a scrape is text: collecting a large heap would stop everything."""
    await families_of(world)
    gc.collect()
    before = len(gc.get_objects())
    families = await families_of(world)
    gc.collect()
    lines = sum(part.count(b"\n") for family in families for part in family.parts())
    assert lines > 300
    assert len(gc.get_objects()) - before < lines / 2


async def test_long_families_come_in_parts(empty_world: World) -> None:
    """Every line once, in order, and no part larger than announced."""
    names = [f"task-{number:04}" for number in range(3 * LINES_PER_PART + 1)]
    for name in names:
        empty_world.telemetry.count_task_restart(name)
    families = {family.series.name: family for family in await families_of(empty_world)}
    parts = families["monitor_task_restarts_total"].parts()
    assert [part.count(b"\n") for part in parts] == [*[LINES_PER_PART] * 3, 1]
    assert [line.split('"')[1] for part in parts for line in part.decode().splitlines()] == names


@given(st.text(max_size=20))
async def test_any_label_value_survives(value: str) -> None:
    """Both reference parsers read back what was meant."""
    world = World(specs=())
    world.telemetry.count_task_restart(value)
    for family in await read_by_both(world, "monitor_task_restarts"):
        assert [sample.labels for sample in family.samples] == [{"task": value}]


@pytest.mark.parametrize(
    "number", [0.0, 0.1, 1e-7, -2.5, 1764000000.123, 1e300, math.inf, -math.inf]
)
async def test_any_number_survives(empty_world: World, number: float) -> None:
    """Both reference parsers read back the same float."""
    empty_world.telemetry.set_reload(ok=True, at=number)
    for family in await read_by_both(
        empty_world, "monitor_config_last_reload_success_timestamp_seconds"
    ):
        assert [sample.value for sample in family.samples] == [number]


async def test_a_reload_in_the_middle_of_a_scrape_does_no_harm(
    world: World,
) -> None:
    """Whenever everything else is removed, the scrape ends and shows what is left."""
    for moment in (5, 60, 200, 260, 300):
        looks = count()

        def clock(moment: int = moment, looks: count = looks) -> float:
            now = next(looks)
            if now == moment:
                world.engine.reconfigure(SPECS[:1], world.engine.rules, NOW)
            return float(now)

        families = await gather(world, clock)
        assert values(families, "monitor_slo_objective_ratio", deployment="shop-production")
        world.engine.reconfigure(SPECS, world.engine.rules, NOW)


async def test_an_empty_configuration_still_shows_ourselves(empty_world: World) -> None:
    """Nothing monitored: the monitor's own series are there."""
    families = await gather(empty_world)
    assert values(families, "monitor_build_info") == [1]
    assert values(families, "monitor_blind") == [0]


@pytest.mark.parametrize("name", ["monitor_probe_phase_seconds", "monitor_sla_clause_ok"])
async def test_live_details_are_there(world: World, name: str) -> None:
    """Phases of the latest probe and SLA clauses."""
    assert values(await gather(world), name, deployment="shop-production")


async def test_what_a_target_reports_is_exposed_as_long_as_it_does() -> None:
    """Checks and figures of the latest sample; a name that is gone leaves no series behind."""
    target = SPECS[0].targets[0]

    async def rows(*samples: Sample) -> dict[str, str]:
        engine = Engine(SPECS, RULES, NOW - 60)
        engine.step(NOW, samples)
        text = "".join(
            part.decode()
            for family in await collect(
                engine, Telemetry(), channels=(), backlog={}, now=NOW, monotonic=time.monotonic
            )
            for part in family.parts()
        )
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return dict(line.rsplit(" ", 1) for line in lines if line.startswith("monitor_probe_"))

    first = Sample(
        target=target.id, at=NOW - 20, outcome=Outcome.GOOD,
        checks=(("database", True), ("cache", False)), values=(("performance", 93.5),),
    )  # fmt: skip
    where = (
        f'{{deployment="{target.deployment}",environment="{target.environment}",'
        f'target="{target.id}",region="{target.region}",'
    )
    found = await rows(first)
    assert found[f'monitor_probe_check_ok{where}check="database"}}'] == "1.0"
    assert found[f'monitor_probe_check_ok{where}check="cache"}}'] == "0.0"
    assert found[f'monitor_probe_value{where}name="performance"}}'] == "93.5"
    later = Sample(target=target.id, at=NOW - 5, outcome=Outcome.GOOD, checks=(("cache", True),))
    found = await rows(first, later)
    assert [name for name in found if "check=" in name or "name=" in name] == [
        f'monitor_probe_check_ok{where}check="cache"}}'
    ]
