"""The embedded database of one process: open it, use it, and start anew when it is damaged.

Owns the one connection; everything here runs on the one thread that opened it. Knows nothing of
asyncio.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from monitor.store import queries
from monitor.store.base import Batch, IncidentHistory, State, StoreError, StoreFullError
from monitor.store.lock import DataDirectory
from monitor.store.rows import TABLES
from monitor.store.schema import Migration, migrate, refuse_newer, version_of
from monitor.store.table import DamagedRowError

log = logging.getLogger(__name__)

Synchronous = Literal["FULL", "NORMAL", "OFF"]

BUSY_TIMEOUT_S = 5.0
"""How long somebody else's look at the file (a shell, a backup) may hold a commit up."""
JOURNAL_SIZE_LIMIT = 16 * 2**20

_NOT_DAMAGE = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
    }
)

# SQLite quotes what it cannot make sense of, and Python cannot always decode the quotation.
_UNREADABLE = (sqlite3.Error, DamagedRowError, UnicodeDecodeError)


class DamagedError(Exception):
    """The file is not a sound database of ours."""


class Database:
    """Synchronous face of the store. `directory` None keeps everything in memory."""

    def __init__(
        self,
        directory: DataDirectory | None,
        now: float,
        synchronous: Synchronous,
        migrations: Sequence[Migration],
    ) -> None:
        """Open what is there, migrate it, or move it aside when it is damaged.

        Raises:
            StoreVersionError: a newer program wrote it.
            StoreError: it cannot be opened.
        """
        self._directory = directory
        self._synchronous = synchronous
        self._migrations = tuple(migrations)
        self._recovered_from: str | None = None
        self._where = "memory" if directory is None else str(directory.database)
        self._connection: sqlite3.Connection | None
        try:
            self._connection = self._connect()
        except DamagedError as error:
            self._connection = self._start_anew(now, error)

    def load(self, now: float) -> State:
        """Return the state, an empty one when what is there turns out to be damaged."""
        connection = self._open_connection()
        try:
            state = queries.load(connection, now)
        except _UNREADABLE as error:
            if not _is_damage(error):
                raise _translated(error, self._where) from error
            connection.close()
            self._connection = None
            self._connection = self._start_anew(now, error)
            state = State()
        lost_at = self._directory.lost_at() if self._directory else None
        return replace(state, recovered_from=self._recovered_from, lost_at=lost_at)

    def commit(self, batch: Batch) -> None:
        """Write the batch in one transaction."""
        with self._transaction() as connection:
            queries.write(connection, batch)

    def prune(self, now: float, limit: int) -> int:
        """Delete old records in one transaction; return how many."""
        with self._transaction() as connection:
            return queries.prune(connection, now, limit)

    def history(self, limit: int, incident: str | None) -> Sequence[IncidentHistory]:
        """Read the latest incidents."""
        try:
            return queries.history(self._open_connection(), limit, incident)
        except _UNREADABLE as error:
            raise _translated(error, self._where) from error

    def close(self) -> None:
        """Close the file and release the directory; a second time does nothing."""
        if self._connection is None:
            return
        connection, self._connection = self._connection, None
        connection.close()
        if self._directory is not None:
            self._directory.release()

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            msg = "the store is closed"
            raise StoreError(msg)
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._open_connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except BaseException as error:
            # SQLite rolls back by itself after some errors and not after others.
            with suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            if isinstance(error, (sqlite3.Error, OverflowError)):
                raise _translated(error, self._where) from error
            raise

    def _start_anew(self, now: float, why: Exception) -> sqlite3.Connection:
        if self._directory is None:
            msg = f"the database in memory is unusable: {why}"
            raise StoreError(msg) from why
        aside = self._directory.set_aside(now)
        log.error("the database was damaged (%s); it is kept as %s", why, aside)
        self._recovered_from = str(aside)
        try:
            return self._connect()
        except DamagedError as error:
            msg = f"{self._where} cannot be written: {error}"
            raise StoreError(msg) from error

    def _connect(self) -> sqlite3.Connection:
        """Return a sound connection or raise DamagedError or StoreError."""
        connection: sqlite3.Connection | None = None
        try:
            if self._directory is None:
                connection = _connection(":memory:")
            else:
                refuse_newer(self._directory.database, len(self._migrations))
                connection = _connection(self._directory.database)
            self._prepare(connection)
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, _UNREADABLE) and _is_damage(error):
                raise DamagedError(str(error)) from error
            if isinstance(error, (*_UNREADABLE, OSError)):
                raise _translated(error, self._where) from error
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_SIZE_LIMIT}")
        (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise DamagedError(verdict)
        version = version_of(connection)
        if version < 0 or (version == 0 and _has_tables(connection)):
            msg = f"it has tables and schema version {version}"
            raise DamagedError(msg)
        if version < len(self._migrations):
            copy = self._directory.backup(version) if self._directory and version else None
            migrate(connection, self._migrations, copy)
        # A flipped bit may have renamed a column or made the file read-only without making it
        # unsound: every statement of a commit is tried out before the first commit depends on it.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA user_version = {len(self._migrations)}")
        for table in TABLES:
            connection.execute(f"EXPLAIN {table.upsert}", (None,) * table.width)
        connection.execute("ROLLBACK")


def _connection(path: Path | str) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema").fetchone() is not None


def _code(error: Exception) -> int | None:
    """Return SQLite's extended error code; None when Python, not SQLite, raised it."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code


def _is_damage(error: Exception) -> bool:
    """Whether the file's content is to blame and not the machine it is on."""
    code = _code(error)
    if code is None or code == sqlite3.SQLITE_READONLY:
        # Plainly read-only, for a file that was seen to be writable, means a damaged header.
        return True
    return code & 0xFF not in _NOT_DAMAGE


def _translated(error: Exception, where: str) -> StoreError:
    code = _code(error)
    primary = None if code is None else code & 0xFF
    if primary == sqlite3.SQLITE_FULL:
        return StoreFullError(f"no space left for {where}: make room on that disk ({error})")
    if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StoreError(f"another program holds {where} for longer than {BUSY_TIMEOUT_S:g} s")
    if primary in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}:
        return StoreError(f"the disk or its permissions refuse {where}: {error}")
    return StoreError(f"cannot use {where}: {error}")
