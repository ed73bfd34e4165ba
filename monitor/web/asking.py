"""What people and programs send: read, checked, and refused in words that say what to mend."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from datetime import datetime

from monitor.fields import parse_duration
from monitor.web.respond import RefusalError


def only_known(body: Mapping[str, object], schema: Mapping[str, object]) -> None:
    """Refuse keys that `schema` (of an object) does not have.

    Raises:
        RefusalError: there are some; the text lists what is known.
    """
    properties = schema["properties"]
    if isinstance(properties, Mapping) and body.keys() - properties.keys():
        raise RefusalError(400, f"the known keys are {', '.join(properties)}")


def moment(value: object, key: str) -> float:
    """Return the UTC seconds of a time with an offset.

    Raises:
        RefusalError: `value` is none.
    """
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise RefusalError(400, f"{key} is a time with an offset, such as 2026-03-01T02:00:00Z")
    return at.timestamp()


def duration(value: object, key: str, longest_s: float, longest: str) -> float:
    """Return the seconds of a duration such as `2h`.

    Raises:
        RefusalError: `value` is none, or zero, or more than `longest_s`, which reads `longest`.
    """
    try:
        seconds = parse_duration(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= longest_s:
        raise RefusalError(400, f"{key} is a duration such as 30m or 2h, at most {longest}")
    return seconds


def line(value: object, key: str, longest: int) -> str:
    """Return a text of one line, without the white space around it.

    Raises:
        RefusalError: `value` is none, or empty, or longer than `longest` characters.
    """
    text = value.strip() if isinstance(value, str) else ""
    if not (0 < len(text) <= longest and text.isprintable()):
        raise RefusalError(400, f"{key} is a line of 1 to {longest} printable characters")
    return text


def flag(value: object, key: str) -> bool:
    """Return a yes or no.

    Raises:
        RefusalError: `value` is neither.
    """
    if not isinstance(value, bool):
        raise RefusalError(400, f"{key} is true or false")
    return value


async def queued(asked: Awaitable[None]) -> None:
    """Wait until the daemon has taken in what was asked of it.

    Raises:
        RefusalError: it is overloaded.
    """
    try:
        await asked
    except asyncio.QueueFull:
        text = "overloaded; send it again"
        raise RefusalError(503, text, headers={"Retry-After": "1"}) from None
