"""`monitor query`, `status` and `healthcheck` against the real daemon, and against nobody."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from monitor.scenario.provider import Reply, Request
from tests.cli.conftest import Run, aside
from tests.e2e.cast import cast
from tests.e2e.test_main_line import until
from tests.support.daemon import free_port
from tests.support.serve import serve

Url = tuple[str, ...]
ASKING = [
    ("status",),
    ("incidents",),
    ("incidents", "01INCIDENT"),
    ("silence", "list"),
    ("query", "error_rate_5m"),
    ("budget",),
    ("budget", "--gate"),
]


async def test_the_answers_follow_the_deployment(  # noqa: PLR0915 - one story
    run: Run, tmp_path: Path
) -> None:
    """Nothing known: 3. All well: 0. An open incident: 1. Alive through all of it."""
    async with cast(tmp_path) as story:
        del story.config["deployments"][0]["rollback"]
        # So seldom that nothing is measured for as long as this takes.
        story.config["defaults"] = {"interval": "7d", "timeout": "2s"}
        token = tmp_path / "token"
        token.write_text("t0ken-of-the-daemon")
        story.config["server"] = story.config.get("server", {}) | {"token": {"file": str(token)}}
        story.write()
        await story.daemon.start()
        url = ("--url", story.daemon.url)
        status = await aside(run, "status", *url)
        assert (status.code, status.err) == (3, "")
        assert "unknown" in status.out
        query = await aside(run, "query", "error_rate_5m", *url)
        assert (query.code, query.out, query.err) == (3, "no data\n", "")
        budget = await aside(run, "budget", *url)
        assert (budget.code, budget.err) == (3, "")
        assert "no data" in budget.out
        query = await aside(run, "query", "error_rate_5m", *url, "--output", "json")
        assert (query.code, query.document["value"]) == (3, None)

        story.config["defaults"] = {"interval": "2s", "timeout": "2s"}
        story.write()
        story.daemon.signal(signal.SIGHUP)
        await story.daemon.wait_for(
            "/metrics?query=samples_5m", lambda answer: (answer.json()["value"] or 0) >= 2
        )
        status = await aside(run, "status", *url)
        assert (status.code, status.err) == (0, ""), status.out
        assert "healthy" in status.out
        budget = await aside(run, "budget", *url)
        assert (budget.code, budget.err) == (0, "")
        assert "availability 99.9%" in budget.out
        gate = await aside(run, "budget", "--gate", *url)
        assert (gate.code, gate.out) == (0, "go    shop-production\n")
        query = await aside(run, "query", "error_rate_5m", *url, "--environment", "production")
        assert (query.code, query.out, query.err) == (0, "0.0\n", "")

        story.site.version = story.site.bad_version
        await until(lambda: story.everybody_knows("FIRING"), story)
        status = await aside(run, "status", *url)
        assert (status.code, status.err) == (1, "")
        assert "OPEN critical: high_error_rate" in status.out
        document = (await aside(run, "status", *url, "--output", "json")).document
        assert [each["rule"] for each in document["open_incidents"]] == ["high_error_rate"]
        gate = await aside(run, "budget", "--gate", "--deployment", "shop-production", *url)
        assert (gate.code, gate.err) == (1, "")
        assert gate.out.startswith("STOP  shop-production\n")
        assert "high_error_rate fires" in gate.out
        document = (await aside(run, "budget", *url, "--output", "json")).document
        assert document["slos"][0]["slos"][0]["budgets"][0]["bad"] > 0
        for more in ((), ("--gate",)):
            refused = await aside(run, "budget", *more, "--deployment", "shoop", *url)
            assert (refused.code, refused.out) == (2, "")
            assert "no such deployment" in refused.err or "shoop" in refused.err

        await whoever_is_called_can_answer(run, url, ("--token-file", str(token)))

        for wrong in (("eror_rate_5m",), ("error_rate_5m", "--deployment", "shoop")):
            refused = await aside(run, "query", *wrong, *url)
            assert (refused.code, refused.out) == (2, "")
            assert "there are: " in refused.err
        alive = await aside(run, "healthcheck", *url)
        assert (alive.code, alive.out, alive.err) == (0, "alive\n", "")
        alive = await aside(run, "healthcheck", *url, "--output", "json")
        assert alive.document["alive"] is True
        assert await story.daemon.stop() == 0


async def whoever_is_called_can_answer(run: Run, url: Url, token: Url) -> None:
    """It is found with its ledger, acknowledged, and silenced; without the token nothing is."""
    incidents = await aside(run, "incidents", *url, "--output", "json")
    assert incidents.code == 0
    [incident] = [each for each in incidents.document["incidents"] if not each["resolved_at"]]
    ledger = await aside(run, "incidents", incident["id"], *url)
    assert (ledger.code, ledger.err) == (0, "")
    assert "delivered" in ledger.out
    assert (await aside(run, "incidents", "nothing", *url)).code == 2
    refused = await aside(run, "ack", incident["id"], *url)
    assert (refused.code, refused.out) == (2, "")
    assert "MONITOR_TOKEN" in refused.err
    acked = await aside(run, "ack", incident["id"], "--by", "ana", *url, *token)
    assert (acked.code, acked.err) == (0, "")
    async with asyncio.timeout(10):
        while " ana" not in (await aside(run, "incidents", *url)).out:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
    assert (await aside(run, "ack", "nothing", *url, *token)).code == 2
    add = ("silence", "add", "rule=high_error_rate", "--for", "1h", "--reason", "known")
    assert (await aside(run, *add, *url, *token)).code == 0
    listed = await aside(run, "silence", "list", *url)
    assert "known" in listed.out
    wrong = await aside(run, "silence", "add", "x", "--for", "1h", "--reason", "y", *url, *token)
    assert wrong.code == 2
    assert "name=value" in wrong.err
    name = listed.out.splitlines()[1].split()[0]
    assert (await aside(run, "silence", "end", name, *url, *token)).code == 0


@pytest.mark.parametrize("command", ASKING, ids=" ".join)
def test_no_daemon(run: Run, command: tuple[str, ...]) -> None:
    """Exit 3, the address that was tried, and what to do."""
    url = f"http://127.0.0.1:{free_port()}"
    result = run(*command, "--url", url)
    assert (result.code, result.out) == (3, "")
    assert url in result.err
    assert "is `monitor run` up?" in result.err


def test_no_daemon_is_not_alive(run: Run) -> None:
    """A health check knows no third answer."""
    url = f"http://127.0.0.1:{free_port()}"
    result = run("healthcheck", "--url", url)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("not alive: ")
    document = run("healthcheck", "--url", url, "--output", "json").document
    assert document["alive"] is False


class Stranger:
    """Some other server, which answers everything in one way."""

    def __init__(self, status: int, body: bytes) -> None:
        self.reply = Reply(status=status, body=body)

    def handle(self, request: Request) -> Reply:
        return self.reply


@pytest.mark.parametrize("command", ASKING, ids=" ".join)
@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"up 1\n"), (200, b"[]"), (200, b"{}"), (404, b"<html>"), (503, b'{"error": "busy"}')],
)
async def test_somebody_else_at_the_address(
    run: Run, command: tuple[str, ...], status: int, body: bytes
) -> None:
    """Exit 3: neither a failure nor another program is an answer about the deployments."""
    async with serve(Stranger(status, body)) as url:
        result = await aside(run, *command, "--url", url)
    assert (result.code, result.out) == (3, "")
    assert url in result.err
