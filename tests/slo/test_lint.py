"""What `monitor check` says of an objective: published figures, a simulation, and the words."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.model import Severity
from monitor.slo.burn import bad_needed, default_tiers, exceeds, is_surely_above, tier
from monitor.slo.lint import Feed, Report, TierFacts, _clears_s, _detection_s, _Pace, lint, render
from monitor.slo.objective import Budgeting, Objective, Sli, SliKind, Tier

MINUTE, HOUR, DAY = 60, 3600, 86400
FINE_S = 0.1
"""An interval so short that counting samples comes close to measuring time."""
EVERY_15_S = [Feed(15, 10)]


def objective(
    target: str = "0.999",
    period_s: int = 30 * DAY,
    tiers: tuple[Tier, ...] | None = None,
    **kw: Any,
) -> Objective:
    chosen = default_tiers(Fraction(target), period_s) if tiers is None else tiers
    kw.setdefault("confidence", Fraction(95, 100))
    return Objective(target=Fraction(target), period_s=period_s, tiers=chosen, **kw)


def needed(window_s: int, factor: str) -> int | None:
    """Return how many fine samples cross a factor at 99.9 %, without any test of certainty."""
    return bad_needed(int(window_s / FINE_S), Fraction(factor), Fraction("0.001"), Fraction(0), 0)


@pytest.mark.parametrize(
    ("window_s", "factor", "failing", "after_s"),
    [
        pytest.param(HOUR, "14.4", "0.15", 345.6, id="C9-1h-5.76min"),
        pytest.param(5 * MINUTE, "14.4", "0.15", 28.8, id="C9-5m-29s"),
        pytest.param(HOUR, "36", "1", 129.6, id="C10-2.16min"),
        pytest.param(HOUR, "36", "0.035", None, id="C10-burn-35-never"),
        pytest.param(HOUR, "36", "0.036", None, id="C10-a-tie-never"),
        pytest.param(10 * MINUTE, "1", "1", 0.6, id="C11-0.6s"),
        pytest.param(HOUR, "14.4", "1", 51.84, id="2.1-f*(1-target)*W/e"),
    ],
)
def test_detection_times_of_the_workbook(
    window_s: int, factor: str, failing: str, after_s: float | None
) -> None:
    """Single windows at 99.9 % over 30 d: the published time, or up to one bad sample later."""
    pace = _Pace(objective(), [Feed(FINE_S, 1)])
    share = Fraction(failing)
    found = _detection_s([(window_s, needed(window_s, factor))], share, pace, Fraction())
    if after_s is None or found is None:
        assert found is after_s
    else:
        assert after_s < found <= after_s + FINE_S / share + 1e-9


@pytest.mark.parametrize(
    ("windows", "factor", "clears_s"),
    [
        pytest.param([HOUR], "36", 3470.4, id="C10-58min"),
        pytest.param([HOUR, 5 * MINUTE], "14.4", 295.68, id="C9-short-window-5min"),
        pytest.param([HOUR], "14.4", 3548.16, id="C9-long-alone-54-to-60min"),
    ],
)
def test_reset_times_of_the_workbook(windows: list[int], factor: str, clears_s: float) -> None:
    """The long window alone holds an alert for most of its length, the short one for its own."""
    pace = _Pace(objective(), [Feed(FINE_S, 1)])
    facts = [(window_s, count) for window_s in windows if (count := needed(window_s, factor))]
    assert float(_clears_s(facts, pace, Fraction())) == pytest.approx(clears_s, abs=FINE_S)


def test_ten_requests_an_hour() -> None:
    """C12: of 7200 samples 7.2 may fail, one failure costs 13.9 % and does not page by itself."""
    report = lint(objective(), [Feed(360, 10)], 5)
    assert (report.samples, report.allowed_samples) == (7200, Fraction("7.2"))
    assert "one failed probe spends 13.9% of the budget" in report.warnings
    assert [facts.long_bad for facts in report.tiers] == [2, 3, 3, 3]


def test_a_window_of_ten_minutes_fires_on_next_to_nothing() -> None:
    """C11: at a factor of 1 it spends .02 % of the budget."""
    eager = Tier(name="10m", factor=Fraction(1), long_s=600, short_s=60, severity=Severity.CRITICAL)
    (facts,) = lint(objective(tiers=(eager,)), [Feed(FINE_S, 1)], 1).tiers
    assert float(facts.spent_share) == pytest.approx(0.00023, abs=5e-6)


def first(times: range, holds: Callable[[int], bool]) -> int | None:
    return next((time for time in times if holds(time)), None)


def fires(
    spec: Objective, each: Tier, interval_s: int, is_bad: Callable[[int], bool]
) -> Callable[[int], bool]:
    """Return the alert's condition at a time, counted sample by sample."""

    def above(time: int, window_s: int, confidence: Fraction) -> bool:
        valid = window_s // interval_s
        bad = sum(is_bad(time - back * interval_s) for back in range(valid))
        p = each.factor * spec.allowed
        return exceeds(bad, valid, each.factor, spec.allowed) and is_surely_above(
            bad, valid, p, confidence
        )

    def holds(time: int) -> bool:
        sure = above(time, each.long_s, spec.confidence)
        return sure and above(time, each.short_s, Fraction())

    return holds


@given(
    interval_s=st.integers(min_value=1, max_value=30),
    windows=st.tuples(st.integers(min_value=1, max_value=12), st.integers(2, 8)),
    factor=st.fractions(min_value=Fraction(1, 2), max_value=8, max_denominator=10),
    target=st.sampled_from(["0.9", "0.95", "0.99", "0.999"]),
    confidence=st.sampled_from([Fraction(0), Fraction(1, 2), Fraction("0.95")]),
)
def test_times_are_those_of_a_simulation(
    interval_s: int,
    windows: tuple[int, int],
    factor: Fraction,
    target: str,
    confidence: Fraction,
) -> None:
    """Full good windows, then an outage, sample by sample: when it fires and when it clears."""
    short_n, times = windows
    short_s = short_n * interval_s
    each = Tier(
        name="x",
        factor=factor,
        long_s=short_s * times,
        short_s=short_s,
        severity=Severity.CRITICAL,
    )
    spec = objective(target, tiers=(each,), confidence=confidence, min_events=1)
    (facts,) = lint(spec, [Feed(interval_s, 1)], 0).tiers
    horizon = range(0, each.long_s + 30 * interval_s, interval_s)

    fired = first(horizon, fires(spec, each, interval_s, lambda time: time > 0))
    assert facts.total_outage_s == fired
    partly = fires(spec, each, interval_s, lambda t: t > 0 and t % (10 * interval_s) == 0)
    assert facts.partial_outage_s == first(horizon, partly)
    if fired is None:
        assert facts.clears_s is None
        return
    goes_on = fires(spec, each, interval_s, lambda time: 0 < time <= fired)
    after = range(fired, fired + each.long_s + interval_s, interval_s)
    cleared = first(after, lambda time: not goes_on(time))
    assert cleared is not None
    assert facts.clears_s == cleared - fired


def by_name(report: Report) -> dict[str, TierFacts]:
    return {facts.tier.name: facts for facts in report.tiers}


def test_each_figure_of_the_usual_case() -> None:
    """99.9 % over 30 d, a probe every 15 s, a look every 5 s."""
    report = lint(objective(), EVERY_15_S, 5)
    assert (report.errors, report.warnings) == ((), ())
    assert (report.allowed_s, report.samples) == (2592, 172_800)
    assert report.allowed_samples == Fraction("172.8")
    fast = by_name(report)["1h"]
    assert (fast.spent_share, fast.spent_s) == (Fraction("0.02"), Fraction("51.84"))
    assert (fast.long_samples, fast.short_samples) == (240, 20)
    assert (fast.long_bad, fast.short_bad) == (8, 1)
    assert fast.total_outage_s == fast.outage_spent_s == 8 * 15 + 5
    assert fast.partial_outage_s == 80 * 15 + 5
    assert fast.clears_s == 300 + 5


def test_more_targets_tell_sooner() -> None:
    """Three targets in parallel give three samples an interval."""
    alone = by_name(lint(objective(), EVERY_15_S, 0))["1h"]
    three = by_name(lint(objective(), EVERY_15_S * 3, 0))["1h"]
    assert three.long_samples == 3 * alone.long_samples
    assert three.long_bad is not None
    assert three.total_outage_s == three.long_bad * 5
    assert three.total_outage_s < (alone.total_outage_s or 0)


def test_intervals_are_taken_from_their_decimal_text() -> None:
    """0.1 s is one tenth: 3000 samples in 5 min, not 2999."""
    fast = by_name(lint(objective(), [Feed(0.1, 0.1)], 5))["1h"]
    assert fast.short_samples == 3000


def test_a_sparse_outage_pages_as_the_short_window_needs_no_confidence() -> None:
    """One in ten of a probe a minute leaves at most one failure in 5 min, which is enough."""
    fast = by_name(lint(objective(), [Feed(60, 10)], 5))["1h"]
    assert fast.short_bad == 1
    assert fast.partial_outage_s is not None
    assert fast.total_outage_s is not None


def test_a_window_shorter_than_the_interval_holds_one_sample_at_times() -> None:
    """C12's probe every 6 min still pages by way of a short window of 5."""
    fast = by_name(lint(objective(), [Feed(360, 10)], 5))["1h"]
    assert (fast.short_samples, fast.short_bad) == (1, 1)
    assert fast.total_outage_s == 2 * 360 + 5
    assert fast.partial_outage_s is None


def custom(long_s: int, short_s: int, factor: str = "2") -> tuple[Tier, ...]:
    share = Fraction(factor) * long_s / (30 * DAY)
    return (tier(share, long_s, short_s, Severity.CRITICAL, 30 * DAY),)


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        pytest.param(
            objective("0.9", tiers=custom(HOUR, 300, "14.4")),
            "tier 1h/5m can never fire: at 90% the largest possible burn rate is 10x, which is "
            "not above 14.4x: the target would have to be above 93.0556%",
            id="C12",
        ),
        pytest.param(objective("0.9", tiers=custom(HOUR, 300, "10")), "largest possible", id="tie"),
        pytest.param(
            objective(tiers=custom(HOUR, HOUR)),
            "tier 1h/1h: the short window must be shorter than the long one",
            id="short-as-long",
        ),
        pytest.param(
            objective(tiers=custom(91 * DAY, DAY)),
            "tier 91d/1d: 91d is longer than 90d, the longest window",
            id="too-long",
        ),
    ],
)
def test_what_cannot_work_is_an_error(spec: Objective, error: str) -> None:
    """Exactly one, and it says what would work."""
    (found,) = lint(spec, EVERY_15_S, 5).errors
    assert error in found


def test_windows_up_to_the_limit_are_no_error() -> None:
    """90 d is the longest window, not too long."""
    assert lint(objective(tiers=custom(90 * DAY, DAY)), EVERY_15_S, 5).errors == ()


SLICED: dict[str, Any] = {"budgeting": Budgeting.TIMESLICES, "slice_s": 60}


@pytest.mark.parametrize(
    ("spec", "feeds", "warnings"),
    [
        pytest.param(objective(), [Feed(100, 10)], [], id="three-intervals-are-enough"),
        pytest.param(
            objective(tiers=custom(HOUR, 300)),
            [Feed(15, 10), Feed(101, 10)],
            ["tier 1h/5m: 5m is shorter than 3 intervals of the slowest target (1m41s)"],
            id="short-window",
        ),
        pytest.param(
            objective(tiers=custom(100, 50), min_events=1),
            [Feed(40, 10)],
            ["1m40s is shorter than 3 intervals", "50s is shorter than 3 intervals"],
            id="both-windows",
        ),
        pytest.param(
            objective("0.9999", DAY, custom(DAY, HOUR)),
            [Feed(15, 10)],
            ["spends the whole budget: 8s are allowed, and it counts for 15s"],
            id="less-than-one-probe",
        ),
        pytest.param(
            objective("0.9", 100 * MINUTE, custom(DAY, 2 * HOUR)),
            [Feed(600, 10)],
            ["spends the whole budget: 10m are allowed, and it counts for 10m"],
            id="exactly-one-probe",
        ),
        pytest.param(
            objective("0.9", 100 * MINUTE, custom(HOUR, 300)),
            [Feed(60, 10)],
            [],
            id="exactly-a-tenth-is-cheap",
        ),
        pytest.param(
            objective("0.9", 90 * MINUTE, custom(HOUR, 300)),
            [Feed(60, 10)],
            ["one failed probe spends 11.1% of the budget"],
            id="more-than-a-tenth",
        ),
        pytest.param(
            objective("0.9", 90 * MINUTE, custom(HOUR, 300)),
            [Feed(60, 10)] * 2,
            [],
            id="two-targets-halve-it",
        ),
        pytest.param(
            objective(tiers=custom(4 * DAY, DAY)),
            [Feed(300, 10)],
            ["one failed probe spends 11.6% of the budget"],
            id="C11-five-minutes-of-43.2",
        ),
        pytest.param(
            objective("0.9", tiers=custom(DAY, 2 * HOUR)), EVERY_15_S, [], id="custom-as-wanted"
        ),
        pytest.param(
            objective(tiers=custom(HOUR, 300), min_events=241),
            EVERY_15_S,
            ["1h holds 240 samples, and below min_events (241) nothing is decided"],
            id="min-events-out-of-reach",
        ),
        pytest.param(
            objective("0.9", tiers=custom(DAY, 2 * HOUR), **SLICED),
            [Feed(61, 10)],
            ["slices of 1m are shorter than the interval of the slowest target (1m1s)"],
            id="slices",
        ),
        pytest.param(
            objective("0.9", tiers=custom(DAY, 2 * HOUR), **SLICED),
            [Feed(60, 10)],
            [],
            id="slices-of-one-sample",
        ),
        pytest.param(
            objective(tiers=custom(HOUR, 300), slis=(Sli(kind=SliKind.FRESHNESS, max_age_s=10.0),)),
            EVERY_15_S,
            ["max_age is 5s shorter than the interval of the slowest target"],
            id="never-fresh",
        ),
        pytest.param(objective(), [], ["no target feeds it"], id="no-target"),
    ],
)
def test_what_may_not_be_meant_is_a_warning(
    spec: Objective, feeds: list[Feed], warnings: list[str]
) -> None:
    """These, in this order, and no others."""
    found = lint(spec, feeds, 5).warnings
    assert len(found) == len(warnings), found
    assert all(words in text for words, text in zip(warnings, found, strict=True))


def test_slices_are_what_a_timeslice_budget_counts() -> None:
    """D14: two weeks of minutes at 95 % are 20160 slices, 1008 of them may be bad."""
    report = lint(objective("0.95", 14 * DAY, **SLICED), EVERY_15_S, 5)
    assert (report.samples, report.allowed_samples) == (20_160, 1008)
    slow = by_name(report)["6h"]
    assert (slow.long_samples, slow.short_samples) == (360, 30)
    assert slow.long_bad is not None
    assert slow.total_outage_s == (slow.long_bad + 1) * MINUTE + 5


@pytest.mark.parametrize(
    ("slice_target", "share"),
    [
        pytest.param("1", "0.4", id="one-bad-of-four-in-four-of-ten"),
        pytest.param("0.75", "0", id="three-of-four-good-are-enough"),
        pytest.param("0.76", "0.4", id="just-not-enough"),
    ],
)
def test_the_share_of_bad_slices(slice_target: str, share: str) -> None:
    """One in ten of four samples a slice."""
    spec = objective("0.9", slice_target=Fraction(slice_target), **SLICED)
    pace = _Pace(spec, EVERY_15_S)
    assert pace.bad_share(Fraction(1, 10)) == Fraction(share)
    assert pace.bad_share(Fraction(1)) == 1


def test_what_is_fresh_stays_so_for_a_while() -> None:
    """A total outage counts after `max_age`; failures between good samples never do."""
    fresh = (Sli(kind=SliKind.FRESHNESS, max_age_s=120.0),)
    plain_facts = by_name(lint(objective(), EVERY_15_S, 5))["1h"]
    facts = by_name(lint(objective(slis=fresh), EVERY_15_S, 5))["1h"]
    assert facts.total_outage_s == (plain_facts.total_outage_s or 0) + 120
    assert facts.outage_spent_s == plain_facts.outage_spent_s
    assert facts.partial_outage_s is None


def test_the_lines_of_a_check() -> None:
    """One head line, aligned columns, then notes, for every objective."""
    slow = (Sli(kind=SliKind.LATENCY, below_s=Fraction(1, 2)),)
    lines = render(
        [
            lint(objective(), EVERY_15_S, 5),
            lint(objective("0.9", name="fast", slis=slow), [Feed(15, 0)], 5),
        ]
    )
    assert lines == [
        "availability 99.9% over 30d: 43m12s of downtime, 172.8 of 172800 samples",
        (
            "  page   1h/5m  > 14.4x: total outage after 2m5s,  10 % failing after 20m5s,  "
            "clears within 5m5s;  spends 4.82 % (aims at 2 %)"
        ),
        (
            "  page   6h/30m > 6x:    total outage after 3m50s, 10 % failing after 37m35s, "
            "clears within 30m5s; spends 8.87 % (aims at 5 %)"
        ),
        (
            "  ticket 1d/2h  > 3x:    total outage after 6m20s, 10 % failing after 1h3m,   "
            "clears within 2h;    spends 14.7 % (aims at 10 %)"
        ),
        (
            "  ticket 3d/6h  > 1x:    total outage after 6m20s, 10 % failing after 1h3m,   "
            "clears within 6h;    spends 14.7 % (aims at 10 %)"
        ),
        "  (a probe that times out is known up to 10s later)",
        "fast 90% over 30d: 3d of slowness, 17280 of 172800 samples",
        (
            "  page   6h/30m > 6x:    all slow after 3h45m,     10 % slow never,           "
            "clears within 12m5s; spends 5.19 % (aims at 5 %)"
        ),
        (
            "  ticket 1d/2h  > 3x:    all slow after 7h27m,     10 % slow never,           "
            "clears within 1h25m; spends 10.3 % (aims at 10 %)"
        ),
        (
            "  ticket 3d/6h  > 1x:    all slow after 7h29m,     10 % slow never,           "
            "clears within 5h25m; spends 10.4 % (aims at 10 %)"
        ),
        (
            "  (tier 1h/5m is left out: at 90% the largest possible burn rate is 10x, which is not "
            "above 14.4x: the target would have to be above 93.0556%)"
        ),
    ]


def test_a_tier_that_never_fires_says_so_in_its_line() -> None:
    """And what is wrong follows below."""
    spec = objective("0.9", tiers=custom(HOUR, 300, "14.4"))
    head, line, _, error = render([lint(spec, EVERY_15_S, 5)])
    assert head.startswith("availability 90% over 30d: 3d of downtime")
    assert line.startswith("  page 1h/5m > 14.4x: total outage never, 10 % failing never; ")
    assert line.endswith("aims at 2 %")
    assert error.startswith("  error: tier 1h/5m can never fire")


def test_nothing_renders_to_nothing() -> None:
    """A plan without objectives has no lines."""
    assert render([]) == []


@given(
    target=st.fractions(min_value=Fraction(1, 10), max_value=Fraction(99999, 100000)),
    period_s=st.integers(min_value=HOUR, max_value=100 * DAY),
    intervals_s=st.lists(st.floats(min_value=0.05, max_value=1e5), max_size=3),
    budgeting=st.sampled_from(Budgeting),
    kind=st.sampled_from(SliKind),
)
def test_every_objective_can_be_described(
    target: Fraction, period_s: int, intervals_s: list[float], budgeting: Budgeting, kind: SliKind
) -> None:
    """Whatever is configured, there are lines, each on one line; times are ordered sensibly."""
    spec = Objective(
        target=target,
        period_s=period_s,
        tiers=default_tiers(target, period_s),
        budgeting=budgeting,
        slis=(Sli(kind=kind, max_age_s=60.0 if kind is SliKind.FRESHNESS else None),),
    )
    report = lint(spec, [Feed(each, each) for each in intervals_s], 5)
    assert all(line.isprintable() and line == line.rstrip() for line in render([report]))
    for facts in report.tiers:
        if facts.total_outage_s is not None and facts.partial_outage_s is not None:
            assert facts.total_outage_s <= facts.partial_outage_s
        if facts.clears_s is not None:
            assert 0 < facts.clears_s <= facts.tier.short_s + 5
