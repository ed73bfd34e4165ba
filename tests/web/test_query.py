"""GET /metrics?query=...: the value that a pipeline takes with `jq -r '.value'`."""

from __future__ import annotations

import json

import pytest
from aiohttp.test_utils import TestClient
from hypothesis import given
from hypothesis import strategies as st

from monitor.slo.signal import signal_names
from monitor.web.query import _writable
from monitor.web.respond import plain
from tests.web.world import Connect, World


async def ask(client: TestClient, **parameters: str) -> dict[str, object]:
    answer = await client.get("/metrics", params=parameters)
    assert answer.status == 200
    return await answer.json()


@pytest.mark.parametrize(
    ("query", "worst", "value", "unit"),
    [
        ("error_rate_5m", "checkout-production", 100.0, "percent"),
        ("success_rate_5m", "checkout-production", 0.0, "percent"),
        ("deployment_status", "shop-staging", "unknown", "text"),
        ("health", "checkout-production", "unhealthy", "text"),
        ("available_regions", "checkout-production", 0.0, "count"),
    ],
)
async def test_of_several_the_worst_is_named(
    client: TestClient, query: str, worst: str, value: object, unit: str
) -> None:
    """Without filters every deployment matches; what is bad depends on the signal."""
    answer = await ask(client, query=query)
    assert (answer["deployment"], answer["value"], answer["unit"]) == (worst, value, unit)
    assert answer["query"] == query
    assert len(answer["matched"]) == 4


@pytest.mark.parametrize(
    "query", ["uptime_percentage", "error_budget_remaining", "burn_rate_1h", "error_rate_1h"]
)
async def test_the_broken_deployment_is_the_worst_by_every_measure(
    client: TestClient, query: str
) -> None:
    """Lowest or highest, whichever is worse, it is the same one."""
    assert (await ask(client, query=query))["deployment"] == "checkout-production"


async def test_the_plans_snippet_gets_a_number(client: TestClient) -> None:
    """`ERROR_RATE=$(curl ... | jq -r '.value')` and `$P95_LATENCY` are plain decimal numbers."""
    for query in ("error_rate_5m", "p95_latency"):
        answer = await client.get(f"/metrics?query={query}")
        assert answer.content_type == "application/json"
        value = json.loads(await answer.text())["value"]
        assert isinstance(value, float)
        assert "e" not in json.dumps(value)


async def test_latency_is_in_milliseconds(client: TestClient) -> None:
    """Conditions and queries use ms; the slower region decides the p95."""
    answer = await ask(client, query="p95_latency", deployment="shop-production")
    assert answer["value"] == pytest.approx(400, rel=0.03)
    assert (answer["unit"], answer["window_s"]) == ("ms", 300)


@pytest.mark.parametrize(
    ("filters", "matched"),
    [
        ({"deployment": "shop-production"}, ["shop-production"]),
        ({"deployment": "shop"}, ["shop-production", "shop-staging"]),
        ({"environment": "production"}, ["shop-production", "checkout-production"]),
        ({"environment": "PRODUCTION", "deployment": "shop"}, ["shop-production"]),
    ],
)
async def test_filters(client: TestClient, filters: dict[str, str], matched: list[str]) -> None:
    """By name or service, and by environment in any case."""
    assert (await ask(client, query="error_rate_5m", **filters))["matched"] == matched


async def test_no_data_is_null(client: TestClient) -> None:
    """Null and not zero; the deployment that has none is named."""
    answer = await ask(client, query="error_rate_5m", deployment="search")
    assert answer["value"] is None
    assert answer["deployment"] == "search-canary"
    assert answer["no_data"] == ["search-canary"]


async def test_one_without_data_does_not_hide_the_others(client: TestClient) -> None:
    """The worst among those with data, and who has none."""
    assert (await ask(client, query="error_rate_5m"))["no_data"] == ["search-canary"]


async def test_nothing_configured_is_no_data(connect: Connect, empty_world: World) -> None:
    """A fresh installation answers null."""
    answer = await ask(await connect(empty_world), query="error_rate_5m")
    assert (answer["value"], answer["deployment"]) == (None, None)


@pytest.mark.parametrize("name", ["", "error_rate", "errors_5m", "error_rate_7m", "<script>"])
async def test_an_unknown_name_is_answered_with_those_that_exist(
    client: TestClient, name: str
) -> None:
    """400 with every name, and without repeating the input."""
    answer = await client.get("/metrics", params={"query": name})
    body = await answer.json()
    assert answer.status == 400
    assert body["names"] == list(signal_names())
    assert "<script>" not in await answer.text()


@pytest.mark.parametrize(
    "filters", [{"deployment": "nope"}, {"environment": "nope"}, {"deployment": "Shop-Production"}]
)
async def test_an_unknown_deployment_is_answered_with_those_that_exist(
    client: TestClient, filters: dict[str, str]
) -> None:
    """404 with the names."""
    answer = await client.get("/metrics", params={"query": "error_rate_5m", **filters})
    assert answer.status == 404
    assert "checkout-production" in (await answer.json())["names"]


async def test_every_name_can_be_asked_for(client: TestClient) -> None:
    """No signal of the language is missing from the API."""
    for name in signal_names():
        assert (await ask(client, query=name))["query"] == name


@given(st.floats(-1e9, 1e9))
def test_no_value_is_written_with_an_exponent(value: float) -> None:
    """`bc` takes `5e-05` for a syntax error; the sign and all that is large enough are kept."""
    written = _writable(value)
    assert "e" not in json.dumps(plain(written))
    assert written == value or (0 < abs(value) < 0.0001 and abs(written) == 0.0001)
