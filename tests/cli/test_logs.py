"""Logs: JSON lines, and a reader that stops reading costs lines and nothing else."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from monitor.cli.logs import QUEUE_LINES, JsonFormatter, LogPipe

log = logging.getLogger("monitor.somewhere")


def line(message: Any, *arguments: object, **fields: Any) -> dict[str, Any]:
    """Return a record's line, read back."""
    exc_info = fields.pop("exc_info", None)
    record = logging.LogRecord("l", logging.WARNING, "f.py", 1, message, arguments, exc_info)
    vars(record).update(fields)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    document: dict[str, Any] = json.loads(text)
    return document


def test_a_line() -> None:
    """Time, level, logger, message, and the extra fields under their own names."""
    said = line("slept %d s", 3, channel="slack", attempts=2)
    assert said.pop("time").endswith("+00:00")
    assert said == {
        "level": "warning",
        "logger": "l",
        "message": "slept 3 s",
        "channel": "slack",
        "attempts": 2,
    }


def test_a_traceback_stays_on_one_line() -> None:
    """The exception is a field."""
    try:
        raise ValueError("two\nlines")  # noqa: EM101, TRY003, TRY301 - raised to be logged
    except ValueError:
        said = line("failed", exc_info=sys.exc_info())
    assert "Traceback" in said["exception"]
    assert said["exception"].endswith("ValueError: two\nlines")


class Silent:
    """Something that cannot even be shown."""

    def __repr__(self) -> str:
        msg = "no"
        raise RuntimeError(msg)


def test_an_extra_field_replaces_nothing() -> None:
    """Time, level and logger are ours."""
    said = line("x", level="loud", logger="somebody", time="never")
    assert (said["level"], said["logger"]) == ("warning", "l")
    assert said["time"] != "never"


@pytest.mark.parametrize(
    ("arguments", "fields"), [(("x",), {}), ((), {"odd": {(1, 2): 3}}), ((), {"odd": Silent()})]
)
def test_a_line_that_cannot_be_written_is_said_otherwise(
    arguments: tuple[object, ...], fields: dict[str, object]
) -> None:
    """A mistake in one log call neither raises nor ends the writing of all others."""
    said = line("no arguments wanted", *arguments, **fields)
    assert said["message"].startswith("not writable (")
    assert said["message"].endswith("): no arguments wanted")


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    """Yield a pipe's reading and writing end; the root logger is put back afterwards."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    reader, writer = os.pipe()
    yield reader, writer
    root.handlers[:], level = before
    root.setLevel(level)
    os.close(reader)
    os.close(writer)


def test_lines_arrive_in_order(ends: tuple[int, int]) -> None:
    """Below the level nothing is written; `flush` waits for the rest."""
    reader, writer = ends
    pipe = LogPipe(writer, "info", lambda: None)
    pipe.start()
    for number in range(100):
        log.info("line %d", number)
        log.debug("unseen")
    pipe.flush()
    lines = os.read(reader, 1 << 16).decode().splitlines()
    assert [json.loads(each)["message"] for each in lines] == [f"line {n}" for n in range(100)]
    pipe._listener.stop()


def test_a_reader_that_stopped_reading_costs_lines_only(ends: tuple[int, int]) -> None:
    """Memory is bounded, what is lost is counted, no call waits, and neither does the end."""
    reader, writer = ends
    lost: list[None] = []
    pipe = LogPipe(writer, "info", lambda: lost.append(None))
    pipe.start()
    started = time.monotonic()
    try:
        for _ in range(QUEUE_LINES + 5000):
            log.info("x" * 100)
        pipe.flush()
        assert time.monotonic() - started < 5
        # What the pipe and the writer's hands hold is written or about to be.
        assert 4000 < len(lost) <= 5000
        assert QUEUE_LINES - 1000 < pipe._lines.qsize() <= QUEUE_LINES
    finally:
        # A writer that is left waiting would write into whatever gets its descriptor next.
        os.set_blocking(reader, False)
        while pipe._lines.unfinished_tasks:
            with suppress(BlockingIOError):
                os.read(reader, 1 << 20)
        pipe._listener.stop()


@pytest.mark.usefixtures("ends")
def test_a_reader_that_is_gone_is_survived() -> None:
    """A closed pipe ends no monitoring: lines are thrown away."""
    gone, into = os.pipe()
    os.close(gone)
    pipe = LogPipe(into, "info", lambda: None)
    pipe.start()
    for _ in range(10):
        log.info("x")
    pipe.flush()
    assert pipe._lines.unfinished_tasks == 0
    pipe._listener.stop()
    os.close(into)
