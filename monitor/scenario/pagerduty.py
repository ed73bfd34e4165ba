"""A strict PagerDuty Events API v2: validation, rate, and what keys do to incidents.

A trigger merges into the open incident of its key and otherwise opens one; an acknowledge or a
resolve without an open incident is accepted and dropped, exactly as PagerDuty does.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from monitor.scenario.provider import Reply, Request
from monitor.scenario.receiver import Receiver

BODY_LIMIT = 512 * 1024
RATE_LIMIT = 120
RATE_WINDOW_S = 60.0
ROUTING_KEY_LENGTH = 32
DEDUP_KEY_LIMIT = 255
SUMMARY_LIMIT = 1024

_SEVERITIES = frozenset({"critical", "error", "warning", "info"})
_ACTIONS = frozenset({"trigger", "acknowledge", "resolve"})
_UNPRINTABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(slots=True, kw_only=True)
class PagerDutyIncident:
    """One incident as the people on call see it."""

    routing_key: str
    key: str
    opened_at: float
    acknowledged_at: float | None = None
    """The latest time; a trigger that merges does not undo it."""
    resolved_at: float | None = None
    triggers: int = 1
    events: list[dict[str, Any]] = field(default_factory=list)
    """Every accepted event about it, oldest first."""


class PagerDutyFake(Receiver):
    """The Events API for the services behind `routing_keys`."""

    def __init__(self, routing_keys: Collection[str]) -> None:
        """Know `routing_keys`; any other is invalid."""
        super().__init__()
        self.incidents: list[PagerDutyIncident] = []
        """Oldest first."""
        self.changes: list[dict[str, Any]] = []
        """What was told of releases."""
        self.dropped_resolves: list[str] = []
        """Keys that were resolved while nothing was open under them."""
        self.dropped_acknowledgements: list[str] = []
        """Keys that were acknowledged while nothing was open under them."""
        self._routing_keys = frozenset(routing_keys)
        self._recent: dict[str, deque[float]] = {key: deque() for key in routing_keys}
        self._generated = 0

    @property
    def open_incidents(self) -> list[PagerDutyIncident]:
        """Those not resolved yet."""
        return [incident for incident in self.incidents if incident.resolved_at is None]

    def _answer(self, request: Request) -> Reply:
        is_change = request.path == "/v2/change/enqueue"
        if request.method != "POST" or not (is_change or request.path == "/v2/enqueue"):
            return Reply(status=404)
        event = _parsed(request.body)
        errors = list(_change_errors(event) if is_change else _errors(event))
        if not errors and event["routing_key"] not in self._routing_keys:
            errors = ["Invalid routing key"]
        if errors:
            return _json(
                400, status="invalid event", message="Event object is invalid", errors=errors
            )
        if self._is_throttled(event["routing_key"], request.at):
            return _json(429, status="throttle exceeded", message="Requests are arriving too fast")
        if is_change:
            self.changes.append(event["payload"])
            return _json(202, status="success", message="Change event processed")
        key = self._apply(event, request.at)
        return _json(202, status="success", message="Event processed", dedup_key=key)

    def _is_throttled(self, routing_key: str, now: float) -> bool:
        recent = self._recent[routing_key]
        while recent and recent[0] <= now - RATE_WINDOW_S:
            recent.popleft()
        if len(recent) >= RATE_LIMIT:
            return True
        recent.append(now)
        return False

    def _apply(self, event: dict[str, Any], now: float) -> str:
        routing_key, action = event["routing_key"], event["event_action"]
        key = event.get("dedup_key") or self._new_key()
        current = next(
            (it for it in self.open_incidents if (it.routing_key, it.key) == (routing_key, key)),
            None,
        )
        if current is None and action == "trigger":
            self.incidents.append(
                PagerDutyIncident(routing_key=routing_key, key=key, opened_at=now, events=[event])
            )
        elif current is None and action == "resolve":
            self.dropped_resolves.append(key)
        elif current is None:
            self.dropped_acknowledgements.append(key)
        else:
            current.events.append(event)
            current.triggers += action == "trigger"
            if action == "acknowledge":
                current.acknowledged_at = now
            if action == "resolve":
                current.resolved_at = now
        return key

    def _new_key(self) -> str:
        self._generated += 1
        return f"generated-{self._generated}"


def _parsed(body: bytes) -> dict[str, Any]:
    if len(body) > BODY_LIMIT:
        return {"oversized": True}
    try:
        event = json.loads(body)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _common_errors(event: dict[str, Any]) -> Iterator[str]:
    if event.get("oversized"):
        yield f"Event is larger than {BODY_LIMIT} bytes"
        return
    if _UNPRINTABLE.search(json.dumps(event, ensure_ascii=False)) or "\\u0000" in json.dumps(event):
        yield "Event holds characters that cannot be stored"
    key = event.get("routing_key")
    if not isinstance(key, str) or len(key) != ROUTING_KEY_LENGTH:
        yield f"Length of 'routing_key' is incorrect (should be {ROUTING_KEY_LENGTH} characters)"


def _change_errors(event: dict[str, Any]) -> Iterator[str]:
    yield from _common_errors(event)
    payload = event.get("payload")
    summary = payload.get("summary") if isinstance(payload, dict) else None
    if not isinstance(summary, str) or not summary:
        yield "'payload.summary' is missing or blank"
    elif len(summary) > SUMMARY_LIMIT:
        yield f"'payload.summary' is too long (maximum is {SUMMARY_LIMIT} characters)"
    if set(event) & {"event_action", "dedup_key"}:
        yield "A change event has no action and no key"


def _errors(event: dict[str, Any]) -> Iterator[str]:
    yield from _common_errors(event)
    if event.get("oversized"):
        return
    action = event.get("event_action")
    if action not in _ACTIONS:
        yield "'event_action' is missing or blank"
    dedup_key = event.get("dedup_key", "")
    if not isinstance(dedup_key, str) or len(dedup_key) > DEDUP_KEY_LIMIT:
        yield f"'dedup_key' is too long (maximum is {DEDUP_KEY_LIMIT} characters)"
    if action in {"acknowledge", "resolve"} and not dedup_key:
        yield "'dedup_key' is missing or blank"
    if action == "trigger":
        yield from _payload_errors(event.get("payload"))


def _payload_errors(payload: Any) -> Iterator[str]:
    if not isinstance(payload, dict):
        yield "'payload' is missing or blank"
        return
    for name in ("summary", "source", "severity"):
        if not isinstance(payload.get(name), str) or not payload[name]:
            yield f"'payload.{name}' is missing or blank"
    if len(str(payload.get("summary", ""))) > SUMMARY_LIMIT:
        yield f"'payload.summary' is too long (maximum is {SUMMARY_LIMIT} characters)"
    if payload.get("severity") not in _SEVERITIES:
        yield "'payload.severity' is invalid (must be one of critical, warning, error, info)"


def _json(code: int, /, **content: Any) -> Reply:
    return Reply(
        status=code,
        body=json.dumps(content).encode(),
        headers={"content-type": "application/json"},
    )
