"""The `resources` kind: what is there, what is missing, and what only looks as if it were there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.model import Outcome, Sample
from monitor.probes.resources import AT_ONCE, ResourcesProbeConfig
from tests.probes.kinds import Answer, build, load, load_example, site
from tests.probes.raw_server import AT, make_io, replies, reset, response, serve

Run = Callable[..., Any]
PATHS = ["/assets/index.js", "/assets/vendor-react.js", "/assets/vendor-tfjs.js", "/manifest.json"]
"""The plan's critical resources."""


def says(
    body: bytes = b"x", status: int = 200, kind: str = "text/javascript", delay_s: float = 0
) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(delay_s)
        return web.Response(status=status, body=body, headers={"Content-Type": kind})

    return answer


def plan_site(**changes: Answer) -> dict[str, Answer]:
    """Serve all four; `index`, `react`, `tfjs`, `manifest` replace one."""
    kinds = {"manifest": says(b"{}", kind="application/manifest+json; charset=utf-8")}
    names = ("index", "react", "tfjs", "manifest")
    answers = {name: says() for name in names} | kinds | changes
    return {f"GET {path}": answers[name] for path, name in zip(PATHS, names, strict=True)}


async def probe(routes: dict[str, Answer], deadline_s: float = 5.0, **fields: Any) -> Sample:
    async with site(routes) as url:
        return await build(ResourcesProbeConfig, url, **({"paths": PATHS} | fields))(AT, deadline_s)


def test_all_there(run: Run) -> None:
    """The plan's list is GOOD in one sample, whose latency and phases are the slowest one's."""
    sample = run(probe(plan_site(tfjs=says(delay_s=0.15))))
    assert (sample.outcome, sample.reason, sample.detail) == (Outcome.GOOD, "", "")
    assert (sample.status, sample.values) == (200, (("missing", 0.0),))
    assert sample.latency_s is not None
    assert 0.15 <= sample.latency_s < 1
    assert sample.latency_s == pytest.approx(sum(seconds for _, seconds in sample.phases))


@pytest.mark.parametrize(
    ("changes", "reason", "status", "detail"),
    [
        (
            {"react": says(status=404)},
            "status",
            404,
            "/assets/vendor-react.js: HTTP 404, expected 200",
        ),
        (
            {"index": says(status=302), "manifest": says(status=500)},
            "status",
            302,
            (
                "/assets/index.js: HTTP 302, expected 200 "
                "(2 of 4 are missing: /assets/index.js, /manifest.json)"
            ),
        ),
        (
            {"tfjs": says(b"<!doctype html>", kind="text/html; charset=utf-8")},
            "body",
            200,
            "/assets/vendor-tfjs.js: comes as an HTML page",
        ),
    ],
)
async def test_missing(changes: dict[str, Answer], reason: str, status: int, detail: str) -> None:
    """The detail names what is missing; a start page in place of a script is missing too."""
    sample = await probe(plan_site(**changes))
    assert (sample.outcome, sample.reason) == (Outcome.BAD, reason)
    assert (sample.status, sample.detail) == (status, detail)
    assert sample.values == (("missing", float(len(changes))),)
    assert sample.latency_s is not None


@pytest.mark.parametrize(
    ("item", "detail"),
    [
        ({"path": "/a.js", "content_type": "Text/JavaScript"}, ""),
        (
            {"path": "/a.js", "content_type": "application/json"},
            "/a.js: comes as text/javascript, expected application/json",
        ),
        ({"path": "/a.js", "min_size": "1000B"}, ""),
        ({"path": "/a.js", "min_size": "1001B"}, "/a.js: has 1000 bytes, expected at least 1001"),
        ({"path": "/big.bin", "min_size": "1MiB"}, ""),
        ({"path": "/", "min_size": "1B"}, ""),
        ({"path": "/page.html?x=a.js"}, ""),
        (
            {"path": "/bare", "content_type": "text/html"},
            "/bare: comes as no type, expected text/html",
        ),
        ({"path": "/page.css", "content_type": "text/html"}, ""),
    ],
)
async def test_more_than_a_status(item: dict[str, Any], detail: str) -> None:
    """Type and size are looked at when asked for; pages may be pages, and so may what says so."""
    routes = {
        "GET /a.js": says(b"x" * 1000, kind="text/javascript;charset=utf-8"),
        "GET /big.bin": says(bytes(2**21), kind="application/octet-stream"),
        "GET /": says(kind="text/html"),
        "GET /page.html": says(kind="text/html"),
        "GET /page.css": says(kind="text/html"),
    }
    if item["path"] == "/bare":
        async with serve(replies(response(b"x"))) as port:
            url = f"http://127.0.0.1:{port}"
            sample = await build(ResourcesProbeConfig, url, paths=[item])(AT, 5.0)
    else:
        sample = await probe(routes, paths=[item])
    assert sample.detail == detail
    assert sample.outcome is (Outcome.BAD if detail else Outcome.GOOD)


async def test_at_most_four_at_a_time() -> None:
    """Twelve resources are fetched four at a time, and never more."""
    now = most = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.03)
        now -= 1
        return web.Response()

    paths = [f"/{number}" for number in range(12)]
    sample = await probe({f"GET {path}": answer for path in paths}, paths=paths)
    assert sample.outcome is Outcome.GOOD
    assert most == AT_ONCE


def test_one_deadline_for_all(run: Run) -> None:
    """What hangs is named, what came before it is not blamed, and the rest was not begun."""
    paths = [f"/{number}" for number in range(6)]
    routes = {f"GET {path}": says(delay_s=5) for path in paths} | {"GET /0": says()}
    sample = run(probe(routes, 0.3, paths=paths))
    assert (sample.outcome, sample.reason) == (Outcome.BAD, "timeout_headers")
    assert sample.detail == (
        "/1: timed out after 0.3 s while waiting for the headers "
        "(5 of 6 are missing: /1, /2, /3, /4, /5)"
    )
    assert sample.censored
    assert sample.latency_s is not None
    assert 0.3 <= sample.latency_s < 1


def test_faults_of_the_network(run: Run) -> None:
    """Resets and refused connections have their own reasons and no latency."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reset(writer)

    async def story() -> list[Sample]:
        async with serve(hang_up) as port:
            url = f"http://127.0.0.1:{port}"
            first = await build(ResourcesProbeConfig, url, paths=PATHS)(AT, 5.0)
            denied = await build(ResourcesProbeConfig, url, make_io(allowed=()), paths=PATHS)(
                AT, 5.0
            )
        return [first, await build(ResourcesProbeConfig, url, paths=PATHS)(AT, 5.0), denied]

    samples = run(story())
    assert [sample.reason for sample in samples] == ["reset", "connect_refused", "address_denied"]
    assert all(sample.latency_s is None for sample in samples)
    assert all(len(sample.detail) <= 200 for sample in samples)


async def test_what_the_target_did_counts_before_what_we_could_not_do() -> None:
    """One resource that is missing makes the sample BAD even when another could not be tried."""
    calls = 0

    async def connect(factory: Any, host: str, port: int) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError(24, "Too many open files")
        return await asyncio.get_running_loop().create_connection(factory, host, port)

    async with site({"GET /b": says(status=404)}) as url:
        io = make_io(connect=connect)
        sample = await build(ResourcesProbeConfig, url, io, paths=["/a", "/b"])(AT, 5.0)
        calls = 0
        ours = await build(ResourcesProbeConfig, url, io, paths=["/a"])(AT, 5.0)
    assert (sample.outcome, sample.reason) == (Outcome.BAD, "status")
    assert sample.detail.startswith("/b: HTTP 404")
    assert (ours.outcome, ours.reason) == (Outcome.UNKNOWN, "local_resource")


@settings(max_examples=15)
@given(st.binary(max_size=120))
def test_no_answer_breaks_it(answer: bytes) -> None:
    """Whatever a server sends, the run ends with a verdict and a printable detail."""

    async def story() -> Sample:
        async with serve(replies(answer)) as port:
            url = f"http://127.0.0.1:{port}"
            return await build(ResourcesProbeConfig, url, paths=["/a.js"])(AT, 5.0)

    sample = asyncio.run(story())
    assert sample.outcome is Outcome.BAD
    assert sample.detail.isprintable()


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({}, "paths"),
        ({"paths": []}, "paths"),
        ({"paths": [f"/{number}" for number in range(65)]}, "paths"),
        ({"paths": ["/a", {"path": "/a"}]}, ""),
        ({"paths": ["/a"], "status": []}, "status"),
        ({"paths": [{"path": "/a", "min_size": "2MiB"}]}, "paths.0.Resource.min_size"),
    ],
)
def test_bad_fields_are_named(fields: dict[str, Any], where: str) -> None:
    """An error names its field."""
    with pytest.raises(ValidationError) as caught:
        load(ResourcesProbeConfig, **fields)
    assert where in {".".join(map(str, error["loc"])) for error in caught.value.errors()}


def test_the_example_loads() -> None:
    """The example of the documentation is one that a user may paste."""
    config = load_example(ResourcesProbeConfig)
    assert [each.path for each in config.resources] == [
        "/assets/index.js",
        "/assets/vendor-react.js",
        "/manifest.json",
    ]
