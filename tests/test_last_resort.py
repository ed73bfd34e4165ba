"""The file of last resort."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import metrics
from monitor.last_resort import FILE_NAME, LastResort, RotatingFile, undelivered_line
from monitor.metrics import Telemetry
from monitor.model import Incident, SendReason, Severity
from monitor.scenario.loop import InlineExecutor
from tests.support.virtual import run

INCIDENT = Incident(
    id="i1", key="slo-monitor/shop/down", rule="down", deployment="shop", service="shop",
    environment="Production", severity=Severity.CRITICAL, channels=("slack",),
    condition="uptime_percentage < 99", summary="shop is down", started_at=90.0, opened_at=100.0,
)  # fmt: skip


def undelivered(telemetry: Telemetry) -> float:
    return next(v for series, _, v in telemetry.numbers() if series is metrics.UNDELIVERED)


async def test_a_message_that_nobody_takes_is_a_line(tmp_path: Path) -> None:
    """All that is needed to act on it by hand, once however often it is refused."""
    telemetry = Telemetry()
    path = tmp_path / FILE_NAME
    with ThreadPoolExecutor(1) as executor:
        last = LastResort(RotatingFile(path), executor, telemetry)
        for _ in range(2):
            await last.note(INCIDENT, "slack", SendReason.FIRST, "403: invalid_token", 110.0)
        await last.note(INCIDENT, "slack", SendReason.RESOLVED, "403: invalid_token", 200.0)
    first, second = [json.loads(line) for line in path.read_text().splitlines()]
    assert (first["reason"], second["reason"]) == ("first", "resolved")
    assert (first["at"], first["summary"]) == ("1970-01-01T00:01:50+00:00", "shop is down")
    assert undelivered(telemetry) == 2
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("error", [OSError("no space left"), RuntimeError("shut down")])
def test_a_disk_that_refuses(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """The message is in the log instead, and whoever noted it does not fail."""

    def refuse(_line: bytes) -> None:
        raise error

    last = LastResort(refuse, InlineExecutor(), Telemetry())
    run(last.note(INCIDENT, "slack", SendReason.FIRST, "403", 110.0))
    assert "shop is down" in caplog.text


def test_without_a_directory_the_log_has_it(caplog: pytest.LogCaptureFixture) -> None:
    """State in memory means no file."""
    run(
        LastResort(None, InlineExecutor(), Telemetry()).note(
            INCIDENT, "slack", SendReason.FIRST, "403", 110.0
        )
    )
    assert "shop is down" in caplog.text


def test_the_file_is_bounded(tmp_path: Path) -> None:
    """At its limit it is rotated once: never more than two files of that size."""
    path = tmp_path / FILE_NAME
    append = RotatingFile(path, limit_bytes=100)
    for number in range(50):
        append(b"%030d\n" % number)
    assert sorted(each.name for each in tmp_path.iterdir()) == [FILE_NAME, f"{FILE_NAME}.1"]
    assert all(each.stat().st_size <= 100 for each in tmp_path.iterdir())
    assert path.read_bytes().splitlines()[-1] == b"%030d" % 49


def test_a_line_that_was_broken_off(tmp_path: Path) -> None:
    """A full disk costs the line that did not fit, not the one after it."""
    path = tmp_path / FILE_NAME
    path.write_bytes(b'{"at"')
    RotatingFile(path)(b"{}\n")
    assert path.read_bytes() == b'{"at"\n{}\n'


@given(st.text(), st.text(min_size=3000, max_size=9000))
def test_a_line_is_one_line_whatever_is_in_it(summary: str, detail: str) -> None:
    """Hostile text neither breaks the file nor fills it."""
    incident = replace(INCIDENT, summary=summary)
    line = undelivered_line(incident, "slack", SendReason.FIRST, detail, 110.0)
    assert line.count(b"\n") == 1
    assert len(line) < 100_000
    assert json.loads(line)["summary"] == summary[:2000]
