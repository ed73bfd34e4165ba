"""What is loaded, told and forgotten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from monitor.model import BucketRow, ReleaseStatus, RollbackState, SendReason, Told
from monitor.store.base import Batch
from monitor.store.database import Database
from monitor.store.rows import BUCKETS

DAY_S = 86400.0
OpenDatabase = Callable[..., Database]


@pytest.fixture
def memory(open_database: OpenDatabase) -> Database:
    return open_database(None)


NEVER_RAN = {RollbackState.BLOCKED, RollbackState.DRY_RUN}


def prune_all(database: Database, now: float) -> int:
    total = 0
    while gone := database.prune(now, 500):
        total += gone
    return total


@pytest.mark.parametrize(
    ("closed_ago_s", "owed", "loaded"),
    [
        (None, {}, True),
        (DAY_S, {"told": Told.RESOLVED}, True),
        (DAY_S + 1, {"told": Told.RESOLVED}, False),
        (DAY_S + 1, {"told": Told.RESOLVED, "intent": SendReason.REPEAT}, False),
        (DAY_S + 1, {"told": Told.NOTHING}, False),
        (DAY_S + 1, {"told": Told.NOTHING, "attempts": 3}, True),
        (60 * DAY_S, {"told": Told.OPEN}, True),
        (60 * DAY_S, {"told": Told.NOTHING, "intent": SendReason.FIRST}, True),
        (60 * DAY_S, {"told": Told.NOTHING, "uncertain": SendReason.FIRST}, True),
    ],
)
def test_which_incidents_are_loaded(
    memory: Database, make: Any, closed_ago_s: float | None, owed: dict[str, Any], *, loaded: bool
) -> None:
    """Open ones, recently closed ones, and any that a receiver may be waiting for the end of."""
    resolved_at = None if closed_ago_s is None else make.now - closed_ago_s
    incident = make.incident(opened_at=make.now - 61 * DAY_S, resolved_at=resolved_at)
    row = make.owed(**owed)
    memory.commit(Batch(incidents=(incident,), owed=(row,)))
    state = memory.load(make.now)
    assert state.incidents == ((incident,) if loaded else ())
    assert state.owed == ((row,) if loaded else ())


def test_all_receivers_of_a_loaded_incident_come_along(memory: Database, make: Any) -> None:
    """One unsettled receiver brings the settled ones with it."""
    rows = (make.owed(channel="pagerduty", told=Told.RESOLVED), make.owed(channel="slack"))
    incident = make.incident(resolved_at=make.now - 30 * DAY_S)
    memory.commit(Batch(incidents=(incident,), owed=rows))
    assert memory.load(make.now).owed == rows


def test_releases_are_the_last_fifty_of_each_deployment_in_order(
    memory: Database, make: Any
) -> None:
    """A deployment that ships often does not push another one's out; ties keep their order."""
    many = [make.release(str(n), at=make.now + n) for n in range(60)]
    tie = [
        make.release("a", at=1.0, deployment="api", status=status)
        for status in (ReleaseStatus.IN_PROGRESS, ReleaseStatus.SUCCEEDED)
    ]
    memory.commit(Batch(releases=(*many, *tie)))
    assert memory.load(make.now).releases == (*tie, *many[10:])


def test_rollbacks_are_the_last_ones_and_all_that_were_called(memory: Database, make: Any) -> None:
    """However many came to nothing since: what was called must not be called a second time."""
    called = [
        make.rollback(f"old{n}", at=1.0 + n, state=state)
        for n, state in enumerate(set(RollbackState) - NEVER_RAN)
    ]
    blocked = [make.rollback(f"q{n}", at=10.0 + n, state=RollbackState.BLOCKED) for n in range(205)]
    memory.commit(Batch(rollbacks=(*called, *blocked)))
    assert memory.load(make.now).rollbacks == (*called, *blocked[5:])


def test_forgotten_alert_may_come_back_in_the_same_batch(memory: Database, make: Any) -> None:
    """Forgetting comes before writing; what is only forgotten is gone."""
    memory.commit(Batch(alerts=(make.alert("a"), make.alert("b"))))
    again = make.alert("a", active_at=None)
    memory.commit(Batch(alerts=(again,), forgotten_alerts=(("a", "shop"), ("b", "shop"))))
    assert memory.load(make.now).alerts == (again,)


def test_history_is_newest_first_with_ledger_and_rollbacks(memory: Database, make: Any) -> None:
    """Each incident comes with its own deliveries in the order of sending, and no other's."""
    for age, name in enumerate(("i1", "i2", "i3")):
        incident = make.incident(name, opened_at=make.now - age)
        attempts = (make.attempt(name, at=5.0), make.attempt(name, at=4.0))
        memory.commit(Batch(incidents=(incident,), owed=(make.owed(name),), attempts=attempts))
    memory.commit(Batch(rollbacks=(make.rollback(),)))
    first, second = memory.history(2, None)
    assert (first.incident.id, second.incident.id) == ("i1", "i2")
    assert first.owed == (make.owed("i1"),)
    assert [attempt.at for attempt in first.attempts] == [5.0, 4.0]
    assert (first.rollbacks, second.rollbacks) == ((make.rollback(),), ())
    assert [each.incident.id for each in memory.history(100, "i3")] == ["i3"]
    assert memory.history(100, "none") == ()


def test_the_latest_self_test_of_each_channel_is_loaded(memory: Database, make: Any) -> None:
    """Pages in the ledger are none, and older tests are history."""
    tests = [
        replace(make.attempt("t1", at=at), channel=channel, reason=SendReason.TEST)
        for channel, at in (("slack", 1.0), ("slack", 3.0), ("email", 2.0))
    ]
    memory.commit(Batch(attempts=(*tests, make.attempt("i1", at=9.0))))
    found = {(each.channel, each.at) for each in memory.load(make.now).tests}
    assert found == {("slack", 3.0), ("email", 2.0)}


def put_bucket(database: Database, *buckets: BucketRow) -> None:
    connection = database._connection
    assert connection is not None
    BUCKETS.write(connection, buckets)


def test_windows_replace_what_was_written_of_them_before(memory: Database, make: Any) -> None:
    """One row for each part of each owner, the latest."""
    first, second = make.window(), make.window(data=b"new")
    other = make.window(part="counts/10")
    memory.commit(Batch(windows=(first, other)))
    memory.commit(Batch(windows=(second,)))
    assert set(memory.load(make.now).windows) == {second, other}


def test_windows_of_what_is_gone_live_for_ninety_one_days(memory: Database, make: Any) -> None:
    """A target that comes back within three months finds its history."""
    now = 1_700_000_000.0
    kept, old = make.window("a", at=now - 91 * DAY_S), make.window("b", at=now - 91 * DAY_S - 1)
    memory.commit(Batch(windows=(kept, old)))
    assert prune_all(memory, now) == 1
    assert memory.load(now).windows == (kept,)


def test_buckets_of_an_earlier_version_are_read_until_windows_replace_them(
    memory: Database, make: Any
) -> None:
    """They are read for targets without windows, and deleted once there are some."""
    here, there = make.bucket("a"), make.bucket("b")
    put_bucket(memory, here, there)
    assert set(memory.load(make.now).buckets) == {here, there}
    assert prune_all(memory, make.now) == 0
    memory.commit(Batch(windows=(make.window("a"),)))
    assert memory.load(make.now).buckets == (there,)
    assert prune_all(memory, make.now) == 1
    assert prune_all(memory, make.now + 91 * DAY_S) == 1


def test_prune_forgets_what_is_past_ninety_days(memory: Database, make: Any) -> None:
    """Journal, ledger and closed incidents go; what is recent, open or owed stays."""
    old, recent = make.now - 90 * DAY_S - 1, make.now - 90 * DAY_S
    memory.commit(
        Batch(
            transitions=(make.transition(old), make.transition(recent)),
            attempts=(make.attempt("gone", old), make.attempt("gone", recent)),
            incidents=(
                make.incident("gone", resolved_at=old),
                make.incident("recent", resolved_at=recent),
                make.incident("owed", resolved_at=old),
                make.incident("open"),
            ),
            owed=(make.owed("gone", told=Told.RESOLVED), make.owed("owed")),
            releases=[make.release(str(n), at=old) for n in range(51)],
            rollbacks=[make.rollback(str(n), at=old) for n in range(201)]
            + [make.rollback("pending", at=1.0, state=RollbackState.ACCEPTED)],
        )
    )
    assert prune_all(memory, make.now) == 5
    assert prune_all(memory, make.now) == 0
    kept = {each.incident.id for each in memory.history(100, None)}
    assert kept == {"recent", "owed", "open"}
    connection = memory._connection
    assert connection is not None
    counts = {
        table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - names from this line
        for table in ("transitions", "attempts", "owed", "releases", "rollbacks")
    }
    assert counts == {
        "transitions": 1,
        "attempts": 1,
        "owed": 1,
        "releases": 50,
        "rollbacks": 201,
    }


def test_prune_works_in_small_batches(memory: Database, make: Any) -> None:
    """One call never deletes more than its limit, so no commit waits long behind it."""
    memory.commit(
        Batch(
            transitions=[make.transition(1.0)] * 4,
            attempts=[make.attempt(at=1.0)] * 4,
            windows=[make.window(part=str(n), at=1.0) for n in range(4)],
        )
    )
    assert [memory.prune(make.now, 5) for _ in range(4)] == [5, 5, 2, 0]
