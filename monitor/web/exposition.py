"""GET /metrics: which format, and one rendering for all who scrape at the same time.

Compression runs in a thread: megabytes of text would hold up probes otherwise.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from enum import Enum

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST

from monitor.web.collect import Family, collect
from monitor.web.respond import SingleFlight
from monitor.web.view import View

GZIP_LEVEL = 4
_GZIP = zlib.MAX_WBITS | 16
"""Window bits that ask zlib for gzip's header and trailer."""


class Format(Enum):
    """The two expositions; the value is the content type."""

    TEXT = CONTENT_TYPE_PLAIN_0_0_4
    OPENMETRICS = CONTENT_TYPE_LATEST


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


def render(families: Sequence[Family], form: Format, *, compress: bool) -> bytes:
    """Return the body; compressing is costly, so not for the event loop's thread."""
    if not compress:
        return b"".join(_parts(families, form))
    # In parts, each of which lets the other threads go on meanwhile.
    packer = zlib.compressobj(GZIP_LEVEL, wbits=_GZIP)
    return b"".join([*map(packer.compress, _parts(families, form)), packer.flush()])


def _parts(families: Sequence[Family], form: Format) -> Iterator[bytes]:
    for family in families:
        series = family.series
        # The formats differ in what a family of counters is called, and in how the text ends.
        name = series.name.removesuffix("_total") if form is Format.OPENMETRICS else series.name
        yield f"# HELP {name} {series.help}\n# TYPE {name} {series.kind}\n".encode()
        yield from family.parts()
    if form is Format.OPENMETRICS:
        yield b"# EOF\n"


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
