"""One outage is one page: which burn alerts belong to what was told already."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pytest

from monitor.incidents import Incidents
from monitor.inhibition import covering
from monitor.model import Incident, Outcome, Severity
from monitor.pipeline import Pipeline
from monitor.slo.alerting import AlertRule
from monitor.slo.burn import default_tiers
from monitor.slo.burning import BurnCondition, tier_rules
from monitor.slo.engine import Engine
from monitor.slo.objective import Objective, Sli, SliKind
from tests.support.memory import MemoryStore
from tests.test_pipeline import SPEC, TICK_S, Bench, play, rows, rule, settings

GOOD, BAD = Outcome.GOOD, Outcome.BAD
TIERS = default_tiers(Fraction(999, 1000), 30 * 86400)
CHANNELS = ((Severity.CRITICAL, ("slack",)), (Severity.WARNING, ("slack",)))
OBJECTIVE = Objective(target=Fraction(999, 1000), tiers=TIERS, channels=CHANNELS)
ERRORS = Objective(
    target=Fraction(999, 1000),
    tiers=TIERS,
    channels=CHANNELS,
    name="error_rate",
    slis=(Sli(kind=SliKind.AVAILABILITY),),
)
FAST, SLOW = tier_rules(OBJECTIVE, "web")[:2]
SINCE = 10_000.0


def incident(**changes: object) -> Incident:
    fields: dict[str, object] = {
        "id": "i1", "key": "k", "rule": "errors", "deployment": "web", "service": "web",
        "environment": "production", "severity": Severity.CRITICAL, "channels": ("slack",),
        "condition": "", "summary": "", "started_at": SINCE, "opened_at": SINCE,
    }  # fmt: skip
    return Incident(**(fields | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "now", "covers"),
    [
        ({}, SINCE, True),
        ({"opened_at": SINCE - 3600}, SINCE, True),
        ({"opened_at": SINCE - 3601}, SINCE, False),
        ({"opened_at": SINCE + 600}, SINCE + 600, True),
        ({"severity": Severity.WARNING}, SINCE, False),
        ({"rule": FAST.name}, SINCE, False),
        ({"rule": SLOW.name}, SINCE, True),
        ({"resolved_at": SINCE + 100}, SINCE + 399, True),
        ({"resolved_at": SINCE + 100}, SINCE + 400, False),
    ],
    ids=[
        "same moment", "an hour before", "longer ago", "after", "less severe", "itself",
        "another tier", "just over", "over for longer than the short window",
    ],
)  # fmt: skip
def test_what_an_incident_covers(changes: dict[str, object], now: float, covers: bool) -> None:  # noqa: FBT001
    """The same trouble, no less severe, and for as long as its errors are in the short window."""
    assert isinstance(FAST.condition, BurnCondition)
    found = covering(FAST, FAST.condition, SINCE, [incident(**changes)], now)
    assert (found is not None) is covers


class Shop(Bench):
    """A deployment with objectives beside its rules."""

    def __init__(self, *objectives: Objective, **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]
        first, *more = objectives
        self.spec = replace(SPEC, objective=first, more_objectives=tuple(more))
        self.use(self.pipeline.engine.rules)

    def use(self, rules: Sequence[AlertRule]) -> None:
        engine = Engine((self.spec,), rules, self.clock.now())
        self.pipeline.engine = engine
        self.pipeline.book = Incidents(engine, self.pipeline.book.settings)

    async def many(self, outcome: Outcome, count: int) -> None:
        for _ in range(count):
            await self.tick(outcome)

    @property
    def opened(self) -> list[str]:
        return list(dict.fromkeys(each.rule for each in self.told if each.is_open))


def test_an_outage_that_a_rule_tells_is_not_told_again_by_every_budget() -> None:
    """One incident, which says that the budgets burn too; all ends with it."""

    async def story() -> None:
        shop = Shop(OBJECTIVE, ERRORS)
        await shop.many(GOOD, 400)
        await shop.many(BAD, 60)
        assert shop.opened == ["errors"]
        notes = [note.text for note in shop.told[-1].notes]
        assert "also: availability burns > 14.4x in 1h and in 5m" in notes
        assert "also: error_rate burns > 14.4x in 1h and in 5m" in notes
        assert len(notes) == len(set(notes))
        await shop.many(GOOD, 360)
        assert shop.opened == ["errors"]
        assert not [each for each in shop.pipeline.incidents() if each.is_open]

    play(story)


def test_without_a_rule_the_fastest_tier_of_the_first_objective_tells() -> None:
    """Slower tiers and other objectives belong to its incident."""

    async def story() -> None:
        shop = Shop(OBJECTIVE, ERRORS, flush_s=60.0)
        shop.use(())
        await shop.many(GOOD, 400)
        await shop.many(BAD, 60)
        assert shop.opened == ["availability_burn_1h"]
        told = shop.told[0]
        assert told.channels == ("slack",)
        assert told.severity is Severity.CRITICAL
        assert told.values["burn_rate_1h"] == pytest.approx(33.3, abs=0.1)
        assert "99.9% over 30d" in told.summary

    play(story)


def test_what_goes_on_after_the_end_of_what_covered_it_is_told() -> None:
    """A rule is removed while the outage goes on: its budget takes over."""

    async def story() -> None:
        shop = Shop(OBJECTIVE)
        await shop.many(GOOD, 400)
        await shop.many(BAD, 40)
        assert shop.opened == ["errors"]
        shop.pipeline.reconfigure(settings(), (shop.spec,), ())
        await shop.many(BAD, 20)
        assert shop.opened == ["errors"]
        await shop.many(BAD, 20)
        assert shop.opened == ["errors", "availability_burn_1h"]

    play(story)


def test_a_restart_tells_no_covered_alert() -> None:
    """What was held back is held back by the next process as well."""

    async def story() -> None:
        shop = Shop(OBJECTIVE)
        await shop.many(GOOD, 400)
        await shop.many(BAD, 40)
        await shop.pipeline.tick(flush=True)
        batches = shop.store.batches
        again = Pipeline(
            shop.clock,
            Engine((shop.spec,), (rule(),), shop.clock.now()),
            MemoryStore(),
            settings=settings(),
            telemetry=shop.telemetry,
            hand_over=(shop.told.extend,),
        )
        alerts = {(row.rule, row.deployment): row for row in rows(batches, "alerts")}
        windows = {(row.owner, row.part): row for row in rows(batches, "windows")}
        again.engine.restore(
            alerts=alerts.values(), releases=(), windows=windows.values(),
            born=rows(batches, "born"), seen_at=shop.clock.now(), now=shop.clock.now(),
        )  # fmt: skip
        again.restore([each for each in shop.pipeline.incidents() if each.is_open])
        shop.pipeline = again
        await shop.many(BAD, 20)
        assert shop.opened == ["errors"]
        await shop.many(GOOD, 400)
        assert not [each for each in again.incidents() if each.is_open]
        await asyncio.sleep(TICK_S)

    play(story)
