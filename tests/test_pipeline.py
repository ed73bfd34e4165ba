"""The owner of state: what is committed when, who is told when, and what survives a full disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from monitor.incidents import CLOSED_KEPT, DIAGNOSIS_S, IncidentSettings
from monitor.metrics import Telemetry
from monitor.model import (
    AlertState,
    Cause,
    Correction,
    Deployment,
    Diagnosis,
    Incident,
    Matcher,
    Outcome,
    Release,
    ReleaseStatus,
    RollbackRecord,
    RollbackRequest,
    RollbackState,
    Sample,
    Severity,
    Silence,
    Target,
)
from monitor.pipeline import (
    QUEUE_CAP,
    UNSAVED_CAP,
    Pipeline,
    PipelineSettings,
)
from monitor.scenario.loop import VirtualClock
from monitor.slo.alerting import AlertRule
from monitor.slo.condition import compile_condition
from monitor.slo.engine import DeploymentSpec, Engine
from monitor.slo.heads import PART, Heads
from monitor.slo.objective import Objective
from monitor.slo.window import TargetWindow
from monitor.store.base import Batch
from tests.support.memory import MemoryStore
from tests.support.virtual import run

START = 1_000_000.0
TICK_S = 10.0
WEB = Deployment(name="web", service="web", environment="production", url="https://web.test")
TARGET = Target(
    id="web/home", deployment="web", environment="production", probe="home", region="global",
    interval_s=TICK_S, timeout_s=5.0,
)  # fmt: skip
SPEC = DeploymentSpec(deployment=WEB, targets=(TARGET,), objective=None, sla=None)


def rule(name: str = "errors", condition: str = "error_rate_1m > 50", **changes: Any) -> AlertRule:
    fields: dict[str, Any] = {"severity": Severity.CRITICAL, "channels": ("slack",)}
    return AlertRule(name=name, condition=compile_condition(condition), **(fields | changes))


def settings(flush_s: float = 60.0, *rollback_rules: str) -> PipelineSettings:
    return PipelineSettings(
        evaluation_interval_s=TICK_S,
        flush_interval_s=flush_s,
        incidents=IncidentSettings(
            rollback_rules=frozenset((name, "web") for name in rollback_rules),
            service="web",
            blind_channels=("slack",),
        ),
    )


class Bench:
    """A pipeline that is ticked by hand, its store, and who is told."""

    def __init__(self, *rules: AlertRule, flush_s: float = 60.0) -> None:
        self.clock = VirtualClock(asyncio.get_running_loop(), START)
        self.store = MemoryStore()
        self.telemetry = Telemetry()
        self.told: list[Incident] = []
        self.stored_when_told: list[list[Incident]] = []
        self.pipeline = Pipeline(
            self.clock,
            Engine((SPEC,), rules or (rule(),), START),
            self.store,
            settings=settings(flush_s),
            telemetry=self.telemetry,
            hand_over=(self._hear, self._look),
        )

    async def tick(self, outcome: Outcome | None = None) -> None:
        """Let an interval pass, and what the probe saw in it."""
        await asyncio.sleep(TICK_S)
        if outcome is not None:
            self.pipeline.offer(Sample(target=TARGET.id, at=self.clock.now(), outcome=outcome))
        await self.pipeline.tick()

    async def episode(self) -> None:
        """Let an alert fire and end."""
        await self.tick(Outcome.BAD)
        for _ in range(8):
            await self.tick(Outcome.GOOD)

    def skipped(self, reason: str) -> float:
        return sum(
            number
            for series, labels, number in self.telemetry.numbers()
            if series.name == "monitor_probes_skipped_total" and labels == (reason,)
        )

    def _hear(self, incidents: Sequence[Incident]) -> None:
        self.told += incidents

    def _look(self, incidents: Sequence[Incident]) -> None:
        stored = [each for batch in self.store.batches for each in batch.incidents]
        self.stored_when_told.append([each for each in incidents if each in stored])


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run(story())


def rows(batches: Sequence[Batch], kind: str) -> list[Any]:
    return [row for batch in batches for row in getattr(batch, kind)]


def record(incident: Incident, state: RollbackState, **changes: Any) -> RollbackRecord:
    request = RollbackRequest(
        id="rb-1", incident=incident.id, deployment="web", environment="production",
        service="web", rule="errors", from_revision="B", to_revision="A", at=START,
    )  # fmt: skip
    return replace(RollbackRecord(request=request, state=state, updated_at=START), **changes)


def stored_window(bench: Bench) -> TargetWindow:
    """Return the windows of the target as a new process would have them."""
    latest = {(row.owner, row.part): row for row in rows(bench.store.batches, "windows")}
    window = TargetWindow(TARGET.id, bench.clock.now())
    heads = [row for row in latest.values() if row.part == PART]
    mine = [row for row in latest.values() if row.owner == TARGET.id]
    mine += [head for row in heads for head in Heads().spread("web", row)]
    window.restore([row for row in mine if row.owner == TARGET.id], bench.clock.now())
    return window


def test_what_is_told_is_stored_already() -> None:
    """Whoever is handed an incident finds it in the store, in one batch with its alert."""

    async def story() -> None:
        bench = Bench()
        await bench.episode()
        assert [each.is_open for each in bench.told] == [True, False]
        assert bench.stored_when_told == [[bench.told[0]], [bench.told[1]]]
        for incident in bench.told:
            [batch] = [each for each in bench.store.batches if incident in each.incidents]
            assert batch.transitions
            assert batch.alerts
            assert batch.windows
            assert batch.seen_at is not None

    play(story)


def test_nothing_new_writes_nothing() -> None:
    """Between two flushes a quiet tick costs the disk nothing."""

    async def story() -> None:
        bench = Bench(flush_s=60.0)
        for _ in range(12):
            await bench.tick(Outcome.GOOD)
        assert len(bench.store.batches) == 2
        assert stored_window(bench).counts(3600).good

    play(story)


def test_the_last_tick_writes_everything() -> None:
    """A drain flushes what is not due yet."""

    async def story() -> None:
        bench = Bench(flush_s=600.0)
        await bench.tick(Outcome.GOOD)
        assert not bench.store.batches
        await bench.pipeline.tick(flush=True)
        assert stored_window(bench).counts(3600).good

    play(story)


def test_a_full_disk_keeps_no_page_back() -> None:
    """While nothing can be saved, incidents are handed over all the same, and it is known."""

    async def story() -> None:
        bench = Bench()
        bench.store.full = True
        await bench.episode()
        assert [each.is_open for each in bench.told] == [True, False]
        assert not bench.store.batches
        assert not bench.pipeline.durable

    play(story)


def test_what_could_not_be_saved_is_saved_together() -> None:
    """When there is room again, all that was owed to the store is in its next batch."""

    async def story() -> None:
        bench = Bench()
        bench.store.full = True
        await bench.episode()
        bench.store.full = False
        await bench.tick(Outcome.GOOD)
        assert bench.pipeline.durable
        batch = bench.store.batches[0]
        assert [t.after for t in batch.transitions] == [AlertState.FIRING, AlertState.RESOLVED]
        assert list(batch.incidents) == bench.told[-1:]
        assert [each.state for each in batch.alerts] == [AlertState.INACTIVE]
        assert not rows(bench.store.batches[1:], "transitions")
        counts = stored_window(bench).counts(3600)
        assert counts.good + counts.bad == 10

    play(story)


def test_an_alert_that_was_forgotten_meanwhile_does_not_come_back() -> None:
    """A rule that a reload removes while the disk is full is gone from what is saved later."""

    async def story() -> None:
        bench = Bench(rule(), rule("other"))
        bench.store.full = True
        await bench.tick(Outcome.BAD)
        bench.pipeline.reconfigure(settings(), (SPEC,), (rule("other"),))
        await bench.tick(Outcome.BAD)
        bench.store.full = False
        await bench.tick(Outcome.BAD)
        [batch] = [each for each in bench.store.batches if each.transitions]
        assert [each.rule for each in batch.alerts] == ["other"]
        assert ("errors", "web") in batch.forgotten_alerts
        [incident] = batch.incidents
        assert {each.rule: each.is_open for each in incident.alerts} == {
            "errors": False, "other": True,
        }  # fmt: skip

    play(story)


def test_a_long_refusal_costs_bounded_memory() -> None:
    """Days of a full disk keep neither every transition nor every bucket in memory."""

    async def story() -> None:
        bench = Bench(rule(condition="error_rate_1m >= 50"), flush_s=10.0)
        bench.store.full = True
        for number in range(2000):
            await bench.tick(Outcome.BAD if number % 16 < 8 else Outcome.GOOD)
        unsaved = bench.pipeline._unsaved
        assert 200 < len(unsaved.transitions) <= UNSAVED_CAP
        assert len(unsaved.windows) < 10
        bench.store.full = False
        await bench.tick(Outcome.GOOD)
        await bench.tick(Outcome.GOOD)
        # Ticks are 10 s apart; no sample of the last two hours is missing.
        counts = stored_window(bench).counts(7200)
        assert counts.good + counts.bad == 720

    play(story)


def test_transitions_that_cannot_be_saved_are_capped() -> None:
    """The newest stay."""

    async def story() -> None:
        bench = Bench()
        bench.store.full = True
        await bench.episode()
        many = bench.pipeline._unsaved.transitions * UNSAVED_CAP
        bench.pipeline._unsaved = replace(bench.pipeline._unsaved, transitions=many)
        await bench.episode()
        kept = bench.pipeline._unsaved.transitions
        assert len(kept) == UNSAVED_CAP
        assert kept[-1].at == bench.told[-1].resolved_at

    play(story)


def test_an_overflow_of_the_queue_is_counted() -> None:
    """Samples that find no place are counted, not waited for; a release is refused loudly."""

    async def story() -> None:
        bench = Bench()
        sample = Sample(target=TARGET.id, at=START, outcome=Outcome.GOOD)
        for _ in range(QUEUE_CAP + 7):
            bench.pipeline.offer(sample)
        assert bench.skipped("queue_full") == 7
        with pytest.raises(asyncio.QueueFull):
            bench.pipeline.accept(
                Release(deployment="web", revision="B", status=ReleaseStatus.FAILED, at=START)
            )

    play(story)


def test_a_removed_rule_ends_its_incident() -> None:
    """A reload is part of a tick: the incident ends with its reason, and everybody is told."""

    async def story() -> None:
        bench = Bench()
        await bench.tick(Outcome.BAD)
        bench.pipeline.reconfigure(settings(), (SPEC,), ())
        assert bench.told[-1].is_open
        await bench.tick()
        assert not bench.told[-1].is_open
        assert bench.told[-1].resolve_reason == "config_removed"
        assert rows(bench.store.batches, "forgotten_alerts") == [("errors", "web")]
        assert bench.stored_when_told[-1] == [bench.told[-1]]

    play(story)


def test_a_reload_keeps_an_incident_whose_rule_stays() -> None:
    """An alert that fires before and after a reload is one incident."""

    async def story() -> None:
        bench = Bench()
        await bench.tick(Outcome.BAD)
        bench.pipeline.reconfigure(settings(30.0, "errors"), (SPEC,), (rule(severity="warning"),))
        await bench.tick(Outcome.BAD)
        assert len(bench.told) == 1
        assert [each.is_open for each in bench.pipeline.incidents()] == [True]

    play(story)


def test_a_rule_asks_for_a_rollback_where_the_plan_says_so() -> None:
    """Whether an incident may roll back is stamped on it when it opens."""

    async def story() -> None:
        bench = Bench(rule(), rule("other"))
        bench.pipeline.reconfigure(settings(60.0, "errors"), (SPEC,), (rule(), rule("other")))
        await bench.tick(Outcome.BAD)
        [incident] = {each.id: each for each in bench.told}.values()
        assert incident.rollback
        assert {each.rule: each.rollback for each in incident.alerts} == {
            "errors": True, "other": False,
        }  # fmt: skip

    play(story)


@pytest.mark.parametrize(
    ("state", "status", "words"),
    [
        (RollbackState.INTENDED, ReleaseStatus.ROLLING_BACK, "rolling back B to A"),
        (RollbackState.UNCERTAIN, ReleaseStatus.ROLLING_BACK, "did not answer"),
        (RollbackState.ACCEPTED, ReleaseStatus.ROLLING_BACK, "accepted the rollback of B to A"),
        (RollbackState.SUCCEEDED, ReleaseStatus.ROLLED_BACK, "rolled back B to A"),
        (RollbackState.FAILED, ReleaseStatus.ROLLBACK_FAILED, "rollback of B to A failed"),
        (RollbackState.BLOCKED, ReleaseStatus.SUCCEEDED, "not rolled back: because"),
        (RollbackState.DRY_RUN, ReleaseStatus.SUCCEEDED, "dry run: would roll back B to A"),
    ],
)
def test_what_became_of_a_rollback_is_noted(
    state: RollbackState, status: ReleaseStatus, words: str
) -> None:
    """Each report becomes a line on its incident and the status of its deployment."""

    async def story() -> None:
        bench = Bench()
        live = Release(
            deployment="web", revision="B", status=ReleaseStatus.SUCCEEDED, at=START, source="api"
        )
        bench.pipeline.accept(live)
        await bench.tick(Outcome.BAD)
        bench.pipeline.offer(record(bench.told[0], state, detail="because"))
        await bench.tick(Outcome.BAD)
        [note] = bench.told[-1].notes
        assert words in note.text
        assert note.text.endswith("because")
        assert bench.stored_when_told[-1] == [bench.told[-1]]
        release = bench.pipeline.engine.release("web")
        assert release is not None
        assert release.status is status
        assert release.revision == ("A" if state is RollbackState.SUCCEEDED else "B")

    play(story)


def test_a_call_that_is_given_up_leaves_no_deployment_rolling_back() -> None:
    """Announced and never received: blocked later on, it ends as a failed rollback."""

    async def story() -> None:
        bench = Bench()
        bench.pipeline.accept(
            Release(deployment="web", revision="B", status=ReleaseStatus.SUCCEEDED, at=START)
        )
        await bench.tick(Outcome.BAD)
        bench.pipeline.offer(record(bench.told[0], RollbackState.INTENDED))
        await bench.tick(Outcome.BAD)
        bench.pipeline.offer(record(bench.told[0], RollbackState.BLOCKED, attempts=1))
        await bench.tick(Outcome.BAD)
        release = bench.pipeline.engine.release("web")
        assert release is not None
        assert release.status is ReleaseStatus.ROLLBACK_FAILED

    play(story)


def test_a_report_on_an_unknown_incident_changes_no_incident() -> None:
    """A rollback whose incident is not remembered any more is told to nobody."""

    async def story() -> None:
        bench = Bench()
        await bench.tick(Outcome.BAD)
        stranger = replace(bench.told[0], id="gone")
        bench.pipeline.offer(record(stranger, RollbackState.SUCCEEDED))
        await bench.tick(Outcome.BAD)
        assert len(bench.told) == 1

    play(story)


def test_a_release_reaches_engine_and_store() -> None:
    """A release event is applied at the next tick, stored, and stamped on what fires then."""

    async def story() -> None:
        bench = Bench()
        event = Release(
            deployment="web", revision="1.5.0", status=ReleaseStatus.IN_PROGRESS, at=START,
            source="api",
        )  # fmt: skip
        bench.pipeline.accept(event)
        await bench.tick(Outcome.BAD)
        assert bench.pipeline.engine.release("web") == event
        assert rows(bench.store.batches, "releases") == [event]
        assert bench.told[0].revision == "1.5.0"

    play(story)


def test_closed_incidents_are_kept_for_a_while_only() -> None:
    """Memory holds the latest closed incidents and every open one."""

    async def story() -> None:
        bench = Bench()
        await bench.tick(Outcome.BAD)
        [first] = bench.told
        closed = [
            replace(first, id=f"c{n}", key=f"k{n}", rule=f"r{n}", opened_at=START - 1000 + n,
                    resolved_at=START)
            for n in range(CLOSED_KEPT + 50)
        ]  # fmt: skip
        bench.pipeline.restore(closed)
        kept = bench.pipeline.incidents()
        assert len(kept) == CLOSED_KEPT + 1
        assert kept[0] == first
        assert {each.id for each in closed[50:]} == {each.id for each in kept[1:]}

    play(story)


def test_a_restored_incident_is_closed_and_not_opened_again() -> None:
    """After a restart the same alert goes on with the same incident."""

    async def story() -> None:
        before = Bench()
        await before.tick(Outcome.BAD)
        after = Bench()
        after.pipeline.engine.restore(
            alerts=rows(before.store.batches, "alerts"),
            releases=(),
            windows=rows(before.store.batches, "windows"),
            born=rows(before.store.batches, "born"),
            seen_at=before.clock.now(),
            now=after.clock.now(),
        )
        after.pipeline.restore(before.told)
        await after.tick(Outcome.BAD)
        assert not after.told
        for _ in range(8):
            await after.tick(Outcome.GOOD)
        assert [(each.id, each.is_open) for each in after.told] == [(before.told[0].id, False)]

    play(story)


def diagnosis(cause: Cause, text: str = "because", target: str = TARGET.id) -> Diagnosis:
    return Diagnosis(target=target, deployment="web", at=START, cause=cause, text=text)


def test_a_diagnosis_is_on_the_page_that_goes_out() -> None:
    """What was found out before the alert fires is in the first message, and in no window."""

    async def story() -> None:
        bench = Bench()
        bench.pipeline.offer(diagnosis(Cause.TLS))
        bench.pipeline.offer(diagnosis(Cause.DNS, target="other/home/eu"))
        await bench.tick(Outcome.BAD)
        [opened] = bench.told
        probe = TARGET.id.removeprefix("web/")
        texts = [note.text for note in opened.notes]
        assert f"diagnosis (tls): because [{probe}]" in texts
        assert bench.pipeline.engine.window("web", 300, bench.clock.now()).valid == 1

    play(story)


def test_a_diagnosis_that_comes_later_is_noted_once() -> None:
    """The same cause again says nothing new, and the list has an end."""

    async def story() -> None:
        bench = Bench()
        await bench.tick(Outcome.BAD)
        for number in range(20):
            bench.pipeline.offer(diagnosis(list(Cause)[number % len(Cause)], f"look {number}"))
            bench.pipeline.offer(diagnosis(Cause.APP, "x", target=f"web/probe{number}/eu"))
            await bench.tick(Outcome.BAD)
        notes = [note.text for note in bench.pipeline.incidents()[0].notes]
        assert len(notes) == len(Cause)
        assert notes[0] == f"diagnosis (dns): look 0 [{TARGET.id.removeprefix('web/')}]"
        assert rows(bench.store.batches, "incidents")[-1].notes[-1].text == notes[-1]

    play(story)


def test_an_old_diagnosis_is_not_taken_for_news() -> None:
    """What was found out long before says nothing about this incident."""

    async def story() -> None:
        bench = Bench()
        bench.pipeline.offer(diagnosis(Cause.TLS))
        await bench.tick(Outcome.GOOD)
        await asyncio.sleep(DIAGNOSIS_S)
        for _ in range(40):
            await bench.tick(Outcome.BAD)
        [opened] = [each for each in bench.told if each.is_open][:1]
        assert opened.notes == ()

    play(story)


def test_heartbeats_are_stored_when_they_have_changed() -> None:
    """With the buckets, and not again while nothing is new."""

    async def story() -> None:
        bench = Bench()
        beats: dict[str, dict[str, float | None]] = {}
        bench.pipeline._heartbeats = lambda: dict(beats)
        await bench.pipeline.tick(flush=True)
        beats["shop/backup"] = {"finished_at": 5.0}
        await bench.pipeline.tick(flush=True)
        await bench.pipeline.tick(flush=True)
        beats["shop/backup"] = {"finished_at": 6.0}
        await bench.pipeline.tick(flush=True)
        written = [row.times["finished_at"] for row in rows(bench.store.batches, "heartbeats")]
        assert written == [5.0, 6.0]

    play(story)


def test_a_correction_is_stored_with_the_windows_that_it_changed() -> None:
    """A restart finds both or neither, and does not apply it again."""

    async def story() -> None:
        bench = Bench()
        spec = replace(SPEC, objective=Objective(target=Fraction(99, 100)))
        bench.pipeline.engine = Engine((spec,), (), bench.clock.now())
        for outcome in [Outcome.BAD] * 6 + [Outcome.GOOD] * 30:
            await bench.tick(outcome)
        correction = Correction(
            id="c1", deployment="web", slo="", start=START, end=START + 40.0,
            reason="load test", at=bench.clock.now(),
        )  # fmt: skip
        bench.pipeline.accept(correction)
        await bench.pipeline.tick()
        batch = bench.store.batches[-1]
        assert (list(batch.corrections), bool(batch.windows)) == ([correction], True)
        [budget] = bench.pipeline.engine.records("web", bench.clock.now())[0].budgets(
            bench.clock.now()
        )
        assert budget.bad == 30
        await bench.pipeline.tick(flush=True)
        again = Bench()
        again.pipeline.engine = Engine((spec,), (), again.clock.now())
        latest = {(row.owner, row.part): row for row in rows(bench.store.batches, "windows")}
        again.pipeline.engine.restore(
            alerts=(), releases=(), windows=latest.values(),
            born=rows(bench.store.batches, "born"), seen_at=None, now=again.clock.now(),
        )  # fmt: skip
        again.pipeline.restore((), rows(bench.store.batches, "corrections"))
        assert list(again.pipeline.corrections.values()) == [correction]
        [restored] = again.pipeline.engine.records("web", again.clock.now())[0].budgets(
            again.clock.now()
        )
        assert restored.bad == 30

    play(story)


def test_what_is_held_back_is_counted_once() -> None:
    """A silence that hides an alert for long is one suppressed notification, and shows."""

    async def story() -> None:
        bench = Bench()
        silence = Silence(
            id="s", matchers=(Matcher(name="rule", operator="=", value="errors"),), owner="ana",
            reason="known", starts_at=START, ends_at=START + 3600, at=START,
        )  # fmt: skip
        bench.pipeline.accept(silence)
        for _ in range(5):
            await bench.tick(Outcome.BAD)
        assert bench.told == []
        numbers = {(series.name, row): n for series, row, n in bench.telemetry.numbers()}
        assert numbers["monitor_notifications_suppressed_total", ("silence",)] == 1
        assert numbers["monitor_silences_active", ()] == 1
        assert rows(bench.store.batches, "silences") == [silence]

    play(story)
