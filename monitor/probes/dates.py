"""Dates, time zones and schedules as people write them in configuration. Pure: no clock.

Owns their text forms and what they mean in UTC seconds.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, WithJsonSchema

_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:Z|[+-]\d\d:\d\d)?)?")
_CRON_FIELDS = 5
_ANY_TIME = datetime(2024, 1, 1, tzinfo=UTC)
_MAX_AMBIGUOUS = 200
"""More ticks than one repeated hour has minutes."""


def check_date(text: str) -> str:
    """Return `text` when it is a date, or a date and a time.

    Raises:
        ValueError: when it is none.
    """
    moment_of(text, zone_of(UTC_ZONE))
    return text


def check_zone(name: str) -> str:
    """Return `name` when it is a time zone of the IANA data base.

    Raises:
        ValueError: when it is none.
    """
    zone_of(name)
    return name


def check_cron(text: str) -> str:
    """Return `text` when it is a schedule of five fields that comes due at all.

    Raises:
        ValueError: when it is not.
    """
    if len(text.split()) != _CRON_FIELDS:
        msg = "expected a cron schedule of five fields, such as 0 3 * * *"
        raise ValueError(msg)
    try:
        next(CronSim(text, _ANY_TIME))
    except CronSimError as error:
        msg = f"expected a cron schedule such as 0 3 * * *: {error}"
        raise ValueError(msg) from error
    except StopIteration as error:
        msg = "a schedule that never comes due"
        raise ValueError(msg) from error
    return text


def zone_of(name: str) -> ZoneInfo:
    """Return the time zone called `name`.

    Raises:
        ValueError: when there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        msg = "expected a time zone such as Europe/Berlin or UTC"
        raise ValueError(msg) from error


def moment_of(text: str, zone: ZoneInfo) -> float:
    """Return the UTC seconds of `2026-03-01` (its first moment in `zone`) or of a date and time.

    Raises:
        ValueError: when it is neither.
    """
    msg = "expected a date such as 2026-03-01 or 2026-03-01T12:00:00Z"
    if not _DATE.fullmatch(text):
        raise ValueError(msg)
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError) as error:
        raise ValueError(msg) from error


def next_tick(cron: str, zone: ZoneInfo, after: float) -> float:
    """Return the first moment later than `after` (UTC s) at which `cron` comes due in `zone`.

    As Debian's cron has it: what falls into the hour that a change to summer time skips comes due
    when that hour is over; what falls into a repeated hour comes due once, unless it runs hourly.
    """
    local = datetime.fromtimestamp(after, zone)
    ticks = CronSim(cron, local)
    # The second pass of a repeated hour is read as the first one, so ticks may lie behind `after`.
    for _ in range(_MAX_AMBIGUOUS):
        found = next(ticks).timestamp()
        if found > after:
            return found
    return next(CronSim(cron, local + timedelta(days=1))).timestamp()


def show_moment(at: float) -> str:
    """Return UTC seconds as people read them; a time that no calendar has is a number."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{at:.0f}"


UTC_ZONE = "UTC"
Date = Annotated[
    str,
    AfterValidator(check_date),
    WithJsonSchema({"type": "string", "pattern": f"^{_DATE.pattern}$", "examples": ["2026-03-01"]}),
]
Zone = Annotated[
    str,
    AfterValidator(check_zone),
    WithJsonSchema({"type": "string", "examples": ["Europe/Berlin"]}),
]
Cron = Annotated[
    str,
    AfterValidator(check_cron),
    WithJsonSchema({"type": "string", "examples": ["0 3 * * *"]}),
]
