"""The tables of the embedded database and how one version becomes the next.

Owns the DDL and `PRAGMA user_version`. A migration, once released, is never edited.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from monitor.store.base import StoreError, StoreVersionError
from monitor.store.table import Cell, seal

Migration = Callable[[sqlite3.Connection], None]
"""Runs inside the one transaction of all migrations; must not end it."""

_VERSION_1 = (
    """CREATE TABLE transitions (
        id INTEGER PRIMARY KEY, at REAL NOT NULL, rule TEXT NOT NULL, deployment TEXT NOT NULL,
        "before" TEXT NOT NULL, "after" TEXT NOT NULL, since REAL NOT NULL,
        "values" TEXT NOT NULL, reason TEXT NOT NULL, seal INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE alerts (
        rule TEXT NOT NULL, deployment TEXT NOT NULL, state TEXT NOT NULL, active_at REAL,
        fired_at REAL, clear_since REAL, evaluated_at REAL NOT NULL, no_data INTEGER NOT NULL,
        seal INTEGER NOT NULL, PRIMARY KEY (rule, deployment)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE incidents (
        id TEXT NOT NULL PRIMARY KEY, "key" TEXT NOT NULL, rule TEXT NOT NULL,
        deployment TEXT NOT NULL, service TEXT NOT NULL, environment TEXT NOT NULL,
        severity TEXT NOT NULL, channels TEXT NOT NULL, condition TEXT NOT NULL,
        summary TEXT NOT NULL, started_at REAL NOT NULL, opened_at REAL NOT NULL,
        resolved_at REAL, resolve_reason TEXT NOT NULL, revision TEXT,
        rollback INTEGER NOT NULL, "values" TEXT NOT NULL, labels TEXT NOT NULL,
        annotations TEXT NOT NULL, notes TEXT NOT NULL, seal INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE owed (
        incident TEXT NOT NULL, channel TEXT NOT NULL, told TEXT NOT NULL, told_at REAL,
        intent TEXT, uncertain TEXT, attempts INTEGER NOT NULL, next_at REAL NOT NULL,
        parked TEXT NOT NULL, remote_key TEXT, seal INTEGER NOT NULL,
        PRIMARY KEY (incident, channel)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE attempts (
        id INTEGER PRIMARY KEY, incident TEXT NOT NULL, channel TEXT NOT NULL,
        reason TEXT NOT NULL, at REAL NOT NULL, duration_s REAL NOT NULL, result TEXT NOT NULL,
        detail TEXT NOT NULL, may_be_repeated INTEGER NOT NULL, seal INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE releases (
        id INTEGER PRIMARY KEY, deployment TEXT NOT NULL, revision TEXT NOT NULL,
        status TEXT NOT NULL, at REAL NOT NULL, source TEXT NOT NULL, seal INTEGER NOT NULL,
        UNIQUE (deployment, at, revision, status)
    ) STRICT""",
    """CREATE TABLE rollbacks (
        id TEXT NOT NULL PRIMARY KEY, incident TEXT NOT NULL, deployment TEXT NOT NULL,
        environment TEXT NOT NULL, service TEXT NOT NULL, rule TEXT NOT NULL,
        from_revision TEXT NOT NULL, to_revision TEXT, at REAL NOT NULL, reason TEXT NOT NULL,
        state TEXT NOT NULL, updated_at REAL NOT NULL, detail TEXT NOT NULL, remote_id TEXT,
        attempts INTEGER NOT NULL, seal INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE buckets (
        target TEXT NOT NULL, width_s INTEGER NOT NULL, start INTEGER NOT NULL,
        good INTEGER NOT NULL, bad INTEGER NOT NULL, "unknown" INTEGER NOT NULL,
        up_ms INTEGER NOT NULL, down_ms INTEGER NOT NULL, sketch BLOB NOT NULL,
        seal INTEGER NOT NULL, PRIMARY KEY (target, width_s, start)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE marks (
        kind TEXT NOT NULL, name TEXT NOT NULL, at REAL NOT NULL, seal INTEGER NOT NULL,
        PRIMARY KEY (kind, name)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX transitions_at ON transitions (at)",
    "CREATE INDEX incidents_opened_at ON incidents (opened_at)",
    "CREATE INDEX incidents_resolved_at ON incidents (resolved_at)",
    "CREATE INDEX attempts_at ON attempts (at)",
    "CREATE INDEX attempts_incident ON attempts (incident)",
    "CREATE INDEX rollbacks_at ON rollbacks (at)",
    "CREATE INDEX rollbacks_incident ON rollbacks (incident)",
)

_MAGIC = b"SQLite format 3\0"
_VERSION_END = 64
"""SQLite keeps `user_version` in the four bytes before this offset, big-endian."""


def create_version_1(connection: sqlite3.Connection) -> None:
    """Fill an empty database."""
    for statement in _VERSION_1:
        connection.execute(statement)


def add_heartbeats(connection: sqlite3.Connection) -> None:
    """Keep the pings of jobs over a restart (version 2)."""
    connection.execute(
        """CREATE TABLE heartbeats (
            id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, at REAL NOT NULL,
            times TEXT NOT NULL, seal INTEGER NOT NULL
        ) STRICT"""
    )


def add_windows(connection: sqlite3.Connection) -> None:
    """Keep whole levels of buckets in one row each, and corrections (version 3).

    Single buckets, which earlier versions wrote, are taken over by the engine when it starts.
    """
    connection.execute(
        """CREATE TABLE windows (
            id INTEGER PRIMARY KEY, owner TEXT NOT NULL, part TEXT NOT NULL, at REAL NOT NULL,
            data BLOB NOT NULL, seal INTEGER NOT NULL, UNIQUE (owner, part)
        ) STRICT"""
    )
    connection.execute(
        """CREATE TABLE corrections (
            id TEXT NOT NULL PRIMARY KEY, deployment TEXT NOT NULL, slo TEXT NOT NULL,
            start REAL NOT NULL, "end" REAL NOT NULL, reason TEXT NOT NULL, at REAL NOT NULL,
            is_undone INTEGER NOT NULL, seal INTEGER NOT NULL
        ) STRICT"""
    )


def add_groups(connection: sqlite3.Connection) -> None:
    """Keep alerts of incidents, acknowledgements, escalations, digests, silences, M of N."""
    widen(
        connection,
        "incidents",
        {
            "alerts": ("TEXT NOT NULL", "[]"),
            "priority": ("TEXT NOT NULL", "P1"),
            "acknowledgement": ("TEXT", None),
            "escalated": ("TEXT NOT NULL", "[]"),
            "called": ("TEXT NOT NULL", "[]"),
            "hidden_by": ("TEXT NOT NULL", ""),
            "group": ("TEXT NOT NULL", ""),
            "covers": ("TEXT NOT NULL", "[]"),
            "steps": ("TEXT NOT NULL", "[]"),
            "shown_at": ("REAL", None),
        },
    )
    widen(connection, "alerts", {"matched_at": ("TEXT NOT NULL", "[]")})
    widen(
        connection,
        "owed",
        {
            "told_alerts": ("TEXT NOT NULL", ""),
            "whole": ("INTEGER NOT NULL", 0),
            "acknowledged_at": ("REAL", None),
            "via": ("TEXT NOT NULL", ""),
            "key": ("TEXT NOT NULL", ""),
        },
    )
    connection.execute(
        """CREATE TABLE silences (
            id TEXT NOT NULL PRIMARY KEY, matchers TEXT NOT NULL, owner TEXT NOT NULL,
            reason TEXT NOT NULL, starts_at REAL NOT NULL, ends_at REAL NOT NULL, at REAL NOT NULL,
            ends_on_resolve INTEGER NOT NULL, ended_at REAL, seal INTEGER NOT NULL
        ) STRICT"""
    )


def widen(
    connection: sqlite3.Connection, table: str, columns: Mapping[str, tuple[str, Cell]]
) -> None:
    """Add columns (name -> type, what existing rows have) before the seal, and seal rows anew.

    A row whose seal did not match stays recognisable as damaged.
    """
    (ddl,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    rows = connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - our own names
    indexes = connection.execute(
        "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND type = 'index' AND sql IS NOT NULL",
        (table,),
    ).fetchall()
    added = ", ".join(f'"{name}" {kind}' for name, (kind, _) in columns.items())
    connection.execute(f"DROP TABLE {table}")
    connection.execute(ddl.replace("seal INTEGER NOT NULL", f"{added}, seal INTEGER NOT NULL"))
    given = tuple(value for _, value in columns.values())
    holes = ", ".join("?" * (len(rows[0]) + len(given))) if rows else ""
    for row in rows:
        cells = (*row[:-1], *given)
        sealed = seal(cells) if seal(row[:-1]) == row[-1] else row[-1]
        connection.execute(f"INSERT INTO {table} VALUES ({holes})", (*cells, sealed))  # noqa: S608
    for (statement,) in indexes:
        connection.execute(statement)


MIGRATIONS: tuple[Migration, ...] = (
    create_version_1,
    add_heartbeats,
    add_windows,
    add_groups,
)
"""`MIGRATIONS[n]` turns version n into n + 1; version 0 is an empty file."""


def version_of(connection: sqlite3.Connection) -> int:
    """Return the schema version; 0 for an empty database."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def refuse_newer(path: Path, known: int) -> None:
    """Look at the version without changing a byte, in the header and in the log.

    Raises:
        StoreVersionError: the database is newer than version `known`.
        sqlite3.Error: it cannot be read.
        OSError: the same.
    """
    with path.open("rb") as file:
        header = file.read(_VERSION_END)
    if header.startswith(_MAGIC) and len(header) == _VERSION_END:
        _refuse(path, int.from_bytes(header[-4:], "big", signed=True), known)
    # A process that was killed may have left the version in its log; a connection that cannot
    # write does not fold the log into the file when it is closed.
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        version = version_of(connection)
    finally:
        connection.close()
    _refuse(path, version, known)


def _refuse(path: Path, version: int, known: int) -> None:
    if version > known:
        msg = (
            f"{path} has schema version {version} and this program knows versions up to {known}:"
            " run the newer slo-monitor, or give this one another storage.path;"
            " nothing was changed"
        )
        raise StoreVersionError(msg)


def migrate(
    connection: sqlite3.Connection, migrations: Sequence[Migration], backup: Path | None
) -> None:
    """Bring the database to version `len(migrations)`, whole or not at all.

    `backup` is where a copy goes first; None when there is nothing to keep.

    Raises:
        StoreError: it did not work; nothing was changed.
        sqlite3.Error: the copy could not be made; nothing was changed.
    """
    version = version_of(connection)
    if backup is not None:
        _copy(connection, backup)
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in migrations[version:]:
            step(connection)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            msg = f"cannot migrate from schema version {version}: {error}; nothing was changed"
            raise StoreError(msg) from error
        raise


def _copy(connection: sqlite3.Connection, to: Path) -> None:
    """Write a copy that is whole whenever it has its final name."""
    unfinished = to.with_name(f"{to.name}.tmp")
    try:
        unfinished.unlink(missing_ok=True)
        connection.execute("VACUUM INTO ?", (str(unfinished),))
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.chmod(0o600)
        unfinished.replace(to)
    except OSError as error:
        msg = f"cannot copy the database to {to} before migrating it: {error.strerror}"
        raise StoreError(msg) from error
