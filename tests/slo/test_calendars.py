"""Where weeks, months and quarters begin and end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.slo.calendars import bounds
from monitor.slo.objective import CalendarUnit

HOUR, DAY = 3600, 86400
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
]


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@given(
    st.sampled_from(CalendarUnit),
    st.sampled_from(ZONES),
    st.floats(at("1995-01-01T00:00+00:00"), at("2037-12-01T00:00+00:00")),
)
def test_units_contain_their_moment_and_follow_each_other(
    unit: CalendarUnit, zone: str, now: float
) -> None:
    """No moment is in two of them or in none, in any zone and year."""
    start, end = bounds(unit, zone, now)
    assert start <= now < end
    assert bounds(unit, zone, end)[0] == end
    assert bounds(unit, zone, start - 1)[1] == start
    first = datetime.fromtimestamp(start, ZoneInfo(zone))
    before = datetime.fromtimestamp(start - 1, ZoneInfo(zone))
    assert first.date() > before.date()


@pytest.mark.parametrize(
    ("unit", "zone", "now", "hours"),
    [
        (CalendarUnit.MONTH, "UTC", "2026-03-15T12:00+00:00", 744),
        (CalendarUnit.MONTH, "Europe/Berlin", "2026-03-15T12:00+00:00", 743),
        (CalendarUnit.MONTH, "Europe/Berlin", "2026-10-15T12:00+00:00", 745),
        (CalendarUnit.MONTH, "Australia/Lord_Howe", "2026-10-15T12:00+00:00", 743.5),
        (CalendarUnit.MONTH, "Asia/Kathmandu", "2026-02-15T12:00+00:00", 672),
        (CalendarUnit.WEEK, "America/New_York", "2026-03-08T12:00+00:00", 167),
        (CalendarUnit.WEEK, "America/New_York", "2026-11-01T12:00+00:00", 169),
        (CalendarUnit.QUARTER, "UTC", "2024-02-29T12:00+00:00", 24 * 91),
        (CalendarUnit.QUARTER, "Europe/Berlin", "2026-12-31T22:59+00:00", 24 * 92 + 1),
    ],
)
def test_days_of_change_are_as_long_as_they_are(
    unit: CalendarUnit, zone: str, now: str, hours: float
) -> None:
    """A month with a day of 23 hours is an hour shorter, and so is its budget."""
    start, end = bounds(unit, zone, at(now))
    assert (end - start) / HOUR == hours


def test_a_day_without_midnight_begins_when_the_clocks_are_set() -> None:
    """In Beirut, 2022-03-27 began at 01:00; so did the week after it, a day later, at midnight."""
    start, _ = bounds(CalendarUnit.WEEK, "Asia/Beirut", at("2022-03-30T00:00+00:00"))
    assert start == at("2022-03-28T00:00+03:00")
    sao_paulo, _ = bounds(CalendarUnit.MONTH, "America/Sao_Paulo", at("2018-11-20T00:00+00:00"))
    assert sao_paulo == at("2018-11-01T00:00-03:00")


def test_weeks_begin_on_monday() -> None:
    """Sunday belongs to the week before."""
    start, end = bounds(CalendarUnit.WEEK, "UTC", at("2026-11-29T23:59:59+00:00"))
    assert datetime.fromtimestamp(start, UTC).isoweekday() == 1
    assert timedelta(seconds=end - start) == timedelta(days=7)
