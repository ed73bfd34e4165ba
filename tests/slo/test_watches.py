"""Rules as the engine asks them: hysteresis, missing data, one alert for each region."""

from __future__ import annotations

from dataclasses import replace

import pytest

from monitor.model import AlertState
from monitor.slo.alerting import AlertRule, Matches, NoData
from monitor.slo.condition import compile_condition
from monitor.slo.engine import Engine
from tests.slo.world import (
    BAD,
    FIRING,
    GOOD,
    INACTIVE,
    PENDING,
    Stored,
    restarted,
    rule,
    sample,
    spec,
    target,
)

START = 1_000_000.0


def states(engine: Engine) -> dict[str, AlertState]:
    return {each.rule: each.state for each in engine.alerts()}


def play(engine: Engine, shares: list[int], at: float) -> list[AlertState]:
    """Return the state after each minute, of which so many of four samples are bad."""
    found = []
    for minute, bad in enumerate(shares):
        began = at + 60 * minute
        samples = [sample(began + 15 * n, BAD if n < bad else GOOD) for n in range(4)]
        engine.step(began + 59, samples, ())
        found.append(states(engine)["rule"])
    return found


def test_it_ends_only_where_its_clear_condition_holds() -> None:
    """Between the two limits nothing changes, in either direction."""
    clearing = replace(rule("error_rate_1m > 60"), clear=compile_condition("error_rate_1m < 20"))
    engine = Engine([spec()], (clearing,), START)
    assert play(engine, [2, 3, 2, 1, 2, 0, 2], START) == [
        INACTIVE, FIRING, FIRING, FIRING, FIRING, INACTIVE, INACTIVE
    ]  # fmt: skip
    assert {"error_rate_1m"} == set(engine.values("rule", "web", START + 419))


@pytest.mark.parametrize(
    ("policy", "silent", "after"),
    [
        (NoData.FREEZE, INACTIVE, [INACTIVE, INACTIVE]),
        (NoData.OK, INACTIVE, [INACTIVE, INACTIVE]),
        (NoData.ALERT, FIRING, [PENDING, FIRING]),
    ],
)
def test_what_nobody_knows_is_taken_as_the_rule_says(
    policy: NoData, silent: AlertState, after: list[AlertState]
) -> None:
    """Before the first sample, and after the last."""
    judging = replace(rule("error_rate_1m > 60", for_s=100), no_data=policy)
    engine = Engine([spec()], (judging,), START)
    for tick in range(20):
        engine.step(START + 10 * tick, (), ())
    assert states(engine)["rule"] is silent
    assert play(engine, [0, 0], START + 200)[-1] is INACTIVE
    found = []
    for later in (120, 240):
        engine.step(START + 320 + later, (), ())
        found.append(states(engine)["rule"])
    assert found == after


@pytest.mark.parametrize(("policy", "after"), [(NoData.FREEZE, FIRING), (NoData.OK, INACTIVE)])
def test_an_alert_that_fires_and_hears_nothing_more(policy: NoData, after: AlertState) -> None:
    """It stays, unless its author says that silence is well."""
    engine = Engine([spec()], (replace(rule("error_rate_1m > 60"), no_data=policy),), START)
    assert play(engine, [4], START) == [FIRING]
    engine.step(START + 400, (), ())
    assert states(engine)["rule"] is after


def by_region(condition: str) -> AlertRule:
    return replace(rule(condition), by_region=True)


def test_each_region_has_an_alert_of_its_own() -> None:
    """One fails alone, is named, carries its label, and is found again after a restart."""
    targets = (target("web/eu"), target("web/us"), target("web/aside", sli=False))
    engine = Engine([spec(*targets)], (by_region("error_rate_1m > 50"),), START)
    stored = Stored()
    samples = [
        sample(START + 15 * n, outcome, name)
        for n in range(4)
        for name, outcome in (("web/eu", BAD), ("web/us", GOOD), ("web/aside", BAD))
    ]
    stored.keep(engine.step(START + 59, samples, ()))
    assert states(engine) == {"rule[eu]": FIRING, "rule[us]": INACTIVE}
    known = engine.rule("rule[eu]", "web")
    assert known is not None
    assert known.labels == {"region": "eu"}
    assert engine.values("rule[eu]", "web", START + 59) == {"error_rate_1m": 100.0}
    assert engine.values("rule[us]", "web", START + 59) == {"error_rate_1m": 0.0}
    again = restarted(engine, stored, START + 59, START + 60)
    assert states(again) == {"rule[eu]": FIRING, "rule[us]": INACTIVE}


def test_a_count_of_periods_survives_a_restart() -> None:
    """Two bad minutes before it and one after are three."""
    counting = replace(rule("error_rate_1m > 60"), matches=Matches(least=3, of=5))
    engine, stored = Engine([spec()], (counting,), START), Stored()
    for minute in range(2):
        began = START + 60 * minute
        samples = [sample(began + 15 * n, BAD) for n in range(4)]
        stored.keep(engine.step(began + 59, samples, ()))
    assert states(engine)["rule"] is INACTIVE
    again = restarted(engine, stored, START + 119, START + 120)
    assert play(again, [4], START + 120) == [FIRING]
