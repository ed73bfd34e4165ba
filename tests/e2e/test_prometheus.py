"""A real Debian Prometheus beside the real daemon: what it scrapes and the dashboard shows."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import yaml

from grafana.generate import panel_queries
from tests.e2e.cast import cast
from tests.e2e.test_main_line import until
from tests.support.daemon import free_port

DASHBOARD = json.loads(Path("grafana/dashboards/slo-overview.json").read_text())
SNIPPET = """
ERROR_RATE=$(curl -s "{url}/metrics?query=error_rate_5m" | jq -r '.value')
if (( $(echo "$ERROR_RATE > 5.0" | bc -l) )); then
  echo "error rate too high: $ERROR_RATE%"; exit 1
fi
P95_LATENCY=$(curl -s "{url}/metrics?query=p95_latency" | jq -r '.value')
if (( $(echo "$P95_LATENCY > 3000" | bc -l) )); then
  echo "latency too high: $P95_LATENCY"; exit 1
fi
"""


@asynccontextmanager
async def prometheus(home: Path, target: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Run a Prometheus that scrapes `target` (host:port) every second; yield a client of it."""
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "monitor", "static_configs": [{"targets": [target]}]}],
    }
    (home / "prometheus.yml").write_text(yaml.safe_dump(config))
    with (home / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={home / 'prometheus.yml'}",
            f"--storage.tsdb.path={home / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=log,
            stderr=log,
        )
        try:
            base = f"http://127.0.0.1:{port}"
            async with httpx2.AsyncClient(base_url=base, trust_env=False) as client:
                yield client
        finally:
            process.terminate()
            await process.wait()


async def query(client: httpx2.AsyncClient, expression: str) -> list[Any]:
    """Return the result of an instant query; nothing while Prometheus is not up yet."""
    try:
        answer = await client.get("/api/v1/query", params={"query": expression})
    except httpx2.TransportError:
        return []
    document = answer.json()
    assert document["status"] == "success", (expression, document)
    return list(document["data"]["result"])


async def test_every_panel_of_the_dashboard_has_data_on_a_real_prometheus(tmp_path: Path) -> None:
    """After an incident with a rollback, no panel of the dashboard is empty."""
    queries = panel_queries(DASHBOARD)
    assert len(queries) > 10
    async with cast(tmp_path) as story:
        target = story.daemon.url.removeprefix("http://")
        story.config["deployments"][0]["probes"] = [
            {"kind": "http", "name": "home"},
            {"kind": "health", "path": "/api/health"},
            {"kind": "flow", "steps": [{"path": "/"}]},
        ]
        story.write()
        await story.daemon.start()
        async with prometheus(tmp_path, target) as client:
            await story.daemon.wait_for(
                "/metrics?query=samples_1m", lambda answer: (answer.json()["value"] or 0) >= 2
            )
            # Without a release of before there is nothing to roll back to.
            await story.daemon.wait_for(
                "/metrics?query=revision", lambda answer: answer.json()["value"] is not None
            )
            story.site.version = story.site.bad_version
            await until(lambda: story.everybody_knows("RESOLVED"), story)
            empty = dict.fromkeys(queries)
            for _ in range(30):
                for panel in list(empty):
                    if await query(client, panel[1]):
                        del empty[panel]
                if not empty:
                    break
                await asyncio.sleep(1)
            assert list(empty) == []
            assert await query(client, "up == 1")
        await story.daemon.stop()


async def test_promtool_has_nothing_to_say_about_our_metrics(tmp_path: Path) -> None:
    """`promtool check metrics` is silent on what the real daemon exposes after an incident."""
    async with cast(tmp_path) as story:
        await story.daemon.start()
        story.site.version = story.site.bad_version
        await until(lambda: story.everybody_knows("FIRING"), story)
        answer = await story.daemon.wait_for("/metrics", lambda answer: answer.status_code == 200)
        checked = await asyncio.to_thread(
            subprocess.run, ["promtool", "check", "metrics"], input=answer.content,
            capture_output=True, check=False,
        )  # fmt: skip
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
        await story.daemon.stop()


async def test_the_plans_auto_rollback_snippet_gives_the_right_verdict(tmp_path: Path) -> None:
    """curl, jq and bc as the plan wrote them: 0 on a healthy deployment, 1 on a broken one."""
    async with cast(tmp_path) as story:
        await story.daemon.start()
        await story.daemon.wait_for(
            "/metrics?query=samples_5m", lambda answer: (answer.json()["value"] or 0) >= 2
        )
        script = SNIPPET.replace("{url}", story.daemon.url)
        healthy = await asyncio.to_thread(
            subprocess.run, ["bash", "-c", script], capture_output=True, check=False
        )
        assert (healthy.returncode, healthy.stdout, healthy.stderr) == (0, b"", b"")
        story.github.fail_next(422, 1000)
        story.site.version = story.site.bad_version
        await until(lambda: story.everybody_knows("FIRING"), story)
        broken = await asyncio.to_thread(
            subprocess.run, ["bash", "-c", script], capture_output=True, check=False
        )
        assert broken.returncode == 1
        assert b"error rate too high" in broken.stdout
        await story.daemon.stop()
