"""Formats, compression, and one rendering for all."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from monitor.web.exposition import Format, accepts_gzip, negotiate

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", Format.TEXT),
        ("text/plain;version=abc", Format.TEXT),
        ("text/plain;version=", Format.TEXT),
        ("application/openmetrics-text;version=abc", Format.OPENMETRICS),
        ("application/openmetrics-text", Format.OPENMETRICS),
        ("Application/OpenMetrics-Text; Q=0.5", Format.OPENMETRICS),
        ("application/openmetrics-text;q=0", Format.TEXT),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.9", Format.TEXT),
        ("application/openmetrics-text;q=nan", Format.TEXT),
        ("application/openmetrics-text;q=high", Format.TEXT),
        (PROMETHEUS, Format.OPENMETRICS),
        (";;;,,,", Format.TEXT),
    ],
)
def test_negotiation(accept: str, expected: Format) -> None:
    """OpenMetrics to those who prefer it, text to all others, whatever they send."""
    assert negotiate(accept) is expected


@given(st.text(max_size=80))
def test_no_header_upsets_the_negotiation(header: str) -> None:
    """Any text is an answerable Accept and Accept-Encoding."""
    assert negotiate(header) in Format
    assert accepts_gzip(header) in {True, False}


@pytest.mark.parametrize(
    ("header", "expected"),
    [("gzip", True), ("br, gzip;q=0.5", True), ("*", True), ("gzip;q=0, *", False), ("", False)],
)
def test_compression_is_for_those_who_take_it(header: str, expected: bool) -> None:  # noqa: FBT001 - a table's column
    """As Accept-Encoding says, with an explicit no winning over a general yes."""
    assert accepts_gzip(header) is expected


async def test_a_strange_accept_header_gets_plain_text(client: TestClient) -> None:
    """`text/plain;version=abc` made prometheus-client raise; it is 200 here."""
    answer = await client.get("/metrics", headers={"Accept": "text/plain;version=abc"})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == Format.TEXT.value
    assert list(parse_text(await answer.text()))


async def test_openmetrics_is_well_formed(client: TestClient) -> None:
    """The reference parser takes it."""
    answer = await client.get("/metrics", headers={"Accept": PROMETHEUS})
    assert answer.headers["Content-Type"] == Format.OPENMETRICS.value
    text = await answer.text()
    assert text.endswith("# EOF\n")
    families = {family.name: family for family in parse_openmetrics(text)}
    assert families["monitor_probe_samples"].type == "counter"


async def test_compressed_and_plain_bodies_are_the_same(client: TestClient) -> None:
    """Compression changes nothing but the size."""
    client.session._auto_decompress = False
    plain = await client.get("/metrics", headers={"Accept-Encoding": "identity"})
    packed = await client.get("/metrics", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert gzip.decompress(await packed.read()) == await plain.read()


class CountingExecutor(ThreadPoolExecutor):
    """Counts how often it was given work."""

    def __init__(self) -> None:
        super().__init__(1)
        self.jobs = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.jobs += 1
        return super().submit(fn, *args, **kwargs)


@pytest.fixture
def executor() -> CountingExecutor:
    return CountingExecutor()


async def test_simultaneous_scrapes_share_one_rendering(
    client: TestClient, executor: CountingExecutor
) -> None:
    """Twenty scrapers at once cost about as much as one."""
    answers = await asyncio.gather(*(client.get("/metrics") for _ in range(20)))
    bodies = {await answer.read() for answer in answers}
    assert len(bodies) <= executor.jobs <= 5
    executor.shutdown()
