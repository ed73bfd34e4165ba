"""Makes deployment plans out of validated models: defaults, targets, and what contradicts what.

Owns the cross-checks between values; names are checked elsewhere. Reads nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from monitor.config.errors import ConfigError, Step, quote, suggest
from monitor.config.objectives import ObjectiveMaker
from monitor.config.plan import BoundProbe, DeploymentPlan, RollbackPlan
from monitor.config.plan_models import EnvironmentModel
from monitor.config.schema import DefaultsModel, DeploymentModel, RollbackModel
from monitor.config.sources import Block
from monitor.fields import format_duration
from monitor.model import Deployment, Target
from monitor.probes.base import ProbeConfig, Reach
from monitor.probes.http.config import HttpProbeConfig
from monitor.slo.lint import errors_of
from monitor.slo.maintenance import Maintenance
from monitor.slo.network import network_of
from monitor.slo.objective import Objective, Sla

GLOBAL = "global"
"""Region of a deployment that lists none."""
MIN_INTERVAL_S = 1.0
VERSION = "version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A deployment and where it stands: in the list, or as an environment by itself."""

    model: DeploymentModel
    place: Block


@dataclass(slots=True, kw_only=True)
class Binder:
    """Binds deployments to their environment, targets and rules; collects what is wrong."""

    service: str
    defaults: DefaultsModel
    environments: Mapping[str, EnvironmentModel]
    sla: Sla | None
    maker: ObjectiveMaker
    maintenance: tuple[Maintenance, ...]
    rollback_rules: frozenset[str]
    """Rules that ask for a rollback wherever there is one."""
    errors: list[ConfigError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _by_spelling: dict[str, tuple[str, EnvironmentModel]] = field(init=False)
    _some_promise: bool = field(init=False)

    def __post_init__(self) -> None:
        """Index the environments: upper and lower case do not matter."""
        self._some_promise = any(each.sla is not None for each in self.environments.values())
        self._by_spelling = {
            name.casefold(): (name, model) for name, model in self.environments.items()
        }

    def bind(self, listed: Sequence[Listed]) -> list[DeploymentPlan]:
        """Return the plans of all deployments that are in order, in the order given."""
        plans = [plan for each in listed if (plan := self._deployment(each)) is not None]
        self._check_unique(listed)
        self._warn(plans)
        return plans

    def _deployment(self, listed: Listed) -> DeploymentPlan | None:
        model = listed.model
        found = self._environment(model.environment)
        if found is None:
            return None
        name, environment = found
        regions = model.regions or {}
        url = model.url or environment.url or next(iter(regions.values()), None)
        if url is None:
            self.errors.append(listed.place.error((), 'missing key "url"'))
            return None
        deployment = Deployment(
            name=self._name(model),
            service=self.service,
            environment=name,
            url=url,
            purpose=environment.purpose,
            traffic_share=None if environment.traffic is None else float(environment.traffic),
        )
        probes = tuple(self._probes(listed, deployment, regions or {GLOBAL: url}))
        sla = self._sla(listed, environment)
        first, *more = self._objectives(listed, environment, sla, probes) or (None,)
        return DeploymentPlan(
            deployment=deployment,
            probes=probes,
            objective=first,
            more_objectives=tuple(each for each in more if each is not None),
            maintenance=tuple(m for m in self.maintenance if m.concerns(deployment.name)),
            sla=sla,
            rollback=self._rollback(model.rollback),
            depends_on=model.depends_on,
        )

    def _environment(self, name: str) -> tuple[str, EnvironmentModel] | None:
        """Return the environment as its block spells it; an empty one when there is no block."""
        if not self.environments:
            return name, EnvironmentModel()
        return self._by_spelling.get(name.casefold())

    def _name(self, model: DeploymentModel) -> str:
        return model.name or f"{self.service}-{model.environment}".lower()

    # --- targets ----------------------------------------------------------------------------

    def _probes(
        self, listed: Listed, deployment: Deployment, regions: Mapping[str, str]
    ) -> Iterator[BoundProbe]:
        names: set[str] = set()
        for steps, config, is_sli in _configs(listed.model):
            name = config.name or config.kind
            if name in names:
                message = f"two probes are called {quote(name)}: give one another name"
                self.errors.append(listed.place.error(steps, message))
            names.add(name)
            interval_s, timeout_s = self._timing(listed.place, steps, config)
            for region, url in regions.items():
                reach = _reach(config, url)
                target = Target(
                    id=f"{deployment.name}/{name}/{region}",
                    deployment=deployment.name,
                    environment=deployment.environment,
                    probe=name,
                    region=region,
                    interval_s=interval_s,
                    timeout_s=timeout_s,
                    sli=is_sli,
                    network="" if reach is None else network_of(reach.host),
                    inverted=config.is_inverted,
                )
                yield BoundProbe(target=target, config=config, url=url, reach=reach)

    def _timing(
        self, place: Block, steps: tuple[Step, ...], config: ProbeConfig
    ) -> tuple[float, float]:
        """Return interval and timeout; a default timeout gives way to a shorter interval."""
        interval_s = self.defaults.interval_s if config.interval_s is None else config.interval_s
        timeout_s = config.timeout_s
        if interval_s < MIN_INTERVAL_S:
            shown = f"got {format_duration(interval_s)}, expected at least 1s"
            self.errors.append(place.error((*steps, "interval"), f"too short ({shown})"))
        if timeout_s is None:
            return interval_s, min(self.defaults.timeout_s, interval_s)
        if not 0 < timeout_s <= interval_s:
            shown = f"got {format_duration(timeout_s)}"
            expected = (
                f"expected more than 0s, at most the interval of {format_duration(interval_s)}"
            )
            message = f"wrong value ({shown}, {expected})"
            self.errors.append(place.error((*steps, "timeout"), message))
        return interval_s, timeout_s

    # --- promises ---------------------------------------------------------------------------

    def _objectives(
        self,
        listed: Listed,
        environment: EnvironmentModel,
        sla: Sla | None,
        probes: Sequence[BoundProbe],
    ) -> list[Objective]:
        """Return the uptime objective first, then those written, then those of the SLA."""
        model, found = listed.model, {}
        promised = self.sla.uptime if self.sla else None
        target = model.slo or environment.sla or promised
        if target:
            objective = self.maker.uptime(target)
            found[objective.name] = objective
        taken = set(found)
        names = {bound.target.probe for bound in probes if bound.target.sli}
        for index, each in enumerate(model.slos):
            steps: tuple[Step, ...] = ("slos", index)
            if each.name in taken:
                message = f"a second objective of this name (got {quote(each.name)})"
                self.errors.append(listed.place.error((*steps, "name"), message))
            taken.add(each.name)
            for number, probe in enumerate(each.probes or ()):
                if probe not in names:
                    message = f"unknown probe {quote(probe)}{suggest(probe, names)}"
                    self.errors.append(listed.place.error((*steps, "probes", number), message))
            found[each.name] = self.maker.of_model(each)
            for message in errors_of(found[each.name]):
                self.errors.append(listed.place.error((*steps, "alerting", "tiers"), message))
        for objective in self.maker.of_sla(sla) if sla else ():
            found.setdefault(objective.name, objective)
        return list(found.values())

    def _sla(self, listed: Listed, environment: EnvironmentModel) -> Sla | None:
        applies = listed.model.sla
        if applies is None:
            applies = environment.sla is not None or not self._some_promise
        return self.sla if applies else None

    def _rollback(self, model: RollbackModel | None) -> RollbackPlan | None:
        if model is None:
            return None
        return RollbackPlan(
            hook=model.hook,
            rules=self.rollback_rules | frozenset(model.on),
            cooldown_s=model.cooldown_s,
            min_samples=model.min_samples,
            dry_run=model.dry_run,
            max_consecutive=model.max_consecutive,
        )

    # --- together -----------------------------------------------------------------------------

    def _check_unique(self, listed: Sequence[Listed]) -> None:
        environments: dict[str, Block] = {}
        names: dict[str, Block] = {}
        for each in listed:
            environment = each.model.environment.casefold()
            if environment in environments:
                message = (
                    f"a second deployment of this environment (got {quote(each.model.environment)})"
                )
                self.errors.append(each.place.error(("environment",), message))
                continue
            environments[environment] = each.place
            name = self._name(each.model)
            if name in names:
                message = f"a second deployment of this name (got {quote(name)})"
                self.errors.append(each.place.error(("name",), message))
            names[name] = each.place

    def _warn(self, plans: Sequence[DeploymentPlan]) -> None:
        by_url: dict[str, list[DeploymentPlan]] = {}
        for plan in plans:
            by_url.setdefault(plan.deployment.url.rstrip("/"), []).append(plan)
            self._warn_about(plan)
        for url, same in by_url.items():
            if len(same) > 1:
                names = " and ".join(plan.deployment.environment for plan in same)
                self.warnings.append(f"{names} all probe {url}, so their figures cannot differ")
        if self.rollback_rules and not any(plan.rollback for plan in plans):
            names = ", ".join(sorted(self.rollback_rules))
            self.warnings.append(f"no deployment has a rollback, though {names} asks for one")

    def _warn_about(self, plan: DeploymentPlan) -> None:
        name = plan.deployment.name
        regions = {bound.target.region for bound in plan.probes}
        if plan.sla and plan.sla.min_regions and len(regions) < plan.sla.min_regions:
            self.warnings.append(
                f"{name}: the SLA promises {plan.sla.min_regions}+ regions, "
                f"but the deployment is probed in {len(regions)}"
            )
        if plan.rollback and not plan.rollback.rules:
            self.warnings.append(f"{name}: no rule asks for a rollback, so there will be none")


def _reach(config: ProbeConfig, url: str) -> Reach | None:
    try:
        return config.reach(url)
    except ValueError:
        # The probe itself says what is wrong with it when it is built.
        return None


def _configs(model: DeploymentModel) -> Iterator[tuple[tuple[Step, ...], ProbeConfig, bool]]:
    """Yield every probe of a deployment with its place in the model and whether it is an SLI."""
    if model.probes is None:
        yield (), HttpProbeConfig(name="home"), True
    for index, config in enumerate(model.probes or ()):
        yield ("probes", index), config, True
    if model.version is not None:
        version = HttpProbeConfig(
            name=VERSION, path=model.version.path, revision_json=model.version.key
        )
        yield (VERSION,), version, False
