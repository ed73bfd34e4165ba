"""Debian's Prometheus, blackbox exporter and Alertmanager, as quick as it makes sense to run them.

Writes their configuration and runs them on loopback; measures nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import yaml

from bench.support.processes import free_port, require, running

Peer = AbstractContextManager[None]

EVALUATION = "100ms"
"""Fifty times as often as samples come, which is more than sensible: people use the scrape interval
or a second at best, because each evaluation asks the database again for every rule. It is so quick
that nobody can say theirs was made to wait."""
ALERTING = {
    # One group a target: in a common one a second target would wait for the group's next turn.
    "group_by": ["instance"],
    # A new group speaks at once; the default is 30 s.
    "group_wait": "0s",
    # The end is told at the group's next turn. It cannot be 0, and the default is 5 min.
    "group_interval": "100ms",
    "repeat_interval": "4h",
}


@contextmanager
def peer(home: Path, urls: Sequence[str], webhook: str, interval_s: int) -> Iterator[None]:
    """Run them in `home`: probe `urls` every `interval_s`, post alerts to `webhook`."""
    prometheus = require("prometheus", "prometheus")
    exporter = require("prometheus-blackbox-exporter", "prometheus-blackbox-exporter")
    manager = require("prometheus-alertmanager", "prometheus-alertmanager")
    probing, storing, telling = (f"127.0.0.1:{free_port()}" for _ in range(3))
    files = {
        "blackbox": _blackbox(),
        "alertmanager": _alertmanager(webhook),
        "rules": _rules(),
        "prometheus": _prometheus(home, urls, probing, telling, interval_s),
    }
    for name, content in files.items():
        (home / f"{name}.yml").write_text(yaml.safe_dump(content))
    with (
        running(
            (
                exporter,
                f"--config.file={home / 'blackbox.yml'}",
                f"--web.listen-address={probing}",
            ),
            home,
            f"http://{probing}/-/healthy",
        ),
        running(
            (
                manager,
                f"--config.file={home / 'alertmanager.yml'}",
                f"--storage.path={home / 'alertmanager'}",
                f"--web.listen-address={telling}",
                # Alone: a member of a cluster waits for the others before it speaks.
                "--cluster.listen-address=",
            ),
            home,
            f"http://{telling}/-/ready",
        ),
        running(
            (
                prometheus,
                f"--config.file={home / 'prometheus.yml'}",
                f"--storage.tsdb.path={home / 'tsdb'}",
                f"--web.listen-address={storing}",
            ),
            home,
            f"http://{storing}/-/ready",
        ),
    ):
        yield


def _blackbox() -> dict[str, Any]:
    module = {"prober": "http", "timeout": "2s", "http": {"preferred_ip_protocol": "ip4"}}
    return {"modules": {"http_2xx": module}}


def _alertmanager(webhook: str) -> dict[str, Any]:
    sink = {"url": webhook, "send_resolved": True}
    return {
        "route": {"receiver": "pages", **ALERTING},
        "receivers": [{"name": "pages", "webhook_configs": [sink]}],
    }


def _rules() -> dict[str, Any]:
    # Without `for`: one failing probe is enough, as it is for ours.
    rule = {"alert": "down", "expr": "probe_success == 0", "labels": {"severity": "critical"}}
    return {"groups": [{"name": "down", "rules": [rule]}]}


def _prometheus(
    home: Path, urls: Sequence[str], probing: str, telling: str, interval_s: int
) -> dict[str, Any]:
    job = {
        "job_name": "blackbox",
        "metrics_path": "/probe",
        "params": {"module": ["http_2xx"]},
        "static_configs": [{"targets": list(urls)}],
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"source_labels": ["__param_target"], "target_label": "instance"},
            {"target_label": "__address__", "replacement": probing},
        ],
    }
    return {
        "global": {
            "scrape_interval": f"{interval_s}s",
            "scrape_timeout": "2s",
            "evaluation_interval": EVALUATION,
        },
        "rule_files": [str(home / "rules.yml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [telling]}]}]},
        "scrape_configs": [job],
    }
