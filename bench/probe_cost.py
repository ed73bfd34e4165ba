"""Processor time for one probe: our whole daemon beside Prometheus with its blackbox exporter.

    make bench BENCH=probe_cost

Needs Debian's `apt-get install prometheus prometheus-blackbox-exporter nginx-light`. Both probe the
same 1,000 targets on one local nginx every second, on a fresh connection each time, in turns within
the same run. Ours is the real `monitor run` with its store on disk, and every target is a
deployment with windows, an SLO, an SLA and five rules; theirs only probes and stores. The same with
HTTPS (an ECDSA certificate, a whole handshake each time), and ours on kept connections.

Processor time comes from the kernel's account of each process, after a warm-up. nginx's own counter
says how many requests arrived, so a probe that was not sent is not counted as cheap. When one side
cannot keep the rate, the targets are halved for both, and the bar is missed.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
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

TARGETS = 1000
SECURE_TARGETS = 300
"""Theirs would need more than a core for more."""
FEWEST = 50
WARM_UP_S = 7.0
SPELL_S = 5.0
"""One evaluation and one commit of our daemon at its default intervals."""
SPELLS = 4
ROUNDS = 2
"""Turns of each side: what else the machine does hits both."""
KEPT = 0.99
"""Share of the expected requests that must arrive."""
RATIO, SECURE_RATIO = 10.0, 1.5
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

    cpus_us: tuple[float, ...]
    """For one probe, by spell."""
    rss_mib: float
    rate: float
    """Requests in a second, median of the spells."""
    word: Word

    @property
    def cpu_us(self) -> float:
        """For one probe, all spells together: an evaluation must not fall between them."""
        return statistics.fmean(self.cpus_us)

    def __str__(self) -> str:
        """Return what makes the figure believable."""
        spells = " ".join(f"{each:.0f}" for each in self.cpus_us)
        return (
            f"{spells}; {self.rate:.1f} requests/s, {self.word.good:.2%} good, "
            f"p99 late <= {self.word.late_ms:.1f} ms"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a side has to do."""

    urls: tuple[str, ...]
    ca_file: Path
    keep_alive: bool = False


@contextmanager
def ours(home: Path, task: Task) -> Iterator[Side]:
    """Run our daemon."""
    port = free_port()
    rules = [
        {"name": name, "condition": condition, "severity": "critical", "channels": ["nobody"]}
        for name, condition in CONDITIONS.items()
    ]
    probe = {"kind": "http", "ca_file": str(task.ca_file), "keep_alive": task.keep_alive}
    config = {
        "service": "shop",
        "environments": {
            f"e{number:04}": {"url": url, "sla": "99.9% uptime"}
            for number, url in enumerate(task.urls)
        },
        "deployments": [
            {"environment": f"e{number:04}", "probes": [probe]} for number in range(len(task.urls))
        ],
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
def theirs(home: Path, task: Task) -> Iterator[Side]:
    """Run Debian's Prometheus and blackbox exporter, which keeps no connection."""
    prometheus = require("prometheus", "prometheus")
    exporter = require("prometheus-blackbox-exporter", "prometheus-blackbox-exporter")
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    trust = {"ca_file": str(task.ca_file)}
    module = {"prober": "http", "http": {"preferred_ip_protocol": "ip4", "tls_config": trust}}
    (home / "blackbox.yml").write_text(yaml.safe_dump({"modules": {"http_2xx": module}}))
    job = {
        "job_name": "blackbox",
        "metrics_path": "/probe",
        "params": {"module": ["http_2xx"]},
        "scrape_interval": "1s",
        "scrape_timeout": "900ms",
        "static_configs": [{"targets": list(task.urls)}],
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
        cpus_us=tuple(costs),
        rss_mib=sum(process.rss_mib() for process in side.processes),
        rate=statistics.median(rates),
        word=word(),
    )


Start = Callable[[Path, Task], AbstractContextManager[Side]]


def take_turns(
    home: Path, server: WebServer, task: Task, sides: dict[str, Start], rounds: int
) -> dict[str, Cost]:
    """Return what each of `sides` uses, by name.

    Raises:
        OverloadedError: one of them does not keep the rate; the text says which.
    """
    turns: dict[str, list[Cost]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, start in sides.items():
            with (
                TemporaryDirectory(prefix=f"{name}-", dir=home) as place,
                start(Path(place), task) as side,
            ):
                try:
                    turns[name].append(measure(side, server, len(task.urls)))
                except OverloadedError as error:
                    msg = f"{name}: {error}"
                    raise OverloadedError(msg) from None
    return {
        name: replace(costs[-1], cpus_us=tuple(us for cost in costs for us in cost.cpus_us))
        for name, costs in turns.items()
    }


def compare(
    home: Path, server: WebServer, base: str, targets: int, *, rounds: int
) -> tuple[int, Cost, Cost]:
    """Return for how many targets at `base` both keep the rate, and what they use.

    Raises:
        OverloadedError: there is no such number.
    """
    while True:
        urls = tuple(f"{base}/{number}" for number in range(targets))
        task = Task(urls=urls, ca_file=home / "ca.pem")
        try:
            costs = take_turns(home, server, task, {"ours": ours, "theirs": theirs}, rounds)
        except OverloadedError as error:
            print(f"probe_cost: {error}")
            targets //= 2
            if targets < FEWEST:
                raise
        else:
            return targets, costs["ours"], costs["theirs"]


def main(targets: int = TARGETS, secure_targets: int = SECURE_TARGETS) -> int:
    """Print all costs and their ratios."""
    with TemporaryDirectory(prefix="bench-") as folder, webserver(Path(folder)) as server:
        home = Path(folder)
        try:
            plain, our, their = compare(home, server, server.url, targets, rounds=ROUNDS)
            secure, our_tls, their_tls = compare(
                home, server, server.secure_url, secure_targets, rounds=1
            )
            urls = tuple(f"{server.url}/{number}" for number in range(plain))
            task = Task(urls=urls, ca_file=home / "ca.pem", keep_alive=True)
            kept = take_turns(home, server, task, {"kept": ours}, 1)["kept"]
        except OverloadedError as error:
            print(f"probe_cost: no rate that both sides keep FAILED ({error})")
            return 1
    ratio, secure_ratio = their.cpu_us / our.cpu_us, their_tls.cpu_us / our_tls.cpu_us
    good = min(cost.word.good for cost in (our, their, our_tls, their_tls, kept))
    return conclude(
        [
            Figure(name="targets", value=plain, unit="targets", at_least=targets),
            Figure(name="probe_cost_ours", value=our.cpu_us, unit="us/probe", note=str(our)),
            Figure(name="probe_cost_theirs", value=their.cpu_us, unit="us/probe", note=str(their)),
            Figure(name="probe_cost_theirs/ours", value=ratio, unit="x", at_least=RATIO),
            Figure(name="https_targets", value=secure, unit="targets", at_least=secure_targets),
            Figure(name="https_ours", value=our_tls.cpu_us, unit="us/probe", note=str(our_tls)),
            Figure(
                name="https_theirs", value=their_tls.cpu_us, unit="us/probe", note=str(their_tls)
            ),
            Figure(name="https_theirs/ours", value=secure_ratio, unit="x", at_least=SECURE_RATIO),
            Figure(name="kept_alive_ours", value=kept.cpu_us, unit="us/probe", note=str(kept)),
            Figure(name="good", value=good, unit="of all probes", at_least=KEPT),
            Figure(name="memory_ours", value=our.rss_mib, unit="MiB"),
            Figure(name="memory_theirs", value=their.rss_mib, unit="MiB"),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
