"""From the path of a monitor.yml to a Plan, or to everything that is wrong with it.

`os.environ` is named here and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from monitor.config.binding import Binder, Listed
from monitor.config.errors import ConfigError, ConfigErrors, quote, suggest
from monitor.config.objectives import channels_of, maker
from monitor.config.parts import Parts, validate_parts
from monitor.config.plan import DeploymentPlan, Plan, ServerPlan, StoragePlan
from monitor.config.references import DEPLOYMENTS, check_references, listed_environments
from monitor.config.reports import reports
from monitor.config.schema import DeploymentModel, SettingsModel
from monitor.config.secret_sources import ReadSecretFile, resolver, secret_file_reader
from monitor.config.sources import ENVIRONMENTS, Block, Sources, read_sources
from monitor.config.validation import Validator
from monitor.config.witnesses import witnesses
from monitor.inhibition import TIERS
from monitor.model import Severity

DEFAULT_DATA = "data"


def load_plan_from_environment(path: Path) -> Plan:
    """Read a configuration with this process's environment.

    Raises:
        ConfigErrors: everything that is wrong with it.
    """
    return load_plan(path, os.environ)


def read_secret(how: str, name: str) -> str:
    """Return a secret of this process's environment (`env`) or of a file (`file`).

    Raises:
        ValueError: it is not there.
    """
    return resolver(os.environ, secret_file_reader(Path()))(how, name)


def load_plan(
    path: Path, env: Mapping[str, str], read_secret_file: ReadSecretFile | None = None
) -> Plan:
    """Read a configuration and all that it includes.

    Args:
        path: Of monitor.yml; paths in it are relative to its directory.
        env: Where `{env: NAME}` is looked up.
        read_secret_file: Reads `{file: PATH}`; from disk by default.

    Raises:
        ConfigErrors: everything that is wrong with it.

    """
    sources = read_sources(path)
    validator = Validator(resolver(env, read_secret_file or secret_file_reader(path.parent)))
    parts = validate_parts(sources, validator)
    errors = [*sources.errors, *check_references(sources)]
    _add(errors, validator.errors)
    if parts.settings is None or parts.environments is None:
        raise ConfigErrors(errors)
    binder = Binder(
        service=parts.settings.service,
        defaults=parts.settings.defaults,
        environments=parts.environments,
        sla=parts.sla,
        maker=maker(
            parts.settings.burn_alerts,
            parts.rules,
            tuple(parts.channels),
            parts.settings.fallback,
        ),
        maintenance=tuple(each.to_maintenance() for each in parts.settings.maintenance),
        rollback_rules=frozenset(rule.name for rule in parts.rules if rule.rollback),
    )
    listed = list(_listed(sources, parts))
    deployments = binder.bind(listed)
    _add(errors, binder.errors)
    _add(errors, list(_unknown_deployments(sources, parts.settings, deployments)))
    _add(errors, list(_unknown_dependencies(listed, deployments)))
    if not deployments and not errors:
        message = "nothing to monitor (expected environments or deployments)"
        errors.append(sources.root.error((), message))
    if errors:
        raise ConfigErrors(errors)
    return _plan(sources, parts, parts.settings, deployments, binder.warnings)


def _add(errors: list[ConfigError], more: Sequence[ConfigError]) -> None:
    """Add what is about other values: one that was refused is not worth a second opinion."""
    known = {_place(each) for each in errors}
    errors.extend(each for each in more if _place(each) not in known)


def _place(error: ConfigError) -> tuple[str, int, int, str]:
    return error.file, error.line, error.col, error.path


def _plan(
    sources: Sources,
    parts: Parts,
    settings: SettingsModel,
    deployments: Sequence[DeploymentPlan],
    warnings: Sequence[str],
) -> Plan:
    directory = sources.files[0].parent
    return Plan(
        service=settings.service,
        deployments=tuple(deployments),
        rules=parts.rules,
        channels=parts.channels,
        fallback=settings.fallback,
        witnesses=tuple(witnesses(settings.witnesses)),
        blind_channels=_blind_channels(settings, parts),
        route=settings.route.to_route(settings.repeat_interval_s),
        escalation=settings.escalation.to_steps(),
        inhibitions=TIERS
        if settings.inhibit is None
        else tuple(each.to_inhibition() for each in settings.inhibit),
        evaluation_interval_s=settings.evaluation_interval_s,
        server=_server(settings),
        storage=_storage(settings, directory),
        shutdown_grace_s=settings.shutdown_grace_s,
        allowed_networks=settings.allowed_networks,
        sentry_dsn=settings.sentry.dsn if settings.sentry else None,
        deadman=settings.deadman,
        files=tuple(sources.files),
        warnings=(
            *warnings,
            *_warnings(parts, deployments),
            *_slo_warnings(deployments, settings.evaluation_interval_s),
        ),
    )


def _listed(sources: Sources, parts: Parts) -> Iterator[Listed]:
    """Yield the deployments of the list, then the environments that are not in it."""
    listed = {name.casefold() for name in listed_environments(sources)}
    for index, model in parts.deployments:
        place = Block(document=sources.root, steps=(DEPLOYMENTS, index))
        yield Listed(model=model, place=place)
    block = sources.block(ENVIRONMENTS)
    for name in parts.environments or ():
        if block and name.casefold() not in listed:
            place = Block(document=block.document, steps=(*block.steps, name))
            yield Listed(model=DeploymentModel(environment=name), place=place)


def _unknown_deployments(
    sources: Sources, settings: SettingsModel, deployments: Sequence[DeploymentPlan]
) -> Iterator[ConfigError]:
    known = {plan.deployment.name for plan in deployments}
    for index, planned in enumerate(settings.maintenance):
        for each, name in enumerate(planned.deployments):
            if name not in known:
                steps = ("maintenance", index, "deployments", each)
                message = f"unknown deployment {quote(name)}{suggest(name, known)}"
                yield sources.root.error(steps, message)


def _unknown_dependencies(
    listed: Sequence[Listed], deployments: Sequence[DeploymentPlan]
) -> Iterator[ConfigError]:
    known = {plan.deployment.name for plan in deployments}
    for each in listed:
        for index, name in enumerate(each.model.depends_on):
            if name not in known:
                message = f"unknown deployment {quote(name)}{suggest(name, known)}"
                yield each.place.error(("depends_on", index), message)


def _blind_channels(settings: SettingsModel, parts: Parts) -> tuple[str, ...]:
    if settings.blind_channels is not None:
        return settings.blind_channels
    if settings.fallback is not None:
        return (settings.fallback,)
    return channels_of(parts.rules, Severity.CRITICAL)


def _server(settings: SettingsModel) -> ServerPlan:
    server = settings.server
    host, port = server.listen
    return ServerPlan(
        host=host,
        port=port,
        token=server.token,
        page_url=server.page_url,
        link_key=server.link_key,
        pagerduty_webhook_secrets=server.pagerduty_webhook_secrets,
    )


def _storage(settings: SettingsModel, directory: Path) -> StoragePlan:
    storage = settings.storage
    path = None if storage.memory else directory / (storage.path or DEFAULT_DATA)
    return StoragePlan(path=path, flush_interval_s=storage.flush_interval_s)


def _slo_warnings(
    deployments: Sequence[DeploymentPlan], evaluation_interval_s: float
) -> Iterator[str]:
    for plan, report in reports(deployments, evaluation_interval_s):
        for warning in report.warnings:
            yield f"{plan.deployment.name}: {report.objective.name}: {warning}"


def _warnings(parts: Parts, deployments: Sequence[DeploymentPlan]) -> Iterator[str]:
    if not parts.rules and not any(each.tiers for plan in deployments for each in plan.objectives):
        yield "there are no alert rules and no burn alerts, so nobody will be told anything"
