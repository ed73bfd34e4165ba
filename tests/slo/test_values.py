"""What each signal is worth, exactly."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.model import Outcome, ReleaseStatus
from monitor.slo.engine import Engine
from monitor.slo.objective import Objective, Sla
from monitor.slo.signal import parse_signal, signal_names
from tests.slo.world import BAD, GOOD, THREE_NINES, UNKNOWN, release, sample, spec, target, value

DAY = 86400
EU, US = target("web/eu"), target("web/us")


def after(outcomes: list[Outcome], objective: Objective | None = THREE_NINES) -> Engine:
    """One sample each 15 s, the last at the end."""
    engine = Engine([spec(objective=objective)], [], 0.0)
    for step, outcome in enumerate(outcomes):
        engine.step(step * 15.0, [sample(step * 15.0, outcome, latency_s=0.2)])
    return engine


def test_one_bad_of_a_thousand_is_exactly_the_limit() -> None:
    """A tie with decimal text is a tie: 99.9 is not below 99.9, nor is the budget overspent."""
    engine = after([BAD, *[GOOD] * 999])
    now = 1000 * 15.0
    assert value(engine, "uptime_percentage", now) == 99.9
    assert value(engine, "error_rate_1d", now) == 0.1
    assert value(engine, "success_rate_1d", now) == 99.9
    assert value(engine, "burn_rate_1d", now) == 1.0


def test_all_bad_time_of_a_period_together_is_exactly_its_budget() -> None:
    """A tenth of four hours bad spends a 90 % budget to the last second, and no more."""
    four_hours = Objective(target=Fraction(9, 10), period_s=4 * 3600)
    engine = after([*[BAD] * 96, *[GOOD] * 864], objective=four_hours)
    assert value(engine, "error_budget_remaining", 960 * 15.0 - 1) == 0.0


@pytest.mark.parametrize("valid", [3, 7, 30, 700, 1700])
@pytest.mark.parametrize("bad", [1, 2])
def test_every_percentage_is_the_float_nearest_to_the_truth(bad: int, valid: int) -> None:
    """No value is rounded twice on its way."""
    engine = after([*[BAD] * bad, *[GOOD] * (valid - bad)])
    now, share = valid * 15.0, Fraction(bad, valid)
    assert value(engine, "error_rate_1d", now) == float(100 * share)
    assert value(engine, "uptime_percentage_1d", now) == float(100 * (1 - share))
    assert value(engine, "burn_rate_1d", now) == float(share * 1000)
    # All of it has a place in the period, of which the rest is still to come.
    spent = Fraction(bad * 15, 2592)
    assert value(engine, "error_budget_remaining", now) == float(100 * (1 - spent))


def test_time_based_and_sample_based_shares_differ_with_intervals() -> None:
    """A slow target's failure is more down time than a fast one's, but one sample each."""
    slow, fast = target("web/eu", 60), target("web/us", 20)
    engine = Engine([spec(slow, fast)], [], 0.0)
    engine.step(1.0, [sample(0.0, BAD, "web/eu"), sample(0.0, GOOD, "web/us")])
    assert value(engine, "error_rate_5m", 1.0) == 50.0
    assert value(engine, "uptime_percentage_5m", 1.0) == 25.0


def test_latencies_are_percentiles_of_all_sli_targets_in_ms() -> None:
    """Regions are merged by counting, not by averaging their percentiles."""
    engine = Engine([spec(EU, US)], [], 0.0)
    fast = [sample(0.0, GOOD, "web/eu", latency_s=0.1)] * 99
    engine.step(1.0, [*fast, sample(0.0, BAD, "web/us", latency_s=5.0, censored=True)])
    assert value(engine, "p99_latency", 1.0) == pytest.approx(100, rel=0.01)
    assert value(engine, "p999_latency_1h", 1.0) == pytest.approx(5000, rel=0.01)
    assert value(engine, "p50_latency_1m", 400.0) is None


def test_the_default_window_of_uptime_and_budget_is_the_objectives_period() -> None:
    """A period without a name of its own works too."""
    fortnight = Objective(target=Fraction(9, 10), period_s=14 * DAY)
    engine = Engine([spec(objective=fortnight)], [], 0.0)
    engine.step(0.0, [sample(0.0, BAD)])
    engine.step(20.0 * DAY, [sample(20.0 * DAY, GOOD)])
    assert value(engine, "uptime_percentage", 20.0 * DAY) == 100.0
    assert value(engine, "uptime_percentage_30d", 20.0 * DAY) == 50.0
    assert value(engine, "error_budget_remaining", 20.0 * DAY) == 100.0


def test_without_objective_there_is_no_budget_to_burn() -> None:
    """Burn rate and budget are None; uptime falls back to 30 days."""
    engine = after([GOOD, BAD], objective=None)
    assert value(engine, "burn_rate_1h", 20.0) is None
    assert value(engine, "error_budget_remaining", 20.0) is None
    assert engine.budget("web", 20.0) is None
    assert value(engine, "uptime_percentage", 20.0) == 50.0


def test_without_samples_only_counts_are_known() -> None:
    """No data is None; how many samples there are is known to be 0."""
    engine = Engine([spec()], [], 0.0)
    known = {
        name
        for name in signal_names()
        if (signal := parse_signal(name)) and engine.value(signal, "web", 600.0) is not None
    }
    plain = {"deployment_status", "health", "deployment", "environment", "region"}
    assert {name for name in known if not name.startswith(("samples_", "coverage_"))} == plain
    assert value(engine, "samples_5m", 600.0) == 0.0
    assert value(engine, "coverage_5m", 600.0) == 0.0


def test_unknown_samples_leave_the_ratios_and_lower_coverage() -> None:
    """Our own failures (faults 19, 20, 24) neither spend budget nor move percentiles."""
    engine = Engine([spec()], [], 0.0)
    for step in range(40):
        outcome = UNKNOWN if step >= 30 else GOOD
        engine.step(step * 15.0, [sample(step * 15.0, outcome, latency_s=9 if step >= 30 else 0.2)])
    assert value(engine, "error_rate_10m", 599.0) == 0.0
    assert value(engine, "uptime_percentage", 599.0) == 100.0
    assert value(engine, "p99_latency_10m", 599.0) == pytest.approx(200, rel=0.01)
    assert value(engine, "samples_10m", 599.0) == 30.0
    assert value(engine, "coverage_10m", 599.0) == pytest.approx(450 / (39 * 15) * 100)
    assert engine.window("web", 600, 599.0).unknown == 10


@given(phase_s=st.floats(0, 14.9), later_s=st.floats(0, 15))
def test_what_was_never_missed_is_covered_at_every_moment(phase_s: float, later_s: float) -> None:
    """Wherever a bucket ends and however a probe's time falls, perfect measurement is 100 %."""
    engine = Engine([spec()], [], 0.0)
    for tick in range(61):
        at = phase_s + tick * 15.0
        engine.step(at, [sample(at, GOOD, latency_s=0.2)])
    for window in ("1m", "5m", "10m"):
        assert value(engine, f"coverage_{window}", at + later_s) == 100.0


def test_coverage_expects_no_more_than_the_time_since_birth() -> None:
    """A young target is covered; a gap (fault 24) shows, and the share is never over 100."""
    engine = after([GOOD] * 4)
    assert value(engine, "coverage_1h", 60.0) == 100.0
    assert value(engine, "coverage_1h", 120.0) == pytest.approx(60 / (7 * 15) * 100)
    assert engine.window("web", 3600, 120.0).coverage == pytest.approx(60 / 105)
    assert value(Engine([spec()], [], 0.0), "coverage_1h", 0.0) is None
    assert value(after([GOOD, GOOD]), "coverage_1m", 15.0) == 100.0


@pytest.mark.parametrize(
    ("eu", "us", "health", "regions"),
    [
        (GOOD, GOOD, "healthy", 2.0),
        (GOOD, BAD, "degraded", 1.0),
        (BAD, BAD, "unhealthy", 0.0),
        (UNKNOWN, UNKNOWN, "unknown", None),
        (GOOD, UNKNOWN, "healthy", 1.0),
        (UNKNOWN, BAD, "unhealthy", 0.0),
    ],
)
def test_health_and_regions_come_from_the_latest_samples(
    eu: Outcome, us: Outcome, health: str, regions: float | None
) -> None:
    """What could not be measured takes no part in health and is no available region."""
    engine = Engine([spec(EU, US)], [], 0.0)
    engine.step(15.0, [sample(0.0, BAD, "web/eu"), sample(0.0, GOOD, "web/us")])
    engine.step(30.0, [sample(20.0, eu, "web/eu"), sample(20.0, us, "web/us")])
    assert value(engine, "health", 30.0) == health
    assert value(engine, "available_regions", 30.0) == regions


def test_a_region_needs_all_its_targets() -> None:
    """One failing probe makes its region unavailable; look-ups that are no SLI do not count."""
    login = target("login/eu", region="eu")
    version = target("version/us", region="us", sli=False)
    engine = Engine([spec(EU, US, login, version)], [], 0.0)
    outcomes = {"web/eu": GOOD, "web/us": GOOD, "login/eu": BAD, "version/us": BAD}
    engine.step(1.0, [sample(0.0, outcome, name) for name, outcome in outcomes.items()])
    assert value(engine, "available_regions", 1.0) == 1.0
    assert value(engine, "error_rate_5m", 1.0) == pytest.approx(100 / 3)
    assert value(engine, "region", 1.0) == "eu,us"


def test_health_waits_for_first_samples_and_forgets_old_ones() -> None:
    """No data at the start, unknown after two intervals and a timeout without any sample."""
    engine = Engine([spec(EU, US)], [], 0.0)
    assert value(engine, "health", 1.0) is None
    engine.step(1.0, [sample(0.0, BAD, "web/eu")])
    assert value(engine, "health", 30.0) is None
    assert value(engine, "available_regions", 30.0) is None
    assert value(engine, "health", 35.1) == "unknown"
    engine.step(36.0, [sample(36.0, BAD, "web/eu")])
    assert value(engine, "health", 36.0) == "unhealthy"
    assert value(engine, "health", 71.0) == "unhealthy"
    assert value(engine, "health", 71.1) == "unknown"


def test_a_late_sample_does_not_replace_a_newer_one() -> None:
    """The latest is the one that began last, not the one that arrived last."""
    engine = Engine([spec()], [], 0.0)
    engine.step(30.0, [sample(29.0, GOOD), sample(10.0, BAD)])
    assert value(engine, "health", 30.0) == "healthy"
    latest = engine.last_sample("web/eu")
    assert latest is not None
    assert latest.at == 29.0


def test_the_soonest_certificate_counts() -> None:
    """In days, also when the latest probe did not see one."""
    engine = Engine([spec(EU, US)], [], 0.0)
    assert value(engine, "certificate_expiry_days", 0.0) is None
    ends = [("web/eu", 30.0 * DAY), ("web/us", 5.0 * DAY)]
    engine.step(0.0, [sample(0.0, GOOD, name, certificate_expires_at=end) for name, end in ends])
    engine.step(1.0, [sample(1.0, BAD, "web/us")])
    assert value(engine, "certificate_expiry_days", 1.0 * DAY) == 4.0
    assert value(engine, "certificate_expiry_days", 6.0 * DAY) == -1.0


def test_release_signals() -> None:
    """The status is never without value, the revision is none until one is known."""
    engine = Engine([spec()], [], 0.0)
    assert value(engine, "deployment_status", 0.0) == "unknown"
    assert value(engine, "revision", 0.0) is None
    engine.step(1.0, releases=[release("1.2.3", ReleaseStatus.FAILED, 1.0)])
    assert value(engine, "deployment_status", 1.0) == "failed"
    assert value(engine, "revision", 1.0) == "1.2.3"
    assert value(engine, "deployment", 1.0) == "web"
    assert value(engine, "environment", 1.0) == "production"


def test_budget_and_verdicts_cover_their_own_periods() -> None:
    """The engine hands the right window to each."""
    sla = Sla(uptime=Fraction(999, 1000), min_regions=1, period_s=DAY)
    engine = Engine([spec(sla=sla)], [], 0.0)
    engine.step(0.0, [sample(0.0, BAD)])
    engine.step(2.0 * DAY, [sample(2.0 * DAY, GOOD)])
    budget = engine.budget("web", 2.0 * DAY)
    assert budget is not None
    # One of two known samples was bad: so is half of the two days that were watched, as far as
    # is known.
    assert (budget.spent_s, budget.allowed_s) == (86_392.5, 2592.0)
    assert budget.remaining == pytest.approx(1 - 86_392.5 / 2592)
    assert budget.worst < budget.remaining < budget.best < 1
    uptime, regions = engine.verdicts("web", 2.0 * DAY)
    assert (uptime.value, uptime.ok, regions.value, regions.ok) == (100.0, True, 1.0, True)
    assert Engine([spec()], [], 0.0).verdicts("web", 0.0) == ()


def test_one_target_can_be_asked_for() -> None:
    """Also one that is no SLI."""
    version = target("version/us", sli=False)
    engine = Engine([spec(EU, version)], [], 0.0)
    engine.step(1.0, [sample(0.0, BAD, "version/us")])
    assert engine.target_window("version/us", 300, 1.0).bad == 1
    assert engine.target_window("web/eu", 300, 1.0).bad == 0
    assert engine.window("web", 300, 1.0).bad == 0
    assert engine.last_sample("nobody") is None


@pytest.mark.parametrize(
    ("words", "outcomes", "expected"),
    [
        (("healthy", "healthy"), (GOOD, GOOD), "healthy"),
        (("degraded", None), (GOOD, GOOD), "degraded"),
        (("unhealthy", "healthy"), (GOOD, GOOD), "degraded"),
        (("degraded", None), (BAD, GOOD), "degraded"),
        (("unhealthy", "healthy"), (BAD, BAD), "unhealthy"),
        (("degraded", None), (UNKNOWN, GOOD), "healthy"),
    ],
)
def test_what_targets_say_of_themselves_counts_for_health(
    words: tuple[str | None, ...], outcomes: tuple[Outcome, ...], expected: str
) -> None:
    """Whoever answers well but does not feel well makes the whole degraded."""
    engine = Engine([spec(EU, US)], [], 0.0)
    said = [
        sample(10.0, outcome, each.id, health=word)
        for each, outcome, word in zip((EU, US), outcomes, words, strict=True)
    ]
    engine.step(12.0, said)
    assert value(engine, "health", 12.0) == expected
    assert value(engine, "health", 500.0) == "unknown"
