"""Which value lives in which table, column by column.

Owns the correspondence only: the DDL is in `schema`, the way in and out in `table`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from monitor.model import (
    AlertState,
    AlertStatus,
    Attempt,
    BucketRow,
    Correction,
    DeliveryResult,
    HeartbeatRow,
    Incident,
    Owed,
    Priority,
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
from monitor.store.codecs import ACKNOWLEDGEMENT, INCIDENT_ALERTS, MATCHERS
from monitor.store.table import (
    BLOB,
    FLAG,
    MAPPING,
    NAME,
    NOTES,
    REAL,
    TEXT,
    TUPLE,
    WHOLE,
    Table,
    enum,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A moment with a name: when a target was born, up to when the engine has seen."""

    kind: str
    name: str
    at: float


def _rollback(
    *,
    state: RollbackState,
    updated_at: float,
    detail: str,
    remote_id: str | None,
    attempts: int,
    **request: Any,
) -> RollbackRecord:
    return RollbackRecord(
        request=RollbackRequest(**request),
        state=state,
        updated_at=updated_at,
        detail=detail,
        remote_id=remote_id,
        attempts=attempts,
    )


TRANSITIONS = Table(
    name="transitions",
    make=Transition,
    codecs={
        "at": REAL,
        "rule": NAME,
        "deployment": NAME,
        "before": enum(AlertState),
        "after": enum(AlertState),
        "since": REAL,
        "values": MAPPING,
        "reason": TEXT,
    },
)
ALERTS = Table(
    name="alerts",
    make=AlertStatus,
    key=("rule", "deployment"),
    codecs={
        "rule": NAME,
        "deployment": NAME,
        "state": enum(AlertState),
        "active_at": REAL,
        "fired_at": REAL,
        "clear_since": REAL,
        "evaluated_at": REAL,
        "no_data": FLAG,
        "matched_at": TUPLE,
    },
)
INCIDENTS = Table(
    name="incidents",
    make=Incident,
    key=("id",),
    codecs={
        "id": TEXT,
        "key": TEXT,
        "rule": NAME,
        "deployment": NAME,
        "service": NAME,
        "environment": NAME,
        "severity": enum(Severity),
        "channels": TUPLE,
        "condition": TEXT,
        "summary": TEXT,
        "started_at": REAL,
        "opened_at": REAL,
        "resolved_at": REAL,
        "resolve_reason": TEXT,
        "revision": TEXT,
        "rollback": FLAG,
        "values": MAPPING,
        "labels": MAPPING,
        "annotations": MAPPING,
        "notes": NOTES,
        "alerts": INCIDENT_ALERTS,
        "priority": enum(Priority),
        "acknowledgement": ACKNOWLEDGEMENT,
        "escalated": NOTES,
        "called": TUPLE,
        "hidden_by": TEXT,
        "group": TEXT,
        "covers": TUPLE,
        "steps": TUPLE,
        "shown_at": REAL,
    },
)
OWED = Table(
    name="owed",
    make=Owed,
    key=("incident", "channel"),
    codecs={
        "incident": TEXT,
        "channel": NAME,
        "told": enum(Told),
        "told_at": REAL,
        "intent": enum(SendReason),
        "uncertain": enum(SendReason),
        "attempts": WHOLE,
        "next_at": REAL,
        "parked": TEXT,
        "remote_key": TEXT,
        "told_alerts": NAME,
        "whole": FLAG,
        "acknowledged_at": REAL,
        "via": TEXT,
        "key": TEXT,
    },
)
ATTEMPTS = Table(
    name="attempts",
    make=Attempt,
    codecs={
        "incident": TEXT,
        "channel": NAME,
        "reason": enum(SendReason),
        "at": REAL,
        "duration_s": REAL,
        "result": enum(DeliveryResult),
        "detail": TEXT,
        "may_be_repeated": FLAG,
    },
)
RELEASES = Table(
    name="releases",
    make=Release,
    key=("deployment", "at", "revision", "status"),
    codecs={
        "deployment": NAME,
        "revision": TEXT,
        "status": enum(ReleaseStatus),
        "at": REAL,
        "source": TEXT,
    },
)
ROLLBACKS = Table(
    name="rollbacks",
    make=_rollback,
    key=("id",),
    codecs={
        "request.id": TEXT,
        "request.incident": TEXT,
        "request.deployment": NAME,
        "request.environment": NAME,
        "request.service": NAME,
        "request.rule": NAME,
        "request.from_revision": TEXT,
        "request.to_revision": TEXT,
        "request.at": REAL,
        "request.reason": TEXT,
        "state": enum(RollbackState),
        "updated_at": REAL,
        "detail": TEXT,
        "remote_id": TEXT,
        "attempts": WHOLE,
    },
)
BUCKETS = Table(
    name="buckets",
    make=BucketRow,
    key=("target", "width_s", "start"),
    codecs={
        "target": NAME,
        "width_s": WHOLE,
        "start": WHOLE,
        "good": WHOLE,
        "bad": WHOLE,
        "unknown": WHOLE,
        "up_ms": WHOLE,
        "down_ms": WHOLE,
        "sketch": BLOB,
    },
)
WINDOWS = Table(
    name="windows",
    make=WindowRow,
    key=("owner", "part"),
    codecs={"owner": NAME, "part": NAME, "at": REAL, "data": BLOB},
)
CORRECTIONS = Table(
    name="corrections",
    make=Correction,
    key=("id",),
    codecs={
        "id": TEXT,
        "deployment": NAME,
        "slo": NAME,
        "start": REAL,
        "end": REAL,
        "reason": TEXT,
        "at": REAL,
        "is_undone": FLAG,
    },
)
SILENCES = Table(
    name="silences",
    make=Silence,
    key=("id",),
    codecs={
        "id": TEXT,
        "matchers": MATCHERS,
        "owner": TEXT,
        "reason": TEXT,
        "starts_at": REAL,
        "ends_at": REAL,
        "at": REAL,
        "ends_on_resolve": FLAG,
        "ended_at": REAL,
    },
)
MARKS = Table(
    name="marks",
    make=Mark,
    key=("kind", "name"),
    codecs={"kind": NAME, "name": NAME, "at": REAL},
)
HEARTBEATS = Table(
    name="heartbeats",
    make=HeartbeatRow,
    key=("name",),
    codecs={"name": NAME, "at": REAL, "times": MAPPING},
)
TABLES: tuple[Table[Any], ...] = (
    TRANSITIONS,
    ALERTS,
    INCIDENTS,
    OWED,
    ATTEMPTS,
    RELEASES,
    ROLLBACKS,
    BUCKETS,
    WINDOWS,
    CORRECTIONS,
    SILENCES,
    MARKS,
    HEARTBEATS,
)
