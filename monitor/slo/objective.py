"""What was promised: objectives (SLOs) and the clauses of an SLA. Limits stay exact fractions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from monitor.model import Severity

DAY_S = 86400


class SliKind(StrEnum):
    """What an objective counts."""

    UPTIME = "uptime"
    """Time: each sample stands for one interval."""
    AVAILABILITY = "availability"
    """Events: good of all valid samples."""
    LATENCY = "latency"
    """Events: good samples whose latency is below `below_s`, of all valid ones."""
    FRESHNESS = "freshness"
    """Time in which every target was good at most `max_age_s` ago."""
    HEALTH = "health"
    """Time in which no target said of itself that it is not well, and none was bad."""
    CERTIFICATE = "certificate"
    """Time in which every certificate was valid for at least `days` more."""


TIME_KINDS = frozenset({SliKind.UPTIME, SliKind.FRESHNESS, SliKind.HEALTH, SliKind.CERTIFICATE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sli:
    """One indicator; an objective of several is bad when one of them is."""

    kind: SliKind
    below_s: Fraction | None = None
    max_age_s: float | None = None
    days: float | None = None


class Budgeting(StrEnum):
    """How bad events become a share (the names are OpenSLO's)."""

    OCCURRENCES = "occurrences"
    """Bad of all."""
    TIMESLICES = "timeslices"
    """Slices in which less than `slice_target` was good, of all slices."""
    RATIO_TIMESLICES = "ratio_timeslices"
    """The mean over slices of the share that was bad."""


class CalendarUnit(StrEnum):
    """What a calendar-aligned period is."""

    WEEK = "week"
    """From Monday."""
    MONTH = "month"
    QUARTER = "quarter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """What a budget is for: the last `length_s` seconds, or the current unit of a calendar."""

    length_s: int
    """Of a calendar unit the nominal length: 7, 30 or 91 days."""
    calendar: CalendarUnit | None = None
    zone: str = "UTC"
    """IANA name of the zone whose midnights count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A burn rate that somebody hears of: strictly above `factor` in both windows."""

    name: str
    """The long window as people write it: `1h`."""
    factor: Fraction
    long_s: int
    short_s: int
    severity: Severity
    """CRITICAL pages, WARNING is a ticket."""


class MaintenanceMode(StrEnum):
    """What planned maintenance is for a budget."""

    DROP = "drop"
    """It leaves the ratio, good and bad alike."""
    GOOD = "good"
    """It counts as good, whatever was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """An SLO: this share good, over this period."""

    target: Fraction
    """Share in (0, 1), exact from its decimal text."""
    period_s: int = 30 * DAY_S
    """Nominal length of the first of `periods`."""
    name: str = "availability"
    slis: tuple[Sli, ...] = (Sli(kind=SliKind.UPTIME),)
    budgeting: Budgeting = Budgeting.OCCURRENCES
    slice_s: int = 60
    slice_target: Fraction = Fraction(1)
    probes: frozenset[str] | None = None
    """Names of the probes that count; None for all that count towards SLIs."""
    more_periods: tuple[Period, ...] = ()
    """Budgets over the same record besides the rolling one of `period_s`."""
    tiers: tuple[Tier, ...] = ()
    """Fastest first."""
    channels: tuple[tuple[Severity, tuple[str, ...]], ...] = ()
    """Who hears of a tier of this severity."""
    min_events: int = 10
    """Valid samples of the long window below which nothing is decided."""
    confidence: Fraction = Fraction(99, 100)
    """How sure it must be that the true rate is above a tier's."""
    min_coverage: Fraction = Fraction(1, 2)
    """Share of the expected measurement of the long window below which alerts freeze."""
    maintenance: MaintenanceMode = MaintenanceMode.DROP

    def __post_init__(self) -> None:
        """Refuse an objective that leaves no budget, or nothing to keep (ValueError)."""
        if not 0 < self.target < 1 or self.period_s <= 0:
            msg = "an objective is a share between 0 and 1, both excluded, of a period"
            raise ValueError(msg)

    @property
    def allowed(self) -> Fraction:
        """Share of the period that may be bad."""
        return 1 - self.target

    @property
    def allowed_s(self) -> Fraction:
        """Seconds of the period that may be bad: 99.9 % of 30 days allow 2592 s (43.2 min)."""
        return self.allowed * self.period_s

    @property
    def is_time(self) -> bool:
        """Whether it counts time rather than events."""
        return all(sli.kind in TIME_KINDS for sli in self.slis)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sla:
    """The plan's SLA block. A clause that was not written is None.

    All limits are strict (`<`) except uptime and regions (`>=`).
    """

    uptime: Fraction | None = None
    """Share, 0-1."""
    latency_below_s: tuple[tuple[Fraction, Fraction], ...] = ()
    """(quantile 0-1, limit in seconds), e.g. (19/20, 5/2) for `p95: < 2500ms`."""
    error_rate_below: Fraction | None = None
    """Share, 0-1."""
    min_regions: int | None = None
    period_s: int = 30 * DAY_S
