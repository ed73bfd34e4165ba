"""What was promised: the objective (SLO) and the clauses of an SLA. Limits stay exact fractions."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """An availability SLO: this share of known time up, over this period."""

    target: Fraction
    """Share in (0, 1), exact from its decimal text."""
    period_s: int = 30 * 86400
    name: str = "availability"

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
    period_s: int = 30 * 86400
