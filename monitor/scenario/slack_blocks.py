"""What Slack takes as a message, whichever way it comes: the rules that its strict fakes share.

Refuses more than Slack in one point: markup that Slack would act on (a mention, an unescaped `<`)
is a mistake of ours, so it is found and refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from monitor.scenario.provider import Request

BLOCKS_LIMIT = 50
HEADER_LIMIT = 150
SECTION_LIMIT = 3000
FIELD_LIMIT = 2000
FIELDS_LIMIT = 10
MESSAGE_LIMIT = 12_000
"""Characters of all blocks as JSON; Slack tells no figure and refuses somewhere above it."""

_LINK = re.compile(r"<https?://[^<>|\s]+(\|[^<>|\n]+)?>")
_ENTITY = re.compile(r"&(amp|lt|gt);")
_MENTION = re.compile(r"[<>&]|@(channel|here|everyone)\b", re.IGNORECASE)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def parsed(request: Request) -> dict[str, Any] | None:
    """Return the JSON object in the body; None when it is none or is not said to be."""
    kind = request.headers.get("content-type", "").partition(";")[0]
    try:
        payload = json.loads(request.body)
    except ValueError:
        return None
    return payload if kind == "application/json" and isinstance(payload, dict) else None


def texts(part: Any) -> Iterator[str]:
    """Yield all words of a message, the fallback first."""
    if isinstance(part, list):
        for item in part:
            yield from texts(item)
    elif isinstance(part, dict):
        for name, value in part.items():
            if name == "text" and isinstance(value, str):
                yield value
            else:
                yield from texts(value)


def live_markup(payload: Mapping[str, Any]) -> list[str]:
    """Return the texts in which something would happen: a mention, a control, a broken entity."""
    return [text for text in texts(payload) if _is_live(text)]


def complaint(payload: Mapping[str, Any], text_limit: int) -> str:
    """Return Slack's word for what is wrong with `text` and `blocks`; "" when nothing is."""
    text, blocks = payload.get("text"), payload.get("blocks", [])
    if not text and not blocks:
        return "no_text"
    if text is not None and (not isinstance(text, str) or len(text) > text_limit):
        return "msg_too_long"
    sound = isinstance(blocks, list) and len(blocks) <= BLOCKS_LIMIT and all(map(_is_block, blocks))
    if not sound:
        return "invalid_blocks"
    size = len(json.dumps(blocks, ensure_ascii=False))
    return "msg_blocks_too_long" if size > MESSAGE_LIMIT else ""


def _is_block(block: Any) -> bool:
    match block:
        case {"type": "header", "text": {"type": "plain_text", "text": str(text)}}:
            return 0 < len(text) <= HEADER_LIMIT
        case {"type": "section", "text": {"type": "mrkdwn" | "plain_text", "text": str(text)}}:
            return 0 < len(text) <= SECTION_LIMIT
        case {"type": "section", "fields": list(fields)}:
            return 0 < len(fields) <= FIELDS_LIMIT and all(map(_is_field, fields))
        case {"type": "divider"}:
            return True
        case _:
            return False


def _is_field(field: Any) -> bool:
    match field:
        case {"type": "mrkdwn" | "plain_text", "text": str(text)}:
            return 0 < len(text) <= FIELD_LIMIT
        case _:
            return False


def _is_live(text: str) -> bool:
    rest = _ENTITY.sub("", _LINK.sub("", text))
    return bool(_MENTION.search(rest) or _CONTROL.search(rest))
