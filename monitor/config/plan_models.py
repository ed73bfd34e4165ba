"""The blocks of the deployment plan as they stand there: environments, SLA and alert rules.

Owns which keys exist and what their texts mean, one block at a time; references between them are
checked elsewhere.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, RootModel, model_validator

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
    at_least,
)
from monitor.fields import Duration, Line, Model, Name
from monitor.slo.alerting import NoData
from monitor.slo.objective import Sla

MOST_PERIODS = 60


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


class MatchesModel(Model):
    """M of N: in how many of the last periods the condition must have held at least once."""

    least: Annotated[int, Field(ge=1)]
    of: Annotated[int, Field(ge=2, le=MOST_PERIODS)]
    period_s: Annotated[Duration, AfterValidator(at_least(1))] = 60.0

    @model_validator(mode="after")
    def _can_be(self) -> MatchesModel:
        if self.least > self.of:
            msg = f"{self.least} of {self.of} can never be"
            raise ValueError(msg)
        return self


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
    clear: str | None = None
    """Hysteresis: once it fires it ends only where this condition holds."""
    matches: MatchesModel | None = None
    """The condition must hold in several of the last periods, one after the other or not."""
    no_data: NoData = NoData.FREEZE
    """What a value that nobody knows is taken for."""
    each: Literal["region"] | None = None
    """One alert for each region, about what is seen from there."""
    labels: dict[Identifier, Line] = Field(default_factory=dict)
    annotations: dict[Identifier, Text] = Field(default_factory=dict)
    rollback: bool = False

    @model_validator(mode="after")
    def _waits_for_data(self) -> RuleModel:
        if self.no_data is NoData.ALERT and self.for_s == 0:
            msg = "no_data: alert needs a `for`, or every start would page before the first sample"
            raise ValueError(msg)
        return self


class RulesFileModel(Model):
    """A file of alert rules."""

    alerts: tuple[RuleModel, ...]
