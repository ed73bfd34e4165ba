"""What a deadline means for calls that share one, and whose fault it was."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from monitor.probes.call import Caller, _overdue
from monitor.probes.failure import ProbeError
from monitor.probes.http.request import Request
from monitor.probes.http.trace import TRANSFER, Trace
from monitor.probes.http.url import parse_url
from monitor.probes.stall import StallLog
from tests.probes.raw_server import make_io, replies, response, serve
from tests.support import virtual


@pytest.mark.parametrize(
    ("stood_still_s", "reason"),
    [(0.0, "timeout_body"), (0.08, "timeout_body"), (0.2, "stalled"), (0.9, "stalled")],
)
def test_our_own_stall_is_not_the_targets_silence(stood_still_s: float, reason: str) -> None:
    """A tenth of the time may be ours; with more of it a deadline says nothing of the target."""
    now = 0.0
    stalls = StallLog()
    trace = Trace(lambda: now, stalls)
    trace.enter(TRANSFER)
    trace.body_awaited = True
    for number in range(101):
        now = number / 100
        if not 0.05 < now < 0.05 + stood_still_s:
            stalls.beat(now)
    failure = _overdue(trace, 1.0)
    assert failure.reason == reason
    assert failure.detail.startswith("timed out after 1 s while reading the body")


def test_nothing_is_begun_when_no_time_is_left() -> None:
    """A call after the deadline opens no connection."""

    async def story() -> str:
        caller = Caller(replace(make_io(), monotonic=None), ca_file=None, insecure=False)
        allowance = caller.allow(1.0)
        await asyncio.sleep(1.5)
        request = Request.build("GET", {}, b"")
        with pytest.raises(ProbeError) as caught:
            await caller.call(
                parse_url("http://never.test/"), request, caller.trace(), allowance, 10
            )
        return str(caught.value)

    assert virtual.run(story()) == "timeout: not begun within 1 s"


async def test_an_answer_as_it_came() -> None:
    """Status, headers in any case, and no more of the body than was asked for."""
    async with serve(replies(response(b"0123456789abc", "418 No", "X-It: 1"))) as port:
        caller = Caller(make_io(), ca_file=None, insecure=False)
        trace = caller.trace()
        answer = await caller.call(
            parse_url(f"http://127.0.0.1:{port}/"),
            Request.build("GET", {}, b""),
            trace,
            caller.allow(5.0),
            10,
        )
    assert (answer.status, answer.body, answer.is_capped) == (418, b"0123456789", True)
    assert answer.header(b"x-it") == b"1"
    assert answer.header(b"x-none") is None
    assert trace.status == 418
