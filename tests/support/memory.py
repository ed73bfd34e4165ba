"""A store in memory that keeps every batch, and can refuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monitor.store.base import Batch, IncidentHistory, State, StoreFullError


class MemoryStore:
    """Remembers batches in order; while `full` it refuses like a full disk."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.full = False

    async def load(self, now: float) -> State:
        return State()

    async def commit(self, batch: Batch) -> None:
        if self.full:
            msg = "no space left"
            raise StoreFullError(msg)
        self.batches.append(batch)

    def all_of(self, kind: str) -> list[Any]:
        """Return every row of a kind that was ever committed, in order."""
        return [row for batch in self.batches for row in getattr(batch, kind)]

    async def history(
        self, limit: int = 100, incident: str | None = None
    ) -> Sequence[IncidentHistory]:
        return ()

    async def prune(self, now: float) -> int:
        return 0

    async def close(self) -> None:
        return
