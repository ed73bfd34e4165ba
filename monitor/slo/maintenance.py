"""Planned maintenance: when it is, once or again and again, in the time of a place.

Starts are local times and lengths are real ones: what begins at 22:00 and lasts two hours does so
on every day of the year, also when clocks are changed meanwhile. A start that the change leaves out
is as much later as the clocks were set; of one that comes twice, the first counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from dateutil.rrule import rrule, rrulestr

HORIZON = timedelta(days=40 * 366)
"""A recurrence is followed for so long after its first day."""
_FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrence:
    """An RRULE (RFC 5545) in a time zone, from a first local time on."""

    text: str
    starts: datetime
    """Local time, without a zone."""
    zone: str
    lasts_s: float
    _rule: rrule = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what is no rule, or could happen too often (ValueError)."""
        object.__setattr__(self, "_rule", _parse(self.text, self.starts))

    def around(self, at: float) -> tuple[float, float, bool]:
        """Return (from, to, whether it is under way) of the stretch of time that holds `at`."""
        place = ZoneInfo(self.zone)
        local = datetime.fromtimestamp(at, place).replace(tzinfo=None, fold=0)
        margin = timedelta(seconds=self.lasts_s) + timedelta(days=2)
        starts = [
            each.replace(tzinfo=place).timestamp()
            for each in self._rule.between(local - margin, local + margin, inc=True)
        ]
        began = max((start for start in starts if start <= at), default=-math.inf)
        following = min((start for start in starts if start > at), default=at + 86400.0)
        if at < began + self.lasts_s:
            return began, began + self.lasts_s, True
        return began + self.lasts_s, following, False


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """Maintenance that was announced: one stretch of time, or a recurrence."""

    name: str
    reason: str = ""
    deployments: frozenset[str] = frozenset()
    """Names; none means all."""
    start: float = math.inf
    end: float = math.inf
    """UTC seconds, of what happens once."""
    recurrence: Recurrence | None = None
    _known: list[tuple[float, float, bool]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )
    """The stretch of time that was asked about last."""

    def concerns(self, deployment: str) -> bool:
        """Whether it is about this deployment."""
        return not self.deployments or deployment in self.deployments

    def is_active(self, at: float) -> bool:
        """Whether it is under way at `at`, UTC seconds."""
        if self.recurrence is None:
            return self.start <= at < self.end
        if not self._known or not self._known[0][0] <= at < self._known[0][1]:
            self._known[:] = [self.recurrence.around(at)]
        return self._known[0][2]

    def next_change(self, at: float) -> float | None:
        """Return when it begins or ends next, as far as that is less than a day away."""
        if self.recurrence is None:
            return next((edge for edge in (self.start, self.end) if at < edge < math.inf), None)
        self.is_active(at)
        return self._known[0][1]


def weekly(days: tuple[str, ...], at: str) -> str:
    """Return the RRULE of certain days of the week (`mon`) at a time of day (`22:00`)."""
    hour, minute = at.split(":")
    names = ",".join(day[:2].upper() for day in days)
    return f"FREQ=WEEKLY;BYDAY={names};BYHOUR={int(hour)};BYMINUTE={int(minute)};BYSECOND=0"


def parse_moment(text: str, zone: str) -> float:
    """Return the UTC seconds of an ISO 8601 time; without an offset it is local in `zone`.

    Raises:
        ValueError: it is none.
    """
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).timestamp()


def _parse(text: str, starts: datetime) -> rrule:
    parts = dict(part.partition("=")[::2] for part in text.upper().split(";"))
    if parts.get("FREQ") not in _FREQUENCIES:
        msg = f"expected an RRULE with FREQ={'|'.join(_FREQUENCIES)}"
        raise ValueError(msg)
    count = parts.pop("COUNT", None)
    try:
        until = _until(parts.pop("UNTIL", None), starts)
        rule = rrulestr(
            ";".join(f"{key}={value}" for key, value in parts.items()),
            dtstart=starts,
            cache=True,
            ignoretz=True,
        )
        if not isinstance(rule, rrule):
            raise TypeError  # noqa: TRY301 - a set of rules is none
        # Without an end, one that never comes would be looked for up to the year 9999.
        rule = rule.replace(until=until)
        if count is not None:
            *_, last = (starts, *islice(rule, int(count)))
            rule = rule.replace(until=last)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        msg = f"expected an RRULE such as FREQ=MONTHLY;BYDAY=1SU ({error})"
        raise ValueError(msg) from error
    return rule


def _until(text: str | None, starts: datetime) -> datetime:
    last = starts + HORIZON
    return last if text is None else min(last, datetime.fromisoformat(text.rstrip("Z")))


EPOCH_MONDAY = datetime(2024, 1, 1, tzinfo=UTC).replace(tzinfo=None)
"""From when on a weekly maintenance is counted, when nothing else is said."""
