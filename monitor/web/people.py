"""The JSON API of people: silences, and who works on an incident."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from monitor.matching import matches, parse_matcher
from monitor.model import Acknowledgement, Incident, Matcher, Silence
from monitor.store.base import StoreError
from monitor.web.asking import duration, flag, line, moment, only_known, queued
from monitor.web.endpoint import Endpoint
from monitor.web.guard import read_object
from monitor.web.respond import RefusalError, json_response, plain
from monitor.web.view import View

NAME_LENGTH = 100
REASON_LENGTH = 500
MATCHERS_MAX = 20
SILENCE_MAX_S = 90 * 86400.0
ACKNOWLEDGE_S = 3600.0
ACKNOWLEDGE_MAX_S = 86400.0
SOURCES = ("api", "cli")

_LINE = {"type": "string", "minLength": 1}
_TIME = {"type": "string", "format": "date-time"}
SILENCE_SCHEMA = {
    "type": "object",
    "required": ["matchers", "owner", "reason"],
    "additionalProperties": False,
    "properties": {
        "matchers": {
            "type": "array",
            "items": {**_LINE, "examples": ["rule=high_latency", "deployment=~shop-.*"]},
            "minItems": 1,
            "maxItems": MATCHERS_MAX,
            "description": "all of them must match",
        },
        "owner": {**_LINE, "maxLength": NAME_LENGTH},
        "reason": {**_LINE, "maxLength": REASON_LENGTH},
        "duration": {**_LINE, "examples": ["2h"], "description": "this or ends_at; at most 90d"},
        "starts_at": {**_TIME, "description": "now when left out"},
        "ends_at": _TIME,
        "ends_on_resolve": {"type": "boolean", "default": False},
    },
}
ACKNOWLEDGE_SCHEMA = {
    "type": "object",
    "required": ["by"],
    "additionalProperties": False,
    "properties": {
        "by": {**_LINE, "maxLength": NAME_LENGTH},
        "duration": {**_LINE, "default": "1h", "description": "at most 24h"},
        "source": {"enum": list(SOURCES), "default": SOURCES[0]},
    },
}


class People:
    """The handlers; reads have no side effect."""

    def __init__(self, view: View) -> None:
        """Answer from `view`, and ask it."""
        self._view = view

    async def silences(self, _request: web.Request) -> web.Response:
        """Return the silences, newest first, and the alerts that nobody is told of, with why."""
        now = self._view.now()
        silences = [written(each, now) for each in self._view.silences()]
        return json_response({"at": now, "silences": silences, "hidden": self._view.hidden()})

    async def silence(self, request: web.Request) -> web.Response:
        """Keep quiet about the alerts that match."""
        now = self._view.now()
        silence = read_silence(await read_object(request), now)
        await queued(self._view.accept_silence(silence))
        return json_response({"accepted": written(silence, now)}, status=202)

    async def end(self, request: web.Request) -> web.Response:
        """End a silence before its time."""
        wanted, now = request.match_info["id"], self._view.now()
        found = next((each for each in self._view.silences() if each.id == wanted), None)
        if found is None:
            raise RefusalError(404, "no such silence; see /api/v1/silences")
        if found.ended_at is not None or found.ends_at <= now:
            raise RefusalError(409, "this silence is over already")
        await queued(self._view.accept_silence(replace(found, ended_at=now)))
        return json_response({"ended": found.id}, status=202)

    async def acknowledge(self, request: web.Request) -> web.Response:
        """Say that somebody works on an incident: nobody else is called for a while."""
        body = await read_object(request)
        acknowledgement = read_acknowledgement(body, self._view.now())
        incident = await find_open(self._view, request.match_info["id"])
        await queued(self._view.accept_acknowledgement(incident.id, acknowledgement))
        return json_response(
            {"incident": incident.id, "acknowledgement": acknowledgement}, status=202
        )

    async def unacknowledge(self, request: web.Request) -> web.Response:
        """Say that nobody works on an incident; harmless when nobody did."""
        incident = await find_open(self._view, request.match_info["id"])
        await queued(self._view.accept_acknowledgement(incident.id, None))
        return json_response({"incident": incident.id, "acknowledgement": None}, status=202)


def endpoints(people: People) -> list[Endpoint]:
    """Return what is offered."""
    root = "/api/v1"
    return [
        Endpoint(path=f"{root}/silences", handler=people.silences, summary="Silences"),
        Endpoint(
            method="POST",
            path=f"{root}/silences",
            handler=people.silence,
            summary="Keep quiet about the alerts that match",
            status=202,
            body=SILENCE_SCHEMA,
        ),
        Endpoint(
            method="POST",
            path=f"{root}/silences/{{id}}/end",
            handler=people.end,
            summary="End a silence before its time",
            status=202,
        ),
        Endpoint(
            method="POST",
            path=f"{root}/incidents/{{id}}/acknowledge",
            handler=people.acknowledge,
            summary="Say who works on an incident",
            status=202,
            body=ACKNOWLEDGE_SCHEMA,
        ),
        Endpoint(
            method="POST",
            path=f"{root}/incidents/{{id}}/unacknowledge",
            handler=people.unacknowledge,
            summary="Say that nobody works on an incident",
            status=202,
        ),
    ]


def written(silence: Silence, now: float) -> dict[str, Any]:
    """Return a silence as JSON: matchers as they are written, and whether it is active."""
    document: dict[str, Any] = plain(silence)
    document["matchers"] = [str(each) for each in silence.matchers]
    return document | {"active": silence.is_active(now)}


def read_silence(body: Mapping[str, object], now: float) -> Silence:
    """Return the silence that `body` asks for.

    Raises:
        RefusalError: it asks for none; the text says what to mend.
    """
    only_known(body, SILENCE_SCHEMA)
    starts_at = moment(body["starts_at"], "starts_at") if "starts_at" in body else now
    if not now - SILENCE_MAX_S <= starts_at <= now + SILENCE_MAX_S:
        raise RefusalError(400, "starts_at is within 90 days from now")
    return make_silence(
        _matchers(body.get("matchers")),
        owner=line(body.get("owner"), "owner", NAME_LENGTH),
        reason=line(body.get("reason"), "reason", REASON_LENGTH),
        starts_at=starts_at,
        ends_at=_end(body, starts_at, now),
        now=now,
        ends_on_resolve=flag(body.get("ends_on_resolve", False), "ends_on_resolve"),
    )


def make_silence(
    matchers: tuple[Matcher, ...],
    *,
    owner: str,
    reason: str,
    starts_at: float,
    ends_at: float,
    now: float,
    ends_on_resolve: bool = False,
) -> Silence:
    """Return a silence whose id follows from what it is and when it was asked for."""
    parts = (*map(str, matchers), owner, reason, starts_at, ends_at, ends_on_resolve, now)
    return Silence(
        id=hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:12],
        matchers=matchers,
        owner=owner,
        reason=reason,
        starts_at=starts_at,
        ends_at=ends_at,
        at=now,
        ends_on_resolve=ends_on_resolve,
    )


def _matchers(value: object) -> tuple[Matcher, ...]:
    texts = value if isinstance(value, list) else []
    if not 1 <= len(texts) <= MATCHERS_MAX or not all(isinstance(each, str) for each in texts):
        raise RefusalError(
            400, f"matchers is a list of 1 to {MATCHERS_MAX} texts such as rule=high_latency"
        )
    found = []
    for number, text in enumerate(texts, 1):
        try:
            found.append(parse_matcher(text))
        except ValueError as error:
            raise RefusalError(400, f"matcher {number} is {error}") from None
    if matches(found, {}):
        # Whoever has no label at all would be silenced too: that is hardly ever meant.
        raise RefusalError(400, "one of the matchers must name a value, such as rule=high_latency")
    return tuple(found)


def _end(body: Mapping[str, object], starts_at: float, now: float) -> float:
    if ("duration" in body) == ("ends_at" in body):
        raise RefusalError(400, "give duration (such as 2h) or ends_at, one of them")
    if "duration" in body:
        ends_at = starts_at + duration(body["duration"], "duration", SILENCE_MAX_S, "90d")
    else:
        ends_at = moment(body["ends_at"], "ends_at")
    if ends_at - starts_at > SILENCE_MAX_S:
        raise RefusalError(400, "a silence lasts 90 days at most")
    if not max(starts_at, now) < ends_at:
        raise RefusalError(400, "a silence ends after it starts, and not in the past")
    return ends_at


def read_acknowledgement(body: Mapping[str, object], now: float) -> Acknowledgement:
    """Return the acknowledgement that `body` asks for.

    Raises:
        RefusalError: it asks for none; the text says what to mend.
    """
    only_known(body, ACKNOWLEDGE_SCHEMA)
    source = body.get("source", SOURCES[0])
    if source not in SOURCES:
        raise RefusalError(400, f"source is one of {', '.join(SOURCES)}")
    lasts_s = ACKNOWLEDGE_S
    if "duration" in body:
        lasts_s = duration(body["duration"], "duration", ACKNOWLEDGE_MAX_S, "24h")
    return Acknowledgement(
        by=line(body.get("by"), "by", NAME_LENGTH),
        at=now,
        until=now + lasts_s,
        source=str(source),
    )


async def find_open(view: View, wanted: str) -> Incident:
    """Return the open incident with the id `wanted`.

    Raises:
        RefusalError: 404 when there is none, 409 when it is resolved, 503 when the store, which
            knows older ones, cannot be read.
    """
    found = next((each for each in view.incidents() if each.id == wanted), None)
    if found is None:
        try:
            history = await view.history(1, wanted)
        except StoreError as error:
            raise RefusalError(503, f"the store cannot be read: {error}") from error
        found = history[0].incident if history else None
    if found is None:
        raise RefusalError(404, "no such incident; see /api/v1/incidents")
    if not found.is_open:
        raise RefusalError(409, "this incident is resolved already")
    return found
