"""What a rollback hook is. Knows no hook by name and decides nothing: that is the guard's."""

from __future__ import annotations

import asyncio.subprocess
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import httpx2

from monitor.fields import Duration, Model
from monitor.model import Deployment, RollbackRequest, RollbackState

Spawn = Callable[..., Awaitable[asyncio.subprocess.Process]]
"""`asyncio.create_subprocess_exec`; a virtual world gives one that raises OSError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookAnswer:
    """How a call or a query ended.

    `state` is ACCEPTED (works on it; query again), SUCCEEDED, FAILED (for good), UNCERTAIN (it may
    have been received) or INTENDED (certainly not received: calling again is safe).
    """

    state: RollbackState
    detail: str = ""
    remote_id: str | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HookIO:
    """The outside world of a hook."""

    http: httpx2.AsyncClient
    """Shared client; no redirects are followed and no cookies are kept."""
    spawn: Spawn


class Hook(Protocol):
    """Runs a rollback somewhere else."""

    async def call(self, request: RollbackRequest, deadline_s: float, now: float) -> HookAnswer:
        """Ask for the rollback once, with `request.id` as the idempotency key. Never raises."""
        ...

    async def query(
        self, request: RollbackRequest, remote_id: str | None, deadline_s: float, now: float
    ) -> HookAnswer:
        """Ask how a rollback stands that was called before. Never starts one. Never raises.

        INTENDED means that the other side says it never saw `request.id`.
        """
        ...


class HookConfig(Model):
    """Configuration of one hook; each kind adds `kind: Literal[...]` and its own fields."""

    kind: str
    timeout_s: Duration = 15.0
    """How long one call may take; the caller's own deadline is taken from this."""

    @property
    def needs_target(self) -> bool:
        """Whether a rollback is impossible while the previous revision is not known."""
        return False

    @abstractmethod
    def build(self, deployment: Deployment, io: HookIO) -> Hook:
        """Return the hook for `deployment`."""
