"""The deadline of one run: ends it, once what had arrived by then was read.

After a stall a loop may run timers before it reads, so a deadline that simply fired would blame
the target for our own delay. Owns no meaning of a deadline: the probe says what it was waiting for.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

_TURN_S = 0.001
"""A new timer runs in a later turn of the loop, after it has looked at its sockets."""


class Alarm(ABC):
    """Something that has to be over in time; `end` is called when it is not.

    Patient for one turn of the loop.
    """

    __slots__ = ("_timer", "at", "has_passed", "is_over")

    def __init__(self) -> None:
        """Begin without a time; a `Line` or the owner sets it."""
        self._timer: asyncio.Handle | None = None
        self.at = 0.0
        """When the time will be up, by the clock of the line."""
        self.has_passed = False
        """Whether the time is up; it may still be over in the turn that is left."""
        self.is_over = False

    @abstractmethod
    def end(self) -> None:
        """Give up what is not over."""

    def expire(self) -> None:
        """Begin the end: the time is up."""
        self.has_passed = True
        self._timer = asyncio.get_running_loop().call_later(_TURN_S, self._read_out)

    def stop(self) -> None:
        """It is over: call nobody any more."""
        self.is_over = True
        if self._timer is not None:
            self._timer.cancel()

    def _read_out(self) -> None:
        # Whoever got an answer in this turn is in line already, and comes first.
        self._timer = asyncio.get_running_loop().call_soon(self.end)


class Deadline(Alarm):
    """A context that raises TimeoutError when its body is not through after so many seconds."""

    __slots__ = ("_cancelling", "_has_ended_it", "_line", "_seconds", "_task")

    def __init__(self, seconds: float, line: Line | None = None) -> None:
        """Use once, around awaits of the running task; without a `line` it has its own timer."""
        super().__init__()
        self._seconds = seconds
        self._line = line
        self._has_ended_it = False

    def __enter__(self) -> Self:
        """Start the clock."""
        task = asyncio.current_task()
        if task is None:
            msg = "a deadline needs a task that it can end"
            raise RuntimeError(msg)
        self._task = task
        self._cancelling = task.cancelling()
        if self._line is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self.expire)
        else:
            self._line.join(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the clock; turn our own cancellation, and no other, into TimeoutError."""
        self.stop()
        if self._line is not None:
            self._line.leave()
        if (
            self._has_ended_it
            and self._task.uncancel() <= self._cancelling
            and kind is asyncio.CancelledError
        ):
            raise TimeoutError from error

    def end(self) -> None:
        """End the task."""
        self._has_ended_it = True
        self._task.cancel()


class Line:
    """Deadlines of one length: they pass in the order in which they began.

    So one timer, for the first of them, does for all. A timer for each costs more than most of
    what else a probe does, and hardly any ever runs.
    """

    __slots__ = ("_now", "_queue", "_seconds", "_timer")

    def __init__(self, seconds: float, now: Callable[[], float]) -> None:
        """Every deadline is `seconds` long by the clock `now` (s)."""
        self._seconds = seconds
        self._now = now
        self._queue: deque[Alarm] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def join(self, alarm: Alarm) -> None:
        """Start the clock of `alarm`."""
        alarm.at = self._now() + self._seconds
        self._queue.append(alarm)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._look)

    def leave(self) -> None:
        """Forget those in front that are over."""
        # The timer stays: most of the time the next one has joined when it runs.
        queue = self._queue
        while queue and queue[0].is_over:
            queue.popleft()

    def _look(self) -> None:
        queue, now = self._queue, self._now()
        while queue and (queue[0].is_over or queue[0].at <= now):
            first = queue.popleft()
            if not first.is_over:
                first.expire()
        self._timer = None
        if queue:
            wait_s = queue[0].at - now
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._look)


class Deadlines:
    """The lines of deadlines that share a timer."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        """Begin without any; use it on one loop."""
        self._lines: dict[float, Line] = {}

    def after(self, seconds: float, now: Callable[[], float]) -> Deadline:
        """Return a deadline for a task, on the line of so many seconds."""
        return Deadline(seconds, self.line(seconds, now))

    def line(self, seconds: float, now: Callable[[], float]) -> Line:
        """Return the line of so many seconds of the clock `now`, which is always the same one.

        Lengths are remembered: they should come from the configuration.
        """
        line = self._lines.get(seconds)
        if line is None:
            line = self._lines[seconds] = Line(seconds, now)
        return line
