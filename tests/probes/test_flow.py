"""The `flow` kind: several steps on one session, what they hand on, and what must not get out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.model import Outcome, Sample
from monitor.probes.call import Answer as CallAnswer
from monitor.probes.failure import ProbeError
from monitor.probes.flow import FlowProbeConfig
from monitor.probes.flow.capture import MAX_VALUE, Capture
from monitor.probes.flow.template import fill_body, fill_header, fill_path
from monitor.probes.http.conditions import compile_regex
from monitor.probes.http.jsonpath import parse_path
from tests.probes.kinds import Answer, build, load, load_example, site
from tests.probes.raw_server import AT, make_io, replies, response, serve

Run = Callable[..., Any]
TOKEN = "t0ken-canary-4711"
LOGIN = {
    "method": "POST",
    "path": "/login",
    "headers": {"Content-Type": "application/json", "X-Key": {"env": "KEY"}},
    "body": '{"user": "probe"}',
    "capture": {"token": "$.token", "order": {"header": "X-Order"}},
}
READ = {
    "path": "/orders/{order}?full={token}",
    "headers": {"Authorization": "Bearer {token}"},
    "json": [{"path": "$.state", "equals": "open"}],
    "capture": {"csrf": {"regex": r'value=\\+"([^"\\]+)'}},
}
CLOSE = {
    "method": "POST",
    "path": "/close",
    "headers": {"Content-Type": "application/x-www-form-urlencoded"},
    "body": "csrf={csrf}&by=me",
    "status": 303,
    "body_contains": "bye",
}


class Shop:
    """A shop that insists on what earlier answers said."""

    def __init__(self, **changes: Any) -> None:
        self.seen: list[web.Request] = []
        self.order = "7/7 ?"
        self.state: object = "open"
        self.csrf = "a&b=c"
        self.delay_s = 0.0
        for name, value in changes.items():
            setattr(self, name, value)

    @property
    def routes(self) -> dict[str, Answer]:
        return {
            "POST /login": self.login,
            "GET /orders/{order}": self.read,
            "POST /close": self.close,
        }

    async def login(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        assert await request.json() == {"user": "probe"}
        assert request.headers["X-Key"] == "env-KEY"
        answer = web.json_response({"token": TOKEN}, headers={"X-Order": self.order})
        answer.set_cookie("sid", "c00kie-canary", path="/", httponly=True)
        return answer

    async def read(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        await asyncio.sleep(self.delay_s)
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        assert request.cookies["sid"] == "c00kie-canary"
        assert request.query["full"] == TOKEN
        assert unquote(request.raw_path.partition("?")[0]) == f"/orders/{self.order}"
        page = f'<input name="csrf" value="{self.csrf}">'
        return web.json_response({"state": self.state, "page": page})

    async def close(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        assert parse_qs(await request.text()) == {"csrf": [self.csrf], "by": ["me"]}
        return web.Response(status=303, text="bye", headers={"Location": "/"})


async def visit(shop: Shop, deadline_s: float = 5.0, steps: Any = (LOGIN, READ, CLOSE)) -> Sample:
    async with site(shop.routes) as url:
        return await build(FlowProbeConfig, url, steps=list(steps))(AT, deadline_s)


def test_a_whole_flow(run: Run) -> None:
    """Tokens, headers, form fields and cookies reach the later steps; every step has its time."""
    shop = Shop(delay_s=0.05)
    sample = run(visit(shop))
    assert (sample.outcome, sample.detail) == (Outcome.GOOD, "")
    assert [request.path for request in shop.seen] == ["/login", "/orders/7/7 ?", "/close"]
    values = dict(sample.values)
    assert list(values) == ["step1_ms", "step2_ms", "step3_ms"]
    assert values["step2_ms"] >= 50
    assert sample.latency_s == pytest.approx(sum(values.values()) / 1000)
    assert sample.latency_s == pytest.approx(sum(seconds for _, seconds in sample.phases))
    assert [name for name, _ in sample.phases] == ["connect", "send", "wait", "transfer"]
    assert sample.status == 303


async def test_runs_share_nothing() -> None:
    """A second run starts without the cookies of the first."""
    shop = Shop()
    async with site(shop.routes) as url:
        probe = build(FlowProbeConfig, url, steps=[LOGIN])
        await probe(AT, 5.0)
        await probe(AT, 5.0)
    assert ["sid" in request.cookies for request in shop.seen] == [False, False]


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        (
            {"state": TOKEN},
            "json",
            "step 2 (GET /orders/{order}?full={token}): $.state is another text, expected 'open'",
        ),
        (
            {"csrf": ""},
            "capture",
            "step 2 (GET /orders/{order}?full={token}): cannot capture csrf: it is missing",
        ),
        (
            {"order": ".."},
            "capture",
            "step 2 (GET /orders/{order}?full={token}): the captured order cannot stand in a path",
        ),
    ],
)
async def test_the_failed_step_is_named_and_no_value_shown(
    changes: dict[str, Any], reason: str, detail: str
) -> None:
    """The detail says which step and what is wrong, but never what an answer held."""
    sample = await visit(Shop(**changes))
    assert (sample.outcome, sample.reason) == (Outcome.BAD, reason)
    assert sample.detail == detail
    assert "canary" not in repr(sample)
    assert sample.latency_s is not None


async def test_a_late_step_is_the_one_that_hung() -> None:
    """One deadline for all steps: the detail names the one that was under way."""
    sample = await visit(Shop(delay_s=5), 0.3)
    assert (sample.reason, sample.censored) == ("timeout_headers", True)
    assert sample.detail.startswith(
        "step 2 (GET /orders/{order}?full={token}): timed out after 0.3"
    )
    assert sample.latency_s is not None
    assert 0.3 <= sample.latency_s < 1
    assert "step1_ms" in dict(sample.values)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ({"path": "/missing"}, "status"),
        ({"status": 404}, "status"),
        ({"body_contains": "nope"}, "body"),
        ({"body_matches": "^x"}, "body"),
        ({"json": [{"path": "$.token", "equals": "x"}]}, "json"),
        ({"json": [{"path": "$.nothing", "exists": True}]}, "json"),
        ({"capture": {"a": "$.nothing"}}, "capture"),
        ({"capture": {"a": "$"}}, "capture"),
        ({"capture": {"a": {"header": "X-None"}}}, "capture"),
    ],
)
async def test_what_is_asked_of_an_answer(step: dict[str, Any], reason: str) -> None:
    """Each expectation has its reason, and none repeats the answer."""
    sample = await visit(Shop(), steps=[LOGIN | step])
    assert (sample.outcome, sample.reason) == (Outcome.BAD, reason)
    assert sample.detail.startswith(f"step 1 (POST {step.get('path', '/login')}): ")
    assert "canary" not in repr(sample)


async def test_redirects_are_answers_and_cookies_stay_at_home() -> None:
    """A redirect is not followed, so no cookie and no token can be led elsewhere."""
    seen: list[bytes] = []
    away = replies(response(b"", "302 Found", "Location: http://evil.test/", "Set-Cookie: a=1"))
    async with serve(away) as port:
        steps = [{"status": 302}, {"status": 302, "path": "/x"}]
        sample = await build(FlowProbeConfig, f"http://127.0.0.1:{port}", steps=steps)(AT, 5.0)
    assert sample.outcome is Outcome.GOOD
    async with serve(replies(response(b"", "200 OK", "Set-Cookie: a=1"), seen=seen)) as port:
        steps = [{}, {"headers": {"Cookie": "own=1"}}, {}]
        await build(FlowProbeConfig, f"http://127.0.0.1:{port}", steps=steps)(AT, 5.0)
    assert [b"Cookie: a=1" in head for head in seen] == [False, False, True]
    assert b"Cookie: own=1\r\n" in seen[1]


def test_faults_of_the_network(run: Run) -> None:
    """Garbage, refused connections and denied addresses are told from each other, with the step."""

    async def story() -> list[Sample]:
        async with serve(replies(b"\xff\x1b[2J\r\n\r\n")) as port:
            url = f"http://127.0.0.1:{port}"
            garbage = await build(FlowProbeConfig, url, steps=[{}])(AT, 5.0)
            denied = await build(FlowProbeConfig, url, make_io(allowed=()), steps=[{}])(AT, 5.0)
        return [garbage, denied, await build(FlowProbeConfig, url, steps=[{}])(AT, 5.0)]

    samples = run(story())
    assert [each.reason for each in samples] == ["protocol", "address_denied", "connect_refused"]
    assert all(each.detail.startswith("step 1 (GET /): ") for each in samples)
    assert all(each.detail.isprintable() for each in samples)
    assert all(each.latency_s is None for each in samples)


VALUES = st.text(max_size=30)


@given(VALUES)
def test_a_value_stays_in_its_place(value: str) -> None:
    """It is one part of a path, one line of a header, one text of a JSON body, one form field."""
    captured = {"it": value}
    try:
        path = fill_path("/a/{it}/b?{no}", captured)
    except ProbeError:
        assert value in {"", ".", ".."}
    else:
        assert path.count("/") == 3
        assert path.endswith("/b?{no}")
    try:
        assert not set(fill_header("X", "v {it}", captured)) & {"\r", "\n", "\0"}
    except ProbeError:
        assert not value.isprintable() or not value.isascii()
    assert json.loads(fill_body('{"a": "{it}"}', captured, "application/json")) == {"a": value}
    form = fill_body("a={it}&b=1", captured, "application/x-www-form-urlencoded; charset=utf-8")
    assert parse_qs(form.decode(), keep_blank_values=True) == {"a": [value], "b": ["1"]}
    assert fill_body("{it}", captured, "text/plain") == value.encode("utf-8", "replace")


@given(VALUES)
def test_values_are_not_looked_into_again(value: str) -> None:
    """A value that looks like a placeholder is no placeholder."""
    captured = {"a": "{b}", "b": value}
    assert fill_body("{a}", captured, "text/plain") == b"{b}"


CAPTURES = [
    Capture(name="it", path=parse_path("$.a")),
    Capture(name="it", header=b"x-it"),
    Capture(name="it", regex=compile_regex("a(b)?|c")),
    Capture(name="it", regex=compile_regex(".+")),
]


@settings(max_examples=200)
@given(st.sampled_from(CAPTURES), st.binary(max_size=60), st.booleans())
def test_no_answer_breaks_a_capture(capture: Capture, body: bytes, is_capped: bool) -> None:  # noqa: FBT001 - hypothesis fills it
    """Arbitrary bytes give a text or a refusal, and nothing else."""
    answer = CallAnswer(status=200, headers=((b"X-It", body),), body=body, is_capped=is_capped)
    with suppress(ProbeError):
        assert 0 < len(capture.take(answer)) <= MAX_VALUE


@pytest.mark.parametrize(
    ("value", "taken"),
    [("x", "x"), (7, "7"), (1.5, "1.5"), (True, "true"), (None, None), ([1], None), ("", None)],
)
def test_captured_json(value: object, taken: str | None) -> None:
    """Numbers and truth values become the text that JSON has for them."""
    body = json.dumps({"a": value}).encode()
    answer = CallAnswer(status=200, headers=(), body=body, is_capped=False)
    if taken is None:
        with pytest.raises(ProbeError):
            CAPTURES[0].take(answer)
    else:
        assert CAPTURES[0].take(answer) == taken


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ([], "at least 1"),
        ([{}] * 21, "at most 20"),
        ([{"body": "x"}], "GET sends no body"),
        ([{"method": "HEAD", "body_contains": "x"}], "HEAD gets no body"),
        ([{"method": "HEAD", "capture": {"a": "$.a"}}], "HEAD gets no body"),
        ([{"path": "/{a}"}], "step 1 uses {a}, which no earlier step captures"),
        ([{"path": "/{a}", "capture": {"a": "$.a"}}], "step 1 uses {a}"),
        ([{"headers": {"X": "{a}"}}, {"capture": {"a": "$.a"}}], "step 1 uses {a}"),
        ([{"method": "POST", "body": "{a}"}, {"capture": {"a": "$.a"}}], "step 1 uses {a}"),
        ([{"capture": {"1a": "$.a"}}], "should match pattern"),
        ([{"capture": {"a": {"regex": "("}}}], "RE2"),
        ([{"capture": {"a": {"header": ""}}}], "at least 1 character"),
    ],
)
def test_bad_steps(steps: list[Any], problem: str) -> None:
    """What cannot work is refused before anything runs."""
    with pytest.raises(ValidationError) as caught:
        load(FlowProbeConfig, steps=steps)
    assert problem in str(caught.value)


def test_braces_of_a_body_are_its_own() -> None:
    """Only captured names are placeholders there: GraphQL and JSON have braces of their own."""
    body = 'query {me} {"a": {b}}'
    config = load(FlowProbeConfig, steps=[{"method": "POST", "body": body}])
    request = config.steps[0].compiled().request({}, None)
    assert request.body == body.encode()


def test_a_secret_body_is_sent_as_it_is() -> None:
    """It may come from the environment, and then has no placeholders."""
    config = load(FlowProbeConfig, steps=[{"method": "POST", "body": {"env": "{x}"}}])
    request = config.steps[0].compiled().request({"x": "y"}, None)
    assert request.body == b"env-{x}"
    assert "env-{x}" not in repr(config)


def test_the_example_loads() -> None:
    """The example of the documentation is one that a user may paste."""
    assert [step.path for step in load_example(FlowProbeConfig).steps] == ["/login", "/me"]
