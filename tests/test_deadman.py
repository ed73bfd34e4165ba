"""The dead man's switch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import metrics
from monitor.deadman import Beat, Deadman, Readings, Watch, look, unheard, why_silent
from monitor.fields import Secret
from monitor.metrics import Telemetry
from monitor.model import Incident, Owed, Severity, Told
from monitor.scenario.loop import VirtualClock
from monitor.scenario.provider import ProviderTransport
from monitor.scenario.sink import SinkFake
from monitor.sinks import DeadmanConfig, build_sink
from tests.support.virtual import run

TOKEN = "/canary-ping-0123456789"
URL = Secret(f"https://sink.example{TOKEN}")
START = 1_800_000_000.0
LIMIT_S = 600.0
INCIDENT = Incident(
    id="i1", key="k", rule="down", deployment="shop", service="shop", environment="Production",
    severity=Severity.CRITICAL, channels=("slack",), condition="c", summary="s",
    started_at=90.0, opened_at=100.0,
)  # fmt: skip


def waiting(*channels: str) -> tuple[frozenset[str], ...]:
    """One incident that each of `channels` owes."""
    return (frozenset(channels),)


@pytest.mark.parametrize(
    ("history", "speaks"),
    [
        # (time, readings) of looks, and what the last of them comes to
        ([(0, Readings())], True),
        ([(0, Readings(waiting=waiting("a")))], True),
        ([(0, Readings(waiting=waiting("a"))), (600, Readings(waiting=waiting("a")))], True),
        ([(0, Readings(waiting=waiting("a"))), (601, Readings(waiting=waiting("a")))], False),
        # It was delivered, and another came: that is a new wait.
        (
            [
                (0, Readings(waiting=waiting("a"))),
                (300, Readings()),
                (601, Readings(waiting=waiting("a"))),
            ],
            True,
        ),
        # A slow channel that accepts now and then is no dead one.
        (
            [
                (0, Readings(waiting=waiting("a"), accepted={"a": 1})),
                (500, Readings(waiting=waiting("a"), accepted={"a": 2})),
                (900, Readings(waiting=waiting("a"), accepted={"a": 2})),
            ],
            True,
        ),
        # Another channel that works does not help whom only the dead one can reach.
        (
            [
                (0, Readings(waiting=waiting("a"), accepted={"b": 1})),
                (601, Readings(waiting=waiting("a"), accepted={"b": 99})),
            ],
            False,
        ),
        # Two ways, one of them still young: there is hope.
        (
            [
                (0, Readings(waiting=waiting("a"))),
                (601, Readings(waiting=waiting("a", "b"))),
            ],
            True,
        ),
        (
            [
                (0, Readings(waiting=waiting("a", "b"))),
                (601, Readings(waiting=waiting("a", "b"))),
            ],
            False,
        ),
        ([(0, Readings(stuck="no evaluation"))], False),
        ([(0, Readings(durable=False)), (600, Readings(durable=False))], True),
        ([(0, Readings(durable=False)), (601, Readings(durable=False))], False),
        (
            [
                (0, Readings(durable=False)),
                (300, Readings()),
                (301, Readings(durable=False)),
                (700, Readings(durable=False)),
            ],
            True,
        ),
    ],
)
def test_when_the_beat_stops(history: list[tuple[float, Readings]], *, speaks: bool) -> None:
    """Only when somebody who should be told cannot be, nothing is evaluated, or nothing kept."""
    watch = Watch()
    for now, readings in history:
        watch = look(watch, readings, now)
    now, readings = history[-1]
    assert (why_silent(watch, readings, now, LIMIT_S) is None) is speaks


@given(
    st.lists(
        st.builds(
            Readings,
            waiting=st.lists(st.frozensets(st.sampled_from("abc"), min_size=1), max_size=3),
            accepted=st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)),
            durable=st.booleans(),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_never_silent_before_the_limit(readings: list[Readings]) -> None:
    """Whatever happens within one limit of the start, the sink still hears us."""
    watch, step_s = Watch(), LIMIT_S / len(readings)
    for number, each in enumerate(readings):
        watch = look(watch, each, number * step_s)
        assert why_silent(watch, each, number * step_s, LIMIT_S) is None


def owed(channel: str = "slack", **more: Any) -> Owed:
    return Owed(incident="i1", channel=channel, **more)


OVER = replace(INCIDENT, resolved_at=200.0)


@pytest.mark.parametrize(
    ("incidents", "rows", "late", "expected"),
    [
        ([INCIDENT], [], (), []),
        ([INCIDENT], [owed()], ("slack",), [{"slack"}]),
        ([INCIDENT], [owed(told=Told.OPEN)], ("slack",), []),
        ([INCIDENT], [owed(attempts=3), owed("email", told=Told.OPEN)], ("slack",), []),
        ([INCIDENT], [owed(attempts=3), owed("email")], ("slack", "email"), [{"slack", "email"}]),
        # Grouping lets it wait on purpose.
        ([INCIDENT], [owed(next_at=2000.0)], ("slack",), []),
        ([INCIDENT], [owed(next_at=2000.0, attempts=1)], ("slack",), [{"slack"}]),
        # A silence hides the opening, never the end.
        ([replace(INCIDENT, hidden_by="silence s1")], [owed()], ("slack",), []),
        ([replace(OVER, hidden_by="silence s1")], [owed(told=Told.OPEN)], ("slack",), [{"slack"}]),
        ([OVER], [owed(told=Told.OPEN)], ("slack",), [{"slack"}]),
        ([OVER], [owed(told=Told.RESOLVED)], ("slack",), []),
        # Known to the outbox only: it was over long ago.
        ([], [owed(told=Told.OPEN, attempts=9)], ("slack",), [{"slack"}]),
        # A digest is judged by what it speaks for, of which somebody knows.
        (
            [INCIDENT],
            [
                owed(via="d1"),
                Owed(incident="d1", channel="slack", attempts=9),
                owed("email", told=Told.OPEN),
            ],
            ("slack",),
            [],
        ),
        # A channel that was removed cannot tell the end; an opening that nobody heard of counts.
        ([OVER], [owed("gone", told=Told.OPEN)], ("gone",), []),
        ([INCIDENT], [owed("gone")], ("gone",), [{"gone"}]),
    ],
)
def test_who_waits(
    incidents: list[Incident],
    rows: list[Owed],
    late: Collection[str],
    expected: list[set[str]],
) -> None:
    """An incident that anybody was told of as it is now is not waiting."""
    assert unheard(incidents, rows, late, {"slack", "email"}, 1000.0) == expected


@dataclass
class Stand:
    """A switch, its sink and what it reads, on virtual time."""

    sink: SinkFake
    telemetry: Telemetry
    deadman: Deadman
    readings: list[Readings] = field(default_factory=lambda: [Readings()])


def stand(act: Callable[[Stand], Awaitable[None]], kind: str = "healthchecks") -> Stand:
    """Let a switch beat while `act` does things to it."""

    async def perform() -> Stand:
        clock = VirtualClock(asyncio.get_running_loop(), START)
        sink, telemetry, readings = SinkFake(TOKEN), Telemetry(), [Readings()]
        transport = ProviderTransport({"sink.example": sink}, clock.now)
        async with httpx2.AsyncClient(transport=transport) as http:
            config = DeadmanConfig(kind=kind, url=URL)
            beat = Beat(
                sink=build_sink(config, http, lambda **_: None),
                interval_s=config.interval_s,
                limit_s=config.limit_s,
            )
            deadman = Deadman(clock, telemetry, lambda: readings[-1], beat)
            here = Stand(sink, telemetry, deadman, readings)
            task = asyncio.create_task(deadman.run())
            await act(here)
            task.cancel()
            await asyncio.wait([task])
        return here

    return run(perform())


def gauge(telemetry: Telemetry, series: metrics.Series) -> float | None:
    return next((v for each, _, v in telemetry.numbers() if each is series), None)


def test_it_beats_at_its_interval() -> None:
    """An hour without trouble has no gap at the sink."""

    async def act(_here: Stand) -> None:
        await asyncio.sleep(3600)

    here = stand(act)
    assert len(here.sink.pings) == 60
    assert here.sink.longest_gap_s() <= 60
    assert here.sink.down_since(START + 3600) is None
    assert gauge(here.telemetry, metrics.DEADMAN_BEATING) == 1
    assert gauge(here.telemetry, metrics.DEADMAN_AT) == pytest.approx(START + 3540)


@pytest.mark.parametrize(("kind", "within_s"), [("healthchecks", 720), ("url", 900)])
def test_the_sink_alarms_when_nothing_can_be_delivered(kind: str, within_s: float) -> None:
    """One that knows failure hears it with the reason; any other misses the beat; both recover."""
    seen = []

    async def act(here: Stand) -> None:
        await asyncio.sleep(30)
        here.readings.append(Readings(waiting=waiting("slack")))
        await asyncio.sleep(within_s)
        seen.append(here.sink.down_since(START + 30 + within_s))
        here.readings.append(Readings())
        await asyncio.sleep(90)
        seen.append(here.sink.down_since(START + 120 + within_s))

    here = stand(act, kind)
    assert seen[0] is not None
    assert seen[1] is None
    told = any("slack" in reason for reason in here.sink.reasons)
    assert told is (kind == "healthchecks")
    assert here.sink.requests == len(here.sink.pings) + len(here.sink.reasons)


def test_a_sink_that_fails_now_and_then() -> None:
    """A beat is tried again within its interval, so no one else is alarmed by a hiccup."""

    async def act(here: Stand) -> None:
        for _ in range(30):
            here.sink.fail_next(503, count=2)
            await asyncio.sleep(60)

    here = stand(act)
    assert len(here.sink.pings) == 30
    assert here.sink.longest_gap_s() < 70


def test_a_sink_that_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    """Bounded effort, one line in the log, no secret in it, and beats again when it is back."""
    caplog.set_level(logging.DEBUG)

    async def act(here: Stand) -> None:
        here.sink.dead = True
        await asyncio.sleep(3600)
        here.sink.recover()
        await asyncio.sleep(61)

    here = stand(act)
    assert here.sink.requests <= 3 * 60 + 2
    assert here.sink.pings
    troubles = [each for each in caplog.messages if "cannot reach its sink" in each]
    assert len(troubles) == 1
    assert "canary" not in caplog.text


def test_a_sink_that_hangs() -> None:
    """It is given up within the interval, and the rhythm stays."""

    async def act(here: Stand) -> None:
        here.sink.hang_s = 500
        await asyncio.sleep(3600)

    here = stand(act)
    assert 60 <= here.sink.requests <= 180


def test_a_reload_takes_effect_at_once() -> None:
    """Without a sink nobody is told anything; with one again, the beat goes on."""
    counts = []

    async def act(here: Stand) -> None:
        await asyncio.sleep(1)
        beat = here.deadman._beat
        here.deadman.reconfigure(None)
        await asyncio.sleep(3600)
        counts.append(len(here.sink.pings))
        here.deadman.reconfigure(beat)
        await asyncio.sleep(1)
        counts.append(len(here.sink.pings))

    stand(act)
    assert counts == [1, 2]
