"""The composition root: builds everything from a Plan, starts it, reloads it, drains it.

The only place that knows all parts. Decides nothing about SLOs, alerts, delivery or rollback.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from monitor.app.brief import Actions, brief, no_actions
from monitor.app.evidence import OBSERVE_ONLY_S, gather
from monitor.app.serve import signed_links
from monitor.app.surroundings import Surroundings
from monitor.app.vitals import Vitals
from monitor.config.errors import ConfigErrors
from monitor.config.objectives import channels_of
from monitor.config.plan import BoundProbe, Plan
from monitor.confirmer import Confirmer, Subject
from monitor.deadman import Beat, Deadman, Readings, unheard
from monitor.incidents import Hidden, IncidentSettings
from monitor.last_resort import LastResort
from monitor.metrics import Telemetry
from monitor.model import (
    Acknowledge,
    Acknowledgement,
    Correction,
    Deployment,
    Incident,
    Owed,
    Release,
    RollbackRecord,
    Sample,
    Severity,
    Silence,
    Target,
)
from monitor.outbox import Outbox, OutboxSettings
from monitor.pipeline import Pipeline, PipelineSettings
from monitor.probes.base import ProbeIO
from monitor.probes.heartbeat_board import HeartbeatBoard
from monitor.probes.stall import Pulse
from monitor.recovery import Lever, Recovery
from monitor.rollback.guard import Evidence, RollbackPolicy
from monitor.routing import tempo_of
from monitor.scheduler import Job, Scheduler
from monitor.selftest import SelfTester, SelfTests
from monitor.sinks import build_sink
from monitor.slo.engine import DeploymentSpec, Engine
from monitor.slo.sight import DARK, PROBER, proves_sight
from monitor.store.base import IncidentHistory, State, StoreError

log = logging.getLogger(__name__)

PRUNE_S = 600.0
PRUNE_BUSY_S = 1.0
PRUNE_ROWS = 500
STUCK_S = 60.0
"""A pipeline without a tick for this long (and ten intervals) is not alive."""
CALL_WITNESSES_S = 1.0
"""Witnesses are asked beside their schedule at most this often."""
VITALS_S = 2.0
RESTART_FIRST_S = 0.5
RESTART_CAP_S = 30.0


def specs_of(plan: Plan) -> list[DeploymentSpec]:
    """Return what the engine needs to know of a plan."""
    return [
        DeploymentSpec(
            deployment=each.deployment,
            targets=tuple(bound.target for bound in each.probes),
            objective=each.objective,
            more_objectives=each.more_objectives,
            maintenance=each.maintenance,
            sla=each.sla,
        )
        for each in plan.deployments
    ]


class App:
    """The running daemon."""

    def __init__(self, plan: Plan, around: Surroundings, telemetry: Telemetry) -> None:
        """Build everything; nothing runs and nothing is read before `start`."""
        self.plan = plan
        self.telemetry = telemetry
        self._around = around
        self._started_at = around.clock.now()
        self._lost_at: float | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ready = False
        self._changing = asyncio.Lock()
        self.engine = Engine(specs_of(plan), plan.rules, self._started_at, _targets(plan.witnesses))
        settings = self._outbox_settings(plan)
        last_resort = LastResort(around.last_resort, around.executor, telemetry)
        self.outbox = Outbox(
            around.clock, around.store, settings, telemetry, around.rng, last_resort=last_resort
        )
        self.selftest = SelfTester(
            around.clock, around.store, self._self_tests(plan, settings), telemetry
        )
        self.recovery = Recovery(
            around.clock,
            around.store,
            self._levers(plan),
            telemetry,
            gather=self._evidence,
            report=self._report,
        )
        self.pipeline = Pipeline(
            around.clock,
            self.engine,
            around.store,
            settings=_pipeline_settings(plan),
            telemetry=telemetry,
            hand_over=(self.outbox.notice, self.recovery.notice),
            ailment=self._ailment,
            heartbeats=around.probes.heartbeats.snapshot,
            broken=lambda: self.outbox.broken,
            announce=self.outbox.tell_release,
        )
        stalls = around.probes.stalls
        pulse = None if stalls is None else Pulse(stalls, around.clock.monotonic)
        self.scheduler = Scheduler(
            around.clock,
            self._take,
            telemetry,
            pulse,
        )
        self._witnesses: Sequence[Job] = ()
        self._called_at = -math.inf
        self.confirmer = Confirmer(
            around.clock, around.probes, self.pipeline.offer, telemetry, pulse
        )
        self._probe(plan, self._jobs(plan), self._witness_jobs(plan))
        self.deadman = Deadman(around.clock, telemetry, self._readings, self._beat(plan))

    # --- life -------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take over the stored state and start every task.

        Raises:
            StoreError: the state cannot be read.
        """
        async with self._changing:
            self._restore(await self._around.store.load(self._around.clock.now()))
            self.telemetry.set_reload(ok=True, at=self._started_at)
            await self.pipeline.tick()
            self._spawn("pipeline", self.pipeline.run)
            self._spawn("scheduler", self.scheduler.run)
            self._spawn("loop lag", self._watch_lag)
            if self._around.vitals is not None:
                self._spawn("vitals", functools.partial(self._watch_vitals, self._around.vitals))
            self._spawn("retention", self._forget_old)
            self._spawn("announcer", self.outbox.announce)
            self._spawn("deadman", self.deadman.run)
            self._spawn("selftest", self.selftest.run)
            self._spawn_workers()
            self._ready = True

    async def stop(self) -> None:
        """Drain within the plan's grace: probes in flight, the last tick, owed messages."""
        self._ready = False
        clock, end = self._around.clock, self._around.clock.monotonic() + self.plan.shutdown_grace_s
        await self._cancel("scheduler")
        await self.scheduler.drain(self.plan.shutdown_grace_s / 2)
        self.confirmer.stop()
        await self.recovery.drain(max(0.0, end - clock.monotonic()))
        await self._cancel("pipeline")
        await self.pipeline.tick(flush=True)
        if not await self.outbox.drain(max(0.0, end - clock.monotonic())):
            log.warning("stopped with messages owed; they are sent after the next start")
        for name in list(self._tasks):
            await self._cancel(name)
        await self._around.store.close()

    async def reload(self) -> str | None:
        """Read the configuration again and use it whole, or change nothing and say why."""
        # One at a time: of two that overlap, the one that read the older files could end last.
        async with self._changing:
            error = await self._reload()
        self.telemetry.set_reload(ok=error is None, at=self._around.clock.now())
        return error

    async def _reload(self) -> str | None:
        try:
            loop = asyncio.get_running_loop()
            plan = await loop.run_in_executor(self._around.executor, self._around.load_plan)
            # Everything that can fail is built before anything is replaced.
            settings, levers, jobs, witnesses, beat = (
                self._outbox_settings(plan),
                self._levers(plan),
                self._jobs(plan),
                self._witness_jobs(plan),
                self._beat(plan),
            )
        except (ConfigErrors, OSError, ValueError) as error:
            log.error("reload refused, the old configuration stays:\n%s", error)  # noqa: TRY400
            return str(error)
        except Exception as error:
            log.exception("reload failed, the old configuration stays")
            return f"reload failed ({type(error).__name__}); the log has the details"
        if _fixed_at_start(plan) != _fixed_at_start(self.plan):
            log.warning("changes under server:, storage: and sentry: take effect after a restart")
        self.plan = plan
        self.outbox.reconfigure(settings)
        self.recovery.reconfigure(levers)
        self.pipeline.reconfigure(
            _pipeline_settings(plan), specs_of(plan), plan.rules, _targets(plan.witnesses)
        )
        self._probe(plan, jobs, witnesses)
        self.deadman.reconfigure(beat)
        self.selftest.reconfigure(self._self_tests(plan, settings))
        self._spawn_workers()
        log.info("configuration reloaded")
        return None

    # --- what the web surface sees (web.view.View) --------------------------------------------

    @property
    def channels(self) -> Sequence[str]:
        """Names of the configured channels."""
        return tuple(self.plan.channels)

    @property
    def heartbeats(self) -> HeartbeatBoard:
        """Where the pings of jobs are noted."""
        return self._around.probes.heartbeats

    def now(self) -> float:
        """UTC seconds."""
        return self._around.clock.now()

    def wall(self) -> float:
        """UTC seconds by the wall clock, which may have been set since we started."""
        clock = self._around.clock
        return clock.wall(clock.now())

    def incidents(self) -> Sequence[Incident]:
        """Open and recently closed incidents, newest first."""
        return self.pipeline.incidents()

    def owed(self) -> Sequence[Owed]:
        """What each receiver was last told."""
        return self.outbox.rows()

    def backlog(self) -> Mapping[str, tuple[int, float]]:
        """Channel -> (messages owed, age of the oldest in seconds)."""
        return self.outbox.backlog()

    def rollbacks(self) -> Sequence[RollbackRecord]:
        """Rollback requests, newest first."""
        return self.recovery.records()

    async def history(self, limit: int, incident: str | None = None) -> Sequence[IncidentHistory]:
        """Incidents with their ledgers, newest first."""
        return await self._around.store.history(limit, incident)

    async def accept_release(self, release: Release) -> None:
        """Take in a release event; raises asyncio.QueueFull when overloaded."""
        self.pipeline.accept(release)

    def corrections(self) -> Sequence[Correction]:
        """What was said not to count as it was measured, latest first."""
        return tuple(reversed(self.pipeline.corrections.values()))

    async def accept_correction(self, correction: Correction) -> None:
        """Take in a correction; raises asyncio.QueueFull when overloaded."""
        self.pipeline.accept(correction)

    def silences(self) -> Sequence[Silence]:
        """Silences, newest first."""
        return tuple(sorted(self.pipeline.book.silences.values(), key=lambda s: s.at, reverse=True))

    def hidden(self) -> Sequence[Hidden]:
        """Alerts that fire and that nobody is told of, and why."""
        return self.pipeline.book.hidden()

    async def accept_silence(self, silence: Silence) -> None:
        """Take in a silence; raises asyncio.QueueFull when overloaded."""
        self.pipeline.accept(silence)

    async def accept_acknowledgement(
        self, incident: str, acknowledgement: Acknowledgement | None
    ) -> None:
        """Take in an acknowledgement; raises asyncio.QueueFull when overloaded."""
        self.pipeline.accept(Acknowledge(incident=incident, acknowledgement=acknowledgement))

    def ready(self) -> str | None:
        """None when ready, else why not."""
        return None if self._ready else "starting or stopping"

    def live(self) -> str | None:
        """None when alive, else what is stuck."""
        last = self.pipeline.last_tick
        limit = max(STUCK_S, 10 * self.plan.evaluation_interval_s)
        if last is not None and self._around.clock.monotonic() - last > limit:
            return f"no evaluation for more than {limit:.0f} s"
        return None

    # --- samples ----------------------------------------------------------------------------

    def _probe(self, plan: Plan, jobs: Sequence[Job], witnesses: Sequence[Job]) -> None:
        self._witnesses = witnesses
        self._testimony: dict[str, bool | None] = {job.target.id: None for job in witnesses}
        self.confirmer.replace_subjects(list(_subjects(plan)), self._probe_io(plan))
        self.scheduler.replace_jobs([*jobs, *witnesses])

    def _take(self, sample: Sample) -> None:
        """Hand a sample on; what may be our own network's fault is asked about at once."""
        self.pipeline.offer(sample)
        self.confirmer.notice(sample)
        if sample.target in self._testimony:
            self._hear(sample)
        if sample.reason in DARK and self._witnesses:
            now = self._around.clock.now()
            if now - self._called_at >= CALL_WITNESSES_S:
                self._called_at = now
                self.scheduler.start_now(self._witnesses)

    def _hear(self, sample: Sample) -> None:
        """Say when a witness begins or ceases to be of use: nobody else would notice."""
        answers = proves_sight(sample)
        if answers is not self._testimony[sample.target]:
            self._testimony[sample.target] = answers
            if answers:
                log.info("a witness answers", extra={"witness": sample.target})
            else:
                why = f"{sample.reason}: {sample.detail}"
                log.warning(
                    "a witness does not answer", extra={"witness": sample.target, "why": why}
                )

    # --- building ---------------------------------------------------------------------------

    def _outbox_settings(self, plan: Plan) -> OutboxSettings:
        return OutboxSettings(
            notifiers={
                name: config.build(name, self._around.notify)
                for name, config in plan.channels.items()
            },
            fallback=plan.fallback,
            tempo=functools.partial(tempo_of, plan.route),
            page_url=plan.server.page_url,
            brief=functools.partial(brief, self.engine, actions=_actions(plan)),
        )

    def _self_tests(self, plan: Plan, settings: OutboxSettings) -> SelfTests:
        return SelfTests(
            notifiers=settings.notifiers,
            intervals_s={
                name: config.self_test_s
                for name, config in plan.channels.items()
                if config.self_test_s is not None
            },
            service=plan.service,
            page_url=plan.server.page_url,
        )

    def _levers(self, plan: Plan) -> dict[str, Lever]:
        return {
            each.deployment.name: Lever(
                policy=RollbackPolicy(
                    cooldown_s=each.rollback.cooldown_s,
                    min_samples=each.rollback.min_samples,
                    dry_run=each.rollback.dry_run,
                    max_consecutive=each.rollback.max_consecutive,
                ),
                hook=each.rollback.hook.build(each.deployment, self._around.hooks),
                call_timeout_s=each.rollback.hook.timeout_s,
            )
            for each in plan.deployments
            if each.rollback is not None
        }

    def _jobs(self, plan: Plan) -> list[Job]:
        io = self._probe_io(plan)
        return [
            _job(bound, each.deployment, io) for each in plan.deployments for bound in each.probes
        ]

    def _probe_io(self, plan: Plan) -> ProbeIO:
        return replace(self._around.probes, allowed_networks=plan.allowed_networks)

    def _witness_jobs(self, plan: Plan) -> list[Job]:
        us = Deployment(name=PROBER, service=plan.service, environment="", url="")
        io = self._probe_io(plan)
        return [_job(bound, us, io) for bound in plan.witnesses]

    def _beat(self, plan: Plan) -> Beat | None:
        config = plan.deadman
        if config is None:
            return None
        sink = build_sink(config, self._around.notify.http, self._around.check_in)
        return Beat(sink=sink, interval_s=config.interval_s, limit_s=config.limit_s)

    def _readings(self) -> Readings:
        """Return what the dead man's switch goes by."""
        late = {name for name, (owed, _) in self.outbox.backlog().items() if owed}
        return Readings(
            waiting=unheard(
                self.incidents(),
                self.outbox.rows(),
                late,
                self.plan.channels.keys(),
                self._around.clock.now(),
            ),
            accepted={name: self.telemetry.accepted(name) for name in self.plan.channels},
            stuck=self.live(),
            durable=self.pipeline.durable,
        )

    def _restore(self, state: State) -> None:
        now = self._around.clock.now()
        self._lost_at = state.lost_at
        if state.recovered_from is not None:
            self.telemetry.set_state_lost()
            log.error(
                "the database was damaged, kept at %s; starting empty, no rollback for %g min",
                state.recovered_from,
                OBSERVE_ONLY_S / 60,
            )
        self.engine.restore(
            alerts=state.alerts,
            releases=state.releases,
            windows=state.windows,
            buckets=state.buckets,
            born=state.born,
            seen_at=state.seen_at,
            now=now,
        )
        self.pipeline.restore(state.incidents, state.corrections, state.silences)
        try:
            self.heartbeats.restore({row.name: row.times for row in state.heartbeats})
        except ValueError:
            log.exception("the stored heartbeats cannot be used; jobs have to report again")
        self.outbox.restore(state.incidents, state.owed)
        self.recovery.restore(state.rollbacks, state.incidents)
        self.selftest.restore(state.tests)

    def _evidence(self, incident: Incident, history: Sequence[RollbackRecord]) -> Evidence:
        return gather(
            self.engine,
            self.plan,
            incident,
            history,
            now=self._around.clock.now(),
            durable=self.pipeline.durable,
            lost_at=self._lost_at,
        )

    def _ailment(self) -> str | None:
        return None if self._around.vitals is None else self._around.vitals.ailment

    def _report(self, record: RollbackRecord) -> None:
        self.pipeline.offer(record)

    # --- tasks --------------------------------------------------------------------------------

    def _spawn_workers(self) -> None:
        for channel in self.outbox.channels():
            self._spawn(f"channel {channel}", functools.partial(self.outbox.work, channel))
        for deployment in self.recovery.deployments():
            self._spawn(f"recovery {deployment}", functools.partial(self.recovery.work, deployment))

    def _spawn(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if name not in self._tasks:
            self._tasks[name] = asyncio.create_task(self._guard(name, work), name=name)

    async def _guard(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Keep a long task going: an exception is logged, counted and followed by a new start."""
        wait_s = RESTART_FIRST_S
        while True:
            try:
                await work()
                log.error("task ended, which it never should", extra={"task": name})
            except Exception:
                log.exception("task failed", extra={"task": name})
            self.telemetry.count_task_restart(name.split(" ", 1)[0])
            await asyncio.sleep(wait_s)
            wait_s = min(RESTART_CAP_S, wait_s * 2)

    async def _cancel(self, name: str) -> None:
        task = self._tasks.pop(name)
        task.cancel()
        await asyncio.wait([task])

    async def _forget_old(self) -> None:
        """Delete what is past its retention, a little at a time."""
        wait_s = PRUNE_S
        while True:
            # First of all: what a restart put together from old records is written by then.
            await asyncio.sleep(wait_s)
            try:
                deleted = await self._around.store.prune(self._around.clock.now(), PRUNE_ROWS)
            except StoreError as error:
                log.warning("old records not deleted: %s", error)
                deleted = 0
            wait_s = PRUNE_BUSY_S if deleted >= PRUNE_ROWS else PRUNE_S

    async def _watch_lag(self) -> None:
        """Measure how late the loop runs its timers."""
        interval_s = self._around.lag_interval_s
        while True:
            before = self._around.clock.monotonic()
            await asyncio.sleep(interval_s)
            self.telemetry.observe_loop_lag(self._around.clock.monotonic() - before - interval_s)

    async def _watch_vitals(self, vitals: Vitals) -> None:
        """Look after ourselves; off the loop, since the kernel's files may take a moment."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(VITALS_S)
            await loop.run_in_executor(self._around.executor, vitals.look)


def _actions(plan: Plan) -> Actions:
    links = signed_links(plan.server)
    return no_actions if links is None else links.links


def _job(bound: BoundProbe, deployment: Deployment, io: ProbeIO) -> Job:
    probe = bound.config.build(bound.target, deployment, bound.url, io)
    return Job(bound.target, probe, "" if bound.reach is None else bound.reach.host)


def _subjects(plan: Plan) -> Iterator[Subject]:
    """Yield what may be looked at again; what must not answer is not looked for."""
    for deployment in plan.deployments:
        for bound in deployment.probes:
            if bound.reach is not None and not bound.target.inverted:
                yield Subject(bound.target, bound.reach)


def _targets(probes: Sequence[BoundProbe]) -> tuple[Target, ...]:
    return tuple(bound.target for bound in probes)


def _fixed_at_start(plan: Plan) -> tuple[object, ...]:
    return plan.server, plan.storage, plan.sentry_dsn


def _pipeline_settings(plan: Plan) -> PipelineSettings:
    return PipelineSettings(
        evaluation_interval_s=plan.evaluation_interval_s,
        flush_interval_s=plan.storage.flush_interval_s,
        incidents=IncidentSettings(
            service=plan.service,
            blind_channels=plan.blind_channels,
            critical_channels=channels_of(plan.rules, Severity.CRITICAL),
            rollback_rules=frozenset(
                (rule.name, each.deployment.name)
                for each in plan.deployments
                if each.rollback is not None
                for rule in plan.rules
                if rule.rollback or rule.name in each.rollback.rules
            ),
            route=plan.route,
            escalation=plan.escalation,
            inhibitions=plan.inhibitions,
            depends_on={
                each.deployment.name: each.depends_on
                for each in plan.deployments
                if each.depends_on
            },
        ),
    )
