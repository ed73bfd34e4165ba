"""No route changes anything without the token, and no answer lacks its headers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from monitor.web.guard import (
    BODY_LIMIT,
    FORM_HEADERS,
    SECURITY_HEADERS,
    add_security_headers,
    speak_plainly,
)
from tests.web.world import Connect, World

JSON = {"Content-Type": "application/json"}
SAFE = {"GET", "HEAD", "OPTIONS"}


def routes(client: TestClient) -> Iterator[tuple[str, str]]:
    """Every (method, path) of the application, with something in each placeholder."""
    for route in client.app.router.routes():
        yield route.method, re.sub(r"\{\w+\}", "some", route.resource.canonical)


SIGNED = {"/ack/some", "/silence/some", "/api/v1/pagerduty/webhook"}
FORM = "application/x-www-form-urlencoded"


def changing(client: TestClient) -> list[tuple[str, str]]:
    return [(method, path) for method, path in routes(client) if method not in SAFE]


def guarded(client: TestClient) -> list[tuple[str, str]]:
    """Those that need the token: all but the few that are signed."""
    return [(method, path) for method, path in changing(client) if path not in SIGNED]


async def test_there_are_routes_that_change_something(client: TestClient) -> None:
    """The walks below walk over something, and no more is signed than is meant to be."""
    assert {("POST", "/-/reload"), ("POST", "/api/v1/silences")} <= set(guarded(client))
    assert {path for _, path in changing(client)} - {path for _, path in guarded(client)} == SIGNED


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "Bearer \u00fcml\u00e4ut"}, 401),
        ({"Authorization": "Basic a-token-of-some-length"}, 401),
        ({"Authorization": "a-token-of-some-length"}, 401),
    ],
)
async def test_every_change_needs_the_token(
    client: TestClient, world: World, headers: Mapping[str, str], status: int
) -> None:
    """Without it nothing is even read, whatever the route."""
    for method, path in guarded(client):
        answer = await client.request(method, path, headers={**JSON, **headers}, data="{}")
        assert (method, path, answer.status) == (method, path, status)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert world.asked == []


async def test_without_a_configured_token_changes_are_off(
    connect: Connect, world: World, bearer: Mapping[str, str]
) -> None:
    """Any token is refused then, and the answer says how to set one."""
    client = await connect(world, token=None)
    for method, path in guarded(client):
        answer = await client.request(method, path, headers={**JSON, **bearer}, data="{}")
        assert answer.status == 403
        assert "server.token" in (await answer.json())["error"]
    assert world.asked == []


@pytest.mark.parametrize("media", [FORM, "application/json"])
async def test_what_is_signed_needs_its_signature(
    client: TestClient, world: World, bearer: Mapping[str, str], media: str
) -> None:
    """The token is no signature."""
    for path in SIGNED:
        answer = await client.post(path, headers={**bearer, "Content-Type": media}, data="{}")
        assert (path, answer.status) == (path, 401)
        assert answer.headers["WWW-Authenticate"] == "Signature"
    assert world.asked == []


async def test_without_a_key_nothing_is_signed(
    connect: Connect, world: World, bearer: Mapping[str, str]
) -> None:
    """No links and no webhook, and the answer says how to have them."""
    client = await connect(world, signed=False)
    for path in SIGNED:
        answer = await client.post(path, headers={**bearer, **JSON}, data="{}")
        assert answer.status in {403, 404}
        assert "set server." in (await answer.json())["error"]
    assert world.asked == []


async def test_a_proxy_may_call_us_by_another_name(
    client: TestClient, world: World, bearer: Mapping[str, str]
) -> None:
    """What people know us by is no other site."""
    headers = {**bearer, "Origin": "https://monitor.example.com"}
    assert (await client.post("/-/reload", headers=headers)).status == 200
    assert world.asked == ["reload"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example.com"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_pages_of_other_sites_change_nothing(
    client: TestClient, world: World, bearer: Mapping[str, str], headers: Mapping[str, str]
) -> None:
    """Not even with the token."""
    for method, path in changing(client):
        answer = await client.request(method, path, headers={**bearer, **headers})
        assert answer.status == 403
    assert world.asked == []


async def test_our_own_page_may(
    client: TestClient, world: World, bearer: Mapping[str, str]
) -> None:
    """The same origin is no other site."""
    origin = str(client.make_url("/")).rstrip("/")
    headers = {**bearer, "Origin": origin, "Sec-Fetch-Site": "same-origin"}
    assert (await client.post("/-/reload", headers=headers)).status == 200
    assert world.asked == ["reload"]


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
async def test_only_json_bodies_are_taken(
    client: TestClient, world: World, bearer: Mapping[str, str], media: str
) -> None:
    """What a plain HTML form can send is refused."""
    for method, path in guarded(client):
        answer = await client.request(
            method, path, headers={**bearer, "Content-Type": media}, data="{}"
        )
        assert answer.status == 415
    assert world.asked == []


async def test_a_large_body_is_refused(
    client: TestClient, world: World, bearer: Mapping[str, str]
) -> None:
    """More than 64 KiB is not read."""
    answer = await client.post(
        "/api/v1/releases", headers={**bearer, **JSON}, data=b" " * (BODY_LIMIT + 1)
    )
    assert answer.status == 413
    assert world.asked == []


async def test_reads_have_no_side_effect(client: TestClient, world: World) -> None:
    """Two rounds over all readable routes: nothing was asked, and the second answers the same."""
    rounds: list[dict[str, bytes]] = []
    for _ in range(2):
        bodies = {}
        for method, path in routes(client):
            if method == "GET":
                bodies[path] = await (await client.get(path)).read()
        rounds.append(bodies)
    assert rounds[0] == rounds[1]
    assert world.asked == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
async def test_unknown_methods_are_refused(client: TestClient, world: World, method: str) -> None:
    """405, which methods there are, and nothing done."""
    answer = await client.request(method, "/api/v1/deployments")
    assert answer.status == 405
    assert "GET" in answer.headers["Allow"]
    assert world.asked == []


async def test_every_answer_carries_the_security_headers(client: TestClient) -> None:
    """Pages, data, refusals and mistakes alike."""
    for method, path in [*routes(client), ("GET", "/nowhere"), ("PROPFIND", "/")]:
        answer = await client.request(method, path)
        is_form = path in SIGNED and answer.content_type == "text/html"
        for name, value in (FORM_HEADERS if is_form else SECURITY_HEADERS).items():
            assert (method, path, answer.headers.get(name)) == (method, path, value)


def test_pages_with_a_form_are_as_strict_but_for_the_form() -> None:
    """Their form may be sent to us, and says where it comes from."""
    differing = {name for name, value in FORM_HEADERS.items() if SECURITY_HEADERS[name] != value}
    assert differing == {"Content-Security-Policy", "Referrer-Policy"}
    assert "form-action 'self'" in FORM_HEADERS["Content-Security-Policy"]
    assert FORM_HEADERS["Referrer-Policy"] == "same-origin"


async def test_nothing_of_the_input_comes_back(client: TestClient) -> None:
    """A refusal is JSON in our own words."""
    for path in (
        "/<script>alert(1)</script>",
        "/metrics?query=<script>",
        "/api/v1/incidents/<script>",
    ):
        answer = await client.get(path)
        assert answer.status in {400, 404}
        assert answer.content_type == "application/json"
        assert "<script>" not in await answer.text()


@pytest.fixture
async def failing() -> AsyncIterator[TestClient]:
    async def fail(_request: web.Request) -> web.Response:
        msg = "the database password is hunter2"
        raise LookupError(msg)

    async def hang(_request: web.Request) -> web.Response:
        raise TimeoutError

    app = web.Application(middlewares=[speak_plainly])
    app.router.add_get("/fail", fail)
    app.router.add_get("/hang", hang)
    app.on_response_prepare.append(add_security_headers)
    async with TestClient(TestServer(app, host="127.0.0.1")) as client:
        yield client


async def test_a_failure_tells_the_log_and_not_the_client(
    failing: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    """500 without the exception's text; the log has the traceback."""
    answer = await failing.get("/fail")
    assert answer.status == 500
    assert "hunter2" not in await answer.text()
    assert "LookupError" in caplog.text


async def test_an_overrun_is_service_unavailable(failing: TestClient) -> None:
    """A handler beyond its deadline ends in 503 with a hint when to come back."""
    answer = await failing.get("/hang")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
