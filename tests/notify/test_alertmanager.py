"""The alertmanager channel, against Debian's Alertmanager."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from monitor.app.surroundings import real_notify_io
from monitor.fields import Secret
from monitor.model import DeliveryResult, IncidentAlert, Message, SendReason, Severity
from monitor.notify.alertmanager import AlertmanagerConfig, payload
from monitor.scenario.provider import Reply, Request
from tests.notify.samples import HOSTILE, incident
from tests.support.daemon import free_port
from tests.support.serve import serve

BINARY = shutil.which("prometheus-alertmanager")
LIMIT_S = 15.0


def message(reason: SendReason, *alerts: IncidentAlert, at: float | None = None) -> Message:
    over = all(not each.is_open for each in alerts)
    about = incident(alerts=alerts, resolved_at=alerts[0].resolved_at if over else None)
    return Message(reason=reason, incident=about, at=time.time() if at is None else at)


def alert(rule: str, *, over: bool = False, **changes: Any) -> IncidentAlert:
    now = time.time()
    fields: dict[str, Any] = {
        "rule": rule, "deployment": "api-production", "severity": Severity.CRITICAL,
        "channels": ("am",), "condition": "error_rate_5m > 5", "summary": "Users get errors",
        "started_at": now - 60, "opened_at": now - 30, "resolved_at": now if over else None,
        "values": {"error_rate_5m": 7.25}, "labels": {"team-name": "web"},
    }  # fmt: skip
    return IncidentAlert(**(fields | changes))


@dataclass
class Sink:
    """Takes what Alertmanager sends on."""

    ended: asyncio.Event
    """Set by the first notice that says "resolved"."""

    def handle(self, request: Request) -> Reply:
        if json.loads(request.body)["status"] == "resolved":
            self.ended.set()
        return Reply(status=200)


@asynccontextmanager
async def alertmanager(folder: Path, sink: str) -> AsyncIterator[str]:
    """Run one that tells `sink` at once; yield its address."""
    if BINARY is None:
        pytest.skip("prometheus-alertmanager is not installed")
    port = free_port()
    config = folder / "alertmanager.yml"
    config.write_text(
        "route: {receiver: sink, group_by: [deployment], group_wait: 0s, group_interval: 1s}\n"
        f"receivers: [{{name: sink, webhook_configs: [{{url: '{sink}'}}]}}]\n"
    )
    process = await asyncio.create_subprocess_exec(
        BINARY, f"--config.file={config}", f"--storage.path={folder / 'am'}",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        async with httpx2.AsyncClient(trust_env=False) as client, asyncio.timeout(LIMIT_S):
            while not await _is_ready(client, url):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        yield url
    finally:
        process.terminate()
        await process.wait()


async def _is_ready(client: httpx2.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/-/ready")).status_code == 200
    except httpx2.HTTPError:
        return False


async def test_debians_alertmanager_receives_groups_and_resolves(tmp_path: Path) -> None:
    """Two alerts arrive as one group with their labels; their ends go on to its receivers."""
    sink = Sink(asyncio.Event())
    with ThreadPoolExecutor(1) as pool:
        async with (
            serve(sink) as sink_url,
            alertmanager(tmp_path, sink_url) as url,
            real_notify_io(pool) as io,
            httpx2.AsyncClient(trust_env=False) as client,
        ):
            notifier = AlertmanagerConfig(kind="alertmanager", url=Secret(url, "inline")).build(
                "am", io
            )
            firing = message(SendReason.FIRST, alert("errors"), alert("down"))
            assert (await notifier.send(firing, 10, None)).result is DeliveryResult.DELIVERED
            groups = (await client.get(f"{url}/api/v2/alerts/groups")).json()
            [group] = groups
            assert {each["labels"]["alertname"] for each in group["alerts"]} == {"errors", "down"}
            [labels] = {json.dumps({**each["labels"], "alertname": ""}, sort_keys=True)
                        for each in group["alerts"]}  # fmt: skip
            assert json.loads(labels)["team_name"] == "web"
            over = message(
                SendReason.RESOLVED, alert("errors", over=True), alert("down", over=True)
            )
            assert (await notifier.send(over, 10, None)).result is DeliveryResult.DELIVERED
            async with asyncio.timeout(LIMIT_S):
                await sink.ended.wait()
            assert (await client.get(f"{url}/api/v2/alerts")).json() == []


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
async def test_debians_alertmanager_takes_hostile_words(words: str, tmp_path: Path) -> None:
    """Whatever a target or an author wrote, the alert goes out."""
    given = alert(words, labels={words[:2000]: words}, annotations={words[:2000]: words},
                  summary=words, condition=words)  # fmt: skip
    for each in payload(message(SendReason.FIRST, given)):
        assert each["labels"]["alertname"]
        assert all(name.replace("_", "a").isalnum() and name.isascii() for name in each["labels"])
        assert all("\x00" not in value and "\r" not in value for value in each["labels"].values())
        json.dumps(each).encode("utf-8")


def test_an_alert_that_is_not_sent_again_ends_by_itself() -> None:
    """A monitor that died must not leave alerts behind; what ended says when."""
    still, over = alert("errors"), alert("down", over=True)
    sent = payload(message(SendReason.REPEAT, still, over, at=2_000_000_000))
    assert sent[0]["endsAt"] == "2033-05-18T03:37:20Z"
    assert sent[1]["endsAt"] < sent[0]["endsAt"]
