"""What holds for every command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from monitor import __version__
from monitor.cli.main import commands
from tests.cli.conftest import Run

NAMES = [(command.name,) for command in commands()]
ACTIONS = [("notify", "test"), ("silence", "add"), ("silence", "list"), ("silence", "end")]


@pytest.mark.parametrize("words", [*NAMES, *ACTIONS], ids=" ".join)
def test_help_shows_an_example(run: Run, words: tuple[str, ...]) -> None:
    """`--help` of every command ends with a line that can be copied."""
    result = run(*words, "--help")
    assert (result.code, result.err) == (0, "")
    assert f"example: monitor {' '.join(words)}" in " ".join(result.out.split())


def test_the_overview_names_every_command_and_exit_code(run: Run) -> None:
    """`monitor --help` is where a stranger begins."""
    result = run("--help")
    assert result.code == 0
    for (name,) in NAMES:
        assert f"\n    {name}" in result.out
    assert "exit codes: 0 ok, 1 no or failed, 2 usage or configuration, 3 cannot tell" in " ".join(
        result.out.split()
    )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["query"],
        ["probe"],
        ["test"],
        ["notify"],
        ["notify", "test"],
        ["ack"],
        ["silence"],
        ["silence", "add"],
        ["silence", "add", "rule=x", "--for", "2h"],
        ["silence", "add", "--for", "2h", "--reason", "why"],
        ["silence", "end"],
        ["incidents", "--limit", "0"],
        ["incidents", "--limit", "many"],
        ["status", "--output", "xml"],
        ["run", "--log-level", "loud"],
        ["run", "--listen", "nowhere"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_explained_on_stderr(run: Run, arguments: list[str]) -> None:
    """Exit 2, nothing on stdout, and the usage of the command."""
    result = run(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("usage: monitor")


def test_version(run: Run) -> None:
    """As text for people and as JSON for programs."""
    result = run("version")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"slo-monitor {__version__} (Python 3.")
    assert run("version", "--output", "json").document["version"] == __version__


def test_schema(run: Run) -> None:
    """One JSON Schema and nothing else, so that it can be redirected into a file."""
    result = run("schema")
    assert (result.code, result.err) == (0, "")
    assert result.document["$schema"].startswith("https://json-schema.org/")
    assert {"service", "channels", "rules"} <= result.document["properties"].keys()


def test_the_installed_command_works() -> None:
    """What `pip install` puts beside the interpreter is the same program."""
    command = Path(sys.executable).with_name("monitor")
    done = subprocess.run([command, "version"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().startswith(f"slo-monitor {__version__} ")


def test_a_reader_that_has_enough_is_no_accident() -> None:
    """`monitor schema | head -1` ends without a traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "monitor", "schema"],
            stdout=writer, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")
