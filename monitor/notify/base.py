"""What a notification channel is: its configuration, its notifier and its answers.

Owns the protocol only (`http` maps statuses and transport errors to outcomes). Knows no channel by
name and keeps no state about incidents: retrying, ordering and deduplication belong to the outbox.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, ClassVar, Protocol, TextIO, runtime_checkable

import httpx2
from pydantic import field_validator

from monitor.fields import Duration, Model
from monitor.model import Delivery, DeliveryResult, Message, Release

log = logging.getLogger(__name__)

SEND_DEADLINE_S = 20.0
SLACK_S = 2.0
"""A notifier keeps its own deadline; this much later it is cut off from outside."""
SHORTEST_SELF_TEST_S = 3600.0
LONGEST_SELF_TEST_S = 60 * 86400.0
SmtpSend = Callable[..., Awaitable[tuple[dict[str, Any], str]]]
"""`aiosmtplib.send`: returns (refused recipients, final reply)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyIO:
    """All the outside world that a notifier may touch, given by the composition root."""

    http: httpx2.AsyncClient
    """Shared client; no redirects are followed and no cookies are kept."""
    sync_transport: httpx2.BaseTransport | None
    """For libraries with a blocking client; None means the library's own."""
    executor: Executor
    """Small pool for blocking libraries, never the loop's default one."""
    smtp_send: SmtpSend
    console: TextIO
    console_turn: Lock = field(default_factory=Lock)
    """Whoever writes to the console holds it: at most one thread hangs on one that is stuck."""


class Notifier(Protocol):
    """Says one message through one channel."""

    deduplicates: bool
    """Whether the receiver merges a repeated open of the same incident by its key."""
    repeats: bool
    """Whether reminders (`SendReason.REPEAT`) make sense; not where the receiver escalates."""
    updates: bool
    """Whether it is told that alerts joined or left, and that somebody acknowledged."""
    repeat_s: float | None
    """Its own interval of reminders, seconds; None: the plan's `repeat_interval`."""
    rate_per_s: float
    """Sends a second that the receiver takes for long (see `monitor.rate`)."""
    burst: int
    """Sends that it takes at once after a rest."""

    async def send(self, message: Message, deadline_s: float, remote_key: str | None) -> Delivery:
        """Try once. Never raises for what the receiver or the network does.

        `remote_key` is what the delivery that opened this incident returned. The caller also
        enforces `deadline_s`; a notifier uses it to tell RETRY from UNCERTAIN.
        """
        ...


@runtime_checkable
class Announcer(Protocol):
    """A notifier that can also tell of releases, which nobody is paged for."""

    announces: bool
    """Whether its configuration asks for it."""

    async def announce(self, release: Release, at: float, deadline_s: float) -> Delivery:
        """Try once, like `Notifier.send`; `at` is UTC seconds. A release that is lost stays so."""
        ...


@runtime_checkable
class Illustrator(Protocol):
    """A notifier that can add a picture to what it delivered."""

    async def illustrate(self, message: Message, remote_key: str | None, deadline_s: float) -> None:
        """Try once, after `message` was delivered under `remote_key`; a picture may be missing."""
        ...


async def try_once(channel: str, send: Callable[[float], Awaitable[Delivery]]) -> Delivery:
    """Have `send` try once, given its deadline in seconds; what hangs or raises is uncertain."""
    try:
        async with asyncio.timeout(SEND_DEADLINE_S + SLACK_S):
            return await send(SEND_DEADLINE_S)
    except TimeoutError:
        return Delivery(result=DeliveryResult.UNCERTAIN, detail="no answer in time")
    except Exception as error:
        log.exception("notifier raised", extra={"channel": channel})
        return Delivery(result=DeliveryResult.UNCERTAIN, detail=type(error).__name__)


class ChannelConfig(Model):
    """Configuration of one channel; each kind adds `kind: Literal[...]` and its own fields."""

    example: ClassVar[str] = ""
    """YAML of one channel of the kind, for the documentation; secrets as references."""

    kind: str
    self_test_s: Duration | None = None
    """How often a test message goes through the channel; none without it. One that pages people
    pages them with it."""

    @field_validator("self_test_s")
    @classmethod
    def _is_rare(cls, interval_s: float | None) -> float | None:
        # Attempts are kept for 90 days: that is how a restart knows of the last test.
        if interval_s is not None and not SHORTEST_SELF_TEST_S <= interval_s <= LONGEST_SELF_TEST_S:
            msg = "expected a time from 1h to 60d"
            raise ValueError(msg)
        return interval_s

    @abstractmethod
    def build(self, name: str, io: NotifyIO) -> Notifier:
        """Return the notifier for the channel called `name`."""
