"""Debian's Alertmanager on loopback, and the receiver that it notifies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import yaml

from monitor.scenario.provider import Reply, Request
from tests.support.daemon import free_port

START_S = 20.0
LOOK_S = 0.05
NOTIFY_S = 15.0


class Hook:
    """Keeps what Alertmanager's own webhook says."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        """One document for each notification of a group, oldest first."""
        self._heard = asyncio.Event()

    def handle(self, request: Request) -> Reply:
        self.told.append(json.loads(request.body))
        self._heard.set()
        return Reply(status=200)

    def names(self, document: dict[str, Any]) -> list[str]:
        """Return the names of the alerts of one notification."""
        return [each["labels"]["alertname"] for each in document["alerts"]]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until `holds`, which is looked at after each notification."""
        async with asyncio.timeout(NOTIFY_S):
            while not holds():
                self._heard.clear()
                await self._heard.wait()


@asynccontextmanager
async def alertmanager(
    home: Path, *, notifies: str | None = None
) -> AsyncIterator[httpx2.AsyncClient]:
    """Run one that groups by service and notifies the address `notifies`; yield a client of it."""
    port = free_port()
    hooks = [] if notifies is None else [{"url": notifies, "send_resolved": True}]
    config = {
        "route": {
            "receiver": "hook",
            "group_by": ["service"],
            "group_wait": "500ms",
            "group_interval": "1s",
        },
        "receivers": [{"name": "hook", "webhook_configs": hooks}],
    }
    (home / "alertmanager.yml").write_text(yaml.safe_dump(config))
    with (home / "alertmanager.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "prometheus-alertmanager",
            f"--config.file={home / 'alertmanager.yml'}",
            f"--storage.path={home / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
            stdout=log,
            stderr=log,
        )
        try:
            base = f"http://127.0.0.1:{port}"
            async with httpx2.AsyncClient(base_url=base, trust_env=False) as client:
                await _ready(client, home)
                yield client
        finally:
            process.terminate()
            await process.wait()


async def _ready(client: httpx2.AsyncClient, home: Path) -> None:
    for _ in range(int(START_S / LOOK_S)):
        if await _answers(client):
            return
        await asyncio.sleep(LOOK_S)
    log = (home / "alertmanager.log").read_text()
    msg = f"Alertmanager did not become ready:\n{log[-2000:]}"
    raise AssertionError(msg)


async def _answers(client: httpx2.AsyncClient) -> bool:
    try:
        return (await client.get("/-/ready")).is_success
    except httpx2.TransportError:
        return False
