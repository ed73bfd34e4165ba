"""Self-tests of channels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import metrics
from monitor.metrics import Telemetry
from monitor.model import Attempt, Delivery, DeliveryResult, Message, SendReason
from monitor.scenario.loop import VirtualClock
from monitor.selftest import RETRY_S, SelfTester, SelfTests, next_test
from tests.support.memory import MemoryStore
from tests.support.virtual import run

START = 1_800_000_000.0
DAY_S = 86400.0
WEEK_S = 7 * DAY_S


@dataclass
class Listener:
    """Answers as it is told, and keeps what it was sent."""

    deduplicates: bool = True
    repeats: bool = False
    updates: bool = False
    repeat_s: float | None = None
    answers: list[DeliveryResult | Exception] = field(default_factory=list)
    heard: list[Message] = field(default_factory=list)

    async def send(self, message: Message, deadline_s: float, remote_key: str | None) -> Delivery:
        assert deadline_s > 0
        assert remote_key is None
        self.heard.append(message)
        answer = self.answers.pop(0) if self.answers else DeliveryResult.DELIVERED
        if isinstance(answer, Exception):
            raise answer
        return Delivery(result=answer, detail="said")


@dataclass
class Life:
    """What one channel `a` and the store of a tester have seen."""

    listener: Listener = field(default_factory=Listener)
    store: MemoryStore = field(default_factory=MemoryStore)
    telemetry: Telemetry = field(default_factory=Telemetry)

    @property
    def attempts(self) -> list[Attempt]:
        return [each for batch in self.store.batches for each in batch.attempts]

    @property
    def times(self) -> list[float]:
        return [message.at for message in self.listener.heard]

    def success(self) -> float | None:
        found = [v for each, _, v in self.telemetry.numbers() if each is metrics.SELF_TEST_SUCCESS]
        return found[0] if found else None


def live(life: Life, *spans_s: float, change: Callable[[SelfTester], None] | None = None) -> None:
    """Let a process live for each of `spans_s`, with no time between one and the next."""

    async def perform() -> None:
        clock = VirtualClock(asyncio.get_running_loop(), START)
        for span_s in spans_s:
            settings = SelfTests(
                notifiers={"a": life.listener}, intervals_s={"a": WEEK_S}, service="shop"
            )
            tester = SelfTester(clock, life.store, settings, life.telemetry)
            tester.restore(life.attempts[-1:])
            await lived(tester.run(), span_s)
            if change is not None:
                change(tester)
                await lived(tester.run(), span_s)

    run(perform())


async def lived(work: Coroutine[Any, Any, None], span_s: float) -> None:
    task = asyncio.create_task(work)
    await asyncio.sleep(span_s)
    task.cancel()
    await asyncio.wait([task])


@given(
    st.text(max_size=20),
    st.floats(min_value=3600, max_value=60 * DAY_S),
    st.floats(min_value=1e9, max_value=3e9),
)
def test_the_next_test_is_at_the_start_of_a_slot(
    channel: str, interval_s: float, at: float
) -> None:
    """A new channel waits for one slot at most, a known one for half a slot to one and a half."""
    first = next_test(channel, interval_s, None, at)
    assert at - 1e-3 < first <= at + interval_s + 1e-3
    again = next_test(channel, interval_s, at, at)
    assert interval_s / 2 - 1e-3 < again - at <= 1.5 * interval_s + 1e-3
    assert next_test(channel, interval_s, first, at) == pytest.approx(first + interval_s, abs=1e-3)


def test_channels_take_turns() -> None:
    """A hundred channels are spread over the week."""
    due = {next_test(f"channel-{n}", WEEK_S, None, START) for n in range(100)}
    days = {int((each - START) // DAY_S) for each in due}
    assert days == set(range(7))


def test_once_a_week_at_the_same_time() -> None:
    """Ten weeks, ten tests, and each says that it is one."""
    life = Life()
    live(life, 10 * WEEK_S)
    assert len(life.times) == 10
    assert {after - before for before, after in zip(life.times, life.times[1:], strict=False)} == {
        WEEK_S
    }
    assert {each.reason for each in life.listener.heard} == {SendReason.TEST}
    assert {each.incident.key for each in life.listener.heard} == {
        life.listener.heard[0].incident.key
    }
    assert "Nothing is wrong" in life.listener.heard[0].incident.summary
    assert [each.at for each in life.attempts] == life.times
    assert life.success() == 1


@given(st.lists(st.floats(min_value=1.0, max_value=3 * WEEK_S), min_size=1, max_size=20))
def test_restarts_neither_repeat_nor_forget(spans_s: list[float]) -> None:
    """However often the process starts anew, the tests keep their rhythm."""
    life = Life()
    live(life, *spans_s)
    gaps_s = [after - before for before, after in zip(life.times, life.times[1:], strict=False)]
    assert all(gap_s == pytest.approx(WEEK_S, abs=1e-3) for gap_s in gaps_s)
    assert len(life.times) <= sum(spans_s) // WEEK_S + 1


@pytest.mark.parametrize(
    ("answers", "tries", "success"),
    [
        ([DeliveryResult.RETRY], 2, 1),
        ([DeliveryResult.RETRY] * 3, 3, 0),
        ([DeliveryResult.PERMANENT], 1, 0),
        # It may have arrived: a second one would be a second test.
        ([DeliveryResult.UNCERTAIN], 1, 0),
        ([ValueError("a bug")], 1, 0),
    ],
)
def test_one_that_fails(
    answers: list[DeliveryResult | Exception], tries: int, success: int
) -> None:
    """It is tried again while it certainly did not arrive, each attempt is in the ledger."""
    life = Life(listener=Listener(answers=list(answers)))
    live(life, WEEK_S)
    assert len(life.times) == len(life.attempts) == tries
    assert life.success() == success
    if tries > 1:
        assert life.times[1] - life.times[0] == RETRY_S


def test_a_full_disk_keeps_no_test_from_happening() -> None:
    """The ledger gets its line with the next one."""
    life = Life()
    life.store.full = True

    def mend(_tester: SelfTester) -> None:
        life.store.full = False

    live(life, 2 * WEEK_S, change=mend)
    assert len(life.times) == len(life.attempts) == 4


@pytest.mark.parametrize(
    ("intervals_s", "expected"), [({}, 1), ({"a": DAY_S}, 8), ({"a": WEEK_S}, 2)]
)
def test_a_reload_changes_the_rhythm(intervals_s: Mapping[str, float], expected: int) -> None:
    """A channel can be left out, or tested more often."""
    life = Life()

    def change(tester: SelfTester) -> None:
        tester.reconfigure(
            SelfTests(notifiers={"a": life.listener}, intervals_s=intervals_s, service="shop")
        )

    live(life, WEEK_S, change=change)
    assert len(life.times) == expected
