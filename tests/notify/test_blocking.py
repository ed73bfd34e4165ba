"""Blocking work: its limit, and whether it had begun."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from monitor.notify import blocking


async def test_the_result_comes_from_the_given_executor(executor: ThreadPoolExecutor) -> None:
    """Work runs on the pool it was given, not on the loop's thread or its default pool."""
    name = await blocking.run(executor, 5, lambda: threading.current_thread().name)
    assert name.startswith("ThreadPoolExecutor")


async def test_exceptions_pass_through(executor: ThreadPoolExecutor) -> None:
    """The caller judges what went wrong."""
    with pytest.raises(ZeroDivisionError):
        await blocking.run(executor, 5, lambda: 1 / 0)


async def test_work_under_way_times_out(executor: ThreadPoolExecutor) -> None:
    """It was begun, so nobody can say whether it had its effect."""
    release = threading.Event()
    with pytest.raises(TimeoutError):
        await blocking.run(executor, 0.05, release.wait)
    release.set()


async def test_work_in_the_queue_was_never_begun() -> None:
    """It is taken out of the queue, so it certainly had no effect, then or later."""
    release, begun = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as busy:
        busy.submit(release.wait)
        try:
            with pytest.raises(blocking.NotStartedError, match=r"no free thread within 0\.05 s"):
                await blocking.run(busy, 0.05, begun.set)
        finally:
            release.set()
    assert not begun.is_set()
