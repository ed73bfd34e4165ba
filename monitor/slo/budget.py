"""Error budgets and burn rates, exact until they are shown.

Errors are shares of what is known; one that is 0.1 % over the whole period spends all of a 99.9 %
objective's budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from monitor.slo.objective import Objective, Period


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is known of a period, in units of the objective's record."""

    bad: int
    valid: int
    expected: int
    """What should be known by now, without what is left out."""
    whole: Fraction
    """What the whole period holds; more than `expected` as long as it is not over."""
    start: float
    end: float
    """UTC seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The state of one objective's error budget over one period."""

    objective: Objective
    period: Period
    start: float
    end: float
    """What it is about, UTC seconds; of a rolling period the end is now."""
    spent_s: float
    """Bad share of what is known, scaled to the whole period."""
    allowed_s: float
    remaining: float
    """Share of the budget that is left; negative when it is overspent."""
    worst: float
    """The same if all that should be known and is not had been bad."""
    best: float
    """The same if all that is not known, what is still to come included, is good."""
    coverage: float | None
    """Share of what should be known that is; None while nothing should."""
    known_s: float
    """How much of the period was measured: what the shares rest on."""
    down_s: float
    """How much of the known time was bad."""
    bad: int
    valid: int
    """In units of the record: seconds (or milliseconds), samples or slices."""


def burn_rate(error: Fraction, objective: Objective) -> Fraction:
    """Return how many times faster than allowed the budget burns at this share of errors."""
    return error / objective.allowed


def counted_error(measured: Measured) -> Fraction | None:
    """Return the share of the whole period that counts as bad, None when nothing is known.

    The share of errors in what is known is taken for all that should be known by now, and counts
    against the whole period: two minutes down are two of 43.2 minutes, on the first day of a month
    and in the first hour of a deployment as well. Once a period is over, or a rolling one was
    watched from its beginning, that is the share of errors itself.
    """
    if not measured.valid:
        return None
    expected = Fraction(max(measured.expected, measured.valid))
    return Fraction(measured.bad, measured.valid) * expected / max(measured.whole, expected)


def remaining_share(error: Fraction, objective: Objective) -> Fraction:
    """Return the share of the budget that errors over the whole period leave."""
    return 1 - burn_rate(error, objective)


def budget_of(objective: Objective, period: Period, measured: Measured) -> Budget | None:
    """Return the budget, None when nothing is known."""
    counted = counted_error(measured)
    if counted is None:
        return None
    allowed = objective.allowed
    expected = max(measured.expected, measured.valid)
    whole = max(measured.whole, Fraction(expected))
    length_s = Fraction(measured.end - measured.start)
    worst = (measured.bad + expected - measured.valid) / whole
    unit_s = length_s / whole
    return Budget(
        objective=objective,
        period=period,
        start=measured.start,
        end=measured.end,
        spent_s=float(counted * length_s),
        allowed_s=float(allowed * length_s),
        remaining=float(remaining_share(counted, objective)),
        worst=float(1 - worst / allowed),
        best=float(1 - measured.bad / whole / allowed),
        coverage=measured.valid / expected if measured.expected > 0 else None,
        known_s=float(measured.valid * unit_s),
        down_s=float(measured.bad * unit_s),
        bad=measured.bad,
        valid=measured.valid,
    )


def burn_factor(share: Fraction, window_s: int, period_s: int) -> Fraction:
    """Return the burn rate that spends `share` (0-1) of the budget within `window_s`."""
    return share * period_s / window_s


def exhaustion_s(burn: Fraction, period_s: int) -> Fraction | None:
    """Return after how many seconds a full budget is gone; None when nothing burns."""
    return period_s / burn if burn > 0 else None
