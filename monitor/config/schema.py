"""The schema of monitor.yml: which keys exist, their types and defaults; and its JSON Schema.

Owns no cross-check: what one value means for another is checked when the plan is built. Schemas
are built on first use, because that imports every kind.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from monitor.config.kinds import OfAnyKind
from monitor.config.plan_models import (
    EnvironmentsModel,
    RulesFileModel,
    SlaFileModel,
    SlaModel,
)
from monitor.config.route_models import EscalationModel, InhibitionModel, RootRouteModel
from monitor.config.slo_models import BurnAlertsModel, MaintenanceModel, SloModel
from monitor.config.values import Listen, Network, ObjectiveShare, Url, UrlPath, at_least
from monitor.config.witnesses import parse_witness
from monitor.fields import Duration, Model, Name, Secret, format_duration
from monitor.notify.base import ChannelConfig
from monitor.probes.base import ProbeConfig
from monitor.probes.http.fields import JsonPathText
from monitor.rollback.base import HookConfig
from monitor.sinks import DeadmanConfig

AnyProbe = Annotated[ProbeConfig, OfAnyKind(ProbeConfig)]
AnyChannel = Annotated[ChannelConfig, OfAnyKind(ChannelConfig)]
AnyHook = Annotated[HookConfig, OfAnyKind(HookConfig)]
Interval = Annotated[Duration, AfterValidator(at_least(0.1))]
Witness = Annotated[
    str,
    BeforeValidator(parse_witness),
    WithJsonSchema({"type": "string", "examples": ["tcp://192.0.2.1:53"]}),
]
DIALECT = "https://json-schema.org/draft/2020-12/schema"


class DefaultsModel(Model):
    """What probes use that do not say otherwise."""

    interval_s: Annotated[Duration, AfterValidator(at_least(1))] = 15.0
    timeout_s: Interval = 10.0
    """Gives way to a shorter interval."""

    @model_validator(mode="after")
    def _is_in_time(self) -> DefaultsModel:
        if "timeout_s" in self.model_fields_set and self.timeout_s > self.interval_s:
            msg = "the timeout is longer than the interval"
            raise ValueError(msg)
        return self


class VersionModel(Model):
    """Where a deployment tells its version: a JSON document and the key in it."""

    path: UrlPath = "/version.json"
    key: JsonPathText = Field(default="version", alias="json")


class RollbackModel(Model):
    """When and how a deployment is rolled back."""

    model_config = ConfigDict(defer_build=True)

    on: tuple[str, ...] = ()
    cooldown_s: Duration = 1800.0
    min_samples: int = Field(default=5, ge=1)
    max_consecutive: int = Field(default=3, ge=1)
    dry_run: bool = False
    hook: AnyHook


class DeploymentModel(Model):
    """One deployment; what it does not say comes from its environment."""

    model_config = ConfigDict(defer_build=True)

    environment: Name
    name: Name | None = None
    url: Url | None = None
    regions: dict[Name, Url] | None = Field(default=None, min_length=1)
    slo: ObjectiveShare | None = None
    """The uptime objective, over 30 days."""
    slos: tuple[SloModel, ...] = ()
    """More objectives, with all that can be said of one."""
    sla: bool | None = None
    version: VersionModel | None = None
    probes: tuple[AnyProbe, ...] | None = Field(default=None, min_length=1)
    rollback: RollbackModel | None = None
    depends_on: tuple[Name, ...] = ()
    """Deployments without which it cannot work: while they are down, it is not their fault."""


class ServerModel(Model):
    """Our own HTTP server."""

    listen: Listen = ("127.0.0.1", 9911)
    token: Secret | None = None
    page_url: Url | None = None
    link_key: Secret | None = None
    """Signs the links in messages by which people acknowledge and silence; by default the token
    does. There are links when there is a page_url too."""
    pagerduty_webhook_secrets: Annotated[tuple[Secret, ...], Field(strict=False)] = ()
    """Of webhook subscriptions (v3) that tell who acknowledged; several during a rotation."""


class StorageModel(Model):
    """Where state is kept; `memory: true` declares that losing it is fine."""

    path: str | None = Field(default=None, min_length=1)
    flush_interval_s: Interval = 5.0
    memory: bool = False

    @model_validator(mode="after")
    def _is_one_of_both(self) -> StorageModel:
        if self.memory and self.path is not None:
            msg = "memory and path contradict each other: give one of them"
            raise ValueError(msg)
        return self


class SentryModel(Model):
    """Where our own crashes are reported."""

    dsn: Secret


class SettingsModel(Model):
    """monitor.yml without its deployments, channels and included blocks."""

    service: Name
    evaluation_interval_s: Interval = 5.0
    defaults: DefaultsModel = DefaultsModel()
    fallback: str | None = None
    witnesses: tuple[Witness, ...] = ()
    """Places of other networks, `tcp://host:port` or a URL: as long as one of them answers, a
    deployment that does not is down; when nothing at all does, we are blind."""
    blind_channels: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Who is told that we are blind; by default the fallback, else all who get critical alerts."""
    burn_alerts: BurnAlertsModel = BurnAlertsModel()
    maintenance: tuple[MaintenanceModel, ...] = ()
    repeat_interval_s: Interval = 14400.0
    route: RootRouteModel = RootRouteModel()
    inhibit: tuple[InhibitionModel, ...] | None = None
    """Instead of the rule that critical alerts hide lesser ones of the same deployment."""
    escalation: EscalationModel = EscalationModel()
    server: ServerModel = ServerModel()
    storage: StorageModel = StorageModel()
    shutdown_grace_s: Duration = 10.0
    allowed_networks: tuple[Network, ...] = ()
    sentry: SentryModel | None = None
    deadman: DeadmanConfig | None = None

    @model_validator(mode="after")
    def _can_check_in(self) -> SettingsModel:
        if self.deadman and self.deadman.kind == "sentry_cron" and self.sentry is None:
            msg = (
                "deadman of kind sentry_cron checks in with the DSN under sentry, which is missing"
            )
            raise ValueError(msg)
        return self


class MonitorModel(SettingsModel):
    """The whole of monitor.yml."""

    model_config = ConfigDict(defer_build=True, title="monitor.yml")

    environments: str | EnvironmentsModel | None = None
    sla: str | SlaModel | SlaFileModel | None = None
    rules: str | tuple[str, ...] | RulesFileModel | None = None
    deployments: tuple[DeploymentModel, ...] | None = None
    channels: dict[Name, AnyChannel] = Field(default_factory=dict)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of monitor.yml with every kind that is installed."""
    return {"$schema": DIALECT, **_as_written(MonitorModel.model_json_schema())}


def _as_written(schema: Any) -> Any:
    """Return the schema with defaults as a file would say them, or without."""
    if isinstance(schema, list):
        return [_as_written(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    written = {key: _as_written(value) for key, value in schema.items() if key != "default"}
    match schema:
        case {"default": float(seconds), "type": "string"}:
            written["default"] = format_duration(seconds)
        case {
            "default": str() | bool() | int() as default,
            "type": "string" | "boolean" | "integer",
        }:
            if isinstance(default, str) == (schema["type"] == "string"):
                written["default"] = default
    return written
