"""The incidents: which alerts they are made of, who is called for them, and what is held back.

Owns every incident, the alerts that fire and are not told (hidden, or part of something), the
silences and the escalation. Sends nothing, stores nothing; time is an argument.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from monitor.escalation import EscalationStep, escalate
from monitor.grouping import (
    alert_of,
    end_alert,
    incident_key,
    join,
    joinable,
    open_incident,
    open_own_incident,
)
from monitor.inhibition import TIERS, Inhibition, covering, inhibiting
from monitor.matching import labels_of, matches
from monitor.model import (
    TAKEN_BACK,
    Acknowledge,
    AlertState,
    Diagnosis,
    Incident,
    IncidentAlert,
    Note,
    Priority,
    Silence,
    Transition,
)
from monitor.notify.words import measured
from monitor.routing import EVERYTHING, Route, group_of, routed
from monitor.slo.alerting import AlertRule, rule_name
from monitor.slo.burning import BurnCondition
from monitor.slo.engine import Engine
from monitor.slo.sight import PROBER, PROBER_BLIND
from monitor.templates import VALUE, TemplateError, fill

CLOSED_KEPT = 200
"""Recently closed incidents kept in memory for the page."""
DIAGNOSIS_S = 300.0
"""A diagnosis says something about an incident that opens so long afterwards."""
CHANNEL_BROKEN = "channel_broken"
OWN_RULES = (PROBER_BLIND, CHANNEL_BROKEN)
FLAP_WITHIN_S = 3600.0
FLAP_OPENINGS = 4
"""An alert that fired so often within that time is over only when it was quiet for a while."""
FLAP_QUIET_S = 900.0
SILENCES_KEPT = 1000

Where = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentSettings:
    """What the plan says about who is told."""

    service: str
    blind_channels: tuple[str, ...]
    """Who is told that we cannot see, or cannot tell."""
    critical_channels: tuple[str, ...] = ()
    """Who is told of a broken channel when there is nobody else."""
    rollback_rules: frozenset[Where] = frozenset()
    """(rule, deployment) pairs whose incidents ask for a rollback."""
    route: Route = EVERYTHING
    escalation: Mapping[Priority, tuple[EscalationStep, ...]] = field(default_factory=dict)
    inhibitions: tuple[Inhibition, ...] = TIERS
    depends_on: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Deployment -> those without which it cannot work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """An alert that fires and that nobody is told of."""

    rule: str
    deployment: str
    since: float
    kind: str
    """`silence`, `maintenance` or `inhibition`; `part` of an incident that is told."""
    why: str


class Incidents:
    """Follows transitions; every method that changes something returns the changed incidents."""

    def __init__(self, engine: Engine, settings: IncidentSettings) -> None:
        """Start with none."""
        self.settings = settings
        self.steps: list[tuple[int, bool]] = []
        """(number, whether it was late) of steps of escalations; whoever counts them empties it."""
        self.silences: dict[str, Silence] = {}
        self.suppressed: list[str] = []
        """Kinds of hiding that began, for counting; whoever counts empties it."""
        self.ended_silences: list[Silence] = []
        """Silences that ended by themselves, to be stored; whoever stores them empties it."""
        self._engine = engine
        self._incidents: dict[str, Incident] = {}
        self._open: dict[Where, str] = {}
        self._of: dict[str, dict[str, None]] = {}
        """Deployment -> ids of the incidents that have alerts of it."""
        self._groups: dict[str, dict[str, None]] = {}
        """Group -> ids of its open incidents."""
        self._closed: dict[str, None] = {}
        self._hiding: set[str] = set()
        """Silences that end with what they hide, and hide something."""
        self._held: dict[Where, Transition] = {}
        """Alerts that fire and are not told (yet)."""
        self._hidden: dict[Where, Hidden] = {}
        self._settling: dict[Where, Transition] = {}
        """Ends of flapping alerts that may not last."""
        self._diagnoses: dict[str, Diagnosis] = {}
        """The latest of each target."""

    def all(self) -> list[Incident]:
        """Return open and recently closed incidents, newest first."""
        return sorted(self._incidents.values(), key=lambda each: each.opened_at, reverse=True)

    def hidden(self) -> list[Hidden]:
        """Return the alerts that fire and that nobody is told of, and why."""
        return list(self._hidden.values())

    def restore(
        self, incidents: Sequence[Incident], silences: Sequence[Silence], now: float
    ) -> None:
        """Take over what an earlier process told and was told."""
        self.silences = {each.id: each for each in silences}
        for incident in sorted(incidents, key=lambda each: each.opened_at):
            if not incident.covers:
                self._keep(incident.with_lead())
        firing = set()
        for status in self._engine.alerts():
            where = (status.rule, status.deployment)
            if status.state is not AlertState.FIRING:
                continue
            firing.add(where)
            if where not in self._open:
                since = status.evaluated_at if status.active_at is None else status.active_at
                self._held[where] = _firing(where, since)
        for where in self._open.keys() - firing:
            if where[0] not in OWN_RULES:
                # It was flapping when the earlier process ended.
                self._settling[where] = replace(_firing(where, now), after=AlertState.RESOLVED)
        labels = list(self._firing_labels())
        self._hiding = {
            silence.id
            for silence in silences
            if silence.ends_on_resolve
            and silence.is_active(now)
            and any(matches(silence.matchers, each) for each in labels)
        }
        self._forget_closed()

    # --- alerts -----------------------------------------------------------------------------

    def follow(self, transition: Transition) -> list[Incident]:
        """Take in a transition; alerts that fire are looked at by `settle`."""
        where = (transition.rule, transition.deployment)
        if where == (PROBER_BLIND, PROBER) and transition.after is AlertState.FIRING:
            return self._changed([self._blind(transition)])
        if transition.after is AlertState.FIRING:
            if self._settling.pop(where, None) is None and where not in self._open:
                self._held[where] = transition
            return []
        if transition.before is not AlertState.FIRING:
            # A flapping alert that waits for its `for` again is still over, or not.
            return []
        self._hidden.pop(where, None)
        self._settling.pop(where, None)
        held, key = self._held.pop(where, None), self._open.get(where)
        if held is not None or key is None:
            return []
        if not transition.reason and self._is_flapping(where, transition.at):
            self._settling[where] = transition
            text = "flapping: it counts as over after 15 quiet minutes"
            known = self._incidents[key]
            noted = _noted_once(known, text, transition.at)
            return [] if noted is known else self._changed([noted])
        return self._changed([end_alert(self._incidents[key], transition)])

    def settle(self, now: float, broken: Mapping[str, str]) -> list[Incident]:
        """Open, join, hide, escalate and end what is due.

        `broken` says which channels cannot be used, and why.
        """
        changed = {each.id: each for each in self._end_settled(now)}
        changed |= {each.id: each for each in self._open_held(now)}
        changed |= {each.id: each for each in self._watch_channels(broken, now)}
        self._end_silences(now)
        active = self._active_silences(now)
        for key in dict.fromkeys(self._open.values()):
            incident = looked = self._incidents[key]
            why = self._why_hidden(incident, active, now)
            if why != incident.hidden_by:
                looked = replace(incident, hidden_by=why)
                if not why:
                    looked = replace(looked, shown_at=now)
            steps = self.settings.escalation.get(incident.priority, ())
            looked, late = escalate(looked, steps, now) if steps else (looked, False)
            taken = looked.steps[len(incident.steps) :]
            self.steps += [(int(name.rpartition("/")[2]), late) for name in taken]
            if looked is not incident:
                self._keep(looked)
                changed[looked.id] = looked
        self._forget_closed()
        return list(changed.values())

    def _open_held(self, now: float) -> list[Incident]:
        """Open incidents of alerts that nothing holds back; note the others where they belong.

        In the order of their rules, so that of tiers that fire together the fastest speaks.
        """
        changed: dict[str, Incident] = {}
        for where in [each for each in self._held if self._engine.rule(*each) is None]:
            # A reload removed it; the alert ends by itself.
            del self._held[where]
            self._hidden.pop(where, None)
        active = self._active_silences(now)
        for where, transition in sorted(self._held.items(), key=self._by_rule):
            rule = self._engine.rule(*where)
            if rule is None:
                continue
            alert, group = self._alert(transition, rule, now)
            why = self._holds(alert, rule, transition.since, active, now)
            if why is None:
                del self._held[where]
                self._hidden.pop(where, None)
                incident = self._place(self._filled(alert, transition), group, now)
                changed[incident.id] = incident
            elif isinstance(why, Incident):
                self._hide(where, transition.since, "part", f"part of {why.rule}")
                noted = _noted_once(why, f"also: {rule.condition.text}", now)
                if why.is_open and noted is not why:
                    self._keep(noted)
                    changed[noted.id] = noted
            else:
                self._hide(where, transition.since, *why)
        return list(changed.values())

    def _alert(
        self, transition: Transition, rule: AlertRule, now: float
    ) -> tuple[IncidentAlert, str]:
        """Return an alert that fires, not filled in yet, and its group."""
        where = (transition.rule, transition.deployment)
        alert = alert_of(
            replace(transition, at=now),
            rule,
            rule.channels,
            self._engine.specs[transition.deployment].deployment,
            rollback=(rule_name(rule.name), where[1]) in self.settings.rollback_rules,
        )
        labels = labels_of(alert)
        channels, group_by = routed(self.settings.route, labels, rule.channels)
        return replace(alert, channels=channels), group_of(labels, group_by)

    def _filled(self, alert: IncidentAlert, transition: Transition) -> IncidentAlert:
        """Return an alert that opens, maybe long after it fired, with what is measured now."""
        values = transition.values
        if transition.at != alert.opened_at or not values:
            values = self._engine.values(alert.rule, alert.deployment, alert.opened_at)
        return _written(replace(alert, values=values))

    def _place(self, alert: IncidentAlert, group: str, now: float) -> Incident:
        """Let the alert join an incident of its group, or open one."""
        known = [self._incidents[each] for each in self._groups.get(group, ())]
        release = self._engine.release(alert.deployment)
        revision = release.revision if release else None
        home = next(
            (each for each in reversed(known) if joinable(each, alert, group, revision, now)), None
        )
        if home is not None:
            incident = join(home, alert)
        else:
            key = incident_key(alert.rule, alert.deployment)
            incident = open_incident(
                alert,
                revision=revision,
                group=group,
                taken=any(
                    each.is_open and each.key == key for each in self._about(alert.deployment)
                ),
            )
        incident = self._with_diagnoses(incident, now)
        self._keep(incident)
        return incident

    def _by_rule(self, held: tuple[Where, Transition]) -> tuple[str, int]:
        (rule, deployment), _ = held
        return deployment, self._engine.rank(rule, deployment)

    # --- what holds back ----------------------------------------------------------------------

    def _holds(
        self,
        alert: IncidentAlert,
        rule: AlertRule,
        since: float,
        active: Sequence[Silence],
        now: float,
    ) -> tuple[str, str] | Incident | None:
        """Return why an alert is not told: (kind, words), or the incident that it is part of."""
        hidden = self._is_muted(alert, active, now)
        if hidden is not None:
            return hidden
        wanted = self.settings.depends_on.get(alert.deployment, ())
        inhibitions = self.settings.inhibitions
        # A channel of ours that is broken says nothing of a deployment with its name.
        suspects = [
            each
            for name in (alert.deployment, *wanted)
            for each in self._about(name)
            if each.rule not in OWN_RULES
        ]
        if any("deployment" not in each.equal for each in inhibitions):
            suspects = list(self._incidents.values())
        source = inhibiting(
            labels_of(alert),
            suspects,
            inhibitions,
            depends_on=wanted,
            now=now,
        )
        if source is not None:
            return "inhibition", f"{source.rule} on {source.deployment} fires"
        if isinstance(rule.condition, BurnCondition):
            told = [
                each
                for each in self._about(alert.deployment)
                if not each.hidden_by and set(alert.channels) & set(each.channels)
            ]
            return covering(rule, rule.condition, since, told, now)
        return None

    def _about(self, deployment: str) -> list[Incident]:
        return [self._incidents[each] for each in self._of.get(deployment, ())]

    def _active_silences(self, now: float) -> list[Silence]:
        return [each for each in self.silences.values() if each.is_active(now)]

    def _is_muted(
        self, alert: IncidentAlert, active: Sequence[Silence], now: float
    ) -> tuple[str, str] | None:
        spec = self._engine.specs.get(alert.deployment)
        if spec is not None and spec.is_maintained(now):
            return "maintenance", "planned maintenance"
        labels = labels_of(alert) if active else {}
        for silence in active:
            if matches(silence.matchers, labels):
                return "silence", f"silence {silence.id} of {silence.owner}: {silence.reason}"
        return None

    def _why_hidden(self, incident: Incident, active: Sequence[Silence], now: float) -> str:
        """Return why nobody is told that an open incident is open: all of it is muted."""
        why = ""
        for alert in incident.alerts:
            if alert.is_open:
                muted = self._is_muted(alert, active, now)
                if muted is None:
                    return ""
                why = muted[1]
        return why

    def _hide(self, where: Where, since: float, kind: str, why: str) -> None:
        known = self._hidden.get(where)
        if known is None or known.why != why:
            self._hidden[where] = Hidden(
                rule=where[0], deployment=where[1], since=since, kind=kind, why=why
            )
            if kind != "part" and (known is None or known.kind != kind):
                self.suppressed.append(kind)

    # --- flapping -----------------------------------------------------------------------------

    def _is_flapping(self, where: Where, now: float) -> bool:
        openings = sum(
            (each.rule, each.deployment) == where and now - each.opened_at <= FLAP_WITHIN_S
            for incident in self._incidents.values()
            for each in incident.alerts
        )
        return openings >= FLAP_OPENINGS

    def _end_settled(self, now: float) -> list[Incident]:
        changed = []
        for where, transition in list(self._settling.items()):
            if now - transition.at >= FLAP_QUIET_S and where in self._open:
                del self._settling[where]
                incident = self._incidents[self._open[where]]
                changed += self._changed([end_alert(incident, replace(transition, at=now))])
        return changed

    # --- ourselves ----------------------------------------------------------------------------

    def _blind(self, transition: Transition) -> Incident:
        service = self.settings.service
        return open_own_incident(
            transition,
            service,
            self.settings.blind_channels,
            "nothing that is watched can be seen",
            f"{service}: the monitor is blind: {transition.values['why']}. "
            "Budgets, alerts and rollbacks stand still until it sees again.",
        )

    def _watch_channels(self, broken: Mapping[str, str], now: float) -> list[Incident]:
        """Open an incident, told elsewhere, for each channel that cannot be used."""
        changed = []
        for channel, why in broken.items():
            where = (CHANNEL_BROKEN, channel)
            settings = self.settings
            elsewhere = tuple(each for each in settings.blind_channels if each != channel) or tuple(
                each for each in settings.critical_channels if each != channel
            )
            if where not in self._open and elsewhere:
                changed.append(
                    open_own_incident(
                        replace(_firing(where, now), values={"why": why}),
                        self.settings.service,
                        elsewhere,
                        "a channel refuses for good what it is given",
                        f"{self.settings.service}: nobody can be told through {channel}: {why}",
                    )
                )
        for where, key in list(self._open.items()):
            if where[0] == CHANNEL_BROKEN and where[1] not in broken:
                over = replace(_firing(where, now), after=AlertState.RESOLVED)
                changed.append(end_alert(self._incidents[key], over))
        return self._changed(changed)

    # --- people -------------------------------------------------------------------------------

    def silence(self, silence: Silence, now: float) -> None:
        """Take in a silence, or what became of one."""
        self.silences[silence.id] = silence
        over = [each for each in self.silences.values() if (each.ended_at or each.ends_at) < now]
        for each in over[: max(0, len(self.silences) - SILENCES_KEPT)]:
            del self.silences[each.id]

    def _end_silences(self, now: float) -> None:
        """End silences that were to end with what they hid."""
        ending = [each for each in self.silences.values() if each.ends_on_resolve]
        firing = list(self._firing_labels()) if ending else []
        for silence in ending:
            if not silence.is_active(now):
                self._hiding.discard(silence.id)
            elif any(matches(silence.matchers, labels) for labels in firing):
                self._hiding.add(silence.id)
            elif silence.id in self._hiding:
                self._hiding.discard(silence.id)
                ended = replace(silence, ended_at=now)
                self.silences[silence.id] = ended
                self.ended_silences.append(ended)

    def _firing_labels(self) -> Iterator[dict[str, str]]:
        for key in set(self._open.values()):
            yield from (labels_of(each) for each in self._incidents[key].alerts if each.is_open)
        for where, transition in self._held.items():
            rule = self._engine.rule(*where)
            if rule is not None:
                about = self._engine.specs[where[1]].deployment
                yield labels_of(alert_of(transition, rule, (), about, rollback=False))

    def acknowledge(self, said: Acknowledge, now: float) -> list[Incident]:
        """Note that somebody works on an incident, or does not any more."""
        incident = self._incidents.get(said.incident)
        if incident is None or not incident.is_open:
            return []
        ack = said.acknowledgement
        text = TAKEN_BACK if ack is None else f"acknowledged by {ack.by}"
        incident = replace(incident, acknowledgement=ack).with_note(Note(at=now, text=text))
        return self._changed([incident])

    def note(self, incident: str, note: Note) -> list[Incident]:
        """Append a note, if the incident is known."""
        known = self._incidents.get(incident)
        return [] if known is None else self._changed([known.with_note(note)])

    def follow_channels(self) -> list[Incident]:
        """Give open incidents the channels that their rules have now, besides those they had.

        Who was told hears of the end; who is told from now on hears of what is still open.
        """
        changed = []
        for incident in [each for each in self._incidents.values() if each.is_open]:
            alerts = tuple(self._rechannelled(each) for each in incident.alerts)
            names = (*incident.channels, *(name for each in alerts for name in each.channels))
            channels = tuple(dict.fromkeys(names))
            if alerts != incident.alerts:
                changed.append(replace(incident, alerts=alerts, channels=channels))
        return self._changed(changed)

    def _rechannelled(self, alert: IncidentAlert) -> IncidentAlert:
        rule = self._engine.rule(alert.rule, alert.deployment)
        if rule is None or not alert.is_open:
            return alert
        now, _ = routed(self.settings.route, labels_of(alert), rule.channels)
        return replace(alert, channels=tuple(dict.fromkeys((*alert.channels, *now))))

    # --- diagnoses ----------------------------------------------------------------------------

    def diagnose(self, diagnoses: Sequence[Diagnosis]) -> list[Incident]:
        """Remember diagnoses, and note them on what is open already."""
        changed: dict[str, Incident] = {}
        for diagnosis in diagnoses:
            self._diagnoses[diagnosis.target] = diagnosis
            for where, key in self._open.items():
                incident = self._incidents[key]
                if where[1] == diagnosis.deployment:
                    noted = _noted(incident, diagnosis)
                    if noted is not incident:
                        changed[key] = noted
                        self._keep(noted)
        return list(changed.values())

    def _with_diagnoses(self, incident: Incident, now: float) -> Incident:
        """Return an incident that opens, with what was found out on the way there."""
        self._diagnoses = {
            target: diagnosis
            for target, diagnosis in self._diagnoses.items()
            if now - diagnosis.at <= DIAGNOSIS_S
        }
        for diagnosis in self._diagnoses.values():
            if diagnosis.deployment == incident.deployment:
                incident = _noted(incident, diagnosis)
        return incident

    # --- keeping ------------------------------------------------------------------------------

    def _changed(self, incidents: list[Incident]) -> list[Incident]:
        for incident in incidents:
            self._keep(incident)
        return incidents

    def _keep(self, incident: Incident) -> None:
        self._incidents[incident.id] = incident
        for alert in incident.alerts:
            where = (alert.rule, alert.deployment)
            self._of.setdefault(alert.deployment, {})[incident.id] = None
            if alert.is_open:
                self._open[where] = incident.id
            elif self._open.get(where) == incident.id:
                del self._open[where]
        group = self._groups.setdefault(incident.group, {})
        if incident.is_open:
            group[incident.id] = None
        else:
            self._closed[incident.id] = None
            group.pop(incident.id, None)
            if not group:
                del self._groups[incident.group]

    def _forget_closed(self) -> None:
        for old in list(self._closed)[: max(0, len(self._closed) - CLOSED_KEPT)]:
            del self._closed[old]
            for alert in self._incidents.pop(old).alerts:
                known = self._of.get(alert.deployment, {})
                known.pop(old, None)
                if not known:
                    self._of.pop(alert.deployment, None)


def _firing(where: Where, at: float) -> Transition:
    return Transition(
        at=at,
        rule=where[0],
        deployment=where[1],
        before=AlertState.INACTIVE,
        after=AlertState.FIRING,
        since=at,
    )


def _noted_once(incident: Incident, text: str, now: float) -> Incident:
    if any(note.text == text for note in incident.notes):
        return incident
    return incident.with_note(Note(at=now, text=text))


def _noted(incident: Incident, diagnosis: Diagnosis) -> Incident:
    """Return the incident with a line for the diagnosis, unless this cause is known already."""
    start = f"diagnosis ({diagnosis.cause}): "
    if any(note.text.startswith(start) for note in incident.notes):
        return incident
    probe = diagnosis.target.removeprefix(f"{diagnosis.deployment}/")
    return incident.with_note(Note(at=diagnosis.at, text=f"{start}{diagnosis.text} [{probe}]"))


def _written(alert: IncidentAlert) -> IncidentAlert:
    """Return the alert with its annotations filled in; one that fails stays as it was written."""
    values = {name: measured(name, value) for name, value in alert.values.items()}
    first = next(iter(values.values()), "no data")
    texts = {VALUE: first, **values, **labels_of(alert)}
    annotations = dict(alert.annotations)
    for name, template in alert.annotations.items():
        # The page goes out, whatever its author asked for: the load has complained already.
        with contextlib.suppress(TemplateError):
            annotations[name] = fill(template, texts)
    summary = annotations.get("summary") or alert.summary
    return replace(alert, annotations=MappingProxyType(annotations), summary=summary)
