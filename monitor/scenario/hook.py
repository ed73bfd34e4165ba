"""A strict receiver of rollback calls: the other side of the `webhook` hook.

Verifies every signature, executes an idempotency key once and can be asked how it stands. Time
comes with each request.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from monitor.scenario.provider import Reply, Request
from monitor.scenario.receiver import Receiver
from monitor.signature import verify

FIELDS = frozenset(
    {
        "id",
        "deployment",
        "environment",
        "service",
        "rule",
        "incident",
        "from_revision",
        "to_revision",
        "reason",
        "requested_at",
    }
)
"""What a call must say, all of it and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One rollback that was carried out."""

    at: float
    document: Mapping[str, Any]


class HookFake(Receiver):
    """Rolls back when a signed call asks for it, and never twice for one key."""

    def __init__(
        self,
        *secrets: str,
        path: str = "/rollback",
        on_rollback: Callable[[Mapping[str, Any]], None] | None = None,
        work_s: float = 0.0,
    ) -> None:
        """Accept what any of `secrets` signed; `on_rollback` gets each executed document.

        With `work_s` a call is answered 202 and is done that much later; without it is 200.
        """
        super().__init__()
        self.executed: list[Execution] = []
        self.repeated: list[str] = []
        """Keys of calls that had been executed before."""
        self.failing = False
        """Whether rollbacks end badly."""
        self._secrets = secrets
        self._path = path
        self._on_rollback = on_rollback
        self._work_s = work_s

    def _answer(self, request: Request) -> Reply:
        if not self._is_signed(request):
            return _said(401, detail="signature does not match")
        if request.method == "GET" and request.path.startswith(f"{self._path}/"):
            return self._status(request.path.removeprefix(f"{self._path}/"), request)
        if request.method == "POST" and request.path == self._path:
            return self._execute(request)
        return _said(405, detail="no such operation")

    def _execute(self, request: Request) -> Reply:
        key = request.headers.get("idempotency-key")
        try:
            document = json.loads(request.body)
        except ValueError:
            return _said(400, detail="not JSON")
        if not isinstance(document, dict) or set(document) != FIELDS or document["id"] != key:
            return _said(422, detail="fields or idempotency key are not as agreed")
        if self._known(document["id"]) is not None:
            self.repeated.append(document["id"])
            return _said(409, detail="already received")
        self.executed.append(Execution(at=request.at, document=document))
        if self._on_rollback is not None and not self.failing:
            self._on_rollback(document)
        if self._work_s > 0:
            return _said(202, state="accepted", detail="working on it")
        return _said(500 if self.failing else 200, detail="rolled back")

    def _status(self, key: str, request: Request) -> Reply:
        known = self._known(key)
        if key != request.headers.get("webhook-id"):
            return _said(401, detail="signed for another id")
        if known is None:
            return _said(404, detail="never seen")
        if request.at < known.at + self._work_s:
            return _said(200, state="accepted", detail="working on it")
        if self.failing:
            return _said(200, state="failed", detail="could not roll back")
        return _said(200, state="succeeded", detail="rolled back")

    def _known(self, key: str) -> Execution | None:
        return next((each for each in self.executed if each.document["id"] == key), None)

    def _is_signed(self, request: Request) -> bool:
        return verify(
            self._secrets,
            request.headers.get("webhook-id", ""),
            request.headers.get("webhook-timestamp", ""),
            request.body,
            request.headers.get("webhook-signature", ""),
            request.at,
        )


def _said(status: int, **words: str) -> Reply:
    return Reply(
        status=status,
        body=json.dumps(words).encode(),
        headers={"content-type": "application/json"},
    )
