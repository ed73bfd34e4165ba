"""Witnesses as the daemon builds them, against a real server on loopback."""

from __future__ import annotations

import asyncio
import io
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiosmtplib
import httpx2
import pytest
import yaml

from monitor.app.clock import SystemClock
from monitor.app.daemon import App
from monitor.app.surroundings import Surroundings
from monitor.config.load import load_plan
from monitor.metrics import Telemetry
from monitor.model import Outcome
from monitor.notify.base import NotifyIO
from monitor.probes.base import ProbeIO
from monitor.probes.resolver import Resolver
from monitor.rollback.base import HookIO
from monitor.slo.sight import proves_sight
from tests.probes.raw_server import replies, response, serve
from tests.support.memory import MemoryStore


async def said_by(home: Path, witness: str, allowed: list[str]) -> tuple[Outcome, bool]:
    """Ask a witness as the daemon would; return what it said, and whether that proves sight."""
    path = home / "monitor.yml"
    config = {
        "service": "shop",
        "environments": {"Production": {"url": "http://127.0.0.1:9"}},
        "witnesses": [witness],
        "allowed_networks": allowed,
    }
    path.write_text(yaml.safe_dump(config))
    plan = load_plan(path, {})
    resolver = Resolver()
    async with httpx2.AsyncClient(trust_env=False) as http:
        with ThreadPoolExecutor(1) as executor:
            notify = NotifyIO(
                http=http, sync_transport=None, executor=executor,
                smtp_send=aiosmtplib.send, console=io.StringIO(),
            )  # fmt: skip
            loop = asyncio.get_running_loop()
            around = Surroundings(
                clock=SystemClock(),
                rng=random.Random(1),  # noqa: S311 - a test
                store=MemoryStore(),
                probes=ProbeIO(connect=loop.create_connection, resolve=resolver),
                notify=notify,
                hooks=HookIO(http=http, spawn=asyncio.create_subprocess_exec),
                executor=executor,
                load_plan=lambda: plan,
            )
            [job] = App(plan, around, Telemetry())._witnesses
            sample = await job.probe(time.time(), job.target.timeout_s)
    resolver.close()
    return sample.outcome, proves_sight(sample)


@pytest.mark.parametrize(
    ("scheme", "status"), [("http", "200 OK"), ("http", "503 No"), ("tcp", "")]
)
async def test_whatever_a_witness_answers_proves_sight(
    tmp_path: Path, scheme: str, status: str
) -> None:
    """An error page is an answer, and so is an open port; loopback where it is allowed."""
    async with serve(replies(response(b"x", status or "200 OK"))) as port:
        _, proves = await said_by(tmp_path, f"{scheme}://127.0.0.1:{port}", ["127.0.0.0/8"])
    assert proves


async def test_a_witness_that_may_not_be_asked_proves_nothing(tmp_path: Path) -> None:
    """The policy of addresses holds for witnesses too."""
    assert await said_by(tmp_path, "tcp://127.0.0.1:9", []) == (Outcome.BAD, False)
