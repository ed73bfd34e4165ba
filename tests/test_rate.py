"""The token bucket: never more than its plan, never less than it allows."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.notify.console import ConsoleNotifier
from monitor.notify.email import EmailNotifier
from monitor.notify.pagerduty import PagerDutyNotifier
from monitor.notify.slack import SlackNotifier
from monitor.notify.slack_bot import SlackBotNotifier
from monitor.notify.webhook import WebhookNotifier
from monitor.rate import ROUNDING_S, Bucket

START = 1_800_000_000.0
buckets = st.builds(Bucket, capacity=st.integers(1, 50), per_s=st.floats(0.05, 100))


def drained(bucket: Bucket, pauses: list[float]) -> list[float]:
    """Return when one was taken by somebody who pauses and then takes as soon as it is allowed."""
    now, times = START, []
    for pause_s in pauses:
        now += pause_s
        now += bucket.wait_s(now)
        bucket = bucket.take(now)
        times.append(now)
    return times


@given(bucket=buckets, pauses=st.lists(st.just(0.0) | st.floats(0, 30), min_size=1, max_size=120))
def test_no_interval_holds_more_than_the_plan(bucket: Bucket, pauses: list[float]) -> None:
    """Between any two takes there are at most capacity + rate x time."""
    times = drained(bucket, pauses)
    for first, last in itertools.combinations(range(len(times)), 2):
        passed_s = times[last] - times[first] + 2 * ROUNDING_S
        assert last - first + 1 <= bucket.capacity + bucket.per_s * passed_s


@given(bucket=buckets, times=st.lists(st.floats(0, 1000), max_size=60).map(sorted))
def test_nobody_waits_longer_than_one_step(bucket: Bucket, times: list[float]) -> None:
    """Whatever was taken, the next is free within one step of the rate: nobody starves."""
    for at in times:
        now = START + at
        assert bucket.wait_s(now) <= 1 / bucket.per_s + ROUNDING_S
        if not bucket.wait_s(now):
            bucket = bucket.take(now)


@given(bucket=buckets)
def test_rest_fills_it_and_no_further(bucket: Bucket) -> None:
    """After any rest the burst is there at once, and nothing beyond it."""
    taken = bucket
    for _ in range(bucket.capacity):
        assert taken.wait_s(START) == 0
        taken = taken.take(START)
    assert taken.wait_s(START) > 0
    with pytest.raises(ValueError, match="nothing to take"):
        taken.take(START)
    rested = START + 2 * bucket.capacity / bucket.per_s
    for _ in range(bucket.capacity):
        taken = taken.take(rested)
    assert taken.wait_s(rested) > 0


@pytest.mark.parametrize(
    ("kind", "per_s", "burst"),
    [
        (ConsoleNotifier, 100.0, 100),
        (EmailNotifier, 1.0, 10),
        (PagerDutyNotifier, 1.6, 20),
        (SlackNotifier, 1.0, 3),
        (SlackBotNotifier, 0.75, 3),
        (WebhookNotifier, 10.0, 20),
    ],
)
def test_every_kind_has_a_plan(kind: type, per_s: float, burst: int) -> None:
    """The outbox reads how often each kind may be asked."""
    assert (kind.rate_per_s, kind.burst) == (per_s, burst)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("kind", "limit"), [(PagerDutyNotifier, 120), (SlackBotNotifier, 50)])
def test_no_minute_holds_more_than_the_provider_takes(kind: type, limit: int) -> None:
    """PagerDuty's 120 events and Slack's 50 edits in any minute are never reached."""
    bucket = Bucket(capacity=kind.burst, per_s=kind.rate_per_s)  # type: ignore[attr-defined]
    times = drained(bucket, [0.0] * 1000)
    for start in times:
        assert sum(start <= at <= start + 60 for at in times) <= limit
