"""The embedded store: the `Store` protocol on SQLite, one connection on one thread.

Only hands work over to that thread; what is done there is in `database`. The executor belongs to
whoever made it and is not shut down here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeVar

from monitor.store.base import Batch, IncidentHistory, State
from monitor.store.database import Database, Synchronous
from monitor.store.lock import DataDirectory
from monitor.store.schema import MIGRATIONS, Migration

T = TypeVar("T")


class SqliteStore:
    """Durable memory in one file; see `open_store`."""

    def __init__(self, database: Database, executor: Executor) -> None:
        """Wrap a database that was opened on the executor's one thread."""
        self._database = database
        self._executor = executor

    async def load(self, now: float) -> State:
        """Read the state; a damaged database is moved aside and the state is empty.

        Raises:
            StoreError: the disk refused.
        """
        return await _on(self._executor, lambda: self._database.load(now))

    async def commit(self, batch: Batch) -> None:
        """Write the batch durably, whole or not at all; an empty one costs nothing.

        A commit that was begun runs to its end even when the caller is cancelled.

        Raises:
            StoreFullError: no space left.
            StoreError: nothing of the batch was written.
        """
        if not batch.is_empty:
            await _on(self._executor, lambda: self._database.commit(batch))

    async def history(
        self, limit: int = 100, incident: str | None = None
    ) -> Sequence[IncidentHistory]:
        """Return the latest incidents, newest first; with `incident` (an id) that one only.

        Raises:
            StoreError: they cannot be read.
        """
        return await _on(self._executor, lambda: self._database.history(limit, incident))

    async def prune(self, now: float, limit: int = 500) -> int:
        """Delete at most `limit` records that are too old; return how many.

        A result of `limit` means that there may be more.

        Raises:
            StoreError: nothing was deleted.
        """
        return await _on(self._executor, lambda: self._database.prune(now, limit))

    async def close(self) -> None:
        """Finish what was begun and release the directory; a second time does nothing."""
        await _on(self._executor, self._database.close)


async def open_store(
    directory: Path | None,
    executor: Executor,
    now: float,
    *,
    synchronous: Synchronous = "FULL",
    migrations: Sequence[Migration] = MIGRATIONS,
) -> SqliteStore:
    """Open the store in `directory`; None keeps everything in memory and forgets it at the end.

    Args:
        directory: made when it is missing; owned by this process until `close`.
        executor: with exactly one thread, or one that runs what it is given at once.
        now: UTC seconds, for the name of a database that has to be moved aside.
        synchronous: SQLite's setting; anything but FULL may lose the last commits in a power cut.
        migrations: `schema.MIGRATIONS`.

    Raises:
        StoreLockedError: another process owns the directory.
        StoreVersionError: a newer program wrote the database; it is untouched.
        StoreError: the directory or the database cannot be used; the text says what to do.
    """

    def work() -> Database:
        owned = None if directory is None else DataDirectory(directory)
        try:
            return Database(owned, now, synchronous, migrations)
        except BaseException:
            if owned is not None:
                owned.release()
            raise

    return SqliteStore(await _on(executor, work), executor)


async def _on(executor: Executor, work: Callable[[], T]) -> T:
    # Shielded: cancelling the caller must not take back work that is queued but not yet begun.
    return await asyncio.shield(asyncio.get_running_loop().run_in_executor(executor, work))
