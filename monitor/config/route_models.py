"""The blocks that say who is told and when: routes, inhibitions, escalation.

Owns their keys and what they mean; names of channels are checked elsewhere.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from monitor.config.values import Identifier, at_least
from monitor.escalation import EscalationStep
from monitor.fields import Duration, Model
from monitor.inhibition import Inhibition
from monitor.matching import parse_matcher
from monitor.model import Priority
from monitor.routing import Route


def _is_matcher(text: str) -> str:
    parse_matcher(text)
    return text


MatcherText = Annotated[str, AfterValidator(_is_matcher)]
Channels = Annotated[tuple[str, ...], Field(min_length=1)]


class RouteModel(Model):
    """A node of the route tree; what it leaves out comes from above, at last from the rule."""

    matchers: Annotated[tuple[MatcherText, ...], Field(min_length=1)]
    channels: Channels | None = None
    group_by: tuple[Identifier, ...] | None = None
    continues: bool = Field(alias="continue", default=False)
    group_wait_s: Duration | None = None
    group_interval_s: Duration | None = None
    repeat_interval_s: Annotated[Duration, AfterValidator(at_least(60))] | None = None
    routes: tuple[RouteModel, ...] = ()

    def to_route(self) -> Route:
        """Return it compiled."""
        return Route(
            matchers=tuple(map(parse_matcher, self.matchers)),
            channels=self.channels,
            group_by=self.group_by,
            routes=tuple(each.to_route() for each in self.routes),
            continues=self.continues,
            wait_s=self.group_wait_s,
            interval_s=self.group_interval_s,
            repeat_s=self.repeat_interval_s,
        )


class RootRouteModel(Model):
    """The root of the route tree: it matches everything."""

    channels: Channels | None = None
    group_by: tuple[Identifier, ...] | None = None
    group_wait_s: Duration = 0.0
    """Not 30 s: what fires together is looked at together, so waiting would only be late."""
    group_interval_s: Duration = 300.0
    routes: tuple[RouteModel, ...] = ()

    def to_route(self, repeat_s: float) -> Route:
        """Return it compiled; `repeat_s` is for routes that say nothing else."""
        return Route(
            channels=self.channels,
            group_by=self.group_by,
            routes=tuple(each.to_route() for each in self.routes),
            wait_s=self.group_wait_s,
            interval_s=self.group_interval_s,
            repeat_s=repeat_s,
        )


class InhibitionModel(Model):
    """While what `source` matches fires, what `target` matches is not told."""

    source: Annotated[tuple[MatcherText, ...], Field(min_length=1)]
    target: Annotated[tuple[MatcherText, ...], Field(min_length=1)]
    equal: tuple[Identifier, ...] = ()

    def to_inhibition(self) -> Inhibition:
        """Return it compiled."""
        return Inhibition(
            source=tuple(map(parse_matcher, self.source)),
            target=tuple(map(parse_matcher, self.target)),
            equal=self.equal,
        )


class StepModel(Model):
    """Who else is called when nobody acknowledged for so long."""

    after_s: Duration
    channels: Channels


class EscalationModel(Model):
    """The steps by priority (the plan's 9.2); a priority without steps is never escalated."""

    p0: tuple[StepModel, ...] = Field(alias="P0", default=())
    p1: tuple[StepModel, ...] = Field(alias="P1", default=())
    p2: tuple[StepModel, ...] = Field(alias="P2", default=())
    p3: tuple[StepModel, ...] = Field(alias="P3", default=())

    def to_steps(self) -> dict[Priority, tuple[EscalationStep, ...]]:
        """Return them in the order of their times."""
        given = zip(Priority, (self.p0, self.p1, self.p2, self.p3), strict=True)
        return {
            priority: tuple(
                EscalationStep(after_s=each.after_s, channels=each.channels)
                for each in sorted(steps, key=lambda step: step.after_s)
            )
            for priority, steps in given
            if steps
        }
