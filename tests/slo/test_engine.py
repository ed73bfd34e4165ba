"""The engine as a whole: stories of alerts, restarts and reloads in virtual time."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.model import BucketRow, Outcome, ReleaseStatus, Sample
from monitor.slo.alerting import AlertRule, durable_part
from monitor.slo.engine import Engine, Step
from monitor.slo.objective import Objective
from tests.slo.world import (
    BAD,
    FIRING,
    GOOD,
    INACTIVE,
    PENDING,
    RESOLVED,
    UNKNOWN,
    Stored,
    changes,
    release,
    restarted,
    rule,
    sample,
    spec,
    target,
    value,
)

DAY = 86400
HIGH_ERRORS = "error_rate_5m > 5"


def run(
    engine: Engine, start: float, end: float, outcome: Outcome, step_s: float = 15
) -> list[Step]:
    """Step from `start` (included) to `end` (excluded) with one sample each."""
    count = math.ceil((end - start) / step_s)
    times = [start + index * step_s for index in range(count)]
    return [engine.step(now, [sample(now, outcome)]) for now in times]


def single(*rules: AlertRule) -> Engine:
    return Engine([spec()], rules or (rule(HIGH_ERRORS),), 0.0)


def test_an_outage_is_one_pending_one_firing_and_one_resolved() -> None:
    """`for` and the window decide when; transitions carry the episode and its inputs."""
    engine = single(rule("error_rate_1m > 50", for_s=60))
    quiet = run(engine, 0, 600, GOOD)
    outage = run(engine, 600, 900, BAD)
    better = run(engine, 900, 1200, GOOD)
    assert changes(quiet) == []
    assert changes(outage) == [(630, INACTIVE, PENDING), (690, PENDING, FIRING)]
    assert changes(better) == [(915, FIRING, RESOLVED)]
    fired, resolved = outage[6].transitions[0], better[1].transitions[0]
    assert (fired.rule, fired.deployment, fired.since) == ("rule", "web", 630)
    assert dict(fired.values) == {"error_rate_1m": 100.0}
    assert (resolved.since, resolved.reason) == (630, "")
    assert engine.alerts()[0].state is INACTIVE


def test_a_short_trouble_is_pending_and_over() -> None:
    """It never fires, and its end is a transition too."""
    engine = single(rule("error_rate_1m > 0", for_s=300))
    steps = run(engine, 0, 60, GOOD) + run(engine, 60, 75, BAD) + run(engine, 75, 300, GOOD)
    assert changes(steps) == [(60, INACTIVE, PENDING), (120, PENDING, INACTIVE)]


def test_only_durable_changes_are_handed_out() -> None:
    """Being evaluated again is not worth a write."""
    engine = single()
    steps = run(engine, 0, 60, GOOD) + run(engine, 60, 120, BAD)
    assert [len(step.alerts) for step in steps] == [0, 0, 0, 0, 1, 0, 0, 0]
    assert engine.alerts()[0].evaluated_at == 105


def test_no_data_is_a_change_of_its_own_and_freezes() -> None:
    """Windows that run empty leave the alert firing, marked once."""
    engine = single()
    run(engine, 0, 60, BAD)
    steps = [engine.step(float(now)) for now in range(60, 1200, 15)]
    assert changes(steps) == []
    assert [alert.no_data for step in steps for alert in step.alerts] == [True]
    assert changes([engine.step(1200.0, [sample(1200.0, GOOD)])]) == [(1200, FIRING, RESOLVED)]


def test_each_deployment_has_its_own_alert() -> None:
    """A rule is evaluated for every deployment by itself."""
    api = spec(target("api/eu", deployment="api"), name="api")
    engine = Engine([spec(), api], [rule(HIGH_ERRORS)], 0.0)
    step = engine.step(0.0, [sample(0.0, BAD, "api/eu"), sample(0.0, GOOD)])
    assert [(each.deployment, each.after) for each in step.transitions] == [("api", FIRING)]


def test_a_long_gap_resolves_nothing_and_invents_nothing() -> None:
    """After a suspend of ten minutes (fault 24) windows are empty, not bad and not good."""
    engine = single()
    run(engine, 0, 600, GOOD)
    assert changes([engine.step(1200.0)]) == []
    assert value(engine, "error_rate_5m", 1200.0) is None
    assert value(engine, "coverage_15m", 1200.0) == pytest.approx(100 * 285 / 885)


def test_a_clock_that_goes_back_stands_still() -> None:
    """One hour back (fault 23): nothing fires, nothing is lost, no duration is negative."""
    engine = single(rule(HIGH_ERRORS, for_s=120))
    run(engine, 10_000, 10_060, BAD)
    back = engine.step(6_400.0, [sample(6_400.0, GOOD)])
    assert back.transitions == ()
    assert engine.alerts()[0].evaluated_at == 10_045
    assert value(engine, "samples_2h", 0.0) == 5
    assert changes(run(engine, 10_060, 10_180, BAD)) == [(10_120, PENDING, FIRING)]


@pytest.mark.parametrize(
    "odd",
    [
        sample(0.0, name="nobody"),
        sample(math.nan),
        sample(math.inf),
        sample(-math.inf),
    ],
)
def test_strays_are_counted_and_ignored(odd: Sample) -> None:
    """A sample of nobody or of no time changes nothing."""
    engine = single()
    assert engine.step(1.0, [odd]).transitions == ()
    assert engine.strays == 1
    assert value(engine, "samples_90d", 1.0) == 0


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.floats(),
    st.sampled_from(Outcome),
    st.none() | st.text(max_size=3),
)
def test_no_sample_raises(
    at: float, latency_s: float | None, outcome: Outcome, revision: str | None
) -> None:
    """However odd its numbers are."""
    engine = single(rule(HIGH_ERRORS), rule("p95_latency > 3000", "slow"))
    odd = sample(at, outcome, latency_s=latency_s, revision=revision)
    engine.step(1e9, [odd, sample(1e9)])
    engine.step(1e9 + 15, [odd])
    assert engine.strays == 0


class TestBurnStories:
    """The incidents of the SRE Workbook, at 99.9 % over 30 days."""

    @staticmethod
    def engine(*rules: AlertRule, interval_s: float = 1) -> Engine:
        """A day of good history, sampled each second."""
        engine = Engine([spec(target(interval_s=interval_s))], rules, 0.0)
        engine.step(3599.0, [sample(float(at)) for at in range(3600)])
        return engine

    def test_a_full_outage_fires_after_about_two_minutes(self) -> None:
        """Vector C10: 100 % errors cross 36 in one hour after 2.16 min, reset after 58 min."""
        engine = self.engine(rule("burn_rate_1h > 36"))
        steps = run(engine, 3600, 3600 + 600, BAD, 1) + run(engine, 4200, 8400, GOOD, 1)
        (fired, _, _), (resolved, _, after) = changes(steps)
        assert fired - 3600 == pytest.approx(2.16 * 60, abs=10)
        assert after is RESOLVED
        # The last of 2.16 min of errors leave one hour later: ten minutes of outage, 57.84 more.
        assert resolved - 4200 == pytest.approx(57.84 * 60, abs=20)

    def test_two_windows_fire_early_and_clear_early(self) -> None:
        """Vector C9: 15 % errors reach 14.4 in 1 h after 5.76 min; 5 m clears it in 5 min."""
        engine = self.engine(rule("burn_rate_1h > 14.4 && burn_rate_5m > 14.4"))
        steps = [
            engine.step(now, [sample(now, BAD if index % 20 in {3, 10, 17} else GOOD)])
            for index, now in enumerate(float(at) for at in range(3600, 4800))
        ]
        steps += run(engine, 4800, 5400, GOOD, 1)
        (fired, _, _), (resolved, _, _) = changes(steps)
        assert fired - 3600 == pytest.approx(5.76 * 60, abs=20)
        assert resolved - 4800 == pytest.approx(290, abs=20)

    def test_a_burn_just_below_the_factor_never_fires(self) -> None:
        """Vector C10: 35 under a threshold of 36 stays silent."""
        engine = self.engine(rule("burn_rate_1h > 36"), interval_s=1)
        failures = range(20, 200, 28)  # 7 of 200 are 3.5 %
        steps = [
            engine.step(now, [sample(now, BAD if index % 200 in failures else GOOD)])
            for index, now in enumerate(float(at) for at in range(3600, 7200))
        ]
        assert value(engine, "burn_rate_1h", 7199.0) == pytest.approx(35, abs=0.1)
        assert changes(steps) == []

    def test_one_failure_at_low_traffic_crosses_the_factor(self) -> None:
        """Vector C12: 10 requests an hour, one failure: burn 100."""
        engine = Engine([spec(target(interval_s=360))], [], 0.0)
        for step in range(10):
            engine.step(step * 360.0, [sample(step * 360.0, BAD if step == 4 else GOOD)])
        assert value(engine, "burn_rate_1h", 3599.0) == 100.0


class TestRestart:
    """A restart neither pages again nor forgets."""

    @staticmethod
    def story(condition: str = HIGH_ERRORS, for_s: float = 0) -> tuple[Engine, Stored]:
        """An engine with ten good minutes, and what it has stored."""
        engine, stored = single(rule(condition, for_s=for_s)), Stored()
        for step in run(engine, 0, 600, GOOD):
            stored.keep(step)
        return engine, stored

    def test_still_bad_after_a_restart_is_no_second_alert(self) -> None:
        """Fault 53: the alert goes on firing since the same time."""
        engine, stored = self.story()
        for step in run(engine, 600, 660, BAD):
            stored.keep(step)
        again = restarted(engine, stored, 660.0, 700.0)
        assert changes(run(again, 700, 900, BAD)) == []
        assert again.alerts()[0].active_at == engine.alerts()[0].active_at

    def test_recovered_meanwhile_resolves_on_the_first_answer(self) -> None:
        """Fault 52: no data yet is no answer, the first good sample is."""
        engine, stored = self.story()
        for step in run(engine, 600, 660, BAD):
            stored.keep(step)
        again = restarted(engine, stored, 660.0, 3000.0)
        assert changes([again.step(3000.0)]) == []
        assert changes([again.step(3015.0, [sample(3015.0)])]) == [(3015, FIRING, RESOLVED)]

    def test_health_without_samples_yet_does_not_end_an_alert(self) -> None:
        """Latest samples are not stored: until there are some, health is no data."""
        engine, stored = self.story("health == 'unhealthy'")
        for step in run(engine, 600, 660, BAD):
            stored.keep(step)
        again = restarted(engine, stored, 660.0, 665.0)
        assert changes([again.step(665.0), again.step(680.0, [sample(680.0, BAD)])]) == []
        assert again.alerts()[0].state is FIRING

    @pytest.mark.parametrize(("away_s", "fires_at"), [(30, 930), (4000, 5250)])
    def test_for_goes_on_without_the_downtime(self, away_s: float, fires_at: float) -> None:
        """Fault 53: pending since 600 with `for: 5m`, down from 645; too long away begins anew."""
        engine, stored = self.story("error_rate_1m > 0", for_s=300)
        for step in run(engine, 600, 660, BAD):
            stored.keep(step)
        assert engine.alerts()[0].active_at == 600
        up = 645 + away_s
        again = restarted(engine, stored, 645.0, up)
        first = 4950.0 if away_s > 3600 else up
        found = changes(run(again, first, first + 600, BAD))
        assert [each for each in found if each[2] is FIRING] == [(fires_at, PENDING, FIRING)]

    def test_moved_timers_are_stored_for_the_next_restart(self) -> None:
        """Two crashes in a row do not bring the downtime back."""
        engine, stored = self.story("error_rate_1m > 0", for_s=3000)
        for step in run(engine, 600, 660, BAD):
            stored.keep(step)
        second = restarted(engine, stored, 645.0, 1645.0)
        stored.keep(second.step(1645.0, [sample(1645.0, BAD)]))
        third = restarted(second, stored, 1645.0, 2645.0)
        assert third.alerts()[0].active_at == 2600.0
        assert changes([third.step(2645.0, [sample(2645.0, BAD)])]) == []

    def test_budget_release_and_birth_survive(self) -> None:
        """Figures after a restart are those before it."""
        engine, stored = self.story()
        stored.keep(engine.step(600.0, [sample(600.0, BAD, revision="1")]))
        stored.keep(engine.step(610.0, [sample(610.0, GOOD, revision="2")]))
        again = restarted(engine, stored, 610.0, 620.0)
        assert again.budget("web", 620.0) == engine.budget("web", 620.0)
        assert again.release("web") == engine.release("web")
        assert again.previous_revision("web") == "1"
        for name in ("coverage_1d", "p95_latency_1h", "burn_rate_1h", "samples_30d"):
            assert value(again, name, 620.0) == value(engine, name, 620.0)
        assert again.flush() == ((), ())

    def test_an_alert_of_a_removed_rule_ends_in_the_first_step(self) -> None:
        """Fault 54 across a restart: whoever was paged hears why it ended."""
        engine, stored = self.story()
        for step in run(engine, 600, 660, BAD):
            stored.keep(step)
        again = Engine([spec()], [rule(HIGH_ERRORS, "another")], 700.0)
        again.restore(
            alerts=tuple(stored.alerts.values()),
            releases=(),
            windows=(),
            born=(("gone/eu", 5.0),),
            seen_at=None,
            now=700.0,
        )
        step = again.step(700.0)
        assert step.forgotten == (("rule", "web"),)
        (end,) = step.transitions
        assert (end.before, end.after, end.reason) == (FIRING, RESOLVED, "config_removed")
        assert again.step(715.0).forgotten == ()

    @settings(max_examples=40)
    @given(st.lists(st.sampled_from([GOOD, BAD, BAD, None]), min_size=2, max_size=60), st.data())
    def test_a_restart_at_any_moment_changes_no_transition(
        self, outcomes: list[Outcome | None], data: st.DataObject
    ) -> None:
        """With every step stored, a restart between two steps is invisible."""
        rules = (rule("error_rate_1m > 40", "fast"), rule("error_rate_5m > 10", "slow", keep_s=90))
        cut = data.draw(st.integers(1, len(outcomes) - 1))
        steady, stored = single(*rules), Stored()
        other = single(*rules)
        for index, outcome in enumerate(outcomes):
            now = index * 15.0
            if index == cut:
                other = restarted(other, stored, now - 15, now - 15)
            samples = [] if outcome is None else [sample(now, outcome)]
            expected, found = steady.step(now, samples), stored.keep(other.step(now, samples))
            assert found.transitions == expected.transitions
        assert [*map(durable_part, other.alerts())] == [*map(durable_part, steady.alerts())]


class TestReconfigure:
    """A reload keeps what did not change."""

    def test_unchanged_rules_and_targets_keep_their_state(self) -> None:
        """No transition, no empty window, also when the interval changes."""
        engine = single(rule(HIGH_ERRORS), rule("error_rate_1h > 50", "other"))
        run(engine, 0, 60, BAD)
        engine.flush()
        faster = spec(target(interval_s=5), target("web/us"))
        step = engine.reconfigure([faster], [rule(HIGH_ERRORS), rule("true", "new")], 60.0)
        assert [each.rule for each in step.transitions] == ["other"]
        assert changes([engine.step(60.0)]) == [(60, INACTIVE, FIRING)]
        assert value(engine, "samples_5m", 60.0) == 4
        assert engine.flush()[1] == (("web/us", 60.0),)
        engine.step(61.0, [sample(61.0, GOOD)])
        assert engine.target_window("web/eu", 300, 61.0).up_ms == 5_000

    @pytest.mark.parametrize(
        ("for_s", "before", "after"), [(0, FIRING, RESOLVED), (600, PENDING, INACTIVE)]
    )
    def test_a_removed_rule_ends_its_alert(self, for_s: float, before: str, after: str) -> None:
        """Fault 54: explicit, with the reason."""
        engine = single(rule(HIGH_ERRORS, for_s=for_s))
        run(engine, 0, 60, BAD)
        step = engine.reconfigure([spec()], [], 60.0)
        assert step.forgotten == (("rule", "web"),)
        (end,) = step.transitions
        assert (end.before, end.after, end.reason) == (before, after, "config_removed")
        assert (end.since, end.at) == (0, 60)
        assert engine.alerts() == ()

    def test_a_removed_deployment_ends_its_alerts(self) -> None:
        """Nothing of it is left to ask for; an alert that was off ends without a word."""
        api = spec(target("api/eu", deployment="api"), name="api")
        engine = Engine([spec(), api], [rule(HIGH_ERRORS), rule("error_rate_5m < 0", "never")], 0.0)
        engine.step(0.0, [sample(0.0, BAD, "api/eu")])
        step = engine.reconfigure([spec()], engine.rules, 15.0)
        assert set(step.forgotten) == {("rule", "api"), ("never", "api")}
        assert [each.after for each in step.transitions] == [RESOLVED]
        assert list(engine.specs) == ["web"]
        engine.step(30.0, [sample(30.0, BAD, "api/eu")])
        assert engine.strays == 1

    def test_raising_for_ends_the_incident_and_waits_again(self) -> None:
        """Receivers hear of an end with its reason before the alert is pending again."""
        engine = single(rule(HIGH_ERRORS))
        run(engine, 0, 60, BAD)
        engine.reconfigure([spec()], [rule(HIGH_ERRORS, for_s=3600)], 60.0)
        step = engine.step(60.0, [sample(60.0, BAD)])
        assert [(each.before, each.after, each.reason) for each in step.transitions] == [
            (FIRING, RESOLVED, "for_raised"),
            (INACTIVE, PENDING, ""),
        ]
        assert [alert.state for alert in step.alerts] == [PENDING]

    def test_another_period_is_served_from_the_samples_that_are_kept(self) -> None:
        """The budget follows the new objective at once."""
        engine = single()
        engine.step(0.0, [sample(0.0, BAD)])
        engine.step(5.0 * DAY, [sample(5.0 * DAY, GOOD)])
        other = Objective(target=Fraction(9, 10), period_s=4 * DAY)
        engine.reconfigure([spec(objective=other)], engine.rules, 5.0 * DAY)
        budget = engine.budget("web", 5.0 * DAY)
        assert budget is not None
        assert budget.remaining == 1.0

    def test_orphans_of_a_restore_end_in_a_reload_too(self) -> None:
        """A reload before the first step loses no end."""
        engine = single()
        run(engine, 0, 60, BAD)
        again = Engine([spec()], [], 60.0)
        again.restore(
            alerts=engine.alerts(), releases=(), windows=(), born=(), seen_at=60.0, now=60.0
        )
        step = again.reconfigure([spec()], [], 61.0)
        assert [each.reason for each in step.transitions] == ["config_removed"]
        assert again.step(62.0).transitions == ()


class TestReleases:
    """Samples and events reach the tracker of their deployment."""

    def test_discovered_and_accepted_releases_are_handed_out(self) -> None:
        """Events come before what was seen in the same step; strangers are ignored."""
        engine = single(rule("deployment_status == 'failed'"))
        assert [
            each.revision for each in engine.step(0.0, [sample(0.0, revision="1")]).releases
        ] == ["1"]
        events = [
            release("2", ReleaseStatus.IN_PROGRESS, 15.0),
            release("9", ReleaseStatus.FAILED, 15.0, name="nobody"),
        ]
        step = engine.step(15.0, [sample(15.0, revision="2")], events)
        assert [(each.revision, each.status) for each in step.releases] == [
            ("2", ReleaseStatus.IN_PROGRESS)
        ]
        failed = engine.step(30.0, releases=[release("2", ReleaseStatus.FAILED, 30.0)])
        assert changes([failed]) == [(30, INACTIVE, FIRING)]
        assert engine.previous_revision("web") == "1"

    def test_a_change_is_known_when_all_fresh_targets_agree(self) -> None:
        """While regions differ the release is under way; a silent region does not hold it up."""
        engine = Engine([spec(target("web/eu"), target("web/us"))], [], 0.0)
        both = [
            sample(0.0, GOOD, "web/eu", revision="1"),
            sample(0.0, GOOD, "web/us", revision="1"),
        ]
        assert len(engine.step(0.0, both).releases) == 1
        assert engine.step(15.0, [sample(15.0, GOOD, "web/eu", revision="2")]).releases == ()
        assert engine.step(36.0, [sample(36.0, GOOD, "web/eu", revision="2")]).releases != ()
        assert engine.previous_revision("web") == "1"


def test_a_month_of_samples_gives_the_exact_budget() -> None:
    """43.2 min are allowed in 30 days at 99.9 %; 43 failed minutes leave 12 s."""
    engine = Engine([spec(target(interval_s=60))], [], 0.0)
    bad = set(range(1000, 1043))
    for minute in range(0, 43_200, 60):
        batch = [sample(at * 60.0, BAD if at in bad else GOOD) for at in range(minute, minute + 60)]
        engine.step((minute + 60) * 60.0 - 1, batch)
    now = 43_200 * 60.0 - 1
    budget = engine.budget("web", now)
    assert budget is not None
    assert (budget.spent_s, budget.allowed_s) == (43 * 60.0, 2592.0)
    assert value(engine, "error_budget_remaining", now) == float(Fraction(12, 2592) * 100)
    assert value(engine, "coverage_30d", now) == 100.0


class TestNothingNew:
    """What did not change is not evaluated again."""

    CONDITIONS = (
        "error_rate_1m > 30",
        "p95_latency > 200",
        "coverage_5m < 50",
        "health == 'unhealthy'",
        "burn_rate_1h > 14.4",
        "error_budget_remaining < 99.99",
        "deployment_status == 'failed'",
    )

    @settings(max_examples=40)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([0.5, 1.0, 5.0, 7.5, 10.0, 45.0, 400.0]),
                st.sampled_from([None, None, GOOD, GOOD, BAD, UNKNOWN]),
                st.sampled_from([0.1, 0.5]),
            ),
            max_size=40,
        )
    )
    def test_the_alerts_are_those_of_an_engine_that_evaluates_everything(
        self, story: list[tuple[float, Outcome | None, float]]
    ) -> None:
        """The same transitions at the same moments, whatever is left out in between."""
        rules = [rule(text, f"r{n}", for_s=20) for n, text in enumerate(self.CONDITIONS)]
        lazy, diligent = (
            Engine([spec(), spec(target("other/eu", deployment="other"), name="other")], rules, 0.0)
            for _ in range(2)
        )
        now, steps = 0.0, ([], [])
        for gap_s, outcome, latency_s in story:
            now += gap_s
            new = [] if outcome is None else [sample(now, outcome, latency_s=latency_s)]
            diligent._moment = None
            for engine, seen in zip((lazy, diligent), steps, strict=True):
                seen.append(engine.step(now, new))
        assert changes(steps[0]) == changes(steps[1])
        assert {s.rule: s.state for s in lazy.alerts()} == {
            s.rule: s.state for s in diligent.alerts()
        }


def test_buckets_of_an_earlier_version_are_the_budget_that_was() -> None:
    """Whoever updates keeps thirty days of history."""
    rows = [
        BucketRow(
            target="web/eu", width_s=3600, start=hour * 3600, good=239, bad=1, unknown=0,
            up_ms=239 * 15_000, down_ms=15_000,
        )
        for hour in range(24 * 30)
    ]  # fmt: skip
    now = 30.0 * DAY
    engine = Engine([spec()], [], now)
    engine.restore(
        alerts=(), releases=(), windows=(), buckets=rows, born=(("web/eu", 0.0),),
        seen_at=now, now=now,
    )  # fmt: skip
    assert value(engine, "burn_rate_30d", now) == pytest.approx(1000 / 240)
    budget = engine.budget("web", now)
    assert budget is not None
    assert budget.remaining == pytest.approx(1 - 1000 / 240, rel=2e-3)


def test_a_name_that_a_reload_drops_and_the_next_brings_back_finds_its_history() -> None:
    """A typing mistake in a configuration does not cost a month of budget."""
    stored = Stored()
    engine = Engine([spec()], [], 0.0)
    for step in range(400):
        engine.step(step * 15.0, [sample(step * 15.0, BAD if step < 20 else GOOD)])
    stored.save(engine)
    before = engine.window("web", 2 * 3600, 6000.0), engine.budget("web", 6000.0)
    other = spec(target("wbe/eu", deployment="wbe"), name="wbe")
    engine.reconfigure([other], [], 6000.0)
    engine.step(6010.0, [])
    stored.save(engine)
    engine.reconfigure([spec()], [], 6020.0)
    after = engine.window("web", 2 * 3600, 6020.0), engine.budget("web", 6020.0)
    assert (after[0].bad, after[0].good) == (before[0].bad, before[0].good)
    assert after[1] is not None
    assert before[1] is not None
    assert after[1].bad == before[1].bad
    again = restarted(engine, stored, 6020.0, 6030.0)
    assert again.window("web", 2 * 3600, 6030.0).bad == before[0].bad
