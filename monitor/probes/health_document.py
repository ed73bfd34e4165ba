"""What a health endpoint's JSON says: its word, its named checks, its version and its age. Pure.

Reads what the target says and judges nothing, except that a word nobody knows is not good news.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from monitor.probes.failure import ProbeError
from monitor.probes.http.assertions import is_revision, parse_document
from monitor.probes.http.conditions import show
from monitor.probes.http.jsonpath import MISSING
from monitor.probes.reason import Reason

HEALTHY, DEGRADED, UNHEALTHY = "healthy", "degraded", "unhealthy"
MAX_CHECKS = 32
_WORDS = {
    HEALTHY: HEALTHY, "ok": HEALTHY, "pass": HEALTHY, "up": HEALTHY,
    DEGRADED: DEGRADED, "warn": DEGRADED, "warning": DEGRADED,
    UNHEALTHY: UNHEALTHY, "fail": UNHEALTHY, "down": UNHEALTHY, "error": UNHEALTHY,
}  # fmt: skip
"""The plan's words, those of health+json, and those that frameworks use for the same."""
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthDocument:
    """One answer of a health endpoint."""

    health: str
    """healthy, degraded or unhealthy."""
    word: str
    """What stood there, as it may be shown."""
    checks: tuple[tuple[str, bool], ...]
    dropped: int
    """Checks that were left out: too many, an unusable name, or nothing said about health."""
    version: str | None
    said_at: float | None
    """UTC seconds; None when there is no readable timestamp."""

    @property
    def failing(self) -> tuple[str, ...]:
        """Names of the checks that are not healthy."""
        return tuple(name for name, healthy in self.checks if not healthy)


def read_health(body: bytes) -> HealthDocument:
    """Return what the JSON in `body` says.

    Raises:
        ProbeError: (json) when it is not JSON, or has no status.
    """
    document = parse_document(body)
    status = document.get("status", MISSING) if isinstance(document, dict) else MISSING
    if not isinstance(document, dict) or not isinstance(status, str):
        raise ProbeError(Reason.JSON, f"$.status is {show(status)}, expected healthy or degraded")
    said = document.get("checks")
    found = list(_checks(said)) if isinstance(said, dict) else []
    version = document.get("version")
    return HealthDocument(
        health=_meaning(status),
        word=show(status),
        checks=tuple(found[:MAX_CHECKS]),
        dropped=(len(said) if isinstance(said, dict) else 0) - len(found[:MAX_CHECKS]),
        version=version if is_revision(version) else None,
        said_at=_time(document.get("timestamp")),
    )


def _meaning(word: str) -> str:
    return _WORDS.get(word.strip().lower(), UNHEALTHY)


def _checks(said: Mapping[str, object]) -> list[tuple[str, bool]]:
    known = ((name, _is_healthy(value)) for name, value in said.items() if _NAME.fullmatch(name))
    return [(name, healthy) for name, healthy in known if healthy is not None]


def _is_healthy(value: object) -> bool | None:
    """Return None for a value that says nothing about health."""
    if isinstance(value, dict):
        value = value.get("healthy", value.get("status"))
    if isinstance(value, str):
        return _meaning(value) == HEALTHY
    return value if isinstance(value, bool) else None


def _time(text: object) -> float | None:
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) else None
        if at is None:
            return None
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
