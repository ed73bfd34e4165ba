"""A strict Slack incoming webhook: its limits, its rate and its error words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from monitor.rate import Bucket
from monitor.scenario.provider import Reply, Request
from monitor.scenario.receiver import Receiver
from monitor.scenario.slack_blocks import complaint, live_markup, parsed, texts

_TEXT_LIMIT = 40_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackMessage:
    """One accepted message."""

    at: float
    payload: dict[str, Any]

    @property
    def text(self) -> str:
        """All its words, the fallback first."""
        return "\n".join(texts(self.payload))


class SlackFake(Receiver):
    """Accepts about one message a second, with a small burst."""

    def __init__(
        self,
        path: str = "/services/T000/B000/XXXX",
        burst: int = 5,
        rate_per_s: float = 1,
    ) -> None:
        """Answer at `path`; any other is `no_service`."""
        super().__init__()
        self.messages: list[SlackMessage] = []
        self.mentions: list[str] = []
        """Texts with live markup in them: each is a defect of the sender."""
        self._path = path
        self._bucket = Bucket(capacity=burst, per_s=rate_per_s)

    def _answer(self, request: Request) -> Reply:
        if request.path != self._path:
            return Reply(status=404, body=b"no_service")
        if request.method != "POST":
            return Reply(status=405, body=b"method_not_allowed")
        if wait_s := self._bucket.wait_s(request.at):
            headers = {"retry-after": str(int(wait_s) + 1)}
            return Reply(status=429, body=b"rate_limited", headers=headers)
        self._bucket = self._bucket.take(request.at)
        payload = parsed(request)
        error = "invalid_payload" if payload is None else self._complaint(payload)
        if payload is None or error:
            return Reply(status=400, body=error.encode())
        self.messages.append(SlackMessage(at=request.at, payload=payload))
        return Reply(status=200, body=b"ok")

    def _complaint(self, payload: dict[str, Any]) -> str:
        live = live_markup(payload)
        self.mentions += live
        return "invalid_payload" if live else complaint(payload, _TEXT_LIMIT)
