"""A picture of everything at one moment, for the page and the API. Reads; changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.model import (
    AlertState,
    AlertStatus,
    Attempt,
    Deployment,
    Incident,
    Owed,
    Release,
    RollbackRecord,
    Sample,
    Silence,
    Target,
)
from monitor.pace import Monotonic, Pace
from monitor.slo.engine import Budget, DeploymentSpec, Engine, Verdict
from monitor.slo.objective import Objective
from monitor.slo.sight import Blindness
from monitor.slo.signal import WINDOWS, parse_signal
from monitor.store.base import StoreError
from monitor.web.view import View

BURN_WINDOWS = ("5m", "1h", "6h", "3d")
LEDGER_INCIDENTS = 30
LEDGER_LINES = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPicture:
    """A target and the latest that is known of it."""

    target: Target
    last: Sample | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentPicture:
    """One deployment now. Percentages are 0-100 and latencies milliseconds, as in conditions."""

    deployment: Deployment
    health: str
    release: Release | None
    previous_revision: str | None
    error_rate_5m: float | None
    p95_latency_ms: float | None
    uptime_percentage: float | None
    coverage_5m: float | None
    objective: Objective | None
    budget: Budget | None
    burn_rates: tuple[tuple[str, float | None], ...]
    """(window, burn rate)."""
    more_budgets: tuple[Budget, ...]
    """Of the other objectives and periods that have data."""
    clauses: tuple[Verdict, ...]
    alerts: tuple[AlertStatus, ...]
    """Pending and firing ones, and those that are frozen for want of data."""
    targets: tuple[TargetPicture, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLine:
    """An attempt to tell somebody about an incident."""

    attempt: Attempt
    incident: Incident


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Everything at `at`, UTC seconds."""

    at: float
    ready: str | None
    live: str | None
    blindness: Blindness | None
    deployments: Sequence[DeploymentPicture]
    open_incidents: Sequence[Incident]
    closed_incidents: Sequence[Incident]
    owed: Sequence[Owed]
    ledger: Sequence[LedgerLine]
    """Newest first."""
    ledger_error: str | None
    """Why the ledger could not be read."""
    rollbacks: Sequence[RollbackRecord]
    silences: Sequence[Silence]
    """In force, or to come; the one that ends first comes first."""


async def look(view: View, monotonic: Monotonic) -> Overview:
    """Return the picture, deployment by deployment, without holding the event loop for long."""
    at, pictures = view.now(), await look_at_deployments(view, monotonic)
    incidents = view.incidents()
    ledger, ledger_error = await _ledger(view)
    return Overview(
        at=at,
        ready=view.ready(),
        live=view.live(),
        blindness=view.engine.blindness,
        deployments=pictures,
        open_incidents=[each for each in incidents if each.is_open],
        closed_incidents=[each for each in incidents if not each.is_open],
        owed=view.owed(),
        ledger=ledger,
        ledger_error=ledger_error,
        rollbacks=view.rollbacks(),
        silences=sorted(
            (each for each in view.silences() if each.ended_at is None and at < each.ends_at),
            key=lambda each: each.ends_at,
        ),
    )


async def look_at_deployments(view: View, monotonic: Monotonic) -> list[DeploymentPicture]:
    """Return every deployment; one that is removed meanwhile is left out."""
    engine, now, pace = view.engine, view.now(), Pace(monotonic)
    pictures = []
    for name, spec in tuple(engine.specs.items()):
        if name in engine.specs:
            pictures.append(_picture(engine, spec, now))
        await pace.breathe()
    return pictures


def _picture(engine: Engine, spec: DeploymentSpec, now: float) -> DeploymentPicture:
    name = spec.deployment.name
    return DeploymentPicture(
        deployment=spec.deployment,
        health=read_text(engine, "health", name, now) or "unknown",
        release=engine.release(name),
        previous_revision=engine.previous_revision(name),
        error_rate_5m=read_number(engine, "error_rate_5m", name, now),
        p95_latency_ms=read_number(engine, "p95_latency", name, now),
        uptime_percentage=read_number(engine, "uptime_percentage", name, now),
        coverage_5m=read_number(engine, "coverage_5m", name, now),
        objective=spec.objective,
        budget=engine.budget(name, now),
        burn_rates=read_burn_rates(engine, name, now, BURN_WINDOWS) if spec.objective else (),
        more_budgets=tuple(
            budget
            for number, record in enumerate(engine.records(name, now))
            for place, budget in enumerate(record.budgets(now))
            if number or place
        ),
        clauses=engine.verdicts(name, now),
        alerts=tuple(
            status
            for status in engine.alerts()
            if status.deployment == name
            and (status.state is not AlertState.INACTIVE or status.no_data)
        ),
        targets=tuple(
            TargetPicture(target=target, last=engine.last_sample(target.id))
            for target in spec.targets
        ),
    )


def read_burn_rates(
    engine: Engine, deployment: str, now: float, windows: Sequence[str] = tuple(WINDOWS)
) -> tuple[tuple[str, float | None], ...]:
    """Return (window, burn rate) for each window."""
    return tuple(
        (window, read_number(engine, f"burn_rate_{window}", deployment, now)) for window in windows
    )


def read_number(engine: Engine, name: str, deployment: str, now: float) -> float | None:
    """Return the value of a signal that is a number."""
    value = _read(engine, name, deployment, now)
    return None if isinstance(value, str) else value


def read_text(engine: Engine, name: str, deployment: str, now: float) -> str | None:
    """Return the value of a signal that is a text."""
    value = _read(engine, name, deployment, now)
    return value if isinstance(value, str) else None


def _read(engine: Engine, name: str, deployment: str, now: float) -> float | str | None:
    signal = parse_signal(name)
    if signal is None:
        msg = f"{name} is no signal"
        raise LookupError(msg)
    return engine.value(signal, deployment, now)


async def _ledger(view: View) -> tuple[list[LedgerLine], str | None]:
    try:
        history = await view.history(LEDGER_INCIDENTS)
    except StoreError as error:
        return [], str(error)
    lines = [
        LedgerLine(attempt=attempt, incident=entry.incident)
        for entry in history
        for attempt in entry.attempts
    ]
    lines.sort(key=lambda line: line.attempt.at, reverse=True)
    return lines[:LEDGER_LINES], None
