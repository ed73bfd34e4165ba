"""What the rollback guard is told about a deployment: read from the engine, decided elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence

from monitor.config.plan import Plan
from monitor.model import Incident, Release, ReleaseStatus, RollbackRecord
from monitor.rollback.guard import Evidence
from monitor.slo.alerting import rule_name
from monitor.slo.engine import Engine
from monitor.slo.releases import Sighting
from monitor.slo.tally import WindowStats

WINDOW_S = 300
"""The guard judges the samples of at most this window, and of the live revision only."""
BUCKET_S = 10
"""Samples of the bucket in which the revision came may be the earlier one's."""
OBSERVE_ONLY_S = 3600.0
"""After state was lost no rollback happens for this long, restarts or not."""
_BLAMES_SAMPLES = frozenset(
    {
        "error_rate",
        "success_rate",
        "uptime_percentage",
        "burn_rate",
        "error_budget_remaining",
        "health",
        "available_regions",
    }
)


def gather(
    engine: Engine,
    plan: Plan,
    incident: Incident,
    history: Sequence[RollbackRecord],
    *,
    now: float,
    durable: bool,
    lost_at: float | None,
) -> Evidence:
    """Return the evidence for rolling back `incident`'s deployment at `now`."""
    name = incident.deployment
    # A reload may have taken the deployment away while its rollback was being thought about.
    known = name in engine.specs
    release = engine.release(name) if known else None
    sighting = engine.sighting(name) if known else Sighting()
    window = _window(engine, name, sighting, now) if known else None
    rollback = next(
        (each.rollback for each in plan.deployments if each.deployment.name == name), None
    )
    asking = incident.asks_for_rollback
    rule = next((each for each in plan.rules if each.name == rule_name(asking.rule)), None)
    alerts = {(each.rule, each.deployment): each for each in engine.alerts()}
    status = alerts.get((asking.rule, name))
    return Evidence(
        revision=release.revision if release else None,
        previous_revision=engine.previous_revision(name) if known else None,
        status=release.status if release and not _is_our_rollback(release) else None,
        revision_at_transition=incident.revision,
        revision_since=sighting.since,
        revision_seen_at=sighting.seen_at,
        before_seen_at=sighting.before_seen_at,
        announced=release is not None and release.source == "api",
        wanted=rollback is not None
        and rule is not None
        and (rule.rollback or rule.name in rollback.rules),
        started_at=asking.started_at,
        fired_at=asking.opened_at,
        blames_samples=rule is not None
        and any(signal.kind in _BLAMES_SAMPLES for signal in rule.condition.signals),
        bad_samples=window.bad if window else 0,
        valid_samples=window.valid if window else 0,
        unknown_samples=window.unknown if window else 0,
        coverage=window.coverage if window else None,
        no_data=status is None or status.no_data,
        blind=engine.stands_still(now),
        durable=durable and plan.storage.path is not None,
        state_lost=lost_at is not None and now - lost_at < OBSERVE_ONLY_S,
        firing=incident.is_open,
        needs_target=rollback.hook.needs_target if rollback else True,
        history=history,
    )


def _window(engine: Engine, name: str, sighting: Sighting, now: float) -> WindowStats | None:
    """Return the samples since the live revision was seen first, None when there are none yet."""
    if sighting.since is None:
        return engine.window(name, WINDOW_S, now)
    buckets = math.floor(now / BUCKET_S) - math.ceil(sighting.since / BUCKET_S) + 1
    window_s = min(WINDOW_S, buckets * BUCKET_S)
    return engine.window(name, window_s, now) if window_s > 0 else None


def _is_our_rollback(release: Release) -> bool:
    """Say whether a release's status is only the echo of our own rollback.

    Of our own rollbacks the records know more than the status does: one that was certainly not
    received has to be called again, though the status says that it is under way.
    """
    return release.source == "rollback" and release.status is ReleaseStatus.ROLLING_BACK
