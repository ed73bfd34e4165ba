"""Self-tests of channels: a test message on a schedule, so that a dead channel is found in peace.

Owns when a channel is tested and what becomes of it. Knows nothing of incidents, owes nobody
anything, and stands in no channel's way: a test has a deadline and at most a few tries.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import floor

from monitor.grouping import incident_key
from monitor.metrics import Telemetry
from monitor.model import (
    Attempt,
    Clock,
    DeliveryResult,
    Incident,
    Message,
    SendReason,
    Severity,
)
from monitor.notify.base import Notifier, try_once
from monitor.store.base import Batch, Store, StoreError

log = logging.getLogger(__name__)

TRIES = 3
"""Of one test, while the answer is that it certainly did not arrive."""
RETRY_S = 300.0
RULE = "self_test"


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTests:
    """What the plan says about self-tests."""

    notifiers: Mapping[str, Notifier] = field(default_factory=dict)
    intervals_s: Mapping[str, float] = field(default_factory=dict)
    """Channel -> how often it is tested; a channel that is not in it never is."""
    service: str = ""
    page_url: str | None = None


def slot_start(channel: str, interval_s: float, at: float) -> float:
    """Return the start of the slot in which `at` lies, UTC seconds.

    Slots have the length of the interval; where they begin depends on the channel's name, so that
    channels take turns, and on nothing else, so that a restart changes nothing.
    """
    digest = hashlib.sha256(channel.encode("utf-8", "surrogatepass")).digest()
    phase_s = int.from_bytes(digest[:8]) / 2**64 * interval_s
    return floor((at - phase_s) / interval_s) * interval_s + phase_s


def next_test(channel: str, interval_s: float, last_at: float | None, born_at: float) -> float:
    """Return when the next test is due: at the start of a slot after the last test.

    A test that was late by more than half a slot stands for the next one as well. A channel that
    was never tested waits from `born_at`, so that new ones are not all tested at once. The time
    may have passed, when the process was down; then the test is due now.
    """
    if last_at is None:
        return slot_start(channel, interval_s, born_at) + interval_s
    # Half a slot also keeps a rounding error at its start from making it due again.
    return slot_start(channel, interval_s, last_at + interval_s / 2) + interval_s


class SelfTester:
    """Tests channels; `run` never ends."""

    def __init__(
        self, clock: Clock, store: Store, settings: SelfTests, telemetry: Telemetry
    ) -> None:
        """Start without a past; `restore` gives it what an earlier process did."""
        self._clock = clock
        self._store = store
        self._settings = settings
        self._telemetry = telemetry
        self._born_at = {channel: clock.now() for channel in settings.intervals_s}
        self._last: dict[str, float] = {}
        """Channel -> when its latest test began."""
        self._tries: dict[str, int] = {}
        """Channel -> failed tries of a test that is not given up yet."""
        self._unsaved: list[Attempt] = []
        self._changed = asyncio.Event()

    def restore(self, attempts: Iterable[Attempt]) -> None:
        """Take over the latest attempts at tests of an earlier process."""
        for attempt in sorted(attempts, key=lambda each: each.at):
            self._last[attempt.channel] = attempt.at
            # It certainly did not arrive: one more try before the channel looks bad for a week.
            again = attempt.result is DeliveryResult.RETRY
            self._tries[attempt.channel] = TRIES - 1 if again else 0
            self._show(attempt)

    def reconfigure(self, settings: SelfTests) -> None:
        """Test as `settings` say from now on."""
        now = self._clock.now()
        self._born_at = {
            channel: self._born_at.get(channel, now) for channel in settings.intervals_s
        }
        self._settings = settings
        self._changed.set()

    async def run(self) -> None:
        """Test every channel when it is due, for ever, one at a time."""
        while True:
            self._changed.clear()
            now = self._clock.now()
            due = {channel: self._due(channel) for channel in self._settings.intervals_s}
            ready = [channel for channel, at in due.items() if at <= now]
            if ready:
                await self._test(min(ready, key=lambda channel: due[channel]))
                continue
            try:
                async with asyncio.timeout(min(due.values()) - now if due else None):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _due(self, channel: str) -> float:
        last_at = self._last.get(channel)
        if last_at is not None and self._tries.get(channel):
            return last_at + RETRY_S
        interval_s = self._settings.intervals_s[channel]
        return next_test(channel, interval_s, last_at, self._born_at[channel])

    async def _test(self, channel: str) -> None:
        now = self._clock.now()
        self._last[channel] = now
        message = self._message(channel, now)
        started = self._clock.monotonic()
        notifier = self._settings.notifiers[channel]
        delivery = await try_once(channel, lambda limit_s: notifier.send(message, limit_s, None))
        attempt = Attempt(
            incident=message.incident.id,
            channel=channel,
            reason=SendReason.TEST,
            at=now,
            duration_s=self._clock.monotonic() - started,
            result=delivery.result,
            detail=delivery.detail,
        )
        self._account(attempt)
        await self._save(attempt)

    def _message(self, channel: str, now: float) -> Message:
        settings = self._settings
        incident = Incident(
            id=f"self-test-{channel}-{now:.0f}",
            # One key for all tests of a channel: a receiver that keeps them open has one open.
            key=incident_key(RULE, channel),
            rule=RULE,
            deployment=settings.service,
            service=settings.service,
            environment="monitoring",
            severity=Severity.INFO,
            channels=(channel,),
            condition="true",
            summary=f"The scheduled test of the channel {channel}. Nothing is wrong.",
            started_at=now,
            opened_at=now,
        )
        return Message(
            reason=SendReason.TEST,
            incident=incident,
            at=self._clock.wall(now),
            page_url=settings.page_url,
        )

    def _account(self, attempt: Attempt) -> None:
        channel, ok = attempt.channel, attempt.result is DeliveryResult.DELIVERED
        self._telemetry.count_notification(channel, attempt.result, None)
        tries = self._tries.get(channel, 0) + 1
        again = attempt.result is DeliveryResult.RETRY and tries < TRIES
        self._tries[channel] = tries if again else 0
        if not again:
            self._show(attempt)
        log.log(
            logging.INFO if ok else logging.WARNING,
            "self-test %s",
            attempt.result,
            extra={"channel": channel, "detail": attempt.detail, "tries": tries},
        )

    def _show(self, attempt: Attempt) -> None:
        ok = attempt.result is DeliveryResult.DELIVERED
        self._telemetry.set_self_test(attempt.channel, ok=ok, at=attempt.at)

    async def _save(self, attempt: Attempt) -> None:
        attempts, self._unsaved = [*self._unsaved, attempt], []
        try:
            await self._store.commit(Batch(attempts=attempts))
        except StoreError as error:
            self._unsaved = attempts[-100:]
            self._telemetry.count_store_error()
            log.error("self-test not saved: %s", error)  # noqa: TRY400 - it says it all
