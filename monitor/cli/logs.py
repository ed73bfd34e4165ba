"""JSON logs through a bounded queue: a blocked stdout loses lines, never the event loop's time."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import queue
import time
from collections.abc import Callable
from datetime import UTC, datetime

QUEUE_LINES = 10_000
FLUSH_S = 1.0
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; whatever cannot be encoded is shown by its repr."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        try:
            whole = {**line, "message": record.getMessage()}
            extra = vars(record).keys() - _STANDARD - whole.keys()
            whole |= {key: value for key, value in vars(record).items() if key in extra}
            if record.exc_info:
                whole["exception"] = self.formatException(record.exc_info)
            return json.dumps(whole, default=repr)
        except Exception as error:  # noqa: BLE001 - a line that cannot be written ends no logging
            words = f"not writable ({type(error).__name__}): {record.msg!s}"
            return json.dumps({**line, "message": words})


class _BoundedHandler(logging.handlers.QueueHandler):
    """Puts records on the queue without ever waiting."""

    def __init__(self, lines: queue.Queue[logging.LogRecord], dropped: Callable[[], None]) -> None:
        super().__init__(lines)
        self._dropped = dropped

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Keep the record whole: the formatter needs its extra fields and its traceback."""
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self._dropped()


class _DescriptorHandler(logging.Handler):
    """Writes straight to a descriptor: no lock is held in a write that blocks for ever."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def emit(self, record: logging.LogRecord) -> None:
        data = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            # Nobody reads any more (a closed pipe): monitoring goes on without logs.
            return


class LogPipe:
    """Everything between a logger call and the descriptor that takes the lines."""

    def __init__(self, descriptor: int, level: str, dropped: Callable[[], None]) -> None:
        """Send records at `level` or above to `descriptor`; `dropped` is called for each lost."""
        self._lines: queue.Queue[logging.LogRecord] = queue.Queue(QUEUE_LINES)
        writer = _DescriptorHandler(descriptor)
        writer.setFormatter(JsonFormatter())
        self._handler = _BoundedHandler(self._lines, dropped)
        self._listener = logging.handlers.QueueListener(self._lines, writer)
        self._level = level

    def start(self) -> None:
        """Install the handler and start the writing thread."""
        root = logging.getLogger()
        root.handlers[:] = [self._handler]
        root.setLevel(self._level.upper())
        # One line for each of our own outgoing requests would drown the transitions.
        for chatty in ("httpx2", "httpcore2", "aiohttp.access"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        self._listener.start()

    def flush(self) -> None:
        """Give the writer a moment to finish; it is not waited for when its reader is stuck."""
        end = time.monotonic() + FLUSH_S
        while self._lines.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.01)
