"""Burn-rate tiers, and how sure a few samples can make us that a rate is too high.

Owns the factors, the strict comparison and the binomial test. Counts and fractions in, decisions
out: nothing is rounded before it is compared.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from monitor.fields import format_duration
from monitor.model import Severity
from monitor.slo.budget import burn_factor
from monitor.slo.objective import DAY_S, Objective, Tier

MINUTE_S = 60
HOUR_S = 3600

_WORKBOOK = (
    (Fraction(2, 100), HOUR_S, 5 * MINUTE_S, Severity.CRITICAL),
    (Fraction(5, 100), 6 * HOUR_S, 30 * MINUTE_S, Severity.CRITICAL),
    (Fraction(10, 100), DAY_S, 2 * HOUR_S, Severity.WARNING),
    (Fraction(10, 100), 3 * DAY_S, 6 * HOUR_S, Severity.WARNING),
)
"""Share of the budget, long and short window, who hears (Site Reliability Workbook, ch. 5)."""

_ENOUGH = 1e-17
"""A term this much smaller than the sum no longer changes it."""
_NEAR = 1e-6
"""Relative distance to the limit within which floats do not decide; their error is below 1e-8."""
_HALVINGS = 50
_EXACT_MAX = 1000
"""Samples up to which a near tie is decided in integers. Beyond, nobody meets a tie by chance."""
_EXACT_DECIMALS = 1000
"""From here on a number is shown with one decimal, below with six figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A default tier that an objective cannot have."""

    tier: Tier
    why: str


def plain(value: Fraction) -> str:
    """Return a number as people write it: `14.4`, `172.8`, `1728000`; six figures if periodic."""
    if value.denominator == 1:
        return str(value.numerator)
    if value < _EXACT_DECIMALS:
        return f"{float(value):.6g}"
    return f"{float(value):.1f}".removesuffix(".0")


def percent(share: Fraction) -> str:
    """Return a share as `99.9%`; a target close to 1 keeps its nines."""
    return f"{float(share * 100):.10g}%"


def tier(share: Fraction, long_s: int, short_s: int, severity: Severity, period_s: int) -> Tier:
    """Return the tier that fires once `share` (0-1) of the budget goes within the long window.

    Its factor is b * P / W (Site Reliability Workbook, ch. 5).
    """
    return Tier(
        name=format_duration(long_s),
        factor=burn_factor(share, long_s, period_s),
        long_s=long_s,
        short_s=short_s,
        severity=severity,
    )


def why_unreachable(factor: Fraction, target: Fraction) -> str | None:
    """Say why no share of errors exceeds this burn rate; None when one does.

    All bad is a burn of 1 / (1 - target), the largest there is; that it be strictly above the
    factor takes a target above 1 - 1 / factor.
    """
    largest = 1 / (1 - target)
    if largest > factor:
        return None
    least = f"{float(100 * (1 - 1 / factor)):.6g}%"
    return (
        f"at {percent(target)} the largest possible burn rate is {plain(largest)}x, "
        f"which is not above {plain(factor)}x: the target would have to be above {least}"
    )


def _why_left_out(candidate: Tier, target: Fraction, period_s: int) -> str | None:
    if candidate.long_s > period_s:
        return f"its window is longer than the period of {format_duration(period_s)}"
    if candidate.factor < 1:
        return (
            f"its factor {plain(candidate.factor)}x is below 1: "
            "it would fire on a burn that the budget survives"
        )
    return why_unreachable(candidate.factor, target)


def _candidates(period_s: int) -> tuple[Tier, ...]:
    return tuple(tier(*row, period_s) for row in _WORKBOOK)


def default_tiers(target: Fraction, period_s: int) -> tuple[Tier, ...]:
    """Return the Workbook's tiers for this period, without those that `left_out` names.

    2 % in 1 h and 5 % in 6 h page; 10 % in 1 d and in 3 d are tickets. At 30 days that is 14.4,
    6, 3 and 1.
    """
    return tuple(
        candidate
        for candidate in _candidates(period_s)
        if _why_left_out(candidate, target, period_s) is None
    )


def left_out(target: Fraction, period_s: int) -> tuple[LeftOut, ...]:
    """Return the Workbook's tiers that make no sense for this objective, and why not."""
    reasons = ((each, _why_left_out(each, target, period_s)) for each in _candidates(period_s))
    return tuple(LeftOut(tier=each, why=why) for each, why in reasons if why is not None)


def exceeds(
    bad: int | Fraction, valid: int | Fraction, factor: Fraction, allowed: Fraction
) -> bool:
    """Tell whether `bad` of `valid` burns strictly faster than `factor`; a tie does not.

    bad / valid > factor * allowed, multiplied out: nothing of nothing exceeds nothing.
    """
    return bad > factor * allowed * valid


def _log_chance(bad: int, valid: int, p: float, q: float) -> float:
    ways = math.lgamma(valid + 1) - math.lgamma(bad + 1) - math.lgamma(valid - bad + 1)
    return ways + bad * math.log(p) + (valid - bad) * math.log(q)


def _falling_sum(bad: int, valid: int, p: float, q: float) -> float:
    """Return P(X >= bad) for `bad` above the mean, where each term is smaller than the last."""
    term, total, odds = math.exp(_log_chance(bad, valid, p, q)), 0.0, p / q
    while term > total * _ENOUGH:
        total += term
        bad += 1
        term *= (valid - bad + 1) / bad * odds
    return total


def binomial_tail(bad: int, valid: int, p: float | Fraction) -> float:
    """Return P(X >= bad) when each of `valid` samples is bad with the chance `p`.

    Sums the side that does not hold the mean, outwards from its largest term: all terms are
    positive, so nothing cancels, and a few standard deviations are all there is to add. The
    recurrence C(n, k+1) / C(n, k) = (n - k) / (k + 1) is Knuth, TAOCP vol. 1, 1.2.6. The relative
    error is that of `lgamma`, below 1e-8 at a million samples.
    """
    chance, other = float(p), float(1 - p)
    if bad <= 0:
        return 1.0
    if bad > valid or chance <= 0:
        return 0.0
    if other <= 0:
        return 1.0
    if bad > valid * chance:
        return min(1.0, _falling_sum(bad, valid, chance, other))
    return max(0.0, 1.0 - _falling_sum(valid - bad + 1, valid, other, chance))


def _exact_tail(bad: int, valid: int, p: Fraction) -> Fraction:
    hit, miss = p.numerator, p.denominator - p.numerator
    ways = (math.comb(valid, k) * hit**k * miss ** (valid - k) for k in range(bad, valid + 1))
    return Fraction(sum(ways), p.denominator**valid)


def is_surely_above(bad: int, valid: int, p: Fraction, confidence: Fraction) -> bool:
    """Tell whether `bad` of `valid` show, with this confidence, that the true rate is above `p`.

    That is: the one-sided lower bound of Clopper and Pearson (Biometrika 26, 1934) lies above
    `p`, or P(X >= bad | valid, p) < 1 - confidence. A tie does not show it.
    """
    if not 0 < bad <= valid or p >= 1:
        return False
    limit = 1 - confidence
    chance = binomial_tail(bad, valid, p)
    if valid <= _EXACT_MAX and abs(chance - limit) <= limit * _NEAR:
        return _exact_tail(bad, valid, p) < limit
    return chance < limit


def bad_needed(
    valid: int, factor: Fraction, allowed: Fraction, confidence: Fraction, min_events: int
) -> int | None:
    """Return the least number of bad among `valid` that is above the factor, and surely so.

    None when not even all bad is, or when `valid` is below `min_events`.
    """
    p = factor * allowed
    least = math.floor(p * valid) + 1
    if valid < min_events or not is_surely_above(valid, valid, p, confidence):
        return None
    # Both conditions hold from some count on. That all bad will do is known, so valid is the end.
    return least + bisect_left(
        range(least, valid), x=True, key=lambda bad: is_surely_above(bad, valid, p, confidence)
    )


def spent_share(burning: Tier, period_s: int) -> Fraction:
    """Return the share of the budget that is gone when a tier fires: burn * W / P."""
    return burning.factor * burning.long_s / period_s


def spent_s(burning: Tier, objective: Objective) -> Fraction:
    """Return how much of the allowed time that is."""
    return spent_share(burning, objective.period_s) * objective.allowed_s


def bounds(bad: int, valid: int, confidence: Fraction) -> tuple[float, float]:
    """Return the rates between which the true one is, each bound with this confidence alone.

    Clopper and Pearson's, found by halving: the tail grows with the rate.
    """
    doubt = float(1 - confidence)
    low = _least(lambda p: binomial_tail(bad, valid, p) >= doubt) if bad else 0.0
    high = _least(lambda p: binomial_tail(bad + 1, valid, p) >= 1 - doubt) if bad < valid else 1.0
    return low, high


def _least(holds: Callable[[float], bool]) -> float:
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
