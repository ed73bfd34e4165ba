"""Which alert is told to somebody, and which is part of what they were told already.

Pure: one outage burns every budget of a deployment in every window, slows down what it does not
break and breaks what depends on it, and is one page. Keeps no state; time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from monitor.matching import labels_of, matches
from monitor.model import SEVERITY_RANK, Incident, IncidentAlert, Matcher, Severity
from monitor.slo.alerting import AlertRule
from monitor.slo.burning import BurnCondition

LINGER_S = 300.0
"""What an alert hid stays hidden for so long after its end: windows still see its errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inhibition:
    """While an alert that `source` matches fires, those that `target` matches are not told.

    `equal` are the labels in which both must agree, as in Alertmanager.
    """

    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...] = ()


TIERS = (
    Inhibition(
        source=(Matcher(name="severity", operator="=", value="critical"),),
        target=(Matcher(name="severity", operator="=~", value="warning|info"),),
        equal=("deployment",),
    ),
)
"""What holds without being asked: what is critical hides what is less, of the same deployment."""


def covering(
    rule: AlertRule,
    condition: BurnCondition,
    since: float,
    incidents: Iterable[Incident],
    now: float,
) -> Incident | None:
    """Return the incident that a burn alert, active since `since`, belongs to; None when to none.

    It is one of the same deployment, no less severe, that opened with the same trouble: within the
    long window before the budget began to burn, or after. It covers for as long as it is open, and
    then for the length of the short window, in which the errors that it was about are still seen.
    """
    tier = condition.tier
    for incident in incidents:
        if (
            incident.rule == rule.name
            or SEVERITY_RANK[incident.severity] > SEVERITY_RANK[rule.severity]
        ):
            continue
        over = incident.resolved_at is not None and now >= incident.resolved_at + tier.short_s
        if not over and incident.opened_at >= since - tier.long_s:
            return incident
    return None


def inhibiting(
    labels: Mapping[str, str],
    incidents: Iterable[Incident],
    inhibitions: Sequence[Inhibition],
    *,
    depends_on: Sequence[str],
    now: float,
) -> IncidentAlert | None:
    """Return the alert that hides one with `labels`; None when none does.

    `depends_on` names the deployments of which a critical alert explains any alert of this one.
    """
    about = [each for each in inhibitions if matches(each.target, labels)]
    if not about and not depends_on:
        return None
    for incident in incidents:
        if incident.resolved_at is not None and now >= incident.resolved_at + LINGER_S:
            continue
        for alert in incident.alerts:
            if alert.resolved_at is not None and now >= alert.resolved_at + LINGER_S:
                continue
            if alert.deployment in depends_on and alert.severity is Severity.CRITICAL:
                return alert
            source = labels_of(alert) if about else {}
            if any(
                matches(each.source, source)
                and all(source.get(name, "") == labels.get(name, "") for name in each.equal)
                for each in about
            ):
                return alert
    return None
