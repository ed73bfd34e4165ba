"""A receiver for slo-monitor's rollback webhook, to copy and fill in.

It verifies the Standard Webhooks signature (constant-time comparison, five minutes of tolerance,
two secrets while one is rotated), runs a rollback once for each idempotency key, refuses calls
that a newer one has overtaken, answers 202 at once, and tells on GET how a rollback stands.

    ROLLBACK_SECRETS="whsec_..." python receiver.py      # separate two secrets with a space

    rollback:
      hook: {kind: webhook, url: "http://127.0.0.1:8480/rollback", secrets: [{env: SECRET}]}

What it knows, it keeps in memory. If it can restart while a monitor is waiting for an answer, keep
`_states` in a file or a table instead: a receiver that forgets an id would run it a second time.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp import web

TOLERANCE_S = 300
BODY_LIMIT_BYTES = 64 * 1024

RollBack = Callable[[dict[str, Any]], Awaitable[str]]
"""Rolls back as the document asks and returns a line for people; an exception means it failed."""


def is_signed(secrets: Sequence[str], request: web.Request, body: bytes, now: float) -> bool:
    """Return whether one of `secrets` signed this request within the tolerance around `now`."""
    message_id = request.headers.get("webhook-id", "")
    timestamp = request.headers.get("webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 15):  # noqa: PLR2004 - seconds
        return False
    if abs(now - int(timestamp)) > TOLERANCE_S:
        return False
    signed = f"{message_id}.{timestamp}.".encode(errors="replace") + body
    offered = request.headers.get("webhook-signature", "").split()
    matches = [
        hmac.compare_digest(f"v1,{digest(secret, signed)}".encode(), each.encode(errors="replace"))
        for secret in secrets
        for each in offered
    ]
    return any(matches)


def digest(secret: str, signed: bytes) -> str:
    """Return the base64 HMAC-SHA256 of `signed`; after `whsec_` the key itself is base64."""
    prefix, _, encoded = secret.partition("whsec_")
    key = base64.b64decode(encoded) if encoded and not prefix else secret.encode()
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


class Receiver:
    """Takes calls, runs each rollback once, and remembers how it went."""

    def __init__(
        self, secrets: Sequence[str], roll_back: RollBack, now: Callable[[], float] = time.time
    ) -> None:
        """Accept what any of `secrets` signed; `now` gives UTC seconds."""
        if not secrets or not all(secrets):
            message = "a receiver without a secret would obey anybody"
            raise ValueError(message)
        self._secrets = tuple(secrets)
        self._roll_back = roll_back
        self._now = now
        self._states: dict[str, dict[str, str]] = {}
        self._newest: dict[str, str] = {}
        self._work: set[asyncio.Task[None]] = set()

    def app(self) -> web.Application:
        """Return the application: `POST /rollback` and `GET /rollback/{id}`."""
        app = web.Application(client_max_size=BODY_LIMIT_BYTES)
        app.router.add_post("/rollback", self._call)
        app.router.add_get("/rollback/{id}", self._status)
        app.on_cleanup.append(self._stop)
        return app

    async def _call(self, request: web.Request) -> web.Response:
        document = await self._verified(request)
        key = document["id"]
        # From here to the 202 there is no await, so no second call can come in between.
        if key in self._states:
            return web.json_response(self._states[key], status=409)
        if document["requested_at"] < self._newest.get(document["deployment"], ""):
            detail = "a newer request for this deployment was taken before"
            return web.json_response({"state": "failed", "detail": detail}, status=412)
        self._newest[document["deployment"]] = document["requested_at"]
        self._states[key] = {"state": "accepted", "detail": "working on it"}
        task = asyncio.create_task(self._run(key, document))
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return web.json_response(self._states[key], status=202)

    async def _status(self, request: web.Request) -> web.Response:
        key = request.match_info["id"]
        if not self._is_signed(request, b"") or request.headers["webhook-id"] != key:
            raise web.HTTPUnauthorized(text="signature does not match")
        if key not in self._states:
            raise web.HTTPNotFound(text="never seen")
        return web.json_response(self._states[key])

    async def _run(self, key: str, document: dict[str, Any]) -> None:
        try:
            detail = await self._roll_back(document)
        except Exception as error:  # noqa: BLE001 - whatever it is, the monitor must hear of it
            self._states[key] = {"state": "failed", "detail": str(error) or type(error).__name__}
        else:
            self._states[key] = {"state": "succeeded", "detail": detail}

    async def _verified(self, request: web.Request) -> dict[str, Any]:
        """Return the document of a call that may be obeyed; anything else is refused here."""
        body = await request.read()
        if not self._is_signed(request, body):
            raise web.HTTPUnauthorized(text="signature does not match")
        try:
            document = json.loads(body)
            texts = [document[name] for name in ("id", "deployment", "requested_at")]
        except (ValueError, TypeError, LookupError):
            texts = []
        if not texts or not all(isinstance(text, str) for text in texts):
            raise web.HTTPBadRequest(text="expected id, deployment and requested_at")
        if document["id"] != request.headers.get("idempotency-key"):
            raise web.HTTPBadRequest(text="expected the id as Idempotency-Key")
        return dict(document)

    def _is_signed(self, request: web.Request, body: bytes) -> bool:
        return is_signed(self._secrets, request, body, self._now())

    async def _stop(self, _app: web.Application) -> None:
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)


async def roll_back(document: dict[str, Any]) -> str:
    """Roll back: this is the part to fill in."""
    print(f"{document['deployment']}: {document['from_revision']} -> {document['to_revision']}")
    return f"{document['to_revision']} is live"


if __name__ == "__main__":
    receiver = Receiver(os.environ["ROLLBACK_SECRETS"].split(), roll_back)
    web.run_app(receiver.app(), host="127.0.0.1", port=8480)
