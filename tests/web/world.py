"""A small world behind the web surface: a real engine with an hour of samples."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from aiohttp.test_utils import TestClient

from monitor.fields import Secret
from monitor.incidents import Hidden
from monitor.metrics import Telemetry
from monitor.model import (
    Acknowledgement,
    Attempt,
    Correction,
    DeliveryResult,
    Deployment,
    Incident,
    IncidentAlert,
    Matcher,
    Note,
    Outcome,
    Owed,
    Release,
    ReleaseStatus,
    RollbackRecord,
    RollbackRequest,
    RollbackState,
    Sample,
    SendReason,
    Severity,
    Silence,
    Target,
    Told,
)
from monitor.probes.heartbeat_board import HeartbeatBoard
from monitor.slo.alerting import AlertRule
from monitor.slo.condition import compile_condition
from monitor.slo.engine import DeploymentSpec, Engine
from monitor.slo.objective import Objective, Sla
from monitor.store.base import IncidentHistory, StoreError
from monitor.web.links import AckLinks

NOW = 1_764_000_000.0
TOKEN = "a-token-of-some-length"
LINKS = AckLinks(Secret("a-key-of-links"), "https://monitor.example.com/")
WEBHOOK_SECRETS = (Secret("webhook-secret"), Secret("secret-of-before"))
HOSTILE = "<script>alert('x')</script>&\"<!channel>"

SLA = Sla(
    uptime=Fraction(999, 1000),
    latency_below_s=((Fraction(19, 20), Fraction(5, 2)),),
    error_rate_below=Fraction(1, 1000),
    min_regions=2,
)


def make_spec(
    name: str, service: str, environment: str, *, promised: bool = True, regions: int = 2
) -> DeploymentSpec:
    deployment = Deployment(
        name=name,
        service=service,
        environment=environment,
        url=f"https://user:hunter2@{name}.example.com/",
        purpose="tests",
    )
    targets = tuple(
        Target(
            id=f"{name}/http/{region}",
            deployment=name,
            environment=environment,
            probe="http",
            region=region,
            interval_s=15.0,
            timeout_s=5.0,
        )
        for region in ("eu", "us", "ap")[:regions]
    )
    objective = Objective(target=Fraction(999, 1000)) if promised else None
    return DeploymentSpec(
        deployment=deployment,
        targets=targets,
        objective=objective,
        sla=SLA if promised else None,
    )


SPECS = (
    make_spec("shop-production", "shop", "Production"),
    make_spec("shop-staging", "shop", "Staging", promised=False, regions=1),
    make_spec("checkout-production", "checkout", "Production"),
    make_spec("search-canary", "search", "Canary"),
)
RULES = (
    AlertRule(
        name="high_error_rate",
        condition=compile_condition("error_rate_5m > 5"),
        severity=Severity.CRITICAL,
        channels=("slack", "pagerduty"),
    ),
)
INCIDENT = Incident(
    id="01INCIDENT",
    key="key",
    rule="high_error_rate",
    deployment="checkout-production",
    service="checkout",
    environment="Production",
    severity=Severity.CRITICAL,
    channels=("slack", "pagerduty"),
    condition="error_rate_5m > 5",
    summary=f"summary {HOSTILE}",
    started_at=NOW - 300,
    opened_at=NOW - 285,
    revision=f"2.0 {HOSTILE}",
    values={"error_rate_5m": 100.0, "p95_latency": None},
    annotations={"runbook": "https://wiki.example.com/errors", "note": f"note {HOSTILE}"},
    notes=(Note(at=NOW - 200, text=f"rolling back {HOSTILE}"),),
)
CLOSED = Incident(
    id="01CLOSED",
    key="other",
    rule="high_latency",
    deployment="shop-production",
    service="shop",
    environment="Production",
    severity=Severity.WARNING,
    channels=("slack",),
    condition="p95_latency > 3000",
    summary="slow",
    started_at=NOW - 9000,
    opened_at=NOW - 8990,
    resolved_at=NOW - 8000,
)
SILENCE = Silence(
    id="0123456789ab",
    matchers=(
        Matcher(name="rule", operator="=", value="high_latency"),
        Matcher(name="deployment", operator="=~", value=f"shop-.*{HOSTILE}"),
    ),
    owner=f"ada {HOSTILE}",
    reason=f"moving the database {HOSTILE}",
    starts_at=NOW - 600,
    ends_at=NOW + 3000,
    at=NOW - 600,
)


def part(number: int, **changes: object) -> IncidentAlert:
    """One alert of an incident of many."""
    alert = IncidentAlert(
        rule="high_error_rate",
        deployment=f"checkout-{number:04d}",
        severity=Severity.CRITICAL,
        channels=("slack",),
        condition="error_rate_5m > 5",
        summary=f"number {number} {HOSTILE}",
        started_at=NOW - 300 + number,
        opened_at=NOW - 285 + number,
    )
    return replace(alert, **changes)


ROLLBACK = RollbackRecord(
    request=RollbackRequest(
        id="01ROLLBACK",
        incident=INCIDENT.id,
        deployment="checkout-production",
        environment="Production",
        service="checkout",
        rule="high_error_rate",
        from_revision="2.0",
        to_revision="1.0",
        at=NOW - 200,
    ),
    state=RollbackState.FAILED,
    updated_at=NOW - 100,
    detail=f"hook said {HOSTILE}",
)


def attempt(incident: Incident, channel: str, at: float, result: DeliveryResult) -> Attempt:
    return Attempt(
        incident=incident.id,
        channel=channel,
        reason=SendReason.FIRST,
        at=at,
        duration_s=0.2,
        result=result,
        detail=f"answer {HOSTILE}",
    )


class World:
    """Satisfies `monitor.web.view.View`; what it was asked to do is in `asked`."""

    def __init__(self, specs: Sequence[DeploymentSpec] = SPECS) -> None:
        self.telemetry = Telemetry()
        self.engine = Engine(specs, RULES, NOW - 3600)
        self.channels: Sequence[str] = ("slack", "pagerduty")
        self.asked: list[object] = []
        self.board = HeartbeatBoard()
        self.overloaded = False
        self.ahead_s = 0.0
        self.reload_error: str | None = None
        self.unready: str | None = None
        self.stuck: str | None = None
        self.store_error: str | None = None
        self.open: list[Incident] = []
        self.ledger: list[IncidentHistory] = []
        self.told: list[Owed] = []
        self.requests: list[RollbackRecord] = []
        self.quiet: dict[str, Silence] = {}
        self.corrected: dict[str, Correction] = {}

    def run_an_hour(self) -> World:
        """Shop is well, checkout fails for the last five minutes, search was never probed."""
        for minute in range(60):
            at = NOW - 3600 + 60 * minute
            samples = [
                self._sample(target, at + 15 * quarter, failing=minute >= 55)
                for quarter in range(4)
                for spec in self.engine.specs.values()
                if spec.deployment.service != "search"
                for target in spec.targets
            ]
            self.engine.step(at + 60, samples, self._releases(minute, at))
        return self

    def have_trouble(self) -> World:
        """Open incident, ledger, what is owed, and a rollback."""
        self.open = [INCIDENT, CLOSED]
        self.ledger = [
            IncidentHistory(
                incident=INCIDENT,
                attempts=(
                    attempt(INCIDENT, "slack", NOW - 280, DeliveryResult.DELIVERED),
                    attempt(INCIDENT, "pagerduty", NOW - 279, DeliveryResult.RETRY),
                ),
                rollbacks=(ROLLBACK,),
            ),
            IncidentHistory(
                incident=CLOSED,
                attempts=(attempt(CLOSED, "slack", NOW - 8000, DeliveryResult.UNCERTAIN),),
            ),
        ]
        self.told = [
            Owed(incident=INCIDENT.id, channel="slack", told=Told.OPEN, told_at=NOW - 280),
            Owed(incident=INCIDENT.id, channel="pagerduty", attempts=1, next_at=NOW + 5),
        ]
        self.requests = [ROLLBACK]
        return self

    def _sample(self, target: Target, at: float, *, failing: bool) -> Sample:
        bad = failing and target.deployment.startswith("checkout")
        sample = Sample(
            target=target.id,
            at=at,
            outcome=Outcome.BAD if bad else Outcome.GOOD,
            reason="status" if bad else "",
            detail=f"503 {HOSTILE}" if bad else "",
            latency_s=0.2 if target.region == "eu" else 0.4,
            phases=(("connect", 0.02), ("wait", 0.1)),
            certificate_expires_at=NOW + 86400,
        )
        self.telemetry.observe_sample(target, sample)
        return sample

    def _releases(self, minute: int, at: float) -> list[Release]:
        if minute not in {0, 54}:
            return []
        revision = "1.0" if minute == 0 else "2.0"
        return [
            Release(
                deployment=name,
                revision=revision,
                status=ReleaseStatus.SUCCEEDED,
                at=at,
                source="api",
            )
            for name in ("shop-production", "checkout-production")
            if name in self.engine.specs and (minute == 0 or name.startswith("checkout"))
        ]

    def now(self) -> float:
        return NOW

    def wall(self) -> float:
        return NOW + self.ahead_s

    @property
    def heartbeats(self) -> HeartbeatBoard:
        return self.board

    def incidents(self) -> Sequence[Incident]:
        return self.open

    def owed(self) -> Sequence[Owed]:
        return self.told

    def backlog(self) -> Mapping[str, tuple[int, float]]:
        return {"slack": (0, 0.0), "pagerduty": (1, 285.0)}

    async def history(self, limit: int, incident: str | None = None) -> Sequence[IncidentHistory]:
        if self.store_error is not None:
            raise StoreError(self.store_error)
        wanted = [each for each in self.ledger if incident in {None, each.incident.id}]
        return wanted[:limit]

    def rollbacks(self) -> Sequence[RollbackRecord]:
        return self.requests

    def corrections(self) -> Sequence[Correction]:
        return tuple(reversed(self.corrected.values()))

    async def accept_correction(self, correction: Correction) -> None:
        if self.overloaded:
            raise asyncio.QueueFull
        self.engine.correct(correction)
        self.corrected[correction.id] = correction

    async def accept_release(self, release: Release) -> None:
        if self.overloaded:
            raise asyncio.QueueFull
        self.asked.append(release)

    def hidden(self) -> Sequence[Hidden]:
        return ()

    def silences(self) -> Sequence[Silence]:
        return tuple(reversed(self.quiet.values()))

    async def accept_silence(self, silence: Silence) -> None:
        if self.overloaded:
            raise asyncio.QueueFull
        self.asked.append(silence)
        self.quiet[silence.id] = silence

    async def accept_acknowledgement(
        self, incident: str, acknowledgement: Acknowledgement | None
    ) -> None:
        if self.overloaded:
            raise asyncio.QueueFull
        self.asked.append((incident, acknowledgement))
        self.open = [
            replace(each, acknowledgement=acknowledgement) if each.id == incident else each
            for each in self.open
        ]

    async def reload(self) -> str | None:
        self.asked.append("reload")
        return self.reload_error

    def ready(self) -> str | None:
        return self.unready

    def live(self) -> str | None:
        return self.stuck


Connect = Callable[..., Awaitable[TestClient]]
"""Takes a world, its token (None for none), and `signed`: whether anything may be signed."""
