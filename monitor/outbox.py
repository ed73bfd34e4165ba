"""Who is owed what: compares each incident with what every receiver was last told, and tells.

Owns the delivery state (`Owed`) and nothing else. An intent is committed before a send and a
receipt after it, so a crash leaves at most one uncertain message per channel. Each channel has its
own worker: one that hangs delays no other. Never touches probing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from monitor.digests import digest_of
from monitor.grouping import part
from monitor.last_resort import LastResort
from monitor.metrics import Telemetry
from monitor.model import (
    Attempt,
    Brief,
    Clock,
    Delivery,
    DeliveryResult,
    Incident,
    Message,
    Owed,
    Release,
    SendReason,
    Told,
)
from monitor.notify.base import Announcer, Illustrator, Notifier, try_once
from monitor.owing import owed_reason, settle, urgency
from monitor.rate import Bucket
from monitor.routing import AT_ONCE, Tempo
from monitor.store.base import Batch, Store, StoreError

log = logging.getLogger(__name__)

ILLUSTRATE_S = 5.0
"""A picture holds up the next message of its channel no longer."""
SETTLED_KEPT = 10_000
RELEASES_CAP = 100
REMOVED_KEPT_S = 7 * 86400.0
"""A channel that was removed while owed a resolve may come back within this time."""
RESAVE_S = 5.0
"""Between two attempts to save what the store refused."""
DIGEST_JOIN_S = 300.0
"""A digest takes in more for so long; after that there is another, so that it calls again."""


def _no_brief(_incident: Incident, _now: float) -> Brief | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxSettings:
    """What the plan says about delivery."""

    notifiers: Mapping[str, Notifier]
    fallback: str | None = None
    fallback_after_s: float = 300.0
    """The fallback gets what a channel did not take within this time."""
    tempo: Callable[[Incident], Tempo] = lambda _: AT_ONCE
    """When people hear of an incident."""
    digest_above: int = 10
    """More first messages than this at once become one."""
    page_url: str | None = None
    brief: Callable[[Incident, float], Brief | None] = _no_brief
    """What else is known about an incident at a moment, UTC seconds; must not raise."""


@dataclass(frozen=True, slots=True)
class _Job:
    incident: Incident
    """As the channel sees it."""
    row: Owed
    reason: SendReason

    @property
    def key(self) -> str:
        """The dedup key that the receiver knows it by."""
        return self.row.key or self.incident.key


class Outbox:
    """Level-triggered delivery; `work(channel)` runs once for every channel in `channels()`."""

    def __init__(
        self,
        clock: Clock,
        store: Store,
        settings: OutboxSettings,
        telemetry: Telemetry,
        rng: random.Random,
        *,
        last_resort: LastResort,
    ) -> None:
        """Build an empty outbox; `restore` gives it what an earlier process knew."""
        self._clock = clock
        self._store = store
        self._settings = settings
        self._telemetry = telemetry
        self._rng = rng
        self._last_resort = last_resort
        self._incidents: dict[str, Incident] = {}
        self._rows: dict[str, dict[str, Owed]] = {}
        self._wake: dict[str, asyncio.Event] = {}
        self._sending: set[str] = set()
        self._unsaved: list[Attempt] = []
        self._unsaved_rows: dict[tuple[str, str], Owed] = {}
        """What the store refused, by channel and incident; it is offered again and again."""
        self._quiet_until: dict[str, float] = {}
        """Channel -> when its provider wants to hear the next message, whichever it is."""
        self._releases: asyncio.Queue[Release] = asyncio.Queue(RELEASES_CAP)
        self._buckets: dict[str, Bucket] = {}
        """Channel -> how many messages its provider takes now."""
        self.broken: dict[str, str] = {}
        """Channel -> why it refused for good what it was given last."""
        self._keys: dict[str, set[str]] = {}
        """Dedup key -> ids of the incidents that are known."""
        self._tempos: dict[str, Tempo] = {}
        self._parts: dict[str, dict[tuple[str, bool], Incident]] = {}
        """Incident -> (channel, whether it sees the whole) -> what it sees, once asked for."""
        self._unsaved_incidents: dict[str, Incident] = {}
        self._settled: dict[str, None] = {}
        """Closed incidents that need no more words, oldest first: a late note revives none."""

    def restore(self, incidents: Sequence[Incident], rows: Sequence[Owed]) -> None:
        """Take over the state of an earlier process.

        A send that was under way has no known outcome. What was refused for good gets a new try.
        """
        known = {each.id for each in incidents}
        for row in rows:
            uncertain = row.intent or row.uncertain
            via = row.via if row.via in known else ""
            self._keep(
                replace(row, intent=None, uncertain=uncertain, parked="", next_at=0.0, via=via)
            )
        # What is over needs no new rows.
        told = {row.incident for row in rows}
        wanted = [each.with_lead() for each in incidents if each.is_open or each.id in told]
        self.notice(wanted, restored=True)
        for row in rows:
            if row.parked and row.channel in self._settings.notifiers and self._is_owed(row):
                self.broken[row.channel] = row.parked

    def reconfigure(self, settings: OutboxSettings) -> None:
        """Use other channels from now on; parked messages get a new try."""
        self._settings = settings
        for rows in self._rows.values():
            for row in list(rows.values()):
                if row.parked:
                    self._keep(replace(row, parked="", next_at=0.0))
        self._quiet_until.clear()
        self._tempos.clear()
        self.broken.clear()
        self.notice(())
        for wake in self._wake.values():
            wake.set()

    def channels(self) -> tuple[str, ...]:
        """Return the channels that need a worker: configured ones and those still owed to."""
        return tuple(dict.fromkeys((*self._settings.notifiers, *self._rows)))

    def notice(self, incidents: Iterable[Incident], *, restored: bool = False) -> None:
        """Take in incidents as they are now (after they were committed) and wake the workers.

        `restored`: what is over has its receivers already.
        """
        for incident in incidents:
            if incident.id in self._settled:
                continue
            if incident.id not in self._incidents:
                self._hurry_predecessors(incident)
            self._know(incident)
            for channel in incident.channels:
                known = incident.id in self._rows.get(channel, {})
                if not known and (incident.is_open or not restored):
                    self._keep(Owed(incident=incident.id, channel=channel))
            # A fallback is not among the incident's own channels, but hears of its end as well.
            for channel, rows in self._rows.items():
                if incident.id in rows:
                    self._event(channel).set()
        self._refresh_digests()
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
            overdue = self._tell_overdue(channel, now)
            jobs = self._jobs(channel)
            ready = [job for job, due in jobs if due <= now]
            fresh = [job for job in ready if _is_fresh(job)]
            if len(fresh) > self._settings.digest_above:
                await self._gather(channel, fresh)
                continue
            if ready:
                await self._attempt(min(ready, key=lambda job: urgency(job.incident)))
                continue
            due = [*(due for _, due in jobs), *overdue]
            if self._unsaved_rows:
                await self._commit()
                due += [now + RESAVE_S] if self._unsaved_rows else []
            try:
                async with asyncio.timeout(max(0.0, min(due) - now) if due else None):
                    await wake.wait()
            except TimeoutError:
                continue

    def tell_release(self, release: Release) -> None:
        """Queue a release for the channels that want to know; one too many is lost."""
        try:
            self._releases.put_nowait(release)
        except asyncio.QueueFull:
            log.warning("a release is not announced: too many at once")

    async def announce(self) -> None:
        """Tell of releases whoever wants to know, for ever; nobody is paged, so each is tried once.

        One that is lost stays so.
        """
        while True:
            release = await self._releases.get()
            for name, notifier in list(self._settings.notifiers.items()):
                if isinstance(notifier, Announcer) and notifier.announces:
                    await self._announce(name, notifier, release)

    async def _announce(self, channel: str, notifier: Announcer, release: Release) -> None:
        at = self._clock.wall(self._clock.now())
        delivery = await try_once(channel, lambda limit_s: notifier.announce(release, at, limit_s))
        extra = {"channel": channel, "revision": release.revision, "detail": delivery.detail}
        log.info("release announced: %s", delivery.result, extra=extra)

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
            head = heads.get(job.key)
            # What was refused for good waits behind the next episode's page, not before it.
            if head is None or head[0].row.parked:
                heads[job.key] = job, max(due, self._quiet_until.get(channel, 0.0))
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
            if incident is None or row.via:
                continue
            if _may_be_open(row):
                key = row.key or incident.key
                open_there[key] = max(incident.opened_at, open_there.get(key, 0.0))
            seen = self._part(incident, row)
            owed = self._reason(seen, row, notifier)
            if owed is not None:
                jobs.append((_Job(seen, row, owed[0]), owed[1]))
        if notifier.deduplicates:
            # One key, one incident over there: the end of an earlier episode would end this one.
            jobs = [
                (job, due)
                for job, due in jobs
                if open_there.get(job.key, 0.0) <= job.incident.opened_at
            ]
        return jobs

    def _reason(
        self, seen: Incident, row: Owed, notifier: Notifier
    ) -> tuple[SendReason, float] | None:
        return owed_reason(
            seen,
            row,
            repeats=notifier.repeats,
            updates=notifier.updates,
            tempo=self._tempo(seen),
            repeat_s=notifier.repeat_s,
        )

    # --- digests ------------------------------------------------------------------------------

    async def _gather(self, channel: str, jobs: Sequence[_Job]) -> None:
        """Let one digest speak for all of `jobs`, from now until all of them are over."""
        now = self._clock.now()
        rows = self._rows[channel]
        before = next(
            (
                each
                for each in self._incidents.values()
                if each.covers
                and each.channels == (channel,)
                and now - each.opened_at <= DIGEST_JOIN_S
                and rows[each.id].told is not Told.RESOLVED
            ),
            None,
        )
        ids = (*(before.covers if before else ()), *(job.row.incident for job in jobs))
        covered = [self._incidents[each] for each in ids if each in self._incidents]
        digest = digest_of(covered, channel, now, before)
        log.warning("%d messages become one", len(jobs), extra={"channel": channel})
        self._know(digest)
        own = rows.get(digest.id, Owed(incident=digest.id, channel=channel))
        changed = [own, *(replace(job.row, via=digest.id) for job in jobs)]
        for row in changed:
            self._keep(row)
        await self._commit(changed, incidents=(digest,))

    def _refresh_digests(self) -> None:
        """Bring every digest up to date with what it speaks for."""
        for digest in [each for each in self._incidents.values() if each.covers]:
            if not digest.is_open:
                continue
            covered = [self._incidents[each] for each in digest.covers if each in self._incidents]
            now = self._clock.now()
            (channel,) = digest.channels
            fresh = digest_of(covered, channel, now, digest) if covered else digest
            if not covered:
                fresh = replace(digest, resolved_at=now)
            fresh = replace(fresh, covers=digest.covers)
            if fresh != digest:
                self._know(fresh)
                self._event(channel).set()

    def _tell_covered(self, digest: Incident, told: Owed) -> list[Owed]:
        """Return, and keep, the rows of what a digest spoke for, after it was delivered."""
        changed = []
        for each in digest.covers:
            row = self._rows[told.channel].get(each)
            if row is None or row.via != digest.id:
                continue
            incident = self._incidents.get(each)
            over = incident is None or not self._part(incident, row).is_open
            state = Told.RESOLVED if over else Told.OPEN
            changed.append(replace(row, told=state, told_at=told.told_at, uncertain=None))
            self._keep(changed[-1])
        return changed

    # --- sending ------------------------------------------------------------------------------

    def _pace(self, channel: str, notifier: Notifier) -> None:
        """Take one from what the provider takes; the next message waits until there is another."""
        now = self._clock.now()
        fresh = Bucket(capacity=notifier.burst, per_s=notifier.rate_per_s)
        bucket = self._buckets.get(channel, fresh)
        if not bucket.wait_s(now):
            bucket = bucket.take(now)
        self._buckets[channel] = bucket
        after = max(self._quiet_until.get(channel, 0.0), now + bucket.wait_s(now))
        self._quiet_until[channel] = after

    async def _attempt(self, job: _Job) -> None:
        notifier = self._settings.notifiers[job.row.channel]
        self._pace(job.row.channel, notifier)
        row = replace(job.row, intent=job.reason, key=self._key(job, notifier))
        self._keep(row)
        self._sending.add(row.channel)
        try:
            # Fail open: a page that cannot be noted down first is still a page.
            await self._commit([row])
            now = self._clock.now()
            message = self._message(job, row, notifier, now)
            started = self._clock.monotonic()
            delivery = await try_once(
                row.channel, lambda limit_s: notifier.send(message, limit_s, row.remote_key)
            )
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
            if delivery.retry_after_s is not None and delivery.retry_all:
                asked = self._clock.now() + delivery.retry_after_s
                self._quiet_until[row.channel] = max(asked, self._quiet_until.get(row.channel, 0.0))
            row = settle(
                row,
                job.reason,
                delivery,
                job.incident,
                now=self._clock.now(),
                jitter=self._rng.random(),
                says_who=notifier.repeats or job.reason is SendReason.ACKNOWLEDGED,
            )
            # Meanwhile it may have been asked to stand in for another channel.
            row = replace(row, whole=self._rows[row.channel][row.incident].whole)
            self._keep(row)
            rows = [row]
            if job.incident.covers and delivery.result is DeliveryResult.DELIVERED:
                rows += self._tell_covered(job.incident, row)
            self._account(job, attempt, delivery)
            digests = (job.incident,) if job.incident.covers else ()
            await self._commit(rows, attempt, digests)
            if delivery.result is DeliveryResult.DELIVERED and _is_opening(job.reason):
                await self._illustrate(notifier, message, row)
            if delivery.result is DeliveryResult.PERMANENT:
                await self._write_down(job, attempt)
        finally:
            self._sending.discard(row.channel)
        self._forget_settled()

    def _message(self, job: _Job, row: Owed, notifier: Notifier, now: float) -> Message:
        # Receivers compare a signature's time with their own clock.
        at = self._clock.wall(now)
        return Message(
            reason=job.reason,
            incident=replace(job.incident, key=row.key or job.incident.key),
            at=at,
            ahead_s=at - now,
            may_be_repeated=_says_again(row, job.reason) and not notifier.deduplicates,
            page_url=self._settings.page_url,
            brief=self._settings.brief(job.incident, now),
        )

    def _key(self, job: _Job, notifier: Notifier) -> str:
        """Return the key to open under, "" for the incident's own.

        Under its own it would go into an earlier one of which the receiver refused the end, and
        call nobody.
        """
        row, incident = job.row, job.incident
        if row.key or row.told is not Told.NOTHING or not notifier.deduplicates:
            return row.key
        rows = self._rows[row.channel]
        before = [rows[each] for each in self._keys[incident.key] - {incident.id} if each in rows]
        is_open = any(_may_be_open(each) and not each.key and not each.via for each in before)
        return f"{incident.key}/{incident.id}" if is_open and row.uncertain is None else ""

    async def _illustrate(self, notifier: Notifier, message: Message, row: Owed) -> None:
        """Have a picture added; the receipt is stored already, so nothing can be repeated by it."""
        if not isinstance(notifier, Illustrator):
            return
        try:
            async with asyncio.timeout(ILLUSTRATE_S):
                await notifier.illustrate(message, row.remote_key, ILLUSTRATE_S)
        except Exception:
            log.exception("a message stays without its picture", extra={"channel": row.channel})

    def _account(self, job: _Job, attempt: Attempt, delivery: Delivery) -> None:
        delivered = delivery.result is DeliveryResult.DELIVERED
        first = delivered and job.reason is SendReason.FIRST
        delay_s = self._clock.now() - job.incident.started_at if first else None
        if delivered:
            self.broken.pop(attempt.channel, None)
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
            self.broken[attempt.channel] = delivery.detail or "refused"
            for each in job.incident.covers or (attempt.incident,):
                self._tell_instead(each, attempt.channel)

    async def _write_down(self, job: _Job, attempt: Attempt) -> None:
        """Put into the file of last resort what nobody took and nobody else will be asked to."""
        if self._settings.fallback not in {None, attempt.channel}:
            return
        heard = {Told.RESOLVED} if job.reason is SendReason.RESOLVED else {Told.OPEN, Told.RESOLVED}
        for each in job.incident.covers or (attempt.incident,):
            rows = [known[each] for known in self._rows.values() if each in known]
            if not any(row.told in heard for row in rows):
                await self._last_resort.note(
                    self._incidents.get(each, job.incident),
                    attempt.channel,
                    job.reason,
                    attempt.detail,
                    self._clock.wall(attempt.at),
                )

    def _tell_overdue(self, channel: str, now: float) -> list[float]:
        """Owe the fallback what `channel` did not take in time; return when more will be due."""
        fallback = self._settings.fallback
        ahead = []
        for row in list(self._rows.get(channel, {}).values()):
            incident = self._incidents.get(row.incident)
            if fallback in {None, channel} or incident is None:
                continue
            seen = self._part(incident, row)
            is_behind = row.attempts > 0 and row.told_alerts != seen.alerts_state
            if row.told is not Told.NOTHING and not is_behind:
                continue
            if incident.covers or incident.hidden_by or not seen.is_open:
                continue
            stand_in = self._rows.get(fallback, {}).get(incident.id)
            if stand_in is not None and stand_in.whole:
                continue
            due = seen.changed_at if is_behind else seen.opened_at + self._tempo(incident).wait_s
            due += self._settings.fallback_after_s
            if due <= now:
                self._tell_instead(incident.id, channel)
            else:
                ahead.append(due)
        return ahead

    def _tell_instead(self, incident: str, channel: str) -> None:
        """Owe the fallback what `channel` will not take."""
        fallback = self._settings.fallback
        known = self._incidents.get(incident)
        if known is None or known.covers:
            return
        if fallback is None or fallback == channel:
            return
        row = self._rows.get(fallback, {}).get(incident)
        if row is None or not row.whole:
            self._keep(replace(row or Owed(incident=incident, channel=fallback), whole=True))
            self._event(fallback).set()

    def _hurry_predecessors(self, incident: Incident) -> None:
        """An episode of the same key that is still owed its end is tried again at once."""
        for before in self._keys.get(incident.key, ()):
            for rows in self._rows.values():
                row = rows.get(before)
                if row is not None and row.intent is None:
                    self._keep(replace(row, next_at=0.0))

    def _reroute_removed(self) -> None:
        """What a channel is owed that a reload removed goes to the fallback, and says so."""
        for channel in [each for each in self._rows if each not in self._settings.notifiers]:
            for row in list(self._rows[channel].values()):
                incident = self._incidents.get(row.incident)
                waits = row.told is Told.OPEN and incident is not None and incident.is_open
                if not row.parked and not waits and self._is_owed(row):
                    self._keep(replace(row, parked="this channel is not configured any more"))
                    self._tell_instead(row.incident, channel)

    async def _commit(
        self,
        changed: Sequence[Owed] = (),
        attempt: Attempt | None = None,
        incidents: Sequence[Incident] = (),
    ) -> None:
        if attempt is not None:
            self._unsaved.append(attempt)
        attempts, self._unsaved = self._unsaved, []
        rows, self._unsaved_rows = self._unsaved_rows, {}
        digests, self._unsaved_incidents = self._unsaved_incidents, {}
        told_before = bool(rows)
        rows |= {(row.channel, row.incident): row for row in changed}
        digests |= {each.id: each for each in incidents}
        batch = Batch(
            incidents=tuple(digests.values()), owed=tuple(rows.values()), attempts=attempts
        )
        try:
            await self._store.commit(batch)
        except StoreError as error:
            self._unsaved = [*attempts, *self._unsaved][-1000:]
            self._unsaved_incidents = digests | self._unsaved_incidents
            for key, refused in rows.items():
                # Another worker may have saved a later one meanwhile.
                if self._rows.get(refused.channel, {}).get(refused.incident, refused) is refused:
                    self._unsaved_rows.setdefault(key, refused)
            self._telemetry.count_store_error()
            if not told_before:
                log.error("delivery state not saved: %s", error)  # noqa: TRY400 - it says it all

    def _tempo(self, seen: Incident) -> Tempo:
        # As the whole is routed, whichever part of it somebody asks about.
        incident = self._incidents.get(seen.id, seen)
        if incident.id not in self._tempos:
            self._tempos[incident.id] = self._settings.tempo(incident)
        return self._tempos[incident.id]

    def _part(self, incident: Incident, row: Owed) -> Incident:
        parts = self._parts.setdefault(incident.id, {})
        if (row.channel, row.whole) not in parts:
            parts[row.channel, row.whole] = part(incident, row.channel, whole=row.whole)
        return parts[row.channel, row.whole]

    def _know(self, incident: Incident) -> None:
        self._incidents[incident.id] = incident
        self._parts.pop(incident.id, None)
        self._keys.setdefault(incident.key, set()).add(incident.id)

    def _keep(self, row: Owed) -> None:
        self._rows.setdefault(row.channel, {})[row.incident] = row

    def _event(self, channel: str) -> asyncio.Event:
        return self._wake.setdefault(channel, asyncio.Event())

    def _forget_settled(self) -> None:
        """Drop closed incidents that nobody is owed a word about; the store remembers them."""
        over = [each for each in self._incidents.values() if not each.is_open]
        for incident in over:
            owed = [rows[incident.id] for rows in self._rows.values() if incident.id in rows]
            if any(row.intent is not None or self._is_owed(row) for row in owed):
                continue
            del self._incidents[incident.id]
            self._parts.pop(incident.id, None)
            self._tempos.pop(incident.id, None)
            self._keys[incident.key].discard(incident.id)
            if not self._keys[incident.key]:
                del self._keys[incident.key]
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
        if row.via:
            digest = self._incidents.get(row.via)
            own = self._rows[row.channel].get(row.via)
            return digest is not None and own is not None and (digest.is_open or self._is_owed(own))
        return self._reason(self._part(incident, row), row, notifier) is not None


def _may_be_open(row: Owed) -> bool:
    return row.told is Told.OPEN or (row.told is Told.NOTHING and row.uncertain is not None)


def _says_again(row: Owed, reason: SendReason) -> bool:
    before = row.uncertain
    return before is not None and (
        before is reason or (_is_opening(before) and _is_opening(reason))
    )


def _is_opening(reason: SendReason) -> bool:
    return reason in {SendReason.FIRST, SendReason.ESCALATED}


def _is_fresh(job: _Job) -> bool:
    """Whether it is the first that its receiver hears of an incident."""
    row = job.row
    return row.told is Told.NOTHING and row.uncertain is None and not job.incident.covers
