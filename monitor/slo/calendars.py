"""Where weeks, months and quarters begin and end, in any time zone.

Midnights are local: a day of change is 23 or 25 hours long, and so is what it belongs to shorter
or longer.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from monitor.slo.objective import CalendarUnit

_MONTHS = {CalendarUnit.MONTH: 1, CalendarUnit.QUARTER: 3}


def bounds(unit: CalendarUnit, zone: str, now: float) -> tuple[float, float]:
    """Return start and end, UTC seconds, of the unit that `now` is in; weeks begin on Monday."""
    place = ZoneInfo(zone)
    day = datetime.fromtimestamp(now, place).replace(
        hour=0, minute=0, second=0, microsecond=0, tzinfo=None, fold=0
    )
    if unit is CalendarUnit.WEEK:
        first = day - timedelta(days=day.weekday())
        following = first + timedelta(days=7)
    else:
        length = _MONTHS[unit]
        first = day.replace(month=(day.month - 1) // length * length + 1, day=1)
        months = first.month - 1 + length
        following = first.replace(year=first.year + months // 12, month=months % 12 + 1)
    return _begins(first, place), _begins(following, place)


def _begins(day: datetime, place: ZoneInfo) -> float:
    """Return the first moment of a local day.

    Where clocks are set forward over midnight, midnight does not exist: the conversion of such a
    time with the offset of before gives the moment of the change. Where they are set back over it,
    the first of both midnights counts.
    """
    return day.replace(tzinfo=place, fold=0).timestamp()
