"""Budgets, the gate, windows and corrections over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from monitor.slo.objective import CalendarUnit, Objective, Period, Sli, SliKind
from tests.web.world import NOW, SPECS, Connect, World

ERRORS = Objective(
    target=Fraction(999, 1000), name="error_rate", slis=(Sli(kind=SliKind.AVAILABILITY),)
)
MONTH = Period(length_s=30 * 86400, calendar=CalendarUnit.MONTH, zone="Europe/Berlin")


def text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


async def get(client: TestClient, path: str, status: int = 200) -> dict[str, Any]:
    answer = await client.get(path)
    body: dict[str, Any] = await answer.json()
    assert answer.status == status, body
    return body


async def post(
    client: TestClient, bearer: Mapping[str, str], path: str, body: object = None
) -> tuple[int, dict[str, Any]]:
    answer = await client.post(path, json=body, headers=dict(bearer))
    return answer.status, await answer.json()


@pytest.fixture
def promising() -> World:
    """Checkout has two objectives and two periods; shop's users are spread over two places."""
    shop, staging, checkout, search = SPECS
    checkout = replace(
        checkout,
        objective=Objective(target=Fraction(999, 1000), more_periods=(MONTH,)),
        more_objectives=(ERRORS,),
    )
    shop = replace(shop, deployment=replace(shop.deployment, traffic_share=0.95))
    canary = replace(
        search, deployment=replace(search.deployment, service="shop", traffic_share=0.05)
    )
    return World(specs=(shop, staging, checkout, canary)).run_an_hour()


async def test_every_objective_has_its_budgets(connect: Connect, promising: World) -> None:
    """Of each period, with the interval, the coverage and the rates behind it."""
    body = await get(await connect(promising), "/api/v1/slos")
    found = {each["deployment"]: each for each in body["slos"]}
    uptime, errors = found["checkout-production"]["slos"]
    assert (uptime["objective"]["name"], errors["objective"]["name"]) == (
        "availability", "error_rate",
    )  # fmt: skip
    rolling, month = uptime["budgets"]
    assert (rolling["period"]["calendar"], month["period"]["calendar"]) == (None, "month")
    for budget in (rolling, month, *errors["budgets"]):
        assert budget["worst"] <= budget["remaining"] <= budget["best"] <= 1
        assert budget["coverage"] == pytest.approx(1, abs=0.02)
    assert rolling["bad"] == 2 * 300
    assert dict(map(tuple, uptime["burn_rates"]))[300] == 1000
    assert 0 < uptime["forecast"]["soonest_s"] < uptime["forecast"]["latest_s"]
    assert [each["revision"] for each in uptime["releases"]] == ["2.0", "1.0"]
    assert found["shop-staging"]["slos"] == []


async def test_a_service_is_what_its_users_met(connect: Connect, promising: World) -> None:
    """Only deployments with a share of the traffic count, by that share."""
    services = (await get(await connect(promising), "/api/v1/slos"))["services"]
    assert [(each["service"], dict(each["weights"])) for each in services] == [
        ("shop", {"shop-production": 0.95, "search-canary": 0.05})
    ]
    assert services[0]["budget"]["remaining"] == 1


async def test_the_gate_stops_while_something_critical_fires(client: TestClient) -> None:
    """409 with the reasons; others may go."""
    stop = await get(client, "/api/v1/gate?deployment=checkout-production", 409)
    assert stop["go"] is False
    assert "high_error_rate fires" in stop["deployments"][0]["reasons"]
    go = await get(client, "/api/v1/gate?deployment=shop-production")
    assert (go["go"], go["deployments"][0]["reasons"]) == (True, [])
    everything = await get(client, "/api/v1/gate", 409)
    assert len(everything["deployments"]) == len(SPECS)
    await get(client, "/api/v1/gate?deployment=nobody", 404)


async def test_the_gate_stops_when_a_budget_is_spent(connect: Connect) -> None:
    """Also when all is well again."""
    tight = Objective(target=Fraction(999, 1000), period_s=3600)
    spec = replace(SPECS[2], objective=tight)
    world = World(specs=(spec,)).run_an_hour()
    stop = await get(await connect(world), "/api/v1/gate", 409)
    assert any("over the budget of this 1h" in each for each in stop["deployments"][0]["reasons"])


async def test_windows_merge_counts(client: TestClient) -> None:
    """By target, deployment, environment and service, never ratios of ratios."""
    found = {}
    for by in ("target", "deployment", "environment", "service"):
        body = await get(client, f"/api/v1/windows?window=30m&by={by}")
        found[by] = {each[by]: each for each in body["windows"]}
        total = {kind: sum(e[kind] for e in found[by].values()) for kind in ("good", "bad")}
        assert total["bad"] == 2 * 20
        assert total["good"] == sum(each["good"] for each in found["target"].values())
    live = found["environment"]["Production"]
    assert live["error_ratio"] == live["bad"] / (live["good"] + live["bad"])
    assert live["latency_s"]["p50"] > 0
    assert found["deployment"]["search-canary"]["error_ratio"] is None
    await get(client, "/api/v1/windows?window=31m", 400)
    await get(client, "/api/v1/windows?by=planet", 400)


async def test_a_correction_leaves_an_outage_out_and_can_be_undone(
    client: TestClient, world: World, bearer: Mapping[str, str]
) -> None:
    """With a reason, kept in a list; budgets follow at once."""

    async def bad() -> int:
        body = await get(client, "/api/v1/slos")
        [found] = [e for e in body["slos"] if e["deployment"] == "checkout-production"]
        return int(found["slos"][0]["budgets"][0]["bad"])

    assert await bad() == 600
    said = {
        "deployment": "checkout-production",
        "from": text(NOW - 600),
        "to": text(NOW),
        "reason": "load test",
    }
    status, body = await post(client, bearer, "/api/v1/corrections", said)
    assert status == 202
    assert await bad() == 0
    listed = (await get(client, "/api/v1/corrections"))["corrections"]
    assert [(each["reason"], each["is_undone"]) for each in listed] == [("load test", False)]
    path = f"/api/v1/corrections/{body['accepted']['id']}/undo"
    assert (await post(client, bearer, path))[0] == 202
    assert await bad() == 600
    assert (await post(client, bearer, path))[0] == 404
    world.overloaded = True
    assert (await post(client, bearer, "/api/v1/corrections", said))[0] == 503


@pytest.mark.parametrize(
    ("changes", "status", "told"),
    [
        ({"deployment": "nobody"}, 404, "no such deployment"),
        ({"slo": "latency"}, 404, "no such objective; there are: availability"),
        ({"reason": ""}, 400, "reason is a text"),
        ({"reason": 5}, 400, "reason is a text"),
        ({"from": "yesterday"}, 400, "from is a time with an offset"),
        ({"to": "2026-01-01T00:00:00"}, 400, "to is a time with an offset"),
        ({"from": text(NOW)}, 400, "in this order"),
        ({"to": text(NOW + 60)}, 400, "in the last 90 days"),
        ({"from": text(NOW - 91 * 86400)}, 400, "in the last 90 days"),
        ({"who": "me"}, 400, "known keys"),
    ],
)
async def test_what_is_no_correction_changes_nothing(  # noqa: PLR0917 - a table's columns
    client: TestClient,
    world: World,
    bearer: Mapping[str, str],
    changes: dict[str, object],
    status: int,
    told: str,
) -> None:
    """Refused with the reason."""
    said = {
        "deployment": "checkout-production",
        "from": text(NOW - 600),
        "to": text(NOW - 60),
        "reason": "load test",
    }
    found, body = await post(client, bearer, "/api/v1/corrections", said | changes)
    assert (found, told in body["error"]) == (status, True), body
    assert not world.corrected


async def test_corrections_need_the_token(client: TestClient, world: World) -> None:
    """Nobody rewrites history unasked."""
    status, _ = await post(client, {}, "/api/v1/corrections", {"deployment": "shop-production"})
    assert status == 401
    assert not world.corrected
