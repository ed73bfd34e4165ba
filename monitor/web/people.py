"""What people say over the API: silences and acknowledgements.

Owns the checks of what was said. Nothing happens here: it goes to the daemon's queue.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from monitor.fields import parse_duration
from monitor.matching import parse_matcher
from monitor.model import Acknowledgement, Incident, Matcher, Silence
from monitor.web.guard import read_object
from monitor.web.respond import RefusalError, json_response
from monitor.web.view import View

TEXT_LENGTH = 200
MATCHERS = 20
LONGEST_SILENCE_S = 90 * 86400.0
LONGEST_ACKNOWLEDGEMENT_S = 86400.0
ACKNOWLEDGED_FOR = "1h"

_TEXT = {"type": "string", "minLength": 1, "maxLength": TEXT_LENGTH}
SILENCE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["matchers", "owner", "reason", "duration"],
    "additionalProperties": False,
    "properties": {
        "matchers": {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": MATCHERS},
        "owner": _TEXT,
        "reason": _TEXT,
        "duration": {"type": "string", "description": "such as 2h"},
        "ends_on_resolve": {"type": "boolean"},
    },
}
ACKNOWLEDGE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["by"],
    "additionalProperties": False,
    "properties": {
        "by": _TEXT,
        "duration": {"type": "string", "description": f"such as 2h; {ACKNOWLEDGED_FOR} by default"},
    },
}


class PeopleApi:
    """Handlers of silences and acknowledgements."""

    def __init__(self, view: View) -> None:
        """Answer from `view`."""
        self._view = view

    async def silences(self, _request: web.Request) -> web.Response:
        """Return the silences, newest first, and the alerts that nobody is told of, with why."""
        now = self._view.now()
        silences = [
            {
                "id": each.id,
                "matchers": [str(matcher) for matcher in each.matchers],
                "owner": each.owner,
                "reason": each.reason,
                "starts_at": each.starts_at,
                "ends_at": each.ends_at if each.ended_at is None else each.ended_at,
                "ends_on_resolve": each.ends_on_resolve,
                "active": each.is_active(now),
            }
            for each in self._view.silences()
        ]
        return json_response({"at": now, "silences": silences, "hidden": self._view.hidden()})

    async def silence(self, request: web.Request) -> web.Response:
        """Hide the openings of what matches, for a while."""
        silence = self._silence(await _body(request, SILENCE_SCHEMA))
        await _taken(self._view.accept_silence(silence))
        return json_response({"accepted": {"id": silence.id}}, status=202)

    async def end(self, request: web.Request) -> web.Response:
        """End a silence before its time."""
        wanted, now = request.match_info["id"], self._view.now()
        found = next((each for each in self._view.silences() if each.id == wanted), None)
        if found is None or not found.is_active(now):
            raise RefusalError(404, "no such silence in force; see /api/v1/silences")
        await _taken(self._view.accept_silence(replace(found, ended_at=now)))
        return json_response({"ended": found.id}, status=202)

    async def acknowledge(self, request: web.Request) -> web.Response:
        """Say that somebody works on an incident: the escalation stands still."""
        incident = self._open(request)
        body = await _body(request, ACKNOWLEDGE_SCHEMA)
        by, now = _text(body, "by"), self._view.now()
        lasts_s = _duration(body.get("duration", ACKNOWLEDGED_FOR), LONGEST_ACKNOWLEDGEMENT_S)
        said = Acknowledgement(by=by, at=now, until=now + lasts_s)
        await _taken(self._view.accept_acknowledgement(incident.id, said))
        return json_response({"acknowledged": incident.id, "until": said.until}, status=202)

    async def unacknowledge(self, request: web.Request) -> web.Response:
        """Take an acknowledgement back: the escalation goes on."""
        incident = self._open(request)
        if incident.acknowledgement is None:
            raise RefusalError(409, "it is not acknowledged")
        await _taken(self._view.accept_acknowledgement(incident.id, None))
        return json_response({"unacknowledged": incident.id}, status=202)

    def _open(self, request: web.Request) -> Incident:
        wanted = request.match_info["id"]
        found = next((each for each in self._view.incidents() if each.id == wanted), None)
        if found is None:
            raise RefusalError(404, "no such incident; see /api/v1/incidents")
        if not found.is_open:
            raise RefusalError(409, "it is resolved")
        return found

    def _silence(self, body: Mapping[str, Any]) -> Silence:
        written = body.get("matchers")
        if not isinstance(written, list) or not 1 <= len(written) <= MATCHERS:
            raise RefusalError(400, f"matchers is a list of 1 to {MATCHERS} texts: name=value")
        matchers = tuple(_matcher(each) for each in written)
        owner, reason, now = _text(body, "owner"), _text(body, "reason"), self._view.now()
        ends_on_resolve = body.get("ends_on_resolve", False)
        if not isinstance(ends_on_resolve, bool):
            raise RefusalError(400, "ends_on_resolve is true or false")
        identity = "\0".join([*map(str, matchers), owner, reason, repr(now)])
        return Silence(
            id=hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:10],
            matchers=matchers,
            owner=owner,
            reason=reason,
            starts_at=now,
            ends_at=now + _duration(body.get("duration"), LONGEST_SILENCE_S),
            at=now,
            ends_on_resolve=ends_on_resolve,
        )


async def _body(request: web.Request, schema: Mapping[str, Any]) -> dict[str, Any]:
    body = await read_object(request) if request.can_read_body else {}
    if body.keys() - schema["properties"].keys():
        raise RefusalError(400, f"only {', '.join(schema['properties'])} are known keys")
    return body


async def _taken(accepting: Awaitable[None]) -> None:
    try:
        await accepting
    except asyncio.QueueFull:
        raise RefusalError(503, "overloaded; send it again", headers={"Retry-After": "1"}) from None


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_LENGTH or not value.isprintable():
        raise RefusalError(400, f"{key} is a text of 1 to {TEXT_LENGTH} printable characters")
    return value


def _matcher(text: object) -> Matcher:
    try:
        return parse_matcher(text if isinstance(text, str) else "")
    except ValueError as error:
        raise RefusalError(400, f"matchers: {error}") from None


def _duration(value: object, longest_s: float) -> float:
    try:
        lasts_s = parse_duration(value) if isinstance(value, str) else 0.0
    except ValueError:
        lasts_s = 0.0
    if not 0 < lasts_s <= longest_s:
        most = f"{longest_s / 86400:g}d"
        raise RefusalError(400, f"duration is a length such as 2h, at most {most}")
    return lasts_s
