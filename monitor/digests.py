"""One incident that speaks for many on one channel.

Pure: owns no state; when there is to be one is for the outbox to say.
"""

from __future__ import annotations

from collections.abc import Sequence

from monitor.grouping import incident_id, part
from monitor.model import (
    SEVERITY_RANK,
    Acknowledgement,
    Incident,
    IncidentAlert,
    Severity,
)

MANY = "alerts"
"""What the rule of a digest is called, after their number."""


def digest_of(
    covered: Sequence[Incident], channel: str, now: float, before: Incident | None = None
) -> Incident:
    """Return one incident that speaks on `channel` for all of `covered`, criticals first."""
    alerts = sorted(
        (each for incident in covered for each in part(incident, channel).alerts),
        key=lambda each: (SEVERITY_RANK[each.severity], each.opened_at),
    )
    first = covered[0]
    deployments = {each.deployment for each in alerts}
    environments = sorted({incident.environment for incident in covered})
    ends = [each.resolved_at for each in alerts if each.resolved_at is not None]
    opened_at = now if before is None else before.opened_at
    key = f"slo-monitor/digest/{channel[:96]}/{incident_id(channel, opened_at)}"
    return Incident(
        id=incident_id(key, opened_at),
        key=key,
        rule=f"{len(alerts)} {MANY}" if before is None else before.rule,
        deployment=f"{len(deployments)} deployments" if before is None else before.deployment,
        service=first.service,
        environment=", ".join(environments[:3]) + (", ..." if len(environments) > 3 else ""),  # noqa: PLR2004 - a title has room for no more
        severity=min((each.severity for each in alerts), key=SEVERITY_RANK.__getitem__),
        channels=(channel,),
        condition="more alerts at once than can be told one by one",
        summary=_summary(alerts),
        started_at=min(each.started_at for each in alerts),
        opened_at=opened_at,
        resolved_at=max(ends) if len(ends) == len(alerts) else None,
        alerts=tuple(alerts),
        priority=min(incident.priority for incident in covered),
        hidden_by=_common_reason(covered),
        acknowledgement=_common_acknowledgement(covered),
        covers=tuple(incident.id for incident in covered),
    )


def _common_reason(covered: Sequence[Incident]) -> str:
    reasons = [each.hidden_by for each in covered if each.is_open]
    return reasons[0] if reasons and all(reasons) else ""


def _common_acknowledgement(covered: Sequence[Incident]) -> Acknowledgement | None:
    """Return the one that expires first, when somebody works on everything."""
    given = [each.acknowledgement for each in covered if each.is_open]
    known = [each for each in given if each is not None]
    return min(known, key=lambda it: it.until) if known and len(known) == len(given) else None


def _summary(alerts: Sequence[IncidentAlert]) -> str:
    still = [each for each in alerts if each.is_open]
    counts = [
        f"{count} {severity.value}"
        for severity in Severity
        if (count := sum(each.severity is severity for each in still))
    ]
    return f"{len(still)} of {len(alerts)} alerts fire ({', '.join(counts) or 'none'})"
