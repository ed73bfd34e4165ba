"""What the web surface may see of the running daemon, and the few things it may ask of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from monitor.incidents import Hidden
from monitor.metrics import Telemetry
from monitor.model import (
    Acknowledgement,
    Correction,
    Incident,
    Owed,
    Release,
    RollbackRecord,
    Silence,
)
from monitor.probes.heartbeat_board import HeartbeatBoard
from monitor.slo.engine import Engine
from monitor.store.base import IncidentHistory


class View(Protocol):
    """The daemon as its HTTP surface sees it; the composition root satisfies it."""

    @property
    def engine(self) -> Engine:
        """SLO state; read only."""
        ...

    @property
    def telemetry(self) -> Telemetry:
        """Tallies of our own work."""
        ...

    @property
    def channels(self) -> Sequence[str]:
        """Names of the configured channels."""
        ...

    @property
    def heartbeats(self) -> HeartbeatBoard:
        """Where the pings of jobs are noted."""
        ...

    def now(self) -> float:
        """UTC seconds."""
        ...

    def wall(self) -> float:
        """UTC seconds by the wall clock, which may have been set since we started."""
        ...

    def incidents(self) -> Sequence[Incident]:
        """Open and recently closed incidents, newest first, from memory."""
        ...

    def owed(self) -> Sequence[Owed]:
        """What each receiver was last told, one for each (incident, channel)."""
        ...

    def backlog(self) -> Mapping[str, tuple[int, float]]:
        """Channel -> (messages owed, age of the oldest in seconds)."""
        ...

    async def history(self, limit: int, incident: str | None = None) -> Sequence[IncidentHistory]:
        """Incidents with their ledgers from the store, newest first.

        Raises:
            StoreError: the store cannot be read.
        """
        ...

    def rollbacks(self) -> Sequence[RollbackRecord]:
        """Rollback requests, newest first."""
        ...

    async def accept_release(self, release: Release) -> None:
        """Take in a release event.

        Raises:
            asyncio.QueueFull: overloaded; try again later.
        """
        ...

    async def reload(self) -> str | None:
        """Read the configuration again: None when it is used now, else why it was refused."""
        ...

    def corrections(self) -> Sequence[Correction]:
        """What was said not to count as it was measured, latest first."""
        ...

    async def accept_correction(self, correction: Correction) -> None:
        """Take in a correction.

        Raises:
            asyncio.QueueFull: overloaded; try again later.
        """
        ...

    def ready(self) -> str | None:
        """None when ready, else why not."""
        ...

    def live(self) -> str | None:
        """None when alive, else what is stuck."""
        ...

    def silences(self) -> Sequence[Silence]:
        """Silences, newest first; those that are over are kept for a while."""
        ...

    def hidden(self) -> Sequence[Hidden]:
        """Alerts that fire and that nobody is told of, and why."""
        ...

    async def accept_silence(self, silence: Silence) -> None:
        """Take in a silence, or what became of the one with its id.

        Raises:
            asyncio.QueueFull: overloaded; try again later.
        """
        ...

    async def accept_acknowledgement(
        self, incident: str, acknowledgement: Acknowledgement | None
    ) -> None:
        """Take in that somebody works on an incident (an id), or does not any more (None).

        Raises:
            asyncio.QueueFull: overloaded; try again later.
        """
        ...
