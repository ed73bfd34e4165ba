"""Who is owed what: compares each incident with what every receiver was last told, and tells.

Owns the delivery state (`Owed`) and nothing else. An intent is committed before a send and a
receipt after it, so a crash leaves at most one uncertain message per channel. Each channel has its
own worker: one that hangs delays no other. Never touches probing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from monitor.metrics import Telemetry
from monitor.model import (
    Attempt,
    Clock,
    Delivery,
    DeliveryResult,
    Incident,
    Message,
    Owed,
    SendReason,
    Told,
)
from monitor.notify.base import Notifier
from monitor.routing import owed_reason, settle, urgency
from monitor.store.base import Batch, Store, StoreError

log = logging.getLogger(__name__)

SEND_DEADLINE_S = 20.0
SLACK_S = 2.0
"""A notifier keeps its own deadline; this much later it is cut off from outside."""
SETTLED_KEPT = 10_000
REMOVED_KEPT_S = 7 * 86400.0
"""A channel that was removed while owed a resolve may come back within this time."""
RESAVE_S = 5.0
"""Between two attempts to save what the store refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxSettings:
    """What the plan says about delivery."""

    notifiers: Mapping[str, Notifier]
    fallback: str | None = None
    repeat_s: float = 4 * 3600.0
    page_url: str | None = None


@dataclass(frozen=True, slots=True)
class _Job:
    incident: Incident
    row: Owed
    reason: SendReason


class Outbox:
    """Level-triggered delivery; `work(channel)` runs once for every channel in `channels()`."""

    def __init__(
        self,
        clock: Clock,
        store: Store,
        settings: OutboxSettings,
        telemetry: Telemetry,
        rng: random.Random,
    ) -> None:
        """Build an empty outbox; `restore` gives it what an earlier process knew."""
        self._clock = clock
        self._store = store
        self._settings = settings
        self._telemetry = telemetry
        self._rng = rng
        self._incidents: dict[str, Incident] = {}
        self._rows: dict[str, dict[str, Owed]] = {}
        self._wake: dict[str, asyncio.Event] = {}
        self._sending: set[str] = set()
        self._unsaved: list[Attempt] = []
        self._unsaved_rows: dict[tuple[str, str], Owed] = {}
        """What the store refused, by channel and incident; it is offered again and again."""
        self._quiet_until: dict[str, float] = {}
        """Channel -> when its provider wants to hear the next message, whichever it is."""
        self._settled: dict[str, None] = {}
        """Closed incidents that need no more words, oldest first: a late note revives none."""

    def restore(self, incidents: Sequence[Incident], rows: Sequence[Owed]) -> None:
        """Take over the state of an earlier process.

        A send that was under way has no known outcome. What was refused for good gets a new try.
        """
        for row in rows:
            uncertain = row.intent or row.uncertain
            self._keep(replace(row, intent=None, uncertain=uncertain, parked="", next_at=0.0))
        self.notice(incidents)

    def reconfigure(self, settings: OutboxSettings) -> None:
        """Use other channels from now on; parked messages get a new try."""
        self._settings = settings
        for rows in self._rows.values():
            for row in list(rows.values()):
                if row.parked:
                    self._keep(replace(row, parked="", next_at=0.0))
        self._quiet_until.clear()
        self.notice(())
        for wake in self._wake.values():
            wake.set()

    def channels(self) -> tuple[str, ...]:
        """Return the channels that need a worker: configured ones and those still owed to."""
        return tuple(dict.fromkeys((*self._settings.notifiers, *self._rows)))

    def notice(self, incidents: Iterable[Incident]) -> None:
        """Take in incidents as they are now (after they were committed) and wake the workers."""
        for incident in incidents:
            if incident.id in self._settled:
                continue
            if incident.id not in self._incidents:
                self._hurry_predecessors(incident)
            self._incidents[incident.id] = incident
            for channel in incident.channels:
                if incident.id not in self._rows.get(channel, {}):
                    self._keep(Owed(incident=incident.id, channel=channel))
            # A fallback is not among the incident's own channels, but hears of its end as well.
            for channel, rows in self._rows.items():
                if incident.id in rows:
                    self._event(channel).set()
        self._reroute_removed()
        self._forget_settled()

    def rows(self) -> tuple[Owed, ...]:
        """Return every delivery state, for the page and the API."""
        return tuple(row for rows in self._rows.values() for row in rows.values())

    def backlog(self) -> dict[str, tuple[int, float]]:
        """Return channel -> (messages owed now, age in seconds of the oldest of them)."""
        now = self._clock.now()
        result = {}
        for channel in self.channels():
            late = [
                job.incident for job, due in self._owed(channel) if due <= now or job.row.attempts
            ]
            if channel not in self._settings.notifiers:
                rows = self._rows[channel].values()
                late = [self._incidents[row.incident] for row in rows if self._is_owed(row)]
            ages = [now - (each.resolved_at or each.opened_at) for each in late]
            result[channel] = (len(ages), max(ages, default=0.0))
        return result

    async def work(self, channel: str) -> None:
        """Deliver what this channel is owed, for ever, one message at a time."""
        wake = self._event(channel)
        while True:
            wake.clear()
            now = self._clock.now()
            jobs = self._jobs(channel)
            ready = [job for job, due in jobs if due <= now]
            if ready:
                await self._attempt(min(ready, key=lambda job: urgency(job.incident)))
                continue
            due = [due for _, due in jobs]
            if self._unsaved_rows:
                await self._commit()
                due += [now + RESAVE_S] if self._unsaved_rows else []
            try:
                async with asyncio.timeout(max(0.0, min(due) - now) if due else None):
                    await wake.wait()
            except TimeoutError:
                continue

    async def drain(self, grace_s: float) -> bool:
        """Wait until nothing is due or being sent, at most `grace_s`; say whether it got there."""
        end = self._clock.monotonic() + grace_s
        while self._sending or any(
            due <= self._clock.now()
            for channel in self.channels()
            for _, due in self._jobs(channel)
        ):
            if self._clock.monotonic() >= end:
                return False
            await asyncio.sleep(0.05)
        return True

    def _jobs(self, channel: str) -> list[tuple[_Job, float]]:
        """Return what may be sent next through `channel`, with the earliest time for each.

        The dedup key is the same for every episode of a rule on a deployment, so episodes of one
        key go out strictly in their order: a late resolve would close the next one's page.
        """
        heads: dict[str, tuple[_Job, float]] = {}
        for job, due in sorted(self._owed(channel), key=lambda each: each[0].incident.opened_at):
            head = heads.get(job.incident.key)
            # What was refused for good waits behind the next episode's page, not before it.
            if head is None or head[0].row.parked:
                heads[job.incident.key] = job, max(due, self._quiet_until.get(channel, 0.0))
        return list(heads.values())

    def _owed(self, channel: str) -> list[tuple[_Job, float]]:
        """Return everything owed through `channel` with its own time; nothing if it is removed."""
        notifier = self._settings.notifiers.get(channel)
        if notifier is None:
            return []
        jobs = []
        open_there: dict[str, float] = {}
        for row in self._rows.get(channel, {}).values():
            incident = self._incidents.get(row.incident)
            if incident is None:
                continue
            if row.told is Told.OPEN or row.uncertain is not None:
                latest = max(incident.opened_at, open_there.get(incident.key, 0.0))
                open_there[incident.key] = latest
            owed = owed_reason(
                incident, row, repeats=notifier.repeats, repeat_s=self._settings.repeat_s
            )
            if owed is not None:
                jobs.append((_Job(incident, row, owed[0]), owed[1]))
        if notifier.deduplicates:
            # One key, one incident over there: the end of an earlier episode would end this one.
            jobs = [
                (job, due)
                for job, due in jobs
                if open_there.get(job.incident.key, 0.0) <= job.incident.opened_at
            ]
        return jobs

    async def _attempt(self, job: _Job) -> None:
        notifier = self._settings.notifiers[job.row.channel]
        row = replace(job.row, intent=job.reason)
        self._keep(row)
        self._sending.add(row.channel)
        try:
            # Fail open: a page that cannot be noted down first is still a page.
            await self._commit(row)
            now = self._clock.now()
            message = Message(
                reason=job.reason,
                incident=job.incident,
                # Receivers compare a signature's time with their own clock.
                at=self._clock.wall(now),
                may_be_repeated=row.uncertain is job.reason and not notifier.deduplicates,
                page_url=self._settings.page_url,
            )
            started = self._clock.monotonic()
            delivery = await self._send(notifier, message, row)
            attempt = Attempt(
                incident=job.incident.id,
                channel=row.channel,
                reason=job.reason,
                at=now,
                duration_s=self._clock.monotonic() - started,
                result=delivery.result,
                detail=delivery.detail,
                may_be_repeated=message.may_be_repeated,
            )
            if delivery.retry_after_s is not None:
                self._quiet_until[row.channel] = self._clock.now() + delivery.retry_after_s
            row = settle(row, job.reason, delivery, self._clock.now(), self._rng.random())
            self._keep(row)
            self._account(job, attempt, delivery)
            await self._commit(row, attempt)
        finally:
            self._sending.discard(row.channel)
        self._forget_settled()

    async def _send(self, notifier: Notifier, message: Message, row: Owed) -> Delivery:
        try:
            async with asyncio.timeout(SEND_DEADLINE_S + SLACK_S):
                return await notifier.send(message, SEND_DEADLINE_S, row.remote_key)
        except TimeoutError:
            return Delivery(result=DeliveryResult.UNCERTAIN, detail="no answer in time")
        except Exception as error:
            log.exception("notifier raised", extra={"channel": row.channel})
            return Delivery(result=DeliveryResult.UNCERTAIN, detail=type(error).__name__)

    def _account(self, job: _Job, attempt: Attempt, delivery: Delivery) -> None:
        delivered = delivery.result is DeliveryResult.DELIVERED
        first = delivered and job.reason is SendReason.FIRST
        delay_s = self._clock.now() - job.incident.opened_at if first else None
        self._telemetry.count_notification(attempt.channel, delivery.result, delay_s)
        log.log(
            logging.INFO if delivered else logging.WARNING,
            "notification %s",
            delivery.result,
            extra={
                "channel": attempt.channel,
                "incident": attempt.incident,
                "reason": attempt.reason,
                "detail": attempt.detail,
            },
        )
        if delivery.result is DeliveryResult.PERMANENT:
            self._tell_instead(attempt.incident, attempt.channel)

    def _tell_instead(self, incident: str, channel: str) -> None:
        """Owe the fallback what `channel` will not take."""
        fallback = self._settings.fallback
        if fallback not in {None, channel} and incident not in self._rows.get(fallback, {}):
            self._keep(Owed(incident=incident, channel=fallback))
            self._event(fallback).set()

    def _hurry_predecessors(self, incident: Incident) -> None:
        """An episode of the same key that is still owed its end is tried again at once."""
        for rows in self._rows.values():
            for row in list(rows.values()):
                before = self._incidents.get(row.incident)
                if before is not None and before.key == incident.key and row.intent is None:
                    self._keep(replace(row, next_at=0.0))

    def _reroute_removed(self) -> None:
        """What a channel is owed that a reload removed goes to the fallback, and says so."""
        for channel in [each for each in self._rows if each not in self._settings.notifiers]:
            for row in list(self._rows[channel].values()):
                if not row.parked and self._is_owed(row):
                    self._keep(replace(row, parked="this channel is not configured any more"))
                    self._tell_instead(row.incident, channel)

    async def _commit(self, row: Owed | None = None, attempt: Attempt | None = None) -> None:
        if attempt is not None:
            self._unsaved.append(attempt)
        attempts, self._unsaved = self._unsaved, []
        rows, self._unsaved_rows = self._unsaved_rows, {}
        told_before = bool(rows)
        if row is not None:
            rows[row.channel, row.incident] = row
        try:
            await self._store.commit(Batch(owed=tuple(rows.values()), attempts=attempts))
        except StoreError as error:
            self._unsaved = [*attempts, *self._unsaved][-1000:]
            for key, refused in rows.items():
                # Another worker may have saved a later one meanwhile.
                if self._rows.get(refused.channel, {}).get(refused.incident, refused) is refused:
                    self._unsaved_rows.setdefault(key, refused)
            self._telemetry.count_store_error()
            if not told_before:
                log.error("delivery state not saved: %s", error)  # noqa: TRY400 - it says it all

    def _keep(self, row: Owed) -> None:
        self._rows.setdefault(row.channel, {})[row.incident] = row

    def _event(self, channel: str) -> asyncio.Event:
        return self._wake.setdefault(channel, asyncio.Event())

    def _forget_settled(self) -> None:
        """Drop closed incidents that nobody is owed a word about; the store remembers them."""
        busy = {
            row.incident
            for rows in self._rows.values()
            for row in rows.values()
            if row.intent is not None or self._is_owed(row)
        }
        for incident in [i for i in self._incidents.values() if not i.is_open]:
            if incident.id not in busy:
                del self._incidents[incident.id]
                self._settled[incident.id] = None
                for rows in self._rows.values():
                    rows.pop(incident.id, None)
        while len(self._settled) > SETTLED_KEPT:
            del self._settled[next(iter(self._settled))]

    def _is_owed(self, row: Owed) -> bool:
        incident = self._incidents.get(row.incident)
        notifier = self._settings.notifiers.get(row.channel)
        if incident is None:
            return False
        if notifier is None:
            # Whoever was, may have been or should be told something; not for ever, though.
            ended_at = incident.resolved_at
            known = row.told is not Told.NOTHING or row.uncertain is not None
            if ended_at is None:
                return True
            return (
                known
                and row.told is not Told.RESOLVED
                and (self._clock.now() - ended_at < REMOVED_KEPT_S)
            )
        return (
            owed_reason(incident, row, repeats=notifier.repeats, repeat_s=self._settings.repeat_s)
            is not None
        )
