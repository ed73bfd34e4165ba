"""What a page says besides the incident: read from a real engine, and never a reason to fail."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from monitor.app.brief import brief
from monitor.app.course import course
from monitor.model import Brief, Incident, Outcome, ReleaseStatus
from monitor.slo.alerting import AlertRule
from monitor.slo.burn import default_tiers
from monitor.slo.engine import Engine
from monitor.slo.objective import Objective, Sla
from tests.notify.samples import incident
from tests.slo.world import release, rule, sample, spec, target

NOW = 1_800_000_000.0
ONSET = NOW - 600
SLA = Sla(
    uptime=Fraction(999, 1000),
    latency_below_s=((Fraction(95, 100), Fraction(5, 2)),),
    error_rate_below=Fraction(1, 1000),
    min_regions=2,
)
TARGET = Fraction(999, 1000)
OBJECTIVE = Objective(target=TARGET, tiers=default_tiers(TARGET, 30 * 86400))
REGIONS = ("eu", "us", "ap")


def engine(rules: tuple[AlertRule, ...] = (), sla: Sla | None = SLA) -> Engine:
    """Return an engine that watched three regions for 40 min; `eu` and `us` fail for 10."""
    targets = tuple(target(f"web/{region}") for region in REGIONS)
    watched = Engine([spec(*targets, objective=OBJECTIVE, sla=sla)], rules, NOW - 2400)
    watched.step(NOW - 2400, releases=[release("1.4.1", ReleaseStatus.SUCCEEDED, NOW - 2400)])
    for at in range(int(NOW) - 2395, int(NOW), 15):
        bad = at >= ONSET
        samples = [
            sample(
                at,
                Outcome.BAD if bad and region != "ap" else Outcome.GOOD,
                f"web/{region}",
                reason="status" if bad and region != "ap" else "",
                detail=f"503 from {region}" if bad and region != "ap" else "",
                latency_s=1.5 if bad else 0.2,
            )
            for region in REGIONS
        ]
        known = (
            [release("1.4.2", ReleaseStatus.SUCCEEDED, at)] if 0 <= at - ONSET + 120 < 15 else []
        )
        watched.step(at + 1, samples, known)
    watched.step(NOW)
    return watched


def about(name: str, **changes: object) -> Incident:
    return incident(rule=name, deployment="web", started_at=ONSET, **changes)


def facts(found: Brief | None) -> dict[str, str]:
    assert found is not None
    return dict(found.facts)


def test_a_page_about_errors_says_all_that_is_known() -> None:
    """Clause, value against limit with its ground, budget, release, regions, the last failure."""
    watched = engine((rule("error_rate_5m > 5", "errors"),))
    said = facts(brief(watched, about("errors"), NOW))
    assert list(said) == ["SLA", "Now", "Budget left", "Release", "Regions", "Last failure"]
    assert said["SLA"] == "error rate < 0.1% over 30d: broken so far, 16.67 % measured"
    assert said["Now"] == (
        "error_rate_5m: 66.6667 %, limit > 5 %; 38 of 57 samples bad, 100 % of the time measured"
    )
    assert said["Budget left"].startswith("84.6 % of 43m12s (availability 99.9% over 30d); lasts")
    assert said["Budget left"].endswith("between 3h11m and 4h12m if errors go on as today")
    assert said["Release"] == (
        "1.4.2, live for 1m55s when it began (since 2027-01-15T07:48:05Z); before it 1.4.1"
    )
    assert said["Regions"] == (
        "failing in 2 of 3: eu (19 of 19 samples bad), us (19 of 19 samples bad)"
    )
    assert said["Last failure"].startswith("2027-01-15T07:59:50Z http in eu: status (503 from eu)")


def test_a_tier_shows_both_burn_rates() -> None:
    """Long and short window, the factor that both are above, and what the long one rests on."""
    said = facts(brief(engine(), about("availability_burn_1h"), NOW))
    assert said["SLA"].startswith("uptime >= 99.9% over 30d: broken so far, 83.33 %")
    assert "in 1h and " in said["Burn rate"]
    assert "in 5m, limit 14.4x in both; 80 of 480 bad in 1h" in said["Burn rate"]


@pytest.mark.parametrize(
    ("condition", "clause"),
    [
        ("p95_latency > 2500", "p95 < 2500ms over 30d: kept so far, "),
        ("uptime_percentage < 99.9", "uptime >= 99.9% over 30d: broken so far, 83.33 %"),
        ("available_regions < 2", "regions >= 2 now: broken, 1 measured"),
        ("success_rate_5m < 99", "error rate < 0.1% over 30d: "),
    ],
)
def test_each_signal_has_its_clause(condition: str, clause: str) -> None:
    """An alert is traced back to the promise that it protects."""
    watched = engine((rule(condition, "it"),))
    assert facts(brief(watched, about("it"), NOW))["SLA"].startswith(clause)


def test_without_an_sla_the_objective_is_named() -> None:
    """Only an objective was promised: a tier names that."""
    said = facts(brief(engine(sla=None), about("availability_burn_1h"), NOW))
    assert said["Objective"] == "availability 99.9% over 30d"


def test_the_course_shows_before_and_after() -> None:
    """Good before the onset, two of three bad after it, with the rule's limit before the SLA's."""
    watched = engine((rule("error_rate_5m > 5", "errors"),))
    found = brief(watched, about("errors"), NOW)
    assert found is not None
    drawn = found.course
    assert drawn is not None
    assert (drawn.onset_at, drawn.error_limit, drawn.latency_limit_s) == (ONSET, 0.05, 2.5)
    assert len(drawn.at) == len(drawn.error_ratio) == len(drawn.latency_s) == 60
    by_time = dict(zip(drawn.at, zip(drawn.error_ratio, drawn.latency_s, strict=True), strict=True))
    assert by_time[NOW - 3600] == (None, None)
    error, latency = by_time[ONSET - 300]
    assert (error, latency) == (0.0, pytest.approx(0.2, rel=0.01))
    error, latency = by_time[ONSET + 300]
    assert (error, latency) == (pytest.approx(2 / 3), pytest.approx(1.5, rel=0.01))


@pytest.mark.parametrize(
    ("age_s", "step_s"),
    [(0, 60), (2400, 60), (2401, 300), (4801, 900), (14401, 3600), (57601, None)],
)
def test_the_course_grows_with_the_incident(age_s: float, step_s: float | None) -> None:
    """At least a third of the picture is before the onset, at the finest step that allows it."""
    drawn = course(engine(), "web", NOW - age_s, NOW, (None, None))
    if step_s is None:
        assert drawn is None
        return
    assert drawn is not None
    assert drawn.at[1] - drawn.at[0] == step_s
    assert drawn.at[0] < NOW - age_s
    assert drawn.at[-1] < NOW <= drawn.at[-1] + step_s
    # 40 min of three regions, whatever the steps are.
    assert any(ratio for ratio in drawn.error_ratio if ratio)


def test_customary_annotations_are_links() -> None:
    """A runbook and a dashboard are what is opened next."""
    written = {"runbook_url": "https://r.example", "dashboard": "https://d.example", "team": "web"}
    found = brief(engine(), about("availability_burn_1h", annotations=written), NOW)
    assert found is not None
    assert found.links == (("Runbook", "https://r.example"), ("Dashboard", "https://d.example"))


def test_what_a_reader_may_do_comes_first() -> None:
    """To acknowledge is one touch away, but for a digest, which is no incident of ours."""
    offered = (("Acknowledge", "https://monitor.example.com/ack/1"),)
    told = about("availability_burn_1h", annotations={"runbook": "https://r.example"})
    found = brief(engine(), told, NOW, lambda *_: offered)
    assert found is not None
    assert found.links == (*offered, ("Runbook", "https://r.example"))
    digest = brief(engine(), replace(told, covers=("a", "b")), NOW, lambda *_: offered)
    assert digest is not None
    assert digest.links == (("Runbook", "https://r.example"),)


def test_what_is_gone_has_no_brief() -> None:
    """A deployment or a rule that a reload took away: the page says what it can, and goes out."""
    watched = engine()
    assert brief(watched, replace(about("x", annotations={}), deployment="gone"), NOW) is None
    said = facts(brief(watched, about("gone"), NOW))
    assert "Now" not in said
    assert "Last failure" in said


def test_an_empty_engine_says_little() -> None:
    """Before the first sample nothing is made up."""
    bare = Engine([spec(target("web/eu"), sla=SLA)], (rule("error_rate_5m > 5", "errors"),), NOW)
    found = brief(bare, about("errors"), NOW)
    said = facts(found)
    assert said["SLA"] == "error rate < 0.1% over 30d: no data"
    assert said["Now"].startswith("error_rate_5m: no data, limit > 5 %; 0 of 0 samples bad")
    assert set(said) == {"SLA", "Now"}
    assert found is not None
    assert found.course is None


def test_a_fact_that_fails_costs_only_itself(caplog: pytest.LogCaptureFixture) -> None:
    """A damaged incident, whose start is no time, still has its other facts; the log says why."""
    watched = engine((rule("error_rate_5m > 5", "errors"),))
    said = facts(brief(watched, replace(about("errors"), started_at=float("inf")), NOW))
    assert "Release" not in said
    assert {"SLA", "Now", "Regions", "Last failure"} <= set(said)
    assert "a message goes out without a fact" in caplog.text


def test_what_was_doubted_is_no_failure() -> None:
    """A bad sample that is taken back, because we were blind, is not shown as the last failure."""
    watched = engine()
    bad = watched.last_failure("web/eu")
    assert bad is not None
    state = watched._targets["web/eu"]
    state.take_back(bad, replace(bad, outcome=Outcome.UNKNOWN))
    assert watched.last_failure("web/eu") is None
