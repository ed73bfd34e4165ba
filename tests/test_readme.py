"""The README is true: every block in it runs, against the demo that it describes."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from monitor.cli.main import main
from monitor.config.load import load_plan

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ENV = {
    "SLACK_WEBHOOK": "https://hooks.slack.com/services/T/B/X",
    "PAGERDUTY_ROUTING_KEY": "0" * 32,
    "GITHUB_TOKEN": "x",
    "SMTP_PASSWORD": "x",
    "MONITOR_TOKEN": "x",
}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and its text."""

    language: str
    text: str


BLOCKS = [
    Block(*match)
    for match in re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
]


def of(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language]


def shape(text: str) -> str:
    """Return a text without what differs from run to run: figures, times, ids, bars, spacing."""
    text = re.sub(r"\([0-9a-f]{10}\)", "(id)", text)
    text = re.sub(r"/(ack|silence)/\w+\?until=\d+&sig=\w+", r"/\1/link", text)
    # The page may go out a moment before the probes have seen the new release.
    text = re.sub(r"Revision: \S+", "Revision: known", text)
    # Which probe fails first, and whether it was looked into before the page, is chance.
    text = re.sub(r"- (\S+ )?diagnosis .*\n", "", text)
    text = re.sub(r"Release: .*", "Release: known", text)
    text = re.sub(r"Z (home|health|assets) in", "Z probe in", text)
    # How long the budget lasts depends on how many of the first samples were bad.
    text = re.sub(r"Budget left: .*", "Budget left: known", text)
    text = re.sub(r"Lasted: \S+", "Lasted: a while", text)
    text = re.sub(r"\(\S+ ago\)", "(a while ago)", text)
    text = re.sub(r"\d\d\d\d-\d\d-\d\dT[\d:]+Z", "time", text)
    text = re.sub(r"(?<![\w.])-?\d+(\.\d+)?(?![\w.])|\b\d+(\.\d+)?(?=s|%| ms)", "#", text)
    return " ".join(re.sub(r"#{2,}", "", text).split())


def test_no_kind_of_block_is_left_out() -> None:
    """Whoever adds a block in another language must say here how it is run."""
    assert {block.language for block in BLOCKS} == {"sh", "console", "text", "yaml"}


def test_the_two_commands_are_what_make_knows() -> None:
    """`make run` and `make test` exist, and run the demo and the tests."""
    commands = [line for block in of("sh") for line in block.text.splitlines()]
    assert commands == ["make run", "make test"]
    recipes = [
        subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True)
        for target in ("run", "test")
    ]
    assert "examples/demo.py" in recipes[0].stdout
    assert "-m pytest" in recipes[1].stdout


def test_every_configuration_in_the_readme_loads(tmp_path: Path) -> None:
    """Each YAML block is a file that is accepted together with the others before it."""
    loaded = 0
    rules = next(block for block in of("yaml") if block.text.startswith("# alerts.yml"))
    (tmp_path / "alerts.yml").write_text(rules.text)
    for block in of("yaml"):
        if block.text.startswith("# monitor.yml"):
            (tmp_path / "monitor.yml").write_text(block.text)
            assert load_plan(tmp_path / "monitor.yml", ENV).rules
            loaded += 1
    assert loaded == len(of("yaml")) - 1


def test_every_linked_file_exists() -> None:
    """A relative link leads to something in this repository."""
    links = re.findall(r"\]\(([^)#]+)\)", README)
    here = [link for link in links if "://" not in link]
    assert here
    assert [link for link in here if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("name", ["compose.yml", "kubernetes.yml", "prometheus.yml"])
def test_the_container_examples_are_sound(name: str) -> None:
    """They parse, and every file of ours that they mount is there."""
    text = (ROOT / "examples" / name).read_text()
    assert yaml.safe_load(text)
    mounted = re.findall(r"^\s+- (\.[./\w-]*):", text, re.MULTILINE)
    assert [path for path in mounted if not (ROOT / "examples" / path).exists()] == []


def test_the_commented_example_is_accepted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`monitor check` has nothing against monitor.yml once its variables are set."""
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    assert main(["check", "--config", str(ROOT / "monitor.yml")]) == 0
    assert "dermatology-ai-production" in capsys.readouterr().out


@asynccontextmanager
async def demo(output: Path) -> AsyncIterator[None]:
    """Run the demo as `make run` does; its terminal goes to `output`."""
    with output.open("wb") as terminal:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "examples/demo.py", cwd=ROOT, stdout=terminal, stderr=terminal
        )
        try:
            yield
        finally:
            process.terminate()
            assert await process.wait() == 0, output.read_text()


async def prompt(command: str) -> str:
    """Return what a command says, as a newcomer's shell would show it."""
    bin_directory = Path(sys.executable).parent
    process = await asyncio.create_subprocess_shell(
        command.replace(".venv/bin/", f"{bin_directory}/"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return said.decode()


async def comes_true(command: str, expected: str, within_s: float = 20.0) -> None:
    """Run `command` until it says what the README shows."""
    said = ""
    for _ in range(int(within_s)):
        said = await prompt(command)
        if shape(said) == shape(expected):
            return
        await asyncio.sleep(1)
    assert shape(said) == shape(expected), f"$ {command}\n{said}"


async def test_the_walk_through_happens_as_it_is_told(tmp_path: Path) -> None:
    """Every console and text block, in order, against the running demo."""
    output = tmp_path / "terminal.txt"
    async with demo(output):
        await comes_true(
            ".venv/bin/monitor query coverage_1m --environment production >/dev/null && "
            ".venv/bin/monitor query samples_1m | awk '{print ($1 >= 12)}'",
            "1",
        )
        for block in BLOCKS:
            if block.language == "text":
                await appears(output, block.text)
            if block.language == "console":
                for entry in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                    command, _, expected = entry.partition("\n")
                    await comes_true(command, expected)


async def appears(output: Path, text: str, within_s: float = 120.0) -> None:
    """Wait until the demo's terminal shows `text`."""
    for _ in range(int(within_s)):
        if shape(text) in shape(output.read_text()):
            return
        await asyncio.sleep(1)
    raise AssertionError(output.read_text())
