"""Versions of the database."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor.model import HeartbeatRow
from monitor.store.base import Batch, StoreError, StoreVersionError
from monitor.store.database import Database
from monitor.store.rows import RELEASES, TABLES
from monitor.store.schema import MIGRATIONS, version_of

FILE = "slo-monitor.db"
LATEST = len(MIGRATIONS)
OpenDatabase = Callable[..., Database]


def add_column(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE releases ADD COLUMN author TEXT")


def fail_midway(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM releases")
    connection.execute("ALTER TABLE missing ADD COLUMN author TEXT")


def look(path: Path, statement: str) -> Any:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def test_older_version_is_copied_and_migrated(
    tmp_path: Path, open_database: OpenDatabase, make: Any
) -> None:
    """A later program keeps a usable copy of the old version and loses no row on the way."""
    old = open_database(tmp_path)
    old.commit(make.batch())
    before = old.load(make.now)
    old.close()
    new = open_database(tmp_path, (*MIGRATIONS, add_column))
    assert new.load(make.now) == before
    new.close()
    assert look(tmp_path / FILE, "SELECT revision, author FROM releases") == [("i1", None)]
    assert look(tmp_path / FILE, "PRAGMA user_version") == [(LATEST + 1,)]
    copy = tmp_path / f"{FILE}.v{LATEST}.bak"
    assert look(copy, "PRAGMA user_version") == [(LATEST,)]
    assert copy.stat().st_mode & 0o077 == 0
    shutil.copy(copy, tmp_path / FILE)
    assert open_database(tmp_path).load(make.now) == before


def test_the_first_version_is_still_read(
    tmp_path: Path, open_database: OpenDatabase, make: Any
) -> None:
    """What a program of before wrote is there, and what it did not know yet can be added."""
    release = make.batch().releases[0]
    with closing(sqlite3.connect(tmp_path / FILE)) as connection, connection:
        MIGRATIONS[0](connection)
        RELEASES.write(connection, [release])
        connection.execute("PRAGMA user_version = 1")
    new = open_database(tmp_path)
    assert new.load(make.now).releases == (release,)
    row = HeartbeatRow(name="shop/backup", at=make.now, times={"finished_at": 5.0, "late": None})
    new.commit(Batch(heartbeats=(row,)))
    new.commit(Batch(heartbeats=(replace(row, at=make.now + 1),)))
    assert new.load(make.now).heartbeats == (replace(row, at=make.now + 1),)


def test_new_and_current_databases_are_not_copied(
    tmp_path: Path, open_database: OpenDatabase
) -> None:
    """A copy is made only when there is something older to lose."""
    for _ in range(2):
        open_database(tmp_path).close()
    assert not list(tmp_path.glob("*.bak*"))


def test_failed_migration_changes_nothing(
    tmp_path: Path, open_database: OpenDatabase, make: Any
) -> None:
    """A migration that does not work is undone whole, and the older program goes on."""
    old = open_database(tmp_path)
    old.commit(make.batch())
    before = old.load(make.now)
    old.close()
    with pytest.raises(
        StoreError, match=f"cannot migrate from schema version {LATEST}: no such table"
    ):
        open_database(tmp_path, (*MIGRATIONS, fail_midway))
    assert open_database(tmp_path).load(make.now) == before


def test_newer_version_is_left_untouched(
    tmp_path: Path, open_database: OpenDatabase, make: Any
) -> None:
    """A database of a newer program is refused byte by byte as it was, and nothing is moved."""
    newer = open_database(tmp_path, (*MIGRATIONS, add_column))
    newer.commit(make.batch())
    newer.close()
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(
        StoreVersionError, match=rf"schema version {LATEST + 1} .* versions up to {LATEST}: run the"
    ):
        open_database(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {FILE, "slo-monitor.lock"}


def test_newer_version_that_was_killed_is_left_untouched(
    tmp_path: Path, open_database: OpenDatabase, make: Any
) -> None:
    """The log of a newer program that did not get to close is neither replayed nor dropped."""
    newer = open_database(tmp_path / "running", (*MIGRATIONS, add_column))
    newer.commit(make.batch())
    (tmp_path / "killed").mkdir()
    names = (FILE, f"{FILE}-wal")
    for name in names:
        shutil.copy(tmp_path / "running" / name, tmp_path / "killed" / name)
    before = [(tmp_path / "killed" / name).read_bytes() for name in names]
    with pytest.raises(StoreVersionError):
        open_database(tmp_path / "killed")
    assert [(tmp_path / "killed" / name).read_bytes() for name in names] == before


def test_created_version_is_the_latest() -> None:
    """An empty file goes through every migration."""
    with closing(sqlite3.connect(":memory:")) as connection:
        assert version_of(connection) == 0
        for step in MIGRATIONS:
            step(connection)
        tables = connection.execute("SELECT count(*) FROM sqlite_schema WHERE type = 'table'")
        assert tables.fetchone() == (len(TABLES),)
