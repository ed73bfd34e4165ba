"""The deadline of one run, and who may end a task besides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from monitor.probes.deadline import Deadline, Deadlines

Run = Callable[..., Any]


def test_a_body_that_is_through_in_time_is_left_alone(run: Run) -> None:
    """Nothing happens to the task afterwards either."""

    async def story() -> bool:
        deadline = Deadline(0.01)
        with deadline:
            await asyncio.sleep(0)
        await asyncio.sleep(0.03)
        return deadline.has_passed

    assert run(story()) is False


def test_a_body_that_takes_too_long_is_ended(run: Run) -> None:
    """TimeoutError comes out, and the task is as good as before."""

    async def story() -> int:
        with pytest.raises(TimeoutError), Deadline(0.01):
            await asyncio.sleep(60)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert run(story()) == 0


def test_somebody_elses_cancellation_stays_one(run: Run) -> None:
    """A shutdown is not taken for a passed deadline."""

    async def story() -> bool:
        async def body() -> None:
            with Deadline(60):
                await asyncio.sleep(60)

        task = asyncio.create_task(body())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert run(story())


def test_a_cancellation_beside_a_passed_deadline_wins(run: Run) -> None:
    """Who cancels the task in the same turn is obeyed."""

    async def story() -> bool:
        async def body() -> None:
            with Deadline(0.01):
                try:
                    await asyncio.sleep(60)
                finally:
                    task.cancel()

        task = asyncio.create_task(body())
        await asyncio.wait([task])
        return task.cancelled()

    assert run(story())


def test_another_error_of_the_body_comes_out(run: Run) -> None:
    """A failure while being ended is not hidden."""

    async def story() -> None:
        with Deadline(0.01):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise LookupError from None

    with pytest.raises(LookupError):
        run(story())


def test_what_came_in_time_is_read_first(run: Run) -> None:
    """After a stall the loop looks at its sockets before the deadline ends anything."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"!")
        await reader.read()
        writer.close()

    async def story() -> tuple[bytes, bool]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            asyncio.get_running_loop().call_later(0.01, time.sleep, 0.1)
            deadline = Deadline(0.05)
            with deadline:
                data = await reader.read(1)
            writer.close()
            await writer.wait_closed()
            return data, deadline.has_passed

    assert run(story())[0] == b"!"


def test_a_deadline_needs_a_task() -> None:
    """Without a task there is nothing to end."""

    async def story() -> None:
        loop = asyncio.get_running_loop()
        failed = loop.create_future()

        def outside() -> None:
            try:
                with Deadline(1):
                    pass
            except RuntimeError as error:
                failed.set_result(error)

        loop.call_soon(outside)
        assert "needs a task" in str(await failed)

    asyncio.run(story())


def test_deadlines_that_share_a_timer_pass_on_their_own(run: Run) -> None:
    """Each ends its own task at its own time; those that are through in time are left alone."""

    async def story() -> tuple[list[str], list[float]]:
        loop = asyncio.get_running_loop()
        deadlines = Deadlines()
        ends: list[float] = []

        async def body(starts_s: float, takes_s: float) -> str:
            await asyncio.sleep(starts_s)
            began = loop.time()
            try:
                with deadlines.after(0.1, loop.time):
                    await asyncio.sleep(takes_s)
            except TimeoutError:
                ends.append(loop.time() - began)
                return "ended"
            return "through"

        plan = [(0.0, 60.0), (0.0, 0.02), (0.03, 60.0), (0.06, 0.02), (0.2, 60.0)]
        return list(await asyncio.gather(*(body(*each) for each in plan))), ends

    outcomes, ends = run(story())
    assert outcomes == ["ended", "through", "ended", "through", "ended"]
    assert min(ends) >= 0.1


def test_a_shared_deadline_is_not_early_after_a_stall(run: Run) -> None:
    """It counts from its own start, also where the loop's idea of the time is an old one."""

    async def story() -> float:
        deadlines = Deadlines()
        with deadlines.after(0.1, time.monotonic):
            await asyncio.sleep(0)
        time.sleep(0.09)  # noqa: ASYNC251 - the stall
        began = time.monotonic()
        with pytest.raises(TimeoutError), deadlines.after(0.1, time.monotonic):
            await asyncio.sleep(60)
        return time.monotonic() - began

    assert run(story()) >= 0.1


def test_deadlines_of_many_lengths_do_not_wait_for_each_other(run: Run) -> None:
    """A long one in front keeps no short one from passing."""

    async def story() -> list[float]:
        loop = asyncio.get_running_loop()
        deadlines = Deadlines()
        order: list[float] = []

        async def body(seconds: float) -> None:
            try:
                with deadlines.after(seconds, loop.time):
                    await asyncio.sleep(60)
            except TimeoutError:
                order.append(seconds)

        await asyncio.gather(*(body(seconds) for seconds in (0.2, 0.1, 0.02)))
        return order

    assert run(story()) == [0.02, 0.1, 0.2]
