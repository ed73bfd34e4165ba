"""The benchmarks can be found and say how they are run; figures are no test's matter."""

from __future__ import annotations

import ast
import os
import time
from pathlib import Path

import pytest

from bench import bombs, open_loop
from bench.run import HERE, benches, main
from bench.support.figures import Figure, conclude
from bench.support.processes import Child, require


def test_every_benchmark_is_found() -> None:
    """All scripts beside run.py, and nothing else."""
    names = {path.stem for path in HERE.iterdir() if path.suffix == ".py"}
    assert set(benches()) == names - {"run"}
    assert {"scrape_stall", "probe_cost", "story", "slo_engine"} <= set(benches())


@pytest.mark.parametrize("name", benches())
def test_every_benchmark_states_its_command(name: str) -> None:
    """Its docstring has the line to type, it has a main, and the documentation knows it."""
    tree = ast.parse((HERE / f"{name}.py").read_text())
    assert f"\n    make bench BENCH={name}\n" in (ast.get_docstring(tree) or "")
    assert "main" in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}
    assert f"make bench BENCH={name}" in Path("docs/benchmarks.md").read_text()


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With the names that exist, and the code for wrong usage."""
    assert main(["probe_costs"]) == 2
    assert "probe_cost, quantiles" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "at_most", "code", "line"),
    [
        (9.5, 10.0, 0, "stall: 9.5 ms (bar: <= 10 ms) ok"),
        (10.0, 10.0, 0, "stall: 10 ms (bar: <= 10 ms) ok"),
        (10.5, 10.0, 1, "stall: 10.5 ms (bar: <= 10 ms) FAILED"),
        (99.0, None, 0, "stall: 99 ms (bar: none) ok"),
    ],
)
def test_a_missed_bar_is_an_exit_code(
    value: float, at_most: float | None, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line a figure, and failure when one of them is beyond its bar."""
    fine = Figure(name="fine", value=1, unit="s", at_most=2)
    assert conclude([fine, Figure(name="stall", value=value, unit="ms", at_most=at_most)]) == code
    assert capsys.readouterr().out.splitlines() == ["fine: 1 s (bar: <= 2 s) ok", line]


@pytest.mark.parametrize(("value", "verdict"), [(10.1, "ok"), (10.0, "ok"), (9.9, "FAILED")])
def test_a_bar_may_be_a_least(value: float, verdict: str) -> None:
    """A ratio has to be reached."""
    line = str(Figure(name="ratio", value=value, unit="x", at_least=10))
    assert line == f"ratio: {value:.4g} x (bar: >= 10 x) {verdict}"


def test_a_missing_program_is_named_with_its_package(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and the command that brings it."""
    with pytest.raises(SystemExit) as ended:
        require("no-such-program", "its-package")
    assert ended.value.code == 2
    assert "apt-get install its-package" in capsys.readouterr().err


def test_processor_time_is_the_kernels_account() -> None:
    """Our own: it grows with work, and is what the process itself is told."""
    me = Child(os.getpid())
    before, told_before = me.cpu_s(), time.process_time()
    while time.process_time() - told_before < 0.1:
        pass
    assert me.cpu_s() - before == pytest.approx(time.process_time() - told_before, abs=0.03)
    assert 1 < me.rss_mib() < 10_000


def test_the_open_loop_shows_the_true_share() -> None:
    """It runs on virtual time, so what it says is the same on every machine."""
    assert open_loop.main() == 0


async def test_a_bomb_is_measured_in_a_process_of_its_own() -> None:
    """What it says is a figure and the reason of the probe."""
    found = await bombs.measure(("endless_header",))
    assert found["endless_header"]["reason"] == "too_large_headers"
    assert found["endless_header"]["grown_mib"] >= 0
