"""Our own crashes at a Sentry on loopback: what it gets to see, and how often."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from monitor.cli.sentry import EVENTS_PER_MINUTE, SentryError, start_sentry
from monitor.fields import Secret

CRASH = """
import asyncio, logging, sys
import aiohttp, httpx2, sentry_sdk
from monitor.cli.sentry import flush_sentry, start_sentry
from monitor.fields import Secret

log = logging.getLogger("monitor.somewhere")


def crash(token):
    local = f"canary-local-{token}"
    raise ValueError("a crash of ours")


async def go_out(url):
    async with httpx2.AsyncClient(trust_env=False) as client:
        await client.get(url + "/httpx2")
    async with aiohttp.ClientSession() as session, session.get(url + "/aiohttp") as answer:
        await answer.read()


key, url, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
start_sentry(Secret(f"http://{key}@{url.removeprefix('http://')}/1", "env SENTRY_DSN"))
asyncio.run(go_out(url))
log.error("explained: the disk is full")
log.warning("only a warning")
for _ in range(times):
    try:
        crash("secret")
    except ValueError:
        log.exception("task failed", extra={"task": "pipeline", "dsn": Secret("canary-extra")})
sentry_sdk.flush(timeout=10)
flush_sentry()
"""


class Sink:
    """Takes everything and remembers it."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of all envelopes: header, item header, item, ..."""
        found = []
        for path, _, body in self.requests:
            if path.endswith("/envelope/"):
                lines = [json.loads(each) for each in body.splitlines()]
                found += [each for each in lines if "exception" in each or "logentry" in each]
        return found


@contextmanager
def sink() -> Iterator[Sink]:
    """Serve a sink on loopback."""
    kept = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            headers = {name.lower(): value for name, value in self.headers.items()}
            kept.requests.append((self.path, headers, body))
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_POST  # noqa: N815 - the same

        def log_message(self, *_words: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        kept.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield kept
        finally:
            server.shutdown()
            thread.join()


def crash(kept: Sink, times: int) -> None:
    """Crash so many times in a process of its own, whose Sentry is the sink."""
    subprocess.run(
        [sys.executable, "-W", "error", "-c", CRASH, "canarykey", kept.url, str(times)],
        check=True,
        timeout=60,
    )


def test_a_crash_is_reported_without_what_it_held() -> None:
    """One event: where and what, no local variables, no secrets, no machine's arguments."""
    with sink() as kept:
        crash(kept, 1)
    [event] = kept.events
    [raised] = event["exception"]["values"]
    assert (raised["type"], raised["value"]) == ("ValueError", "a crash of ours")
    assert [frame["function"] for frame in raised["stacktrace"]["frames"]] == ["<module>", "crash"]
    assert not any("vars" in frame for frame in raised["stacktrace"]["frames"])
    assert event["extra"]["task"] == "pipeline"
    said = b"".join(body for path, _, body in kept.requests if path.endswith("/envelope/"))
    for unsaid in (b"canary-local", b"canary-extra", b"explained", b"only a warning", b"argv"):
        assert unsaid not in said


def test_a_storm_of_crashes_is_cut() -> None:
    """So many a minute and no more; a minute may end while they come."""
    with sink() as kept:
        crash(kept, 5 * EVENTS_PER_MINUTE)
    assert EVENTS_PER_MINUTE <= len(kept.events) <= 2 * EVENTS_PER_MINUTE


def test_what_we_send_to_others_is_left_alone() -> None:
    """A probe or a page carries no trace headers of ours."""
    with sink() as kept:
        crash(kept, 0)
    others = {path: headers for path, headers, _ in kept.requests if "envelope" not in path}
    assert set(others) == {"/httpx2", "/aiohttp"}
    for headers in others.values():
        assert not {"sentry-trace", "baggage", "traceparent"} & headers.keys()


def test_an_address_that_is_none() -> None:
    """The error names the key and its source, never the value."""
    with pytest.raises(SentryError) as refused:
        start_sentry(Secret("canary-dsn", "env SENTRY_DSN"))
    assert "sentry.dsn (Secret(env SENTRY_DSN))" in str(refused.value)
    assert "canary-dsn" not in str(refused.value)
