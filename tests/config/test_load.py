"""From files to a Plan."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from monitor.config.errors import ConfigErrors
from monitor.config.load import load_plan
from monitor.config.plan import DeploymentPlan, Plan
from monitor.model import Severity
from monitor.probes.http.config import HttpProbeConfig
from monitor.rollback.github import GithubHookConfig
from monitor.slo.condition import ConditionError, compile_condition

EXAMPLE = Path(__file__).parents[2] / "monitor.yml"
ENV = {
    "SLACK_WEBHOOK": "https://hooks.slack.com/services/T0/B0/x",
    "PAGERDUTY_ROUTING_KEY": "k" * 32,
    "SMTP_PASSWORD": "p4ss",
    "GITHUB_TOKEN": "gh-t0ken",
    "MONITOR_TOKEN": "m0n-t0ken",
}
TWO = """
environments:
  Staging: {url: https://staging.example}
  Live: {url: https://live.example, sla: 99.9% uptime}
"""


def load(directory: Path, text: str, **files: str) -> Plan:
    (directory / "monitor.yml").write_text(f"service: Shop\n{text}")
    for name, content in files.items():
        (directory / f"{name}.yml").write_text(content)
    return load_plan(directory / "monitor.yml", ENV)


def refusal(directory: Path, text: str, **files: str) -> str:
    with pytest.raises(ConfigErrors) as caught:
        load(directory, text, **files)
    return str(caught.value).replace(f"{directory}/", "")


def by_environment(plan: Plan) -> dict[str, DeploymentPlan]:
    return {each.deployment.environment: each for each in plan.deployments}


class TestExample:
    """The monitor.yml at the root, with the deployment plan's blocks as they stand there."""

    def test_the_environment_block_becomes_deployments(self) -> None:
        """Listed deployments come first; traffic and SLA are read out of the plan's prose."""
        plan = load_plan(EXAMPLE, ENV)
        assert [each.deployment.name for each in plan.deployments] == [
            "dermatology-ai-production",
            "dermatology-ai-canary",
            "dermatology-ai-staging",
        ]
        found = by_environment(plan)
        assert found["Production"].deployment.traffic_share == 0.95
        assert found["Canary"].deployment.traffic_share == 0.05
        assert found["Staging"].deployment.traffic_share is None
        assert found["Staging"].deployment.url == "https://staging.dermatology-ai.app"
        assert found["Production"].deployment.purpose == "Full production deployment"

    def test_the_sla_block_becomes_exact_limits(self) -> None:
        """It applies where the plan promises something: to production."""
        found = by_environment(load_plan(EXAMPLE, ENV))
        sla = found["Production"].sla
        assert sla is not None
        assert sla.uptime == Fraction(999, 1000)
        assert sla.latency_below_s == (
            (Fraction(1, 2), Fraction(1)),
            (Fraction(19, 20), Fraction(5, 2)),
            (Fraction(99, 100), Fraction(5)),
        )
        assert sla.error_rate_below == Fraction(1, 1000)
        assert sla.min_regions == 3
        assert found["Canary"].sla is None

    def test_the_alert_rules_load_as_they_stand(self) -> None:
        """Names, severities and channels are the plan's."""
        rules = load_plan(EXAMPLE, ENV).rules
        assert [(rule.name, rule.severity, rule.channels) for rule in rules] == [
            ("high_error_rate", Severity.CRITICAL, ("slack", "pagerduty")),
            ("high_latency", Severity.WARNING, ("slack",)),
            ("low_availability", Severity.CRITICAL, ("slack", "pagerduty", "email")),
            ("deployment_failed", Severity.CRITICAL, ("slack", "email")),
        ]
        assert rules[0].condition.text == "error_rate_5m > 5"

    def test_rollback_and_version_discovery_are_bound_to_production(self) -> None:
        """The version probe tells the revision and is no SLI."""
        production = by_environment(load_plan(EXAMPLE, ENV))["Production"]
        assert production.rollback is not None
        assert production.rollback.rules == {"high_error_rate"}
        assert isinstance(production.rollback.hook, GithubHookConfig)
        (version,) = [each for each in production.probes if not each.target.sli]
        assert version.target.id == "dermatology-ai-production/version/global"
        assert isinstance(version.config, HttpProbeConfig)
        assert (version.config.path, version.config.revision_json) == ("/version.json", "version")

    def test_every_file_is_known_and_what_is_odd_is_said(self) -> None:
        """A reload watches these files; a promise that cannot be judged is a warning."""
        plan = load_plan(EXAMPLE, ENV)
        assert [path.name for path in plan.files] == [
            "monitor.yml", "environments.yml", "sla.yml", "alerts.yml"
        ]  # fmt: skip
        (warning,) = plan.warnings
        assert warning.startswith("dermatology-ai-production: the SLA promises 3+ regions, but")
        assert plan.storage.path == EXAMPLE.parent / "data"

    def test_nothing_but_the_named_variables_is_needed(self) -> None:
        """Each missing one is an error at its reference, all in one run."""
        with pytest.raises(ConfigErrors) as caught:
            load_plan(EXAMPLE, {})
        told = [error.message for error in caught.value.errors]
        assert sorted(told) == sorted(f"environment variable {name} is not set" for name in ENV)

    def test_no_secret_is_in_the_plans_repr(self) -> None:
        """A plan may be logged."""
        shown = repr(load_plan(EXAMPLE, ENV))
        assert not any(value in shown for value in ENV.values())


class TestDefaults:
    """What is not written."""

    def test_an_environment_alone_is_a_deployment(self, tmp_path: Path) -> None:
        """One probe of the home page, one region, named after service and environment."""
        staging = by_environment(load(tmp_path, TWO))["Staging"]
        (probe,) = staging.probes
        assert probe.target.id == "shop-staging/home/global"
        assert (probe.target.interval_s, probe.target.timeout_s) == (15.0, 10.0)
        assert probe.url == "https://staging.example"
        assert staging.rollback is None

    @pytest.mark.parametrize(
        ("deployment", "target"),
        [
            ("slo: 99.5%", Fraction(995, 1000)),
            ("name: x", Fraction(999, 1000)),
        ],
    )
    def test_the_objective_is_the_nearest_one_written(
        self, tmp_path: Path, deployment: str, target: Fraction
    ) -> None:
        """The deployment's own, else its environment's."""
        text = f"{TWO}sla: {{uptime: 99%}}\ndeployments: [{{environment: live, {deployment}}}]\n"
        found = by_environment(load(tmp_path, text))
        live, staging = found["Live"].objective, found["Staging"].objective
        assert live is not None
        assert live.target == target
        assert staging is not None
        assert staging.target == Fraction(99, 100)

    def test_without_any_promise_there_is_no_objective(self, tmp_path: Path) -> None:
        """Nothing is invented."""
        found = by_environment(load(tmp_path, TWO))
        assert found["Staging"].objective is None
        assert found["Staging"].sla is None

    @pytest.mark.parametrize(
        ("sla_of_live", "expected"),
        [("sla: 99.9% uptime", {"Live"}), ("purpose: x", {"Live", "Staging"})],
    )
    def test_the_sla_applies_where_one_is_promised_or_else_everywhere(
        self, tmp_path: Path, sla_of_live: str, expected: set[str]
    ) -> None:
        """An environment with an `sla` of its own limits the block to such environments."""
        text = TWO.replace("sla: 99.9% uptime", sla_of_live) + "sla: {error_rate: < 1%}\n"
        found = by_environment(load(tmp_path, text))
        assert {name for name, plan in found.items() if plan.sla} == expected

    def test_a_default_timeout_gives_way_to_a_short_interval(self, tmp_path: Path) -> None:
        """Only a timeout that somebody wrote can contradict."""
        text = TWO + "deployments: [{environment: Live, probes: [{kind: http, interval: 2s}]}]\n"
        (probe,) = by_environment(load(tmp_path, text))["Live"].probes
        assert (probe.target.interval_s, probe.target.timeout_s) == (2.0, 2.0)

    def test_memory_is_declared_by_having_no_path(self, tmp_path: Path) -> None:
        """None is the declared memory mode; the default is a directory beside the file."""
        assert load(tmp_path, TWO + "storage: {memory: true}\n").storage.path is None
        assert load(tmp_path, TWO).storage.path == tmp_path / "data"


def test_each_probe_is_made_for_each_region(tmp_path: Path) -> None:
    """Target ids are deployment/probe/region."""
    text = """
deployments:
  - environment: Live
    regions: {us: https://us.example, eu: https://eu.example}
    probes: [{kind: http, name: a}, {kind: http, name: b}]
"""
    (live,) = load(tmp_path, text).deployments
    assert [(each.target.id, each.url) for each in live.probes] == [
        ("shop-live/a/us", "https://us.example"),
        ("shop-live/a/eu", "https://eu.example"),
        ("shop-live/b/us", "https://us.example"),
        ("shop-live/b/eu", "https://eu.example"),
    ]


def test_environments_at_one_address_are_warned_about(tmp_path: Path) -> None:
    """The plan's canary and production share one: figures of one say nothing about the other."""
    plan = load(tmp_path, TWO.replace("staging.example", "live.example/"))
    assert (
        "Staging and Live all probe https://live.example, so their figures cannot differ"
        in plan.warnings
    )


RULE = "alerts: [{name: a, condition: error_rate_5m > 5, severity: info, channels: [c]%s}]\n"
CHANNEL = "channels: {c: {kind: console}}\n"


def test_rules_of_several_files_are_one_list(tmp_path: Path) -> None:
    """Durations, labels and the wish for a rollback come with them."""
    more = ", for: 5m, keep_firing_for: 1m, labels: {team: web}, rollback: true"
    second = RULE.replace("name: a", "name: b") % more
    plan = load(tmp_path, TWO + CHANNEL + "rules: [x.yml, y.yml]\n", x=RULE % "", y=second)
    first, other = plan.rules
    assert (first.for_s, first.rollback) == (0.0, False)
    assert (other.for_s, other.keep_firing_for_s, other.labels) == (300.0, 60.0, {"team": "web"})
    assert "no deployment has a rollback, though b asks for one" in plan.warnings


def test_a_bad_condition_is_marked_at_the_wrong_character(tmp_path: Path) -> None:
    """The compiler's offset becomes line and column, in other files and folded text too."""
    text = "p95_latency > 5 && bogus < 1"
    with pytest.raises(ConditionError) as caught:
        compile_condition(text)
    folded = "alerts:\n  - name: a\n    condition: >-\n      p95_latency > 5 &&\n      bogus < 1\n"
    folded += "    severity: info\n    channels: [c]\n"
    told = refusal(tmp_path, TWO + CHANNEL + "rules: x.yml\n", x=folded)
    assert told == f"x.yml:5:7: alerts[0].condition: {caught.value.message}"


def test_a_file_that_is_not_there_is_told_where_it_is_named(tmp_path: Path) -> None:
    """The root at its first character; its parts at their names; other files are still checked."""
    with pytest.raises(ConfigErrors) as caught:
        load_plan(tmp_path / "monitor.yml", {})
    told = str(caught.value)
    assert told == f"{tmp_path / 'monitor.yml'}:1:1: cannot be read: No such file or directory"
    told = refusal(tmp_path, "environments: no.yml\nsla: s.yml\n" + CHANNEL, s="sla: {uptme: 1}\n")
    assert told.splitlines() == [
        'monitor.yml:2:15: environments: "no.yml" cannot be read: No such file or directory',
        's.yml:1:7: sla.uptme: unknown key (did you mean "uptime"?)',
    ]


def test_a_file_with_yaml_errors_does_not_hide_the_others(tmp_path: Path) -> None:
    """All errors of all files come in one run."""
    told = refusal(tmp_path, "environments: e.yml\nx: 1\n", e="Live: [\n")
    assert [line.partition(": ")[0] for line in told.splitlines()] == [
        "e.yml:2:1",
        "monitor.yml:3:1",
    ]


def test_secret_files_are_read_beside_the_configuration(tmp_path: Path) -> None:
    """One line break at the end is not part of the secret."""
    (tmp_path / "token").write_text("t0ken\n")
    plan = load(tmp_path, TWO + "server: {token: {file: token}}\n")
    assert plan.server.token is not None
    assert plan.server.token.reveal() == "t0ken"
    assert plan.server.token.source == "file token"


def test_what_is_signed_has_secrets_of_its_own(tmp_path: Path) -> None:
    """For links, and as many for webhooks as a rotation needs; none by default."""
    plan = load(tmp_path, TWO)
    assert (plan.server.link_key, plan.server.pagerduty_webhook_secrets) == (None, ())
    secrets = "[{env: MONITOR_TOKEN}, {env: GITHUB_TOKEN}]"
    told = f"server: {{link_key: {{env: SMTP_PASSWORD}}, pagerduty_webhook_secrets: {secrets}}}\n"
    plan = load(tmp_path, TWO + told)
    assert plan.server.link_key is not None
    assert plan.server.link_key.reveal() == "p4ss"
    revealed = [each.reveal() for each in plan.server.pagerduty_webhook_secrets]
    assert revealed == ["m0n-t0ken", "gh-t0ken"]
    assert "m0n" not in repr(plan)
