"""A local inbox: every message as a readable block on the console, and as a JSON line in a file.

For trying things out, and as the channel of last resort. The file counts: once a line is in it,
the message is delivered, whatever happens to the console.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Lock
from typing import ClassVar, Literal, TextIO

from pydantic import Field

from monitor.fields import Duration
from monitor.model import Delivery, DeliveryResult, Message
from monitor.notify import blocking
from monitor.notify.base import ChannelConfig, Notifier, NotifyIO
from monitor.notify.http import shown
from monitor.notify.render import document, render

TURN_S = 0.5
"""How long a message waits for one before it; longer would keep threads from other channels."""


class ConsoleConfig(ChannelConfig):
    """Writes to the console, and to a file of JSON lines when `path` is set."""

    example: ClassVar[str] = "{kind: console, path: inbox.jsonl}"

    kind: Literal["console"]
    path: str | None = None
    """File to append one JSON document a line to; created when missing."""
    timeout_s: Duration = Field(alias="timeout", default=5.0)
    """How long one attempt may take."""

    def build(self, name: str, io: NotifyIO) -> Notifier:
        """Return the notifier."""
        return ConsoleNotifier(name, self, io)


class ConsoleNotifier:
    """Writes one block for each send."""

    deduplicates = False
    repeats = True
    updates = True
    repeat_s: float | None = None
    rate_per_s = 100.0
    burst = 100

    def __init__(self, name: str, config: ConsoleConfig, io: NotifyIO) -> None:
        """Write as channel `name`, on the executor of `io`: a console may block."""
        self._name = name
        self._config = config
        self._io = io
        self._file_turn = Lock()
        """A file that hangs (a dead network disk) costs one thread of the pool, not all."""

    async def send(self, message: Message, deadline_s: float, remote_key: str | None) -> Delivery:  # noqa: ARG002 - nothing to refer to
        """Write `message` once: to the file if there is one, then to the console."""
        limit_s = min(self._config.timeout_s, deadline_s)
        block = f"\n--- {self._name} ---\n{render(message).plain()}\n---\n"
        path = self._config.path
        if path is None:
            return await self._try(partial(self._print, block), limit_s)
        line = json.dumps(document(message, message.incident.id)) + "\n"
        kept = await self._try(partial(self._append, Path(path), line.encode()), limit_s)
        if kept.result is not DeliveryResult.DELIVERED:
            return kept
        printed = await self._try(partial(self._print, block), limit_s)
        return Delivery(result=DeliveryResult.DELIVERED, detail=printed.detail)

    async def _try(self, work: Callable[[], Delivery], limit_s: float) -> Delivery:
        try:
            return await blocking.run(self._io.executor, limit_s, work)
        except blocking.NotStartedError as error:
            return Delivery(result=DeliveryResult.RETRY, detail=str(error))
        except TimeoutError:
            detail = f"writing took longer than {limit_s:g} s"
            return Delivery(result=DeliveryResult.UNCERTAIN, detail=detail)

    def _append(self, path: Path, line: bytes) -> Delivery:
        if not self._file_turn.acquire(timeout=TURN_S):
            detail = f"{path} is stuck: an earlier message is still being written to it"
            return Delivery(result=DeliveryResult.RETRY, detail=shown(detail, ()))
        try:
            return _append(path, line)
        finally:
            self._file_turn.release()

    def _print(self, block: str) -> Delivery:
        turn = self._io.console_turn
        if not turn.acquire(timeout=TURN_S):
            detail = "the console is stuck: an earlier message is still being written to it"
            return Delivery(result=DeliveryResult.RETRY, detail=detail)
        try:
            _print(self._io.console, block)
        except (OSError, ValueError) as error:
            detail = f"cannot write to the console: {type(error).__name__}"
            return Delivery(result=DeliveryResult.RETRY, detail=detail)
        finally:
            turn.release()
        return Delivery(result=DeliveryResult.DELIVERED, detail="written")


def _append(path: Path, line: bytes) -> Delivery:
    try:
        with path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        detail = f"cannot write to {path}: {error.strerror}"
        return Delivery(result=DeliveryResult.RETRY, detail=shown(detail, ()))
    return Delivery(result=DeliveryResult.DELIVERED)


def _print(console: TextIO, block: str) -> None:
    # A console in the C locale cannot show everything; it must not refuse a page for that.
    encoding = getattr(console, "encoding", None) or "utf-8"
    console.write(block.encode(encoding, "replace").decode(encoding))
    console.flush()
