"""Virtual time: an event loop whose clock jumps to the next timer instead of waiting.

Uses only asyncio's public API: a selector that never blocks and `loop.time()`. A loop with nothing
ready and no timer left raises `DeadlockError` instead of hanging.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar, TypeVarTuple, Unpack

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class DeadlockError(RuntimeError):
    """Every task waits for something that no timer and no event will ever bring."""


class _JumpingSelector(selectors.BaseSelector):
    """Polls the real selector without waiting and lets the loop's clock jump when it is idle."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        self._real = selectors.DefaultSelector()
        self._jump = jump

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0:
            # Callbacks are waiting: they are quick, and the outside world can wait for them.
            return []
        if ready := self._real.select(0):
            return ready
        if timeout is None:
            msg = "nothing is ready and no timer is left"
            raise DeadlockError(msg)
        self._jump(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time; `time()` starts at 0."""

    def __init__(self) -> None:
        """Start at time 0."""
        self._virtual_s = 0.0
        super().__init__(_JumpingSelector(self._jump))
        # Of the system's clock it is 1 ns, which is lost beside half a year: a timer that is due
        # would never be due.
        self._clock_resolution = 1e-7

    def time(self) -> float:
        """Return virtual seconds since the loop was made."""
        return self._virtual_s

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Wait for `func` in real time and give its result in the next round of the loop.

        While a thread works, virtual time would run ahead of it.
        """
        done = (executor or InlineExecutor()).submit(func, *args)
        result: asyncio.Future[T] = self.create_future()
        error = done.exception()
        if error is None:
            self.call_soon(_unless_cancelled, result, result.set_result, done.result())
        else:
            self.call_soon(_unless_cancelled, result, result.set_exception, error)
        return result

    def _jump(self, seconds: float) -> None:
        self._virtual_s += seconds


def _unless_cancelled(future: asyncio.Future[Any], settle: Callable[[Any], None], to: Any) -> None:
    if not future.cancelled():
        settle(to)


class VirtualClock:
    """`Clock` of a virtual world: UTC starts at `start` and follows the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: float) -> None:
        """`start` is in UTC seconds."""
        self._loop = loop
        self._start = start

    def now(self) -> float:
        """Return UTC seconds."""
        return self._start + self._loop.time()

    def monotonic(self) -> float:
        """Return seconds since the world began."""
        return self._loop.time()

    def wall(self, at: float) -> float:
        """Return `at`: clocks in a story agree."""
        return at


class InlineExecutor(Executor):
    """Runs each job when it is submitted, so that no thread outruns virtual time."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn` now and return its finished future."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - an executor hands every error to its future
            future.set_exception(error)
        return future
