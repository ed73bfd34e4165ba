"""When our own event loop stood still, so that its delay is not taken for a target's latency.

Owns the record of stalls and the pulse that finds them. Corrects nothing: a probe asks how
much of a measured span may have been our own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

INTERVAL_S = 0.02
MARGIN_S = 0.005
"""A heartbeat that is later than this betrays a stall."""
KEPT = 512
"""Stalls that are remembered: at one in 100 ms, those of the last 50 s."""


class StallLog:
    """The latest stalls as (start, end), in the seconds of the probes' monotonic clock."""

    __slots__ = ("_last_beat", "_longest_gap_s", "_stalls")

    def __init__(self, interval_s: float = INTERVAL_S, margin_s: float = MARGIN_S) -> None:
        """Expect a beat every `interval_s`, at most `margin_s` late."""
        self._longest_gap_s = interval_s + margin_s
        self._last_beat: float | None = None
        self._stalls: deque[tuple[float, float]] = deque(maxlen=KEPT)

    def beat(self, now: float) -> None:
        """Note that the loop is alive; a long gap since the last beat is a stall."""
        last = self._last_beat
        if last is not None and now - last > self._longest_gap_s:
            # Somewhere in between it began; the whole gap is suspect.
            self._stalls.append((last, now))
        self._last_beat = now

    def stop(self) -> None:
        """Expect no more beats, so that silence is no stall."""
        self._last_beat = None

    def overlap(self, start: float, end: float) -> float:
        """Return for how many of the seconds from `start` to `end` (now) we may have stood still.

        Includes a stall that ended just now: on some loops answers are read before the heartbeat
        that would have told.
        """
        total = 0.0
        last = self._last_beat
        if last is not None and end - last > self._longest_gap_s:
            total = end - max(start, last)
        for since, until in reversed(self._stalls):
            if until <= start:
                break
            total += max(0.0, min(end, until) - max(start, since))
        return total


class Pulse:
    """Beats for a log while probes are under way; when none is, nothing can be mismeasured.

    An idle loop is left asleep: waking it up fifty times a second would cost more than many probes.
    """

    __slots__ = ("_busy", "_interval_s", "_log", "_monotonic", "_timer")

    def __init__(
        self, log: StallLog, monotonic: Callable[[], float], interval_s: float = INTERVAL_S
    ) -> None:
        """`interval_s` is that of the log, `monotonic` its clock."""
        self._log = log
        self._monotonic = monotonic
        self._interval_s = interval_s
        self._busy = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """A probe begins."""
        self._busy += 1
        if self._timer is None:
            self._beat()

    def end(self) -> None:
        """A probe has ended."""
        self._busy -= 1
        if not self._busy and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._log.stop()

    def _beat(self) -> None:
        self._log.beat(self._monotonic())
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._interval_s, self._beat)
