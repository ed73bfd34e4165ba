"""A strict Alertmanager: what it refuses, how it merges alerts, when it takes one for resolved.

An alert is its labels. One without an `alertname` is refused here, which the real one lets pass:
nobody could tell what it is about. Grouping and routing are not played.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from monitor.scenario.provider import Reply, Request
from monitor.scenario.receiver import Receiver

RESOLVE_TIMEOUT_S = 300.0
"""How long an alert without an end is taken to fire."""

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_ADDRESS = re.compile(r"(https?://[!-~]+)?")


@dataclass(slots=True, kw_only=True)
class Episode:
    """One alert from its beginning to its end, as Alertmanager knows it."""

    labels: Mapping[str, str]
    opened_at: float
    """When it was first heard of."""
    ends_at: float
    """When it is, or will be taken to be, over."""
    resolved_at: float | None = None
    """When it was said to be over; None when its time merely ran out, or is still running."""
    posts: list[dict[str, Any]] = field(default_factory=list)
    """All that was said of it, oldest first."""

    def is_active(self, now: float) -> bool:
        """Whether it fires at `now`."""
        return now < self.ends_at


class AlertmanagerFake(Receiver):
    """The API v2 of one Alertmanager."""

    def __init__(self, *, path: str = "/api/v2/alerts", authorization: str | None = None) -> None:
        """Answer at `path`; with `authorization`, only who sends that header."""
        super().__init__()
        self.episodes: list[Episode] = []
        """Oldest first."""
        self.dropped_ends: list[Mapping[str, str]] = []
        """Labels of alerts that ended without having been heard of."""
        self._path = path
        self._authorization = authorization

    def active(self, now: float) -> list[Episode]:
        """Return what fires at `now`."""
        return [each for each in self.episodes if each.is_active(now)]

    def _answer(self, request: Request) -> Reply:
        if request.path != self._path:
            return Reply(status=404, body=b"404 page not found")
        if self._authorization not in {None, request.headers.get("authorization")}:
            return Reply(status=401, body=b"Unauthorized")
        if request.method != "POST":
            return Reply(status=405)
        if request.headers.get("content-type") != "application/json":
            return _refused(415, "unsupported media type")
        return self._judge(_parsed(request.body), request.at)

    def _judge(self, posted: list[Any] | None, now: float) -> Reply:
        if posted is None or any(text for each in posted for text in _unreadable(each)):
            return _refused(400, "parsing alerts body failed")
        if lacking := [text for each in posted for text in _lacking(each)]:
            return _refused(422, "; ".join(lacking))
        wrong = [list(_invalid(each)) for each in posted]
        for each, complaints in zip(posted, wrong, strict=True):
            # Good ones are taken even when their neighbours are refused.
            if not complaints:
                self._take(each, now)
        invalid = [text for complaints in wrong for text in complaints]
        return _refused(400, "; ".join(invalid)) if invalid else Reply(status=200)

    def _take(self, posted: dict[str, Any], now: float) -> None:
        labels = {name: text for name, text in posted["labels"].items() if text}
        ends_at = _end(posted, now)
        is_over = ends_at <= now
        current = self._current(labels, now, is_over=is_over)
        if current is not None:
            current.posts.append(posted)
            current.ends_at = ends_at
            current.resolved_at = now if is_over else None
        elif is_over:
            self.dropped_ends.append(labels)
        else:
            self.episodes.append(
                Episode(labels=labels, opened_at=now, ends_at=ends_at, posts=[posted])
            )

    def _current(self, labels: Mapping[str, str], now: float, *, is_over: bool) -> Episode | None:
        known = [each for each in self.episodes if each.labels == labels]
        if not known or known[-1].resolved_at is not None:
            return None
        # Of one whose time ran out, only the end is still heard: what fires then is another.
        return known[-1] if is_over or known[-1].is_active(now) else None


def _parsed(body: bytes) -> list[Any] | None:
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, list) else None


def _unreadable(alert: Any) -> Iterator[str]:
    """Yield what is of another type than the API says."""
    if not isinstance(alert, dict):
        yield "an alert is no object"
        return
    if not all(_is_texts(alert.get(kind, {})) for kind in ("labels", "annotations")):
        yield "labels and annotations must be texts"
    for name in ("startsAt", "endsAt"):
        if name in alert and _seconds(alert[name]) is None:
            yield f"{name} is no date-time: {alert[name]!r}"


def _lacking(alert: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the schema of the API refuses."""
    if "labels" not in alert:
        yield "labels in body is required"
    if not _ADDRESS.fullmatch(alert.get("generatorURL", "")):
        yield "generatorURL in body must be of type uri"


def _invalid(alert: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the validation of an alert refuses."""
    if not alert["labels"].get("alertname"):
        yield "there is no alertname"
    for kind in ("labels", "annotations"):
        for name in alert.get(kind, {}):
            if not _NAME.fullmatch(name):
                yield f"invalid {kind} name {name!r}"
    starts_at, ends_at = _seconds(alert.get("startsAt")), _seconds(alert.get("endsAt"))
    if starts_at is not None and ends_at is not None and ends_at < starts_at:
        yield "start time must be before end time"


def _end(alert: Mapping[str, Any], now: float) -> float:
    given = _seconds(alert.get("endsAt"))
    return now + RESOLVE_TIMEOUT_S if given is None else given


def _is_texts(given: Any) -> bool:
    return isinstance(given, dict) and all(isinstance(text, str) for text in given.values())


def _seconds(given: Any) -> float | None:
    if not isinstance(given, str) or not _TIME.fullmatch(given):
        return None
    try:
        return datetime.fromisoformat(given).timestamp()
    except ValueError:
        return None


def _refused(status: int, why: str) -> Reply:
    return Reply(
        status=status,
        body=json.dumps(why).encode(),
        headers={"content-type": "application/json"},
    )
