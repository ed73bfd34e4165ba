"""Block Kit: a message in words becomes the JSON that Slack takes, within all of its limits.

Owns escaping, Slack's limits and what goes first when not everything fits. Knows no address, no
method and no answer of Slack; both kinds that speak to Slack share it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from monitor.notify.render import Text

HEADER_LIMIT = 150
SECTION_LIMIT = 3000
FIELD_LIMIT = 2000
FIELDS_LIMIT = 10
MESSAGE_LIMIT = 11_000
"""Characters of all blocks as JSON. Slack refuses somewhere above 12,000 and counts its own way.
So few characters make fewer than the 50 blocks that a message may have."""
REPLY_LIMIT = 4000
"""The same for an answer in a thread, which stands below the whole message."""
SUMMARY_LIMIT = 1200
NOTES_LIMIT = 1500
LINKS_LIMIT = 2500

_LABEL_LIMIT = 200
_SHORT = 300
"""Values up to this long stand side by side; longer ones get the whole width."""
_MORE = 120
"""Room for the block that counts what is left out."""
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

Block = dict[str, Any]


def payload(text: Text, limit: int = MESSAGE_LIMIT) -> dict[str, Any]:
    """Return `text` (for notifications and old clients) and `blocks` of at most `limit` characters.

    Title, caution and links are always there; then the newest notes, then the lines from the first
    on. What does not fit is counted.
    """
    head = list(_head(text, limit))
    tail = list(_tail(text, limit))
    room = limit - _size([*head, *tail])
    return {
        "text": f"{_MARK[text.state]} {escape(_fallback(text), SECTION_LIMIT - 40)}",
        "blocks": [*head, *_body(text.lines, room), *tail],
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


def _head(text: Text, limit: int) -> Iterator[Block]:
    yield _header(text.title)
    if text.caution:
        yield _section(f":warning: {escape(text.caution, SUMMARY_LIMIT)}")
    if text.summary:
        yield _section(escape(text.summary, _share(SUMMARY_LIMIT, limit)))


def _tail(text: Text, limit: int) -> Iterator[Block]:
    if notes := _newest(text.notes, _share(NOTES_LIMIT, limit)):
        yield _section("\n".join(notes))
    if text.links:
        yield _section(_joined([_link(*link) for link in text.links], _share(LINKS_LIMIT, limit)))


def _share(part: int, limit: int) -> int:
    """Return what a part may take of a message of `limit` characters."""
    return part * limit // MESSAGE_LIMIT


def _body(lines: Sequence[tuple[str, str]], room: int) -> Iterator[Block]:
    """Yield as many of `lines` as fit: short ones side by side, long ones below each other.

    Long ones leave a fifth of the room to short ones that come later.
    """
    left = room - _MORE
    side_by_side: list[Block] = []
    blocks: list[Block] = []
    for label, value in lines:
        is_short = len(value) <= _SHORT
        block = _field(label, value) if is_short else _wide(label, value)
        # A field may be the first of its block and then needs that block's own braces too.
        needed = _size([block]) + (_size([_fields([])]) if is_short else 0)
        if needed > left - (0 if is_short else room // 5):
            continue
        left -= needed
        if is_short:
            side_by_side.append(block)
            continue
        blocks += _rows(side_by_side)
        side_by_side = []
        blocks.append(block)
    blocks += _rows(side_by_side)
    shown = sum(len(block.get("fields", [block])) for block in blocks)
    yield from blocks
    if shown < len(lines):
        yield _section(f"… {len(lines) - shown} more")


def _rows(fields: Sequence[Block]) -> Iterator[Block]:
    for at in range(0, len(fields), FIELDS_LIMIT):
        yield _fields(fields[at : at + FIELDS_LIMIT])


def _newest(notes: Sequence[str], limit: int) -> list[str]:
    """Return the last of `notes` that fit, oldest first, and how many are left out."""
    kept: list[str] = []
    left = limit - _MORE
    for note in reversed(notes):
        escaped = escape(note, max(left, 1) if not kept else SECTION_LIMIT)
        if len(escaped) > left:
            break
        left -= len(escaped) + 1
        kept.append(escaped)
    older = len(notes) - len(kept)
    return [*([f"… {older} more"] if older else []), *reversed(kept)]


def _header(title: str) -> Block:
    words = {"type": "plain_text", "text": escape(title, HEADER_LIMIT), "emoji": False}
    return {"type": "header", "text": words}


def _section(markup: str) -> Block:
    return {"type": "section", "text": _mrkdwn(markup)}


def _fields(fields: Sequence[Block]) -> Block:
    return {"type": "section", "fields": list(fields)}


def _field(label: str, value: str) -> Block:
    return _mrkdwn(_labelled(label, value, FIELD_LIMIT))


def _wide(label: str, value: str) -> Block:
    return _section(_labelled(label, value, SECTION_LIMIT))


def _labelled(label: str, value: str, limit: int) -> str:
    name = escape(label, _LABEL_LIMIT)
    return f"*{name}*\n{escape(value, limit - len(name) - 3)}"


def _mrkdwn(markup: str) -> Block:
    # Verbatim: names and addresses inside measured text do not become links or mentions.
    return {"type": "mrkdwn", "text": markup, "verbatim": True}


def _link(label: str, address: str) -> str:
    name = escape(label.replace("|", " "), _LABEL_LIMIT)
    return f"<{address.replace('&', '&amp;')}|{name}>"


def _joined(links: Sequence[str], limit: int) -> str:
    fitting: list[str] = []
    used = 0
    for link in links:
        used += len(link) + 3
        if used > limit - 20:
            return " | ".join([*fitting, f"… {len(links) - len(fitting)} more"])
        fitting.append(link)
    return " | ".join(fitting)


def _size(blocks: Iterable[Block]) -> int:
    return len(json.dumps(list(blocks), ensure_ascii=False))
