"""When our own event loop stood still, so that its delay is not taken for a target's latency.

Owns the record of stalls and the heartbeat that finds them. Corrects nothing: a probe asks how
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


async def watch(
    log: StallLog, monotonic: Callable[[], float], interval_s: float = INTERVAL_S
) -> None:
    """Beat for `log` on the running loop until cancelled; `interval_s` is that of the log."""
    try:
        while True:
            log.beat(monotonic())
            await asyncio.sleep(interval_s)
    finally:
        log.stop()
