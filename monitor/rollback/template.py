"""Placeholders in a hook's configuration: `{to_revision}` and its kin.

Owns their names and what may be put in their place. Revisions come from the monitored service
itself, so nothing that a shell, an option parser or a workflow could take for more than a name
is ever put in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from monitor.model import RollbackRequest

PLACEHOLDERS = frozenset({"id", "deployment", "environment", "service", "revision", "to_revision"})

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_PLAIN = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.+:/@-]{0,127})?")


def placeholders(texts: Iterable[str]) -> frozenset[str]:
    """Return the names of the placeholders in `texts`.

    Raises:
        ValueError: when one of them does not exist.
    """
    names = frozenset(name for text in texts for name in _PLACEHOLDER.findall(text))
    if unknown := sorted(names - PLACEHOLDERS):
        known = ", ".join(f"{{{name}}}" for name in sorted(PLACEHOLDERS))
        msg = f"unknown placeholder {{{unknown[0]}}} (expected one of {known})"
        raise ValueError(msg)
    return names


def values(request: RollbackRequest) -> dict[str, str]:
    """Return the value of every placeholder; an unknown target is the empty text.

    Raises:
        ValueError: when a value is more than a plain name, so that using it would be unsafe.
    """
    found = {
        "id": request.id,
        "deployment": request.deployment,
        "environment": request.environment,
        "service": request.service,
        "revision": request.from_revision,
        "to_revision": request.to_revision or "",
    }
    for name in ("id", "deployment", "revision", "to_revision"):
        if not _PLAIN.fullmatch(found[name]):
            msg = f"{name} {ascii(found[name])[:80]} is not a plain name; nothing was called"
            raise ValueError(msg)
    return found


def fill(text: str, by_name: Mapping[str, str]) -> str:
    """Return `text` with its placeholders replaced, once: values are not looked into again."""
    return _PLACEHOLDER.sub(lambda match: by_name[match[1]], text)
