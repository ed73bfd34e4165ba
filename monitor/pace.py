"""Cooperation with the event loop: long work done in slices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import TypeVar

T = TypeVar("T")
Monotonic = Callable[[], float]


class Pace:
    """Gives control back to the event loop whenever a slice of time is used up."""

    def __init__(self, monotonic: Monotonic, slice_s: float = 0.002) -> None:
        """Measure with `monotonic` (seconds)."""
        self._monotonic = monotonic
        self._slice_s = slice_s
        self._since = monotonic()

    async def breathe(self) -> None:
        """Let others run if the slice is over; cheap otherwise."""
        if self._monotonic() - self._since >= self._slice_s:
            await asyncio.sleep(0)
            self._since = self._monotonic()

    async def through(self, work: Generator[None, None, T]) -> T:
        """Do all of `work`, breathing where it pauses, and return its result."""
        while True:
            try:
                next(work)
            except StopIteration as end:
                result: T = end.value
                return result
            await self.breathe()
