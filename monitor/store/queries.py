# ruff: noqa: S608 - statements are put together from constants of this module only
"""What is asked of the database: write a batch, load the state, tell history, forget the old.

Plain functions over an open connection, inside a transaction that the caller holds. Owns what is
kept for how long.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterator, Mapping

from monitor.model import RollbackState, Told
from monitor.store.base import Batch, IncidentHistory, State
from monitor.store.rows import (
    ALERTS,
    ATTEMPTS,
    BUCKETS,
    HEARTBEATS,
    INCIDENTS,
    MARKS,
    OWED,
    RELEASES,
    ROLLBACKS,
    TRANSITIONS,
    Mark,
)
from monitor.store.table import clean

HOUR_S = 3600
DAY_S = 24 * HOUR_S
KEEP_S = 90 * DAY_S
"""Transitions, attempts, closed incidents, and what is beyond the counts below."""
BUCKET_KEEP_S: Mapping[int, int] = {10: 3 * HOUR_S, 300: 4 * DAY_S}
BUCKET_KEEP_DEFAULT_S = 91 * DAY_S
LOAD_CLOSED_S = DAY_S
LOAD_RELEASES = 50
"""For each deployment."""
LOAD_ROLLBACKS = 200

_END = 2**63 - 1
"""No bucket can start later than this."""
_BORN = "born"
_SEEN = "seen"

_TOLD_OR_MAYBE = f"""told <> '{Told.RESOLVED}' AND
    (told = '{Told.OPEN}' OR intent IS NOT NULL OR uncertain IS NOT NULL)"""
# After a failed attempt a receiver that was told nothing is owed the whole story, even when the
# incident is over.
_UNSETTLED = f"{_TOLD_OR_MAYBE} OR (told = '{Told.NOTHING}' AND attempts > 0)"
_UNDER_WAY = ", ".join(
    f"'{state}'"
    for state in (RollbackState.INTENDED, RollbackState.UNCERTAIN, RollbackState.ACCEPTED)
)
_NEVER_RAN = ", ".join(f"'{state}'" for state in (RollbackState.BLOCKED, RollbackState.DRY_RUN))
"""What was called is never crowded out by what was not: no release is rolled back twice."""
_RELEVANT = f"""WHERE resolved_at IS NULL OR resolved_at >= ?
    OR id IN (SELECT incident FROM owed WHERE {_UNSETTLED})"""
_LATEST_RELEASES = f"""SELECT id FROM (
    SELECT id, row_number() OVER (PARTITION BY deployment ORDER BY at DESC, id DESC) AS age
    FROM releases) WHERE age <= {LOAD_RELEASES}"""
_LATEST_ROLLBACKS = f"SELECT id FROM rollbacks ORDER BY at DESC, id DESC LIMIT {LOAD_ROLLBACKS}"

_OLD_INCIDENTS = f"""SELECT id FROM incidents WHERE resolved_at < ?
    AND id NOT IN (SELECT incident FROM owed WHERE {_TOLD_OR_MAYBE}) LIMIT ?"""
_OLD = {
    "transitions": "at < :cut",
    "attempts": "at < :cut",
    "heartbeats": "at < :cut",
    "releases": f"at < :cut AND id NOT IN ({_LATEST_RELEASES})",
    "rollbacks": f"at < :cut AND state NOT IN ({_UNDER_WAY}) AND id NOT IN ({_LATEST_ROLLBACKS})",
}


def write(connection: sqlite3.Connection, batch: Batch) -> None:
    """Write every row of the batch."""
    TRANSITIONS.write(connection, batch.transitions)
    connection.executemany(
        "DELETE FROM alerts WHERE rule = ? AND deployment = ?",
        [(clean(rule), clean(deployment)) for rule, deployment in batch.forgotten_alerts],
    )
    ALERTS.write(connection, batch.alerts)
    INCIDENTS.write(connection, batch.incidents)
    OWED.write(connection, batch.owed)
    ATTEMPTS.write(connection, batch.attempts)
    RELEASES.write(connection, batch.releases)
    ROLLBACKS.write(connection, batch.rollbacks)
    BUCKETS.write(connection, batch.buckets)
    marks = [Mark(kind=_BORN, name=target, at=at) for target, at in batch.born]
    if batch.seen_at is not None:
        marks.append(Mark(kind=_SEEN, name="", at=batch.seen_at))
    MARKS.write(connection, marks)
    HEARTBEATS.write(connection, batch.heartbeats)


def load(connection: sqlite3.Connection, now: float) -> State:
    """Return what a restarted process needs.

    Raises:
        DamagedRowError: a row cannot be read.
    """
    for table in (TRANSITIONS, INCIDENTS, OWED, ATTEMPTS, RELEASES, ROLLBACKS):
        # Read to the end for its checksums alone: history must not stumble over a row later on.
        deque(table.scan(connection), maxlen=0)
    closed_since = now - LOAD_CLOSED_S
    marks = MARKS.read(connection)
    seen_at = next((mark.at for mark in marks if mark.kind == _SEEN), None)
    # However long nobody ran: the wide buckets of then are completed from the narrow ones.
    last = now if seen_at is None else min(now, seen_at)
    return State(
        alerts=ALERTS.read(connection),
        incidents=INCIDENTS.read(
            connection, f"{_RELEVANT} ORDER BY opened_at, id", (closed_since,)
        ),
        owed=OWED.read(
            connection,
            f"WHERE incident IN (SELECT id FROM incidents {_RELEVANT})",
            (closed_since,),
        ),
        releases=RELEASES.read(connection, f"WHERE id IN ({_LATEST_RELEASES}) ORDER BY at, id"),
        rollbacks=ROLLBACKS.read(
            connection,
            f"WHERE id IN ({_LATEST_ROLLBACKS}) OR state NOT IN ({_NEVER_RAN}) ORDER BY at, id",
        ),
        # Chosen here and not by SQLite: a damaged start must be noticed, not filtered out.
        buckets=tuple(
            row
            for row in BUCKETS.scan(connection)
            if row.start >= last - BUCKET_KEEP_S.get(row.width_s, BUCKET_KEEP_DEFAULT_S)
        ),
        born=tuple((mark.name, mark.at) for mark in marks if mark.kind == _BORN),
        heartbeats=HEARTBEATS.read(connection),
        seen_at=seen_at,
    )


def history(
    connection: sqlite3.Connection, limit: int, incident: str | None
) -> tuple[IncidentHistory, ...]:
    """Return the latest incidents, newest first; with `incident` (an id) that one only.

    Raises:
        DamagedRowError: a row cannot be read.
    """
    tail = "ORDER BY opened_at DESC, id DESC LIMIT ?"
    parameters: tuple[str | int, ...] = (limit,)
    if incident is not None:
        tail, parameters = f"WHERE id = ? {tail}", (clean(incident), limit)
    return tuple(
        IncidentHistory(
            incident=each,
            owed=OWED.read(connection, "WHERE incident = ?", (each.id,)),
            attempts=ATTEMPTS.read(connection, "WHERE incident = ? ORDER BY id", (each.id,)),
            rollbacks=ROLLBACKS.read(connection, "WHERE incident = ? ORDER BY at, id", (each.id,)),
        )
        for each in INCIDENTS.read(connection, tail, parameters)
    )


def prune(connection: sqlite3.Connection, now: float, limit: int) -> int:
    """Delete at most `limit` records that are too old and return how many.

    An incident goes with what is noted about its receivers, and not while one is owed a word.
    """
    cut = now - KEEP_S
    ids = connection.execute(_OLD_INCIDENTS, (cut, limit)).fetchall()
    connection.executemany("DELETE FROM owed WHERE incident = ?", ids)
    connection.executemany("DELETE FROM incidents WHERE id = ?", ids)
    gone = len(ids)
    for table, old in _OLD.items():
        gone += connection.execute(
            f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {old} LIMIT :limit)",
            {"cut": cut, "limit": limit - gone},
        ).rowcount
    for target, width_s in _series(connection):
        gone += connection.execute(
            """DELETE FROM buckets WHERE target = ?1 AND width_s = ?2 AND start IN (
                SELECT start FROM buckets WHERE target = ?1 AND width_s = ?2 AND start < ?3
                LIMIT ?4)""",
            (
                target,
                width_s,
                now - BUCKET_KEEP_S.get(width_s, BUCKET_KEEP_DEFAULT_S),
                limit - gone,
            ),
        ).rowcount
    return gone


def _series(connection: sqlite3.Connection) -> Iterator[tuple[str, int]]:
    """Yield each (target, width) that has buckets, by one index look-up each instead of a scan."""
    after: tuple[str, int] = ("", 0)
    # Naming the last start there can be lets SQLite jump over the series it comes from.
    while row := connection.execute(
        f"""SELECT target, width_s FROM buckets WHERE (target, width_s, start) > (?, ?, {_END})
        ORDER BY target, width_s LIMIT 1""",
        after,
    ).fetchone():
        after = row
        yield after
