"""A fleet of healthy deployments inside this process: what the engine is told, and its samples."""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction

from monitor.model import Deployment, Outcome, Sample, Severity, Target
from monitor.slo.alerting import AlertRule
from monitor.slo.burn import default_tiers
from monitor.slo.condition import compile_condition
from monitor.slo.engine import DeploymentSpec
from monitor.slo.objective import Objective, Sla

EPOCH = 1_764_000_000.0
INTERVAL_S = 15.0
CONDITIONS = {
    "high_error_rate": "error_rate_5m > 5",
    "high_latency": "p95_latency > 3000",
    "low_availability": "uptime_percentage < 99.9",
    "deployment_failed": "deployment_status == 'failed'",
    "fast_burn": "burn_rate_1h > 14.4 && burn_rate_5m > 14.4",
}
"""The plan's four rules and a burn rate."""
OBJECTIVE = Objective(
    target=Fraction(999, 1000), tiers=default_tiers(Fraction(999, 1000), 30 * 86400)
)
"""With the four tiers that it has by default."""
_SLA = Sla(
    uptime=Fraction(999, 1000),
    latency_below_s=((Fraction(19, 20), Fraction(5, 2)),),
    error_rate_below=Fraction(1, 1000),
    min_regions=None,
)


def fleet(count: int) -> list[DeploymentSpec]:
    """Return `count` deployments of one target each, with an objective and an SLA."""
    return [_deployment(f"service-{number:04}") for number in range(count)]


def rules() -> list[AlertRule]:
    """Return the five rules."""
    return [
        AlertRule(
            name=name,
            condition=compile_condition(condition),
            severity=Severity.CRITICAL,
            channels=("slack",),
        )
        for name, condition in CONDITIONS.items()
    ]


def samples(
    specs: list[DeploymentSpec], at: float, chance: random.Random, errors: float = 0.0
) -> Iterator[Sample]:
    """Yield one sample of every target, with latencies as spread as real ones are.

    A share `errors` (0-1) of them is bad.
    """
    for spec in specs:
        for target in spec.targets:
            wait_s = chance.lognormvariate(-2.3, 0.4)
            yield Sample(
                target=target.id,
                at=at,
                outcome=Outcome.BAD if errors and chance.random() < errors else Outcome.GOOD,
                latency_s=wait_s + 0.003,
                status=200,
                phases=(("connect", 0.001), ("send", 0.0), ("wait", wait_s), ("transfer", 0.002)),
            )


def _deployment(name: str) -> DeploymentSpec:
    target = Target(
        id=f"{name}/home/global",
        deployment=name,
        environment="Production",
        probe="home",
        region="global",
        interval_s=INTERVAL_S,
        timeout_s=10.0,
    )
    deployment = Deployment(
        name=name, service=name, environment="Production", url=f"https://{name}.example"
    )
    return DeploymentSpec(
        deployment=deployment,
        targets=(target,),
        objective=OBJECTIVE,
        sla=_SLA,
    )
