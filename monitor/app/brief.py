"""What a message says of an incident besides the incident itself, read from the engine.

Changes nothing, keeps nothing and never raises: a page goes out with a short brief or none rather
than late. Only the deployment of the alert that leads is looked at, so a storm costs no more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from monitor.app.course import QUANTILE, course
from monitor.app.facts import SOURCES, Case, Source, limit_of
from monitor.model import Brief, Incident
from monitor.slo.engine import Engine

log = logging.getLogger(__name__)

_MS = 1000
_LINKS = {
    "runbook": "Runbook",
    "runbook_url": "Runbook",
    "dashboard": "Dashboard",
    "dashboard_url": "Dashboard",
}
"""Annotations that are links by custom -> how they are named."""


Actions = Callable[[Incident, float], tuple[tuple[str, str], ...]]


def no_actions(_incident: Incident, _now: float) -> tuple[tuple[str, str], ...]:
    """Return no links: there is no key to sign them, or no address that they could lead to."""
    return ()


def brief(
    engine: Engine, incident: Incident, now: float, actions: Actions = no_actions
) -> Brief | None:
    """Return what is known at `now`; None when there is nothing to add. Never raises.

    `actions` gives (label, address) of what a reader may do about an incident.
    """
    # A digest is nothing that one could acknowledge.
    offered = () if incident.covers else actions(incident, now)
    links = (*offered, *_links(incident))
    if incident.deployment not in engine.specs:
        return Brief(links=links) if links else None
    facts: list[tuple[str, str]] = []
    drawn = None
    try:
        rule = engine.rule(incident.rule, incident.deployment)
        case = Case(engine=engine, incident=incident, rule=rule, now=now)
        for source in SOURCES:
            facts += _safely(source, case)
        drawn = course(engine, case.name, incident.started_at, now, _limits(case))
    except Exception:
        log.exception("a message goes out with less than is known")
    return Brief(facts=tuple(facts), course=drawn, links=links)


def _safely(source: Source, case: Case) -> list[tuple[str, str]]:
    try:
        return list(source(case))
    except Exception:
        log.exception("a message goes out without a fact")
        return []


def _links(incident: Incident) -> Iterator[tuple[str, str]]:
    for name, label in _LINKS.items():
        if address := incident.annotations.get(name):
            yield label, address


def _limits(case: Case) -> tuple[float | None, float | None]:
    """Return the limits of the picture: the rule's own, or else the SLA's."""
    sla = case.sla
    error = sla.error_rate_below if sla else None
    latency = dict(sla.latency_below_s).get(QUANTILE) if sla else None
    shown = [None if it is None else float(it) for it in (error, latency)]
    for signal in case.signals:
        limit = limit_of(case, signal)
        if limit is not None and signal.kind == "error_rate":
            shown[0] = limit[1] / 100
        elif limit is not None and signal.quantile == QUANTILE:
            shown[1] = limit[1] / _MS
    return shown[0], shown[1]
