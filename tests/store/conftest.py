"""What the tests of the store share: an executor without a thread, and one of every row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

from monitor.model import (
    AlertState,
    AlertStatus,
    Attempt,
    BucketRow,
    Correction,
    DeliveryResult,
    Incident,
    Matcher,
    Note,
    Owed,
    Release,
    ReleaseStatus,
    RollbackRecord,
    RollbackRequest,
    RollbackState,
    SendReason,
    Severity,
    Silence,
    Told,
    Transition,
    WindowRow,
)
from monitor.store.base import Batch
from monitor.store.database import Database
from monitor.store.lock import DataDirectory
from monitor.store.schema import MIGRATIONS

NOW = 1_700_000_000.0


class InlineExecutor(Executor):
    """Runs work at the moment it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - belongs to whoever waits
            future.set_exception(error)
        return future


class Make:
    """Valid values with only what a test cares about spelled out."""

    now = NOW

    def incident(self, name: str = "i1", **changes: Any) -> Incident:
        fields: dict[str, Any] = {
            "id": name,
            "key": "HighErrorRate/shop",
            "rule": "HighErrorRate",
            "deployment": "shop",
            "service": "shop",
            "environment": "production",
            "severity": Severity.CRITICAL,
            "channels": ("slack", "pagerduty"),
            "condition": "error_rate_5m > 5",
            "summary": "too many errors",
            "started_at": NOW - 60,
            "opened_at": NOW,
            "values": {"error_rate_5m": 7.5, "revision": "1.2.3", "p95_latency": None},
            "labels": {"team": "web"},
            "notes": (Note(at=NOW, text="rolled back"),),
        }
        return Incident(**(fields | changes))

    def owed(self, incident: str = "i1", **changes: Any) -> Owed:
        return Owed(**({"incident": incident, "channel": "slack", "told": Told.OPEN} | changes))

    def attempt(self, incident: str = "i1", at: float = NOW) -> Attempt:
        return Attempt(
            incident=incident,
            channel="slack",
            reason=SendReason.FIRST,
            at=at,
            duration_s=0.25,
            result=DeliveryResult.DELIVERED,
        )

    def transition(self, at: float = NOW) -> Transition:
        return Transition(
            at=at,
            rule="HighErrorRate",
            deployment="shop",
            before=AlertState.PENDING,
            after=AlertState.FIRING,
            since=at - 60,
        )

    def alert(self, rule: str = "HighErrorRate", **changes: Any) -> AlertStatus:
        fields = {"rule": rule, "deployment": "shop", "state": AlertState.FIRING, "active_at": NOW}
        return AlertStatus(**(fields | changes))

    def release(self, revision: str = "1.2.3", at: float = NOW, **changes: Any) -> Release:
        fields = {"deployment": "shop", "status": ReleaseStatus.SUCCEEDED}
        return Release(**(fields | {"revision": revision, "at": at} | changes))

    def rollback(
        self, name: str = "q1", at: float = NOW, state: RollbackState = RollbackState.SUCCEEDED
    ) -> RollbackRecord:
        request = RollbackRequest(
            id=name,
            incident="i1",
            deployment="shop",
            environment="production",
            service="shop",
            rule="HighErrorRate",
            from_revision="1.2.3",
            to_revision="1.2.2",
            at=at,
        )
        return RollbackRecord(request=request, state=state, updated_at=at)

    def bucket(self, target: str = "shop/http@eu", **changes: Any) -> BucketRow:
        fields = {
            "target": target,
            "width_s": 300,
            "start": 1_699_999_800,
            "good": 19,
            "bad": 1,
            "unknown": 0,
            "up_ms": 285_000,
            "down_ms": 15_000,
            "sketch": bytes(range(40)),
        }
        return BucketRow(**(fields | changes))

    def window(self, owner: str = "shop/http@eu", **changes: Any) -> WindowRow:
        fields = {"owner": owner, "part": "head", "at": NOW, "data": bytes(range(40))}
        return WindowRow(**(fields | changes))

    def correction(self, name: str = "c1", **changes: Any) -> Correction:
        fields = {
            "id": name,
            "deployment": "shop",
            "slo": "availability",
            "start": NOW - 600,
            "end": NOW - 300,
            "reason": "load test",
            "at": NOW,
        }
        return Correction(**(fields | changes))

    def silence(self, name: str = "s1", **changes: Any) -> Silence:
        fields = {
            "id": name,
            "matchers": (Matcher(name="rule", operator="=", value="HighErrorRate"),),
            "owner": "ana",
            "reason": "known",
            "starts_at": NOW,
            "ends_at": NOW + 3600,
            "at": NOW,
        }
        return Silence(**(fields | changes))

    def batch(self, name: str = "i1") -> Batch:
        """One of everything, told apart from other batches by `name`."""
        return Batch(
            transitions=(self.transition(),),
            alerts=(self.alert(rule=name),),
            incidents=(self.incident(name),),
            owed=(self.owed(name),),
            attempts=(self.attempt(name),),
            releases=(self.release(name),),
            rollbacks=(self.rollback(name),),
            windows=tuple(self.window(name, part=f"counts/{age}") for age in range(10)),
            corrections=(self.correction(),),
            silences=(self.silence(),),
            born=((name, NOW - 86400),),
            seen_at=NOW,
        )


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture
def inline() -> InlineExecutor:
    return InlineExecutor()


@pytest.fixture
def open_database() -> Iterator[Callable[..., Database]]:
    """Open databases that are closed at the end; not synchronous, to spare the disk."""
    opened: list[Database] = []

    def opens(path: Path | None, migrations: Any = MIGRATIONS) -> Database:
        directory = None if path is None else DataDirectory(path)
        try:
            database = Database(directory, NOW, "OFF", migrations)
        except BaseException:
            if directory is not None:
                directory.release()
            raise
        opened.append(database)
        return database

    yield opens
    for database in opened:
        database.close()
