# ruff: noqa: E501, ISC004 - messages stand here as they are told
"""Objectives, their alerts and maintenance as they are written, and what they mean."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from monitor.config.errors import ConfigErrors
from monitor.config.load import load_plan
from monitor.config.plan import Plan
from monitor.model import Severity
from monitor.slo.objective import (
    Budgeting,
    CalendarUnit,
    MaintenanceMode,
    Objective,
    Period,
    Sli,
    SliKind,
)

ROOT = Path(__file__).parents[2]
DAY = 86400
FIRST = """
service: shop
channels: {slack: {kind: console}, pager: {kind: console}, quiet: {kind: console}}
deployments:
  - environment: Live
    name: web
    url: https://shop.example
    probes: [{kind: http, name: home}, {kind: http, name: api, path: /api}]
    slos:
"""


def plan(tmp_path: Path, text: str, rules: object = None) -> Plan:
    if rules is not None:
        (tmp_path / "rules.yml").write_text(yaml.safe_dump({"alerts": rules}))
        text = f"rules: rules.yml{text}"
    (tmp_path / "m.yml").write_text(text)
    return load_plan(tmp_path / "m.yml", {})


def objective(tmp_path: Path, written: str) -> Objective:
    [deployment] = plan(tmp_path, f"{FIRST}      - {written}\n").deployments
    [found] = deployment.objectives
    return found


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{name: a, objective: 99.9%}", {"slis": (Sli(kind=SliKind.AVAILABILITY),)}),
        (
            "{name: a, objective: 99.9%, sli: latency, below: 2500ms}",
            {"slis": (Sli(kind=SliKind.LATENCY, below_s=Fraction(5, 2)),)},
        ),
        (
            "{name: a, objective: 99.9%, sli: freshness, max_age: 10m}",
            {"slis": (Sli(kind=SliKind.FRESHNESS, max_age_s=600.0),)},
        ),
        (
            "{name: a, objective: 99.9%, sli: certificate, days: 14}",
            {"slis": (Sli(kind=SliKind.CERTIFICATE, days=14.0),)},
        ),
        (
            "{name: a, objective: 99.9%, parts: [{sli: health}, {sli: uptime}]}",
            {"slis": (Sli(kind=SliKind.HEALTH), Sli(kind=SliKind.UPTIME))},
        ),
        ("{name: a, objective: 99.9%, period: 7d}", {"period_s": 7 * DAY, "more_periods": ()}),
        (
            "{name: a, objective: 99.9%, period: month, zone: Asia/Tokyo}",
            {
                "period_s": 30 * DAY,
                "more_periods": (
                    Period(length_s=30 * DAY, calendar=CalendarUnit.MONTH, zone="Asia/Tokyo"),
                ),
            },
        ),
        (
            "{name: a, objective: 99.9%, also: [week, 90d]}",
            {
                "more_periods": (
                    Period(length_s=7 * DAY, calendar=CalendarUnit.WEEK),
                    Period(length_s=90 * DAY),
                )
            },
        ),
        (
            "{name: a, objective: 99.9%, budgeting: timeslices, slice: 5m, slice_target: 95%}",
            {
                "budgeting": Budgeting.TIMESLICES,
                "slice_s": 300,
                "slice_target": Fraction(95, 100),
            },
        ),
        ("{name: a, objective: 99.9%, probes: [api]}", {"probes": frozenset({"api"})}),
        ("{name: a, objective: 99.9%, maintenance: good}", {"maintenance": MaintenanceMode.GOOD}),
        ("{name: a, objective: 99.9%, alerting: {enabled: false}}", {"tiers": ()}),
        (
            "{name: a, objective: 99.9%, alerting: {min_events: 3, confidence: 90%}}",
            {"min_events": 3, "confidence": Fraction(9, 10)},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_written_is_what_is_meant(
    tmp_path: Path, written: str, expected: dict[str, object]
) -> None:
    """Each key, and the defaults of the others."""
    found = objective(tmp_path, written)
    assert {key: getattr(found, key) for key in expected} == expected
    assert (found.name, found.target) == ("a", Fraction(999, 1000))


def test_tiers_of_ones_own_have_factors_of_their_period(tmp_path: Path) -> None:
    """2 % within an hour of 28 days is a burn of 13.44."""
    found = objective(
        tmp_path,
        "{name: a, objective: 99.9%, period: 28d, alerting: {tiers: "
        "[{spend: 10%, long: 3d, short: 6h, severity: ticket}, "
        "{spend: 2%, long: 1h, short: 5m, severity: page}]}}",
    )
    assert [(t.name, t.factor, t.severity) for t in found.tiers] == [
        ("1h", Fraction("13.44"), Severity.CRITICAL),
        ("3d", Fraction(14, 15), Severity.WARNING),
    ]


def rules(severity: str, channel: str) -> dict[str, object]:
    return {
        "name": f"r_{severity}",
        "condition": "error_rate_5m > 5",
        "severity": severity,
        "channels": [channel],
    }


@pytest.mark.parametrize(
    ("more", "written", "page", "ticket"),
    [
        ("", [], ("slack", "pager", "quiet"), ("slack", "pager", "quiet")),
        ("", [rules("critical", "pager")], ("pager",), ("pager",)),
        ("", [rules("critical", "pager"), rules("warning", "slack")], ("pager",), ("slack",)),
        ("fallback: quiet\n", [rules("critical", "pager")], ("pager",), ("quiet",)),
        (
            "burn_alerts: {page: [quiet], ticket: [slack]}\n",
            [rules("critical", "pager")],
            ("quiet",),
            ("slack",),
        ),
    ],
    ids=["nothing said", "critical rules", "warnings", "fallback", "said"],
)
def test_who_hears_of_a_budget(
    tmp_path: Path,
    more: str,
    written: list[dict[str, object]],
    page: tuple[str, ...],
    ticket: tuple[str, ...],
) -> None:
    """Whoever hears of rules as loud, unless it is said."""
    text = f"{more}{FIRST}      - {{name: a, objective: 99.9%}}\n"
    found = plan(tmp_path, f"\n{text}", written or None).deployments[0].objectives[0]
    assert dict(found.channels) == {Severity.CRITICAL: page, Severity.WARNING: ticket}


def test_the_clauses_of_the_plans_sla_are_objectives(tmp_path: Path) -> None:
    """Uptime first; a clause that is written out under its name is not made twice."""
    blocks = "".join((ROOT / name).read_text() for name in ("sla.yml",))
    text = f"\n{FIRST}      - {{name: p95, objective: 99%, sli: latency, below: 1s}}\n{blocks}"
    [deployment] = plan(tmp_path, text).deployments
    assert [(each.name, each.target) for each in deployment.objectives] == [
        ("availability", Fraction(999, 1000)),
        ("p95", Fraction(99, 100)),
        ("p50", Fraction(1, 2)),
        ("p99", Fraction(99, 100)),
        ("error_rate", Fraction(999, 1000)),
    ]
    by_name = {each.name: each for each in deployment.objectives}
    assert by_name["p99"].slis == (Sli(kind=SliKind.LATENCY, below_s=Fraction(5)),)
    assert [tier.name for tier in by_name["p50"].tiers] == ["3d"]
    assert [tier.name for tier in by_name["error_rate"].tiers] == ["1h", "6h", "1d", "3d"]


def test_maintenance_is_for_whom_it_names(tmp_path: Path) -> None:
    """All deployments, unless some are named."""
    text = (
        f"{FIRST}      - {{name: a, objective: 99.9%}}\n"
        "  - {environment: Canary, name: canary, url: 'https://canary.example'}\n"
        "maintenance:\n"
        "  - {name: all, every: [sun], at: '03:00', lasts: 2h}\n"
        "  - {name: one, from: '2026-12-01T22:00+01:00', to: '2026-12-02T01:00+01:00',"
        " deployments: [web]}\n"
        "  - {name: monthly, rrule: 'FREQ=MONTHLY;BYDAY=1SU', starts: '2026-01-04T02:00',"
        " lasts: 1h, zone: Europe/Berlin}\n"
    )
    web, canary = plan(tmp_path, text).deployments
    assert [each.name for each in web.maintenance] == ["all", "one", "monthly"]
    assert [each.name for each in canary.maintenance] == ["all", "monthly"]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (
            "{name: a, objective: 100%}",
            (
                '10:30: deployments[0].slos[0].objective: wrong value (got "100%", expected more than '
                "0% and less than 100%, which would leave no error budget)"
            ),
        ),
        (
            "{name: a, objective: 99%, sli: latency}",
            "10:9: deployments[0].slos[0]: sli: latency needs below",
        ),
        (
            "{name: a, objective: 99%, below: 1s}",
            "10:9: deployments[0].slos[0]: below is of sli: latency",
        ),
        (
            "{name: a, objective: 99%, sli: health, parts: [{sli: uptime}]}",
            (
                "10:9: deployments[0].slos[0]: parts and a single indicator contradict each other: "
                "give one of them"
            ),
        ),
        (
            "{name: a, objective: 99%, budgeting: timeslices, slice: 7m}",
            "10:9: deployments[0].slos[0]: an hour must be a number of slices of whole 10s"
            " (got 7m)",
        ),
        (
            "{name: a, objective: 99%, slice: 5m}",
            "10:9: deployments[0].slos[0]: slices need budgeting: timeslices or ratio_timeslices",
        ),
        (
            "{name: a, objective: 99%, probes: [hme]}",
            '10:44: deployments[0].slos[0].probes[0]: unknown probe "hme" (did you mean "home"?)',
        ),
        (
            "{name: a, objective: 99%, period: 91d}",
            (
                '10:43: deployments[0].slos[0].period: wrong value (got "91d", expected whole hours up '
                "to 90d (what is kept), or week, month or quarter)"
            ),
        ),
        (
            "{name: a, objective: 99%, zone: Europe/Berln}",
            (
                '10:41: deployments[0].slos[0].zone: wrong value (got "Europe/Berln", expected a time '
                "zone such as Europe/Berlin)"
            ),
        ),
        (
            "{name: a, objective: 99%, alerting: {page: [pagr]}}",
            (
                '10:53: deployments[0].slos[0].alerting.page[0]: unknown channel "pagr" (did you mean '
                '"pager"?)'
            ),
        ),
        (
            (
                "{name: a, objective: 90%, alerting: {tiers: [{spend: 2%, long: 1h, short: 5m, "
                "severity: page}]}}"
            ),
            (
                "10:53: deployments[0].slos[0].alerting.tiers: tier 1h/5m can never fire: at 90% the "
                "largest possible burn rate is 10x, which is not above 14.4x: the target would have to "
                "be above 93.0556%"
            ),
        ),
        (
            (
                "{name: a, objective: 99%, alerting: {tiers: [{spend: 2%, long: 1h, short: 1h, "
                "severity: page}]}}"
            ),
            (
                "10:53: deployments[0].slos[0].alerting.tiers: tier 1h/1h: the short window must be "
                "shorter than the long one"
            ),
        ),
        (
            "{name: a, objective: 99%}\n      - {name: a, objective: 98%}",
            '11:16: deployments[0].slos[1].name: a second objective of this name (got "a")',
        ),
    ],
    ids=lambda value: value if value.startswith("{") else "",
)
def test_every_mistake_is_told_with_its_place(tmp_path: Path, written: str, told: str) -> None:
    """File, line, key, what stands there and what was expected."""
    with pytest.raises(ConfigErrors) as caught:
        plan(tmp_path, f"{FIRST}      - {written}\n")
    assert str(caught.value).replace(f"{tmp_path}/m.yml:", "").splitlines() == [told]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (
            "{name: m}",
            "maintenance[0]: wrong value (got a mapping, expected from and to; or every, at",
        ),
        (
            "{name: m, from: '2026-12-02T00:00Z', to: '2026-12-01T00:00Z'}",
            "maintenance[0]: it ends before it begins",
        ),
        ("{name: m, from: noon, to: '2026-12-01T00:00Z'}", "maintenance[0]: Invalid isoformat"),
        (
            "{name: m, rrule: FREQ=SECONDLY, starts: '2026-01-04T02:00', lasts: 1h}",
            "maintenance[0]: wrong value (got a mapping, expected an RRULE with FREQ=YEARLY|",
        ),
        (
            "{name: m, rrule: FREQ=DAILY, starts: '2026-01-04T02:00Z', lasts: 1h}",
            "maintenance[0]: starts: expected a local time",
        ),
        (
            "{name: m, every: [sun], at: '03:00', lasts: 1h, deployments: [wb]}",
            'maintenance[0].deployments[0]: unknown deployment "wb" (did you mean "web"?)',
        ),
        (
            "{name: m, every: [sun], at: '25:00', lasts: 1h}",
            'maintenance[0].at: wrong value (got "25:00", expected a time of day such as "22:00")',
        ),
    ],
    ids=lambda value: value if value.startswith("{") else "",
)
def test_mistakes_in_maintenance_are_told(tmp_path: Path, written: str, told: str) -> None:
    """The same for what is planned."""
    text = f"{FIRST}      - {{name: a, objective: 99%}}\nmaintenance:\n  - {written}\n"
    with pytest.raises(ConfigErrors) as caught:
        plan(tmp_path, text)
    [line] = str(caught.value).splitlines()
    assert told in line
