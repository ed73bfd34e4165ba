"""The blocks of the deployment plan as they stand there: environments, SLA and alert rules.

Owns which keys exist and what their texts mean, one block at a time; references between them are
checked elsewhere.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, RootModel

from monitor.config.values import (
    ErrorLimit,
    Identifier,
    LatencyLimit,
    ObjectiveShare,
    Quantile,
    Regions,
    Text,
    Traffic,
    Url,
)
from monitor.fields import Duration, Line, Model, Name
from monitor.slo.objective import Sla


class EnvironmentModel(Model):
    """One environment; `purpose` and `monitoring` are for people."""

    url: Url | None = None
    purpose: Line = ""
    traffic: Traffic = None
    sla: ObjectiveShare | None = None
    monitoring: Line = ""


class EnvironmentsModel(RootModel[dict[Name, EnvironmentModel]]):
    """Environments by name."""


class SlaModel(Model):
    """What was promised to users; a clause that is not written is not promised."""

    uptime: ObjectiveShare | None = None
    response_time: dict[Quantile, LatencyLimit] = Field(default_factory=dict)
    error_rate: ErrorLimit | None = None
    availability_zones: Regions | None = None

    def to_sla(self) -> Sla:
        """Return the clauses, latencies by rising quantile."""
        return Sla(
            uptime=self.uptime,
            latency_below_s=tuple(sorted(self.response_time.items())),
            error_rate_below=self.error_rate,
            min_regions=self.availability_zones,
        )


class SlaFileModel(Model):
    """The SLA block below its own key, as the plan writes it."""

    sla: SlaModel


class RuleModel(Model):
    """One alert rule; its condition is compiled by the caller, who knows its place in the file."""

    name: Identifier
    condition: str
    severity: Literal["critical", "warning", "info", "P0", "P1", "P2", "P3"]
    """How loud; P0 to P3 say besides how fast people must respond (the plan's 9.2)."""
    channels: Annotated[tuple[str, ...], Field(min_length=1)]
    for_s: Duration = 0.0
    keep_firing_for_s: Duration = 60.0
    """Not 0: one bad sample more or less at the edge of a window must not page in turns."""
    labels: dict[Identifier, Line] = Field(default_factory=dict)
    annotations: dict[Identifier, Text] = Field(default_factory=dict)
    rollback: bool = False


class RulesFileModel(Model):
    """A file of alert rules."""

    alerts: tuple[RuleModel, ...]
