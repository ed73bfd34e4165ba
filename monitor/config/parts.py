"""Validates every part of the files by itself, so that one wrong part does not hide another.

Owns which model belongs to which part. References and contradictions are checked elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from monitor.config.errors import ConfigError, Step, quote
from monitor.config.plan_models import (
    EnvironmentModel,
    EnvironmentsModel,
    RuleModel,
    RulesFileModel,
    SlaFileModel,
    SlaModel,
)
from monitor.config.references import ALERTS, CHANNELS, DEPLOYMENTS
from monitor.config.schema import AnyChannel, DeploymentModel, MonitorModel, SettingsModel
from monitor.config.sources import ENVIRONMENTS, RULES, SLA, Block, Sources
from monitor.config.tree import Mapping as MappingNode
from monitor.config.tree import Sequence as SequenceNode
from monitor.config.tree import child, follow, text_of
from monitor.config.validation import Validator
from monitor.fields import Name
from monitor.matching import ABOUT_ALERTS
from monitor.model import SEVERITY_OF, Priority, Severity
from monitor.notify.base import ChannelConfig
from monitor.slo.alerting import AlertRule, Matches
from monitor.slo.condition import Condition, ConditionError, compile_condition
from monitor.slo.objective import Sla
from monitor.slo.signal import OF_REGIONS
from monitor.templates import VALUE, TemplateError, names

_ELSEWHERE = frozenset(MonitorModel.model_fields) - frozenset(SettingsModel.model_fields)
_ChannelsByName = dict[Name, AnyChannel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What could be validated; None, or left out, is what could not."""

    settings: SettingsModel | None = None
    environments: Mapping[str, EnvironmentModel] | None = None
    sla: Sla | None = None
    rules: tuple[AlertRule, ...] = ()
    channels: Mapping[str, ChannelConfig] = field(default_factory=dict)
    deployments: tuple[tuple[int, DeploymentModel], ...] = ()
    """With their index in the file."""


def validate_parts(sources: Sources, validator: Validator) -> Parts:
    """Return what is in order; the errors of the rest are the validator's."""
    if sources.root.root is None:
        # Nothing can be said about a file that could not be read, but the rest is not worth less.
        return Parts(rules=tuple(_rules(sources, validator)))
    return Parts(
        settings=validator.check(
            sources.root, (), SettingsModel, without=_ELSEWHERE, hints=MonitorModel
        ),
        environments=_environments(sources, validator),
        sla=_sla(sources, validator),
        rules=tuple(_rules(sources, validator)),
        channels=_channels(sources, validator),
        deployments=tuple(_deployments(sources, validator)),
    )


def _readable(block: Block | None) -> Block | None:
    return block if block and block.document.root is not None else None


def _environments(sources: Sources, validator: Validator) -> Mapping[str, EnvironmentModel] | None:
    block = sources.block(ENVIRONMENTS)
    if block is None:
        return {}
    if _readable(block) is None:
        return None
    model = validator.check(block.document, block.steps, EnvironmentsModel)
    return model.root if model else None


def _sla(sources: Sources, validator: Validator) -> Sla | None:
    block = _readable(sources.block(SLA))
    if block is None:
        return None
    if child(block.node, SLA) is not None:
        file = validator.check(block.document, block.steps, SlaFileModel)
        return file.sla.to_sla() if file else None
    model = validator.check(block.document, block.steps, SlaModel)
    return model.to_sla() if model else None


def _channels(sources: Sources, validator: Validator) -> Mapping[str, ChannelConfig]:
    if child(sources.root.root, CHANNELS) is None:
        return {}
    return validator.check(sources.root, (CHANNELS,), _ChannelsByName) or {}


def _deployments(sources: Sources, validator: Validator) -> Iterator[tuple[int, DeploymentModel]]:
    node = child(sources.root.root, DEPLOYMENTS)
    if node is not None and not isinstance(node, SequenceNode):
        message = "wrong value (expected a list of deployments)"
        validator.errors.append(sources.root.error((DEPLOYMENTS,), message))
        return
    for index, _ in enumerate(node.items if node else ()):
        steps = (DEPLOYMENTS, index)
        model = validator.check(sources.root, steps, DeploymentModel)
        if model:
            yield index, model


def _rules(sources: Sources, validator: Validator) -> Iterator[AlertRule]:
    for block in filter(_readable, sources.blocks.get(RULES, ())):
        conditions = dict(_compiled(block, validator, "condition"))
        clears = dict(_compiled(block, validator, "clear"))
        file = validator.check(block.document, block.steps, RulesFileModel)
        for index, model in enumerate(file.alerts if file else ()):
            if index in conditions:
                rule = _rule(model, conditions[index], clears.get(index))
                steps = (*block.steps, ALERTS, index)
                validator.errors += _unfit_for_regions(block, steps, rule)
                validator.errors += _unknown_in_templates(block, steps, rule)
                yield rule


def _compiled(block: Block, validator: Validator, key: str) -> Iterator[tuple[int, Condition]]:
    """Compile every condition that is written, those of otherwise wrong rules too."""
    rules = child(block.node, ALERTS) if isinstance(block.node, MappingNode) else None
    for index, _ in enumerate(rules.items if isinstance(rules, SequenceNode) else ()):
        steps = (*block.steps, ALERTS, index, key)
        text = text_of(follow(block.document.root, *steps))
        if text is None:
            continue
        try:
            yield index, compile_condition(text)
        except ConditionError as error:
            wrong = block.document.error_in(steps, error.offset, error.message)
            validator.errors.append(wrong)


def _unfit_for_regions(
    block: Block, steps: tuple[Step, ...], rule: AlertRule
) -> Iterator[ConfigError]:
    signals = (*rule.condition.signals, *(rule.clear.signals if rule.clear else ()))
    for signal in signals if rule.by_region else ():
        if signal.kind not in OF_REGIONS:
            message = (
                f"{signal.name} is about the whole deployment "
                f"(expected with each: region only {', '.join(sorted(OF_REGIONS))})"
            )
            yield block.document.error((*steps, "condition"), message)


def _unknown_in_templates(
    block: Block, steps: tuple[Step, ...], rule: AlertRule
) -> Iterator[ConfigError]:
    """Yield what annotations ask for and no alert of this rule will have."""
    region = ("region",) if rule.by_region else ()
    clear = rule.clear.signals if rule.clear else ()
    signals = [signal.name for signal in (*rule.condition.signals, *clear)]
    known = {*signals, *rule.labels, *ABOUT_ALERTS, *region, VALUE}
    for name, text in rule.annotations.items():
        here = (*steps, "annotations", name)
        try:
            for wanted, at in names(text):
                if wanted not in known:
                    message = (
                        f"unknown value {quote(wanted)} in a template "
                        f"(expected one of {', '.join(sorted(known))})"
                    )
                    yield block.document.error_in(here, at, message)
        except TemplateError as error:
            message = f"not a template: {error} (expected names such as {{{{ deployment }}}})"
            yield block.document.error_in(here, error.at, message)


def _rule(model: RuleModel, condition: Condition, clear: Condition | None) -> AlertRule:
    priority = Priority(model.severity) if model.severity in set(Priority) else None
    counted = model.matches
    return AlertRule(
        name=model.name,
        condition=condition,
        severity=Severity(model.severity) if priority is None else SEVERITY_OF[priority],
        priority=priority,
        channels=model.channels,
        for_s=model.for_s,
        keep_firing_for_s=model.keep_firing_for_s,
        labels=model.labels,
        annotations=model.annotations,
        rollback=model.rollback,
        clear=clear,
        matches=None
        if counted is None
        else Matches(least=counted.least, of=counted.of, period_s=counted.period_s),
        no_data=model.no_data,
        by_region=model.each == "region",
    )
