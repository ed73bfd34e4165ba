"""A provider with faults on demand, and the strict fake of a Standard Webhooks receiver.

Owns the fault script that all strict fakes share. A fake refuses what the real one would refuse and
records only what it accepted; time comes with each request.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from monitor.scenario.provider import Reply, Request
from monitor.signature import verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One answer to give instead of the provider's own; nothing is accepted."""

    status: int
    retry_after: str | None = None
    body: bytes = b""

    def reply(self) -> Reply:
        """Return the answer."""
        headers = {} if self.retry_after is None else {"retry-after": self.retry_after}
        return Reply(status=self.status, body=self.body, headers=headers)


class Receiver(ABC):
    """Base of the strict fakes: counts requests and plays the fault script first."""

    def __init__(self) -> None:
        """Start healthy."""
        self.requests = 0
        """Everything that arrived, refused or not."""
        self.dead = False
        """Take every request in, accept nothing, close without an answer."""
        self.hang_s = 0.0
        """Do the work, then answer this much later."""
        self._faults: deque[Fault] = deque()
        self._lost_answers = 0

    def fail_next(
        self, status: int, count: int = 1, retry_after: float | str | None = None, body: bytes = b""
    ) -> None:
        """Answer the next `count` requests with `status`; `retry_after` is seconds or a date."""
        wait = None if retry_after is None else f"{retry_after}"
        self._faults.extend([Fault(status=status, retry_after=wait, body=body)] * count)

    def lose_next(self, count: int = 1) -> None:
        """Do the work of the next `count` requests, but close without an answer."""
        self._lost_answers += count

    def recover(self) -> None:
        """Be well again, whatever was scripted."""
        self.dead, self.hang_s, self._lost_answers = False, 0.0, 0
        self._faults.clear()

    def handle(self, request: Request) -> Reply:
        """Answer one request: faults first, then by the provider's rules."""
        self.requests += 1
        if self.dead:
            return Reply(status=503, drop=True)
        if self._faults:
            return self._faults.popleft().reply()
        reply = self._answer(request)
        lost = self._lost_answers > 0
        self._lost_answers -= lost
        return Reply(
            status=reply.status,
            body=reply.body,
            headers=reply.headers,
            delay_s=self.hang_s,
            drop=lost,
        )

    @abstractmethod
    def _answer(self, request: Request) -> Reply:
        """Apply the provider's own rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One document that a webhook receiver took."""

    at: float
    id: str
    document: dict[str, Any]


class WebhookFake(Receiver):
    """Verifies the signature and its age, and keeps one document for each id."""

    def __init__(self, *secrets: str, path: str = "/hook", tolerance_s: float = 300) -> None:
        """Accept what any of `secrets` signed; without one, accept unsigned requests."""
        super().__init__()
        self.received: list[Received] = []
        self.repeated = 0
        """Requests whose id was known already."""
        self._secrets: Sequence[str] = secrets
        self._path = path
        self._tolerance_s = tolerance_s

    def _answer(self, request: Request) -> Reply:
        if request.method != "POST" or request.path != self._path:
            return Reply(status=404, body=b"not found")
        if request.headers.get("content-type") != "application/json":
            return Reply(status=415, body=b"expected application/json")
        message_id = request.headers.get("webhook-id", "")
        if not message_id or (self._secrets and not self._is_signed(request, message_id)):
            return Reply(status=401, body=b"signature does not match")
        document = json.loads(request.body)
        if any(known.id == message_id for known in self.received):
            self.repeated += 1
            return Reply(status=409, body=b"already received")
        self.received.append(Received(at=request.at, id=message_id, document=document))
        return Reply(status=204)

    def _is_signed(self, request: Request, message_id: str) -> bool:
        return verify(
            self._secrets,
            message_id,
            request.headers.get("webhook-timestamp", ""),
            request.body,
            request.headers.get("webhook-signature", ""),
            request.at,
            self._tolerance_s,
        )
