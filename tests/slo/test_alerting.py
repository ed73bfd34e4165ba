"""The alert state machine against Prometheus' vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.model import AlertState, AlertStatus
from monitor.slo.alerting import AlertRule, Matches, advance, inactive, restore_status
from tests.slo.world import FIRING, INACTIVE, PENDING, rule

MINUTE = 60.0


def alert(for_min: float = 0, keep_min: float = 0) -> AlertRule:
    return rule("error_rate_5m > 50", for_s=for_min * MINUTE, keep_s=keep_min * MINUTE)


def off() -> AlertStatus:
    return inactive("rule", "web", 0.0)


def play(
    rule_: AlertRule, status: AlertStatus, verdicts: Sequence[bool | None], first_min: float = 0
) -> list[AlertStatus]:
    statuses = []
    for step, verdict in enumerate(verdicts):
        status = advance(rule_, status, verdict, (first_min + step) * MINUTE)
        statuses.append(status)
    return statuses


@pytest.mark.parametrize(
    ("for_min", "keep_min", "verdicts", "states"),
    [
        (
            1,
            1,
            [True, True, True, True, False, False],
            "pending firing firing firing firing inactive",
        ),
        (1, 1, [True, False], "pending inactive"),
        (0, 0, [True, False], "firing inactive"),
        (2, 0, [True, True, True], "pending pending firing"),
        (2, 0, [True, False, True, True, True], "pending inactive pending pending firing"),
        (
            0,
            2,
            [True, False, False, True, False, False, False],
            "firing firing firing firing firing firing inactive",
        ),
        (0, 2, [True, False, None, False], "firing firing firing inactive"),
        (2, 0, [True, None, True], "pending pending firing"),
        (2, 0, [None, True], "inactive pending"),
        (0, 0, [True, None, None], "firing firing firing"),
    ],
    ids=[
        "keep firing",
        "pending is not held",
        "for 0 fires at once",
        "fires when for has passed",
        "a miss starts for again",
        "a match clears the hold",
        "no data does not stop the hold",
        "no data does not stop for",
        "no data does not start",
        "no data does not resolve",
    ],
)
def test_states_follow_the_verdicts(
    for_min: float, keep_min: float, verdicts: list[bool | None], states: str
) -> None:
    """Evaluated each minute, the states are Prometheus'."""
    found = play(alert(for_min, keep_min), off(), verdicts)
    assert [status.state for status in found] == [AlertState(each) for each in states.split()]


def test_times_are_those_of_the_episode() -> None:
    """First match, firing and first miss are kept, and all go when it ends."""
    pending, firing, held, again, held_again, _, ended = play(
        alert(1, 2), off(), [True, True, False, True, False, False, False]
    )
    assert (pending.active_at, pending.fired_at) == (0.0, None)
    assert (firing.active_at, firing.fired_at) == (0.0, 60.0)
    assert (held.fired_at, held.clear_since) == (60.0, 120.0)
    assert (again.fired_at, again.clear_since) == (60.0, None)
    assert held_again.clear_since == 240.0
    assert (ended.active_at, ended.fired_at, ended.clear_since) == (None, None, None)


@pytest.mark.parametrize(
    "status",
    [
        off(),
        AlertStatus(rule="rule", deployment="web", state=PENDING, active_at=5.0),
        AlertStatus(rule="rule", deployment="web", state=FIRING, active_at=5.0, fired_at=6.0),
        AlertStatus(
            rule="rule",
            deployment="web",
            state=FIRING,
            active_at=5.0,
            fired_at=6.0,
            clear_since=7.0,
        ),
    ],
)
def test_no_data_freezes_every_state_and_says_so(status: AlertStatus) -> None:
    """Only `no_data` and the time of evaluation change; the next answer clears the mark."""
    frozen = advance(alert(10, 10), status, None, 100.0)
    assert frozen == replace(status, no_data=True, evaluated_at=100.0)
    for verdict in (True, False):
        assert advance(alert(10, 10), frozen, verdict, 110.0).no_data is False


def test_raising_for_on_a_firing_rule_drops_it_to_pending() -> None:
    """Fired at 15 s with `for: 15s`; with `for: 1h` it is pending at 30 s and not sent."""
    status = off()
    for now in (0.0, 15.0):
        status = advance(alert(0.25), status, verdict=True, now=now)
    assert status.state is FIRING
    raised = advance(alert(60), replace(status, clear_since=20.0), verdict=True, now=30.0)
    assert (raised.state, raised.active_at) == (PENDING, 0.0)
    assert (raised.fired_at, raised.clear_since) == (None, None)


@pytest.mark.parametrize(
    ("for_min", "last_min", "up_min", "active_min", "fires_min"),
    [
        (25, 5, 15, 10, 35),
        (25, 5, 40, 40, 65),
        (25, 20, 25, 10, 35),
        (25, 30, 35, 0, 35),
        (5, 3, 6, 6, 11),
    ],
    ids=["pending", "too old", "nearly due", "was due", "short for"],
)
def test_a_pending_alert_is_restored(
    for_min: float, last_min: float, up_min: float, active_min: float, fires_min: float
) -> None:
    """Prometheus' restore vectors (minutes): active 0, tolerance 30, grace 10."""
    rule_ = alert(for_min)
    before = AlertStatus(rule="rule", deployment="web", state=PENDING, active_at=0.0)
    status = restore_status(
        rule_,
        before,
        last_min * MINUTE,
        up_min * MINUTE,
        tolerance_s=30 * MINUTE,
        grace_s=10 * MINUTE,
    )
    found = play(rule_, status, [True] * 60, up_min)
    first = next(each for each in found if each.state is FIRING)
    assert first.active_at == active_min * MINUTE
    assert first.evaluated_at == fires_min * MINUTE


def test_a_firing_alert_is_restored_however_long_it_was() -> None:
    """It neither fires a second time nor is forgotten; its first answer decides."""
    before = AlertStatus(rule="rule", deployment="web", state=FIRING, active_at=0.0, fired_at=60.0)
    status = restore_status(alert(1), before, 120.0, 9e6, grace_s=30.0)
    assert status == before
    assert advance(alert(1), status, verdict=True, now=9e6).fired_at == 60.0
    assert advance(alert(1), status, verdict=False, now=9e6).state is INACTIVE


def test_keep_firing_progress_survives_without_the_downtime() -> None:
    """Held for 4 of 10 min, then down for an hour: 6 min are left."""
    before = AlertStatus(
        rule="rule", deployment="web", state=FIRING, active_at=0.0, fired_at=0.0, clear_since=60.0
    )
    rule_ = alert(keep_min=10)
    up = 5 * MINUTE + 3600
    status = restore_status(rule_, before, 5 * MINUTE, up, grace_s=30.0)
    assert advance(rule_, status, verdict=False, now=up + 359).state is FIRING
    assert advance(rule_, status, verdict=False, now=up + 360).state is INACTIVE


def test_a_status_that_is_newer_than_the_last_sign_of_life_counts_from_itself() -> None:
    """The last evaluation proves that the process was alive then."""
    before = AlertStatus(
        rule="rule", deployment="web", state=PENDING, active_at=600.0, evaluated_at=660.0
    )
    status = restore_status(alert(25), before, 590.0, 720.0, grace_s=30.0)
    assert status.active_at == 660.0


def test_an_inactive_alert_is_restored_as_it_is() -> None:
    """There is no timer to move."""
    assert restore_status(alert(5), off(), 0.0, 1e6, grace_s=1.0) == off()


@given(
    st.lists(st.sampled_from([True, False, None]), max_size=30),
    st.integers(0, 5),
    st.integers(0, 5),
)
def test_the_machine_keeps_its_promises(
    verdicts: list[bool | None], for_min: int, keep_min: int
) -> None:
    """Whatever the verdicts: times fit the state, and firing needs `for` since the first match."""
    for status in play(alert(for_min, keep_min), off(), verdicts):
        active, fired = status.active_at is not None, status.fired_at is not None
        assert (active, fired) == (status.state is not INACTIVE, status.state is FIRING)
        assert status.clear_since is None or (status.state is FIRING and keep_min > 0)
        if status.fired_at is not None and status.active_at is not None:
            assert status.fired_at - status.active_at >= for_min * MINUTE


@pytest.mark.parametrize(
    ("verdicts", "states"),
    [
        ([True, True, True], "inactive inactive firing"),
        ([True, False, True, False, True], "inactive inactive inactive inactive firing"),
        ([True, False, False, True, False, True], "inactive " * 5 + "inactive"),
        (
            [True, True, True, False, False, False],
            "inactive inactive firing firing firing inactive",
        ),
        ([True, True, None, True], "inactive inactive inactive firing"),
    ],
)
def test_three_of_five_minutes(verdicts: list[bool | None], states: str) -> None:
    """It fires with the third that matched of the last five, and ends when only two are left."""
    counted = replace(alert(), matches=Matches(least=3, of=5))
    found = [status.state for status in play(counted, off(), verdicts)]
    assert found == [AlertState(each) for each in states.split()]


def test_a_period_counts_once_however_often_it_is_looked_at() -> None:
    """Ticks come early when something is wrong: three of them are not three periods."""
    counted, status = replace(alert(), matches=Matches(least=2, of=3)), off()
    bad = True
    for second in (0.0, 0.02, 15.0, 59.9):
        status = advance(counted, status, bad, second)
    assert (status.state, status.matched_at) == (INACTIVE, (0.0,))
    assert not status.is_at_rest
    assert advance(counted, status, bad, 60.0).state is FIRING


@given(
    st.lists(st.booleans(), min_size=1, max_size=60),
    st.integers(min_value=1, max_value=6),
    st.integers(min_value=0, max_value=4),
)
def test_m_of_n_is_a_count_of_the_last_n(verdicts: list[bool], least: int, more: int) -> None:
    """The definition, for any course of events; what fires goes on while it holds."""
    of = least + more
    counted = replace(alert(), matches=Matches(least=least, of=of))
    found = [status.state is FIRING for status in play(counted, off(), verdicts)]
    expected: list[bool] = []
    for n, verdict in enumerate(verdicts):
        enough = sum(verdicts[max(0, n - of + 1) : n + 1]) >= least
        expected.append(enough or (verdict and expected[-1:] == [True]))
    assert found == expected


def test_what_fires_does_not_end_after_a_gap_while_it_holds() -> None:
    """Ten minutes without data leave one period of five: that it holds says enough."""
    counted = replace(alert(), matches=Matches(least=3, of=5))
    fired = play(counted, off(), [True] * 3)[-1]
    bad = True
    after = advance(counted, fired, bad, 20 * MINUTE)
    assert after.state is FIRING
    assert advance(counted, after, not bad, 21 * MINUTE).state is INACTIVE
