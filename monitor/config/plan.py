"""The validated whole: what a configuration means, as frozen values.

Owns no reading and no checking; whoever holds a Plan may rely on every reference in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from monitor.escalation import EscalationStep
from monitor.fields import Secret
from monitor.inhibition import Inhibition
from monitor.model import Deployment, Priority, Target
from monitor.notify.base import ChannelConfig
from monitor.probes.base import ProbeConfig, Reach
from monitor.rollback.base import HookConfig
from monitor.routing import Route
from monitor.sinks import DeadmanConfig
from monitor.slo.alerting import AlertRule
from monitor.slo.maintenance import Maintenance
from monitor.slo.objective import Objective, Sla


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundProbe:
    """A probe of one target; `url` is the base URL of the deployment in the target's region."""

    target: Target
    config: ProbeConfig
    url: str
    reach: Reach | None = None
    """Where it connects to, when that is one place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackPlan:
    """When a deployment is rolled back, and by what."""

    hook: HookConfig
    rules: frozenset[str]
    """Names of the rules that ask for it, here or by `rollback: true` of their own."""
    cooldown_s: float
    min_samples: int
    dry_run: bool
    max_consecutive: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentPlan:
    """One deployment with all that is done for it."""

    deployment: Deployment
    probes: tuple[BoundProbe, ...]
    objective: Objective | None
    sla: Sla | None
    rollback: RollbackPlan | None
    more_objectives: tuple[Objective, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()
    depends_on: tuple[str, ...] = ()
    """Names of the deployments without which this one cannot work."""

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """All objectives, the first one first."""
        return (*((self.objective,) if self.objective else ()), *self.more_objectives)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPlan:
    """Where we listen; without a token nothing can be changed over HTTP."""

    host: str
    port: int
    token: Secret | None
    page_url: str | None
    link_key: Secret | None = None
    """Signs the links in messages; the token does when it is None."""
    pagerduty_webhook_secrets: tuple[Secret, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoragePlan:
    """Where state is kept; no path is the declared memory mode."""

    path: Path | None
    flush_interval_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that the daemon does, and the files that say so."""

    service: str
    deployments: tuple[DeploymentPlan, ...]
    rules: tuple[AlertRule, ...]
    channels: Mapping[str, ChannelConfig]
    fallback: str | None
    """Channel that gets what another refused for good."""
    witnesses: tuple[BoundProbe, ...]
    """Asked whether we see at all; nobody's SLI."""
    blind_channels: tuple[str, ...]
    """Who is told that we are blind."""
    route: Route
    escalation: Mapping[Priority, tuple[EscalationStep, ...]]
    inhibitions: tuple[Inhibition, ...]
    evaluation_interval_s: float
    server: ServerPlan
    storage: StoragePlan
    shutdown_grace_s: float
    allowed_networks: tuple[str, ...]
    sentry_dsn: Secret | None
    deadman: DeadmanConfig | None
    """Who outside hears that messages can be delivered."""
    files: tuple[Path, ...]
    warnings: tuple[str, ...]
    """What is allowed but probably not meant, one line each."""
