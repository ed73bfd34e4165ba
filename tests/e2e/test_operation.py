"""The real process in an operator's hands: reload, stop, a lost disk, a wrong password."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import random
import resource
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiohttp import web

from tests.e2e.cast import CAUTION, Cast, cast
from tests.e2e.test_main_line import until
from tests.support.daemon import Daemon

TOKEN = "canary-reload-token"
DATABASE = Path("data", "slo-monitor.db")
OVERTIME_S = 2.0
EXTRA = {
    "name": "seen",
    "condition": "samples_1m > 0",
    "severity": "info",
    "channels": ["email"],
}


async def get(story: Cast, path: str) -> Any:
    answer = await story.daemon.wait_for(path, lambda answer: answer.status_code == 200)
    return answer.json()


async def seen(story: Cast, count: int = 2) -> None:
    """Wait until the daemon has measured so many samples."""
    await story.daemon.wait_for(
        "/metrics?query=samples_1m", lambda answer: (answer.json()["value"] or 0) >= count
    )


async def series(story: Cast, line: str) -> None:
    """Wait until the exposition has this line."""
    await story.daemon.wait_for("/metrics", lambda answer: f"\n{line}\n" in answer.text)


async def alerts(story: Cast) -> dict[tuple[str, str], Any]:
    found = (await get(story, "/api/v1/alerts"))["alerts"]
    return {(each["rule"], each["deployment"]): each for each in found}


async def broken(story: Cast) -> None:
    """Put a bad release out and wait until everybody knows."""
    story.site.version = story.site.bad_version
    await until(lambda: story.everybody_knows("FIRING"), story)


def without_rollback(story: Cast) -> None:
    del story.config["deployments"][0]["rollback"]
    story.write()


async def fails_to_start(daemon: Daemon) -> str:
    """Start it, expect exit 2 and no traceback; return what it said."""
    before = len(daemon.log()) if (daemon.home / "monitor.log").exists() else 0
    await daemon.spawn()
    said_by = await daemon.ended(), daemon.log()[before:]
    assert said_by[0] == 2, said_by
    assert "Traceback" not in said_by[1]
    return said_by[1]


async def post_reload(story: Cast, token: str) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=story.daemon.url, trust_env=False) as client:
        return await client.post("/-/reload", headers={"Authorization": f"Bearer {token}"})


async def test_sighup_applies_a_good_file_and_keeps_what_was_going_on(tmp_path: Path) -> None:
    """A new rule and a new deployment are there; the firing alert and the windows go on."""
    async with cast(tmp_path) as story:
        without_rollback(story)
        await story.daemon.start()
        await seen(story)
        await broken(story)
        where = ("high_error_rate", "shop-production")
        before = (await alerts(story))[where]
        samples = (await get(story, "/metrics?query=samples_1h"))["value"]
        staging = story.config["environments"]["Production"]
        story.config["environments"]["Staging"] = {"url": f"{staging['url']}/staging"}
        story.write(EXTRA)
        story.daemon.signal(signal.SIGHUP)
        await story.daemon.wait_for(
            "/api/v1/alerts", lambda answer: "shop-staging" in answer.text and "seen" in answer.text
        )
        after = await alerts(story)
        assert (after[where]["state"], after[where]["fired_at"]) == ("firing", before["fired_at"])
        path = "/metrics?query=samples_1h&deployment=shop-production"
        assert (await get(story, path))["value"] >= samples
        assert await story.daemon.stop() == 0
        firing = [text for text in story.slack_texts("FIRING") if "shop-production" in text]
        assert len(firing) == 1


async def test_a_bad_file_changes_nothing_and_says_what_is_wrong(tmp_path: Path) -> None:
    """By SIGHUP in the log and a metric, by POST in the answer; only the token's holder may ask."""
    async with cast(tmp_path) as story:
        without_rollback(story)
        story.config["server"] = {"token": {"env": "RELOAD_TOKEN"}}
        story.daemon.env["RELOAD_TOKEN"] = TOKEN
        story.write(EXTRA)
        await story.daemon.start()
        await series(story, "monitor_config_last_reload_successful 1.0")
        before = set(await alerts(story))
        story.write({**EXTRA, "condition": "eror_rate_5m > 5"}, {**EXTRA, "severity": "loud"})
        story.daemon.signal(signal.SIGHUP)
        await series(story, "monitor_config_last_reload_successful 0.0")
        assert "eror_rate_5m" in story.daemon.log()
        assert (await post_reload(story, "guessed")).status_code == 401
        refused = await post_reload(story, TOKEN)
        assert refused.status_code == 422
        words = refused.json()["error"]
        assert "eror_rate_5m" in words
        assert "loud" in words
        assert "alerts.yml:" in words
        assert set(await alerts(story)) == before
        story.write()
        assert (await post_reload(story, TOKEN)).status_code == 200
        await series(story, "monitor_config_last_reload_successful 1.0")
        await story.daemon.wait_for("/api/v1/alerts", lambda answer: "seen" not in answer.text)
        assert await story.daemon.stop() == 0
        assert TOKEN not in story.daemon.log()


async def test_a_second_process_leaves_the_owner_of_the_data_alone(tmp_path: Path) -> None:
    """It exits 2, naming the directory and the owner; the owner does not notice."""
    other = tmp_path / "other"
    other.mkdir()
    async with cast(tmp_path) as story:
        await story.daemon.start()
        await seen(story, 1)
        second = Daemon(other, story.daemon.env)
        data = str(tmp_path / "data")
        second.write(
            {**story.config, "rules": "../alerts.yml", "storage": {"path": data}},
        )
        said = await fails_to_start(second)
        assert data in said
        assert f"process {story.daemon.pid}" in said
        samples = (await get(story, "/metrics?query=samples_1m"))["value"]
        await seen(story, samples + 2)
        assert await story.daemon.stop() == 0


@dataclass(slots=True)
class SlowSite:
    """Takes a while to say that it is broken; counts what it began and what it could finish."""

    url: str = ""
    started: int = 0
    finished: int = 0

    @classmethod
    @asynccontextmanager
    async def serve(cls) -> AsyncIterator[SlowSite]:
        site = cls()

        async def answer(_request: web.BaseRequest) -> web.Response:
            site.started += 1
            await asyncio.sleep(0.6)
            site.finished += 1
            return web.Response(status=503)

        runner = web.ServerRunner(web.Server(answer, handler_cancellation=True))
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            site.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield site
        finally:
            await runner.cleanup()


async def test_sigterm_lets_a_send_and_a_probe_finish(tmp_path: Path) -> None:
    """Slack answers a second later, a probe is under way: both count, and nothing is repeated."""
    async with cast(tmp_path) as story, SlowSite.serve() as site:
        story.config["environments"]["Production"]["url"] = site.url
        without_rollback(story)
        story.slack.hang_s = 1.0
        await story.daemon.start()
        await until(lambda: story.slack.requests == 1 and site.started > site.finished, story)
        assert await story.daemon.stop() == 0
        assert site.started == site.finished
        await story.daemon.start()
        ledger = await get(story, "/api/v1/deliveries")
        slack = [each["result"] for each in ledger["deliveries"] if each["channel"] == "slack"]
        assert slack == ["delivered"]
        await until(lambda: story.everybody_knows("FIRING"), story)
        assert await story.daemon.stop() == 0
        assert len(story.slack_texts("FIRING")) == story.slack.requests == 1


async def test_a_channel_that_never_answers_does_not_hold_the_exit(tmp_path: Path) -> None:
    """The process ends within its grace; the next one says it again, as a possible repetition."""
    async with cast(tmp_path) as story:
        without_rollback(story)
        story.config["shutdown_grace"] = "1s"
        story.write()
        story.slack.hang_s = 3600.0
        await story.daemon.start()
        await seen(story)
        story.site.version = story.site.bad_version
        await until(lambda: story.slack.requests == 1, story)
        started = time.monotonic()
        assert await story.daemon.stop() == 0
        assert time.monotonic() - started < 1.0 + OVERTIME_S
        story.slack.hang_s = 0.0
        await story.daemon.start()
        await until(lambda: len(story.slack_texts("FIRING")) == 2, story)
        assert CAUTION in story.slack_texts("FIRING")[1]
        assert await story.daemon.stop() == 0


@contextmanager
def full_pipe() -> Iterator[int]:
    """Yield the writing end of a pipe that takes nothing more and that nobody reads."""
    reader, writer = os.pipe()
    try:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(writer, False)
        try:
            while True:
                os.write(writer, b"x" * 512)
        except BlockingIOError:
            os.set_blocking(writer, True)
        yield writer
    finally:
        os.close(writer)
        os.close(reader)


async def test_output_that_nobody_reads_holds_up_nothing(tmp_path: Path) -> None:
    """With stdout and stderr stuck it probes, answers, tells the other channels, and ends."""
    async with cast(tmp_path) as story:
        without_rollback(story)
        story.config["shutdown_grace"] = "1s"
        story.config["channels"]["inbox"] = {"kind": "console", "timeout": "200ms"}
        story.write({**EXTRA, "channels": ["inbox"]})
        with full_pipe() as writer:
            await story.daemon.start(output=writer)
            await seen(story)
            await broken(story)
            stuck = 'monitor_notifications_total{channel="inbox",result="uncertain"}'
            await story.daemon.wait_for(
                "/metrics",
                lambda answer: stuck in answer.text and f"{stuck} 0.0" not in answer.text,
            )
            await series(
                story, 'monitor_notifications_total{channel="inbox",result="delivered"} 0.0'
            )
            samples = (await get(story, "/metrics?query=samples_1m"))["value"]
            await seen(story, samples + 2)
            started = time.monotonic()
            assert await story.daemon.stop() == 0
            assert time.monotonic() - started < 1.0 + OVERTIME_S
        await story.daemon.start()
        await until(lambda: "--- inbox ---" in story.daemon.log(), story)
        assert await story.daemon.stop() == 0


async def test_a_damaged_database_is_kept_and_nothing_is_rolled_back(tmp_path: Path) -> None:
    """It starts empty, says where the old file is, pages as ever, and pulls no lever."""
    async with cast(tmp_path) as story:
        await story.daemon.start()
        await seen(story)
        assert await story.daemon.stop() == 0
        database = tmp_path / DATABASE
        damaged = random.Random(1).randbytes(database.stat().st_size)  # noqa: S311 - any will do
        database.write_bytes(damaged)
        await story.daemon.start()
        await series(story, "monitor_state_lost 1.0")
        [aside] = database.parent.glob("*.corrupt-*")
        assert aside.read_bytes() == damaged
        assert str(aside) in story.daemon.log()
        await seen(story)
        await broken(story)
        await story.daemon.wait_for(
            "/api/v1/incidents", lambda answer: "earlier state was lost" in answer.text
        )
        assert await story.daemon.stop() == 0
        assert story.github.requests == 0


async def test_a_database_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    """Exit 2, a clear message, and the file as it was, byte for byte."""
    async with cast(tmp_path) as story:
        await story.daemon.start()
        assert await story.daemon.stop() == 0
        database = tmp_path / DATABASE
        with sqlite3.connect(database) as connection:
            connection.execute("PRAGMA user_version = 999")
        connection.close()
        before = database.read_bytes()
        said = await fails_to_start(story.daemon)
        assert "newer" in said
        assert str(database) in said
        assert database.read_bytes() == before


@pytest.mark.parametrize(
    ("path", "words"),
    [("in-the-way", "Not a directory"), ("/proc/no-such-place", "No such file")],
)
async def test_a_data_path_that_cannot_be_used_is_named(
    tmp_path: Path, path: str, words: str
) -> None:
    """Exit 2 with the path, the system's reason and the key to change."""
    (tmp_path / "in-the-way").write_text("a file")
    async with cast(tmp_path) as story:
        story.config["storage"] = {"path": f"{path}/data"}
        story.write()
        said = await fails_to_start(story.daemon)
        assert path in said
        assert words in said
        assert "storage.path" in said


async def test_a_full_disk_pages_and_does_not_roll_back(tmp_path: Path) -> None:
    """Fail open for pages, fail closed for rollbacks; with room again all of it is saved."""
    async with cast(tmp_path) as story:
        # A busy machine must not look like an outage before the disk is full.
        story.config["defaults"] = {"interval": "2s", "timeout": "2s"}
        story.write()
        await story.daemon.start()
        await seen(story, 1)
        # The release is out and known before it turns out to be bad.
        story.site.version, story.site.bad_version = story.site.bad_version, ""
        await story.daemon.wait_for("/api/v1/releases", lambda answer: "1.5.0" in answer.text)
        _, most = resource.prlimit(story.daemon.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(story.daemon.pid, resource.RLIMIT_FSIZE, (4096, most))
        await series(story, "monitor_store_durable 0.0")
        story.site.bad_version = "1.5.0"
        await broken(story)
        await story.daemon.wait_for(
            "/api/v1/incidents", lambda answer: "the store does not work" in answer.text
        )
        assert story.github.requests == 0
        resource.prlimit(story.daemon.pid, resource.RLIMIT_FSIZE, (most, most))
        await series(story, "monitor_store_durable 1.0")
        await until(lambda: story.everybody_knows("RESOLVED"), story)
        assert len(story.github.runs) == 1
        assert await story.daemon.stop() == 0
        await story.daemon.start()
        [incident] = (await get(story, "/api/v1/incidents"))["incidents"]
        ledger = (await get(story, "/api/v1/deliveries"))["deliveries"]
        told = {(each["channel"], each["reason"]) for each in ledger}
        channels = {"slack", "pagerduty", "email"}
        assert told == {(name, why) for name in channels for why in ("first", "resolved")}
        assert incident["resolved_at"] is not None
        assert await story.daemon.stop() == 0


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """Exit 2 with the address, before anything is probed or anybody told."""
    async with cast(tmp_path) as story:
        taken = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1")
        story.daemon.port = taken.sockets[0].getsockname()[1]
        story.write()
        said = await fails_to_start(story.daemon)
        assert f"cannot listen on 127.0.0.1:{story.daemon.port}" in said
        assert story.site.requests == 0
        taken.close()
        await taken.wait_closed()


async def test_every_mistake_is_named_in_one_run(tmp_path: Path) -> None:
    """Exit 2 with file, line and column of each, whichever file it is in."""
    async with cast(tmp_path) as story:
        story.config["evaluation_interval"] = "often"
        story.config["channels"]["slack"]["webhook"] = "x"
        story.write({**EXTRA, "channels": ["nobody"]})
        said = await fails_to_start(story.daemon)
        lines = said.splitlines()
        assert len(lines) >= 3
        for word in ("often", "webhook", "nobody"):
            assert any(word in line for line in lines), said
        assert all(line.startswith(str(tmp_path)) for line in lines)


async def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    """Exit 2 with the path that was looked for."""
    said = await fails_to_start(Daemon(tmp_path, {}))
    assert str(tmp_path / "monitor.yml") in said
    assert "No such file" in said


async def test_wrong_credentials_are_explained_and_the_fallback_hears(tmp_path: Path) -> None:
    """Each refusal is in the ledger in the provider's words, and one page reaches the inbox."""
    async with cast(tmp_path) as story:
        without_rollback(story)
        inbox = tmp_path / "inbox.jsonl"
        story.config["channels"]["inbox"] = {"kind": "console", "path": str(inbox)}
        story.config["fallback"] = "inbox"
        story.write()
        story.daemon.env |= {
            "SMTP_PASSWORD": "canary-wrong-password",
            "PAGERDUTY_ROUTING_KEY": "f" * 32,
        }
        story.slack.fail_next(403, 100, body=b"invalid_token")
        await story.daemon.start()
        await seen(story)
        story.site.version = story.site.bad_version
        answer = await story.daemon.wait_for(
            "/api/v1/deliveries",
            lambda answer: (
                {"slack", "pagerduty", "email", "inbox"}
                <= {each["channel"] for each in answer.json()["deliveries"]}
            ),
        )
        ledger = {each["channel"]: each for each in answer.json()["deliveries"]}
        assert {name: each["result"] for name, each in ledger.items()} == {
            "slack": "permanent",
            "pagerduty": "permanent",
            "email": "permanent",
            "inbox": "delivered",
        }
        assert "invalid_token" in ledger["slack"]["detail"]
        assert "Invalid routing key" in ledger["pagerduty"]["detail"]
        assert "535" in ledger["email"]["detail"]
        assert await story.daemon.stop() == 0
        told = [json.loads(line)["data"]["rule"] for line in inbox.read_text().splitlines()]
        # Besides, that three channels cannot be used.
        assert [name for name in told if name != "channel_broken"] == ["high_error_rate"]
        said = story.daemon.log() + answer.text
        for secret in ("canary-wrong-password", "f" * 32, "canarySlackToken"):
            assert secret not in said


async def test_a_sentry_address_that_is_none_is_refused_without_showing_it(
    tmp_path: Path,
) -> None:
    """Exit 2, the key and where the value came from; the value is a secret."""
    async with cast(tmp_path) as story:
        story.config["sentry"] = {"dsn": {"env": "SENTRY_DSN"}}
        story.daemon.env["SENTRY_DSN"] = "canary-dsn"
        story.write()
        said = await fails_to_start(story.daemon)
        assert "sentry.dsn" in said
        assert "SENTRY_DSN" in said
        assert "canary-dsn" not in said


async def test_a_drain_that_hangs_ends_all_the_same(tmp_path: Path) -> None:
    """Somebody holds the database for longer than the grace: exit 1 in time, not at leisure."""
    async with cast(tmp_path) as story:
        without_rollback(story)
        story.config["shutdown_grace"] = "500ms"
        story.write()
        await story.daemon.start()
        with sqlite3.connect(tmp_path / DATABASE, isolation_level=None) as holder:
            holder.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            assert await story.daemon.stop() == 1
            assert time.monotonic() - started < 0.5 + OVERTIME_S + 1.0
            holder.execute("ROLLBACK")
        holder.close()


async def test_a_kill_while_idle_loses_at_most_a_flush_interval(tmp_path: Path) -> None:
    """The errors that were counted and the budget that was spent are the same afterwards."""
    async with cast(tmp_path) as story:
        without_rollback(story)
        await story.daemon.start()
        await seen(story)
        await broken(story)
        story.site.version = "1.4.2"
        samples = await figure(story, "samples_1h")
        await seen(story, int(samples) + 6)
        bad, valid = await counted(story)
        spent = await down_s(story)
        story.daemon.kill()
        await story.daemon.ended()
        await story.daemon.start()
        bad_after, valid_after = await counted(story)
        assert bad_after == bad >= 1
        assert valid_after >= valid - 4
        assert await down_s(story) == pytest.approx(spent, abs=0.01)
        assert await story.daemon.stop() == 0


async def figure(story: Cast, name: str) -> float:
    return float((await get(story, f"/metrics?query={name}"))["value"])


async def counted(story: Cast) -> tuple[int, int]:
    """Return (bad, valid) samples, read while no sample came in between."""
    while True:
        valid = await figure(story, "samples_1h")
        share = await figure(story, "error_rate_1h")
        if await figure(story, "samples_1h") == valid:
            return round(share / 100 * valid), round(valid)


async def down_s(story: Cast) -> float:
    [slo] = (await get(story, "/api/v1/slos"))["slos"]
    return float(slo["budget"]["down_s"])
