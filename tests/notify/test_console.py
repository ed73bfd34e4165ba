"""The local inbox: a block to read, and a line to keep."""

from __future__ import annotations

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.model import DeliveryResult, SendReason
from monitor.notify.base import Notifier, NotifyIO
from monitor.notify.console import ConsoleConfig
from monitor.notify.render import CAUTION
from tests.notify.samples import HOSTILE, hostile, message


class Stuck(io.StringIO):
    """A console whose reader stopped reading."""

    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Event()

    def write(self, text: str) -> int:
        self.release.wait(10)
        return super().write(text)


def build(notify_io: NotifyIO, path: Path | None = None, timeout: str = "5s") -> Notifier:
    raw = {"kind": "console", "path": None if path is None else str(path), "timeout": timeout}
    return ConsoleConfig.model_validate(raw).build("inbox", notify_io)


async def test_a_message_is_printed_and_kept(notify_io: NotifyIO, tmp_path: Path) -> None:
    """People read the block, programs the line; each message adds one of both."""
    console = io.StringIO()
    inbox = build(replace(notify_io, console=console), tmp_path / "inbox.jsonl")
    for reason in (SendReason.FIRST, SendReason.RESOLVED):
        delivery = await inbox.send(message(reason, may_be_repeated=True), 10, None)
        assert delivery.result is DeliveryResult.DELIVERED
    blocks = console.getvalue()
    assert blocks.count("--- inbox ---") == 2
    assert "Measured: error_rate_5m = 7.25 %" in blocks
    assert CAUTION in blocks
    lines = (tmp_path / "inbox.jsonl").read_text().splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["incident.first", "incident.resolved"]


async def test_an_unwritable_file_is_tried_again(notify_io: NotifyIO, tmp_path: Path) -> None:
    """Nothing was told, and the detail names the file and the reason."""
    console = io.StringIO()
    inbox = build(replace(notify_io, console=console), tmp_path / "missing" / "inbox.jsonl")
    delivery = await inbox.send(message(), 10, None)
    assert delivery.result is DeliveryResult.RETRY
    assert "No such file" in delivery.detail
    assert console.getvalue() == ""


@pytest.mark.parametrize(
    ("kept", "result"), [(True, DeliveryResult.DELIVERED), (False, DeliveryResult.RETRY)]
)
async def test_a_closed_console_costs_no_message(
    notify_io: NotifyIO, tmp_path: Path, result: DeliveryResult, *, kept: bool
) -> None:
    """With a file the message is delivered anyway; without one it was told to nobody."""
    console = io.StringIO()
    console.close()
    path = tmp_path / "inbox.jsonl" if kept else None
    delivery = await build(replace(notify_io, console=console), path).send(message(), 10, None)
    assert delivery.result is result
    assert "console" in delivery.detail


async def test_a_stuck_console_does_not_hold_the_loop(notify_io: NotifyIO) -> None:
    """The attempt ends at its limit, as unknown; what waits behind it was certainly not written."""
    console = Stuck()
    with ThreadPoolExecutor(1) as single:
        inbox = build(replace(notify_io, console=console, executor=single), timeout="50ms")
        stuck = await inbox.send(message(), 10, None)
        queued = await inbox.send(message(), 10, None)
        console.release.set()
    assert [stuck.result, queued.result] == [DeliveryResult.UNCERTAIN, DeliveryResult.RETRY]


async def test_a_stuck_console_takes_one_thread_and_no_more(notify_io: NotifyIO) -> None:
    """However often it is tried, by whichever channel: other channels keep their threads."""
    console = Stuck()
    stuck = replace(notify_io, console=console)
    first = await build(stuck, timeout="50ms").send(message(), 10, None)
    later = [await build(stuck).send(message(), 10, None) for _ in range(2)]
    free = notify_io.executor.submit(lambda: "free").result(timeout=5)
    console.release.set()
    assert first.result is DeliveryResult.UNCERTAIN
    assert [each.result for each in later] == [DeliveryResult.RETRY] * 2
    assert free == "free"


async def test_a_stuck_console_repeats_no_line_of_the_file(
    notify_io: NotifyIO, tmp_path: Path
) -> None:
    """Once the line is kept the message is delivered, so it is not sent again."""
    console = Stuck()
    path = tmp_path / "inbox.jsonl"
    inbox = build(replace(notify_io, console=console), path, timeout="50ms")
    delivery = await inbox.send(message(), 10, None)
    console.release.set()
    assert delivery.result is DeliveryResult.DELIVERED
    assert len(path.read_text().splitlines()) == 1


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_text_prints_anywhere(
    notify_io: NotifyIO, tmp_path: Path, encoding: str, text: str
) -> None:
    """A console in the C locale shows what it can, and no terminal control gets through."""
    raw = io.BytesIO()
    console = io.TextIOWrapper(raw, encoding=encoding)
    inbox = build(replace(notify_io, console=console), tmp_path / "inbox.jsonl")
    delivery = await inbox.send(hostile(text), 10, None)
    assert delivery.result is DeliveryResult.DELIVERED
    printed = raw.getvalue().decode(encoding)
    assert not any(ord(char) < 32 and char != "\n" for char in printed)
    assert len((tmp_path / "inbox.jsonl").read_text().splitlines()) == 1


def test_the_inbox_neither_merges_nor_escalates(notify_io: NotifyIO) -> None:
    """Repeats are visible, so they are marked; reminders make sense."""
    inbox = build(notify_io)
    assert (inbox.deduplicates, inbox.repeats) == (False, True)
