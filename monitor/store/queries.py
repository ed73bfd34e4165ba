# ruff: noqa: S608 - statements are put together from constants of this module only
"""What is asked of the database: write a batch, load the state, tell history, forget the old.

Plain functions over an open connection, inside a transaction that the caller holds. Owns what is
kept for how long.
"""

from __future__ import annotations

import sqlite3
from collections import deque

from monitor.model import RollbackState, SendReason, Told
from monitor.store.base import Batch, IncidentHistory, State
from monitor.store.rows import (
    ALERTS,
    ATTEMPTS,
    BUCKETS,
    CORRECTIONS,
    HEARTBEATS,
    INCIDENTS,
    MARKS,
    OWED,
    RELEASES,
    ROLLBACKS,
    SILENCES,
    TRANSITIONS,
    WINDOWS,
    Mark,
)
from monitor.store.table import clean

HOUR_S = 3600
DAY_S = 24 * HOUR_S
KEEP_S = 90 * DAY_S
"""Transitions, attempts, closed incidents, and what is beyond the counts below."""
WINDOWS_KEEP_S = 91 * DAY_S
"""Windows of what is not measured any more; those that are bound themselves."""
LOAD_CLOSED_S = DAY_S
LOAD_RELEASES = 50
"""For each deployment."""
LOAD_ROLLBACKS = 200

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

_LATEST_TESTS = f"""SELECT id FROM (
    SELECT id, row_number() OVER (PARTITION BY channel ORDER BY at DESC, id DESC) AS age
    FROM attempts WHERE reason = '{SendReason.TEST}') WHERE age = 1"""

_OLD_INCIDENTS = f"""SELECT id FROM incidents WHERE resolved_at < ?
    AND id NOT IN (SELECT incident FROM owed WHERE {_TOLD_OR_MAYBE}) LIMIT ?"""
_OLD = {
    "windows": f"at < :cut - {WINDOWS_KEEP_S - KEEP_S}",
    "transitions": "at < :cut",
    "attempts": "at < :cut",
    "heartbeats": "at < :cut",
    "corrections": 'at < :cut AND "end" < :cut',
    "silences": "ends_at < :cut",
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
    WINDOWS.write(connection, batch.windows)
    CORRECTIONS.write(connection, batch.corrections)
    SILENCES.write(connection, batch.silences)
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
        windows=WINDOWS.read(connection),
        buckets=BUCKETS.read(connection, "WHERE target NOT IN (SELECT owner FROM windows)"),
        corrections=CORRECTIONS.read(connection, "ORDER BY at, id"),
        silences=SILENCES.read(connection, "ORDER BY at, id"),
        born=tuple((mark.name, mark.at) for mark in marks if mark.kind == _BORN),
        heartbeats=HEARTBEATS.read(connection),
        tests=ATTEMPTS.read(connection, f"WHERE id IN ({_LATEST_TESTS})"),
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
    # Single buckets of earlier versions: what the engine took over from them is in `windows`.
    gone += connection.execute(
        """DELETE FROM buckets WHERE (target, width_s, start) IN (
            SELECT target, width_s, start FROM buckets
            WHERE target IN (SELECT owner FROM windows) OR start < ? LIMIT ?)""",
        (now - WINDOWS_KEEP_S, limit - gone),
    ).rowcount
    return gone
