"""The JSON API: reads of the live state and of the store, and the few things that may be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from aiohttp import web

from monitor.model import Release, ReleaseStatus
from monitor.probes.heartbeat_board import PingKind
from monitor.store.base import IncidentHistory, StoreError
from monitor.web.asking import only_known, queued
from monitor.web.guard import read_object
from monitor.web.overview import look_at_deployments
from monitor.web.query import answer
from monitor.web.respond import RefusalError, json_response, plain
from monitor.web.view import View

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
REVISION_LENGTH = 200
ACCEPTED_STATUSES = (ReleaseStatus.IN_PROGRESS, ReleaseStatus.SUCCEEDED, ReleaseStatus.FAILED)
RELEASE_SCHEMA = {
    "type": "object",
    "required": ["deployment", "revision", "status"],
    "additionalProperties": False,
    "properties": {
        "deployment": {"type": "string"},
        "revision": {"type": "string", "minLength": 1, "maxLength": REVISION_LENGTH},
        "status": {"enum": list(ACCEPTED_STATUSES)},
    },
}
PING_SCHEMA = {
    "type": "object",
    "required": ["heartbeat"],
    "additionalProperties": False,
    "properties": {
        "heartbeat": {"type": "string", "description": "deployment/probe"},
        "kind": {"enum": list(PingKind), "default": PingKind.FINISH},
    },
}


class Api:
    """The handlers; reads have no side effect."""

    def __init__(self, view: View) -> None:
        """Answer from `view`."""
        self._view = view

    async def query(self, request: web.Request) -> web.Response:
        """One value of one signal."""
        asked = request.query
        name = asked.get("query", "")
        return json_response(
            answer(self._view, name, asked.get("deployment"), asked.get("environment"))
        )

    async def deployments(self, _request: web.Request) -> web.Response:
        """Every deployment with its figures, clauses, alerts and targets."""
        clock = asyncio.get_running_loop().time
        deployments = await look_at_deployments(self._view, clock)
        return json_response({"deployments": deployments, "blind": self._view.engine.blindness})

    async def alerts(self, _request: web.Request) -> web.Response:
        """Every alert with its rule."""
        alerts = []
        for status in self._view.engine.alerts():
            rule = self._view.engine.rule(status.rule, status.deployment)
            alerts.append(
                plain(status)
                | {
                    "severity": rule.severity if rule else None,
                    "condition": rule.condition.text if rule else None,
                    "channels": rule.channels if rule else [],
                }
            )
        return json_response({"alerts": alerts})

    async def incidents(self, request: web.Request) -> web.Response:
        """Return incidents, newest first: those of the store, and those it could not take yet."""
        limit = _limit(request)
        incidents = {entry.incident.id: entry.incident for entry in await self._history(limit)}
        incidents |= {incident.id: incident for incident in self._view.incidents()}
        # A digest is about others that are all here, and is found by its id.
        own = [each for each in incidents.values() if not each.covers]
        newest = sorted(own, key=lambda each: each.opened_at, reverse=True)
        return json_response({"incidents": newest[:limit]})

    async def incident(self, request: web.Request) -> web.Response:
        """Return one incident with its ledger and its rollbacks."""
        wanted = request.match_info["id"]
        history = await self._history(1, wanted)
        live = next((each for each in self._view.incidents() if each.id == wanted), None)
        if live is not None:
            known = history[0] if history else IncidentHistory(incident=live)
            return json_response(replace(known, incident=live))
        if not history:
            raise RefusalError(404, "no such incident; see /api/v1/incidents")
        return json_response(history[0])

    async def deliveries(self, request: web.Request) -> web.Response:
        """Return attempts to tell somebody, newest first, and what each was last told."""
        history = await self._history(_limit(request))
        attempts = [attempt for entry in history for attempt in entry.attempts]
        attempts.sort(key=lambda attempt: attempt.at, reverse=True)
        return json_response({"deliveries": attempts, "owed": self._view.owed()})

    async def releases(self, _request: web.Request) -> web.Response:
        """Return the latest release of every deployment."""
        engine = self._view.engine
        releases = [
            plain(release) | {"previous_revision": engine.previous_revision(name)}
            for name in engine.specs
            if (release := engine.release(name)) is not None
        ]
        return json_response({"releases": releases})

    async def rollbacks(self, _request: web.Request) -> web.Response:
        """Return rollback requests, newest first."""
        return json_response({"rollbacks": self._view.rollbacks()})

    async def accept_release(self, request: web.Request) -> web.Response:
        """Take in what a pipeline says about a release."""
        if not request.can_read_body:
            raise RefusalError(400, "send a JSON object with deployment, revision and status")
        release = self._release(await read_object(request))
        await queued(self._view.accept_release(release))
        return json_response({"accepted": release}, status=202)

    async def ping(self, request: web.Request) -> web.Response:
        """Take in a job's sign of life for a probe of kind heartbeat."""
        body = await read_object(request) if request.can_read_body else {}
        name, kind = body.get("heartbeat"), body.get("kind", PingKind.FINISH)
        if body.keys() - PING_SCHEMA["properties"].keys() or kind not in list(PingKind):  # type: ignore[attr-defined]
            kinds = ", ".join(PingKind)
            raise RefusalError(400, f"send heartbeat (deployment/probe), and kind: one of {kinds}")
        board = self._view.heartbeats
        if not isinstance(name, str) or not board.ping(name, PingKind(kind), self._view.now()):
            names = ", ".join(sorted(board.expected)) or "none"
            raise RefusalError(404, f"no such heartbeat; there are: {names}")
        return json_response({"accepted": {"heartbeat": name, "kind": kind}}, status=202)

    async def reload(self, _request: web.Request) -> web.Response:
        """Read the configuration again."""
        error = await self._view.reload()
        if error is not None:
            raise RefusalError(422, error)
        return json_response({"reloaded": True})

    async def _history(self, limit: int, incident: str | None = None) -> Sequence[IncidentHistory]:
        try:
            return await self._view.history(limit, incident)
        except StoreError as error:
            raise RefusalError(503, f"the store cannot be read: {error}") from error

    def _release(self, body: dict[str, Any]) -> Release:
        only_known(body, RELEASE_SCHEMA)
        deployment, revision, status = (
            body.get(key) for key in ("deployment", "revision", "status")
        )
        if status not in ACCEPTED_STATUSES:
            raise RefusalError(400, f"status is one of {', '.join(ACCEPTED_STATUSES)}")
        if not (
            isinstance(revision, str)
            and 0 < len(revision) <= REVISION_LENGTH
            and revision.isprintable()
        ):
            raise RefusalError(400, f"revision is 1 to {REVISION_LENGTH} printable characters")
        names = sorted(self._view.engine.specs)
        if deployment not in names:
            raise RefusalError(404, f"no such deployment; there are: {', '.join(names)}")
        return Release(
            deployment=deployment,
            revision=revision,
            status=ReleaseStatus(status),
            at=self._view.now(),
            source="api",
        )


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:5]) <= MAX_LIMIT):
        raise RefusalError(400, f"limit is a whole number from 1 to {MAX_LIMIT}")
    return int(text)
