"""The JSON API: shapes, refusals and the two changes."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from aiohttp.test_utils import TestClient

from monitor.model import Release, ReleaseStatus
from tests.web.world import CLOSED, INCIDENT, NOW, ROLLBACK, World

GOOD = {"deployment": "shop-production", "revision": "3.1", "status": "succeeded"}


async def get(client: TestClient, path: str) -> dict[str, object]:
    answer = await client.get(path)
    assert (answer.status, answer.content_type) == (200, "application/json")
    return await answer.json()


async def post(client: TestClient, bearer: Mapping[str, str], body: object) -> tuple[int, object]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {**bearer, "Content-Type": "application/json"}
    answer = await client.post("/api/v1/releases", data=data, headers=headers)
    return answer.status, await answer.json()


async def test_deployments(client: TestClient) -> None:
    """Figures of each in the units of conditions, no data as null."""
    found = {
        each["deployment"]["name"]: each
        for each in (await get(client, "/api/v1/deployments"))["deployments"]
    }
    broken, unseen = found["checkout-production"], found["search-canary"]
    assert (broken["health"], broken["error_rate_5m"]) == ("unhealthy", 100.0)
    assert broken["release"]["revision"] == "2.0"
    assert broken["previous_revision"] == "1.0"
    assert {"error_rate": False, "p95": True}.items() <= {
        clause["clause"]: clause["ok"] for clause in broken["clauses"]
    }.items()
    assert broken["targets"][0]["last"]["outcome"] == "bad"
    assert broken["alerts"][0]["state"] == "firing"
    assert (unseen["error_rate_5m"], unseen["budget"], unseen["release"]) == (None, None, None)


async def test_slos(client: TestClient) -> None:
    """Objective, budget and burn rates; null where nothing is promised."""
    body = await get(client, "/api/v1/slos")
    found = {each["deployment"]: each for each in body["slos"]}
    assert found["checkout-production"]["objective"]["target"] == 0.999
    assert found["checkout-production"]["budget"]["remaining"] < 1
    assert found["checkout-production"]["burn_rates"]["5m"] == 1000.0
    assert found["shop-production"]["budget"]["remaining"] == 1.0
    assert found["shop-staging"]["objective"] is None
    assert "burn_rates" not in found["shop-staging"]


async def test_alerts(client: TestClient) -> None:
    """States with what the rule says."""
    firing = [
        each
        for each in (await get(client, "/api/v1/alerts"))["alerts"]
        if each["state"] == "firing"
    ]
    assert [(each["rule"], each["deployment"]) for each in firing] == [
        ("high_error_rate", "checkout-production")
    ]
    assert firing[0]["condition"] == "error_rate_5m > 5"
    assert firing[0]["severity"] == "critical"


async def test_incidents(client: TestClient) -> None:
    """Newest first, and as many as were asked for."""
    body = await get(client, "/api/v1/incidents")
    assert [each["id"] for each in body["incidents"]] == [INCIDENT.id, CLOSED.id]
    body = await get(client, "/api/v1/incidents?limit=1")
    assert [each["id"] for each in body["incidents"]] == [INCIDENT.id]


async def test_one_incident_with_its_ledger(client: TestClient) -> None:
    """What was sent about it and what was rolled back because of it."""
    body = await get(client, f"/api/v1/incidents/{INCIDENT.id}")
    assert body["incident"]["values"] == {"error_rate_5m": 100.0, "p95_latency": None}
    assert [each["channel"] for each in body["attempts"]] == ["slack", "pagerduty"]
    assert body["rollbacks"][0]["request"]["id"] == ROLLBACK.request.id
    assert (await client.get("/api/v1/incidents/nope")).status == 404


async def test_an_incident_that_is_not_saved_yet_is_shown(client: TestClient, world: World) -> None:
    """A store that refuses hides no incident that is open."""
    world.ledger = [each for each in world.ledger if each.incident.id != INCIDENT.id]
    body = await get(client, "/api/v1/incidents")
    assert [each["id"] for each in body["incidents"]] == [INCIDENT.id, CLOSED.id]
    body = await get(client, f"/api/v1/incidents/{INCIDENT.id}")
    assert (body["incident"]["id"], body["attempts"]) == (INCIDENT.id, [])


async def test_deliveries(client: TestClient) -> None:
    """The ledger newest first, and what is owed."""
    body = await get(client, "/api/v1/deliveries")
    assert [each["channel"] for each in body["deliveries"]] == ["pagerduty", "slack", "slack"]
    assert {each["channel"]: each["told"] for each in body["owed"]} == {
        "slack": "open",
        "pagerduty": "nothing",
    }


async def test_releases_and_rollbacks(client: TestClient) -> None:
    """The latest release of each deployment; every rollback."""
    releases = (await get(client, "/api/v1/releases"))["releases"]
    assert {each["deployment"]: each["revision"] for each in releases} == {
        "shop-production": "1.0",
        "checkout-production": "2.0",
    }
    rollbacks = (await get(client, "/api/v1/rollbacks"))["rollbacks"]
    assert [each["state"] for each in rollbacks] == ["failed"]


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "many", "1e2", "", "99999999999999999", "²"])
async def test_odd_limits_are_refused(client: TestClient, limit: str) -> None:
    """400, and the range."""
    answer = await client.get("/api/v1/incidents", params={"limit": limit})
    assert answer.status == 400
    assert "1 to 1000" in (await answer.json())["error"]


@pytest.mark.parametrize(
    "path", ["/api/v1/incidents", f"/api/v1/incidents/{INCIDENT.id}", "/api/v1/deliveries"]
)
async def test_an_unreadable_store_is_service_unavailable(
    client: TestClient, world: World, path: str
) -> None:
    """503 with the store's own words."""
    world.store_error = "disk on fire"
    answer = await client.get(path)
    assert answer.status == 503
    assert "disk on fire" in (await answer.json())["error"]


@pytest.mark.parametrize("status", ["in_progress", "succeeded", "failed"])
async def test_a_release_is_taken_in(
    client: TestClient, world: World, bearer: Mapping[str, str], status: str
) -> None:
    """With our time and the source `api`; 202, since it counts from the next evaluation on."""
    code, body = await post(client, bearer, GOOD | {"status": status})
    expected = Release(
        deployment="shop-production",
        revision="3.1",
        status=ReleaseStatus(status),
        at=NOW,
        source="api",
    )
    assert code == 202
    assert world.asked == [expected]
    assert body["accepted"]["source"] == "api"


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (GOOD | {"status": "rolled_back"}, (400, "in_progress, succeeded, failed")),
        (GOOD | {"status": None}, (400, "status")),
        (GOOD | {"status": ["succeeded"]}, (400, "status")),
        (GOOD | {"revision": ""}, (400, "revision")),
        (GOOD | {"revision": "x" * 201}, (400, "revision")),
        (GOOD | {"revision": "a\nb"}, (400, "revision")),
        (GOOD | {"revision": 3}, (400, "revision")),
        (GOOD | {"at": 3}, (400, "known keys")),
        (GOOD | {"deployment": "nope"}, (404, "shop-production")),
        (GOOD | {"deployment": {}}, (404, "shop-production")),
        ({}, (400, "status")),
        ([], (400, "object")),
        (b"{", (400, "JSON")),
        (b"\xff\xfe\x00", (400, "JSON")),
        (b"[" * 60_000, (400, "JSON")),
    ],
)
async def test_a_malformed_release_is_refused(
    client: TestClient,
    world: World,
    bearer: Mapping[str, str],
    body: object,
    refusal: tuple[int, str],
) -> None:
    """The answer says what was expected, and nothing is taken in."""
    code, answer = await post(client, bearer, body)
    assert code == refusal[0]
    assert refusal[1] in answer["error"]
    assert world.asked == []


async def test_a_release_without_a_body_is_refused(
    client: TestClient, bearer: Mapping[str, str]
) -> None:
    """Told what to send."""
    answer = await client.post("/api/v1/releases", headers=bearer)
    assert answer.status == 400
    assert "revision" in (await answer.json())["error"]


async def test_overload_asks_to_come_back(
    client: TestClient, world: World, bearer: Mapping[str, str]
) -> None:
    """503 with Retry-After, so that a pipeline's `curl --retry` does the right thing."""
    world.overloaded = True
    headers = {**bearer, "Content-Type": "application/json"}
    answer = await client.post("/api/v1/releases", json=GOOD, headers=headers)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")


async def test_a_refused_reload_says_why(
    client: TestClient, world: World, bearer: Mapping[str, str]
) -> None:
    """422 with the errors; 200 when it is used."""
    assert (await client.post("/-/reload", headers=bearer)).status == 200
    world.reload_error = "monitor.yml:3:7: unknown key"
    answer = await client.post("/-/reload", headers=bearer)
    assert (answer.status, await answer.json()) == (422, {"error": "monitor.yml:3:7: unknown key"})


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/-/healthy"])
async def test_liveness(client: TestClient, world: World, path: str) -> None:
    """Text for probes: ok, or what is stuck."""
    answer = await client.get(path)
    assert (answer.status, await answer.text()) == (200, "ok\n")
    world.stuck = "no evaluation for 60 s"
    answer = await client.get(path)
    assert (answer.status, await answer.text()) == (503, "no evaluation for 60 s\n")


@pytest.mark.parametrize("path", ["/readyz", "/-/ready"])
async def test_readiness(client: TestClient, world: World, path: str) -> None:
    """Not ready is not dead."""
    world.unready = "starting"
    answer = await client.get(path)
    assert (answer.status, await answer.text()) == (503, "starting\n")
    assert (await client.get("/livez")).status == 200


async def test_the_contract_names_every_route(client: TestClient) -> None:
    """What OpenAPI says is what is served, and what changes something is marked."""
    paths = (await get(client, "/api/v1/openapi.json"))["paths"]
    served = {
        (route.method, route.resource.canonical)
        for route in client.app.router.routes()
        if route.method != "HEAD"
    }
    unlisted = {path for _, path in served if path.startswith("/static/")}
    unlisted.add("/api/v1/openapi.json")
    described = {(method.upper(), path) for path, item in paths.items() for method in item}
    assert described == {(method, path) for method, path in served if path not in unlisted}
    assert all(
        ("security" in operation) == (method == "post")
        for item in paths.values()
        for method, operation in item.items()
    )


async def test_a_ping_is_noted_on_the_board(
    client: TestClient, world: World, bearer: Mapping[str, str]
) -> None:
    """A job that somebody expects is heard; 202, at our own time."""
    world.board.expect("shop-production/backup")
    headers = {**bearer, "Content-Type": "application/json"}
    body = {"heartbeat": "shop-production/backup", "kind": "start"}
    answer = await client.post("/api/v1/heartbeats", json=body, headers=headers)
    assert answer.status == 202
    assert world.board.last("shop-production/backup").started_at == NOW


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"heartbeat": "nobody/knows"}, (404, "shop-production/backup")),
        ({"heartbeat": 3}, (404, "shop-production/backup")),
        ({"heartbeat": "shop-production/backup", "kind": "party"}, (400, "start, finish, fail")),
        ({"heartbeat": "shop-production/backup", "at": 3}, (400, "start, finish, fail")),
    ],
)
async def test_a_ping_that_means_nothing_is_refused(
    client: TestClient,
    world: World,
    bearer: Mapping[str, str],
    body: dict[str, object],
    refusal: tuple[int, str],
) -> None:
    """The answer says what there is."""
    world.board.expect("shop-production/backup")
    headers = {**bearer, "Content-Type": "application/json"}
    answer = await client.post("/api/v1/heartbeats", json=body, headers=headers)
    assert answer.status == refusal[0]
    assert refusal[1] in (await answer.json())["error"]
