"""The alerts of one incident in words, however many there are.

Pure. Five thousand alerts become counts and the few names that matter most; work and length are
bounded by that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from monitor.model import SEVERITY_RANK, Incident, IncidentAlert, Severity
from monitor.notify.words import fit_line, span

NAMED = 20
"""At most so many alerts are named."""
NAME_LIMIT = 30
"""Of a rule and of a deployment: a long rule must not hide where it fires, and all the lines
together fit into one value."""


def count_of_more(incident: Incident) -> int:
    """Return how many alerts the title does not name: of those that fire, while some do."""
    alerts = incident.alerts
    count = sum(alert.is_open for alert in alerts) if incident.is_open else len(alerts)
    return max(0, count - 1)


def alerts_in_words(incident: Incident, now: float) -> str:
    """Return counts, then names: what fires, criticals first; then what ended, the latest first.

    Empty for an incident of one alert, of which the rest of the message speaks.
    """
    alerts = incident.alerts
    if len(alerts) <= 1:
        return ""
    firing = sorted((it for it in alerts if it.is_open), key=_urgency)
    ended = sorted((it for it in alerts if not it.is_open), key=lambda it: -(it.resolved_at or 0))
    named = [*firing, *ended][:NAMED]
    lines = [_counts(alerts, len(firing)), *(_line(alert, now) for alert in named)]
    if rest := len(alerts) - len(named):
        lines.append(f"… {rest:,} more")
    return "\n".join(lines)


def _urgency(alert: IncidentAlert) -> tuple[int, float]:
    return SEVERITY_RANK[alert.severity], alert.started_at


def _counts(alerts: Sequence[IncidentAlert], firing: int) -> str:
    deployments = len({alert.deployment for alert in alerts})
    parts = [f"{len(alerts):,} on {deployments:,} deployment{'s' if deployments > 1 else ''}"]
    if firing:
        parts.append(f"{firing:,} firing ({', '.join(_by_severity(alerts))})")
    if ended := len(alerts) - firing:
        parts.append(f"{ended:,} ended")
    return ", ".join(parts)


def _by_severity(alerts: Sequence[IncidentAlert]) -> Iterator[str]:
    counts = Counter(alert.severity for alert in alerts if alert.is_open)
    return (f"{counts[severity]:,} {severity}" for severity in Severity if counts[severity])


def _line(alert: IncidentAlert, now: float) -> str:
    rule, deployment = fit_line(alert.rule, NAME_LIMIT), fit_line(alert.deployment, NAME_LIMIT)
    if alert.resolved_at is None:
        lasted = span(now - alert.started_at)
        return f"[{alert.severity.upper()}] {rule} on {deployment} for {lasted}"
    return f"ended: {rule} on {deployment} after {span(alert.resolved_at - alert.started_at)}"
