"""Error budgets and burn rates against published figures."""

from __future__ import annotations

from fractions import Fraction

import pytest

from monitor.slo.budget import (
    Budget,
    Measured,
    budget_of,
    burn_factor,
    burn_rate,
    exhaustion_s,
    remaining_share,
)
from monitor.slo.objective import Objective, Period

HOUR, DAY = 3600, 86400


def objective(target: str, period_s: int = 30 * DAY) -> Objective:
    return Objective(target=Fraction(target), period_s=period_s)


def rolling(error: Fraction, of: Objective) -> Budget:
    """Return the budget of a period of which every second is known."""
    valid = of.period_s * error.denominator
    measured = Measured(
        bad=int(valid * error),
        valid=valid,
        expected=valid,
        whole=Fraction(valid),
        start=0.0,
        end=float(of.period_s),
    )
    budget = budget_of(of, Period(length_s=of.period_s), measured)
    assert budget is not None
    return budget


@pytest.mark.parametrize(
    ("bad", "valid", "target", "burn"),
    [
        (5, 10, "0.99", Fraction(50)),
        (9, 1000, "0.99", Fraction(9, 10)),
        (3556, 7112, "0.9", Fraction(5)),
        (1, 10, "0.999", Fraction(100)),
        (1, 1, "0.999", Fraction(1000)),
        (1, 1, "0.96", Fraction(25)),
        (0, 10, "0.999", Fraction(0)),
    ],
)
def test_burn_is_errors_over_allowed_errors(
    bad: int, valid: int, target: str, burn: Fraction
) -> None:
    """Vectors A1-A3, C12 and the maximum burn 1/(1 - target), exactly."""
    assert burn_rate(Fraction(bad, valid), objective(target)) == burn


@pytest.mark.parametrize(
    ("availability", "spent_min", "left_min"),
    [("1", 0, 20.16), ("0.9997", 12.096, 8.064), ("0.9995", 20.16, 0), ("0.999", 40.32, -20.16)],
)
def test_budget_of_28_days_at_99_95_percent(
    availability: str, spent_min: float, left_min: float
) -> None:
    """Vector A4 in minutes: 20.16 are allowed."""
    budget = rolling(1 - Fraction(availability), objective("0.9995", 28 * DAY))
    assert budget.allowed_s / 60 == pytest.approx(20.16)
    assert budget.spent_s / 60 == pytest.approx(spent_min)
    assert budget.remaining * budget.allowed_s / 60 == pytest.approx(left_min)


def test_half_an_hour_window_of_errors_spends_five_budgets() -> None:
    """Vector A3: 12 h at 50 % errors and 90 %: 72 min allowed, 360 spent, -288 left."""
    budget = rolling(Fraction(1, 2), objective("0.9", 12 * HOUR))
    assert (budget.allowed_s / 60, budget.spent_s / 60) == (72, 360)
    assert budget.remaining * budget.allowed_s / 60 == -288


@pytest.mark.parametrize(
    ("percent", "window_s", "period_days", "factor"),
    [
        ("2", HOUR, 30, "14.4"),
        ("5", 6 * HOUR, 30, "6"),
        ("10", DAY, 30, "3"),
        ("10", 3 * DAY, 30, "1"),
        ("2", HOUR, 28, "13.44"),
        ("5", 6 * HOUR, 28, "5.6"),
        ("10", DAY, 28, "2.8"),
        ("10", 3 * DAY, 28, "14/15"),
        ("8", HOUR, 7, "13.44"),
        ("12.5", 6 * HOUR, 7, "3.5"),
        ("20", DAY, 7, "1.4"),
        ("42", 3 * DAY, 7, "0.98"),
        ("10", HOUR, 7, "16.8"),
        ("20", 6 * HOUR, 7, "5.6"),
        ("40", DAY, 7, "2.8"),
        ("1", HOUR, 90, "21.6"),
        ("3", 6 * HOUR, 90, "10.8"),
        ("5", DAY, 90, "4.5"),
    ],
)
def test_factors_for_a_share_of_the_budget(
    percent: str, window_s: int, period_days: int, factor: str
) -> None:
    """Vectors B5 and B6: b/100 * P/W, exactly."""
    found = burn_factor(Fraction(percent) / 100, window_s, period_days * DAY)
    assert found == Fraction(factor)


@pytest.mark.parametrize(
    ("burn", "period_days", "gone_after_s"),
    [(10, 30, 3 * DAY), (1, 30, 30 * DAY), (1000, 30, 2592), (14, 28, 2 * DAY), (7, 28, 4 * DAY)],
)
def test_a_constant_burn_exhausts_a_full_budget(
    burn: int, period_days: int, gone_after_s: int
) -> None:
    """P/f: vectors B6, B7 and C10."""
    assert exhaustion_s(Fraction(burn), period_days * DAY) == gone_after_s


def test_nothing_burning_never_exhausts() -> None:
    """There is no time to show, not an infinite one."""
    assert exhaustion_s(Fraction(0), 30 * DAY) is None


@pytest.mark.parametrize(
    ("availability", "left_percent"),
    [("99.0", -900), ("99.9", 0), ("99.95", 50), ("100", 100)],
)
def test_remaining_is_one_minus_the_burn_over_the_period(
    availability: str, left_percent: int
) -> None:
    """The definition, at 99.9 %."""
    share = remaining_share(1 - Fraction(availability) / 100, objective("0.999"))
    assert share * 100 == left_percent


@pytest.mark.parametrize(("target", "period_s"), [("1", DAY), ("0", DAY), ("0.9", 0)])
def test_an_objective_without_budget_or_period_is_refused(target: str, period_s: int) -> None:
    """100 % leaves nothing to burn; the error says what is expected."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        objective(target, period_s)
