"""How objectives, their alerts and planned maintenance are written.

Owns keys and what must not stand together; names of other things are checked elsewhere.
"""

from __future__ import annotations

import re
from datetime import datetime
from fractions import Fraction
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from monitor.config.values import Identifier, ObjectiveShare
from monitor.fields import (
    Duration,
    Line,
    Model,
    Name,
    Percent,
    format_duration,
    parse_exact_duration,
)
from monitor.slo.maintenance import EPOCH_MONDAY, Maintenance, Recurrence, parse_moment, weekly
from monitor.slo.objective import (
    Budgeting,
    CalendarUnit,
    MaintenanceMode,
    Period,
    Sli,
    SliKind,
)

MAX_PERIOD_S = 90 * 86400
_NOMINAL_DAYS = {CalendarUnit.WEEK: 7, CalendarUnit.MONTH: 30, CalendarUnit.QUARTER: 91}
_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOUR_S = 3600
_NARROW_S = 10


def parse_zone(text: object) -> str:
    """Return `text` when it is the IANA name of a time zone.

    Raises:
        ValueError: it is none.
    """
    msg = "expected a time zone such as Europe/Berlin"
    if not isinstance(text, str):
        raise ValueError(msg)  # noqa: TRY004 - pydantic takes ValueError as the answer "no"
    try:
        ZoneInfo(text)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(msg) from error
    return text


def parse_period(text: object) -> Period:
    """Return the period of `30d`, `week`, `month` or `quarter`.

    Raises:
        ValueError: it is none, or longer than what is kept.
    """
    if isinstance(text, Period):
        return text
    if isinstance(text, str) and text in set(CalendarUnit):
        unit = CalendarUnit(text)
        return Period(length_s=_NOMINAL_DAYS[unit] * 86400, calendar=unit)
    try:
        length_s = parse_exact_duration(text)
    except ValueError:
        length_s = Fraction()
    if not _HOUR_S <= length_s <= MAX_PERIOD_S or length_s % _HOUR_S:
        msg = "expected whole hours up to 90d (what is kept), or week, month or quarter"
        raise ValueError(msg)
    return Period(length_s=int(length_s))


def _time_of_day(text: object) -> str:
    if not isinstance(text, str) or not _TIME_OF_DAY.fullmatch(text):
        msg = 'expected a time of day such as "22:00"'
        raise ValueError(msg)
    return text


Zone = Annotated[
    str,
    BeforeValidator(parse_zone),
    WithJsonSchema({"type": "string", "examples": ["Europe/Berlin"]}),
]
AnyPeriod = Annotated[
    Period,
    BeforeValidator(parse_period),
    WithJsonSchema({"type": "string", "examples": ["30d", "month"]}),
]
ExactDuration = Annotated[
    Fraction,
    BeforeValidator(parse_exact_duration),
    WithJsonSchema({"type": "string", "examples": ["2500ms"]}),
]
TimeOfDay = Annotated[
    str, BeforeValidator(_time_of_day), WithJsonSchema({"type": "string", "examples": ["22:00"]})
]


class TierModel(Model):
    """Somebody hears when so much of the budget would go within the long window."""

    spend: Percent
    """Share of the budget."""
    long_s: Duration
    short_s: Duration
    """It must burn in this window as well, so that the alert ends soon after the trouble."""
    severity: Literal["page", "ticket"]


class BurnAlertsModel(Model):
    """How every objective's burn-rate alerts behave that does not say otherwise."""

    enabled: bool = True
    page: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Channels; by default those of critical rules, or all."""
    ticket: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Channels; by default those of warning rules, or the fallback, or those of pages."""
    min_events: int = Field(default=10, ge=1)
    """Samples in the long window below which nothing is decided."""
    confidence: Percent = Fraction(99, 100)
    """How sure it must be that the true rate is above a tier's."""
    min_coverage: Percent = Fraction(1, 2)
    """Share of the expected measurement below which alerts freeze."""


class AlertingModel(Model):
    """The same for one objective."""

    enabled: bool | None = None
    tiers: tuple[TierModel, ...] | None = Field(default=None, min_length=1)
    """Instead of the SRE Workbook's four."""
    page: tuple[str, ...] | None = Field(default=None, min_length=1)
    ticket: tuple[str, ...] | None = Field(default=None, min_length=1)
    min_events: int | None = Field(default=None, ge=1)
    confidence: Percent | None = None
    min_coverage: Percent | None = None


class IndicatorModel(Model):
    """What is counted."""

    sli: Literal[tuple(SliKind)] = SliKind.AVAILABILITY  # type: ignore[valid-type]
    below_s: ExactDuration | None = None
    """`latency`: good is what takes less."""
    max_age_s: Duration | None = None
    """`freshness`: how long ago the latest good sample may be."""
    days: float | None = Field(default=None, gt=0)
    """`certificate`: how long each must be valid still."""

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> IndicatorModel:
        for kind, key in _NEEDS.items():
            given = getattr(self, key) is not None
            if given is not (self.sli == kind):
                name = key.removesuffix("_s")
                wanted = f"sli: {kind} needs {name}" if not given else f"{name} is of sli: {kind}"
                raise ValueError(wanted)
        return self

    def to_sli(self) -> Sli:
        """Return the indicator."""
        return Sli(
            kind=SliKind(self.sli), below_s=self.below_s, max_age_s=self.max_age_s, days=self.days
        )


_NEEDS = {
    SliKind.LATENCY: "below_s",
    SliKind.FRESHNESS: "max_age_s",
    SliKind.CERTIFICATE: "days",
}


class SloModel(IndicatorModel):
    """An objective of a deployment."""

    name: Identifier
    objective: ObjectiveShare
    parts: tuple[IndicatorModel, ...] | None = Field(default=None, min_length=1)
    """Several indicators instead of one: it is bad when one of them is."""
    period: AnyPeriod = Period(length_s=30 * 86400)
    also: tuple[AnyPeriod, ...] = ()
    """Budgets over the same record besides."""
    zone: Zone = "UTC"
    """Whose midnights begin weeks, months and quarters."""
    budgeting: Literal[tuple(Budgeting)] = Budgeting.OCCURRENCES  # type: ignore[valid-type]
    slice_s: Duration = 60.0
    slice_target: Percent | None = None
    """Share of a slice that must be good for it to be good; by default all of it."""
    probes: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Names of the probes that count; by default all."""
    alerting: AlertingModel = AlertingModel()
    maintenance: Literal[tuple(MaintenanceMode)] = MaintenanceMode.DROP  # type: ignore[valid-type]
    """What planned maintenance is for the budget: it leaves it, or counts as good."""

    @model_validator(mode="after")
    def _is_consistent(self) -> SloModel:
        single = {"sli", "below_s", "max_age_s", "days"} & self.model_fields_set
        if self.parts is not None and single:
            msg = "parts and a single indicator contradict each other: give one of them"
            raise ValueError(msg)
        sliced = {"slice_s", "slice_target"} & self.model_fields_set
        if self.budgeting == Budgeting.OCCURRENCES and sliced:
            msg = "slices need budgeting: timeslices or ratio_timeslices"
            raise ValueError(msg)
        if self.slice_s % _NARROW_S or _HOUR_S % self.slice_s:
            got = format_duration(self.slice_s)
            msg = f"an hour must be a number of slices of whole 10s (got {got})"
            raise ValueError(msg)
        return self

    def to_slis(self) -> tuple[Sli, ...]:
        """Return all indicators."""
        return tuple(part.to_sli() for part in self.parts or (self,))


class MaintenanceModel(Model):
    """Planned maintenance, once or again and again."""

    name: Name
    reason: Line = ""
    deployments: tuple[str, ...] = ()
    """Names of the deployments; by default all."""
    zone: Zone = "UTC"
    from_: Line | None = Field(default=None, alias="from")
    """ISO 8601; without an offset, local time."""
    to: Line | None = None
    every: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] | None = Field(
        default=None, min_length=1
    )
    at: TimeOfDay | None = None
    rrule: Line | None = None
    """RFC 5545, such as FREQ=MONTHLY;BYDAY=1SU."""
    starts: Line | None = None
    """First local time of the RRULE."""
    lasts_s: Duration | None = None

    @model_validator(mode="after")
    def _is_one_kind(self) -> MaintenanceModel:
        given = {key for key in _KINDS_KEYS if getattr(self, key) is not None}
        if given not in _KINDS:
            msg = "expected from and to; or every, at and lasts; or rrule, starts and lasts"
            raise ValueError(msg)
        try:
            self.to_maintenance()
        except ValueError as error:
            raise ValueError(str(error)) from error
        return self

    def to_maintenance(self) -> Maintenance:
        """Return what it means.

        Raises:
            ValueError: a time or rule is none.
        """
        common: dict[str, Any] = {
            "name": self.name,
            "reason": self.reason,
            "deployments": frozenset(self.deployments),
        }
        if self.from_ is not None and self.to is not None:
            start, end = parse_moment(self.from_, self.zone), parse_moment(self.to, self.zone)
            if start >= end:
                msg = "it ends before it begins"
                raise ValueError(msg)
            return Maintenance(**common, start=start, end=end)
        if self.every is not None and self.at is not None:
            text, starts = weekly(self.every, self.at), EPOCH_MONDAY
        else:
            text, starts = self.rrule or "", _local(self.starts or "")
        recurrence = Recurrence(
            text=text, starts=starts, zone=self.zone, lasts_s=self.lasts_s or 0.0
        )
        return Maintenance(**common, recurrence=recurrence)


_KINDS = ({"from_", "to"}, {"every", "at", "lasts_s"}, {"rrule", "starts", "lasts_s"})
_KINDS_KEYS = set().union(*_KINDS)


def _local(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is not None:
        msg = "starts: expected a local time such as 2026-01-04T02:00, without an offset"
        raise ValueError(msg)
    return moment
