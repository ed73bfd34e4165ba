"""A path to one place in a JSON document: `$.a.b[0]['c']`, or bare `a.b`.

Pure, knows nothing of HTTP, and must not grow into an expression language.
"""

from __future__ import annotations

import re

JsonPath = tuple[str | int, ...]
"""Member names and array indexes from the root."""

_STEP = re.compile(
    r"\.(?P<name>[^\W\d][\w-]*)"
    r"|\[(?P<index>\d{1,9})\]"
    r"|\['(?P<single>[^']*)'\]"
    r'|\["(?P<double>[^"]*)"\]'
)


class Missing:
    """There is nothing at a path; not the same as null."""


MISSING = Missing()


def parse_path(text: str) -> JsonPath:
    """Return the steps of a path.

    Raises:
        ValueError: when it is none.
    """
    rest = text[1:] if text.startswith("$") else text if text.startswith("[") else "." + text
    steps: list[str | int] = []
    at = 0
    while at < len(rest):
        match = _STEP.match(rest, at)
        if match is None:
            msg = "expected a JSON path such as $.status or $.checks[0]['name']"
            raise ValueError(msg)
        index = match["index"]
        name = match["name"] or match["single"] or match["double"] or ""
        steps.append(name if index is None else int(index))
        at = match.end()
    return tuple(steps)


def look_up(document: object, path: JsonPath) -> object:
    """Return the value at `path`, or `MISSING`."""
    for step in path:
        if isinstance(step, str):
            document = document.get(step, MISSING) if isinstance(document, dict) else MISSING
        elif isinstance(document, list) and step < len(document):
            document = document[step]
        else:
            return MISSING
    return document
