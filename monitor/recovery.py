"""Who is rolled back: the second consumer of incidents, behind the guard.

Owns the life of every rollback request. The intent is committed before the call and the answer
after it; a call without a known answer is queried and never blindly repeated. Nothing here feeds
evaluation: what became of a request goes to the pipeline's queue like any other event.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from monitor.metrics import Telemetry
from monitor.model import (
    Clock,
    Incident,
    RollbackRecord,
    RollbackRequest,
    RollbackState,
)
from monitor.rollback.base import Hook, HookAnswer
from monitor.rollback.guard import Evidence, Reason, RollbackPolicy, decide, request_id
from monitor.store.base import Batch, Store, StoreError

log = logging.getLogger(__name__)

QUERY_DEADLINE_S = 30.0
SLACK_S = 2.0
DRAIN_LOOK_S = 0.05
PATIENCE_S = 120.0
"""Evidence takes a moment to gather: that alone is not worth a line so early in an incident."""
RECHECK_S = 5.0
"""Between two looks at an open incident, and between two queries of a hook at work."""
RESULT_DEADLINE_S = 900.0
"""A hook that got no further for so long has failed (the plan's 15 minutes)."""

_UNDER_WAY = frozenset({RollbackState.INTENDED, RollbackState.UNCERTAIN, RollbackState.ACCEPTED})
_WAITING = frozenset(
    {Reason.NOT_CONFIRMED, Reason.NO_BAD_SAMPLE, Reason.FEW_SAMPLES, Reason.LOW_COVERAGE}
)
_DONE = frozenset({RollbackState.SUCCEEDED, RollbackState.FAILED, RollbackState.DRY_RUN})
_NEVER_RAN = frozenset({RollbackState.BLOCKED, RollbackState.DRY_RUN})
NEVER_RAN_KEPT = 200
"""Requests that came to nothing and are kept in memory, for the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lever:
    """What can be pulled for one deployment."""

    policy: RollbackPolicy
    hook: Hook
    call_timeout_s: float
    """How long one call may take."""


class Recovery:
    """Level-triggered rollback; `work(deployment)` runs once for every deployment with a hook."""

    def __init__(
        self,
        clock: Clock,
        store: Store,
        levers: Mapping[str, Lever],
        telemetry: Telemetry,
        *,
        gather: Callable[[Incident, Sequence[RollbackRecord]], Evidence],
        report: Callable[[RollbackRecord], None],
    ) -> None:
        """Build it; `gather` collects the guard's evidence, `report` feeds the pipeline."""
        self._clock = clock
        self._store = store
        self._levers = levers
        self._telemetry = telemetry
        self._gather = gather
        self._report = report
        self._incidents: dict[str, Incident] = {}
        self._records: dict[str, RollbackRecord] = {}
        self._wake: dict[str, asyncio.Event] = {}
        self._not_before: dict[str, float] = {}
        """Request -> when its hook wants to be asked again, UTC seconds."""
        self._objections: dict[str, set[str]] = {}
        """Open incident -> why it was not rolled back, as far as that was said already."""
        self._calling: set[str] = set()

    def restore(self, records: Sequence[RollbackRecord], incidents: Sequence[Incident]) -> None:
        """Take over an earlier process's requests; a call under way has no known answer."""
        for record in records:
            if record.state is RollbackState.INTENDED:
                record = replace(  # noqa: PLW2901 - the stored one is of no further use
                    record, state=RollbackState.UNCERTAIN, detail="restarted during the call"
                )
            self._records[record.request.id] = record
        self.notice(incidents)

    def reconfigure(self, levers: Mapping[str, Lever]) -> None:
        """Use other hooks and policies from now on."""
        self._levers = levers
        for wake in self._wake.values():
            wake.set()

    def notice(self, incidents: Sequence[Incident]) -> None:
        """Take in incidents as they are now."""
        for incident in incidents:
            if incident.rollback and incident.is_open:
                self._incidents[incident.id] = incident
            else:
                self._incidents.pop(incident.id, None)
                self._objections.pop(incident.id, None)
                self._forget_idle()
            self._event(incident.deployment).set()

    def deployments(self) -> tuple[str, ...]:
        """Return the deployments that need a worker."""
        return tuple(self._levers)

    def records(self) -> tuple[RollbackRecord, ...]:
        """Return all known requests, newest first."""
        return tuple(sorted(self._records.values(), key=lambda r: r.request.at, reverse=True))

    async def work(self, deployment: str) -> None:
        """Decide, call and follow up for one deployment, for ever."""
        wake = self._event(deployment)
        while True:
            wake.clear()
            busy = await self._step(deployment)
            try:
                async with asyncio.timeout(RECHECK_S if busy else None):
                    await wake.wait()
            except TimeoutError:
                continue

    async def drain(self, grace_s: float) -> None:
        """Wait for calls under way, at most `grace_s`: half a rollback is worse than none."""
        end = self._clock.monotonic() + grace_s
        while self._calling and self._clock.monotonic() < end:  # noqa: ASYNC110 - no one event
            await asyncio.sleep(DRAIN_LOOK_S)

    async def _step(self, deployment: str) -> bool:
        """Do the next thing; say whether there is anything left to come back to."""
        lever = self._levers.get(deployment)
        if lever is None:
            return False
        for record in self._of(deployment):
            if record.state in _UNDER_WAY:
                await self._follow_up(lever, record)
                return True
        waiting = [i for i in self._incidents.values() if i.deployment == deployment]
        for each in sorted(waiting, key=lambda each: each.opened_at):
            # It may have ended while another one was thought about.
            incident = self._incidents.get(each.id)
            if incident is not None and not self._settled(incident):
                await self._consider(lever, incident)
        return bool(waiting)

    def _of(self, deployment: str) -> list[RollbackRecord]:
        return [r for r in self.records() if r.request.deployment == deployment]

    def _settled(self, incident: Incident) -> bool:
        return any(
            record.request.incident == incident.id and record.state in _DONE
            for record in self._records.values()
        )

    async def _consider(self, lever: Lever, incident: Incident) -> None:
        now = self._clock.now()
        evidence = self._gather(incident, self._of(incident.deployment))
        decision = decide(lever.policy, evidence, now)
        revision = evidence.revision or "unknown"
        request = RollbackRequest(
            id=request_id(incident.deployment, revision, incident.id),
            incident=incident.id,
            deployment=incident.deployment,
            environment=incident.environment,
            service=incident.service,
            rule=incident.asks_for_rollback.rule,
            from_revision=revision,
            to_revision=evidence.previous_revision,
            at=now,
            reason=incident.asks_for_rollback.summary,
        )
        if not decision.allowed:
            state = RollbackState.DRY_RUN if decision.dry_run else RollbackState.BLOCKED
            known = self._records.get(request.id)
            tell = self._is_news(incident, decision.reason, now)
            if tell or known is None or (known.state, known.detail) != (state, decision.reason):
                record = RollbackRecord(
                    request=request, state=state, updated_at=now, detail=decision.reason
                )
                await self._save(record, tell=tell)
            return
        intent = RollbackRecord(request=request, state=RollbackState.INTENDED, updated_at=now)
        if await self._save(intent):
            await self._call(lever, intent)
        else:
            # Fail closed: a rollback that cannot be noted down first could happen twice.
            self._records.pop(request.id, None)

    def _is_news(self, incident: Incident, reason: Reason, now: float) -> bool:
        """Whether people should hear of an objection: each once, and not of a short wait."""
        told = self._objections.setdefault(incident.id, set())
        if reason in told or (reason in _WAITING and now - incident.opened_at < PATIENCE_S):
            return False
        told.add(reason)
        return True

    async def _call(self, lever: Lever, record: RollbackRecord) -> None:
        now = self._clock.now()
        log.warning(
            "calling the rollback hook",
            extra={"deployment": record.request.deployment, "request": record.request.id},
        )
        record = replace(record, attempts=record.attempts + 1)
        self._calling.add(record.request.id)
        try:
            async with asyncio.timeout(lever.call_timeout_s + SLACK_S):
                answer = await lever.hook.call(
                    self._outside(record.request), lever.call_timeout_s, self._clock.wall(now)
                )
        except TimeoutError:
            answer = HookAnswer(state=RollbackState.UNCERTAIN, detail="no answer in time")
        except Exception as error:
            log.exception("rollback hook raised")
            answer = HookAnswer(state=RollbackState.UNCERTAIN, detail=type(error).__name__)
        finally:
            self._calling.discard(record.request.id)
        await self._take(record, answer)

    async def _follow_up(self, lever: Lever, record: RollbackRecord) -> None:
        now = self._clock.now()
        if now < self._not_before.get(record.request.id, 0.0):
            return
        if record.state is RollbackState.INTENDED:
            await self._call_again(lever, record)
            return
        answer = await self._query(lever, record, now)
        # Asked first: it may have ended well while we were down ourselves.
        if answer.state in _UNDER_WAY and now - record.updated_at > RESULT_DEADLINE_S:
            detail = f"no result after {RESULT_DEADLINE_S / 60:.0f} minutes; look at it by hand"
            answer = HookAnswer(state=RollbackState.FAILED, detail=detail)
        await self._take(record, answer)

    async def _query(self, lever: Lever, record: RollbackRecord, now: float) -> HookAnswer:
        try:
            async with asyncio.timeout(QUERY_DEADLINE_S + SLACK_S):
                return await lever.hook.query(
                    self._outside(record.request),
                    record.remote_id,
                    QUERY_DEADLINE_S,
                    self._clock.wall(now),
                )
        except TimeoutError:
            pass
        except Exception:
            log.exception("rollback hook raised when queried")
        return HookAnswer(state=record.state, detail=record.detail)

    def _outside(self, request: RollbackRequest) -> RollbackRequest:
        """Return the request with its time as the other side's clock shows it."""
        return replace(request, at=self._clock.wall(request.at))

    async def _call_again(self, lever: Lever, record: RollbackRecord) -> None:
        """Repeat a call that certainly was not received, if it is still wanted."""
        request = record.request
        incident = self._incidents.get(request.incident)
        others = [r for r in self._of(request.deployment) if r.request.id != request.id]
        decision = (
            decide(lever.policy, self._gather(incident, others), self._clock.now())
            if incident is not None
            else None
        )
        if decision is None or not decision.allowed:
            why = decision.reason if decision is not None else "the incident is over"
            await self._take(record, HookAnswer(state=RollbackState.BLOCKED, detail=why))
        elif await self._save(record, tell=False):
            await self._call(lever, record)

    async def _take(self, record: RollbackRecord, answer: HookAnswer) -> None:
        # How far the hook got with it is no news; that it is blocked for another reason is.
        changed = answer.state is not record.state or (
            answer.state is RollbackState.BLOCKED and answer.detail != record.detail
        )
        if answer.retry_after_s is not None:
            self._not_before[record.request.id] = self._clock.now() + answer.retry_after_s
        record = replace(
            record,
            state=answer.state,
            detail=answer.detail,
            remote_id=answer.remote_id or record.remote_id,
            updated_at=self._clock.now() if changed else record.updated_at,
        )
        await self._save(record, tell=changed)

    async def _save(self, record: RollbackRecord, *, tell: bool = True) -> bool:
        known = self._records.get(record.request.id)
        self._records[record.request.id] = record
        saved = True
        try:
            await self._store.commit(Batch(rollbacks=(record,)))
        except StoreError as error:
            saved = False
            self._telemetry.count_store_error()
            log.error("rollback state not saved: %s", error)  # noqa: TRY400 - the text says it all
        if saved or record.state is not RollbackState.INTENDED:
            if known is None or known.state is not record.state:
                self._telemetry.count_rollback(record.request.deployment, record.state)
            if tell:
                self._report(record)
        return saved

    def _forget_idle(self) -> None:
        """Keep few of the requests that came to nothing; of those that were called, all."""
        idle = [
            record.request.id
            for record in self._records.values()
            if record.state in _NEVER_RAN and record.request.incident not in self._incidents
        ]
        for request in idle[:-NEVER_RAN_KEPT]:
            del self._records[request]

    def _event(self, deployment: str) -> asyncio.Event:
        return self._wake.setdefault(deployment, asyncio.Event())
