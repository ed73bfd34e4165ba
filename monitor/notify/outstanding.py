"""Who still waits for a mail that a server took for the others only.

Pure. What is outstanding travels as the delivery's opaque key, and counts only for the very message
that it was written for: who is owed something newer is sent that like everybody else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from monitor.model import Message

NOBODY = "all"
"""The key of a mail for which nobody waits any more."""
TRIES = 5
"""After so many refusals the rest is given up: what comes next must not wait for it."""
_MARK = "later"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outstanding:
    """Some of the recipients, refused for now, of a message that others have."""

    addresses: tuple[str, ...]
    tries: int
    """How often they were refused already, at least once."""


def read(key: str | None, message: Message, recipients: Sequence[str]) -> Outstanding | None:
    """Return who still waits for `message`; None when it is to go to all of `recipients`."""
    mark, _, rest = (key or "").partition(" ")
    told, *words = rest.split(" ")
    if mark != _MARK or told != _fingerprint(message) or not words or not words[0].isdecimal():
        return None
    waiting = tuple(address for address in recipients if address in words[1:])
    return Outstanding(addresses=waiting, tries=int(words[0])) if waiting else None


def written(message: Message, waiting: Outstanding) -> str:
    """Return the key that says so."""
    return " ".join((_MARK, _fingerprint(message), str(waiting.tries), *waiting.addresses))


def _fingerprint(message: Message) -> str:
    incident = message.incident
    parts = (
        incident.id,
        message.reason,
        len(incident.alerts),
        sum(alert.is_open for alert in incident.alerts),
        incident.acknowledgement,
        len(incident.escalated),
    )
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
