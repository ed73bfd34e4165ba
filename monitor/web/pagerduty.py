"""PagerDuty's webhook (v3): who acknowledged there, and who took it back.

Owns the signature and what an event means. Believes nothing without the signature, and from an
event only that somebody works on an incident: whether it is over is for the measurements to say.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from monitor.fields import Secret
from monitor.model import TAKEN_BACK, Acknowledgement, Incident
from monitor.notify.pagerduty import dedup_key
from monitor.web.asking import moment, queued
from monitor.web.endpoint import Endpoint
from monitor.web.guard import JSON, Proof, read_body, read_object
from monitor.web.people import ACKNOWLEDGE_MAX_S, NAME_LENGTH
from monitor.web.respond import RefusalError, json_response
from monitor.web.view import View

log = logging.getLogger(__name__)

PATH = "/api/v1/pagerduty/webhook"
HEADER = "X-PagerDuty-Signature"
SOURCE = "pagerduty"
SKEW_S = 60.0
"""How far apart their clock and ours may be."""
MAX_AGE_S = 3600.0
"""An event is told again for a while when we did not answer; an older one says nothing of now."""
_VERSION = "v1="
_CHALLENGE = {"WWW-Authenticate": "Signature"}
BODY_SCHEMA = {"type": "object", "required": ["event"], "properties": {"event": {}}}


class PagerDutyWebhook:
    """The handler, and the proof that stands before it."""

    def __init__(self, view: View, secrets: Sequence[Secret]) -> None:
        """Believe what one of `secrets` signed; without any, nothing."""
        self._view = view
        self._secrets = tuple(secrets)
        self._latest: dict[str, float] = {}
        """When the latest event of each open incident happened."""

    async def prove(self, request: web.Request) -> None:
        """Refuse what none of the secrets signed.

        Raises:
            RefusalError: 403 when there is no secret, 401 when the signature is not theirs.
        """
        if not self._secrets:
            text = "the webhook is off: set server.pagerduty_webhook_secrets: [{env: NAME}]"
            raise RefusalError(403, text)
        given = ",".join(request.headers.getall(HEADER, ()))
        if not _is_signed(self._secrets, await read_body(request), given):
            log.warning("a PagerDuty webhook with a wrong signature was refused")
            raise RefusalError(401, f"{HEADER} does not fit the body", headers=_CHALLENGE)

    async def receive(self, request: web.Request) -> web.Response:
        """Take in one event."""
        body = await read_object(request)
        event = body.get("event")
        if not isinstance(event, dict):
            raise RefusalError(400, "the body has no event")
        outcome = await self._follow(event)
        log.info("PagerDuty webhook", extra={"outcome": outcome})
        return json_response({"outcome": outcome}, status=202)

    async def _follow(self, event: Mapping[str, Any]) -> str:
        """Do what the event asks for; return what became of it, in words."""
        kind = event.get("event_type")
        if kind not in {
            "incident.acknowledged",
            "incident.unacknowledged",
            "incident.resolved",
        }:
            return "ignored: not an event that says who works on an incident"
        incident = self._find(event.get("data"))
        if incident is None:
            return "ignored: no open incident has this key"
        if kind == "incident.resolved":
            return "noted: the incident is over when the measurements say so"
        # Theirs is the wall's time, ours goes on when somebody sets the clock.
        ahead_s = self._view.wall() - self._view.now()
        at = moment(event.get("occurred_at"), "occurred_at") - ahead_s
        stale = self._is_stale(incident, at)
        if stale is not None:
            return f"ignored: {stale}"
        outcome = await self._change(incident, kind, at, event.get("agent"))
        self._latest[incident.id] = at
        return outcome

    def _find(self, data: object) -> Incident | None:
        key = data.get("incident_key") if isinstance(data, dict) else None
        candidates = [each for each in self._view.incidents() if each.is_open]
        self._latest = {
            each.id: self._latest[each.id] for each in candidates if each.id in self._latest
        }
        renamed: dict[str, set[str]] = {}
        for row in self._view.owed():
            if row.key:
                renamed.setdefault(row.incident, set()).add(row.key)
        # Where it had to be opened under a key of its own, the other one is an earlier episode's.
        return next(
            (
                each
                for each in candidates
                if key in {dedup_key(it) for it in renamed.get(each.id, {each.key})}
            ),
            None,
        )

    def _is_stale(self, incident: Incident, at: float) -> str | None:
        """Return why an event says nothing of now: events may come twice, late, or be replayed."""
        now, known = self._view.now(), incident.acknowledgement
        if at < incident.opened_at - SKEW_S:
            # The key is the same for every episode.
            return "it is about an earlier episode"
        if not now - MAX_AGE_S <= at <= now + SKEW_S:
            return "it did not happen within the last hour"
        if at <= self._latest.get(incident.id, 0.0) or (known is not None and at < known.at):
            return "something later is known"
        if any(note.text == TAKEN_BACK and note.at > at for note in incident.notes):
            # It does not come back by being told again, by whomever it was taken back.
            return "something later is known"
        return None

    async def _change(self, incident: Incident, kind: str, at: float, agent: object) -> str:
        known, (who, is_person) = incident.acknowledgement, _agent(agent)
        ours = known is not None and known.source != SOURCE
        if kind == "incident.unacknowledged":
            # An event that came just now may not have reached the incident yet.
            if ours or (known is None and incident.id not in self._latest):
                return "ignored: nobody acknowledged it in PagerDuty"
            await queued(self._view.accept_acknowledgement(incident.id, None))
            return "acknowledgement withdrawn"
        if ours and not is_person:
            # Our own channel told PagerDuty of it: what comes back is an echo.
            return "ignored: it is known already"
        acknowledgement = Acknowledgement(
            # PagerDuty says itself when nobody works on it any more: the longest time will do.
            by=who,
            at=at,
            until=at + ACKNOWLEDGE_MAX_S,
            source=SOURCE,
        )
        await queued(self._view.accept_acknowledgement(incident.id, acknowledgement))
        return "acknowledged"


def endpoints(webhook: PagerDutyWebhook) -> list[Endpoint]:
    """Return what is offered."""
    scheme = {"type": "apiKey", "in": "header", "name": HEADER}
    return [
        Endpoint(
            method="POST",
            path=PATH,
            handler=webhook.receive,
            summary="PagerDuty's webhook (v3): who acknowledged there",
            status=202,
            body=BODY_SCHEMA,
            proof=Proof(check=webhook.prove, media=JSON, scheme=scheme),
        )
    ]


def _is_signed(secrets: Sequence[Secret], body: bytes, given: str) -> bool:
    """Return whether one of the signatures in the header is that of one of `secrets`."""
    offered = [
        part.removeprefix(_VERSION).encode(errors="surrogateescape")
        for part in (each.strip() for each in given.split(","))
        if part.startswith(_VERSION)
    ]
    expected = [
        hmac.new(each.reveal().encode(), body, hashlib.sha256).hexdigest().encode()
        for each in secrets
    ]
    # Every pair is compared, so that the time taken tells nothing of which one fits.
    fits = [hmac.compare_digest(ours, theirs) for ours in expected for theirs in offered]
    return any(fits)


def _agent(agent: object) -> tuple[str, bool]:
    """Return (name, whether it is a person) of who did it; integrations do things too."""
    if not isinstance(agent, dict):
        return SOURCE, False
    name = agent.get("summary")
    shown = (
        "".join(each for each in name if each.isprintable()).strip()
        if isinstance(name, str)
        else ""
    )
    return shown[:NAME_LENGTH] or SOURCE, str(agent.get("type", "")).startswith("user")
