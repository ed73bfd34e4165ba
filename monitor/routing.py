"""Who is told of an alert, and how often: the route tree, groups and their tempo.

Pure: owns no state and sends nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from monitor.matching import labels_of, matches
from monitor.model import (
    Incident,
    Matcher,
)

T = TypeVar("T")

GROUP_BY = ("deployment", "severity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A node of the route tree; what it does not say comes from above, at last from the rule."""

    matchers: tuple[Matcher, ...] = ()
    channels: tuple[str, ...] | None = None
    group_by: tuple[str, ...] | None = None
    routes: tuple[Route, ...] = ()
    continues: bool = False
    """Whether routes after this one are looked at too when it matches."""
    wait_s: float | None = None
    interval_s: float | None = None
    repeat_s: float | None = None
    """See `Tempo`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tempo:
    """When receivers hear of what happens in a group, with Alertmanager's meaning."""

    wait_s: float = 0.0
    """From the opening of an incident to its first message."""
    interval_s: float = 0.0
    """Alerts that join or end are told at multiples of this after the first message; 0: at once."""
    repeat_s: float = 4 * 3600.0


EVERYTHING = Route()
AT_ONCE = Tempo()


@dataclass(frozen=True, slots=True)
class _Leaf:
    channels: tuple[str, ...]
    group_by: tuple[str, ...]
    tempo: Tempo

    def under(self, route: Route) -> _Leaf:
        """Return what holds below `route`."""
        tempo = self.tempo
        return _Leaf(
            channels=_said(route.channels, self.channels),
            group_by=_said(route.group_by, self.group_by),
            tempo=Tempo(
                wait_s=_said(route.wait_s, tempo.wait_s),
                interval_s=_said(route.interval_s, tempo.interval_s),
                repeat_s=_said(route.repeat_s, tempo.repeat_s),
            ),
        )


def _said(said: T | None, above: T) -> T:
    return above if said is None else said


def tempo_of(root: Route, incident: Incident) -> Tempo:
    """Return how often people hear of an incident: as its first alert is routed."""
    return _leaves(root, labels_of(incident.lead), _Leaf((), GROUP_BY, AT_ONCE))[0].tempo


def routed(
    root: Route, labels: Mapping[str, str], channels: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (channels, group_by) for an alert; `channels` are those of its rule."""
    found = _leaves(root, labels, _Leaf(channels, GROUP_BY, AT_ONCE))
    names = tuple(dict.fromkeys(name for each in found for name in each.channels))
    return names, found[0].group_by


def _leaves(route: Route, labels: Mapping[str, str], above: _Leaf) -> list[_Leaf]:
    here = above.under(route)
    found: list[_Leaf] = []
    for child in route.routes:
        if matches(child.matchers, labels):
            found += _leaves(child, labels, here)
            if not child.continues:
                break
    return found or [here]


def group_of(labels: Mapping[str, str], group_by: Sequence[str]) -> str:
    """Return what alerts of one group have in common, as one text."""
    return "\0".join(f"{name}={labels.get(name, '')}" for name in group_by)
