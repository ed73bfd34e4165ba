"""Tiers, strict comparison and the binomial test against published figures and exact sums.

Figures come from the Site Reliability Workbook ch. 5, Datadog's and sloth's documented factors
and Clopper and Pearson (1934); sections and vectors (B5 ...) are those of slo-maths.md.
"""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.model import Severity
from monitor.slo.burn import (
    bad_needed,
    binomial_tail,
    default_tiers,
    exceeds,
    is_surely_above,
    left_out,
    percent,
    plain,
    spent_s,
    spent_share,
    tier,
    why_unreachable,
)
from monitor.slo.objective import Objective

MINUTE, HOUR, DAY = 60, 3600, 86400
SURE = Fraction("0.95")
CHANCES = st.fractions(min_value=0, max_value=1, max_denominator=200)


def exact_tail(bad: int, valid: int, p: Fraction) -> Fraction:
    """Return P(X >= bad) by the definition."""
    return sum(
        (math.comb(valid, k) * p**k * (1 - p) ** (valid - k) for k in range(bad, valid + 1)),
        Fraction(),
    )


def test_default_tiers_are_the_workbooks() -> None:
    """2.2: windows, severities and names at 30 days and 99.9 %."""
    found = [
        (each.name, each.factor, each.long_s, each.short_s, each.severity)
        for each in default_tiers(Fraction("0.999"), 30 * DAY)
    ]
    assert found == [
        ("1h", Fraction("14.4"), HOUR, 5 * MINUTE, Severity.CRITICAL),
        ("6h", Fraction(6), 6 * HOUR, 30 * MINUTE, Severity.CRITICAL),
        ("1d", Fraction(3), DAY, 2 * HOUR, Severity.WARNING),
        ("3d", Fraction(1), 3 * DAY, 6 * HOUR, Severity.WARNING),
    ]


@pytest.mark.parametrize(
    ("target", "period_days", "kept", "gone"),
    [
        pytest.param("0.999", 30, "14.4 6 3 1", {}, id="B5-30d"),
        pytest.param("0.999", 28, "13.44 5.6 2.8", {"3d": "0.933333x is below 1"}, id="B5-28d"),
        pytest.param("0.999", 90, "43.2 18 9 3", {}, id="90d"),
        pytest.param("0.9", 30, "6 3 1", {"1h": "largest possible burn rate is 10x"}, id="C12"),
        pytest.param("0.8", 30, "3 1", {"1h": "93.0556%", "6h": "83.3333%"}, id="2.1-80%"),
        pytest.param("0.999", 7, "3.36 1.4", {"1d": "below 1", "3d": "below 1"}, id="7d"),
        pytest.param(
            "0.999",
            1,
            "",
            {"1h": "0.48x", "6h": "0.2x", "1d": "0.1x", "3d": "longer than the period of 1d"},
            id="1d",
        ),
    ],
)
def test_default_tiers_follow_the_period_and_leave_out_what_makes_no_sense(
    target: str, period_days: int, kept: str, gone: dict[str, str]
) -> None:
    """Factors are computed for the period; each tier that is missing is named with its reason."""
    args = (Fraction(target), period_days * DAY)
    assert [each.factor for each in default_tiers(*args)] == [*map(Fraction, kept.split())]
    found = {each.tier.name: each.why for each in left_out(*args)}
    assert found.keys() == gone.keys()
    for name, words in gone.items():
        assert words in found[name]


@given(
    target=st.fractions(min_value=Fraction(1, 100), max_value=Fraction(99999, 100000)),
    period_s=st.integers(min_value=HOUR, max_value=400 * DAY),
)
def test_every_default_tier_is_either_kept_or_left_out(target: Fraction, period_s: int) -> None:
    """Nothing is lost in between, and what is kept can fire on a total outage."""
    kept = default_tiers(target, period_s)
    gone = [each.tier for each in left_out(target, period_s)]
    assert sorted(each.long_s for each in (*kept, *gone)) == [HOUR, 6 * HOUR, DAY, 3 * DAY]
    assert all(each.factor >= 1 for each in kept)
    assert all(exceeds(1, 1, each.factor, 1 - target) for each in kept)


@pytest.mark.parametrize(
    ("share", "window_s", "period_days", "name", "factor"),
    [
        pytest.param("8", HOUR, 7, "1h", "13.44", id="B5-sloth"),
        pytest.param("12.5", 6 * HOUR, 7, "6h", "3.5", id="B5-sloth"),
        pytest.param("20", DAY, 7, "1d", "1.4", id="B5-sloth"),
        pytest.param("42", 3 * DAY, 7, "3d", "0.98", id="B5-sloth"),
        pytest.param("10", HOUR, 7, "1h", "16.8", id="B6-datadog"),
        pytest.param("40", DAY, 7, "1d", "2.8", id="B6-datadog"),
        pytest.param("1", HOUR, 90, "1h", "21.6", id="B6-datadog"),
        pytest.param("5", DAY, 90, "1d", "4.5", id="B6-datadog"),
        pytest.param("5", HOUR, 30, "1h", "36", id="C10-workbook"),
        # Pyrra gives exhaustion times E instead: its factor is P / E, its share W / E.
        pytest.param(Fraction(100, 48), HOUR, 28, "1h", "14", id="B7-pyrra-2d"),
        pytest.param(Fraction(600, 96), 6 * HOUR, 28, "6h", "7", id="B7-pyrra-4d"),
        pytest.param(Fraction(100, 14), DAY, 28, "1d", "2", id="B7-pyrra-2w"),
        pytest.param(Fraction(100, 7), 4 * DAY, 28, "4d", "1", id="B7-pyrra-4w"),
    ],
)
def test_a_custom_tier_spends_its_share_in_its_window(
    share: str | Fraction, window_s: int, period_days: int, name: str, factor: str
) -> None:
    """B * P / W, exactly, and back: the share spent at that factor is b."""
    part = Fraction(share) / 100
    found = tier(part, window_s, window_s // 12, Severity.CRITICAL, period_days * DAY)
    assert (found.name, found.factor) == (name, Fraction(factor))
    assert (found.long_s, found.short_s) == (window_s, window_s // 12)
    assert spent_share(found, period_days * DAY) == part


def test_what_a_tier_spends_is_a_part_of_the_allowed_time() -> None:
    """2 % of 43.2 min are 51.84 s."""
    fast = default_tiers(Fraction("0.999"), 30 * DAY)[0]
    assert spent_s(fast, Objective(target=Fraction("0.999"))) == Fraction("51.84")


@pytest.mark.parametrize(
    ("factor", "least_percent"),
    [
        pytest.param("14.4", "93.0556", id="2.1"),
        pytest.param("13.44", "92.5595", id="2.1"),
        pytest.param("16.8", "94.0476", id="2.1"),
        pytest.param("21.6", "95.3704", id="2.1"),
        pytest.param("6", "83.3333", id="2.1"),
        pytest.param("3", "66.6667", id="2.1"),
    ],
)
def test_a_factor_is_out_of_reach_up_to_its_least_target(factor: str, least_percent: str) -> None:
    """At 1 - 1/f a total outage only ties, which does not fire; a hair above, it does."""
    at = 1 - 1 / Fraction(factor)
    why = why_unreachable(Fraction(factor), at)
    assert why is not None
    assert f"above {least_percent}%" in why
    assert not exceeds(1, 1, Fraction(factor), 1 - at)
    assert why_unreachable(Fraction(factor), at + Fraction(1, 10**9)) is None


@pytest.mark.parametrize(("target", "largest"), [("0.999", 1000), ("0.96", 25), ("0.9", 10)])
def test_the_largest_burn_rate_is_named(target: str, largest: int) -> None:
    """B6 and C12: 1 / (1 - target), itself already out of reach."""
    why = why_unreachable(Fraction(largest), Fraction(target))
    assert why is not None
    assert f"is {largest}x, which is not above {largest}x" in why
    assert why_unreachable(Fraction(largest) - Fraction(1, 10**9), Fraction(target)) is None


@pytest.mark.parametrize(
    ("factor", "target", "most"),
    [
        ("14.4", "0.99", 6),
        ("14.4", "0.995", 13),
        ("14.4", "0.999", 69),
        ("14.4", "0.9999", 694),
        ("6", "0.999", 166),
        ("3", "0.999", 333),
    ],
)
def test_one_failed_event_alone_crosses_a_factor_in_low_traffic(
    factor: str, target: str, most: int
) -> None:
    """2.1: it does whenever n < 1 / (f * (1 - target)); certainty is what keeps it from paging."""
    allowed = 1 - Fraction(target)
    assert exceeds(1, most, Fraction(factor), allowed)
    assert not exceeds(1, most + 1, Fraction(factor), allowed)
    assert not is_surely_above(1, most, Fraction(factor) * allowed, SURE)


@pytest.mark.parametrize(
    ("bad", "valid", "factor", "target", "above"),
    [
        pytest.param(144, 10000, "14.4", "0.999", False, id="tie"),
        pytest.param(145, 10000, "14.4", "0.999", True, id="one-more"),
        pytest.param(144, 9999, "14.4", "0.999", True, id="one-fewer-valid"),
        pytest.param(3, 10, "3", "0.9", False, id="tie-that-floats-miss"),
        pytest.param(7, 1000, "7", "0.999", False, id="tie-that-floats-miss"),
        pytest.param(1, 10, "100", "0.999", False, id="C12-burn-100"),
        pytest.param(1, 10, "99.99", "0.999", True, id="C12-burn-100"),
        pytest.param(0, 0, "1", "0.999", False, id="nothing-of-nothing"),
        pytest.param(0, 10, "0", "0.999", False, id="zero-ties-zero"),
        pytest.param(Fraction(1, 3), 1000, "1/3", "0.999", False, id="fractions"),
    ],
)
def test_a_tie_does_not_exceed(
    bad: int | Fraction, valid: int, factor: str, target: str, *, above: bool
) -> None:
    """Strictly above, decided in fractions."""
    assert exceeds(bad, valid, Fraction(factor), 1 - Fraction(target)) is above


@given(valid=st.integers(min_value=0, max_value=60), p=CHANCES, data=st.data())
def test_the_tail_agrees_with_the_exact_sum(valid: int, p: Fraction, data: st.DataObject) -> None:
    """Floats against fractions, relative error included."""
    bad = data.draw(st.integers(min_value=0, max_value=valid + 1))
    assert binomial_tail(bad, valid, p) == pytest.approx(
        float(exact_tail(bad, valid, p)), rel=1e-11, abs=0
    )


@given(
    valid=st.integers(min_value=1, max_value=10**6),
    p=st.floats(min_value=0, max_value=1),
    data=st.data(),
)
def test_the_tail_is_a_falling_chance_and_has_a_mirror(
    valid: int, p: float, data: st.DataObject
) -> None:
    """It stays within 0-1, never rises with `bad`, and good and bad may change roles."""
    bad = data.draw(st.integers(min_value=1, max_value=valid))
    here, next_one = binomial_tail(bad, valid, p), binomial_tail(bad + 1, valid, p)
    assert 0 <= next_one <= here * (1 + 1e-7) <= 1 + 1e-7
    exact = Fraction(p)
    mirror = 1 - binomial_tail(valid - bad + 1, valid, 1 - exact)
    assert binomial_tail(bad, valid, exact) == pytest.approx(mirror, abs=1e-7)


@pytest.mark.parametrize(
    ("bad", "valid", "p", "chance"),
    [
        # P(X >= n/2) = 1/2 + C(n, n/2) / 2^(n+1), the last by Stirling 1/sqrt(2 pi n).
        pytest.param(500_000, 10**6, "1/2", 0.5 + 1 / math.sqrt(2 * math.pi * 10**6), id="half"),
        # From here the complement is a single term: 1 - (1 - p)^n.
        pytest.param(1, 10**6, "1/1000000", -math.expm1(10**6 * math.log1p(-1e-6)), id="rare"),
        pytest.param(10**6, 10**6, "0.99999", math.exp(10**6 * math.log(0.99999)), id="all"),
        pytest.param(10**6, 10**6, "1/2", 0.0, id="underflow"),
        pytest.param(1, 10**6, "1/2", 1.0, id="certain"),
    ],
)
def test_the_tail_of_a_million_samples(bad: int, valid: int, p: str, chance: float) -> None:
    """Closed forms where the exact sum would take minutes."""
    assert binomial_tail(bad, valid, Fraction(p)) == pytest.approx(chance, rel=1e-7)


@pytest.mark.parametrize(
    ("bad", "valid", "p", "sure"),
    [
        # All of n bad: the lower bound is 0.05 ** (1/n) (Clopper and Pearson).
        pytest.param(1, 1, "0.0499", True, id="all-of-1"),
        pytest.param(1, 1, "0.05", False, id="all-of-1-tie"),
        pytest.param(3, 3, "0.3684", True, id="all-of-3"),
        pytest.param(3, 3, "0.3685", False, id="all-of-3"),
        # One of n bad: the lower bound is 1 - 0.95 ** (1/n).
        pytest.param(1, 10, "0.005116", True, id="one-of-10"),
        pytest.param(1, 10, "0.005117", False, id="one-of-10"),
        pytest.param(1, 10, "0.001", True, id="C12-above-target"),
        pytest.param(1, 10, "0.0144", False, id="C12-not-above-14.4"),
        pytest.param(0, 10, "0", False, id="nothing-bad"),
        pytest.param(0, 0, "0.1", False, id="nothing"),
        pytest.param(10, 10, "1", False, id="above-all-is-nothing"),
        pytest.param(10, 10, "1.44", False, id="unreachable"),
    ],
)
def test_surely_above_is_the_lower_clopper_pearson_bound(
    bad: int, valid: int, p: str, *, sure: bool
) -> None:
    """Closed forms of the bound at 95 %, from both sides."""
    assert is_surely_above(bad, valid, Fraction(p), SURE) is sure


@pytest.mark.parametrize(("valid", "p"), [(1, "1/20"), (2, "1/5"), (3, "1/7"), (9, "1/3")])
def test_an_exact_tie_of_the_test_is_not_sure(valid: int, p: str) -> None:
    """All bad has the chance p^n; at a confidence of exactly 1 - p^n that is not below it."""
    chance = Fraction(p)
    tie = 1 - chance**valid
    assert not is_surely_above(valid, valid, chance, tie)
    assert is_surely_above(valid, valid, chance, tie - Fraction(1, 10**30))


@given(
    valid=st.integers(min_value=0, max_value=40),
    factor=st.fractions(min_value=0, max_value=20, max_denominator=50),
    allowed=st.fractions(min_value=Fraction(1, 1000), max_value=Fraction(1, 2)),
    confidence=st.sampled_from([Fraction(0), Fraction(1, 2), SURE, Fraction("0.999")]),
    min_events=st.integers(min_value=0, max_value=15),
)
def test_bad_needed_is_the_first_count_that_satisfies_both(
    valid: int, factor: Fraction, allowed: Fraction, confidence: Fraction, min_events: int
) -> None:
    """Against trying every count with exact sums."""
    p = factor * allowed
    first = next(
        (
            bad
            for bad in range(1, valid + 1)
            if Fraction(bad, valid) > p and exact_tail(bad, valid, p) < 1 - confidence
        ),
        None,
    )
    expected = first if valid >= min_events else None
    assert bad_needed(valid, factor, allowed, confidence, min_events) == expected


@pytest.mark.parametrize(
    ("valid", "factor", "confidence", "min_events", "needed"),
    [
        pytest.param(240, "14.4", "0", 10, 4, id="1h-of-15s-unsure"),
        pytest.param(240, "14.4", "0.95", 10, 8, id="1h-of-15s"),
        pytest.param(20, "14.4", "0.95", 0, 2, id="5m-of-15s"),
        pytest.param(10, "14.4", "0.95", 10, 2, id="C12-one-failure-does-not-page"),
        pytest.param(9, "14.4", "0.95", 10, None, id="below-min-events"),
        pytest.param(0, "14.4", "0.95", 0, None, id="empty"),
        pytest.param(10**6, "1", "0", 10, 1001, id="million-unsure"),
        pytest.param(100, "1000", "0.95", 10, None, id="unreachable"),
        pytest.param(100, "1", "1", 10, None, id="certainty-cannot-be-had"),
    ],
)
def test_how_many_must_be_bad_at_99_9_percent(
    valid: int, factor: str, confidence: str, min_events: int, needed: int | None
) -> None:
    """Pinned counts; more certainty takes more failures."""
    found = bad_needed(valid, Fraction(factor), Fraction("0.001"), Fraction(confidence), min_events)
    assert found == needed


@pytest.mark.parametrize(
    ("value", "text"),
    [("14.4", "14.4"), ("1728000", "1728000"), ("172.8", "172.8"), ("14/15", "0.933333")],
)
def test_numbers_are_written_plainly(value: str, text: str) -> None:
    """No exponents where people count."""
    assert plain(Fraction(value)) == text
    assert plain(Fraction("1234567.04")) == "1234567"


@pytest.mark.parametrize("text", ["90%", "99.9%", "99.95%", "99.999%", "99.99999%"])
def test_a_target_keeps_its_nines(text: str) -> None:
    """99.999 % must never be shown as 100 %."""
    assert percent(Fraction(text.removesuffix("%")) / 100) == text
