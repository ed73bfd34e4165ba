"""Checks the names in a story: a check of something that does not exist could never fail.

Works on a story whose form is sound and whose configurations are. Plays nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from monitor.config.errors import ConfigError, quote, suggest
from monitor.config.errors import Step as PathStep
from monitor.config.plan import Plan
from monitor.config.tree import Document
from monitor.model import AlertState
from monitor.scenario.receivers import Receivers
from monitor.scenario.story import Check, Step, Story
from monitor.slo.burning import rule_name
from monitor.slo.signal import parse_signal

_STATES = (AlertState.INACTIVE, AlertState.PENDING, AlertState.FIRING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Everything that a step or a check may name, in any configuration of the story."""

    targets: Collection[str]
    channels: Collection[str]
    mute: Collection[str]
    """Channels whose receiver can only die and come back."""
    hooks: Collection[str]
    deployments: Collection[str]
    alerts: Collection[str]
    """`rule@deployment`."""

    @classmethod
    def of(cls, story: Story, plans: Sequence[Plan], receivers: Receivers) -> Names:
        """Collect them."""
        deployments = {each.deployment.name for plan in plans for each in plan.deployments}
        rules = {rule.name for plan in plans for rule in plan.rules}
        alerts = {f"{rule}@{name}" for rule in rules for name in deployments}
        for deployment in (each for plan in plans for each in plan.deployments):
            name = deployment.deployment.name
            alerts |= {
                f"{rule_name(objective, tier)}@{name}"
                for objective in deployment.objectives
                for tier in objective.tiers
            }
        return cls(
            targets=story.targets,
            channels=receivers.channels,
            mute={name for name in receivers.channels if receivers.can_only_die(name)},
            hooks=receivers.hooks,
            deployments=deployments,
            alerts=alerts,
        )


def unknown_names(document: Document, story: Story, names: Names) -> Iterator[ConfigError]:
    """Yield an error for each name that means nothing, and for what comes after the end."""
    finder = _Finder(document, names)
    for number, step in enumerate(story.steps):
        yield from finder.in_step(("steps", number), step)
    for number, check in enumerate(story.checks):
        yield from finder.in_check(("checks", number), check)
    for kind in ("steps", "checks"):
        entries: Sequence[Step | Check] = getattr(story, kind)
        for number, entry in enumerate(entries):
            if entry.at_s > story.lasts_s:
                yield document.error((kind, number, "at"), "comes after the end of the story")


@dataclass(frozen=True, slots=True)
class _Finder:
    document: Document
    names: Names

    def in_step(self, at: tuple[PathStep, ...], step: Step) -> Iterator[ConfigError]:
        names = self.names
        yield from self._unknown((*at, "target"), step.target, names.targets, "target")
        yield from self._unknown((*at, "channel"), step.channel, names.channels, "channel")
        yield from self._unknown((*at, "hook"), step.hook, names.hooks, "deployment with a hook")
        if step.channel in names.mute and step.alive is None:
            yield self.document.error((*at, "channel"), "this kind of channel knows `alive` only")

    def in_check(self, at: tuple[PathStep, ...], check: Check) -> Iterator[ConfigError]:
        names = self.names
        for key, known, what in (
            ("channels", names.channels, "channel"),
            ("rollbacks", names.hooks, "deployment with a hook"),
            ("alerts", names.alerts, "alert"),
        ):
            for name in getattr(check, key):
                yield from self._unknown((*at, key, name), name, known, what, at_key=True)
        for alert, state in check.alerts.items():
            yield from self._unknown((*at, "alerts", alert), state, _STATES, "state")
        for number, figure in enumerate(check.figures):
            here = (*at, "figures", number)
            yield from self._unknown(
                (*here, "deployment"), figure.deployment, names.deployments, "deployment"
            )
            if parse_signal(figure.name) is None:
                message = f"unknown figure {quote(figure.name)} (expected a name as in conditions)"
                yield self.document.error((*here, "name"), message)

    def _unknown(
        self,
        steps: tuple[PathStep, ...],
        name: str | None,
        known: Collection[str],
        what: str,
        *,
        at_key: bool = False,
    ) -> Iterator[ConfigError]:
        if name is not None and name not in known:
            hint = suggest(name, known) or f" (there is no {what} in this story)"
            yield self.document.error(steps, f"unknown {what} {quote(name)}{hint}", at_key=at_key)
