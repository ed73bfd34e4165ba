"""Processor time for one probe: our whole daemon beside Prometheus with its blackbox exporter.

    make bench BENCH=probe_cost

Both probe the same targets on one local nginx every second, one after the other in the same run,
on a fresh connection each time. Ours is the real `monitor run` with its store on disk, and every
target is a deployment with windows, an SLO, an SLA and five rules; theirs only probes and stores.
Processor time comes from the kernel's account of each process, after a warm-up. nginx's own
counter says how many requests arrived, so a probe that was not sent is not counted as cheap. When
one side cannot keep the rate, the targets are halved for both.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import yaml
from prometheus_client.parser import text_string_to_metric_families

from bench.support.figures import Figure, conclude
from bench.support.fleet import CONDITIONS
from bench.support.processes import Child, free_port, read, require, running
from bench.support.webserver import WebServer, webserver
from monitor.metrics import SCHEDULE_LATENESS
from monitor.model import Outcome

TARGETS = 400
FEWEST = 50
WARM_UP_S = 6.0
SPELL_S = 5.0
"""One evaluation and one commit of our daemon at its default intervals."""
SPELLS = 3
KEPT = 0.99
"""Share of the expected requests that must arrive."""
OUTCOMES = tuple(Outcome)
BOUNDS = (*map(str, SCHEDULE_LATENESS.bounds), "+Inf")


class OverloadedError(Exception):
    """A side did not keep the rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a side says of its own probes."""

    good: float
    """Share of them."""
    late_ms: float
    """99 % were not later than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side while it runs."""

    processes: tuple[Child, ...]
    begin: Callable[[], Callable[[], Word]]
    """Call it after the warm-up; what it returns gives the word on what followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one side used."""

    cpu_us: float
    """For one probe, median of the spells."""
    rss_mib: float
    rate: float
    """Requests in a second, median of the spells."""
    word: Word

    def __str__(self) -> str:
        """Return what makes the figure believable."""
        return (
            f"{self.rate:.1f} requests/s, {self.word.good:.2%} good, "
            f"p99 late <= {self.word.late_ms:.1f} ms"
        )


@contextmanager
def ours(home: Path, urls: list[str]) -> Iterator[Side]:
    """Run our daemon against `urls`."""
    port = free_port()
    rules = [
        {"name": name, "condition": condition, "severity": "critical", "channels": ["nobody"]}
        for name, condition in CONDITIONS.items()
    ]
    config = {
        "service": "shop",
        "environments": {
            f"e{number:04}": {"url": url, "sla": "99.9% uptime"} for number, url in enumerate(urls)
        },
        "sla": {"uptime": "99.9%", "response_time": {"p95": "< 2500ms"}, "error_rate": "< 0.1%"},
        "rules": "alerts.yml",
        "defaults": {"interval": "1s", "timeout": "900ms"},
        "channels": {"nobody": {"kind": "console"}},
        "server": {"listen": f"127.0.0.1:{port}"},
        "storage": {"path": "data"},
        "allowed_networks": ["127.0.0.0/8"],
    }
    (home / "monitor.yml").write_text(yaml.safe_dump(config))
    (home / "alerts.yml").write_text(yaml.safe_dump({"alerts": rules}))
    base = f"http://127.0.0.1:{port}"
    arguments = (sys.executable, "-m", "monitor", "run", "--config", str(home / "monitor.yml"))
    with running(arguments, home, f"{base}/readyz") as child:
        yield Side(processes=(child,), begin=lambda: _our_word(f"{base}/metrics"))


def _our_word(url: str) -> Callable[[], Word]:
    before = _our_counters(url)

    def word() -> Word:
        counters = _our_counters(url) - before
        starts = counters["+Inf"]
        late_s = (float(bound) for bound in BOUNDS if counters[bound] >= 0.99 * starts)
        probes = sum(counters[outcome] for outcome in OUTCOMES)
        return Word(good=counters["good"] / probes, late_ms=next(late_s) * 1000)

    return word


def _our_counters(url: str) -> Counter[str]:
    """Return how many samples had which outcome, and how many starts were how late at most."""
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(read(url)):
        for sample in family.samples:
            if sample.name == "monitor_probe_samples_total":
                found[sample.labels["outcome"]] += int(sample.value)
            elif sample.name == "monitor_schedule_lateness_seconds_bucket":
                found[sample.labels["le"]] += int(sample.value)
    return found


@contextmanager
def theirs(home: Path, urls: list[str]) -> Iterator[Side]:
    """Run Debian's Prometheus and blackbox exporter against `urls`."""
    prometheus = require("prometheus", "prometheus")
    exporter = require("prometheus-blackbox-exporter", "prometheus-blackbox-exporter")
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    module = {"prober": "http", "http": {"preferred_ip_protocol": "ip4"}}
    (home / "blackbox.yml").write_text(yaml.safe_dump({"modules": {"http_2xx": module}}))
    job = {
        "job_name": "blackbox",
        "metrics_path": "/probe",
        "params": {"module": ["http_2xx"]},
        "scrape_interval": "1s",
        "scrape_timeout": "900ms",
        "static_configs": [{"targets": urls}],
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"source_labels": ["__param_target"], "target_label": "instance"},
            {"target_label": "__address__", "replacement": addresses[0]},
        ],
    }
    (home / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [job]}))
    blackbox = (
        exporter,
        f"--config.file={home / 'blackbox.yml'}",
        f"--web.listen-address={addresses[0]}",
    )
    storing = (
        prometheus,
        f"--config.file={home / 'prometheus.yml'}",
        f"--storage.tsdb.path={home / 'tsdb'}",
        f"--web.listen-address={addresses[1]}",
    )
    base = f"http://{addresses[1]}"
    with (
        running(blackbox, home, f"http://{addresses[0]}/-/healthy") as probing,
        running(storing, home, f"{base}/-/ready") as scraping,
    ):
        yield Side(processes=(probing, scraping), begin=lambda: lambda: _their_word(base))


def _their_word(base: str) -> Word:
    asked = "avg(avg_over_time(probe_success[15s]))"
    answer = json.loads(read(f"{base}/api/v1/query?query={quote(asked)}"))
    families = {
        family.name: family.samples
        for family in text_string_to_metric_families(read(f"{base}/metrics"))
    }
    [interval_s] = [
        each.value
        for each in families["prometheus_target_interval_length_seconds"]
        if each.labels.get("quantile") == "0.99"
    ]
    return Word(
        good=float(answer["data"]["result"][0]["value"][1]), late_ms=(interval_s - 1) * 1000
    )


def measure(side: Side, server: WebServer, targets: int) -> Cost:
    """Return what `side` uses for `targets` probes a second.

    Raises:
        OverloadedError: it does not keep the rate.
    """
    time.sleep(WARM_UP_S)
    word = side.begin()
    costs, rates = [], []
    for _ in range(SPELLS):
        began, requests = time.monotonic(), server.requests()
        cpu_s = sum(process.cpu_s() for process in side.processes)
        time.sleep(SPELL_S)
        requests = server.requests() - requests
        cpu_s = sum(process.cpu_s() for process in side.processes) - cpu_s
        rates.append(requests / (time.monotonic() - began))
        if rates[-1] < KEPT * targets:
            msg = f"{rates[-1]:.0f} of {targets} probes a second"
            raise OverloadedError(msg)
        costs.append(cpu_s / requests * 1e6)
    return Cost(
        cpu_us=statistics.median(costs),
        rss_mib=sum(process.rss_mib() for process in side.processes),
        rate=statistics.median(rates),
        word=word(),
    )


def compare(home: Path, server: WebServer, targets: int) -> tuple[Cost, Cost]:
    """Return what both sides use.

    Raises:
        OverloadedError: one of them does not keep the rate; the text says which.
    """
    urls = [f"{server.url}/{number}" for number in range(targets)]
    costs = []
    for name, start in (("ours", ours), ("theirs", theirs)):
        place = home / f"{name}-{targets}"
        place.mkdir()
        with start(place, urls) as side:
            try:
                costs.append(measure(side, server, targets))
            except OverloadedError as error:
                msg = f"{name}: {error}"
                raise OverloadedError(msg) from None
    return costs[0], costs[1]


def main() -> int:
    """Print both costs and their ratio."""
    targets = TARGETS
    with TemporaryDirectory(prefix="bench-") as folder, webserver(Path(folder)) as server:
        while True:
            try:
                our, their = compare(Path(folder), server, targets)
                break
            except OverloadedError as error:
                print(f"probe_cost: {error}")
                targets //= 2
                if targets < FEWEST:
                    print("probe_cost: no rate that both sides keep FAILED")
                    return 1
    name = f"probe_cost_{targets}_targets"
    return conclude(
        [
            Figure(name=f"{name}_ours", value=our.cpu_us, unit="us/probe", note=str(our)),
            Figure(name=f"{name}_theirs", value=their.cpu_us, unit="us/probe", note=str(their)),
            Figure(name="probe_cost_theirs/ours", value=their.cpu_us / our.cpu_us, unit="x"),
            Figure(name="memory_ours", value=our.rss_mib, unit="MiB"),
            Figure(name="memory_theirs", value=their.rss_mib, unit="MiB"),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
