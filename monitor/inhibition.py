"""Which burn alert is told to somebody, and which is part of what they were told already.

Pure: one outage burns every budget of a deployment in every window, and is one page. Keeps no
state; time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable

from monitor.model import Incident, Severity
from monitor.slo.alerting import AlertRule
from monitor.slo.burning import BurnCondition

_RANK = {severity: rank for rank, severity in enumerate(Severity)}


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
        if incident.rule == rule.name or _RANK[incident.severity] > _RANK[rule.severity]:
            continue
        over = incident.resolved_at is not None and now >= incident.resolved_at + tier.short_s
        if not over and incident.opened_at >= since - tier.long_s:
            return incident
    return None
