"""What the engine is told to watch, and what one step of it changed. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.model import AlertStatus, Deployment, Release, Target, Transition
from monitor.slo.objective import Objective, Sla


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSpec:
    """What is watched of a deployment, and what was promised."""

    deployment: Deployment
    targets: tuple[Target, ...]
    objective: Objective | None
    sla: Sla | None

    @property
    def periods(self) -> frozenset[int]:
        """Windows in seconds that the promises need."""
        return frozenset(each.period_s for each in (self.objective, self.sla) if each)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step changed; all of it must be persisted before anyone is told."""

    transitions: tuple[Transition, ...]
    alerts: tuple[AlertStatus, ...]
    forgotten: tuple[tuple[str, str], ...]
    """(rule, deployment) that are no longer configured."""
    releases: tuple[Release, ...]
    """Discovered or accepted in this step, in the order they were applied."""
