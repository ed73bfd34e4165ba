"""GET /metrics?query=NAME: one value of one signal, as a pipeline's `curl | jq` wants it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monitor.model import ReleaseStatus
from monitor.slo.engine import DeploymentSpec
from monitor.slo.signal import Signal, parse_signal, signal_names
from monitor.web.respond import RefusalError
from monitor.web.view import View

Value = float | str

LOW_IS_BAD = (
    "success_rate",
    "uptime_percentage",
    "error_budget_remaining",
    "coverage",
    "samples",
    "available_regions",
    "certificate_expiry_days",
)
"""Beginnings of the names whose lowest value is the worst; of all others it is the highest."""

WORST_FIRST: tuple[str, ...] = (
    "unhealthy",
    "degraded",
    ReleaseStatus.ROLLBACK_FAILED,
    ReleaseStatus.FAILED,
    ReleaseStatus.ROLLING_BACK,
    ReleaseStatus.ROLLED_BACK,
    ReleaseStatus.IN_PROGRESS,
    ReleaseStatus.UNKNOWN,
    ReleaseStatus.SUCCEEDED,
    "healthy",
)
"""Texts that can be compared; any other text (a revision) counts as equally good."""

SMALLEST = 0.0001
"""Floats below are written with an exponent, which `bc` takes for a syntax error."""


def answer(
    view: View, name: str, deployment: str | None, environment: str | None
) -> dict[str, Any]:
    """Return the answer to a query; of several deployments the worst one, by name.

    Raises:
        RefusalError: no such signal (400) or no such deployment (404).
    """
    signal = parse_signal(name)
    if signal is None:
        names = signal_names()
        raise RefusalError(400, f"no such query; there are: {', '.join(names)}", names=names)
    specs = match(view.engine.specs, deployment, environment)
    at = view.now()
    values = [(spec, view.engine.value(signal, spec.deployment.name, at)) for spec in specs]
    known = [(spec, value) for spec, value in values if value is not None]
    worst, value = _worst(signal, known) if known else (None, None)
    if worst is None and len(specs) == 1:
        worst = specs[0]
    return {
        "query": signal.name,
        "value": _writable(value),
        "unit": signal.unit,
        "deployment": worst.deployment.name if worst else None,
        "environment": worst.deployment.environment if worst else None,
        "at": at,
        "window_s": signal.window_s,
        "matched": [spec.deployment.name for spec in specs],
        "no_data": [spec.deployment.name for spec, value in values if value is None],
    }


def match(
    specs: Mapping[str, DeploymentSpec], deployment: str | None, environment: str | None
) -> Sequence[DeploymentSpec]:
    """Return the deployments with this name or service, in this environment (any case).

    Raises:
        RefusalError: 404 when a filter was given and nothing matches it.
    """
    found = [
        spec
        for spec in specs.values()
        if deployment in {None, spec.deployment.name, spec.deployment.service}
        and (
            environment is None or spec.deployment.environment.casefold() == environment.casefold()
        )
    ]
    if not found and not (deployment is None and environment is None):
        names = sorted(specs)
        environments = sorted({spec.deployment.environment for spec in specs.values()})
        text = (
            f"no such deployment; there are: {', '.join(names)}"
            f" (environments: {', '.join(environments)})"
        )
        raise RefusalError(404, text, names=names, environments=environments)
    return found


def _worst(
    signal: Signal, known: Sequence[tuple[DeploymentSpec, Value]]
) -> tuple[DeploymentSpec, Value]:
    low_is_bad = signal.name.startswith(LOW_IS_BAD)

    def badness(item: tuple[DeploymentSpec, Value]) -> float:
        value = item[1]
        if isinstance(value, str):
            return -WORST_FIRST.index(value) if value in WORST_FIRST else -len(WORST_FIRST)
        return -value if low_is_bad else value

    return max(known, key=badness)


def _writable(value: Value | None) -> Value | None:
    if isinstance(value, float) and 0 < abs(value) < SMALLEST:
        return SMALLEST if value > 0 else -SMALLEST
    return value
