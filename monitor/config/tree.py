"""A YAML document as frozen nodes that remember their place. Owns look-ups in it, not its reading.

Lines, columns and indexes of nodes count from 0 as YAML's marks do; errors count from 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as AbstractMapping
from collections.abc import Sequence as AbstractSequence
from dataclasses import dataclass

from monitor.config.errors import ConfigError, Step, format_path

LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """A single value. `text` is what was written (after quotes): `99.90` stays `99.90`."""

    line: int
    col: int
    start: int
    end: int
    """Characters of the source, quotes and block indicator included."""
    style: str
    """Empty when plain, else the quote or the block indicator."""
    text: str
    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """A list."""

    line: int
    col: int
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One key with its value."""

    key: Scalar
    value: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """Unique keys in the order of the file; merge keys are already applied."""

    line: int
    col: int
    entries: AbstractMapping[str, Entry]


Node = Scalar | Sequence | Mapping


def to_plain(node: Node) -> Plain:
    """Return the node as plain data; the loader has bounded its depth and size."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return [to_plain(item) for item in node.items]
    return {key: to_plain(entry.value) for key, entry in node.entries.items()}


def child(node: Node | None, step: Step) -> Node | None:
    """Return what is at a key or index; None when there is no such thing."""
    if isinstance(node, Mapping) and isinstance(step, str):
        entry = node.entries.get(step)
        return entry.value if entry else None
    if isinstance(node, Sequence) and isinstance(step, int) and 0 <= step < len(node.items):
        return node.items[step]
    return None


def follow(node: Node | None, *steps: Step) -> Node | None:
    """Return what is at the end of `steps`; None when the way breaks off."""
    for step in steps:
        node = child(node, step)
    return node


def text_of(node: Node | None) -> str | None:
    """Return a scalar's text value; None for anything else."""
    return node.value if isinstance(node, Scalar) and isinstance(node.value, str) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file as read. `root` is None when it could not be read to the end."""

    file: str
    source: str
    root: Node | None
    errors: tuple[ConfigError, ...] = ()

    def error(
        self, steps: AbstractSequence[Step], message: str, *, at_key: bool = False
    ) -> ConfigError:
        """Return an error at the node that `steps` lead to, or at the last one that exists.

        With `at_key` the place is the last key itself instead of its value.
        """
        node, place = self.root, self.root
        for step in steps:
            if at_key and isinstance(node, Mapping) and step in node.entries:
                place = node.entries[str(step)].key
            node = child(node, step)
            if node is None:
                break
            if not at_key:
                place = node
        line, col = (place.line + 1, place.col + 1) if place else (1, 1)
        return ConfigError(
            file=self.file, line=line, col=col, path=format_path(steps), message=message
        )

    def error_in(self, steps: AbstractSequence[Step], offset: int, message: str) -> ConfigError:
        """Return an error at character `offset` of the text at `steps`."""
        node = follow(self.root, *steps)
        if not isinstance(node, Scalar):
            return self.error(steps, message)
        line, col = place_of(self.source, self._index(node, offset))
        return ConfigError(
            file=self.file, line=line, col=col, path=format_path(steps), message=message
        )

    def _index(self, node: Scalar, offset: int) -> int:
        """Return where character `offset` of a text stands in the source.

        Quoting and folding change white space only, so the n-th visible character of the text is
        the n-th of the source; where escapes break that, the start of the text must do.
        """
        raw = self.source[node.start : node.end]
        skipped = len(raw) - len(raw.partition("\n")[2]) if node.style in "|>" else 1
        skipped = skipped if node.style else 0
        body = raw[skipped : len(raw) - (1 if node.style in {"'", '"'} else 0)]
        if "".join(body.split()) != "".join(node.text.split()):
            return node.start
        visible = [index for index, char in enumerate(body) if not char.isspace()]
        before = sum(not char.isspace() for char in node.text[:offset])
        if before < len(visible):
            return node.start + skipped + visible[before]
        return node.start + skipped + (visible[-1] + 1 if visible else 0)


def place_of(source: str, index: int) -> tuple[int, int]:
    """Return line and column, from 1, of a character of the source."""
    line, start = 1, 0
    for match in LINE_BREAK.finditer(source, 0, index):
        line, start = line + 1, match.end()
    return line, index - start + 1
