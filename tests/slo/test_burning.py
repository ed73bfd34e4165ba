"""Burn-rate alerts as stories: the engine against what the linter promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest

from monitor.model import AlertState, AlertStatus, Outcome
from monitor.slo.burn import default_tiers
from monitor.slo.engine import Engine
from monitor.slo.lint import Feed, TierFacts, lint
from monitor.slo.objective import Objective
from tests.slo.world import (
    BAD,
    FIRING,
    GOOD,
    INACTIVE,
    Stored,
    restarted,
    rule,
    sample,
    spec,
    target,
)

DAY = 86400.0
INTERVAL_S, EVALUATION_S = 15, 5
TIERS = default_tiers(Fraction(999, 1000), 30 * 86400)
OBJECTIVE = Objective(target=Fraction(999, 1000), tiers=TIERS)
Pattern = Callable[[int], Outcome]


class Night:
    """An engine of one target that is asked every 5 s and probed every 15."""

    def __init__(self, objective: Objective = OBJECTIVE, now: float = 0.0) -> None:
        self.engine = Engine([spec(target(timeout_s=5), objective=objective)], [], now)
        self.now, self.count = now, 0

    def go(self, until: float, pattern: Pattern = lambda _: GOOD) -> None:
        """Let time pass; `pattern` says what each sample is, counted from here."""
        self.count = 0
        while self.now < until:
            self.now += EVALUATION_S
            arrived = []
            if self.now % INTERVAL_S == 0:
                arrived.append(sample(self.now, pattern(self.count)))
                self.count += 1
            self.engine.step(self.now, arrived)

    def status(self, name: str) -> AlertStatus:
        [status] = [s for s in self.engine.alerts() if s.rule == f"availability_burn_{name}"]
        return status

    def until(self, name: str, state: AlertState, pattern: Pattern, limit_s: float) -> float:
        """Return how long it takes until an alert is in a state."""
        begin, end, count = self.now, self.now + limit_s, 0
        while self.now < end:
            self.now += EVALUATION_S
            arrived = []
            if self.now % INTERVAL_S == 0:
                arrived.append(sample(self.now, pattern(count)))
                count += 1
            self.engine.step(self.now, arrived)
            if self.status(name).state is state:
                return self.now - begin
        return float("inf")


def promised(name: str) -> TierFacts:
    report = lint(OBJECTIVE, [Feed(INTERVAL_S, 5)], EVALUATION_S)
    return next(facts for facts in report.tiers if facts.tier.name == name)


def every(number: int) -> Pattern:
    return lambda count: BAD if count % number == number - 1 else GOOD


@pytest.mark.parametrize("name", ["1h", "6h"])
def test_a_total_outage_pages_in_the_time_that_the_linter_prints(name: str) -> None:
    """Not later, and with the sample before not yet; it is over as soon as it says."""
    facts = promised(name)
    assert facts.total_outage_s is not None
    assert facts.clears_s is not None
    night = Night()
    night.go(DAY)
    found = night.until(name, FIRING, lambda _: BAD, DAY)
    assert facts.total_outage_s - INTERVAL_S - EVALUATION_S <= found <= facts.total_outage_s
    over = night.until(name, INACTIVE, lambda _: GOOD, DAY)
    assert over <= facts.clears_s + INTERVAL_S


def test_one_failing_in_ten_pages_in_the_time_that_the_linter_prints() -> None:
    """Evenly spaced failures, each tenth."""
    facts = promised("1h")
    assert facts.partial_outage_s is not None
    night = Night()
    night.go(DAY)
    found = night.until("1h", FIRING, every(10), DAY)
    assert facts.partial_outage_s * 0.9 <= found <= facts.partial_outage_s


def test_a_failed_sample_in_a_quiet_night_pages_nobody() -> None:
    """Nor do three in a row: the budget allows them 57 times a month."""
    night = Night()
    night.go(DAY)
    night.go(DAY + 3600, lambda count: BAD if 100 <= count < 103 else GOOD)
    assert not any(s.state is FIRING or s.fired_at for s in night.engine.alerts())


def test_a_young_deployment_needs_as_many_failures_as_an_old_one() -> None:
    """What it was before it was watched spent nothing."""
    young = Night()
    young.go(600.0)
    old = Night()
    old.go(DAY)
    found = [each.until("1h", FIRING, lambda _: BAD, DAY) for each in (young, old)]
    assert found[0] == found[1]


def test_too_little_measurement_freezes_an_alert_and_says_so() -> None:
    """Without samples for most of the long window nothing fires, and nothing ends."""
    night = Night()
    night.go(DAY)
    night.until("1h", FIRING, lambda _: BAD, 3600)
    while night.now < DAY + 3 * 3600:
        night.now += EVALUATION_S
        night.engine.step(night.now)
    status = night.status("1h")
    assert (status.state, status.no_data) == (FIRING, True)


def test_fewer_than_the_least_events_decide_nothing() -> None:
    """A probe every ten minutes has six samples an hour."""
    slow = Engine([spec(target(interval_s=600), objective=OBJECTIVE)], [], 0.0)
    for number in range(12):
        slow.step(number * 600.0, [sample(number * 600.0, BAD)])
    [fast] = [s for s in slow.alerts() if s.rule == "availability_burn_1h"]
    assert fast.state is INACTIVE


def test_maintenance_freezes_and_does_not_burn() -> None:
    """What is dropped is neither an outage nor its end."""

    class Hour:
        def is_active(self, at: float) -> bool:
            return DAY <= at < DAY + 3600

    night = Night()
    plain = spec(target(timeout_s=5), objective=OBJECTIVE)
    night.engine.reconfigure([replace(plain, maintenance=(Hour(),))], [], 0.0)
    night.go(DAY)
    night.go(DAY + 3500, lambda _: BAD)
    assert not any(s.state is FIRING for s in night.engine.alerts())
    [budget] = night.engine.records("web", night.now)[0].budgets(night.now)
    assert budget.bad == 0
    night.go(DAY + 3 * 3600, lambda _: BAD)
    assert night.status("1h").state is FIRING


def test_a_restart_neither_ends_nor_repeats_it() -> None:
    """The record and the alert go on where they were."""
    night, stored = Night(), Stored()
    night.go(DAY)
    night.until("1h", FIRING, lambda _: BAD, 3600)
    fired_at = night.status("1h").fired_at
    for status in night.engine.alerts():
        stored.alerts[status.rule, status.deployment] = status
    again = restarted(night.engine, stored, night.now, night.now + 20)
    step = again.step(night.now + 25, [sample(night.now + 25, BAD)])
    assert step.transitions == ()
    [status] = [s for s in again.alerts() if s.rule == "availability_burn_1h"]
    assert (status.state, status.fired_at) == (FIRING, fired_at)


@pytest.mark.parametrize(("bad", "fires"), [(3, False), (143, False), (144, False), (145, True)])
def test_a_tie_with_a_tier_is_not_above_it(bad: int, fires: bool) -> None:  # noqa: FBT001
    """144 of 10000 are 1.44 %, which is 14.4 times 0.1 %: decided from the decimal text."""
    objective = replace(OBJECTIVE, tiers=TIERS[:1], confidence=Fraction(0))
    engine = Engine([spec(target(interval_s=1), objective=objective)], [], -DAY)
    engine.step(-DAY, [])
    now = 3599.0
    # In the hour there are 10000 samples, several of a second.
    many = [sample(now * n / 10_000, BAD if n >= 10_000 - bad else GOOD) for n in range(10_000)]
    engine.step(now, many)
    [status] = engine.alerts()
    assert (status.state is FIRING) is fires


def test_a_users_rule_of_the_same_name_takes_the_place_of_a_tier() -> None:
    """Tiers can be replaced one by one."""
    own = rule("error_rate_5m > 5", "availability_burn_1h")
    engine = Engine([spec(objective=OBJECTIVE)], [own], 0.0)
    assert engine.rule("availability_burn_1h", "web") is own
    names = [status.rule for status in engine.alerts()]
    assert names.count("availability_burn_1h") == 1
    assert "availability_burn_6h" in names
