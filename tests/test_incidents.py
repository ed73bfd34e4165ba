"""Who is told: what holds an alert back, what people say, and what never holds back an end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from monitor.escalation import EscalationStep
from monitor.grouping import AGAIN_S
from monitor.incidents import (
    CHANNEL_BROKEN,
    FLAP_OPENINGS,
    FLAP_QUIET_S,
    Incidents,
    IncidentSettings,
)
from monitor.inhibition import LINGER_S, Inhibition
from monitor.matching import parse_matcher
from monitor.model import (
    Acknowledge,
    Acknowledgement,
    AlertState,
    Deployment,
    Incident,
    Priority,
    Severity,
    Silence,
    Transition,
)
from monitor.routing import Route
from monitor.slo.alerting import AlertRule
from monitor.slo.condition import compile_condition
from monitor.slo.engine import DeploymentSpec, Engine

NOW = 1_000_000.0
FIRING, RESOLVED = AlertState.FIRING, AlertState.RESOLVED


@dataclass
class Works:
    """Maintenance that is switched by hand."""

    active: bool = False

    def is_active(self, at: float) -> bool:
        return self.active


class Desk:
    """Incidents of two deployments and three rules, fed by hand."""

    def __init__(self, rules: Sequence[AlertRule] = (), **settings: Any) -> None:
        self.works = Works()
        self.now = NOW
        self.broken: dict[str, str] = {}
        self.book = Incidents(
            Engine(
                tuple(self._spec(name) for name in ("web", "database")),
                rules
                or (
                    rule("errors", Severity.CRITICAL, "pager", "chat"),
                    rule("down", Severity.CRITICAL, "pager", "mail"),
                    rule("slow", Severity.WARNING, "chat"),
                ),
                NOW,
            ),
            IncidentSettings(service="shop", blind_channels=("chat", "mail"), **settings),
        )

    def fires(self, name: str, deployment: str = "web") -> list[Incident]:
        return self._follow(name, deployment, AlertState.INACTIVE, FIRING)

    def ends(self, name: str, deployment: str = "web", reason: str = "") -> list[Incident]:
        return self._follow(name, deployment, FIRING, RESOLVED, reason)

    def later(self, seconds: float) -> list[Incident]:
        self.now += seconds
        return self.book.settle(self.now, self.broken)

    def silence(self, *matchers: str, **changes: Any) -> Silence:
        silence = Silence(
            id="s1", matchers=tuple(map(parse_matcher, matchers)), owner="ana", reason="known",
            starts_at=self.now, ends_at=self.now + 600, at=self.now,
        )  # fmt: skip
        silence = replace(silence, **changes)
        self.book.silence(silence, self.now)
        return silence

    @property
    def open(self) -> list[Incident]:
        return [each for each in self.book.all() if each.is_open]

    @property
    def hidden(self) -> list[tuple[str, str]]:
        return [(each.rule, each.kind) for each in self.book.hidden()]

    def _follow(
        self, name: str, deployment: str, before: AlertState, after: AlertState, reason: str = ""
    ) -> list[Incident]:
        transition = Transition(
            at=self.now, rule=name, deployment=deployment, before=before, after=after,
            since=self.now, values={"error_rate_5m": 7.0}, reason=reason,
        )  # fmt: skip
        changed = {each.id: each for each in self.book.follow(transition)}
        changed |= {each.id: each for each in self.later(0)}
        return list(changed.values())

    def _spec(self, name: str) -> DeploymentSpec:
        deployment = Deployment(name=name, service="shop", environment="Production", url="http://x")
        return DeploymentSpec(
            deployment=deployment, targets=(), objective=None, sla=None, maintenance=(self.works,)
        )


def rule(name: str, severity: Severity, *channels: str) -> AlertRule:
    condition = compile_condition("error_rate_5m > 5")
    return AlertRule(name=name, condition=condition, severity=severity, channels=channels)


def test_one_outage_that_two_rules_tell_is_one_incident() -> None:
    """The second rule joins; who is to hear of it as well does; it ends with the last of them."""
    desk = Desk()
    [first] = desk.fires("errors")
    desk.later(60)
    [both] = desk.fires("down")
    assert (both.id, both.key) == (first.id, first.key)
    assert [each.rule for each in both.alerts] == ["errors", "down"]
    assert both.channels == ("pager", "chat", "mail")
    assert desk.ends("errors")[0].is_open
    assert not desk.ends("down")[0].is_open


def test_what_is_critical_hides_what_is_less_until_a_while_after_its_end() -> None:
    """A slow answer of a deployment that is down calls nobody, unless it stays slow."""
    desk = Desk()
    desk.fires("errors")
    assert desk.fires("slow") == []
    assert desk.hidden == [("slow", "inhibition")]
    desk.ends("errors")
    assert desk.later(LINGER_S - 1) == []
    [slow] = desk.later(1)
    assert (slow.rule, slow.opened_at) == ("slow", desk.now)
    assert desk.hidden == []


def test_a_warning_that_was_told_first_stays_and_ends_by_itself() -> None:
    """Inhibition stops openings only."""
    desk = Desk()
    [slow] = desk.fires("slow")
    desk.fires("errors")
    assert {each.rule for each in desk.open} == {"slow", "errors"}
    [over] = desk.ends("slow")
    assert (over.id, over.is_open) == (slow.id, False)


def test_what_depends_on_something_that_is_down_is_not_told() -> None:
    """The database is down: its incident is told, the web's is not, before it outlives that."""
    desk = Desk(depends_on={"web": ("database",)})
    desk.fires("errors", "database")
    assert desk.fires("errors", "web") == []
    assert desk.hidden == [("errors", "inhibition")]
    desk.ends("errors", "database")
    assert [each.deployment for each in desk.later(LINGER_S)] == ["web"]


def test_inhibitions_of_ones_own_replace_the_built_in_one() -> None:
    """`inhibit:` says which alerts hide which."""
    own = Inhibition(
        source=(parse_matcher("rule=slow"),), target=(parse_matcher("rule=errors"),), equal=()
    )
    desk = Desk(inhibitions=(own,))
    desk.fires("slow", "database")
    assert desk.fires("errors", "web") == []
    assert [each.rule for each in desk.fires("down", "web")] == ["down"]


@pytest.mark.parametrize("how", ["silence", "maintenance"])
def test_what_is_hidden_opens_late_and_ends_unheard(how: str) -> None:
    """While it is hidden nobody hears of it; what still fires afterwards is told then."""
    desk = Desk()
    desk.works.active = how == "maintenance"
    if how == "silence":
        desk.silence("deployment=web", ends_at=NOW + 100)
    assert desk.fires("errors") == []
    assert desk.hidden == [("errors", how)]
    assert desk.ends("errors") == []
    assert desk.hidden == []
    desk.fires("errors")
    desk.works.active = False
    [opened] = desk.later(100)
    assert (opened.rule, opened.opened_at) == ("errors", NOW + 100)
    assert desk.book.suppressed == [how, how]


def test_a_silence_on_what_is_open_keeps_reminders_and_never_the_end() -> None:
    """The incident says that it is hidden; whoever was told hears that it is over."""
    desk = Desk()
    desk.fires("errors")
    silence = desk.silence("rule=errors")
    [hidden] = desk.later(1)
    assert hidden.hidden_by == "silence s1 of ana: known"
    desk.book.silence(replace(silence, ended_at=desk.now), desk.now)
    [shown] = desk.later(1)
    assert shown.hidden_by == ""
    desk.silence("rule=errors", id="s2")
    desk.later(1)
    [over] = desk.ends("errors")
    assert not over.is_open


def test_a_silence_ends_with_what_it_hid_when_asked() -> None:
    """It waits for something to hide, and ends when that is over."""
    desk = Desk()
    desk.silence("deployment=web", ends_on_resolve=True)
    desk.later(10)
    assert desk.book.ended_silences == []
    desk.fires("errors")
    desk.ends("errors")
    assert [(each.id, each.ended_at) for each in desk.book.ended_silences] == [("s1", desk.now)]
    assert [each.rule for each in desk.fires("down")] == ["down"]


def test_an_acknowledgement_stops_the_escalation_until_it_expires() -> None:
    """The team lead is called when nobody answered, or when whoever did went home."""
    steps = (EscalationStep(after_s=300, channels=("lead",)),)
    desk = Desk(escalation={Priority.P0: steps})
    [opened] = desk.fires("errors")
    said = Acknowledgement(by="ana", at=desk.now, until=desk.now + 1000)
    [acked] = desk.book.acknowledge(Acknowledge(incident=opened.id, acknowledgement=said), desk.now)
    assert acked.notes[-1].text == "acknowledged by ana"
    assert desk.later(999) == []
    [called] = desk.later(1)
    assert called.called == ("lead",)
    assert not any(late for _, late in desk.book.steps)
    taken_back = Acknowledge(incident=opened.id, acknowledgement=None)
    assert desk.book.acknowledge(taken_back, desk.now)[0].acknowledgement is None
    assert desk.book.acknowledge(replace(taken_back, incident="forged"), desk.now) == []


def test_what_flaps_is_over_after_a_quiet_while_only() -> None:
    """From the fourth time in an hour on it is one incident: the rate of messages is bounded."""
    desk = Desk()
    for _ in range(FLAP_OPENINGS):
        desk.fires("errors")
        desk.later(AGAIN_S + 60)
        desk.ends("errors")
    [flapping] = desk.open
    assert flapping.notes[-1].text.startswith("flapping")
    for _ in range(20):
        assert desk.fires("errors") == []
        desk.later(60)
        assert desk.ends("errors") == []
    assert [each.id for each in desk.open] == [flapping.id]
    [over] = desk.later(FLAP_QUIET_S)
    assert not over.is_open
    assert len(desk.book.all()) == FLAP_OPENINGS


def test_what_a_reload_removed_ends_even_when_it_flaps() -> None:
    """There is nothing to wait for."""
    desk = Desk()
    for _ in range(FLAP_OPENINGS):
        desk.fires("errors")
        desk.later(AGAIN_S + 60)
        desk.ends("errors", reason="config_removed")
    assert desk.open == []


def test_a_broken_channel_is_told_elsewhere_and_taken_back() -> None:
    """Who else is there hears of it, and that it works again."""
    desk = Desk()
    desk.broken = {"chat": "invalid_token"}
    [told] = desk.later(1)
    assert (told.rule, told.deployment, told.channels) == (CHANNEL_BROKEN, "chat", ("mail",))
    assert "invalid_token" in told.summary
    assert desk.later(60) == []
    desk.broken = {}
    [over] = desk.later(1)
    assert (over.id, over.is_open) == (told.id, False)


def test_the_key_of_an_incident_is_its_alerts_and_another_while_that_is_taken() -> None:
    """The same for every episode; but two that are open at once cannot share it."""
    desk = Desk()
    [first] = desk.fires("errors")
    desk.fires("down")
    desk.ends("errors")
    desk.later(AGAIN_S + 1)
    [second] = desk.fires("errors")
    assert second.id != first.id
    assert second.key == f"{first.key}/{second.id}"
    desk.ends("errors")
    desk.ends("down")
    desk.later(AGAIN_S + 1)
    [third] = desk.fires("errors")
    assert third.key == first.key


def test_after_a_restart_everything_goes_on() -> None:
    """Open incidents, silences and what was hidden are taken over; nothing is told again."""
    desk = Desk()
    desk.fires("errors")
    desk.silence("deployment=database")
    again = Desk()
    again.book.restore(desk.book.all(), tuple(desk.book.silences.values()), desk.now)
    assert [each.id for each in again.open] == [each.id for each in desk.open]
    assert again.fires("errors", "database") == []
    [over] = again.ends("errors", "web")
    assert not over.is_open


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ error_rate_5m }} fail on {{ deployment }}", "7 % fail on web"),
        ("{{ $labels.rule }}: {{ $value }}", "templated: 7 %"),
        ("{{ nobody_knows }} fail", "{{ nobody_knows }} fail"),
        ("{{ deployment", "{{ deployment"),
    ],
)
def test_annotations_are_filled_or_told_as_they_are(template: str, text: str) -> None:
    """A template that fails costs nobody the page."""
    annotations = {"summary": template, "runbook": "https://r.example"}
    templated = replace(rule("templated", Severity.CRITICAL, "pager"), annotations=annotations)
    desk = Desk(rules=(templated,))
    [incident] = desk.fires("templated")
    assert incident.summary == incident.annotations["summary"] == text
    assert incident.annotations["runbook"] == "https://r.example"


def test_a_flapping_alert_with_for_stays_one_incident_and_ends() -> None:
    """While it waits for its `for` again it is neither forgotten nor opened anew."""
    desk = Desk()
    for _ in range(4):
        desk.fires("errors")
        desk.ends("errors")
        desk.later(60)
    [incident] = desk.open
    desk._follow("errors", "web", AlertState.INACTIVE, AlertState.PENDING)
    desk.later(30)
    desk._follow("errors", "web", AlertState.PENDING, AlertState.FIRING)
    desk.later(30)
    assert [each.id for each in desk.open] == [incident.id]
    desk.ends("errors")
    desk._follow("errors", "web", AlertState.INACTIVE, AlertState.PENDING)
    desk._follow("errors", "web", AlertState.PENDING, AlertState.INACTIVE)
    desk.later(901)
    assert desk.open == []


def test_a_silence_until_resolved_ends_with_what_it_hid_over_a_restart() -> None:
    """It was hiding something when the process ended, so it ends when that is over."""
    desk = Desk()
    desk.fires("errors")
    silence = desk.silence("deployment=web", ends_on_resolve=True, ends_at=NOW + 9e6)
    desk.later(60)
    again = Desk()
    again.now = desk.now
    again.book.restore(desk.book.all(), [silence], again.now)
    again.ends("errors")
    again.later(1)
    [ended] = again.book.ended_silences
    assert ended.id == silence.id


def test_the_steps_of_a_worse_priority_are_its_own() -> None:
    """What joins as P0 calls whom P0 calls, at P0's times, whatever was called before."""
    steps = {
        Priority.P2: (EscalationStep(after_s=60.0, channels=("junior",)),),
        Priority.P0: (EscalationStep(after_s=300.0, channels=("lead",)),),
    }
    desk = Desk(escalation=steps, route=Route(group_by=("deployment",)))
    desk.fires("slow")
    desk.later(3000)
    desk.fires("errors")
    [joined] = desk.open
    assert joined.called == ("junior",)
    desk.later(299)
    assert desk.open[0].called == ("junior",)
    desk.later(1)
    assert desk.open[0].called == ("junior", "lead")
    # Each is counted as the first of its priority.
    assert desk.book.steps == [(1, True), (1, False)]


def test_what_was_hidden_is_escalated_from_when_it_is_shown() -> None:
    """Nobody could have answered before."""
    steps = {Priority.P0: (EscalationStep(after_s=300.0, channels=("lead",)),)}
    desk = Desk(escalation=steps)
    desk.fires("errors")
    desk.silence("deployment=web", ends_at=desk.now + 600)
    desk.later(60)
    desk.later(600)
    assert desk.open[0].called == ()
    desk.later(300)
    assert desk.open[0].called == ("lead",)


def test_a_broken_fallback_is_told_to_who_is_called_for_the_worst() -> None:
    """The fallback cannot tell of itself."""
    desk = Desk(critical_channels=("pager", "chat"))
    desk.book.settings = replace(desk.book.settings, blind_channels=("chat",))
    desk.broken["chat"] = "channel_not_found"
    [own] = desk.later(1)
    assert own.channels == ("pager",)


def test_a_broken_channel_hides_nothing_of_a_deployment_with_its_name() -> None:
    """Names of channels and of deployments have nothing to do with each other."""
    desk = Desk()
    desk.broken["web"] = "channel_not_found"
    desk.later(1)
    assert [each.rule for each in desk.fires("slow")] == ["slow"]


def test_after_a_restart_the_configuration_is_followed() -> None:
    """Whoever edited it and started anew hears of what is open."""
    desk = Desk()
    [incident] = desk.fires("errors")
    again = Desk(rules=(rule("errors", Severity.CRITICAL, "pager", "new"),))
    again.book.restore([incident], [], again.now)
    [changed] = again.book.follow_channels()
    assert changed.channels == ("pager", "chat", "new")
