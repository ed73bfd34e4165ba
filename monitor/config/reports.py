"""What the linter says about the objectives of a plan. Decides nothing itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from monitor.config.plan import DeploymentPlan
from monitor.slo.lint import Feed, Report, report_on
from monitor.slo.objective import Objective


def reports(
    deployments: Sequence[DeploymentPlan], evaluation_interval_s: float
) -> Iterator[tuple[DeploymentPlan, Report]]:
    """Yield the report of every objective that has a probe."""
    for plan in deployments:
        for objective in plan.objectives:
            feed = _feed(plan, objective, evaluation_interval_s)
            if feed is not None:
                yield plan, report_on(objective, feed)


def _feed(plan: DeploymentPlan, objective: Objective, evaluation_interval_s: float) -> Feed | None:
    intervals_s = tuple(
        Fraction(bound.target.interval_s)
        for bound in plan.probes
        if bound.target.sli and (objective.probes is None or bound.target.probe in objective.probes)
    )
    if not intervals_s:
        return None
    return Feed(intervals_s=intervals_s, evaluation_interval_s=Fraction(evaluation_interval_s))
