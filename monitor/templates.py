"""Texts with values in them: `{{ error_rate_5m }} of requests fail on {{ deployment }}`.

Pure. There is no logic in a template: a name stands for a text. `$labels.deployment` and `$value`,
as Prometheus writes them, are taken too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

VALUE = "value"
"""What `$value` is called: the first value that the condition reads."""
_PLACE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_NAME = re.compile(r"\s*(?:\$labels\.|\$)?([A-Za-z_][A-Za-z0-9_.]*)\s*")


class TemplateError(ValueError):
    """A template that says nothing; `at` is where, in characters from its beginning."""

    def __init__(self, text: str, at: int) -> None:
        """Say what is wrong, and where."""
        super().__init__(text)
        self.at = at


def names(template: str) -> Iterator[tuple[str, int]]:
    """Yield (name, where) of everything that `template` asks for.

    Raises:
        TemplateError: something in it is no name, or a brace is left open.
    """
    for place in _PLACE.finditer(template):
        yield _name(place), place.start()
    rest = _PLACE.sub(lambda place: " " * len(place[0]), template)
    if "{{" in rest:
        msg = "{{ without }}"
        raise TemplateError(msg, rest.index("{{"))


def fill(template: str, texts: Mapping[str, str]) -> str:
    """Return `template` with its names replaced.

    Raises:
        TemplateError: a name is not in `texts`, or something is no name.
    """
    for name, at in names(template):
        if name not in texts:
            msg = f"there is no {name}"
            raise TemplateError(msg, at)
    return _PLACE.sub(lambda place: texts[_name(place)], template)


def _name(place: re.Match[str]) -> str:
    found = _NAME.fullmatch(place[1])
    if found is None:
        msg = f"not a name: {place[1].strip()!r}"
        raise TemplateError(msg, place.start())
    return found[1]
