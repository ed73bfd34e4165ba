"""When planned maintenance is, once and again and again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.slo.maintenance import (
    EPOCH_MONDAY,
    Maintenance,
    Recurrence,
    parse_moment,
    weekly,
)

HOUR, DAY = 3600.0, 86400.0


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def recurring(text: str, starts: str, lasts_s: float, zone: str = "UTC") -> Maintenance:
    recurrence = Recurrence(
        text=text, starts=datetime.fromisoformat(starts), zone=zone, lasts_s=lasts_s
    )
    return Maintenance(name="m", recurrence=recurrence)


def nights(zone: str = "Europe/Berlin") -> Maintenance:
    recurrence = Recurrence(
        text=weekly(("mon", "tue"), "22:00"), starts=EPOCH_MONDAY, zone=zone, lasts_s=2 * HOUR
    )
    return Maintenance(name="nights", recurrence=recurrence)


@pytest.mark.parametrize(
    ("moment", "active"),
    [
        ("2026-11-30T21:59:59+01:00", False),
        ("2026-11-30T22:00:00+01:00", True),
        ("2026-11-30T23:59:59+01:00", True),
        ("2026-12-01T00:00:00+01:00", False),
        ("2026-12-01T23:00:00+01:00", True),
        ("2026-12-02T23:00:00+01:00", False),
        ("2026-07-06T22:30:00+02:00", True),
        ("2026-07-06T21:30:00+02:00", False),
    ],
)
def test_weekly_maintenance_is_at_local_times(moment: str, active: bool) -> None:  # noqa: FBT001
    """Ten in the evening is ten in the evening in winter and in summer."""
    assert nights().is_active(at(moment)) is active


def test_the_night_of_change_is_defined() -> None:
    """What does not exist is later by as much; of what comes twice, the first counts."""
    gap = recurring("FREQ=DAILY", "2026-03-29T02:30", HOUR, "Europe/Berlin")
    assert not gap.is_active(at("2026-03-29T01:59:59+01:00"))
    assert gap.is_active(at("2026-03-29T03:30:00+02:00"))
    assert not gap.is_active(at("2026-03-29T04:30:00+02:00"))
    fold = recurring("FREQ=DAILY", "2026-10-25T02:30", HOUR, "Europe/Berlin")
    assert fold.is_active(at("2026-10-25T02:30:00+02:00"))
    assert fold.is_active(at("2026-10-25T02:29:59+01:00"))
    assert not fold.is_active(at("2026-10-25T02:30:00+01:00"))


def test_what_begins_before_the_change_lasts_its_length() -> None:
    """Two hours are two hours."""
    subject = recurring("FREQ=DAILY", "2026-03-28T23:30", 4 * HOUR, "Europe/Berlin")
    start = at("2026-03-28T23:30:00+01:00")
    assert subject.is_active(start + 4 * HOUR - 1)
    assert not subject.is_active(start + 4 * HOUR)


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("FREQ=MONTHLY;BYDAY=1SU", ["2026-01-04", "2026-02-01", "2026-03-01"]),
        (
            "FREQ=WEEKLY;INTERVAL=2",
            ["2026-01-04", "2026-01-18", "2026-02-01", "2026-02-15", "2026-03-01"],
        ),
        ("FREQ=DAILY;COUNT=2", ["2026-01-04", "2026-01-05"]),
        ("FREQ=WEEKLY;UNTIL=20260118T235959Z", ["2026-01-04", "2026-01-11", "2026-01-18"]),
        ("freq=yearly", ["2026-01-04", "2027-01-04"]),
    ],
)
def test_recurrences_follow_rfc_5545(text: str, days: list[str]) -> None:
    """Each of these days, and no other of the first sixty."""
    subject = recurring(text, "2026-01-04T02:00", HOUR)
    active = [
        datetime.fromtimestamp(at("2026-01-04T02:30+00:00") + day * DAY, UTC).date().isoformat()
        for day in range(60 if "yearly" not in text else 366)
        if subject.is_active(at("2026-01-04T02:30+00:00") + day * DAY)
    ]
    assert active == days


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "FREQ=SECONDLY",
        "FREQ=MINUTELY",
        "FREQ=HOURLY",
        "FREQ=DAILY;COUNT=many",
        "FREQ=MONTHLY;BYDAY=9XX",
        "FREQ=DAILY;UNTIL=never",
    ],
)
def test_what_is_no_rule_is_refused(text: str) -> None:
    """Also what would happen so often that nobody could plan it."""
    with pytest.raises(ValueError, match="expected"):
        recurring(text, "2026-01-04T02:00", HOUR)


def test_what_never_comes_ends_quickly() -> None:
    """The thirtieth of February is looked for in forty years and not in eight thousand."""
    text = "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=1"
    assert not recurring(text, "2026-01-04T02:00", HOUR).is_active(at("2030-02-28T02:30+00:00"))


@given(st.floats(at("2026-01-01T00:00+00:00"), at("2027-01-01T00:00+00:00")))
def test_nothing_changes_before_the_next_change(now: float) -> None:
    """So the answer may be kept until then."""
    subject = nights()
    active, until = subject.is_active(now), subject.next_change(now)
    assert until is not None
    assert now < until <= now + 8 * DAY
    assert nights().is_active((now + until) / 2) is active
    assert nights().is_active(until - 0.001) is active


def test_what_happens_once() -> None:
    """From the first moment on and until before the last."""
    once = Maintenance(name="move", start=100.0, end=200.0, deployments=frozenset({"web"}))
    assert [once.is_active(moment) for moment in (99.9, 100.0, 199.9, 200.0)] == [
        False, True, True, False,
    ]  # fmt: skip
    assert [once.next_change(moment) for moment in (0.0, 100.0, 200.0)] == [100.0, 200.0, None]
    assert (once.concerns("web"), once.concerns("shop")) == (True, False)
    assert Maintenance(name="all").concerns("shop")


def test_moments_are_local_unless_they_say_otherwise() -> None:
    """An offset in the text wins over the zone."""
    assert parse_moment("2026-07-01T12:00", "Europe/Berlin") == at("2026-07-01T12:00+02:00")
    assert parse_moment("2026-07-01T12:00Z", "Europe/Berlin") == at("2026-07-01T12:00+00:00")
    with pytest.raises(ValueError, match="noon"):
        parse_moment("noon", "UTC")
