"""One exchange with one address without a task: its steps are the callbacks of its socket.

A task, its future and its coroutines cost as much as all else that a plain probe computes. Owns the
order of the steps and who ends them. Judges nothing and follows no redirect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from monitor.probes.deadline import Alarm, Line
from monitor.probes.failure import ProbeError, connect_failure
from monitor.probes.http.http2 import protocol_of
from monitor.probes.http.trace import CONNECT, Trace
from monitor.probes.http.wire import Exchange
from monitor.probes.sockets import DirectTransport, Sockets


class DirectRun(Alarm):
    """Under way from `start` until `conclude` is called or `cancel` was."""

    __slots__ = (
        "_conclude",
        "_host",
        "_line",
        "_port",
        "_task",
        "_transport",
        "answer",
        "failure",
        "trace",
    )

    def __init__(
        self,
        exchange: Exchange,
        trace: Trace,
        line: Line,
        conclude: Callable[[DirectRun], None],
    ) -> None:
        """`line` gives the time; `conclude` is called once, with this run."""
        super().__init__()
        self.trace = trace
        self.failure: ProbeError | None = None
        """Why there is no whole answer, unless the time was up (`is_overdue`)."""
        self.answer = protocol_of(exchange)(exchange, trace, self)
        self._line = line
        self._conclude = conclude
        self._task: asyncio.Task[None] | None = None
        self._transport: DirectTransport | None = None

    @property
    def is_overdue(self) -> bool:
        """Whether the time was up before there was any outcome."""
        return not self.answer.is_settled

    def start(self, sockets: Sockets, host: str, port: int) -> None:
        """Connect to the IP address `host`; what follows happens in callbacks."""
        self._host, self._port = host, port
        self._line.join(self)
        self.trace.enter(CONNECT)
        try:
            self._transport = sockets.open(self.answer, host, port)
        except OSError as error:
            self.answer.connection_failed(error)

    def go_on(self, rest: Coroutine[Any, Any, None]) -> None:
        """Leave the rest of the run to a task, which `cancel` then ends."""
        self._task = asyncio.get_running_loop().create_task(rest)

    def cancel(self) -> None:
        """End it; nobody hears of it any more."""
        if self._task is not None:
            self._task.cancel()
        self._leave()
        self._hang_up()

    # --- what its answer and its deadline say ---------------------------------------------------

    def done(self) -> bool:
        """Whether nobody waits for an outcome."""
        return self.is_over

    def set_result(self, failure: ProbeError | None) -> None:
        """Take the outcome of the exchange."""
        error = self.answer.connect_error
        self.failure = failure if error is None else connect_failure(error, self._host, self._port)
        self._leave()
        self._conclude(self)

    def end(self) -> None:
        """Take it that the time is up."""
        self._leave()
        self._hang_up()
        self._conclude(self)

    def _hang_up(self) -> None:
        # The answer does not know of a connection that is still to stand.
        if self._transport is not None:
            self._transport.abort()
        self.answer.abort()

    def _leave(self) -> None:
        self.stop()
        self._line.leave()
