"""The one owner of mutable SLO and alert state: drain, step, journal, hand over.

Everything that changes state arrives on one bounded queue: samples, releases, and what became of a
rollback. On each tick the engine is stepped, its transitions are committed, and only then are the
outbox and recovery told. Sends nothing and probes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from monitor.incidents import Incidents, IncidentSettings
from monitor.metrics import Telemetry
from monitor.model import (
    Acknowledge,
    Clock,
    Correction,
    Diagnosis,
    HeartbeatRow,
    Incident,
    Note,
    Outcome,
    Release,
    ReleaseStatus,
    RollbackRecord,
    RollbackState,
    Sample,
    Silence,
    Target,
)
from monitor.pace import Pace
from monitor.slo.alerting import AlertRule
from monitor.slo.engine import DeploymentSpec, Engine, Step
from monitor.store.base import Batch, Store, StoreError, merge

log = logging.getLogger(__name__)

Item = Sample | Release | RollbackRecord | Diagnosis | Correction | Silence | Acknowledge

QUEUE_CAP = 100_000
SOONEST_S = 0.02
"""Between two ticks, whatever arrives: many bad samples together are one tick."""
UNSAVED_CAP = 10_000
"""Transitions remembered while the store refuses; beyond it the oldest are dropped."""

_STATUS_OF = {
    RollbackState.INTENDED: ReleaseStatus.ROLLING_BACK,
    RollbackState.UNCERTAIN: ReleaseStatus.ROLLING_BACK,
    RollbackState.ACCEPTED: ReleaseStatus.ROLLING_BACK,
    RollbackState.SUCCEEDED: ReleaseStatus.ROLLED_BACK,
    RollbackState.FAILED: ReleaseStatus.ROLLBACK_FAILED,
}


@dataclass(slots=True)
class _Drained:
    """What was on the queue, by kind."""

    samples: list[Sample] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)
    reports: list[RollbackRecord] = field(default_factory=list)
    diagnoses: list[Diagnosis] = field(default_factory=list)
    corrections: list[Correction] = field(default_factory=list)
    silences: list[Silence] = field(default_factory=list)
    acknowledgements: list[Acknowledge] = field(default_factory=list)

    def take(self, item: Item) -> None:
        """Put one item where it belongs."""
        match item:
            case Sample():
                self.samples.append(item)
            case Release():
                self.releases.append(item)
            case Diagnosis():
                self.diagnoses.append(item)
            case Correction():
                self.corrections.append(item)
            case Silence():
                self.silences.append(item)
            case Acknowledge():
                self.acknowledgements.append(item)
            case RollbackRecord():
                self.reports.append(item)
                self.releases.extend(_release_of(item))


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSettings:
    """What the plan says about evaluation."""

    evaluation_interval_s: float
    flush_interval_s: float
    incidents: IncidentSettings


class Pipeline:
    """Runs the engine and keeps the incidents."""

    def __init__(
        self,
        clock: Clock,
        engine: Engine,
        store: Store,
        *,
        settings: PipelineSettings,
        telemetry: Telemetry,
        hand_over: Sequence[Callable[[Sequence[Incident]], None]],
        ailment: Callable[[], str | None] = lambda: None,
        heartbeats: Callable[[], Mapping[str, Mapping[str, float | None]]] = dict,
        broken: Callable[[], Mapping[str, str]] = dict,
        announce: Callable[[Release], None] = lambda _release: None,
    ) -> None:
        """Build a pipeline; `hand_over` are told of changed incidents after the commit.

        `ailment` says what is wrong with this process or its machine, if anything is;
        `heartbeats` what is known of jobs that report, which is stored with the buckets; `broken`
        which channels cannot be used, and why; `announce` is told of releases.
        """
        self.engine = engine
        self.durable = True
        self.last_tick: float | None = None
        self._clock = clock
        self._store = store
        self._settings = settings
        self._telemetry = telemetry
        self._hand_over = tuple(hand_over)
        self._ailment = ailment
        self._heartbeats = heartbeats
        self._beats: Mapping[str, Mapping[str, float | None]] = {}
        """As they were stored last."""
        self._queue: deque[Item] = deque()
        self._bad: set[str] = set()
        """Targets that were bad and have not been good since."""
        self._news = asyncio.Event()
        self._broken = broken
        self._announce = announce
        self.book = Incidents(engine, settings.incidents)
        self.corrections: dict[str, Correction] = {}
        """By their ids, oldest first."""
        self._carried: list[Incident] = []
        """Incidents that changed before the first tick."""
        self._unsaved = Batch()
        self._last_flush = clock.now()
        self._pending: (
            tuple[PipelineSettings, Sequence[DeploymentSpec], Sequence[AlertRule], Sequence[Target]]
            | None
        ) = None

    def restore(
        self,
        incidents: Sequence[Incident],
        corrections: Sequence[Correction] = (),
        silences: Sequence[Silence] = (),
    ) -> None:
        """Take over what an earlier process told and was told; budgets know of it already."""
        self.corrections = {each.id: each for each in corrections}
        self.book.restore(incidents, silences, self._clock.now())
        # Whoever edited the configuration meanwhile expects it to be followed, as after a reload.
        self._carried = self.book.follow_channels()

    def reconfigure(
        self,
        settings: PipelineSettings,
        specs: Sequence[DeploymentSpec],
        rules: Sequence[AlertRule],
        witnesses: Sequence[Target] = (),
    ) -> None:
        """Use another plan from the next tick on, all of it at once."""
        self._pending = (settings, specs, rules, witnesses)

    def offer(self, item: Item) -> None:
        """Queue a sample without waiting; an overflow is counted and shows as missing data."""
        if len(self._queue) < QUEUE_CAP:
            self._queue.append(item)
            if isinstance(item, Sample) and self._is_news(item):
                self._news.set()
        else:
            self._telemetry.count_skipped("queue_full", 1)

    def accept(self, item: Release | Correction | Silence | Acknowledge) -> None:
        """Queue what somebody said.

        Raises:
            asyncio.QueueFull: overloaded; the caller should try again later.
        """
        if len(self._queue) >= QUEUE_CAP:
            raise asyncio.QueueFull
        if isinstance(item, Silence):
            # Who asks for it may look at once; it is stored with the next tick.
            self.book.silence(item, self._clock.now())
        self._queue.append(item)
        self._news.set()

    def incidents(self) -> list[Incident]:
        """Return open and recently closed incidents, newest first."""
        return self.book.all()

    async def run(self) -> None:
        """Tick for ever."""
        while True:
            # Whoever stops this waits for the tick under way: half a step would lose a page.
            tick = asyncio.create_task(self.tick())
            try:
                await asyncio.shield(tick)
            except asyncio.CancelledError:
                await asyncio.wait([tick])
                raise
            await self._rest()

    async def _rest(self) -> None:
        """Wait for the next tick; a sample that may change an alert ends it early."""
        interval_s = self._settings.evaluation_interval_s
        soonest_s = min(SOONEST_S, interval_s)
        await asyncio.sleep(soonest_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval_s - soonest_s):
                await self._news.wait()
        self._news.clear()

    def _is_news(self, item: Sample) -> bool:
        """Say whether a sample is bad, or the first good one after that."""
        if item.outcome is Outcome.BAD:
            self._bad.add(item.target)
            return True
        if item.outcome is Outcome.GOOD and item.target in self._bad:
            self._bad.remove(item.target)
            return True
        return False

    async def tick(self, *, flush: bool = False) -> None:
        """Drain the queue, step the engine, commit, hand over. `flush` writes all windows too."""
        if self._pending is not None:
            (self._settings, specs, rules, witnesses), self._pending = self._pending, None
            self.book.settings = self._settings.incidents
            self._bad.clear()
            step = self.engine.reconfigure(specs, rules, self._clock.now(), witnesses)
            await self._apply(step, self.book.follow_channels())
        drained = _Drained()
        while self._queue:
            drained.take(self._queue.popleft())
        now = self._clock.now()
        changed, self._carried = [*self._carried, *self._listen(drained, now)], []
        for correction in drained.corrections:
            self.engine.correct(correction)
            self.corrections[correction.id] = correction
        work = self.engine.stepping(now, drained.samples, drained.releases, self._ailment())
        step = await Pace(self._clock.monotonic).through(work)
        self._telemetry.set_blind(blind=self.engine.blindness is not None)
        await self._apply(step, changed, drained, flush=flush)
        self.last_tick = self._clock.monotonic()

    async def _apply(
        self,
        step: Step,
        changed: Sequence[Incident] = (),
        drained: _Drained | None = None,
        *,
        flush: bool = False,
    ) -> None:
        now = self._clock.now()
        corrections = drained.corrections if drained else ()
        incidents = {incident.id: incident for incident in changed}
        for transition in step.transitions:
            log.info(
                "alert %s",
                transition.after,
                extra={"rule": transition.rule, "deployment": transition.deployment},
            )
            incidents |= {each.id: each for each in self.book.follow(transition)}
        incidents |= {each.id: each for each in self.book.settle(now, self._broken())}
        silences = (*(drained.silences if drained else ()), *self.book.ended_silences)
        self.book.ended_silences.clear()
        self._account(now)
        for release in step.releases:
            self._telemetry.count_release(release)
        due = now - self._last_flush >= self._settings.flush_interval_s
        # A correction is written with the windows that it changed, or not at all.
        wanted = flush or due or bool(step.transitions or step.releases or corrections)
        batch = Batch(
            transitions=step.transitions,
            alerts=step.alerts,
            forgotten_alerts=step.forgotten,
            incidents=tuple(incidents.values()),
            releases=step.releases,
            corrections=tuple(corrections),
            silences=silences,
        )
        # While the store refuses, windows wait in the engine, which forgets the oldest itself.
        was_durable = self.durable
        if wanted and was_durable:
            batch = merge(batch, await self._windows())
        await self._commit(batch)
        if wanted and self.durable and not was_durable:
            await self._commit(await self._windows())
        for release in step.releases:
            self._announce(release)
        if incidents:
            for tell in self._hand_over:
                tell(tuple(incidents.values()))

    def _account(self, now: float) -> None:
        """Count what was held back, and what came late."""
        self._telemetry.set_alerting(
            suppressed=self.book.suppressed,
            steps=self.book.steps,
            silences=sum(each.is_active(now) for each in self.book.silences.values()),
            broken=self._broken(),
        )
        self.book.suppressed.clear()
        self.book.steps.clear()

    def _listen(self, drained: _Drained, now: float) -> list[Incident]:
        """Take in what was said about incidents."""
        changed: dict[str, Incident] = {}
        for silence in drained.silences:
            self.book.silence(silence, now)
        for said in drained.acknowledgements:
            taken = self.book.acknowledge(said, now)
            changed |= {each.id: each for each in taken}
            if taken and said.acknowledgement is not None:
                self._telemetry.count_acknowledgement(said.acknowledgement.source)
        for report in drained.reports:
            note = Note(at=report.updated_at, text=_note_text(report))
            changed |= {each.id: each for each in self.book.note(report.request.incident, note)}
        changed |= {each.id: each for each in self.book.diagnose(drained.diagnoses)}
        return list(changed.values())

    async def _windows(self) -> Batch:
        """Return what the engine has counted since the last time."""
        self._last_flush = self._clock.now()
        windows, born = await Pace(self._clock.monotonic).through(self.engine.flushing())
        beats = self._heartbeats()
        changed = tuple(
            HeartbeatRow(name=name, at=self._last_flush, times=times)
            for name, times in beats.items()
            if self._beats.get(name) != times
        )
        self._beats = beats
        return Batch(windows=windows, born=born, heartbeats=changed, seen_at=self._last_flush)

    async def _commit(self, batch: Batch) -> None:
        batch = merge(self._unsaved, batch)
        if batch.is_empty:
            return
        try:
            await self._store.commit(batch)
        except StoreError as error:
            # Fail open: what cannot be saved now is told all the same and saved when it can be.
            self._unsaved = replace(batch, transitions=batch.transitions[-UNSAVED_CAP:])
            if self.durable:
                log.error("state not saved, going on without: %s", error)  # noqa: TRY400 - told
            self.durable = False
            self._telemetry.count_store_error()
        else:
            self._unsaved = Batch()
            if not self.durable:
                log.warning("state is saved again")
            self.durable = True
        self._telemetry.set_durable(durable=self.durable)


def _release_of(report: RollbackRecord) -> list[Release]:
    status = _STATUS_OF.get(report.state)
    if report.state is RollbackState.BLOCKED and report.attempts:
        # It was announced and called, was never received, and is not wanted any more.
        status = ReleaseStatus.ROLLBACK_FAILED
    if status is None:
        return []
    request = report.request
    done = status is ReleaseStatus.ROLLED_BACK and request.to_revision is not None
    return [
        Release(
            deployment=request.deployment,
            revision=(request.to_revision or "") if done else request.from_revision,
            status=status,
            at=report.updated_at,
            source="rollback",
        )
    ]


def _note_text(report: RollbackRecord) -> str:
    request = report.request
    goal = f" to {request.to_revision}" if request.to_revision else ""
    words = {
        RollbackState.BLOCKED: "not rolled back",
        RollbackState.DRY_RUN: f"dry run: would roll back {request.from_revision}{goal}",
        RollbackState.INTENDED: f"rolling back {request.from_revision}{goal}",
        RollbackState.UNCERTAIN: "the rollback hook did not answer; asking it what happened",
        RollbackState.ACCEPTED: f"the hook accepted the rollback of {request.from_revision}{goal}",
        RollbackState.SUCCEEDED: f"rolled back {request.from_revision}{goal}",
        RollbackState.FAILED: f"rollback of {request.from_revision}{goal} failed",
    }[report.state]
    return f"{words}: {report.detail}" if report.detail else words
