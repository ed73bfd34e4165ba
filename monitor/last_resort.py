"""The file of last resort: messages that no channel would take, one JSON line each.

Owns the form of a line and the size of the file. Decides nothing about delivery, and keeps no
message that some channel accepted. Writing happens on a thread and never holds up a channel.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from monitor.metrics import Telemetry
from monitor.model import Incident, SendReason

log = logging.getLogger(__name__)

FILE_NAME = "undelivered.jsonl"
FILE_LIMIT_BYTES = 10_000_000
FIELD_LIMIT = 2000
"""Characters of a text in a line; with it a line stays well below the size of the file."""
WRITE_DEADLINE_S = 5.0
REMEMBERED = 10_000
"""Messages that are known to be in the file, oldest forgotten first."""

Append = Callable[[bytes], None]
"""Adds one line to the file; blocks, and raises OSError when it cannot."""


@dataclass(frozen=True, slots=True)
class RotatingFile:
    """Appends lines to `path`; at `limit_bytes` it becomes `<path>.1`, whose predecessor goes."""

    path: Path
    limit_bytes: int = FILE_LIMIT_BYTES

    def __call__(self, line: bytes) -> None:
        """Append `line`.

        Raises:
            OSError: it is not on the disk.
        """
        if self.path.exists() and self.path.stat().st_size + len(line) > self.limit_bytes:
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        # What was broken off by a full disk must not swallow the line after it.
        with self.path.open("ab+") as file:
            size = file.tell()
            file.seek(max(0, size - 1))
            if file.read(1) not in {b"", b"\n"}:
                file.write(b"\n")
            file.write(line)
        self.path.chmod(0o600)


class LastResort:
    """Writes down what could not be said; each message once for as long as this process lives."""

    def __init__(self, append: Append | None, executor: Executor, telemetry: Telemetry) -> None:
        """Use `append` on `executor`; without one (state in memory) the log alone has the line."""
        self._append = append
        self._executor = executor
        self._telemetry = telemetry
        self._written: dict[tuple[str, str, SendReason], None] = {}

    async def note(
        self, incident: Incident, channel: str, reason: SendReason, detail: str, at: float
    ) -> None:
        """Write down that `channel` refused for good at `at` (UTC seconds) and nobody else took it.

        Never raises for what the disk does: a line that cannot be written is logged.
        """
        key = (incident.id, channel, reason)
        if key in self._written:
            return
        self._written[key] = None
        if len(self._written) > REMEMBERED:
            del self._written[next(iter(self._written))]
        self._telemetry.count_undelivered()
        line = undelivered_line(incident, channel, reason, detail, at)
        if self._append is None or not await self._write(self._append, line):
            log.critical("undelivered, and not in the file of last resort: %s", line.decode())

    async def _write(self, append: Append, line: bytes) -> bool:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(WRITE_DEADLINE_S):
                await loop.run_in_executor(self._executor, append, line)
        except (OSError, RuntimeError) as error:  # TimeoutError is an OSError
            log.error("the file of last resort: %s", type(error).__name__)  # noqa: TRY400 - no trace needed
            return False
        return True


def undelivered_line(
    incident: Incident, channel: str, reason: SendReason, detail: str, at: float
) -> bytes:
    """Return the line about one message: plain ASCII JSON with its line break."""
    texts = {
        "channel": channel,
        "reason": reason.value,
        "detail": detail,
        "incident": incident.id,
        "key": incident.key,
        "rule": incident.rule,
        "deployment": incident.deployment,
        "environment": incident.environment,
        "severity": incident.severity.value,
        "summary": incident.summary,
        "condition": incident.condition,
    }
    document = {
        "at": _iso(at),
        **{name: text[:FIELD_LIMIT] for name, text in texts.items()},
        "started_at": _iso(incident.started_at),
        "opened_at": _iso(incident.opened_at),
        "resolved_at": None if incident.resolved_at is None else _iso(incident.resolved_at),
    }
    return json.dumps(document).encode("ascii") + b"\n"


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
