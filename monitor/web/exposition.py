"""GET /metrics: which format, and one rendering for all who scrape at the same time.

Rendering runs in a thread: the text of thousands of series would hold up probes otherwise.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import Enum

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from monitor.web.collect import collect
from monitor.web.respond import SingleFlight
from monitor.web.view import View

GZIP_LEVEL = 4


class Format(Enum):
    """The two expositions; the value is the content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def negotiate(accept: str) -> Format:
    """Return OpenMetrics when it is asked for and not less than text; text for anything odd."""
    ranges = _qualities(accept)
    openmetrics = ranges.get("application/openmetrics-text", 0.0)
    return Format.OPENMETRICS if openmetrics > 0 and openmetrics >= _text(ranges) else Format.TEXT


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether the body may be compressed."""
    codings = _qualities(accept_encoding)
    return codings.get("gzip", codings.get("*", 0.0)) > 0


def _text(ranges: dict[str, float]) -> float:
    return ranges.get("text/plain", 0.0)


def _qualities(header: str) -> dict[str, float]:
    """Read `a;x=y;q=0.5, b` as {a: 0.5, b: 1.0}; parameters other than q do not matter here."""
    found: dict[str, float] = {}
    for item in header.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        found[name] = max(quality, found.get(name, 0.0))
    return found


@dataclass(frozen=True, slots=True)
class _Collected(Collector):
    """Families that were collected before, in the shape that the renderers ask for."""

    families: Sequence[Metric]

    def collect(self) -> Sequence[Metric]:
        return self.families


def render(families: Sequence[Metric], form: Format, *, compress: bool) -> bytes:
    """Return the body; blocking and costly, so not for the event loop's thread."""
    collected = _Collected(families)
    if form is Format.OPENMETRICS:
        body: bytes = generate_openmetrics(collected)  # type: ignore[no-untyped-call] # theirs
    else:
        body = generate_latest(collected)
    return gzip.compress(body, GZIP_LEVEL, mtime=0) if compress else body


class Exposition:
    """Serves scrapes."""

    def __init__(self, view: View, executor: Executor) -> None:
        """Render in `executor`; one thread is enough."""
        self._view = view
        self._executor = executor
        self._flights: SingleFlight[bytes] = SingleFlight()

    async def respond(self, request: web.Request) -> web.Response:
        """Return all series in the format that the scraper prefers."""
        form = negotiate(request.headers.get("Accept", ""))
        compress = accepts_gzip(request.headers.get("Accept-Encoding", ""))
        body = await self._flights.get((form, compress), lambda: self._make(form, compress))
        headers = {"Content-Type": form.value, "Vary": "Accept, Accept-Encoding"}
        if compress:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, headers=headers)

    async def close(self) -> None:
        """Cut off renderings under way."""
        await self._flights.close()

    async def _make(self, form: Format, compress: bool) -> bytes:  # noqa: FBT001 - a key's part
        view, loop = self._view, asyncio.get_running_loop()
        families = await collect(
            view.engine,
            view.telemetry,
            channels=view.channels,
            backlog=view.backlog(),
            now=view.now(),
            monotonic=loop.time,
        )
        return await loop.run_in_executor(
            self._executor, lambda: render(families, form, compress=compress)
        )
