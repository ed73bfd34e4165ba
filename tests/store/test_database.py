"""Commits that fail and files that are damaged."""

from __future__ import annotations

import logging
import math
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.store.base import Batch, State, StoreError, StoreFullError
from monitor.store.database import Database

FILE = "slo-monitor.db"
VERSION_AT = range(60, 64)
"""Where the header says the version: a flip in there is a newer version, which is refused."""
WRITE_VERSION_AT = 18
OpenDatabase = Callable[..., Database]


def connection_of(database: Database) -> sqlite3.Connection:
    assert database._connection is not None
    return database._connection


def test_state_survives_reopening(tmp_path: Path, open_database: OpenDatabase, make: Any) -> None:
    """What was committed is what a restarted process loads, and nothing was recovered."""
    first = open_database(tmp_path)
    assert first.load(make.now) == State()
    first.commit(make.batch())
    first.close()
    state = open_database(tmp_path).load(make.now)
    batch = make.batch()
    assert state == State(
        alerts=batch.alerts,
        incidents=batch.incidents,
        owed=batch.owed,
        releases=batch.releases,
        rollbacks=batch.rollbacks,
        windows=batch.windows,
        corrections=batch.corrections,
        silences=batch.silences,
        born=batch.born,
        seen_at=batch.seen_at,
    )


def test_failing_batch_leaves_nothing(
    tmp_path: Path, open_database: OpenDatabase, make: Any
) -> None:
    """A row that is refused takes all rows before and after it with it; the next batch works."""
    database = open_database(tmp_path)
    database.commit(make.batch("before"))
    state = database.load(make.now)
    not_null = replace(make.batch("bad"), attempts=(make.attempt(at=math.nan),))
    too_large = replace(
        make.batch("bad"), corrections=(make.correction(), make.correction(is_undone=2**70))
    )
    for poisoned in (not_null, too_large):
        with pytest.raises(StoreError, match=r"cannot use .*slo-monitor\.db"):
            database.commit(poisoned)
        assert database.load(make.now) == state
    database.commit(make.batch("after"))
    assert [alert.rule for alert in database.load(make.now).alerts] == ["after", "before"]
    count = connection_of(database).execute("SELECT count(*) FROM transitions").fetchone()
    assert count == (2,)


def test_interrupted_batch_leaves_nothing(
    tmp_path: Path, open_database: OpenDatabase, make: Any
) -> None:
    """Even an error that is not the database's ends the transaction."""
    database = open_database(tmp_path)
    with pytest.raises(AttributeError):
        database.commit(Batch(alerts=(make.alert(),), windows=(None,)))  # type: ignore[arg-type]
    assert database.load(make.now) == State()
    database.commit(make.batch())


def test_full_disk_refuses_and_recovers(
    tmp_path: Path, open_database: OpenDatabase, make: Any
) -> None:
    """No space: nothing of the batch is there, all before it is; with space it works again."""
    database = open_database(tmp_path)
    database.commit(make.batch())
    before = database.load(make.now)
    connection = connection_of(database)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    large = Batch(
        alerts=(make.alert("large"),), incidents=(make.incident("large", summary="x" * 100_000),)
    )
    with pytest.raises(StoreFullError, match=r"no space left for .*make room"):
        database.commit(large)
    assert database.load(make.now) == before
    connection.execute("PRAGMA max_page_count = 100000")
    database.commit(large)
    assert [each.id for each in database.load(make.now).incidents] == ["i1", "large"]


def test_refusing_disk_says_so(tmp_path: Path, open_database: OpenDatabase, make: Any) -> None:
    """A disk that turned read-only is a store error with the file's name, on every way to write."""
    database = open_database(tmp_path)
    connection_of(database).execute("PRAGMA query_only = ON")
    for write in (lambda: database.commit(make.batch()), lambda: database.prune(make.now, 5)):
        with pytest.raises(
            StoreError, match=r"the disk or its permissions refuse .*slo-monitor\.db"
        ):
            write()


def test_database_held_by_another_program(
    tmp_path: Path, open_database: OpenDatabase, make: Any
) -> None:
    """Somebody's open transaction delays a commit for a bounded time, and then says so."""
    database = open_database(tmp_path)
    connection_of(database).execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another program holds"):
            database.commit(make.batch())
        other.execute("ROLLBACK")
    database.commit(make.batch())


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE alerts SET state = 'exploded'",
        "UPDATE windows SET data = x'00' WHERE part = 'counts/3'",
        "UPDATE windows SET part = 'head' WHERE part = 'counts/3'",
        'UPDATE corrections SET "end" = 0',
        "UPDATE marks SET kind = 'bore'",
        "UPDATE attempts SET detail = 'never sent'",
        "UPDATE transitions SET at = 0",
        "UPDATE incidents SET notes = '['",
        "DROP TABLE marks",
        "ALTER TABLE attempts RENAME COLUMN detail TO detaim",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = -5",
    ],
)
def test_unsound_content_is_moved_aside(
    tmp_path: Path, open_database: OpenDatabase, make: Any, damage: str
) -> None:
    """Rows and tables that are not what was written: kept under another name, empty start."""
    first = open_database(tmp_path)
    first.commit(make.batch())
    first.close()
    with closing(sqlite3.connect(tmp_path / FILE)) as connection, connection:
        connection.execute(damage)
    database = open_database(tmp_path)
    aside = tmp_path / f"{FILE}.corrupt-20231114T221320Z"
    assert database.load(make.now) == State(recovered_from=str(aside), lost_at=int(make.now))
    assert aside.stat().st_size > 0
    database.commit(make.batch("new"))
    database.close()
    later = open_database(tmp_path).load(make.now + 60)
    assert (later.recovered_from, later.lost_at) == (None, int(make.now))


def forbid_writing(content: bytearray) -> None:
    content[WRITE_VERSION_AT] ^= 0x40


def garble_schema(content: bytearray) -> None:
    at = content.index(b"kind TEXT")
    content[at + 5] = 0x8F


@pytest.mark.parametrize("spoil", [forbid_writing, garble_schema])
def test_damage_that_misleads_sqlite(
    tmp_path: Path,
    open_database: OpenDatabase,
    make: Any,
    spoil: Callable[[bytearray], None],
) -> None:
    """A header that only forbids writing, and a schema that no message can quote, are damage."""
    open_database(tmp_path).close()
    content = bytearray((tmp_path / FILE).read_bytes())
    spoil(content)
    (tmp_path / FILE).write_bytes(content)
    database = open_database(tmp_path)
    assert database.load(make.now).recovered_from is not None
    database.commit(make.batch())


@pytest.mark.parametrize(
    "content", [b"not a database\n" * 500, b"\x00" * 8192, b"SQLite format 3\x00\x10\x00"]
)
def test_file_that_is_no_database(
    tmp_path: Path, open_database: OpenDatabase, make: Any, content: bytes, caplog: Any
) -> None:
    """Something else under our name is kept, and the log says where."""
    (tmp_path / FILE).write_bytes(content)
    with caplog.at_level(logging.ERROR):
        state = open_database(tmp_path).load(make.now)
    assert state.recovered_from is not None
    assert Path(state.recovered_from).read_bytes() == content
    assert state.recovered_from in caplog.text


MASKS = st.integers(1, 255)
FLIPS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), MASKS), max_size=6)
"""(share of the file before it, bits to flip)."""
HEADER_FLIPS = st.lists(st.tuples(st.integers(0, 99), MASKS), max_size=2)
CUTS = st.none() | st.floats(0, 1)
"""The share of the file that is left."""


def damaged(content: bytes, flips: Any, header: Any, cut: float | None) -> bytes:
    result = bytearray(content)
    places = [(int(where * len(content)), mask) for where, mask in flips]
    for at, mask in (*places, *header):
        if at not in VERSION_AT:
            result[at] ^= mask
    return bytes(result if cut is None else result[: int(cut * len(result))])


class Specimen:
    """A database to be damaged, and the states that may be read from it. Its repr is short."""

    def __init__(self, path: Path, states: list[State]) -> None:
        self.file = (path / FILE).read_bytes()
        log = path / f"{FILE}-wal"
        self.log = log.read_bytes() if log.exists() else b""
        self.states = states


@pytest.fixture
def closed(tmp_path: Path, open_database: OpenDatabase, make: Any) -> Specimen:
    """A database that was closed: it has no log."""
    database = open_database(tmp_path / "closed")
    for number in range(8):
        database.commit(make.batch(f"i{number}"))
    state = database.load(make.now)
    database.close()
    return Specimen(tmp_path / "closed", [state])


@pytest.fixture
def running(tmp_path: Path, open_database: OpenDatabase, make: Any) -> Specimen:
    """A database in use: everything is in its log."""
    database = open_database(tmp_path / "running")
    states = [database.load(make.now)]
    for number in range(6):
        database.commit(make.batch(f"i{number}"))
        states.append(database.load(make.now))
    return Specimen(tmp_path / "running", states)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.tuples(FLIPS, HEADER_FLIPS, CUTS))
def test_damaged_bytes_never_stop_the_start(
    closed: Specimen, open_database: OpenDatabase, make: Any, damage: Any
) -> None:
    """Wherever bits flip or the file ends: the state is intact, or set aside, and all goes on."""
    changed = damaged(closed.file, *damage)
    with TemporaryDirectory() as name:
        path = Path(name) / FILE
        path.write_bytes(changed)
        database = open_database(path.parent)
        loaded = database.load(make.now)
        if loaded.recovered_from is None:
            assert loaded in (closed.states if changed else [State()])
        else:
            assert loaded == State(recovered_from=loaded.recovered_from, lost_at=int(make.now))
        database.commit(make.batch("new"))
        assert database.history(1, "new")
        database.close()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.tuples(FLIPS, st.just(()), CUTS))
def test_torn_log_loses_only_its_tail(
    running: Specimen, open_database: OpenDatabase, make: Any, damage: Any
) -> None:
    """Whatever happens to the log after a kill, whole commits are there from the first one on."""
    with TemporaryDirectory() as name:
        (Path(name) / FILE).write_bytes(running.file)
        (Path(name) / f"{FILE}-wal").write_bytes(damaged(running.log, *damage))
        database = open_database(Path(name))
        loaded = database.load(make.now)
        assert loaded in running.states
        database.commit(make.batch("new"))
        database.close()
