"""Delivery, in virtual time, with a receiver that answers by a script."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from monitor.digests import digest_of
from monitor.last_resort import LastResort
from monitor.metrics import Telemetry
from monitor.model import (
    Acknowledgement,
    Delivery,
    DeliveryResult,
    Incident,
    IncidentAlert,
    Message,
    Note,
    Owed,
    Release,
    ReleaseStatus,
    SendReason,
    Severity,
    Told,
)
from monitor.outbox import Outbox, OutboxSettings
from monitor.routing import Tempo
from monitor.scenario.loop import InlineExecutor, VirtualClock
from tests.support.memory import MemoryStore
from tests.support.virtual import run

START = 1_000_000.0
OK = Delivery(result=DeliveryResult.DELIVERED)
LATER = Delivery(result=DeliveryResult.RETRY, retry_after_s=30)
LOST = Delivery(result=DeliveryResult.UNCERTAIN)
REFUSED = Delivery(result=DeliveryResult.PERMANENT, detail="invalid_token")
FIRST, REPEAT, RESOLVED = SendReason.FIRST, SendReason.REPEAT, SendReason.RESOLVED


def incident(number: int = 1, channels: tuple[str, ...] = ("a",), **changes: object) -> Incident:
    base = Incident(
        id=f"i{number}", key=f"k{number}", rule="r", deployment="d", service="s",
        environment="e", severity=Severity.CRITICAL, channels=channels, condition="true",
        summary="", started_at=START, opened_at=START + number,
    )  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


class Scripted:
    """Answers by a script, then always DELIVERED; remembers what was said and when."""

    rate_per_s = 1000.0
    burst = 1000

    def __init__(
        self, *script: Delivery, takes_s: float = 1.0, deduplicates: bool = False,
        repeats: bool = True,
    ) -> None:  # fmt: skip
        self.said: list[tuple[float, str, SendReason, bool]] = []
        self.heard: list[Incident] = []
        self.deduplicates, self.repeats = deduplicates, repeats
        self.updates, self.repeat_s = True, None
        self._script, self._takes_s = list(script), takes_s

    async def send(self, message: Message, deadline_s: float, remote_key: str | None) -> Delivery:
        at = asyncio.get_running_loop().time()
        self.heard.append(message.incident)
        self.said.append((at, message.incident.id, message.reason, message.may_be_repeated))
        await asyncio.sleep(self._takes_s)
        return self._script.pop(0) if self._script else OK

    def recover(self) -> None:
        self._script.clear()

    @property
    def reasons(self) -> list[SendReason]:
        return [reason for _, _, reason, _ in self.said]


class Bench:
    """An outbox with its workers running."""

    def __init__(
        self, fallback: str | None = None, digest_above: int = 10, **notifiers: Scripted
    ) -> None:
        self.store = MemoryStore()
        clock = VirtualClock(asyncio.get_running_loop(), START)
        settings = OutboxSettings(
            notifiers=notifiers,
            fallback=fallback,
            digest_above=digest_above,
            tempo=lambda _: Tempo(repeat_s=3600.0),
        )
        self.undelivered: list[bytes] = []
        last = LastResort(self.undelivered.append, InlineExecutor(), Telemetry())
        rng = random.Random(1)  # noqa: S311 - a test
        self.outbox = Outbox(clock, self.store, settings, Telemetry(), rng, last_resort=last)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        for channel in self.outbox.channels():
            self._tasks.append(asyncio.create_task(self.outbox.work(channel)))

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run(story())


def test_one_open_and_one_resolve() -> None:
    """A receiver hears of an incident once, and once that it is over."""

    async def story() -> None:
        channel = Scripted()
        bench = Bench(a=channel)
        bench.start()
        bench.outbox.notice([incident()])
        await asyncio.sleep(600)
        bench.outbox.notice([incident(resolved_at=START + 600)])
        await asyncio.sleep(600)
        bench.stop()
        assert channel.reasons == [FIRST, RESOLVED]
        assert bench.outbox.rows() == ()

    play(story)


def test_a_note_on_a_closed_incident_says_nothing_again() -> None:
    """A rollback's result that comes after the resolve does not repeat the resolve."""

    async def story() -> None:
        channel = Scripted()
        bench = Bench(a=channel)
        bench.start()
        bench.outbox.notice([incident()])
        await asyncio.sleep(10)
        bench.outbox.notice([incident(resolved_at=START + 10)])
        await asyncio.sleep(10)
        note = Note(at=START + 20, text="rolled back")
        bench.outbox.notice([incident(resolved_at=START + 10, notes=(note,))])
        await asyncio.sleep(10)
        bench.stop()
        assert channel.reasons == [FIRST, RESOLVED]

    play(story)


def test_retry_after_is_honoured_and_nothing_is_lost() -> None:
    """A channel that says "later" gets the message then, not sooner and not never."""

    async def story() -> None:
        channel = Scripted(LATER, LATER)
        bench = Bench(a=channel)
        bench.start()
        bench.outbox.notice([incident()])
        await asyncio.sleep(600)
        bench.stop()
        times = [at for at, *_ in channel.said]
        assert len(times) == 3
        assert all(b - a >= 30 for a, b in itertools.pairwise(times))

    play(story)


@pytest.mark.parametrize(("deduplicates", "marked"), [(False, True), (True, False)])
def test_a_lost_answer_is_repeated_and_marked_where_it_matters(
    deduplicates: bool,  # noqa: FBT001 - a table
    marked: bool,  # noqa: FBT001 - a table
) -> None:
    """Only a receiver that cannot merge by key is told that it may see a message twice."""

    async def story() -> None:
        channel = Scripted(LOST, deduplicates=deduplicates)
        bench = Bench(a=channel)
        bench.start()
        bench.outbox.notice([incident()])
        await asyncio.sleep(600)
        bench.stop()
        assert [(reason, repeated) for _, _, reason, repeated in channel.said] == [
            (FIRST, False),
            (FIRST, marked),
        ]

    play(story)


def test_a_hung_channel_delays_no_other() -> None:
    """While one channel hangs for ever, the others hear at once."""

    async def story() -> None:
        hung, quick = Scripted(takes_s=1e9), Scripted(takes_s=0.1)
        bench = Bench(hung=hung, quick=quick)
        bench.start()
        bench.outbox.notice([incident(n, ("hung", "quick")) for n in range(5)])
        await asyncio.sleep(1.0)
        bench.stop()
        assert len(quick.said) == 5

    play(story)


def test_a_failed_resolve_stays_owed() -> None:
    """A resolve that the channel refuses for an hour is delivered in the end."""

    async def story() -> None:
        channel = Scripted(OK, *[LATER] * 50)
        bench = Bench(a=channel)
        bench.start()
        bench.outbox.notice([incident()])
        await asyncio.sleep(10)
        bench.outbox.notice([incident(resolved_at=START + 10)])
        await asyncio.sleep(6 * 3600)
        bench.stop()
        assert channel.reasons == [FIRST, *[RESOLVED] * 51]

    play(story)


def test_a_permanent_refusal_goes_to_the_fallback_and_is_taken_back_there_too() -> None:
    """Who was told instead is also told that it is over."""

    async def story() -> None:
        broken, spare = Scripted(*[REFUSED] * 100), Scripted()
        bench = Bench(fallback="spare", broken=broken, spare=spare)
        bench.start()
        bench.outbox.notice([incident(channels=("broken",))])
        await asyncio.sleep(60)
        assert spare.reasons == [FIRST]
        assert {row.parked for row in bench.outbox.rows() if row.channel == "broken"} == {
            "invalid_token"
        }
        bench.outbox.notice([incident(channels=("broken",), resolved_at=START + 60)])
        await asyncio.sleep(60)
        bench.stop()
        assert spare.reasons == [FIRST, RESOLVED]

    play(story)


def test_a_long_incident_is_repeated_but_not_to_who_escalates() -> None:
    """Reminders go out each repeat interval, except to a receiver with its own escalation."""

    async def story() -> None:
        chat, pager = Scripted(), Scripted(repeats=False)
        bench = Bench(chat=chat, pager=pager)
        bench.start()
        bench.outbox.notice([incident(channels=("chat", "pager"))])
        await asyncio.sleep(3600 * 3.5)
        bench.stop()
        assert chat.reasons == [FIRST, REPEAT, REPEAT, REPEAT]
        assert pager.reasons == [FIRST]

    play(story)


def test_the_intent_is_committed_before_the_send_and_the_receipt_after() -> None:
    """What is on disk at each moment tells a restarted process what may have happened."""

    async def story() -> None:
        bench = Bench(a=Scripted(takes_s=5.0))
        bench.start()
        bench.outbox.notice([incident()])
        await asyncio.sleep(3)
        [row] = bench.store.batches[-1].owed
        assert (row.intent, row.told) == (FIRST, Told.NOTHING)
        await asyncio.sleep(3)
        bench.stop()
        [row] = bench.store.batches[-1].owed
        assert (row.intent, row.told) == (None, Told.OPEN)
        assert [attempt.result for attempt in bench.store.batches[-1].attempts] == [OK.result]

    play(story)


def test_an_intent_found_after_a_restart_is_sent_again_and_marked() -> None:
    """A process that died in the middle of a send cannot know whether it arrived."""

    async def story() -> None:
        channel = Scripted()
        bench = Bench(a=channel)
        bench.outbox.restore([incident()], [Owed(incident="i1", channel="a", intent=FIRST)])
        bench.start()
        await asyncio.sleep(10)
        bench.stop()
        assert [(reason, repeated) for _, _, reason, repeated in channel.said] == [(FIRST, True)]

    play(story)


def test_what_ended_while_we_were_down_is_taken_back_on_start() -> None:
    """Told open, resolved meanwhile: the resolve goes out after the restart."""

    async def story() -> None:
        channel = Scripted()
        bench = Bench(a=channel)
        bench.outbox.restore(
            [incident(resolved_at=START + 5)],
            [Owed(incident="i1", channel="a", told=Told.OPEN, told_at=START)],
        )
        bench.start()
        await asyncio.sleep(10)
        bench.stop()
        assert channel.reasons == [RESOLVED]

    play(story)


def test_a_full_disk_does_not_keep_a_page_from_going_out() -> None:
    """Delivery fails open: it cannot be noted down, it is sent all the same, and noted later."""

    async def story() -> None:
        channel = Scripted()
        bench = Bench(a=channel)
        bench.start()
        bench.store.full = True
        bench.outbox.notice([incident()])
        await asyncio.sleep(10)
        bench.store.full = False
        bench.outbox.notice([incident(resolved_at=START + 10)])
        await asyncio.sleep(10)
        bench.stop()
        assert channel.reasons == [FIRST, RESOLVED]
        written = [attempt.reason for batch in bench.store.batches for attempt in batch.attempts]
        assert written == [FIRST, RESOLVED]

    play(story)


def test_what_was_told_on_a_full_disk_is_saved_when_there_is_room() -> None:
    """Nothing needs to be said again for it: a restart after that pages nobody twice."""

    async def story() -> None:
        bench = Bench(a=Scripted(), b=Scripted())
        bench.store.full = True
        bench.outbox.notice([incident(channels=("a", "b"))])
        bench.start()
        await asyncio.sleep(60)
        bench.store.full = False
        await asyncio.sleep(10)
        bench.stop()
        saved = {row.channel: row.told for batch in bench.store.batches for row in batch.owed}
        assert saved == {"a": Told.OPEN, "b": Told.OPEN}
        attempts = [each.channel for batch in bench.store.batches for each in batch.attempts]
        assert sorted(attempts) == ["a", "b"]

    play(story)


def test_critical_incidents_are_told_first() -> None:
    """Of many owed messages the most urgent and then the oldest goes first."""

    async def story() -> None:
        channel = Scripted()
        bench = Bench(a=channel)
        bench.outbox.notice(
            [
                incident(1, severity=Severity.INFO),
                incident(3),
                incident(2),
            ]
        )
        bench.start()
        await asyncio.sleep(30)
        bench.stop()
        assert [name for _, name, _, _ in channel.said] == ["i2", "i3", "i1"]

    play(story)


def test_a_channel_that_a_reload_brings_back_gets_what_it_is_owed() -> None:
    """Parked messages are tried again at once with the new configuration."""

    async def story() -> None:
        broken, mended = Scripted(*[REFUSED] * 9), Scripted()
        bench = Bench(a=broken)
        bench.start()
        bench.outbox.notice([incident()])
        await asyncio.sleep(60)
        bench.outbox.reconfigure(OutboxSettings(notifiers={"a": mended}))
        await asyncio.sleep(5)
        bench.stop()
        assert mended.reasons == [FIRST]

    play(story)


def test_episodes_of_one_key_go_out_in_their_order() -> None:
    """A late resolve of the first episode never closes the page of the second."""

    async def story() -> None:
        pager = Scripted(OK, *[LATER] * 8, deduplicates=True, repeats=False)
        bench = Bench(a=pager)
        bench.start()
        bench.outbox.notice([incident(1, key="k")])
        await asyncio.sleep(10)
        bench.outbox.notice([incident(1, key="k", resolved_at=START + 10)])
        await asyncio.sleep(20)
        bench.outbox.notice([incident(2, key="k", opened_at=START + 30)])
        await asyncio.sleep(3600)
        bench.stop()
        accepted = [(name, reason) for _, name, reason, _ in pager.said if reason is not RESOLVED]
        assert accepted == [("i1", FIRST), ("i2", FIRST)]
        assert pager.said[-1][1:3] == ("i2", FIRST)

    play(story)


def test_a_resolve_refused_for_good_does_not_close_the_next_episode() -> None:
    """They are known by different keys there, so that neither can end the other."""

    async def story() -> None:
        pager = Scripted(OK, REFUSED, deduplicates=True, repeats=False)
        bench = Bench(a=pager)
        bench.start()
        bench.outbox.notice([incident(1, key="k")])
        await asyncio.sleep(10)
        bench.outbox.notice([incident(1, key="k", resolved_at=START + 10)])
        await asyncio.sleep(20)
        bench.outbox.notice([incident(2, key="k", opened_at=START + 30)])
        await asyncio.sleep(3 * 3600)
        assert sorted((each.id, each.key) for each in pager.heard[2:]) == [
            ("i1", "k"), ("i2", "k/i2"),
        ]  # fmt: skip
        bench.stop()

    play(story)


@pytest.mark.parametrize(
    ("fallback", "refuses", "lines"),
    [
        (None, ("a",), ["a"]),
        ("b", ("a",), []),
        ("b", ("a", "b"), ["b"]),
        ("a", ("a",), []),
    ],
)
def test_what_nobody_takes_is_written_down(
    fallback: str | None, refuses: tuple[str, ...], lines: list[str]
) -> None:
    """Once, by the last who could have taken it; what somebody knows is not."""

    async def story() -> None:
        bench = Bench(
            fallback,
            # After the others have answered.
            a=Scripted(LATER, *[REFUSED] * (9 * ("a" in refuses))),
            b=Scripted(*[REFUSED] * (9 * ("b" in refuses))),
        )
        bench.start()
        # Where "a" is the fallback, "b" takes it as a channel of its own.
        channels = ("b", "a") if fallback == "a" else ("a",)
        bench.outbox.notice([incident(channels=channels)])
        await asyncio.sleep(3 * 3600)
        bench.stop()
        written = [json.loads(line) for line in bench.undelivered]
        assert [each["channel"] for each in written] == lines

    play(story)


def test_only_the_message_asks_to_wait_where_its_provider_does() -> None:
    """A recipient who is greylisted keeps no other incident's mail waiting."""

    async def story() -> None:
        later = Delivery(result=DeliveryResult.RETRY, retry_after_s=60.0, retry_all=False)
        mail = Scripted(later)
        bench = Bench(a=mail)
        bench.start()
        bench.outbox.notice([incident(1), incident(2)])
        await asyncio.sleep(30)
        assert [name for _, name, _, _ in mail.said] == ["i1", "i2"]
        await asyncio.sleep(60)
        assert [name for _, name, _, _ in mail.said] == ["i1", "i2", "i1"]
        bench.stop()

    play(story)


def test_retry_after_silences_the_whole_channel() -> None:
    """A provider that asks for silence gets it, however many messages are owed."""

    async def story() -> None:
        channel = Scripted(LATER, takes_s=0.1)
        bench = Bench(a=channel, digest_above=100)
        bench.start()
        bench.outbox.notice([incident(n) for n in range(50)])
        await asyncio.sleep(29)
        assert len(channel.said) == 1
        await asyncio.sleep(60)
        bench.stop()
        assert {name for _, name, _, _ in channel.said} == {f"i{n}" for n in range(50)}

    play(story)


def test_what_a_removed_channel_was_owed_goes_to_the_fallback_and_stays_visible() -> None:
    """A reload that renames a channel loses no page, and its debts are counted."""

    async def story() -> None:
        down, spare = Scripted(*[LATER] * 99), Scripted()
        bench = Bench(a=down, spare=spare)
        bench.start()
        bench.outbox.notice([incident()])
        await asyncio.sleep(10)
        bench.outbox.reconfigure(OutboxSettings(notifiers={"spare": spare}, fallback="spare"))
        await asyncio.sleep(60)
        assert spare.reasons == [FIRST]
        assert bench.outbox.backlog()["a"][0] == 1
        bench.outbox.notice([incident(resolved_at=START + 70)])
        await asyncio.sleep(60)
        bench.stop()
        assert spare.reasons == [FIRST, RESOLVED]

    play(story)


def test_only_the_message_that_may_have_arrived_is_marked() -> None:
    """A resolve after an uncertain open was never sent before, and does not say that it was."""

    async def story() -> None:
        channel = Scripted(LOST)
        bench = Bench(a=channel)
        bench.start()
        bench.outbox.notice([incident()])
        await asyncio.sleep(1.5)
        bench.outbox.notice([incident(resolved_at=START + 2)])
        await asyncio.sleep(60)
        bench.stop()
        assert [(reason, repeated) for _, _, reason, repeated in channel.said] == [
            (FIRST, False),
            (RESOLVED, False),
        ]

    play(story)


def many(count: int, channels: tuple[str, ...] = ("a",), **changes: object) -> list[Incident]:
    """Return incidents of as many deployments, each with its alert."""
    return [
        replace(each, alerts=(one_alert(each),))
        for n in range(count)
        for each in [incident(n, channels, deployment=f"d{n}", opened_at=START, **changes)]
    ]


def one_alert(of: Incident) -> IncidentAlert:
    return IncidentAlert(
        rule=of.rule, deployment=of.deployment, severity=of.severity, channels=of.channels,
        condition="true", summary="", started_at=of.started_at, opened_at=of.opened_at,
        resolved_at=of.resolved_at,
    )  # fmt: skip


@pytest.mark.parametrize("repeats", [True, False], ids=["Slack", "PagerDuty"])
def test_a_storm_is_one_message_and_so_is_its_end(repeats: bool) -> None:  # noqa: FBT001 - a table
    """5,000 targets go down: one opening that counts them, one end; nothing is left behind."""

    async def story() -> None:
        channel = Scripted(deduplicates=not repeats, repeats=repeats)
        bench = Bench(a=channel)
        bench.start()
        bench.outbox.notice(many(5000))
        await asyncio.sleep(60)
        [(_, name, reason, _)] = channel.said
        assert reason is FIRST
        assert channel.heard[0].rule == "5000 alerts"
        bench.outbox.notice(many(5000, resolved_at=START + 60)[1:])
        await asyncio.sleep(60)
        assert all(each[1] == name and each[2] is not RESOLVED for each in channel.said)
        bench.outbox.notice(many(5000, resolved_at=START + 120)[:1])
        await asyncio.sleep(60)
        bench.stop()
        assert channel.said[-1][1:3] == (name, RESOLVED)
        assert bench.outbox.rows() == ()

    play(story)


def test_a_channel_that_was_dead_for_hours_gets_one_digest() -> None:
    """1,000 incidents wait for six hours: memory stays as it is, and one message tells them all."""

    async def story() -> None:
        channel = Scripted(*[LATER] * 100_000, takes_s=0.1)
        bench = Bench(a=channel, digest_above=10)
        bench.start()
        every = many(1000)
        bench.outbox.notice(every)
        await asyncio.sleep(60)
        size = len(bench.outbox.rows())
        for hour in range(6):
            bench.outbox.notice(every[hour * 100 : hour * 100 + 100])
            await asyncio.sleep(3600)
        assert len(bench.outbox.rows()) == size
        channel.recover()
        said = len(channel.said)
        await asyncio.sleep(600)
        bench.stop()
        assert [reason for _, _, reason, _ in channel.said[said:]] == [FIRST]
        assert len(channel.heard[-1].alerts) == 1000

    play(story)


def test_a_digest_that_was_told_is_ended_after_a_restart() -> None:
    """What a digest speaks for is known from the store; nobody is told twice."""

    async def story() -> None:
        channel = Scripted(takes_s=0.1)
        bench = Bench(a=channel)
        bench.start()
        bench.outbox.notice(many(50))
        await asyncio.sleep(60)
        bench.stop()
        owed = {(row.channel, row.incident): row for row in bench.store.all_of("owed")}
        stored = {each.id: each for each in bench.store.all_of("incidents")}
        again = Bench(a=channel)
        again.outbox.restore(
            [*stored.values(), *many(50, resolved_at=START + 90)], tuple(owed.values())
        )
        again.start()
        await asyncio.sleep(60)
        again.stop()
        assert channel.reasons == [FIRST, RESOLVED]

    play(story)


def test_the_fallback_hears_what_a_channel_did_not_take_in_time() -> None:
    """A channel that says "later" for long is not waited for: somebody else is called."""

    async def story() -> None:
        stuck, console = Scripted(*[LATER] * 1000), Scripted()
        bench = Bench(fallback="console", stuck=stuck, console=console)
        bench.start()
        bench.outbox.notice([incident(0, ("stuck",))])
        await asyncio.sleep(290)
        assert console.said == []
        await asyncio.sleep(60)
        bench.stop()
        assert console.reasons == [FIRST]

    play(story)


def test_an_opening_does_not_go_into_an_incident_whose_end_was_refused() -> None:
    """Under the same key it would call nobody: the receiver gets another one."""

    async def story() -> None:
        pager = Scripted(OK, REFUSED, deduplicates=True, repeats=False)
        bench = Bench(a=pager)
        bench.start()
        first, second = incident(0, key="k"), incident(1, key="k")
        bench.outbox.notice([first])
        await asyncio.sleep(10)
        bench.outbox.notice([replace(first, resolved_at=START + 10)])
        await asyncio.sleep(10)
        bench.outbox.notice([second])
        await asyncio.sleep(10)
        bench.outbox.notice([replace(second, resolved_at=START + 30)])
        await asyncio.sleep(2 * 3600)
        bench.stop()
        assert [(each.id, each.key) for each in pager.heard] == [
            ("i0", "k"), ("i0", "k"), ("i1", "k/i1"), ("i0", "k"), ("i1", "k/i1"),
        ]  # fmt: skip

    play(story)


def test_nothing_is_said_of_a_hidden_incident_but_its_end() -> None:
    """A silence stops reminders and news; whoever was told hears that it is over."""

    async def story() -> None:
        channel = Scripted()
        bench = Bench(a=channel)
        bench.start()
        bench.outbox.notice([incident(0), incident(1, hidden_by="a silence")])
        await asyncio.sleep(60)
        bench.outbox.notice([incident(0, hidden_by="a silence")])
        await asyncio.sleep(5 * 3600)
        over = {"hidden_by": "a silence", "resolved_at": START + 9}
        bench.outbox.notice([incident(0, **over), incident(1, **over)])
        await asyncio.sleep(60)
        bench.stop()
        assert [each[1:3] for each in channel.said] == [("i0", FIRST), ("i0", RESOLVED)]

    play(story)


def test_a_channel_that_refuses_for_good_is_known_as_broken_until_it_works() -> None:
    """What the pipeline tells elsewhere; a delivery ends it."""

    async def story() -> None:
        bench = Bench(a=Scripted(REFUSED))
        bench.start()
        bench.outbox.notice([incident(0)])
        await asyncio.sleep(10)
        assert bench.outbox.broken == {"a": "invalid_token"}
        bench.outbox.notice([incident(1)])
        await asyncio.sleep(10)
        bench.stop()
        assert bench.outbox.broken == {}

    play(story)


class Herald(Scripted):
    """Wants to know of releases; breaks off once."""

    announces = True

    def __init__(self) -> None:
        super().__init__()
        self.released: list[str] = []

    async def announce(self, release: Release, at: float, deadline_s: float) -> Delivery:
        self.released.append(release.revision)
        if len(self.released) == 1:
            raise RuntimeError
        return OK


def test_releases_are_told_to_who_wants_to_know() -> None:
    """Each once; one that goes wrong does not keep the next from being told."""

    async def story() -> None:
        herald = Herald()
        bench = Bench(a=herald, b=Scripted())
        task = asyncio.create_task(bench.outbox.announce())
        for revision in ("1", "2"):
            bench.outbox.tell_release(
                Release(deployment="d", revision=revision, status=ReleaseStatus.SUCCEEDED, at=START)
            )
        await asyncio.sleep(1)
        task.cancel()
        assert herald.released == ["1", "2"]

    play(story)


def alert_to(rule: str, *channels: str, at: float = START, **changes: Any) -> IncidentAlert:
    base = IncidentAlert(
        rule=rule, deployment="d", severity=Severity.CRITICAL, channels=channels, condition="true",
        summary=rule, started_at=at, opened_at=at,
    )  # fmt: skip
    return replace(base, **changes)


def test_a_stand_in_sees_the_whole_and_never_hears_a_false_end() -> None:
    """The fallback is a receiver of another alert of the incident, even of one that is over."""

    async def story() -> None:
        mail = Scripted()
        bench = Bench("mail", pager=Scripted(*[REFUSED] * 99), mail=mail)
        bench.start()
        down, errors = alert_to("down", "mail"), alert_to("errors", "pager", at=START + 1)
        known = incident(channels=("mail", "pager"), alerts=(down,), rule="down")
        bench.outbox.notice([known])
        await asyncio.sleep(1)
        over = replace(down, resolved_at=START + 5)
        bench.outbox.notice([replace(known, alerts=(over, errors))])
        await asyncio.sleep(60)
        assert mail.reasons == [SendReason.FIRST, SendReason.NEW_ALERTS]
        assert [each.rule for each in mail.heard[-1].alerts] == ["down", "errors"]
        assert mail.heard[-1].is_open
        ended = replace(errors, resolved_at=START + 90)
        bench.outbox.notice([replace(known, alerts=(over, ended), resolved_at=START + 90)])
        await asyncio.sleep(60)
        assert mail.reasons[-1] is SendReason.RESOLVED
        bench.stop()

    play(story)


def test_an_alert_that_joins_and_is_not_taken_reaches_the_fallback() -> None:
    """As an opening would."""

    async def story() -> None:
        chat, mail = Scripted(), Scripted()
        bench = Bench("mail", chat=chat, mail=mail)
        bench.start()
        first = alert_to("down", "chat")
        known = incident(channels=("chat",), alerts=(first,))
        bench.outbox.notice([known])
        await asyncio.sleep(1)
        chat._script = [Delivery(result=DeliveryResult.RETRY)] * 999
        bench.outbox.notice(
            [replace(known, alerts=(first, alert_to("errors", "chat", at=START + 2)))]
        )
        await asyncio.sleep(600)
        assert [len(each.alerts) for each in mail.heard] == [2]
        bench.stop()

    play(story)


def test_what_joins_a_digest_late_is_told() -> None:
    """Also when it is older than what was told last."""

    async def story() -> None:
        chat = Scripted()
        bench = Bench(chat=chat)
        bench.start()
        bench.outbox.notice(many(11, ("chat",)))
        await asyncio.sleep(5)
        late = [replace(each, id=f"x{each.id}", key=f"x{each.key}") for each in many(11, ("chat",))]
        bench.outbox.notice(
            [
                replace(it, alerts=tuple(replace(a, deployment=it.id) for a in it.alerts))
                for it in late
            ]
        )
        await asyncio.sleep(60)
        assert len(chat.heard[-1].alerts) == 22
        bench.stop()

    play(story)


def test_an_acknowledgement_before_the_opening_arrived_is_told_after_it() -> None:
    """PagerDuty would go on to call people: its trigger says nothing of who works on it."""

    async def story() -> None:
        lost = Delivery(result=DeliveryResult.UNCERTAIN)
        pager = Scripted(lost, deduplicates=True, repeats=False)
        bench = Bench(pager=pager)
        bench.start()
        known = incident(channels=("pager",))
        bench.outbox.notice([known])
        await asyncio.sleep(0.5)
        ack = Acknowledgement(by="ana", at=START + 1, until=START + 9999)
        bench.outbox.notice([replace(known, acknowledgement=ack)])
        await asyncio.sleep(60)
        assert pager.reasons == [SendReason.FIRST, SendReason.FIRST, SendReason.ACKNOWLEDGED]
        bench.stop()

    play(story)


def test_the_tempo_is_that_of_the_incident_whoever_asks_first() -> None:
    """A lesser alert of another channel delays nobody."""

    async def story() -> None:
        slow = Tempo(wait_s=1800.0)
        bench = Bench(chat=Scripted(), pager=(pager := Scripted()))
        bench.outbox._settings = replace(
            bench.outbox._settings,
            tempo=lambda it: Tempo() if it.lead.rule == "errors" else slow,
        )
        bench.start()
        alerts = (alert_to("errors", "pager"), alert_to("slow", "chat", at=START + 1))
        bench.outbox.notice([incident(channels=("chat", "pager"), alerts=alerts)])
        await asyncio.sleep(10)
        assert pager.reasons == [SendReason.FIRST]
        bench.stop()

    play(story)


def test_a_row_of_what_is_over_breaks_no_channel_after_a_restart() -> None:
    """Only what is still owed says that a channel cannot be used."""

    async def story() -> None:
        bench = Bench(a=Scripted(), b=Scripted())
        over = incident(1, resolved_at=START + 9)
        rows = [
            Owed(incident="i1", channel="a", told=Told.RESOLVED, parked="gone"),
            Owed(incident="i2", channel="b", parked="channel_not_found"),
            Owed(incident="i2", channel="removed", parked="gone"),
        ]
        bench.outbox.restore([over, incident(2, channels=("b", "removed"))], rows)
        assert bench.outbox.broken == {"b": "channel_not_found"}
        bench.stop()

    play(story)


def test_a_digest_of_what_everybody_knows_reminds_nobody() -> None:
    """Acknowledged as a whole, or hidden as a whole, it is so itself."""
    ack = Acknowledgement(by="ana", at=START, until=START + 60)
    every = [replace(each, acknowledgement=ack) for each in many(3)]
    assert digest_of(every, "a", START).acknowledgement == ack
    assert digest_of([*every, incident(9)], "a", START).acknowledgement is None
    hidden = [replace(each, hidden_by="a silence") for each in many(3)]
    assert digest_of(hidden, "a", START).hidden_by == "a silence"
    assert digest_of([*hidden, incident(9)], "a", START).hidden_by == ""
