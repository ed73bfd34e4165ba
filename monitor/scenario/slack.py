"""A strict Slack incoming webhook: its limits, its rate and its error words.

Refuses more than Slack in one point: markup that Slack would act on (a mention, an unescaped `<`)
is a mistake of ours, so it is recorded and refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from monitor.scenario.provider import Reply, Request
from monitor.scenario.receiver import Receiver

_LINK = re.compile(r"<https?://[^<>|\s]+(\|[^<>|\n]+)?>")
_ENTITY = re.compile(r"&(amp|lt|gt);")
_MENTION = re.compile(r"[<>&]|@(channel|here|everyone)\b", re.IGNORECASE)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_TEXT_LIMIT = 40_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackMessage:
    """One accepted message."""

    at: float
    payload: dict[str, Any]

    @property
    def text(self) -> str:
        """All its words, the fallback first."""
        return "\n".join(_texts(self.payload))


class SlackFake(Receiver):
    """Accepts about one message a second, with a small burst."""

    def __init__(
        self,
        path: str = "/services/T000/B000/XXXX",
        burst: float = 5,
        rate_per_s: float = 1,
    ) -> None:
        """Answer at `path`; any other is `no_service`."""
        super().__init__()
        self.messages: list[SlackMessage] = []
        self.mentions: list[str] = []
        """Texts with live markup in them: each is a defect of the sender."""
        self._path = path
        self._burst = burst
        self._rate_per_s = rate_per_s
        self._tokens = burst
        self._filled_at: float | None = None

    def _answer(self, request: Request) -> Reply:
        if request.path != self._path:
            return Reply(status=404, body=b"no_service")
        if request.method != "POST":
            return Reply(status=405, body=b"method_not_allowed")
        if (wait_s := self._take(request.at)) > 0:
            headers = {"retry-after": str(int(wait_s) + 1)}
            return Reply(status=429, body=b"rate_limited", headers=headers)
        payload = _parsed(request)
        error = "invalid_payload" if payload is None else self._complaint(payload)
        if payload is None or error:
            return Reply(status=400, body=error.encode())
        self.messages.append(SlackMessage(at=request.at, payload=payload))
        return Reply(status=200, body=b"ok")

    def _take(self, now: float) -> float:
        passed_s = 0.0 if self._filled_at is None else now - self._filled_at
        self._tokens = min(self._burst, self._tokens + passed_s * self._rate_per_s)
        self._filled_at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate_per_s
        self._tokens -= 1
        return 0.0

    def _complaint(self, payload: dict[str, Any]) -> str:
        live = [text for text in _texts(payload) if _is_live(text)]
        self.mentions += live
        if live:
            return "invalid_payload"
        text, blocks = payload.get("text"), payload.get("blocks", [])
        if not text and not blocks:
            return "no_text"
        if text is not None and (not isinstance(text, str) or len(text) > _TEXT_LIMIT):
            return "msg_too_long"
        sound = isinstance(blocks, list) and len(blocks) <= 50 and all(map(_is_block, blocks))  # noqa: PLR2004 - Slack's limit
        return "" if sound else "invalid_blocks"


def _parsed(request: Request) -> dict[str, Any] | None:
    kind = request.headers.get("content-type", "").partition(";")[0]
    try:
        payload = json.loads(request.body)
    except ValueError:
        return None
    return payload if kind == "application/json" and isinstance(payload, dict) else None


def _is_block(block: Any) -> bool:
    match block:
        case {"type": "header", "text": {"type": "plain_text", "text": str(text)}}:
            return 0 < len(text) <= 150  # noqa: PLR2004 - Slack's limit
        case {"type": "section", "text": {"type": "mrkdwn" | "plain_text", "text": str(text)}}:
            return 0 < len(text) <= 3000  # noqa: PLR2004 - Slack's limit
        case {"type": "section", "fields": list(fields)}:
            return 0 < len(fields) <= 10 and all(map(_is_field, fields))  # noqa: PLR2004 - Slack's limit
        case {"type": "divider"}:
            return True
        case _:
            return False


def _is_field(field: Any) -> bool:
    match field:
        case {"type": "mrkdwn" | "plain_text", "text": str(text)}:
            return 0 < len(text) <= 2000  # noqa: PLR2004 - Slack's limit
        case _:
            return False


def _is_live(text: str) -> bool:
    rest = _ENTITY.sub("", _LINK.sub("", text))
    return bool(_MENTION.search(rest) or _CONTROL.search(rest))


def _texts(part: Any) -> Iterator[str]:
    if isinstance(part, list):
        for item in part:
            yield from _texts(item)
    elif isinstance(part, dict):
        for name, value in part.items():
            if name == "text" and isinstance(value, str):
                yield value
            else:
                yield from _texts(value)
