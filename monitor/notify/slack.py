"""Slack by incoming webhook (and what speaks the same, such as Mattermost).

Owns Block Kit, its limits and its escaping. Slack keeps no key, so a repetition is a second
message: it says of itself that it may be one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from monitor.fields import Duration, Secret
from monitor.model import Delivery, DeliveryResult, Message
from monitor.notify.base import ChannelConfig, Notifier, NotifyIO
from monitor.notify.http import Answer, Endpoint, described, post
from monitor.notify.render import Text, render

HEADER_LIMIT = 150
SECTION_LIMIT = 3000
FIELD_LIMIT = 2000
FIELDS_LIMIT = 10
BLOCKS_LIMIT = 50

_MARK = {
    "firing": ":red_circle:",
    "changed": ":red_circle:",
    "escalated": ":red_circle:",
    "acknowledged": ":large_yellow_circle:",
    "still firing": ":large_orange_circle:",
    "resolved": ":large_green_circle:",
    "test": ":white_circle:",
}
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_BROADCAST = re.compile(r"@(?=channel|here|everyone|all)", re.IGNORECASE)


class SlackConfig(ChannelConfig):
    """Posts to one Slack channel through an incoming webhook."""

    example: ClassVar[str] = "{kind: slack, url: {env: SLACK_WEBHOOK}}"

    kind: Literal["slack"]
    url: Secret
    """Address of the webhook; whoever knows it can post."""
    timeout_s: Duration = Field(alias="timeout", default=15.0)
    """How long one attempt may take."""

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: Secret) -> Secret:
        Endpoint.parse(url)
        return url

    def build(self, name: str, io: NotifyIO) -> Notifier:  # noqa: ARG002 - the contract of kinds
        """Return the notifier."""
        return SlackNotifier(self, io)


class SlackNotifier:
    """Posts one message for each send."""

    deduplicates = False
    repeats = True
    updates = True
    repeat_s: float | None = None

    def __init__(self, config: SlackConfig, io: NotifyIO) -> None:
        """Use `config` with the client of `io`."""
        self._endpoint = Endpoint.parse(config.url)
        self._timeout_s = config.timeout_s
        self._http = io.http

    async def send(self, message: Message, deadline_s: float, remote_key: str | None) -> Delivery:  # noqa: ARG002 - Slack keeps no key
        """Post `message` once."""
        answer = await post(
            self._http,
            self._endpoint,
            json.dumps(payload(render(message))).encode(),
            {"content-type": "application/json"},
            min(self._timeout_s, deadline_s),
        )
        return answer if isinstance(answer, Delivery) else self._judge(answer, message.at)

    def _judge(self, answer: Answer, now: float) -> Delivery:
        delivery = answer.delivery(described(answer, self._endpoint.secrets), now)
        if delivery.result is not DeliveryResult.DELIVERED:
            return delivery
        if answer.body is None:
            detail = f"{answer.status}, but the answer broke off; it may have arrived"
            return Delivery(result=DeliveryResult.UNCERTAIN, detail=detail)
        # A proxy's login page is a 200 as well: only Slack's own word counts.
        if answer.body.strip() != "ok":
            return Delivery(result=DeliveryResult.PERMANENT, detail=delivery.detail)
        return delivery


def payload(text: Text) -> dict[str, Any]:
    """Return the body of the request: Block Kit, and `text` for notifications and old clients."""
    rest = text.lines
    blocks = [_header(text.title)]
    if text.caution:
        blocks.append(_section(f":warning: {escape(text.caution, SECTION_LIMIT - 20)}"))
    if text.summary:
        blocks.append(_section(escape(text.summary, SECTION_LIMIT)))
    blocks += [_fields(rest[at : at + FIELDS_LIMIT]) for at in range(0, len(rest), FIELDS_LIMIT)]
    blocks += [_section(escape(note, SECTION_LIMIT)) for note in text.notes]
    if text.links:
        blocks.append(_section(_joined([_link(*link) for link in text.links])))
    return {
        "text": f"{_MARK[text.state]} {escape(_fallback(text), SECTION_LIMIT - 40)}",
        "blocks": _within(blocks),
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def escape(text: str, limit: int) -> str:
    """Return `text` with no markup that Slack would act on, at most `limit` characters as sent.

    `&`, `<` and `>` become entities (which ends links and `<!channel>`); a zero-width space parts
    `@channel` and its like, for servers that look for them in plain text.
    """
    parted = _BROADCAST.sub("@\u200b", text[:limit])
    pieces = [_ENTITIES.get(char, char) for char in parted]
    if len(text) <= limit and sum(map(len, pieces)) <= limit:
        return "".join(pieces)
    kept, used = [], 1
    for piece in pieces:
        used += len(piece)
        if used > limit:
            break
        kept.append(piece)
    return "".join(kept) + "…"


def _fallback(text: Text) -> str:
    return "\n".join(part for part in (text.title, text.summary, text.caution) if part)


def _header(title: str) -> dict[str, Any]:
    words = {"type": "plain_text", "text": escape(title, HEADER_LIMIT), "emoji": False}
    return {"type": "header", "text": words}


def _section(markup: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(markup)}


def _fields(lines: Iterable[tuple[str, str]]) -> dict[str, Any]:
    return {
        "type": "section",
        "fields": [
            _mrkdwn(f"*{escape(label, 200)}*\n{escape(value, FIELD_LIMIT - 210)}")
            for label, value in lines
        ],
    }


def _mrkdwn(markup: str) -> dict[str, Any]:
    # Verbatim: names and addresses inside measured text do not become links or mentions.
    return {"type": "mrkdwn", "text": markup, "verbatim": True}


def _link(label: str, address: str) -> str:
    return f"<{address.replace('&', '&amp;')}|{escape(label.replace('|', ' '), 200)}>"


def _joined(links: list[str]) -> str:
    fitting: list[str] = []
    used = 0
    for link in links:
        used += len(link) + 3
        if used > SECTION_LIMIT - 20:
            return " | ".join([*fitting, f"… {len(links) - len(fitting)} more"])
        fitting.append(link)
    return " | ".join(fitting)


def _within(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rest = len(blocks) - (BLOCKS_LIMIT - 1)
    if len(blocks) <= BLOCKS_LIMIT:
        return blocks
    return [*blocks[: BLOCKS_LIMIT - 1], _section(f"… {rest} more")]
