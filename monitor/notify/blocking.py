"""Blocking work of a channel, on the executor and with a time limit.

Owns the one hard question of it: when the limit passes, did the work start? Never uses the loop's
default executor, where name resolution lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")


class NotStartedError(Exception):
    """The limit passed while the work still waited for a free thread: it was never begun."""


async def run(executor: Executor, limit_s: float, work: Callable[[], T]) -> T:
    """Return what `work` returns, or raise what it raises.

    A thread cannot be stopped: after TimeoutError the work may still complete unseen.

    Raises:
        NotStartedError: when no thread was free within `limit_s`.
        TimeoutError: when the work was begun and took longer.
    """
    future = executor.submit(work)
    try:
        async with asyncio.timeout(limit_s):
            return await asyncio.wrap_future(future)
    except TimeoutError:
        # Giving up cancels the future, which succeeds only while it is still in the queue.
        if future.cancelled():
            msg = f"no free thread within {limit_s:g} s"
            raise NotStartedError(msg) from None
        raise
