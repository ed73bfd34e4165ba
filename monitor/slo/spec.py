"""What the engine is told to watch, and what one step of it changed. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from monitor.model import AlertStatus, Deployment, Release, Target, Transition
from monitor.slo.objective import Objective, Sla


class Planned(Protocol):
    """Maintenance that was announced."""

    def is_active(self, at: float) -> bool:
        """Whether it is under way at this moment, UTC seconds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSpec:
    """What is watched of a deployment, and what was promised."""

    deployment: Deployment
    targets: tuple[Target, ...]
    objective: Objective | None
    """The one that signals such as `error_budget_remaining` are about."""
    sla: Sla | None
    more_objectives: tuple[Objective, ...] = ()
    maintenance: tuple[Planned, ...] = ()

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """All objectives, the first one first."""
        return (*((self.objective,) if self.objective else ()), *self.more_objectives)

    def is_maintained(self, at: float) -> bool:
        """Whether a moment, UTC seconds, is in planned maintenance."""
        return any(planned.is_active(at) for planned in self.maintenance)

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
