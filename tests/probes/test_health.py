"""The `health` kind: the plan's document, its dialects, its lies and its absence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.model import Outcome, Sample
from monitor.probes.base import ProbeIO
from monitor.probes.failure import ProbeError
from monitor.probes.health import HealthProbeConfig
from monitor.probes.health_document import MAX_CHECKS, read_health
from monitor.probes.reason import Reason
from tests.probes.kinds import build, load, load_example
from tests.probes.peers import server_context
from tests.probes.raw_server import (
    AT,
    Handler,
    make_io,
    replies,
    reset,
    response,
    serve,
)

Run = Callable[..., Any]
DEADLINE_S = 0.5
PLAN = {
    "status": "healthy",
    "timestamp": "2023-11-14T22:13:00.000Z",
    "version": "1.4.2",
    "checks": {
        "database": {"healthy": True, "latency": 3},
        "api": {"healthy": True},
        "models": {"healthy": True},
        "storage": {"healthy": True},
    },
}
"""What the plan's 7.1 answers, 20 s before AT."""


def said(document: object, status: str = "200 OK") -> Handler:
    return replies(response(json.dumps(document).encode(), status))


async def probe(handler: Handler, io: ProbeIO | None = None, **fields: Any) -> Sample:
    async with serve(handler) as port:
        return await build(HealthProbeConfig, f"http://127.0.0.1:{port}", io, **fields)(
            AT, DEADLINE_S
        )


def test_the_plans_document(run: Run) -> None:
    """Status, named checks and version come out of it, and the request asks for JSON."""
    seen: list[bytes] = []

    async def story() -> Sample:
        body = response(json.dumps(PLAN).encode())
        return await probe(replies(body, seen=seen), headers={"X-Key": {"env": "KEY"}})

    sample = run(story())
    assert (sample.outcome, sample.reason, sample.detail) == (Outcome.GOOD, "", "")
    assert (sample.health, sample.revision, sample.status) == ("healthy", "1.4.2", 200)
    assert sample.checks == tuple((name, True) for name in ("database", "api", "models", "storage"))
    assert sample.latency_s == pytest.approx(sum(seconds for _, seconds in sample.phases))
    assert seen[0].startswith(b"GET /api/health HTTP/1.1\r\n")
    assert b"Accept: application/json\r\n" in seen[0]
    assert b"X-Key: env-KEY\r\n" in seen[0]


@pytest.mark.parametrize(
    ("word", "health", "fields", "outcome"),
    [
        ("healthy", "healthy", {}, "good"),
        ("UP", "healthy", {}, "good"),
        ("pass", "healthy", {}, "good"),
        ("degraded", "degraded", {}, "good"),
        ("degraded", "degraded", {"degraded_is": "good"}, "good"),
        ("degraded", "degraded", {"degraded_is": "bad"}, "bad"),
        ("warn", "degraded", {"degraded_is": "bad"}, "bad"),
        ("unhealthy", "unhealthy", {}, "bad"),
        ("DOWN", "unhealthy", {}, "bad"),
        ("marvellous", "unhealthy", {}, "bad"),
        ("", "unhealthy", {}, "bad"),
    ],
)
@pytest.mark.parametrize("status", ["200 OK", "503 Service Unavailable"])
async def test_words(
    word: str, health: str, fields: dict[str, Any], outcome: str, status: str
) -> None:
    """The document decides, with 200 and with 503 alike; a word nobody knows is no good news."""
    sample = await probe(said({"status": word}, status), **fields)
    assert (sample.health, sample.outcome) == (health, outcome)
    assert sample.reason == ("unhealthy" if outcome == "bad" else "")
    assert bool(sample.detail) is (health != "healthy")
    assert sample.latency_s is not None
    assert sample.status == int(status[:3])


async def test_checks_in_every_form_and_the_unusable_ones() -> None:
    """Truth values, objects and words are read; bad names and empty talk are left out, and said."""
    checks = {
        "database": False,
        "api": "healthy",
        "models": {"status": "down"},
        "storage": {"healthy": True},
        "cache": "odd",
        "has space": True,
        "x" * 65: True,
        "queue": None,
        "disk": {"free": 3},
    }
    sample = await probe(said({"status": "degraded", "checks": checks}))
    assert dict(sample.checks) == {
        "database": False,
        "api": True,
        "models": False,
        "storage": True,
        "cache": False,
    }
    assert sample.detail == (
        "the target says 'degraded'; not healthy: database, models, cache; checks left out: 4"
    )


async def test_too_many_checks_are_cut() -> None:
    """Labels are bounded, whatever a target reports."""
    checks = {f"c{number}": True for number in range(MAX_CHECKS + 8)}
    sample = await probe(said({"status": "ok", "checks": checks}))
    assert len(sample.checks) == MAX_CHECKS
    assert "checks left out: 8" in sample.detail


@pytest.mark.parametrize(
    ("timestamp", "max_age", "reason"),
    [
        ("2023-11-14T22:13:00.000Z", "20s", ""),
        ("2023-11-14T22:13:00.000Z", "19s", "stale"),
        ("2023-11-14T23:13:00+01:00", "20s", ""),
        ("2023-11-14T22:13:00", "20s", ""),
        ("2023-11-14T23:00:00Z", "1s", ""),
        ("yesterday", "20s", "stale"),
        (1_700_000_000, "20s", "stale"),
        (None, "20s", "stale"),
        (None, None, ""),
    ],
)
async def test_age(timestamp: object, max_age: str | None, reason: str) -> None:
    """An old document says nothing of now: not health either; a clock ahead of ours is not old."""
    assert datetime.fromtimestamp(AT, UTC).isoformat() == "2023-11-14T22:13:20+00:00"
    fields = {} if max_age is None else {"max_age": max_age}
    sample = await probe(said(PLAN | {"timestamp": timestamp}), **fields)
    assert sample.reason == reason
    assert sample.health == (None if reason else "healthy")
    assert bool(sample.checks) is not bool(reason)
    assert sample.revision == "1.4.2"


@pytest.mark.parametrize("version", [None, 7, "", "x" * 129, "a\nb", ["1"]])
async def test_an_unusable_version_is_no_revision(version: object) -> None:
    """It becomes a label, so it is a short printable text or nothing, and no reason to page."""
    sample = await probe(said(PLAN | {"version": version}))
    assert (sample.outcome, sample.revision) == (Outcome.GOOD, None)


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n[")
    while True:
        writer.write(b"1," * 10_000)
        await writer.drain()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    reset(writer)


DEEP = b'{"status": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    ("handler", "reason", "status"),
    [
        pytest.param(replies(response(b"<html>fine</html>")), "json", 200, id="html"),
        pytest.param(said([1]), "json", 200, id="a-list"),
        pytest.param(said({"healthy": True}), "json", 200, id="no-status"),
        pytest.param(said({"status": 1}), "json", 200, id="status-is-a-number"),
        pytest.param(replies(response(b'{"status": NaN}')), "json", 200, id="nan"),
        pytest.param(replies(response(DEEP)), "json", 200, id="deep"),
        pytest.param(said(PLAN, "404 Not Found"), "status", 404, id="404-with-document"),
        pytest.param(said(PLAN, "500 Oops"), "status", 500, id="500-with-document"),
        pytest.param(said({}, "503 Busy"), "status", 503, id="503-without-document"),
        pytest.param(said(PLAN, "302 Found"), "status", 302, id="redirect"),
        pytest.param(hang, "timeout_headers", None, id="hang"),
        pytest.param(drip, "timeout_body", 200, id="drip"),
        pytest.param(flood, "json", 200, id="flood"),
        pytest.param(hang_up, "reset", None, id="reset"),
        pytest.param(replies(b"\x00\xff\x1b[31m\r\n\r\n"), "protocol", None, id="garbage"),
        pytest.param(replies(b"HTTP/1.1 200 OK\r\nX"), "truncated", None, id="short"),
    ],
)
def test_faults(run: Run, handler: Handler, reason: str, status: int | None) -> None:
    """Whatever comes instead of a document is BAD with its own reason, and nothing is believed."""
    sample = run(probe(handler))
    assert (sample.outcome, sample.reason, sample.status) == (Outcome.BAD, reason, status)
    assert (sample.health, sample.checks, sample.revision) == (None, (), None)
    assert sample.detail
    assert sample.detail.isprintable()
    assert sample.censored is reason.startswith("timeout")
    if sample.censored:
        assert sample.latency_s is not None
        assert sample.latency_s >= DEADLINE_S


def test_refused_and_denied_addresses(run: Run) -> None:
    """Nobody there is BAD without a latency; an address of ours is not even tried."""

    async def story() -> tuple[Sample, Sample]:
        async with serve(hang) as port:
            url = f"http://127.0.0.1:{port}"
            denied = await build(HealthProbeConfig, url, make_io(allowed=()))(AT, 1.0)
        return await build(HealthProbeConfig, url)(AT, 1.0), denied

    refused, denied = run(story())
    assert (refused.reason, refused.latency_s) == ("connect_refused", None)
    assert denied.reason == "address_denied"


def test_the_certificate_is_checked_and_its_expiry_reported(run: Run) -> None:
    """Over TLS the phases include it, and own authorities can be trusted."""
    authority = trustme.CA()
    not_after = datetime(2040, 1, 2, tzinfo=UTC)
    tls = server_context(authority, "127.0.0.1", not_after=not_after)

    async def story(**fields: Any) -> Sample:
        async with serve(said(PLAN), tls) as port:
            return await build(HealthProbeConfig, f"https://127.0.0.1:{port}", **fields)(AT, 5.0)

    with authority.cert_pem.tempfile() as path:
        sample = run(story(ca_file=path))
    assert sample.certificate_expires_at == not_after.timestamp()
    assert "tls" in dict(sample.phases)
    assert run(story()).reason == "tls_untrusted"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "status": JSON,
        "timestamp": JSON | st.datetimes().map(str),
        "version": JSON,
        "checks": st.dictionaries(st.text(max_size=70), JSON, max_size=40) | JSON,
    },
)


def refusal(body: bytes) -> Reason | None:
    try:
        read_health(body)
    except ProbeError as error:
        return error.reason
    return None


@given(st.binary(max_size=200) | JSON.map(lambda it: json.dumps(it).encode()))
def test_no_bytes_break_the_reader(body: bytes) -> None:
    """Arbitrary bytes and arbitrary JSON are read or refused, and never anything else."""
    assert refusal(body) in {None, Reason.JSON}


@given(DOCUMENTS)
def test_whatever_is_read_may_become_a_label(document: dict[str, Any]) -> None:
    """Health is one of three words; names and version are short and printable; nothing is lost."""
    body = json.dumps(document).encode()
    if refusal(body) is not None:
        assert not isinstance(document.get("status"), str) or b"NaN" in body or b"Infinity" in body
        return
    found = read_health(body)
    assert found.health in {"healthy", "degraded", "unhealthy"}
    assert len(found.checks) <= MAX_CHECKS
    assert all(
        len(name) <= 64 and name.isascii() and name.isprintable() for name, _ in found.checks
    )
    checks = document.get("checks")
    assert len(found.checks) + found.dropped == (len(checks) if isinstance(checks, dict) else 0)
    assert found.version is None or found.version.isprintable()


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"path": "health"}, "path"),
        ({"degraded_is": "so-so"}, "degraded_is"),
        ({"max_age": 5}, "max_age"),
        ({"headers": {"X": "a\r\nb"}}, "headers"),
    ],
)
def test_bad_fields_are_named(fields: dict[str, Any], where: str) -> None:
    """An error names its field."""
    with pytest.raises(ValidationError) as caught:
        load(HealthProbeConfig, **fields)
    assert where in {".".join(map(str, error["loc"])) for error in caught.value.errors()}


def test_the_example_loads() -> None:
    """The example of the documentation is one that a user may paste."""
    config = load_example(HealthProbeConfig)
    assert (config.path, config.degraded_is, config.max_age_s) == ("/api/health", "bad", 300)
