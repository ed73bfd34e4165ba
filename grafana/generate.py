"""Writes the Grafana dashboard `dashboards/slo-overview.json`.

    python grafana/generate.py

Series names come from `monitor.metrics`, so that renaming a series there cannot leave a panel
behind. A test compares the file with what this makes.
"""

# ruff: noqa: INP001 - a script beside what it writes, not a package

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from monitor import metrics as m

OUTPUT = Path(__file__).parent / "dashboards" / "slo-overview.json"
WIDTH = 24
UID = "slo-monitor-overview"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WHERE = 'deployment=~"$deployment",environment=~"$environment"'
BY_DEPLOYMENT = 'deployment=~"$deployment"'

GREEN, YELLOW, RED, BLUE, GREY = "green", "yellow", "red", "blue", "text"
Threshold = tuple[float | None, str]


@dataclass(frozen=True, slots=True)
class Query:
    """One line of PromQL with its legend."""

    expr: str
    legend: str = "{{deployment}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What a panel shows; where it stands follows from the order."""

    title: str
    description: str
    queries: Sequence[Query]
    unit: str
    kind: Literal["stat", "timeseries"] = "timeseries"
    width: int = 12
    height: int = 8
    thresholds: Sequence[Threshold] = ((None, GREEN),)
    stacked: bool = False
    minimum: float | None = 0
    maximum: float | None = None
    decimals: int | None = None
    mappings: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Value -> (text, colour)."""


def _stat(title: str, description: str, queries: Sequence[Query], unit: str, **more: Any) -> Panel:
    return Panel(
        title=title,
        description=description,
        queries=queries,
        unit=unit,
        kind="stat",
        width=more.pop("width", 6),
        height=more.pop("height", 5),
        **more,
    )


def _rate(series: m.Series, where: str, by: str) -> str:
    return f"sum by ({by}) (rate({series.name}{{{where}}}[$__rate_interval]))"


def _increase(series: m.Series, where: str, by: str) -> str:
    return f"sum by ({by}) (increase({series.name}{{{where}}}[$__rate_interval]))"


def _quantile(share: float, series: m.Series, by: str = "", where: str = "") -> str:
    grouping = f"le, {by}" if by else "le"
    rates = f"sum by ({grouping}) (rate({series.name}_bucket{{{where}}}[$__rate_interval]))"
    # Without observations the quantile is NaN; then there is nothing to draw.
    return f"histogram_quantile({share}, {rates})"


def _state() -> list[Panel]:
    health = " + ".join(
        f'{rank} * max by (deployment) ({m.HEALTH.name}{{{WHERE},health="{state}"}})'
        for rank, state in ((1, "healthy"), (2, "degraded"), (3, "unhealthy"))
    )
    return [
        _stat(
            "Health",
            "From the health endpoint and the probes.",
            [Query(health)],
            "none",
            mappings={
                "0": ("unknown", GREY),
                "1": ("healthy", GREEN),
                "2": ("degraded", YELLOW),
                "3": ("unhealthy", RED),
            },
        ),
        _stat(
            "Objective",
            "What was promised, each over its period.",
            [Query(f"{m.SLO_OBJECTIVE.name}{{{WHERE}}}", "{{deployment}} {{slo}}")],
            "percentunit",
            thresholds=((None, BLUE),),
            decimals=2,
        ),
        _stat(
            "Error budget left",
            "Share of the error budget that is left, of the objective with the least; negative "
            "when overspent.",
            [Query(f"min by (deployment) ({m.SLO_BUDGET.name}{{{WHERE}}})")],
            "percentunit",
            thresholds=((None, RED), (0, YELLOW), (0.25, GREEN)),
            minimum=None,
            decimals=1,
        ),
        _stat(
            "Burn rate, 1 h",
            "1 spends the budget exactly by the end of the period; 14.4 spends 2 % of 30 days "
            "in an hour.",
            [Query(f'max by (deployment) ({m.SLO_BURN.name}{{{WHERE},window="1h"}})')],
            "none",
            thresholds=((None, GREEN), (1, YELLOW), (14.4, RED)),
            decimals=2,
        ),
        _stat(
            "SLA clauses kept",
            "Share of the clauses with data that are kept now.",
            [Query(f"avg by (deployment) ({m.SLA_CLAUSE.name}{{{WHERE}}})")],
            "percentunit",
            thresholds=((None, RED), (1, GREEN)),
            maximum=1,
        ),
        _stat(
            "Revision",
            "The revision that is live.",
            [Query(f"{m.DEPLOYMENT_INFO.name}{{{WHERE}}}", "{{deployment}} {{revision}}")],
            "none",
            mappings={"1": ("live", BLUE)},
        ),
        _stat(
            "Alerts firing",
            "Alerts that fire now.",
            [Query(f'sum by (deployment) ({m.ALERTS.name}{{{WHERE},state="firing"}})')],
            "none",
            thresholds=((None, GREEN), (1, RED)),
        ),
        _stat(
            "Coverage, 1 h",
            "Share of the expected measurement that exists; below 1 we were partly blind.",
            [Query(f'{m.WINDOW_COVERAGE.name}{{{WHERE},window="1h"}}')],
            "percentunit",
            thresholds=((None, RED), (0.8, YELLOW), (0.95, GREEN)),
            maximum=1,
        ),
    ]


def _quality() -> list[Panel]:
    return [
        Panel(
            title="Error rate by window",
            description="Bad / valid samples. A short window shows the spike, a long one the cost.",
            queries=[
                Query(
                    f'{m.WINDOW_ERROR.name}{{{WHERE},window=~"5m|1h|6h"}}',
                    "{{deployment}} {{window}}",
                )
            ],
            unit="percentunit",
            thresholds=((None, GREEN), (0.001, YELLOW), (0.05, RED)),
        ),
        Panel(
            title="Latency quantiles, 5 m",
            description="p50, p95 and p99 of the latest five minutes.",
            queries=[
                Query(
                    f'{m.WINDOW_LATENCY.name}{{{WHERE},window="5m"}}',
                    "{{deployment}} p{{quantile}}",
                )
            ],
            unit="s",
            thresholds=((None, GREEN), (2.5, YELLOW), (5, RED)),
        ),
        Panel(
            title="Uptime by window",
            description="Share of the known time that was up.",
            queries=[
                Query(
                    f'{m.WINDOW_UPTIME.name}{{{WHERE},window=~"1h|1d|30d"}}',
                    "{{deployment}} {{window}}",
                )
            ],
            unit="percentunit",
            thresholds=((None, RED), (0.999, GREEN)),
            minimum=None,
            maximum=1,
        ),
        Panel(
            title="Probe duration, p95",
            description="Over all regions, from the raw observations between two scrapes.",
            queries=[
                Query(
                    _quantile(0.95, m.PROBE_DURATION, "deployment, region", WHERE),
                    "{{deployment}} {{region}}",
                )
            ],
            unit="s",
        ),
    ]


def _budget() -> list[Panel]:
    return [
        Panel(
            title="Error budget left over time",
            description="Falls while the objective is missed; recovers as bad time leaves the "
            "period.",
            queries=[Query(f"{m.SLO_BUDGET.name}{{{WHERE}}}", "{{deployment}} {{slo}}")],
            unit="percentunit",
            thresholds=((None, RED), (0, YELLOW), (0.25, GREEN)),
            minimum=None,
            maximum=1,
        ),
        Panel(
            title="Error budget left, between bounds",
            description="Worst: all that was not measured had been bad. Best: all of it was good.",
            queries=[
                Query(f"{m.SLO_BUDGET_WORST.name}{{{WHERE}}}", "{{deployment}} {{slo}} worst"),
                Query(f"{m.SLO_BUDGET_BEST.name}{{{WHERE}}}", "{{deployment}} {{slo}} best"),
            ],
            unit="percentunit",
            minimum=None,
            maximum=1,
        ),
        Panel(
            title="Burn rate by window",
            description="A page is due when a long and a short window burn at once: 14.4 over 1 h "
            "and 5 m, 6 over 6 h, 1 over 3 d.",
            queries=[Query(f"{m.SLO_BURN.name}{{{WHERE}}}", "{{deployment}} {{slo}} {{window}}")],
            unit="none",
            thresholds=((None, GREEN), (1, YELLOW), (6, "orange"), (14.4, RED)),
        ),
    ]


def _probes() -> list[Panel]:
    return [
        Panel(
            title="Probes by outcome",
            description="Results a second; unknown means that we could not measure.",
            queries=[Query(_rate(m.PROBE_SAMPLES, WHERE, "outcome"), "{{outcome}}")],
            unit="ops",
            stacked=True,
        ),
        Panel(
            title="Phases of the latest probe",
            description="Where the time goes, averaged over the targets.",
            queries=[Query(f"avg by (phase) ({m.PROBE_PHASE.name}{{{WHERE}}})", "{{phase}}")],
            unit="s",
            stacked=True,
        ),
        Panel(
            title="Checks that targets report of themselves",
            description="1 is healthy; a line that falls to 0 names what is broken.",
            queries=[Query(f"{m.PROBE_CHECK.name}{{{WHERE}}}", "{{target}} {{check}}")],
            unit="short",
        ),
        Panel(
            title="Figures of probes",
            description="Scores, days left and other figures besides latency, in their own units.",
            queries=[Query(f"{m.PROBE_VALUE.name}{{{WHERE}}}", "{{target}} {{name}}")],
            unit="short",
        ),
        Panel(
            title="Time since the latest good probe",
            description="For each target; grows while it is down or we are.",
            queries=[
                Query(f"time() - {m.PROBE_LAST_SUCCESS.name}{{{WHERE}}}", "{{target}} {{region}}")
            ],
            unit="s",
            thresholds=((None, GREEN), (60, YELLOW), (300, RED)),
            width=24,
            height=6,
        ),
    ]


def _telling() -> list[Panel]:
    return [
        Panel(
            title="Alerts",
            description="1 while an alert is pending or firing.",
            queries=[
                Query(
                    f"sum by (alertname, deployment, state) ({m.ALERTS.name}{{{WHERE}}})",
                    "{{alertname}} {{deployment}} {{state}}",
                )
            ],
            unit="none",
        ),
        Panel(
            title="Notifications by result",
            description="Attempts in the interval; anything but delivered is tried again or "
            "needs a person.",
            queries=[
                Query(_increase(m.NOTIFICATIONS, "", "channel, result"), "{{channel}} {{result}}")
            ],
            unit="none",
            stacked=True,
        ),
        Panel(
            title="Owed messages",
            description="Messages that a channel has not been told successfully.",
            queries=[Query(m.OUTBOX_DEPTH.name, "{{channel}}")],
            unit="none",
            thresholds=((None, GREEN), (1, YELLOW)),
            width=8,
        ),
        Panel(
            title="Oldest owed message",
            description="Grows while a channel cannot be reached.",
            queries=[Query(m.OUTBOX_OLDEST.name, "{{channel}}")],
            unit="s",
            thresholds=((None, GREEN), (60, YELLOW), (300, RED)),
            width=8,
        ),
        Panel(
            title="Mean delay to the first delivery",
            description="From the alert firing to the first delivered notification, since start.",
            queries=[
                Query(
                    f"sum by (channel) ({m.NOTIFICATION_DELAY.name}_sum) / "
                    # A channel that delivered nothing divides 0 by 1 instead of by 0.
                    f"clamp_min(sum by (channel) ({m.NOTIFICATION_DELAY.name}_count), 1)",
                    "{{channel}}",
                )
            ],
            unit="s",
            width=8,
        ),
    ]


def _releases() -> list[Panel]:
    return [
        Panel(
            title="Releases by result",
            description="Releases that ended in the interval.",
            queries=[
                Query(
                    _increase(m.DEPLOYMENTS, BY_DEPLOYMENT, "deployment, result"),
                    "{{deployment}} {{result}}",
                )
            ],
            unit="none",
        ),
        Panel(
            title="Rollbacks by result",
            description="Rollback decisions that ended in the interval; blocked ones include "
            "what the guard refused.",
            queries=[
                Query(
                    _increase(m.ROLLBACKS, BY_DEPLOYMENT, "deployment, result"),
                    "{{deployment}} {{result}}",
                )
            ],
            unit="none",
        ),
    ]


def _self() -> list[Panel]:
    return [
        Panel(
            title="Event loop lag, p99",
            description="How late the monitor runs its own timers.",
            queries=[Query(_quantile(0.99, m.LOOP_LAG), "lag")],
            unit="s",
            thresholds=((None, GREEN), (0.1, YELLOW), (1, RED)),
            width=8,
        ),
        Panel(
            title="Schedule lateness, p99",
            description="How long after their time probes start.",
            queries=[Query(_quantile(0.99, m.SCHEDULE_LATENESS), "lateness")],
            unit="s",
            thresholds=((None, GREEN), (0.1, YELLOW), (1, RED)),
            width=8,
        ),
        Panel(
            title="Skipped measurements",
            description="Measurements that did not happen or did not arrive because of us.",
            queries=[Query(_rate(m.PROBES_SKIPPED, "", "reason"), "{{reason}}")],
            unit="ops",
            width=8,
        ),
        _stat(
            "State on disk",
            "0 while the store refuses commits.",
            [Query(m.STORE_DURABLE.name, "durable")],
            "none",
            mappings={"0": ("not saved", RED), "1": ("saved", GREEN)},
        ),
        _stat(
            "Configuration",
            "Whether the latest reload was accepted.",
            [Query(m.RELOAD_OK.name, "configuration")],
            "none",
            mappings={"0": ("refused", RED), "1": ("current", GREEN)},
        ),
        _stat(
            "Task failures, 1 h",
            "Internal tasks that failed and were started again.",
            # The series is born with the first failure.
            [Query(f"sum(increase({m.TASK_RESTARTS.name}[1h])) or vector(0)", "failures")],
            "none",
            thresholds=((None, GREEN), (1, RED)),
        ),
        _stat(
            "Version",
            "What is running.",
            [Query(m.BUILD_INFO.name, "{{version}}")],
            "none",
            mappings={"1": ("running", BLUE)},
        ),
    ]


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana's JSON model."""
    rows = (
        ("State", _state()),
        ("Error rate and latency", _quality()),
        ("Error budget", _budget()),
        ("Probes", _probes()),
        ("Alerts and notifications", _telling()),
        ("Releases and rollbacks", _releases()),
        ("The monitor itself", _self()),
    )
    return {
        "annotations": {"list": _annotations()},
        "description": "Objectives, error budgets, alerts, releases, and the monitor itself.",
        "editable": False,
        "graphTooltip": 1,
        "links": [],
        "panels": list(_place(rows)),
        "refresh": "15s",
        "schemaVersion": 41,
        "tags": ["slo", "slo-monitor"],
        "templating": {"list": _variables()},
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "utc",
        "title": "SLO overview",
        "uid": UID,
        "version": 1,
    }


def panel_queries(board: Mapping[str, Any], interval: str = "1m") -> list[tuple[str, str]]:
    """Return (panel title, PromQL) of every panel, with all variables replaced."""
    values = {"deployment": ".*", "environment": ".*", "__rate_interval": interval}
    return [
        (panel["title"], re.sub(r"\$(\w+)", lambda found: values[found[1]], target["expr"]))
        for panel in board["panels"]
        for target in panel.get("targets", ())
    ]


def _place(rows: Sequence[tuple[str, Sequence[Panel]]]) -> Iterator[dict[str, Any]]:
    """Yield rows and panels from left to right, top to bottom, with ids from 1."""
    number = y = 0
    for title, panels in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
        }
        y += 1
        x = line = 0
        for panel in panels:
            number += 1
            if x + panel.width > WIDTH:
                x, y, line = 0, y + line, 0
            place = {"h": panel.height, "w": panel.width, "x": x, "y": y}
            yield _panel(panel, number, place)
            x, line = x + panel.width, max(line, panel.height)
        y += line


def _panel(panel: Panel, number: int, place: Mapping[str, int]) -> dict[str, Any]:
    targets = [
        {
            "datasource": DATASOURCE,
            "editorMode": "code",
            "expr": query.expr,
            "legendFormat": query.legend,
            "range": panel.kind != "stat",
            "instant": panel.kind == "stat",
            "refId": chr(ord("A") + index),
        }
        for index, query in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _STAT_OPTIONS if panel.kind == "stat" else _GRAPH_OPTIONS,
        "targets": targets,
    }


_STAT_OPTIONS = {
    "colorMode": "background_solid",
    "graphMode": "none",
    "justifyMode": "auto",
    "orientation": "auto",
    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    "textMode": "value_and_name",
}
_GRAPH_OPTIONS = {
    "legend": {"calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "bottom"},
    "tooltip": {"mode": "multi", "sort": "desc"},
}


def _field(panel: Panel) -> dict[str, Any]:
    limits = {"min": panel.minimum, "max": panel.maximum, "decimals": panel.decimals}
    steps = [{"color": colour, "value": value} for value, colour in panel.thresholds]
    config: dict[str, Any] = {
        "unit": panel.unit,
        "noValue": "no data",
        "thresholds": {"mode": "absolute", "steps": steps},
        "mappings": _mappings(panel),
        **{key: value for key, value in limits.items() if value is not None},
    }
    if panel.kind == "stat":
        return config | {"color": {"mode": "thresholds"}}
    return config | {
        "color": {"mode": "palette-classic"},
        "custom": {
            "drawStyle": "line",
            "fillOpacity": 40 if panel.stacked else 0,
            "lineWidth": 1,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"group": "A", "mode": "normal" if panel.stacked else "none"},
            "thresholdsStyle": {"mode": "dashed" if len(panel.thresholds) > 1 else "off"},
        },
    }


def _mappings(panel: Panel) -> list[dict[str, Any]]:
    if not panel.mappings:
        return []
    options = {
        value: {"color": colour, "index": index, "text": text}
        for index, (value, (text, colour)) in enumerate(panel.mappings.items())
    }
    return [{"type": "value", "options": options}]


def _variables() -> list[dict[str, Any]]:
    return [
        {
            "name": "datasource",
            "label": "Data source",
            "type": "datasource",
            "query": "prometheus",
            "refresh": 1,
            "hide": 0,
        },
        _choice("environment", f"label_values({m.HEALTH.name}, environment)"),
        _choice(
            "deployment",
            f'label_values({m.HEALTH.name}{{environment=~"$environment"}}, deployment)',
        ),
    ]


def _choice(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": f"variable-{name}"},
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
        "refresh": 2,
        "sort": 1,
        "hide": 0,
    }


def _annotations() -> list[dict[str, Any]]:
    marks = (
        ("Rollbacks", m.ROLLBACKS, "purple"),
        ("Releases", m.DEPLOYMENTS, "blue"),
    )
    return [
        {
            "name": name,
            "datasource": DATASOURCE,
            "enable": True,
            "expr": f"{_increase(series, BY_DEPLOYMENT, 'deployment, result')} > 0",
            "iconColor": colour,
            "step": "15s",
            "tagKeys": "deployment,result",
            "titleFormat": f"{name}: {{{{deployment}}}} {{{{result}}}}",
        }
        for name, series, colour in marks
    ]


def text() -> str:
    """Return the file's content."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    OUTPUT.write_text(text(), encoding="utf-8")
