"""Runs commands as a shell would: arguments in, exit code and both streams out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.cli.main import main

CONFIG = {
    "service": "shop",
    "environments": {"Production": {"url": "http://127.0.0.1:9", "sla": "99.9% uptime"}},
    "rules": {
        "alerts": [
            {
                "name": "errors",
                "condition": "error_rate_5m > 5",
                "severity": "critical",
                "channels": ["slack"],
            }
        ]
    },
    "channels": {"slack": {"kind": "slack", "url": {"env": "SLACK_WEBHOOK"}}},
}


@dataclass(frozen=True, slots=True)
class Result:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The answer of `--output json`; it must be all that is on stdout."""
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command in this process; a usage error's exit is an exit code like any other."""

    def run_command(*arguments: object) -> Result:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as left:
            code = int(left.code or 0)
        out, err = capsys.readouterr()
        for said in (out, err):
            assert "\x1b" not in said
            assert "Traceback" not in said
        return Result(code, out, err)

    return run_command


async def aside(run: Run, *arguments: object) -> Result:
    """Run a command in a thread, while the servers that it asks run in this one."""
    return await asyncio.to_thread(run, *arguments)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a configuration: CONFIG with changes on top; return its path."""
    monkeypatch.setenv("SLACK_WEBHOOK", "http://127.0.0.1:9/services/T000/B000/canarySlackToken")

    def write_config(**changes: Any) -> Path:
        path = tmp_path / "monitor.yml"
        path.write_text(yaml.safe_dump({**CONFIG, **changes}))
        return path

    return write_config
