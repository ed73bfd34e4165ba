"""What the world is told when an alert's status changes. Decides no status."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from monitor.model import EMPTY, AlertState, AlertStatus, Transition
from monitor.slo.sight import PROBER, PROBER_BLIND, Blindness

CONFIG_REMOVED = "config_removed"
"""Rule or deployment is no longer configured."""
FOR_RAISED = "for_raised"
"""`for` was raised over the time that the alert has been active: it waits again."""


def transitions_between(
    before: AlertStatus,
    after: AlertStatus,
    now: float,
    values: Mapping[str, float | str | None],
) -> Iterator[Transition]:
    """Return how one state became another; `values` are the condition's inputs."""
    if before.state is after.state:
        return
    if before.state is AlertState.FIRING and after.state is AlertState.PENDING:
        # Whoever was paged hears of an end; the alert then begins anew.
        yield _transition(before, AlertState.RESOLVED, now, values, FOR_RAISED)
        yield _transition(after, AlertState.PENDING, now, values, before=AlertState.INACTIVE)
    elif after.state is AlertState.INACTIVE:
        yield _ended(before, now, values)
    else:
        yield _transition(after, after.state, now, values, before=before.state)


def config_removed(status: AlertStatus, now: float) -> Iterator[Transition]:
    """Return the end of an alert that is not configured any more; nothing if it was off."""
    if status.state is not AlertState.INACTIVE:
        yield _ended(status, now, EMPTY, CONFIG_REMOVED)


def sight_changed(
    before: Blindness | None, after: Blindness | None, now: float
) -> tuple[AlertStatus, Transition]:
    """Return our own alert, and its transition, as we become blind or see again."""
    blind = after or before
    since = now if blind is None else blind.since
    status = AlertStatus(
        rule=PROBER_BLIND,
        deployment=PROBER,
        state=AlertState.FIRING if after else AlertState.INACTIVE,
        active_at=since if after else None,
        fired_at=now if after else None,
        evaluated_at=now,
    )
    transition = Transition(
        at=now,
        rule=PROBER_BLIND,
        deployment=PROBER,
        before=AlertState.FIRING if before else AlertState.INACTIVE,
        after=AlertState.FIRING if after else AlertState.RESOLVED,
        since=since,
        values={"why": blind.why if blind else None},
    )
    return status, transition


def _ended(
    status: AlertStatus,
    now: float,
    values: Mapping[str, float | str | None],
    reason: str = "",
) -> Transition:
    fired = status.state is AlertState.FIRING
    end = AlertState.RESOLVED if fired else AlertState.INACTIVE
    return _transition(status, end, now, values, reason)


def _transition(
    status: AlertStatus,
    end: AlertState,
    now: float,
    values: Mapping[str, float | str | None],
    reason: str = "",
    *,
    before: AlertState | None = None,
) -> Transition:
    return Transition(
        at=now,
        rule=status.rule,
        deployment=status.deployment,
        before=status.state if before is None else before,
        after=end,
        since=now if status.active_at is None else status.active_at,
        values=values,
        reason=reason,
    )
