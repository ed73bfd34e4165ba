"""The `heartbeat` kind and its board: when a job is late, in every zone and across a restart."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.model import Outcome, Sample
from monitor.probes.base import ProbeIO
from monitor.probes.heartbeat import HeartbeatProbeConfig
from monitor.probes.heartbeat_board import Beats, HeartbeatBoard, PingKind
from tests.probes.kinds import build, load, load_example
from tests.probes.raw_server import loop_connect, no_names
from tests.support import virtual

NAME = "shop/peer"
HOUR = 3600.0
DAY = 24 * HOUR
NIGHTLY = {"cron": "0 0 * * *", "grace": "1h"}
BERLIN = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "grace": "15m"}
DAILY = {"period": "1d", "grace": "1h"}
JOB = {"period": "1d", "grace": "1h", "max_runtime": "3h"}


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def look(board: HeartbeatBoard, at: float, **fields: Any) -> Sample:
    """Run one probe at `at`."""
    io = ProbeIO(connect=loop_connect, resolve=no_names, heartbeats=board)
    return virtual.run(build(HeartbeatProbeConfig, io=io, **fields)(at, 5.0))


def board_after(*pings: tuple[str, str]) -> HeartbeatBoard:
    """Return a board that is watched since 2026-01-01 and has had these (kind, UTC) pings."""
    board = HeartbeatBoard()
    board.expect(NAME)
    board.watch(NAME, utc("2026-01-01 00:00"))
    for kind, at in pings:
        assert board.ping(NAME, PingKind(kind), utc(at))
    return board


def verdict(sample: Sample) -> str:
    if sample.reason:
        return sample.reason
    return "grace" if sample.detail else "up"


@pytest.mark.parametrize(
    ("fields", "pings", "states"),
    [
        pytest.param(
            DAILY,
            [("finish", "2026-01-10 12:00")],
            {
                "2026-01-10 12:00": "up",
                "2026-01-11 11:59:59": "up",
                "2026-01-11 12:00": "grace",
                "2026-01-11 12:30": "grace",
                "2026-01-11 12:59:59": "grace",
                "2026-01-11 13:00": "late",
                "2026-01-13 12:00": "late",
            },
            id="period-1d-grace-1h",
        ),
        pytest.param(
            NIGHTLY,
            [("finish", "2026-01-10 00:05")],
            {
                "2026-01-10 23:59": "up",
                "2026-01-11 00:00": "grace",
                "2026-01-11 00:59:59": "grace",
                "2026-01-11 01:00": "late",
            },
            id="midnight-cron-grace-1h",
        ),
        pytest.param(
            NIGHTLY,
            [("finish", "2026-01-10 23:58")],
            {"2026-01-11 00:30": "grace", "2026-01-11 01:00": "late"},
            id="an-early-ping-is-not-that-of-the-next-tick",
        ),
        pytest.param(
            BERLIN,
            [("finish", "2026-03-28 01:30")],
            {
                "2026-03-29 00:59": "up",
                "2026-03-29 01:00": "grace",
                "2026-03-29 01:14:59": "grace",
                "2026-03-29 01:15": "late",
            },
            id="to-summer-time-the-skipped-hour-is-due-when-it-is-over",
        ),
        pytest.param(
            BERLIN,
            [("finish", "2026-10-24 00:30")],
            {"2026-10-25 00:29": "up", "2026-10-25 00:30": "grace", "2026-10-25 00:45": "late"},
            id="from-summer-time-the-first-of-both-hours-counts",
        ),
        pytest.param(
            BERLIN,
            [("finish", "2026-10-25 00:31")],
            {
                "2026-10-25 01:35": "up",
                "2026-10-25 23:59": "up",
                "2026-10-26 01:30": "grace",
                "2026-10-26 01:45": "late",
            },
            id="and-the-second-is-not-asked-for",
        ),
        pytest.param(
            BERLIN,
            [("finish", "2026-10-25 01:31")],
            {"2026-10-25 12:00": "up", "2026-10-26 01:45": "late"},
            id="a-ping-in-the-second-of-both-hours-counts-to-the-next-day",
        ),
        pytest.param(
            DAILY,
            [("finish", "2026-01-10 12:00"), ("start", "2026-01-11 06:00")],
            {"2026-01-11 06:59:59": "up", "2026-01-11 07:00": "late"},
            id="a-start-without-an-end-is-late-after-the-grace",
        ),
        pytest.param(
            DAILY,
            [("finish", "2026-01-10 12:00"), ("start", "2026-01-11 12:30")],
            {"2026-01-11 12:59:59": "up", "2026-01-11 13:00": "late"},
            id="a-start-does-not-put-off-the-deadline",
        ),
        pytest.param(
            JOB,
            [("finish", "2026-01-10 12:00"), ("start", "2026-01-11 12:30")],
            {"2026-01-11 13:00": "up", "2026-01-11 15:29:59": "up", "2026-01-11 15:30": "late"},
            id="with-max-runtime-a-start-in-time-does",
        ),
        pytest.param(
            JOB,
            [
                ("finish", "2026-01-10 12:00"),
                ("start", "2026-01-11 12:00"),
                ("finish", "2026-01-11 14:00"),
            ],
            {"2026-01-11 15:00": "up", "2026-01-12 14:30": "grace", "2026-01-12 15:00": "late"},
            id="the-end-counts-for-the-next-deadline",
        ),
        pytest.param(
            DAILY,
            [("finish", "2026-01-10 12:00"), ("fail", "2026-01-10 18:00")],
            {"2026-01-10 18:00": "failed", "2026-01-12 12:00": "failed"},
            id="a-failure-is-bad-at-once",
        ),
        pytest.param(
            JOB,
            [("fail", "2026-01-10 18:00"), ("start", "2026-01-10 19:00")],
            {"2026-01-10 19:30": "failed"},
            id="and-stays-bad-while-it-is-tried-again",
        ),
        pytest.param(
            JOB,
            [
                ("fail", "2026-01-10 18:00"),
                ("start", "2026-01-10 19:00"),
                ("finish", "2026-01-10 20:00"),
            ],
            {"2026-01-10 20:00": "up", "2026-01-11 21:00": "late"},
            id="until-it-ends-well",
        ),
        pytest.param(
            DAILY,
            [],
            {
                "2026-01-01 12:00": "waiting",
                "2026-01-02 00:59:59": "waiting",
                "2026-01-02 01:00": "late",
            },
            id="never-pinged",
        ),
        pytest.param(
            NIGHTLY,
            [],
            {
                "2026-01-01 12:00": "waiting",
                "2026-01-02 00:59": "waiting",
                "2026-01-02 01:00": "late",
            },
            id="never-pinged-cron",
        ),
        pytest.param(
            JOB,
            [("start", "2026-01-01 00:30")],
            {"2026-01-01 03:29": "up", "2026-01-01 03:30": "late"},
            id="never-ended",
        ),
    ],
)
def test_states(
    fields: dict[str, Any], pings: list[tuple[str, str]], states: dict[str, str]
) -> None:
    """Deadline = last ping + period (or the next tick in the zone) + grace; late from then on."""
    board = board_after(*pings)
    assert {at: verdict(look(board, utc(at), **fields)) for at in states} == states


def test_what_a_sample_says() -> None:
    """Late is dated at the deadline, not when it was noticed; ages and run times are values."""
    board = board_after(("start", "2026-01-10 11:00"), ("finish", "2026-01-10 12:00"))
    good = look(board, utc("2026-01-10 18:00"), **DAILY)
    late = look(board, utc("2026-01-13 12:00"), **DAILY)
    assert good.outcome is Outcome.GOOD
    assert dict(good.values) == {"age_s": 6 * HOUR, "runtime_s": HOUR, "overdue_s": 0}
    assert (late.outcome, late.reason) == (Outcome.BAD, "late")
    assert late.detail == (
        "late since 2026-01-11 13:00:00Z: a ping was due at 2026-01-11 12:00:00Z, "
        "the last came at 2026-01-10 12:00:00Z"
    )
    assert dict(late.values)["overdue_s"] == 2 * DAY - HOUR
    assert (late.latency_s, late.censored) == (None, False)
    running = board_after(("start", "2026-01-01 06:00"))
    overrun = look(running, utc("2026-01-01 10:00"), **JOB)
    assert overrun.detail == (
        "late since 2026-01-01 09:00:00Z: started at 2026-01-01 06:00:00Z and did not end within 3h"
    )
    new = look(board_after(), utc("2026-01-01 10:00"), **DAILY)
    assert (new.outcome, new.reason) == (Outcome.UNKNOWN, "waiting")
    assert new.detail == "no ping yet, expected by 2026-01-02 01:00:00Z"
    assert (new.latency_s, dict(new.values)) == (None, {"overdue_s": 0})


def restarted(board: HeartbeatBoard) -> HeartbeatBoard:
    """Return another process' board with what this one kept, through JSON as a store would."""
    fresh = HeartbeatBoard()
    fresh.restore(json.loads(json.dumps(board.snapshot())))
    return fresh


class TestRestart:
    """What nobody could hear is not held against the job; what was known is not forgotten."""

    def test_pings_and_the_first_watch_are_kept(self) -> None:
        """A restart neither starts the wait for the first ping again nor loses the last one."""
        fresh = restarted(board_after())
        assert verdict(look(fresh, utc("2026-01-01 00:10"), **DAILY)) == "waiting"
        assert verdict(look(fresh, utc("2026-01-02 01:00"), **DAILY)) == "late"
        fresh = restarted(board_after(("finish", "2026-01-10 12:00")))
        assert verdict(look(fresh, utc("2026-01-11 11:00"), **DAILY)) == "up"
        assert verdict(look(fresh, utc("2026-01-11 13:00"), **DAILY)) == "late"

    def test_late_before_is_late_after(self) -> None:
        """We were there when the deadline passed."""
        board = board_after(("finish", "2026-01-10 12:00"))
        assert verdict(look(board, utc("2026-01-11 13:00"), **DAILY)) == "late"
        fresh = restarted(board)
        assert verdict(look(fresh, utc("2026-01-11 18:00"), **DAILY)) == "late"

    def test_a_deadline_that_passed_while_we_were_away_proves_nothing(self) -> None:
        """The ping may have come in vain: UNKNOWN until the next one is due, then late."""
        board = board_after(("finish", "2026-01-10 12:00"))
        assert verdict(look(board, utc("2026-01-11 11:00"), **DAILY)) == "up"
        fresh = restarted(board)
        sample = look(fresh, utc("2026-01-11 15:00"), **DAILY)
        assert (sample.outcome, sample.reason) == (Outcome.UNKNOWN, "waiting")
        assert sample.detail.startswith("no pings could come until 2026-01-11 15:00:00Z")
        assert verdict(look(fresh, utc("2026-01-12 15:59"), **DAILY)) == "waiting"
        assert verdict(look(fresh, utc("2026-01-12 16:00"), **DAILY)) == "late"
        assert fresh.ping(NAME, PingKind.FINISH, utc("2026-01-12 17:00"))
        assert verdict(look(fresh, utc("2026-01-12 17:00"), **DAILY)) == "up"

    def test_what_is_known_already_wins(self) -> None:
        """A ping that came before the snapshot was read is newer than the snapshot."""
        fresh = HeartbeatBoard()
        fresh.expect(NAME)
        fresh.ping(NAME, PingKind.FINISH, 200.0)
        fresh.restore({NAME: {"finished_at": 100.0}, "shop/other": {"finished_at": 100.0}})
        assert fresh.last(NAME) == Beats(finished_at=200.0)
        assert fresh.last("shop/other") == Beats(finished_at=100.0)

    @pytest.mark.parametrize(
        "snapshot",
        [
            {NAME: {"finished_at": "x"}},
            {NAME: {"finished_at": True}},
            {NAME: {"failed_at": float("nan")}},
        ],
    )
    def test_damaged_snapshots_are_refused_whole(self, snapshot: Any) -> None:
        """Nothing of them is taken over."""
        board = HeartbeatBoard()
        with pytest.raises(ValueError, match="times of heartbeats"):
            board.restore({"shop/good": {"finished_at": 1.0}} | snapshot)
        assert board.last("shop/good") is None


class TestBoard:
    """Pings as they come: late, twice, out of order, or from strangers."""

    def test_strangers_are_not_noted(self) -> None:
        """Only names that a probe expects take memory, and only they are kept."""
        board = HeartbeatBoard()
        assert not board.ping("shop/unknown", PingKind.FINISH, 1.0)
        assert board.last("shop/unknown") is None
        board.restore({"shop/removed": {"finished_at": 1.0}})
        assert board.snapshot() == {}

    def test_building_a_probe_makes_its_name_expected(self) -> None:
        """The name is deployment and probe, the same in every region."""
        board = HeartbeatBoard()
        look(board, 0.0, **DAILY)
        assert board.expected == {NAME}

    @pytest.mark.parametrize(
        ("pings", "beats"),
        [
            ([("start", 1), ("finish", 3)], Beats(finished_at=3, runtime_s=2)),
            ([("start", 1), ("fail", 3)], Beats(failed_at=3, runtime_s=2)),
            ([("finish", 3), ("start", 1)], Beats(finished_at=3)),
            ([("start", 5), ("finish", 3)], Beats(started_at=5, finished_at=3)),
            ([("start", 5), ("start", 4)], Beats(started_at=5)),
            ([("finish", 3), ("finish", 2)], Beats(finished_at=3)),
            ([("finish", 3), ("fail", 2)], Beats(finished_at=3)),
            ([("fail", 3), ("finish", 2)], Beats(failed_at=3)),
            ([("fail", 3), ("finish", 3)], Beats(finished_at=3)),
            ([("start", 1), ("finish", 3), ("finish", 4)], Beats(finished_at=4)),
        ],
    )
    def test_order(self, pings: list[tuple[str, float]], beats: Beats) -> None:
        """The time of a ping counts, not when it arrives."""
        board = HeartbeatBoard()
        board.expect(NAME)
        for kind, at in pings:
            board.ping(NAME, PingKind(kind), at)
        assert board.last(NAME) == beats

    @given(
        st.lists(st.tuples(st.sampled_from(list(PingKind)), st.floats(0, 1e6)), max_size=20),
        st.floats(0, 2e6),
    )
    def test_it_survives_a_snapshot(self, pings: list[tuple[PingKind, float]], at: float) -> None:
        """Whatever came, nothing goes backwards and a copy through JSON is the same."""
        board = HeartbeatBoard()
        board.expect(NAME)
        ends = [0.0]
        for kind, when in pings:
            board.ping(NAME, kind, when)
            beats = board.last(NAME)
            assert beats is not None
            ends.append(max(beats.finished_at or 0.0, beats.failed_at or 0.0))
            assert ends[-1] >= ends[-2]
        board.watch(NAME, at)
        copy = HeartbeatBoard()
        copy.restore(json.loads(json.dumps(board.snapshot())))
        assert copy.last(NAME) == board.last(NAME)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "expected one of period, cron"),
        ({"period": "1d", "cron": "* * * * *"}, "expected one of period, cron"),
        ({"period": "0s"}, "period"),
        ({"cron": "often"}, "cron"),
        ({"cron": "0 0 * * *", "timezone": "Mars/Base"}, "timezone"),
        ({"period": "1d", "timezone": "Europe/Berlin"}, "timezone goes with cron"),
        ({"period": "1d", "max_runtime": "0s"}, "max_runtime"),
    ],
)
def test_bad_fields_are_named(fields: dict[str, Any], problem: str) -> None:
    """An error says which field, or which fields do not go together."""
    with pytest.raises(ValidationError) as caught:
        load(HeartbeatProbeConfig, **fields)
    assert problem in str(caught.value)


def test_the_example_loads() -> None:
    """The example of the documentation is one that a user may paste."""
    config = load_example(HeartbeatProbeConfig)
    assert (config.cron, config.timezone) == ("0 3 * * *", "Europe/Berlin")
    assert (config.grace_s, config.max_runtime_s) == (1800, 7200)
