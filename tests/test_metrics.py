"""The catalogue of series, and the tallies of our own work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import metrics
from monitor.metrics import Histogram, Series, Telemetry
from monitor.model import (
    DeliveryResult,
    Outcome,
    Release,
    ReleaseStatus,
    RollbackState,
    Sample,
    Target,
)

CATALOGUE = [each for each in vars(metrics).values() if isinstance(each, Series)]
CLOSED_LABELS = {
    *("deployment", "environment", "service", "target", "region", "revision"),
    *("outcome", "phase", "window", "quantile", "slo", "clause", "health", "reason"),
    *("alertname", "severity", "state", "channel", "result", "task"),
    *("version", "python_version", "step", "source"),
    # Not closed, but bounded: by the configuration, or by the kind that reads them.
    *("check", "name", "period"),
}
TARGET = Target(
    id="shop/http/eu",
    deployment="shop",
    environment="Production",
    probe="http",
    region="eu",
    interval_s=15,
    timeout_s=5,
)
WHERE = ("shop", "Production", "shop/http/eu", "eu")


def sample(outcome: Outcome, **more: object) -> Sample:
    return Sample(target=TARGET.id, at=1000.0, outcome=outcome, **more)


def number(telemetry: Telemetry, series: Series, *row: str) -> float | None:
    found = [value for each, key, value in telemetry.numbers() if (each, key) == (series, row)]
    return found[0] if found else None


def histogram(telemetry: Telemetry, series: Series, *row: str) -> Histogram:
    return next(each for s, key, each in telemetry.histograms() if (s, key) == (series, row))


@pytest.mark.parametrize("series", CATALOGUE, ids=lambda series: series.name)
def test_every_series_follows_the_naming_rules(series: Series) -> None:
    """A prefix, a suffix that fits the kind, a help sentence, and labels from closed sets."""
    assert series.name.startswith("monitor_")
    assert series.name.endswith("_total") == (series.kind == "counter")
    assert bool(series.bounds) == (series.kind == "histogram")
    assert series.help.endswith(".")
    assert set(series.labels) <= CLOSED_LABELS


def test_no_two_series_share_a_name() -> None:
    """A name means one thing."""
    assert len({series.name for series in CATALOGUE}) == len(CATALOGUE)


def test_the_first_sample_of_a_target_shows_all_outcomes() -> None:
    """A rate over an outcome that never happened yet is 0, not missing."""
    telemetry = Telemetry()
    telemetry.observe_sample(TARGET, sample(Outcome.BAD))
    counts = [number(telemetry, metrics.PROBE_SAMPLES, *WHERE, outcome) for outcome in Outcome]
    assert counts == [0, 1, 0]


@pytest.mark.parametrize(
    ("outcome", "expected"), [(Outcome.GOOD, 1000.0), (Outcome.BAD, None), (Outcome.UNKNOWN, None)]
)
def test_only_a_good_sample_is_a_success(outcome: Outcome, expected: float | None) -> None:
    """The time of the latest success moves with good samples only."""
    telemetry = Telemetry()
    telemetry.observe_sample(TARGET, sample(outcome))
    assert number(telemetry, metrics.PROBE_LAST_SUCCESS, *WHERE) == expected


def test_a_sample_without_latency_is_counted_but_not_timed() -> None:
    """A refused connection says nothing about duration."""
    telemetry = Telemetry()
    telemetry.observe_sample(TARGET, sample(Outcome.BAD))
    telemetry.observe_sample(TARGET, sample(Outcome.GOOD, latency_s=0.2))
    # Nor does one that may be our own stall.
    telemetry.observe_sample(TARGET, sample(Outcome.GOOD, latency_s=9.0, tainted_s=0.2))
    timed = histogram(telemetry, metrics.PROBE_DURATION, "shop", "Production", "eu")
    assert timed.buckets()[-1] == ("+Inf", 1)
    assert number(telemetry, metrics.PROBE_SAMPLES, *WHERE, Outcome.BAD) == 1


@given(st.lists(st.floats(-1, 100), max_size=50))
def test_a_bucket_counts_what_is_at_or_below_its_bound(values: list[float]) -> None:
    """Cumulative counts, bounds inclusive, everything in `+Inf`, and a sum that never falls."""
    bounds = (0.1, 1.0, 10.0)
    tally = Histogram(bounds)
    for value in values:
        tally.observe(value)
    expected = [(repr(bound), sum(value <= bound for value in values)) for bound in bounds]
    assert tally.buckets() == [*expected, ("+Inf", len(values))]
    assert tally.sum == pytest.approx(sum(value for value in values if value > 0))


def test_a_release_counts_when_it_ended() -> None:
    """An announcement and its end are one deployment."""
    telemetry = Telemetry()
    for status in ReleaseStatus:
        telemetry.count_release(Release(deployment="shop", revision="2", status=status, at=1.0))
    counted = {row[1] for series, row, _ in telemetry.numbers() if series is metrics.DEPLOYMENTS}
    assert counted == {"succeeded", "failed", "rolled_back", "rollback_failed"}


def test_a_rollback_counts_when_it_ended() -> None:
    """Steps on the way are not rollbacks of their own."""
    telemetry = Telemetry()
    for state in RollbackState:
        telemetry.count_rollback("shop", state)
    counted = {row[1] for series, row, _ in telemetry.numbers() if series is metrics.ROLLBACKS}
    assert counted == {"blocked", "dry_run", "succeeded", "failed"}


def test_a_refused_reload_keeps_the_time_of_the_last_good_one() -> None:
    """The alert needs to see both: it failed, and since when the old one is in use."""
    telemetry = Telemetry()
    telemetry.set_reload(ok=True, at=10.0)
    telemetry.set_reload(ok=False, at=20.0)
    assert number(telemetry, metrics.RELOAD_OK) == 0
    assert number(telemetry, metrics.RELOAD_AT) == 10.0


def test_the_delay_is_taken_from_first_deliveries_only() -> None:
    """A retry or a reminder has no delay of its own."""
    telemetry = Telemetry()
    telemetry.count_notification("slack", DeliveryResult.RETRY, None)
    telemetry.count_notification("slack", DeliveryResult.DELIVERED, 1.5)
    delays = histogram(telemetry, metrics.NOTIFICATION_DELAY, "slack")
    assert (delays.buckets()[-1], delays.sum) == (("+Inf", 1), 1.5)
    assert number(telemetry, metrics.NOTIFICATIONS, "slack", DeliveryResult.RETRY) == 1


def evaluated(telemetry: Telemetry, **came: Any) -> None:
    """Note an evaluation of which nothing came but `came`."""
    nothing: dict[str, Any] = {"suppressed": (), "steps": (), "silences": 0, "broken": ()}
    telemetry.set_alerting(**nothing | came)


def test_a_broken_channel_is_seen_until_it_works() -> None:
    """0 for every channel that is configured, 1 while it cannot be used."""
    telemetry = Telemetry()
    telemetry.seed(deployments=(), channels=("slack", "mail"))
    for broken, expected in (((), 0), (("slack",), 1), ((), 0)):
        evaluated(telemetry, broken=broken)
        assert number(telemetry, metrics.CHANNEL_BROKEN, "slack") == expected
        assert number(telemetry, metrics.CHANNEL_BROKEN, "mail") == 0


@pytest.mark.parametrize(
    ("act", "series", "row", "before", "after"),
    [
        (Telemetry.count_store_error, metrics.STORE_ERRORS, (), 0, 1),
        (Telemetry.count_log_dropped, metrics.LOG_DROPPED, (), 0, 1),
        (Telemetry.set_state_lost, metrics.STATE_LOST, (), 0, 1),
        (lambda t: t.set_durable(durable=False), metrics.STORE_DURABLE, (), 1, 0),
        (lambda t: t.count_task_restart("channel"), metrics.TASK_RESTARTS, ("channel",), None, 1),
        (lambda t: t.count_skipped("late", 3), metrics.PROBES_SKIPPED, ("late",), 0, 3),
        (Telemetry.count_undelivered, metrics.UNDELIVERED, (), 0, 1),
        (lambda t: evaluated(t, suppressed=["silence"]), metrics.SUPPRESSED, ("silence",), 0, 1),
        (lambda t: t.count_acknowledgement("link"), metrics.ACKNOWLEDGED, ("link",), 0, 1),
        (lambda t: evaluated(t, steps=[(2, False)]), metrics.ESCALATIONS, ("2",), 0, 1),
        (lambda t: evaluated(t, steps=[(9, False)]), metrics.ESCALATIONS, ("4",), 0, 1),
        (lambda t: evaluated(t, steps=[(1, True)]), metrics.ESCALATIONS, ("late",), 0, 1),
        (lambda t: evaluated(t, silences=3), metrics.SILENCES_ACTIVE, (), 0, 3),
        (lambda t: t.set_self_test("x", ok=True, at=9), metrics.SELF_TEST_SUCCESS, ("x",), None, 1),
        (lambda t: t.set_self_test("x", ok=False, at=9), metrics.SELF_TEST_AT, ("x",), None, 9),
    ],
)
def test_tallies_of_our_own_troubles(
    act: Callable[[Telemetry], None],
    series: Series,
    row: tuple[str, ...],
    before: float | None,
    after: float,
) -> None:
    """Each is where it should be at the start, and moves when told."""
    telemetry = Telemetry()
    assert number(telemetry, series, *row) == before
    act(telemetry)
    assert number(telemetry, series, *row) == after


@pytest.mark.parametrize(
    ("observe", "series"),
    [
        (Telemetry.observe_loop_lag, metrics.LOOP_LAG),
        (Telemetry.observe_lateness, metrics.SCHEDULE_LATENESS),
    ],
)
def test_lags_are_seen_in_their_histograms(
    observe: Callable[[Telemetry, float], None], series: Series
) -> None:
    """One observation, one count."""
    telemetry = Telemetry()
    observe(telemetry, 0.02)
    assert ("0.02", 1) in histogram(telemetry, series).buckets()
    assert ("0.01", 0) in histogram(telemetry, series).buckets()


def test_seeding_makes_zeros_and_changes_no_count() -> None:
    """A counter that exists is left as it is."""
    telemetry = Telemetry()
    telemetry.count_rollback("shop", RollbackState.FAILED)
    telemetry.seed(["shop"], ["slack"])
    telemetry.seed(["shop"], ["slack"])
    assert number(telemetry, metrics.ROLLBACKS, "shop", "failed") == 1
    assert number(telemetry, metrics.ROLLBACKS, "shop", "succeeded") == 0
    assert number(telemetry, metrics.NOTIFICATIONS, "slack", "delivered") == 0
    assert number(telemetry, metrics.CHANNEL_BROKEN, "slack") == 0


def test_what_a_channel_accepted() -> None:
    """Only deliveries of that channel count, and one that nobody knows accepted nothing."""
    telemetry = Telemetry()
    telemetry.count_notification("slack", DeliveryResult.DELIVERED, None)
    telemetry.count_notification("slack", DeliveryResult.RETRY, None)
    telemetry.count_notification("email", DeliveryResult.DELIVERED, None)
    assert [telemetry.accepted(name) for name in ("slack", "pager")] == [1, 0]


def test_forgetting_drops_one_row() -> None:
    """Its neighbours stay."""
    telemetry = Telemetry()
    telemetry.seed([], ["slack", "email"])
    telemetry.forget(metrics.NOTIFICATION_DELAY, ("slack",))
    telemetry.forget(metrics.NOTIFICATIONS, ("slack", "retry"))
    left = {
        row for series, row, _ in telemetry.histograms() if series.name.endswith("delay_seconds")
    }
    assert left == {("email",)}
    assert number(telemetry, metrics.NOTIFICATIONS, "slack", "retry") is None
    assert number(telemetry, metrics.NOTIFICATIONS, "slack", "delivered") == 0
