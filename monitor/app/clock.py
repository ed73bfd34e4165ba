"""The process's own timeline: UTC that follows the wall clock's rate but never its jumps."""

from __future__ import annotations

import logging
import time

log = logging.getLogger(__name__)

STEP_S = 2.0
"""A difference this large is a step (NTP at boot, an operator, a resumed machine), not drift."""
SLEW = 0.0005
"""Drift is followed at 500 ppm, as the kernel does."""


class SystemClock:
    """`Clock` that never goes backwards and never leaps.

    Alert timers and windows live on this timeline, so a wall clock that steps by an hour neither
    fires an alert nor empties a window. Small drift is followed slowly. `offset_s` is what the
    wall clock is ahead of the timeline since a step; a restart starts again at wall time.
    """

    def __init__(self) -> None:
        """Anchor the timeline at the wall clock."""
        self._now = time.time()
        self._last = time.monotonic()
        self.offset_s = 0.0
        self.steps = 0

    def now(self) -> float:
        """Return UTC seconds."""
        monotonic = time.monotonic()
        elapsed = monotonic - self._last
        self._last = monotonic
        self._now += elapsed
        drift = time.time() - self._now - self.offset_s
        if abs(drift) >= STEP_S:
            self.steps += 1
            self.offset_s += drift
            log.warning("the wall clock stepped by %+.1f s; alert timers are not affected", drift)
        elif drift > 0:
            self._now += min(elapsed * SLEW, drift)
        else:
            self._now += max(-elapsed * SLEW, drift)
        return self._now

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def wall(self, at: float) -> float:
        """Return the wall-clock time of a moment on the timeline, as the last step left it."""
        return at + self.offset_s
