"""The one owner of mutable SLO and alert state: drain, step, journal, hand over.

Everything that changes state arrives on one bounded queue: samples, releases, and what became of a
rollback. On each tick the engine is stepped, its transitions are committed, and only then are the
outbox and recovery told. Sends nothing and probes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from monitor.inhibition import covering
from monitor.metrics import Telemetry
from monitor.model import (
    AlertState,
    Clock,
    Correction,
    Diagnosis,
    HeartbeatRow,
    Incident,
    Note,
    Release,
    ReleaseStatus,
    RollbackRecord,
    RollbackState,
    Sample,
    Target,
    Transition,
)
from monitor.pace import Pace
from monitor.routing import close_incident, open_blind_incident, open_incident
from monitor.slo.alerting import AlertRule
from monitor.slo.burning import BurnCondition
from monitor.slo.engine import DeploymentSpec, Engine, Step
from monitor.slo.sight import PROBER, PROBER_BLIND
from monitor.store.base import Batch, Store, StoreError, merge

log = logging.getLogger(__name__)

Item = Sample | Release | RollbackRecord | Diagnosis | Correction

QUEUE_CAP = 100_000
CLOSED_KEPT = 200
"""Recently closed incidents kept in memory for the page."""
DIAGNOSIS_S = 300.0
"""A diagnosis says something about an incident that opens so long afterwards."""
UNSAVED_CAP = 10_000
"""Transitions remembered while the store refuses; beyond it the oldest are dropped."""

_STATUS_OF = {
    RollbackState.INTENDED: ReleaseStatus.ROLLING_BACK,
    RollbackState.UNCERTAIN: ReleaseStatus.ROLLING_BACK,
    RollbackState.ACCEPTED: ReleaseStatus.ROLLING_BACK,
    RollbackState.SUCCEEDED: ReleaseStatus.ROLLED_BACK,
    RollbackState.FAILED: ReleaseStatus.ROLLBACK_FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSettings:
    """What the plan says about evaluation."""

    evaluation_interval_s: float
    flush_interval_s: float
    rollback_rules: frozenset[tuple[str, str]]
    """(rule, deployment) pairs whose incidents ask for a rollback."""
    service: str
    blind_channels: tuple[str, ...]
    """Who is told that we cannot see."""


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
    ) -> None:
        """Build a pipeline; `hand_over` are told of changed incidents after the commit.

        `ailment` says what is wrong with this process or its machine, if anything is;
        `heartbeats` what is known of jobs that report, which is stored with the buckets.
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
        self._incidents: dict[str, Incident] = {}
        self._open: dict[tuple[str, str], str] = {}
        self._diagnoses: dict[str, Diagnosis] = {}
        """The latest of each target."""
        self.corrections: dict[str, Correction] = {}
        """By their ids, oldest first."""
        self._held: dict[tuple[str, str], Transition] = {}
        """Burn alerts that fire and that an incident covers, or did until now."""
        self._unsaved = Batch()
        self._last_flush = clock.now()
        self._pending: (
            tuple[PipelineSettings, Sequence[DeploymentSpec], Sequence[AlertRule], Sequence[Target]]
            | None
        ) = None

    def restore(
        self, incidents: Sequence[Incident], corrections: Sequence[Correction] = ()
    ) -> None:
        """Take over what an earlier process told and was told; budgets know of it already."""
        self.corrections = {each.id: each for each in corrections}
        for incident in sorted(incidents, key=lambda each: each.opened_at):
            self._keep(incident)
        for status in self.engine.alerts():
            where = (status.rule, status.deployment)
            if status.state is AlertState.FIRING and where not in self._open:
                since = status.evaluated_at if status.active_at is None else status.active_at
                self._hold(
                    Transition(
                        at=since,
                        rule=status.rule,
                        deployment=status.deployment,
                        before=AlertState.INACTIVE,
                        after=AlertState.FIRING,
                        since=since,
                    )
                )

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
        else:
            self._telemetry.count_skipped("queue_full", 1)

    def accept(self, release: Release | Correction) -> None:
        """Queue a release or a correction.

        Raises:
            asyncio.QueueFull: overloaded; the caller should try again later.
        """
        if len(self._queue) >= QUEUE_CAP:
            raise asyncio.QueueFull
        self._queue.append(release)

    def incidents(self) -> list[Incident]:
        """Return open and recently closed incidents, newest first."""
        return sorted(self._incidents.values(), key=lambda each: each.opened_at, reverse=True)

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
            await asyncio.sleep(self._settings.evaluation_interval_s)

    async def tick(self, *, flush: bool = False) -> None:
        """Drain the queue, step the engine, commit, hand over. `flush` writes all windows too."""
        if self._pending is not None:
            (self._settings, specs, rules, witnesses), self._pending = self._pending, None
            step = self.engine.reconfigure(specs, rules, self._clock.now(), witnesses)
            await self._apply(step, self._follow_channels(rules))
        samples: list[Sample] = []
        releases: list[Release] = []
        reports: list[RollbackRecord] = []
        diagnoses: list[Diagnosis] = []
        corrections: list[Correction] = []
        while self._queue:
            item = self._queue.popleft()
            if isinstance(item, Sample):
                samples.append(item)
            elif isinstance(item, Release):
                releases.append(item)
            elif isinstance(item, Diagnosis):
                diagnoses.append(item)
            elif isinstance(item, Correction):
                corrections.append(item)
            else:
                reports.append(item)
                releases.extend(_release_of(item))
        for correction in corrections:
            self.engine.correct(correction)
            self.corrections[correction.id] = correction
        work = self.engine.stepping(self._clock.now(), samples, releases, self._ailment())
        step = await Pace(self._clock.monotonic).through(work)
        self._telemetry.set_blind(blind=self.engine.blindness is not None)
        changed = [*self._annotate(reports), *self._diagnose(diagnoses)]
        await self._apply(step, changed, corrections, flush=flush)
        self.last_tick = self._clock.monotonic()

    async def _apply(
        self,
        step: Step,
        changed: Sequence[Incident] = (),
        corrections: Sequence[Correction] = (),
        *,
        flush: bool = False,
    ) -> None:
        now = self._clock.now()
        incidents = {incident.id: incident for incident in changed}
        for transition in step.transitions:
            log.info(
                "alert %s",
                transition.after,
                extra={"rule": transition.rule, "deployment": transition.deployment},
            )
            incident = self._follow(transition)
            if incident is not None:
                incidents[incident.id] = incident
        for incident in self._release_held(now):
            incidents[incident.id] = incident
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
        )
        # While the store refuses, windows wait in the engine, which forgets the oldest itself.
        was_durable = self.durable
        if wanted and was_durable:
            batch = merge(batch, await self._windows())
        await self._commit(batch)
        if wanted and self.durable and not was_durable:
            await self._commit(await self._windows())
        if incidents:
            for tell in self._hand_over:
                tell(tuple(incidents.values()))

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

    def _follow(self, transition: Transition) -> Incident | None:
        """Open or close the incident of a transition; None when it concerns no receiver."""
        where = (transition.rule, transition.deployment)
        if transition.after is AlertState.FIRING and where == (PROBER_BLIND, PROBER):
            incident = open_blind_incident(
                transition, self._settings.service, self._settings.blind_channels
            )
        elif transition.after is AlertState.FIRING:
            if self._hold(transition):
                return None
            incident = self._opened(transition)
        elif self._held.pop(where, None) is not None:
            return None
        elif transition.before is AlertState.FIRING and where in self._open:
            incident = close_incident(self._incidents[self._open[where]], transition)
        else:
            return None
        self._keep(incident)
        return incident

    def _opened(self, transition: Transition) -> Incident:
        rule = self.engine.rule(transition.rule, transition.deployment)
        if rule is None:
            msg = f"an alert without a rule fires: {transition.rule}"
            raise LookupError(msg)
        release = self.engine.release(transition.deployment)
        where = (transition.rule, transition.deployment)
        incident = open_incident(
            transition,
            rule,
            self.engine.specs[transition.deployment].deployment,
            revision=release.revision if release else None,
            rollback=where in self._settings.rollback_rules,
        )
        return self._with_diagnoses(incident, transition.at)

    def _hold(self, transition: Transition) -> bool:
        """Keep a burn alert back until it is known what it belongs to; False for other alerts."""
        rule = self.engine.rule(transition.rule, transition.deployment)
        if rule is None or not isinstance(rule.condition, BurnCondition):
            return False
        self._held[transition.rule, transition.deployment] = transition
        return True

    def _release_held(self, now: float) -> list[Incident]:
        """Open incidents of burn alerts that none covers; note the others on what covers them.

        In the order of their rules, so that of tiers that fire together the fastest speaks.
        """
        changed: dict[str, Incident] = {}
        for where, transition in sorted(self._held.items(), key=self._by_rule):
            rule = self.engine.rule(*where)
            if rule is None or not isinstance(rule.condition, BurnCondition):
                # A reload removed it; the alert ends by itself.
                del self._held[where]
                continue
            others = [each for each in self._incidents.values() if each.deployment == where[1]]
            cover = covering(rule, rule.condition, transition.since, others, now)
            if cover is None:
                del self._held[where]
                values = transition.values or self.engine.values(*where, now)
                incident = self._opened(replace(transition, at=now, values=values))
            else:
                incident = _also_burns(cover, rule, now)
            if incident is not cover:
                changed[incident.id] = incident
                self._keep(incident)
        return list(changed.values())

    def _by_rule(self, held: tuple[tuple[str, str], Transition]) -> tuple[str, int]:
        (rule, deployment), _ = held
        return deployment, self.engine.rank(rule, deployment)

    def _diagnose(self, diagnoses: Sequence[Diagnosis]) -> list[Incident]:
        """Remember diagnoses, and note them on what is open already."""
        changed: dict[str, Incident] = {}
        for diagnosis in diagnoses:
            self._diagnoses[diagnosis.target] = diagnosis
            for where, key in self._open.items():
                incident = self._incidents[key]
                if where[1] == diagnosis.deployment:
                    noted = _noted(incident, diagnosis)
                    if noted is not incident:
                        changed[key] = noted
                        self._keep(noted)
        return list(changed.values())

    def _with_diagnoses(self, incident: Incident, now: float) -> Incident:
        """Return an incident that opens, with what was found out on the way there."""
        recent = {
            target: diagnosis
            for target, diagnosis in self._diagnoses.items()
            if now - diagnosis.at <= DIAGNOSIS_S
        }
        self._diagnoses = recent
        for diagnosis in recent.values():
            if diagnosis.deployment == incident.deployment:
                incident = _noted(incident, diagnosis)
        return incident

    def _follow_channels(self, rules: Sequence[AlertRule]) -> list[Incident]:
        """Give open incidents the channels that their rules have now, besides those they had.

        Who was told hears of the end; who is told from now on hears of what is still open.
        """
        channels = {rule.name: rule.channels for rule in rules}
        changed = []
        for incident in [each for each in self._incidents.values() if each.is_open]:
            now = tuple(dict.fromkeys((*incident.channels, *channels.get(incident.rule, ()))))
            if now != incident.channels:
                changed.append(replace(incident, channels=now))
                self._keep(changed[-1])
        return changed

    def _annotate(self, reports: Sequence[RollbackRecord]) -> list[Incident]:
        changed: dict[str, Incident] = {}
        for report in reports:
            incident = self._incidents.get(report.request.incident)
            if incident is not None:
                note = Note(at=report.updated_at, text=_note_text(report))
                changed[incident.id] = incident.with_note(note)
                self._keep(changed[incident.id])
        return list(changed.values())

    def _keep(self, incident: Incident) -> None:
        self._incidents[incident.id] = incident
        where = (incident.rule, incident.deployment)
        if incident.is_open:
            self._open[where] = incident.id
        elif self._open.get(where) == incident.id:
            del self._open[where]
        closed = [each.id for each in self._incidents.values() if not each.is_open]
        for old in closed[:-CLOSED_KEPT]:
            del self._incidents[old]

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


def _also_burns(incident: Incident, rule: AlertRule, now: float) -> Incident:
    """Return an open incident with the note, once, that this budget burns as well."""
    text = f"also: {rule.condition.text}"
    if not incident.is_open or any(note.text == text for note in incident.notes):
        return incident
    return incident.with_note(Note(at=now, text=text))


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


def _noted(incident: Incident, diagnosis: Diagnosis) -> Incident:
    """Return the incident with a line for the diagnosis, unless this cause is known already."""
    start = f"diagnosis ({diagnosis.cause}): "
    if any(note.text.startswith(start) for note in incident.notes):
        return incident
    probe = diagnosis.target.removeprefix(f"{diagnosis.deployment}/")
    return incident.with_note(Note(at=diagnosis.at, text=f"{start}{diagnosis.text} [{probe}]"))


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
