"""The deadline of one run: ends the task that runs it, once what had arrived by then was read.

After a stall a loop may run timers before it reads, so a deadline that simply fired would blame
the target for our own delay. Owns no meaning of a deadline: the probe says what it was waiting for.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

_TURN_S = 0.001
"""A new timer runs in a later turn of the loop, after it has looked at its sockets."""


class Deadline:
    """A context that raises TimeoutError when its body is not through after so many seconds.

    Cheaper than `asyncio.timeout`, and patient for one turn of the loop.
    """

    __slots__ = (
        "_cancelling",
        "_has_ended_it",
        "_loop",
        "_seconds",
        "_task",
        "_timer",
        "has_passed",
    )

    def __init__(self, seconds: float) -> None:
        """Use once, around awaits of the running task."""
        self._seconds = seconds
        self._has_ended_it = False
        self.has_passed = False
        """Whether the time is up; the body may still be through in the turn that is left."""

    def __enter__(self) -> Self:
        """Start the clock."""
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        if task is None:
            msg = "a deadline needs a task that it can end"
            raise RuntimeError(msg)
        self._task = task
        self._cancelling = task.cancelling()
        self._timer: asyncio.Handle = self._loop.call_later(self._seconds, self._pass)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the clock; turn our own cancellation, and no other, into TimeoutError."""
        self._timer.cancel()
        if (
            self._has_ended_it
            and self._task.uncancel() <= self._cancelling
            and kind is asyncio.CancelledError
        ):
            raise TimeoutError from error

    def _pass(self) -> None:
        self.has_passed = True
        self._timer = self._loop.call_later(_TURN_S, self._read_out)

    def _read_out(self) -> None:
        # Whoever got an answer in this turn is in line already, and comes first.
        self._timer = self._loop.call_soon(self._end)

    def _end(self) -> None:
        self._has_ended_it = True
        self._task.cancel()
