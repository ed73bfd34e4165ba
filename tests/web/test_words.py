"""Figures, durations and times as people read them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.slo.signal import Unit
from monitor.web.words import clock_text, duration_text, figure, mark, moment, number_text

NOW = 1_764_000_000.0


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (99.9512, Unit.PERCENT, "99.951 %"),
        (100.0, Unit.PERCENT, "100 %"),
        (99.99999, Unit.PERCENT, "99.999 %"),
        (0.0, Unit.PERCENT, "0 %"),
        (0.00001, Unit.PERCENT, "<0.001 %"),
        (-0.00001, Unit.PERCENT, ">-0.001 %"),
        (-872.22, Unit.PERCENT, "-872 %"),
        (-99.5, Unit.PERCENT, "-99.5 %"),
        (1234.4, Unit.MS, "1,234 ms"),
        (4.25, Unit.MS, "4.2 ms"),
        (14.4, Unit.RATIO, "14.4"),
        (29.96, Unit.DAYS, "30.0 d"),
        (3.0, Unit.COUNT, "3"),
    ],
)
def test_numbers(value: float, unit: Unit, expected: str) -> None:
    """Few digits, and never a 0 or 100 percent that is not quite so."""
    assert "".join(number_text(value, unit)) == expected


def test_no_data_is_in_words() -> None:
    """Not 0, not a dash."""
    assert "no data" in figure(None, Unit.PERCENT)


@given(st.floats(0, 100))
def test_a_percentage_is_shown_as_all_or_nothing_only_when_it_is(value: float) -> None:
    """`100 %` promises perfection."""
    text = number_text(value, Unit.PERCENT)[0]
    assert (text == "100") == (value == 100)
    assert (text == "0") == (value == 0)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m 0s"),
        (3599, "59m 59s"),
        (3600, "1h 0m"),
        (90061, "1d 1h"),
        (-5, "0s"),
    ],
)
def test_durations(seconds: float, expected: str) -> None:
    """The two largest units; a clock that is a little off shows no negative age."""
    assert duration_text(seconds) == expected


def test_times_are_utc_with_the_date_when_it_matters() -> None:
    """Of today the time, of other days the date too, and always the full time in the title."""
    assert clock_text(NOW - 60, NOW) == "15:59:00"
    assert clock_text(NOW - 86400, NOW) == "Nov 23 16:00"
    shown = moment(NOW - 60, NOW)
    assert "1m 0s ago" in shown
    assert 'title="2025-11-24 15:59:00 UTC"' in shown
    assert "in 1m 0s" in moment(NOW + 60, NOW)


def test_every_state_has_a_shape_of_its_own() -> None:
    """Without colours the signs still differ."""
    kinds = ("ok", "warn", "bad", "busy", "none")
    shapes = {re.sub(r'class="[^"]*"', "", mark(kind)) for kind in kinds}
    assert len(shapes) == len(kinds)
