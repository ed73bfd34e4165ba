"""Error budgets and burn rates, exact until they are shown.

Errors are shares of known time; one that is 0.1 % over the whole period spends all of a 99.9 %
objective's budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from monitor.slo.objective import Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The state of one objective's error budget over its period."""

    objective: Objective
    spent_s: float
    """Down share of the known time, scaled to the whole period."""
    allowed_s: float
    remaining: float
    """Share of the budget that is left; negative when it is overspent."""
    known_s: float
    """How much of the period was measured, a target's average: what the shares rest on."""
    down_s: float
    """How much of the known time was down."""


def burn_rate(error: Fraction, objective: Objective) -> Fraction:
    """Return how many times faster than allowed the budget burns at this share of errors."""
    return error / objective.allowed


def remaining_share(error: Fraction, objective: Objective) -> Fraction:
    """Return the share of the budget that errors over the whole period leave."""
    return 1 - burn_rate(error, objective)


def budget_of(error: Fraction, objective: Objective, known_s: Fraction) -> Budget:
    """Return the budget after this share of errors in the known seconds of the period."""
    return Budget(
        objective=objective,
        spent_s=float(error * objective.period_s),
        allowed_s=float(objective.allowed_s),
        remaining=float(remaining_share(error, objective)),
        known_s=float(known_s),
        down_s=float(error * known_s),
    )


def burn_factor(share: Fraction, window_s: int, period_s: int) -> Fraction:
    """Return the burn rate that spends `share` (0-1) of the budget within `window_s`."""
    return share * period_s / window_s


def exhaustion_s(burn: Fraction, period_s: int) -> Fraction | None:
    """Return after how many seconds a full budget is gone; None when nothing burns."""
    return period_s / burn if burn > 0 else None
