"""What the linter says about the objectives of a plan. Decides nothing itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from monitor.config.plan import DeploymentPlan
from monitor.slo.lint import Feed, Report, lint
from monitor.slo.objective import Objective


def reports(
    deployments: Sequence[DeploymentPlan], evaluation_interval_s: float
) -> Iterator[tuple[DeploymentPlan, Report]]:
    """Yield the report of every objective."""
    for plan in deployments:
        for objective in plan.objectives:
            yield plan, lint(objective, _feeds(plan, objective), evaluation_interval_s)


def _feeds(plan: DeploymentPlan, objective: Objective) -> list[Feed]:
    return [
        Feed(bound.target.interval_s, bound.target.timeout_s)
        for bound in plan.probes
        if bound.target.sli and (objective.probes is None or bound.target.probe in objective.probes)
    ]
