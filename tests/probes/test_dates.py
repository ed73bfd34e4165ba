"""Dates, zones and schedules: what they mean in UTC, at the edges of summer time above all."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.probes.dates import check_cron, moment_of, next_tick, show_moment, zone_of

BERLIN, NEW_YORK, LORD_HOWE = (
    ZoneInfo("Europe/Berlin"),
    ZoneInfo("America/New_York"),
    ZoneInfo("Australia/Lord_Howe"),
)
ZONES = [BERLIN, NEW_YORK, LORD_HOWE, ZoneInfo("UTC"), ZoneInfo("Asia/Kathmandu")]


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("cron", "zone", "after", "due"),
    [
        ("0 0 * * *", "UTC", "2026-01-01 00:00", "2026-01-02 00:00"),
        ("0 0 * * *", "UTC", "2026-01-01 23:59:59", "2026-01-02 00:00"),
        ("0 3 * * *", "Europe/Berlin", "2026-01-10 02:00", "2026-01-11 02:00"),
        ("0 3 * * *", "Europe/Berlin", "2026-07-10 01:00", "2026-07-11 01:00"),
        # To summer time, 2026-03-29: 02:00-03:00 does not exist, 02:30 comes due when it is over.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28 01:30", "2026-03-29 01:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-29 01:00", "2026-03-30 00:30"),
        ("0 3 * * *", "Europe/Berlin", "2026-03-28 02:00", "2026-03-29 01:00"),
        ("*/30 * * * *", "Europe/Berlin", "2026-03-29 00:30", "2026-03-29 01:00"),
        # From summer time, 2026-10-25: 02:00-03:00 comes twice, 02:30 comes due once.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24 00:30", "2026-10-25 00:30"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25 00:30", "2026-10-26 01:30"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25 01:10", "2026-10-26 01:30"),
        ("*/30 * * * *", "Europe/Berlin", "2026-10-25 00:30", "2026-10-25 01:00"),
        ("*/30 * * * *", "Europe/Berlin", "2026-10-25 01:00", "2026-10-25 01:30"),
        ("30 1 * * *", "America/New_York", "2026-11-01 05:30", "2026-11-02 06:30"),
        ("30 1 * * *", "America/New_York", "2026-11-01 06:10", "2026-11-02 06:30"),
        # A zone that changes by half an hour.
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-02 15:45", "2026-10-03 15:30"),
        ("0 12 29 2 *", "UTC", "2026-01-01 00:00", "2028-02-29 12:00"),
        ("0 9 * * MON-FRI", "America/New_York", "2026-01-02 14:00", "2026-01-05 14:00"),
    ],
)
def test_next_tick(cron: str, zone: str, after: str, due: str) -> None:
    """The schedule runs in its zone; `after` and `due` are in UTC."""
    found = next_tick(cron, zone_of(zone), utc(after))
    assert show_moment(found) == show_moment(utc(due))


CHANGES = [utc("2026-03-29 00:00"), utc("2026-10-25 00:00"), utc("2026-11-01 05:00")]


@given(
    st.sampled_from(["* * * * *", "*/7 * * * *", "0 * * * *", "30 2 * * *", "15,45 1-3 * * *"]),
    st.sampled_from(ZONES),
    st.sampled_from(CHANGES),
    st.floats(-90_000, 90_000),
)
def test_ticks_go_forward(cron: str, zone: ZoneInfo, change: float, offset_s: float) -> None:
    """A tick is later than what it follows, by 25 hours at most, and on a full minute."""
    ticks = [change + offset_s]
    for _ in range(5):
        ticks.append(next_tick(cron, zone, ticks[-1]))
    assert all(0 < later - earlier <= 90_000 for earlier, later in pairwise(ticks))
    assert all(tick % 60 == 0 for tick in ticks[1:])


@given(
    st.sampled_from(["* * * * *", "*/20 * * * *"]), st.sampled_from(CHANGES), st.integers(0, 7200)
)
def test_a_job_that_runs_all_day_misses_nothing(cron: str, change: float, offset_s: int) -> None:
    """With a wildcard in the hour, a change of the clock is no gap in real time."""
    every_s = 60 if cron.startswith("* ") else 1200
    found = next_tick(cron, BERLIN, change + offset_s)
    assert 0 < found - (change + offset_s) <= every_s


@pytest.mark.parametrize(
    ("text", "zone", "moment"),
    [
        ("2026-03-01", "UTC", "2026-03-01 00:00"),
        ("2026-03-01", "Europe/Berlin", "2026-02-28 23:00"),
        ("2026-03-01T12:30", "Europe/Berlin", "2026-03-01 11:30"),
        ("2026-03-01T12:30:15Z", "Europe/Berlin", "2026-03-01 12:30:15"),
        ("2026-03-01 12:30+02:00", "UTC", "2026-03-01 10:30"),
    ],
)
def test_moments(text: str, zone: str, moment: str) -> None:
    """A date is its first moment in the zone; what names its own zone keeps it."""
    assert moment_of(text, zone_of(zone)) == utc(moment)


@pytest.mark.parametrize(
    "text",
    ["", "tomorrow", "2026-02-30", "01.03.2026", "2026-3-1", "20260301", "0000-01-01"],
)
def test_no_moments(text: str) -> None:
    """Anything that people read in two ways is refused."""
    with pytest.raises(ValueError, match="expected a date such as"):
        moment_of(text, LORD_HOWE)


@given(st.text(max_size=30))
def test_no_text_breaks_a_reader(text: str) -> None:
    """Arbitrary text is read or refused with a ValueError."""
    for read in (check_cron, zone_of, lambda it: moment_of(it, BERLIN)):
        try:
            read(text)
        except ValueError as error:
            message = str(error)
        else:
            message = "read"
        assert message


@pytest.mark.parametrize(
    ("cron", "problem"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("0 * * * * *", "five fields"),
        ("60 * * * *", "Bad minute"),
        ("@daily", "five fields"),
        ("0 0 30 2 *", "Bad day-of-month"),
        ("0 0 * 2 MON#6", "Bad day-of-week"),
    ],
)
def test_no_schedules(cron: str, problem: str) -> None:
    """What cron would not run is refused at load."""
    with pytest.raises(ValueError, match=problem):
        check_cron(cron)


@pytest.mark.parametrize("name", ["", "Mars/Base", "../../etc/passwd", "/etc/localtime", "a" * 300])
def test_no_zones(name: str) -> None:
    """A zone is a name of the IANA data base and no path."""
    with pytest.raises(ValueError, match="expected a time zone"):
        zone_of(name)


def test_times_that_no_calendar_has_are_shown_as_numbers() -> None:
    """A message is never lost for a strange time in it."""
    assert show_moment(0) == "1970-01-01 00:00:00Z"
    assert show_moment(1e18) == "1000000000000000000"
