"""When a budget burns so fast that somebody should hear of it, and how sure we must be.

Tiers follow the SRE Workbook, chapter 5 ("Alerting on SLOs", multiwindow, multi-burn-rate alerts):
to spend the share b of a period's budget within a window W takes the burn rate b * P / W. All
comparisons are exact; only probabilities are floats. Knows no window's content.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from monitor.fields import format_duration
from monitor.model import Severity
from monitor.slo.budget import burn_factor
from monitor.slo.objective import Tier

_HOUR_S, _DAY_S = 3600, 86400
_DEFAULTS = (
    (Fraction(2, 100), _HOUR_S, 300, Severity.CRITICAL),
    (Fraction(5, 100), 6 * _HOUR_S, 1800, Severity.CRITICAL),
    (Fraction(10, 100), _DAY_S, 2 * _HOUR_S, Severity.WARNING),
    (Fraction(10, 100), 3 * _DAY_S, 6 * _HOUR_S, Severity.WARNING),
)
"""Share of the budget, long window, short window, severity."""
_TERMS = 500
_CLOSE = 1e-13
_TINY = 1e-300


def tier(share: Fraction, long_s: int, short_s: int, severity: Severity, period_s: int) -> Tier:
    """Return the tier that fires when `share` (0-1) of the budget goes within `long_s`."""
    return Tier(
        name=format_duration(long_s),
        factor=burn_factor(share, long_s, period_s),
        long_s=long_s,
        short_s=short_s,
        severity=severity,
    )


def default_tiers(target: Fraction, period_s: int) -> tuple[Tier, ...]:
    """Return the Workbook's tiers for this objective, fastest first, without those of no use."""
    return tuple(each for each in _all_tiers(period_s) if not _why_useless(each, target, period_s))


def left_out(target: Fraction, period_s: int) -> tuple[tuple[Tier, str], ...]:
    """Return the Workbook's tiers that are of no use for this objective, and why."""
    found = ((each, _why_useless(each, target, period_s)) for each in _all_tiers(period_s))
    return tuple((each, why) for each, why in found if why)


def is_reachable(factor: Fraction, target: Fraction) -> bool:
    """Whether a total outage burns faster than `factor`: it burns at 1 / (1 - target)."""
    return factor * (1 - target) < 1


def exceeds(bad: int, valid: int, factor: Fraction, allowed: Fraction) -> bool:
    """Whether bad / valid is strictly above factor * allowed; a tie is not above."""
    limit = factor * allowed
    return bad * limit.denominator > valid * limit.numerator


def is_surely_above(bad: int, valid: int, p: Fraction | float, confidence: Fraction) -> bool:
    """Whether the true rate is above `p`, with this confidence (0-1).

    The one-sided lower bound of Clopper and Pearson (Biometrika 26, 1934) is above `p` when so
    many bad ones would be rarer than 1 - confidence if the rate were `p`.
    """
    return binomial_tail(bad, valid, float(p)) < 1 - confidence


def bad_needed(
    valid: int, factor: Fraction, allowed: Fraction, confidence: Fraction, min_events: int
) -> int | None:
    """Return the least number of bad among `valid` that fires, None when none does."""
    if valid < min_events:
        return None

    def fires(bad: int) -> bool:
        return exceeds(bad, valid, factor, allowed) and is_surely_above(
            bad, valid, factor * allowed, confidence
        )

    if not fires(valid):
        return None
    low, high = 0, valid
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fires(middle) else (middle, high)
    return high


def bounds(bad: int, valid: int, confidence: Fraction) -> tuple[float, float]:
    """Return the rates between which the true one is, each bound with this confidence alone."""
    doubt = float(1 - confidence)
    low = _where(lambda p: binomial_tail(bad, valid, p) >= doubt) if bad else 0.0
    high = _where(lambda p: binomial_tail(bad + 1, valid, p) >= 1 - doubt) if bad < valid else 1.0
    return low, high


def binomial_tail(bad: int, valid: int, p: float) -> float:
    """Return the probability of `bad` or more among `valid`, each bad with probability `p`.

    It is the regularized incomplete beta function I_p(bad, valid - bad + 1), by its continued
    fraction (DLMF 8.17.22).
    """
    if bad <= 0:
        return 1.0
    if bad > valid or p <= 0:
        return 0.0
    if p >= 1:
        return 1.0
    a, b = bad, valid - bad + 1
    log_front = (
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(p) + b * math.log1p(-p)
    )
    # The fraction converges quickly on this side of the mean only.
    if p < (a + 1) / (a + b + 2):
        return min(1.0, math.exp(log_front) * _fraction(a, b, p) / a)
    return max(0.0, 1.0 - math.exp(log_front) * _fraction(b, a, 1 - p) / b)


def _fraction(a: float, b: float, x: float) -> float:
    """Evaluate the continued fraction by Lentz's method."""
    c, d = 1.0, 1 / _nonzero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _TERMS):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _nonzero(1 + step * d)
            c = _nonzero(1 + step / c)
            value *= d * c
        if abs(d * c - 1) < _CLOSE:
            break
    return value


def _nonzero(number: float) -> float:
    return number if abs(number) > _TINY else _TINY


def _where(holds: Callable[[float], bool]) -> float:
    """Return the least p for which `holds`, which once it does goes on to."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _all_tiers(period_s: int) -> tuple[Tier, ...]:
    return tuple(
        tier(share, long_s, short_s, severity, period_s)
        for share, long_s, short_s, severity in _DEFAULTS
    )


def _why_useless(each: Tier, target: Fraction, period_s: int) -> str:
    if each.long_s >= period_s:
        return "its window is no shorter than the period"
    if each.factor < 1:
        return f"a burn rate of {float(each.factor):.3g} never uses up the budget"
    if not is_reachable(each.factor, target):
        most = float(1 / (1 - target))
        return f"a total outage burns at {most:.4g}, not above {float(each.factor):.4g}"
    return ""
