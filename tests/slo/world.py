"""Small builders of what the engine is told: targets, samples, rules, deployments."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from monitor.model import (
    AlertState,
    AlertStatus,
    Deployment,
    Outcome,
    Release,
    ReleaseStatus,
    Sample,
    Severity,
    Target,
    WindowRow,
)
from monitor.slo.alerting import AlertRule
from monitor.slo.condition import compile_condition
from monitor.slo.engine import DeploymentSpec, Engine, Step
from monitor.slo.objective import Objective, Sla
from monitor.slo.signal import parse_signal

GOOD, BAD, UNKNOWN = Outcome.GOOD, Outcome.BAD, Outcome.UNKNOWN
INACTIVE, PENDING = AlertState.INACTIVE, AlertState.PENDING
FIRING, RESOLVED = AlertState.FIRING, AlertState.RESOLVED
THREE_NINES = Objective(target=Fraction(999, 1000))


def target(name: str = "web/eu", interval_s: float = 15, **changes: object) -> Target:
    fields: dict[str, object] = {
        "id": name,
        "deployment": "web",
        "environment": "production",
        "probe": "http",
        "region": name.rpartition("/")[2],
        "interval_s": interval_s,
        "timeout_s": 5,
    }
    return Target(**(fields | changes))  # type: ignore[arg-type]


def sample(at: float, outcome: Outcome = GOOD, name: str = "web/eu", **changes: object) -> Sample:
    return Sample(target=name, at=at, outcome=outcome, **changes)  # type: ignore[arg-type]


def rule(condition: str, name: str = "rule", for_s: float = 0, keep_s: float = 0) -> AlertRule:
    return AlertRule(
        name=name,
        condition=compile_condition(condition),
        severity=Severity.CRITICAL,
        channels=("slack",),
        for_s=for_s,
        keep_firing_for_s=keep_s,
    )


def spec(
    *targets: Target,
    name: str = "web",
    objective: Objective | None = THREE_NINES,
    sla: Sla | None = None,
) -> DeploymentSpec:
    return DeploymentSpec(
        deployment=Deployment(
            name=name, service=name, environment="production", url="https://web.example"
        ),
        targets=targets or (target(),),
        objective=objective,
        sla=sla,
    )


def release(
    revision: str, status: ReleaseStatus, at: float = 0, source: str = "api", name: str = "web"
) -> Release:
    return Release(deployment=name, revision=revision, status=status, at=at, source=source)


def value(engine: Engine, name: str, now: float, deployment: str = "web") -> float | str | None:
    signal = parse_signal(name)
    assert signal is not None, name
    return engine.value(signal, deployment, now)


def changes(steps: Sequence[Step]) -> list[tuple[float, AlertState, AlertState]]:
    return [(t.at, t.before, t.after) for step in steps for t in step.transitions]


def restarted(engine: Engine, stored: Stored, seen_at: float, now: float) -> Engine:
    """Return the engine of a new process with the same configuration."""
    after = Engine(tuple(engine.specs.values()), engine.rules, now)
    stored.save(engine)
    after.restore(
        alerts=tuple(stored.alerts.values()),
        releases=tuple(stored.releases),
        windows=tuple(stored.windows.values()),
        born=tuple(stored.born.items()),
        seen_at=seen_at,
        now=now,
    )
    return after


class Stored:
    """What a store would hold: only what the engine handed out."""

    def __init__(self) -> None:
        self.alerts: dict[tuple[str, str], AlertStatus] = {}
        self.releases: list[Release] = []
        self.windows: dict[tuple[str, str], WindowRow] = {}
        self.born: dict[str, float] = {}

    def keep(self, step: Step) -> Step:
        self.alerts |= {(row.rule, row.deployment): row for row in step.alerts}
        for key in step.forgotten:
            self.alerts.pop(key, None)
        self.releases += step.releases
        return step

    def save(self, engine: Engine) -> None:
        rows, born = engine.flush()
        self.windows |= {(row.owner, row.part): row for row in rows}
        self.born |= dict(born)
