"""The one connection that a probe keeps between its runs. Owns when it is given up."""

from __future__ import annotations

import asyncio

from monitor.probes.http.trace import Trace
from monitor.probes.http.wire import ResponseProtocol


class KeptConnection:
    """Holds at most one idle connection; whoever takes it has it alone."""

    __slots__ = ("_certificate_expires_at", "_idle", "_idle_s", "_is_over", "_timer")

    def __init__(self, idle_s: float) -> None:
        """Close a connection that nobody takes for `idle_s`."""
        self._idle_s = idle_s
        self._is_over = False
        self._idle: ResponseProtocol | None = None
        self._certificate_expires_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def take(self, trace: Trace) -> ResponseProtocol | None:
        """Return the connection, when it is still open; `trace` hears of its certificate."""
        idle, self._idle = self._idle, None
        if self._timer is not None:
            self._timer.cancel()
        if idle is None or not idle.is_idle:
            return None
        trace.saw_certificate(self._certificate_expires_at)
        return idle

    def put(self, answer: ResponseProtocol, trace: Trace) -> None:
        """Keep the connection of `answer`, when it can be used again and there is none yet."""
        if not answer.is_idle:
            return
        if self._idle is not None or self._is_over:
            answer.abort()
            return
        self._idle = answer
        self._certificate_expires_at = trace.certificate_expires_at
        self._timer = asyncio.get_running_loop().call_later(self._idle_s, self._give_up)

    def close(self) -> None:
        """Keep nothing any more."""
        self._is_over = True
        self._give_up()

    def _give_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._idle is not None:
            self._idle.abort()
            self._idle = None
