"""The benchmarks can be found and say how they are run; figures are no test's matter."""

from __future__ import annotations

import ast
import os
import time
from pathlib import Path

import pytest

from bench import bombs, open_loop, page_speed
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


def turn(seen_s: float, told_s: float) -> page_speed.Turn:
    """Return an outage at 10 s that ours saw and told so much later, and theirs a second later."""
    seen = {page_speed.OURS: 10 + seen_s, page_speed.THEIRS: 10 + seen_s}
    told = {page_speed.OURS: 10 + told_s, page_speed.THEIRS: 11 + told_s}
    return page_speed.Turn(broken=True, at=10.0, seen=seen, told=told)


def test_the_speed_of_a_page_is_counted_from_the_break_and_from_the_answer() -> None:
    """Median and nearest rank of both, and how often ours fits into theirs."""
    turns = [turn(2.0, 2.5) for _ in range(198)] + [turn(2.0, 3.0) for _ in range(2)]
    found = {figure.name: figure for figure in page_speed.figures(turns)}
    assert found["page_count"].value == 200
    assert found["page_from_answer_ours"].value == 0.5
    assert found["page_from_answer_median_ratio"].value == 3
    assert found["page_from_answer_p99_ratio"].value == 3
    assert found["page_from_moment_theirs"].value == 3.5
    assert not found["resolved_count"].ok


def test_a_page_about_what_is_not_so_is_a_stray() -> None:
    """Only the first true message of a side about a turn counts."""
    world = page_speed.World()
    broke = world.turn("t00", broken=True)
    for side, firing in (("ours", False), ("ours", True), ("ours", True), ("theirs", True)):
        world.take(side, "t00", firing=firing)
    assert set(broke.told) == {"ours", "theirs"}
    assert broke.both_told.is_set()
    assert world.strays == 2
