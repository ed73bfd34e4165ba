"""What the store keeps and promises. Names no database.

A `Batch` is committed whole or not at all, and is on disk when `commit` returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from monitor.model import (
    AlertStatus,
    Attempt,
    BucketRow,
    Correction,
    HeartbeatRow,
    Incident,
    Owed,
    Release,
    RollbackRecord,
    Silence,
    Transition,
    WindowRow,
)


class StoreError(Exception):
    """The store could not do what was asked; the text is for the operator."""


class StoreLockedError(StoreError):
    """Another process owns this data directory."""


class StoreVersionError(StoreError):
    """The database was written by a newer version; it was left untouched."""


class StoreFullError(StoreError):
    """No space left: nothing of the batch was written; what was there before is intact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is committed together. Rows replace earlier rows of the same identity."""

    transitions: Sequence[Transition] = ()
    alerts: Sequence[AlertStatus] = ()
    forgotten_alerts: Sequence[tuple[str, str]] = ()
    """(rule, deployment) whose status is dropped."""
    incidents: Sequence[Incident] = ()
    owed: Sequence[Owed] = ()
    attempts: Sequence[Attempt] = ()
    releases: Sequence[Release] = ()
    rollbacks: Sequence[RollbackRecord] = ()
    windows: Sequence[WindowRow] = ()
    corrections: Sequence[Correction] = ()
    silences: Sequence[Silence] = ()
    born: Sequence[tuple[str, float]] = ()
    """(target, first time it was monitored)."""
    heartbeats: Sequence[HeartbeatRow] = ()
    seen_at: float | None = None
    """The engine had processed everything up to here."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (
            self.transitions
            or self.alerts
            or self.forgotten_alerts
            or self.incidents
            or self.owed
            or self.attempts
            or self.releases
            or self.rollbacks
            or self.windows
            or self.corrections
            or self.silences
            or self.born
            or self.heartbeats
            or self.seen_at is not None
        )


def merge(first: Batch, second: Batch) -> Batch:
    """Return one batch with the rows of both; a later row of the same identity wins."""
    if first.is_empty:
        return second
    forgotten = set(second.forgotten_alerts)
    alerts = {(row.rule, row.deployment): row for row in first.alerts}
    alerts = {key: row for key, row in alerts.items() if key not in forgotten}
    alerts |= {(row.rule, row.deployment): row for row in second.alerts}
    incidents = {row.id: row for row in (*first.incidents, *second.incidents)}
    windows = {(row.owner, row.part): row for row in (*first.windows, *second.windows)}
    corrections = {row.id: row for row in (*first.corrections, *second.corrections)}
    silences = {row.id: row for row in (*first.silences, *second.silences)}
    heartbeats = {row.name: row for row in (*first.heartbeats, *second.heartbeats)}
    return Batch(
        transitions=(*first.transitions, *second.transitions),
        alerts=tuple(alerts.values()),
        forgotten_alerts=(*first.forgotten_alerts, *second.forgotten_alerts),
        incidents=tuple(incidents.values()),
        releases=(*first.releases, *second.releases),
        windows=tuple(windows.values()),
        corrections=tuple(corrections.values()),
        silences=tuple(silences.values()),
        born=(*first.born, *second.born),
        heartbeats=tuple(heartbeats.values()),
        seen_at=second.seen_at or first.seen_at,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything that a restarted process needs."""

    alerts: Sequence[AlertStatus] = ()
    incidents: Sequence[Incident] = ()
    """Open ones, and closed ones that somebody is still owed a word about or that ended lately."""
    owed: Sequence[Owed] = ()
    releases: Sequence[Release] = ()
    """In order of time."""
    rollbacks: Sequence[RollbackRecord] = ()
    windows: Sequence[WindowRow] = ()
    buckets: Sequence[BucketRow] = ()
    """Of targets that nothing newer is known of than what schema version 2 stored."""
    corrections: Sequence[Correction] = ()
    """In the order in which they were made."""
    silences: Sequence[Silence] = ()
    born: Sequence[tuple[str, float]] = ()
    heartbeats: Sequence[HeartbeatRow] = ()
    tests: Sequence[Attempt] = ()
    """The latest self-test of each channel."""
    seen_at: float | None = None
    lost_at: float | None = None
    """When a damaged database was moved aside last, by this process or an earlier one, UTC s."""
    recovered_from: str | None = None
    """Where a corrupt database was moved to; None normally. Then the process only observes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentHistory:
    """One incident with its delivery ledger and its rollbacks."""

    incident: Incident
    owed: Sequence[Owed] = field(default_factory=tuple)
    attempts: Sequence[Attempt] = field(default_factory=tuple)
    rollbacks: Sequence[RollbackRecord] = field(default_factory=tuple)


class Store(Protocol):
    """Durable memory of one process."""

    async def load(self, now: float) -> State:
        """Read the state; call once, before anything is committed."""
        ...

    async def commit(self, batch: Batch) -> None:
        """Write the batch durably, whole or not at all.

        Raises:
            StoreError: nothing of the batch was written.
        """
        ...

    async def history(
        self, limit: int = 100, incident: str | None = None
    ) -> Sequence[IncidentHistory]:
        """Return the latest incidents, newest first; with `incident` (an id) that one only.

        Raises:
            StoreError: they cannot be read.
        """
        ...

    async def prune(self, now: float, limit: int = 500) -> int:
        """Delete at most `limit` records past their retention; return how many.

        A result of `limit` means that there may be more.

        Raises:
            StoreError: nothing was deleted.
        """
        ...

    async def close(self) -> None:
        """Finish what was begun and release the directory."""
        ...
