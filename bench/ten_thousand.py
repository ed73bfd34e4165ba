"""10,000 targets every 10 s on one core, while somebody scrapes.

    make bench BENCH=ten_thousand

The real `monitor run`, on the first core alone: 500 deployments with an SLO, an SLA and five rules,
each probed by four probes in five regions. nginx and all that measures run on the other cores.
`/metrics` is scraped every 5 s. Lateness is the daemon's own histogram; how long its event loop
stands still is what `/livez` makes somebody wait who asks every 10 ms, and what its own watch says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from prometheus_client.parser import text_string_to_metric_families

from bench.support.figures import Figure, conclude
from bench.support.fleet import CONDITIONS
from bench.support.processes import Child, free_port, read, running
from bench.support.webserver import WebServer, webserver
from monitor.metrics import LOOP_LAG, SCHEDULE_LATENESS

DEPLOYMENTS, PROBES, REGIONS = 500, 4, 5
INTERVAL_S = 10
START_S = 60.0
WARM_UP_S = 25.0
LASTS_S = 60.0
SCRAPE_EVERY_S = 5.0
LATE_BAR_MS, STALL_BAR_MS, MEMORY_BAR_MIB = 20.0, 50.0, 600.0
KEPT = 0.99


def configure(home: Path, server: WebServer, port: int, deployments: int) -> Path:
    """Write the configuration; return its path."""
    names = [f"e{number:04}" for number in range(deployments)]
    rules = [
        {"name": name, "condition": condition, "severity": "critical", "channels": ["nobody"]}
        for name, condition in CONDITIONS.items()
    ]
    probes = [
        {"kind": "http", "name": f"p{number}", "path": f"/{number}"} for number in range(PROBES)
    ]
    config = {
        "service": "shop",
        "environments": {
            name: {"url": f"{server.url}/{name}", "sla": "99.9% uptime"} for name in names
        },
        "deployments": [
            {
                "environment": name,
                "regions": {f"r{n}": f"{server.url}/{name}/{n}" for n in range(REGIONS)},
                "probes": probes,
            }
            for name in names
        ],
        "sla": {"uptime": "99.9%", "response_time": {"p95": "< 2500ms"}, "error_rate": "< 0.1%"},
        "rules": "alerts.yml",
        "defaults": {"interval": f"{INTERVAL_S}s", "timeout": "5s"},
        "channels": {"nobody": {"kind": "console"}},
        "server": {"listen": f"127.0.0.1:{port}"},
        "storage": {"path": "data"},
        "allowed_networks": ["127.0.0.0/8"],
    }
    path = home / "monitor.yml"
    path.write_text(yaml.safe_dump(config))
    (home / "alerts.yml").write_text(yaml.safe_dump({"alerts": rules}))
    return path


def counters(base: str) -> Counter[tuple[str, str]]:
    """Return (series, bound) -> count for the histograms of our own time, and all good samples."""
    found: Counter[tuple[str, str]] = Counter()
    for family in text_string_to_metric_families(read(f"{base}/metrics")):
        for sample in family.samples:
            if family.name in {SCHEDULE_LATENESS.name, LOOP_LAG.name} and "le" in sample.labels:
                found[family.name, sample.labels["le"]] += int(sample.value)
            elif sample.name == "monitor_probe_samples_total":
                found["samples", sample.labels["outcome"]] += int(sample.value)
    return found


def bound_ms(found: Counter[tuple[str, str]], series: str, share: float) -> float:
    """Return the bound in ms below which a share of what the histogram counted lies."""
    total = found[series, "+Inf"]
    bounds = sorted((float(le), count) for (name, le), count in found.items() if name == series)
    return 1000 * next(bound for bound, count in bounds if count >= share * total)


def observe(
    base: str, daemon: Child
) -> tuple[list[float], list[float], Counter[tuple[str, str]], float]:
    """Return waits and scrapes (s), the counters and the processor time of one spell."""
    before, worked = counters(base), daemon.cpu_s()
    address = base.removeprefix("http://")
    scraping, polling = (
        subprocess.Popen(  # noqa: S603 - ours
            [sys.executable, "-m", f"bench.support.{name}", *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, arguments in (
            ("scraper", (f"{base}/metrics", str(LASTS_S), str(SCRAPE_EVERY_S))),
            ("poller", (address, "/livez", str(LASTS_S))),
        )
    )
    try:
        waits = json.loads(polling.communicate(timeout=2 * LASTS_S)[0])
        scrapes = json.loads(scraping.communicate(timeout=2 * LASTS_S)[0])["took_s"]
    finally:
        for process in (scraping, polling):
            if process.poll() is None:
                process.kill()
    return waits, scrapes, counters(base) - before, daemon.cpu_s() - worked


def measure(home: Path, server: WebServer, deployments: int) -> list[Figure]:
    """Return the figures of the daemon with so many deployments."""
    port = free_port()
    path = configure(home, server, port, deployments)
    targets = deployments * PROBES * REGIONS
    base = f"http://127.0.0.1:{port}"
    command = (sys.executable, "-m", "monitor", "run", "--config", str(path))
    with running(command, home, f"{base}/readyz", START_S) as daemon:
        os.sched_setaffinity(daemon.pid, {min(os.sched_getaffinity(0))})
        time.sleep(WARM_UP_S)
        waits, scrapes, found, worked_s = observe(base, daemon)
        rss_mib = daemon.rss_mib()
    waits.sort()
    probes = sum(count for (name, _), count in found.items() if name == "samples")
    expected = targets / INTERVAL_S * LASTS_S
    late_ms = bound_ms(found, SCHEDULE_LATENESS.name, 0.99)
    return [
        Figure(
            name="probes", value=probes / expected, unit="of those expected", at_least=KEPT,
            note=f"{targets} targets, {found['samples', 'good'] / max(1, probes):.2%} good",
        ),
        Figure(name="start_late_p99_at_most", value=late_ms, unit="ms", at_most=LATE_BAR_MS),
        Figure(
            name="longest_wait_for_livez", value=1000 * waits[-1], unit="ms", at_most=STALL_BAR_MS,
            note=f"{len(waits)} waits, p99 {1000 * waits[len(waits) * 99 // 100]:.1f} ms",
        ),
        Figure(
            name="loop_lag_at_most", value=bound_ms(found, LOOP_LAG.name, 1.0), unit="ms",
            at_most=STALL_BAR_MS, note=f"{found[LOOP_LAG.name, '+Inf']} looks",
        ),
        Figure(name="memory", value=rss_mib, unit="MiB", at_most=MEMORY_BAR_MIB),
        Figure(name="scrape", value=max(scrapes), unit="s", note=f"{len(scrapes)} scrapes"),
        Figure(name="processor", value=worked_s / LASTS_S, unit="of a core"),
    ]  # fmt: skip


def main(deployments: int = DEPLOYMENTS) -> int:
    """Print the figures."""
    others = os.sched_getaffinity(0) - {min(os.sched_getaffinity(0))}
    if others:
        os.sched_setaffinity(0, others)
    with TemporaryDirectory(prefix="bench-") as folder, webserver(Path(folder)) as server:
        return conclude(measure(Path(folder), server, deployments))


if __name__ == "__main__":
    sys.exit(main())
