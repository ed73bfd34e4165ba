"""The dashboard: what is committed is what the generator makes, and it hangs together."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from monitor import metrics
from monitor.metrics import Series

ROOT = Path(__file__).parents[2] / "grafana"
NAMES = {
    name
    for series in vars(metrics).values()
    if isinstance(series, Series)
    for name in (
        [series.name + suffix for suffix in ("_bucket", "_count", "_sum")]
        if series.kind == "histogram"
        else [series.name]
    )
}


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_dashboard", ROOT / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def board(generate: ModuleType) -> dict[str, Any]:
    return generate.dashboard()


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (panel for panel in board["panels"] if panel["type"] != "row")


def test_the_committed_dashboard_is_current(generate: ModuleType) -> None:
    """After a change run `python grafana/generate.py`."""
    assert generate.OUTPUT.read_text(encoding="utf-8") == generate.text()


def test_every_query_names_series_that_exist(generate: ModuleType, board: dict[str, Any]) -> None:
    """Each expression reads at least one series of ours, and none that we do not expose."""
    for title, expr in generate.panel_queries(board):
        found = set(re.findall(r"monitor_\w+", expr))
        assert (title, bool(found), found - NAMES) == (title, True, set())


def test_no_variable_is_left_in_a_query(generate: ModuleType, board: dict[str, Any]) -> None:
    """What the end-to-end test sends to Prometheus is PromQL."""
    queries = generate.panel_queries(board, "45s")
    assert not [expr for _, expr in queries if "$" in expr]
    assert any("[45s]" in expr for _, expr in queries)
    assert {title for title, _ in queries} == {panel["title"] for panel in panels(board)}


def test_every_panel_explains_itself(board: dict[str, Any]) -> None:
    """Title, description, unit, thresholds, and the data source that the viewer chose."""
    for panel in panels(board):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["description"].endswith(".")
        assert defaults["unit"]
        assert defaults["thresholds"]["steps"][0]["value"] is None
        values = [step["value"] for step in defaults["thresholds"]["steps"][1:]]
        assert values == sorted(values)
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


def test_ids_and_titles_are_unique(board: dict[str, Any]) -> None:
    """Grafana merges panels of the same id; people mix up those of the same title."""
    for key in ("id", "title"):
        found = [panel[key] for panel in board["panels"]]
        assert len(set(found)) == len(found)


def test_no_panels_overlap_or_leave_the_grid(board: dict[str, Any]) -> None:
    """24 columns, and each cell belongs to one panel."""
    cells = {
        panel["id"]: {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        for panel in board["panels"]
        for place in [panel["gridPos"]]
    }
    assert all(x < 24 for covered in cells.values() for x, _ in covered)
    assert not [(a, b) for a, b in combinations(cells, 2) if cells[a] & cells[b]]


def test_variables_and_annotations(board: dict[str, Any]) -> None:
    """Data source, environment and deployment to choose; releases and rollbacks on every graph."""
    assert [each["name"] for each in board["templating"]["list"]] == [
        "datasource",
        "environment",
        "deployment",
    ]
    marks = {each["name"]: each["expr"] for each in board["annotations"]["list"]}
    assert metrics.ROLLBACKS.name in marks["Rollbacks"]
    assert metrics.DEPLOYMENTS.name in marks["Releases"]


def test_the_dashboard_is_plain_json(generate: ModuleType) -> None:
    """No NaN, and the model version that provisioning expects."""
    board = json.loads(generate.text(), parse_constant=pytest.fail)
    assert board["schemaVersion"] >= 39
    assert board["uid"] == generate.UID


@pytest.mark.parametrize(
    "path", sorted((ROOT / "provisioning").rglob("*.yml")), ids=lambda p: p.name
)
def test_provisioning_files_are_of_version_one(path: Path) -> None:
    """Grafana reads `apiVersion: 1`; files of data sources list some, files of dashboards too."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content["apiVersion"] == 1
    assert content.get("datasources") or content.get("providers")
