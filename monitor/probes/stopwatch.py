"""Seconds by phase of one run of a probe. Takes its clock as an argument and judges nothing."""

from __future__ import annotations

from collections.abc import Callable


class Stopwatch:
    """Always in at most one phase, so that phases add up to the time measured."""

    __slots__ = ("_now", "_seconds", "_since", "phase")

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` gives monotonic seconds."""
        self._now = now
        self._since = 0.0
        self._seconds: dict[str, float] = {}
        self.phase: str | None = None

    def enter(self, phase: str | None) -> None:
        """End the phase that is under way and begin `phase`; None stops the watch."""
        now = self._now()
        if self.phase is not None:
            self._seconds[self.phase] = self._seconds.get(self.phase, 0.0) + now - self._since
        self.phase = phase
        self._since = now

    @property
    def phases(self) -> tuple[tuple[str, float], ...]:
        """(phase, seconds) of the finished phases, in the order in which they first ended."""
        return tuple(self._seconds.items())

    @property
    def elapsed_s(self) -> float:
        """Seconds of all finished phases."""
        return sum(self._seconds.values())
