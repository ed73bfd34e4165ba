"""Witnesses as the daemon builds them, against a real server on loopback."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from monitor.app.daemon import App
from monitor.config.load import load_plan
from monitor.metrics import Telemetry
from monitor.model import Outcome
from monitor.slo.sight import proves_sight
from tests.probes.raw_server import replies, response, serve
from tests.support.surroundings import surroundings


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
    async with surroundings(lambda: plan) as around:
        [job] = App(plan, around, Telemetry())._witnesses
        sample = await job.probe(time.time(), job.target.timeout_s)
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
