"""Reads YAML that may be hostile or merely surprising, in bounded time and memory.

Works on the parser's events, without recursion: depth, size and aliases are limited while they
come in, before anything is composed. Owns no meaning: which keys exist is the schema's business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from monitor.config.decoding import UndecodableError, decode
from monitor.config.errors import ConfigError, Step, format_path, may_show, quote
from monitor.config.scalars import AmbiguousError, resolve
from monitor.config.tree import Document, Entry, Mapping, Node, Scalar, Sequence, place_of

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_NODES = 100_000
"""Values after the expansion of aliases; a text counts once more for every 100 characters."""
MAX_TEXT = 1 << 16
MAX_ERRORS = 100
PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
_MERGE = "<<"


def load(path: Path) -> Document:
    """Read a file; what is wrong with its content is in the document's errors.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return parse(file.read(MAX_BYTES + 1), str(path))


def parse(data: bytes, file: str, parser: Any = PARSER) -> Document:
    """Read a document; never raises for what is in `data`."""
    try:
        source = decode(data, MAX_BYTES)
    except UndecodableError as error:
        wrong = ConfigError(file=file, line=error.line, col=error.col, path="", message=str(error))
        return Document(file=file, source="", root=None, errors=(wrong,))
    builder = _Builder(file)
    try:
        for event in yaml.parse(source, Loader=parser):
            builder.take(event)
        root = builder.finish()
    except _StopError as stop:
        return Document(file=file, source=source, root=None, errors=(*builder.errors, stop.error))
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # The two built-in ones: PyYAML's own scanner lets impossible escapes through to chr().
        wrong = _syntax_error(file, source, error)
        return Document(file=file, source=source, root=None, errors=(*builder.errors, wrong))
    return Document(file=file, source=source, root=root, errors=tuple(builder.errors))


class _StopError(Exception):
    """Reading on would be useless or dangerous."""

    def __init__(self, file: str, line: int, col: int, message: str, path: str = "") -> None:
        super().__init__(message)
        self.error = ConfigError(file=file, line=line, col=col, path=path, message=message)


def _syntax_error(file: str, source: str, error: Exception) -> ConfigError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    parts = [getattr(error, "context", None), getattr(error, "problem", None)]
    said = ", ".join(str(part) for part in parts if part) or "an impossible character"
    index = min(mark.index, len(source)) if mark else 0
    line, col = place_of(source, index)
    return ConfigError(file=file, line=line, col=col, path="", message=f"not valid YAML: {said}")


@dataclass(slots=True)
class _Frame:
    """A collection that is still open. A mapping's `nodes` are keys and values in turn."""

    line: int
    col: int
    is_mapping: bool
    anchor: str | None
    spent: int
    """What the whole document had cost when this began."""
    nodes: list[Node] = field(default_factory=list)
    height: int = 0

    @property
    def expects_key(self) -> bool:
        return self.is_mapping and len(self.nodes) % 2 == 0

    @property
    def step(self) -> Step:
        """Where the next node of this collection belongs."""
        if not self.is_mapping:
            return len(self.nodes)
        key = self.nodes[-1] if len(self.nodes) % 2 else None
        return key.text if isinstance(key, Scalar) else ""


@dataclass(frozen=True, slots=True)
class _Anchored:
    node: Node
    cost: int
    height: int


class _Builder:
    """Turns events into nodes; keeps what is wrong and goes on for as long as that is safe."""

    def __init__(self, file: str) -> None:
        self.errors: list[ConfigError] = []
        self._file = file
        self._stack: list[_Frame] = []
        self._anchors: dict[str, _Anchored | None] = {}
        """None while the anchored collection is still open."""
        self._spent = 0
        self._root: Node | None = None

    def take(self, event: Any) -> None:
        """Take the next event of the parser."""
        match event:
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.CollectionStartEvent():
                self._open(event)
            case yaml.CollectionEndEvent():
                self._close()
            case yaml.DocumentStartEvent() if self._root is not None:
                raise self._stop(event, "a second document: one file holds one document")

    def finish(self) -> Node:
        """Return the whole document."""
        root = self._root
        if root is None or (isinstance(root, Scalar) and root.value is None):
            raise _StopError(self._file, 1, 1, "the file is empty")
        return root

    def _path(self) -> list[Step]:
        return [frame.step for frame in self._stack if not frame.expects_key]

    def _stop(self, event: Any, message: str) -> _StopError:
        mark = event.start_mark
        path = format_path(self._path())
        return _StopError(self._file, mark.line + 1, mark.column + 1, message, path)

    def _report(self, line: int, col: int, message: str, *last: Step) -> None:
        path = format_path([*self._path(), *last])
        if len(self.errors) >= MAX_ERRORS:
            raise _StopError(self._file, line + 1, col + 1, "too many errors to go on", path)
        self.errors.append(
            ConfigError(file=self._file, line=line + 1, col=col + 1, path=path, message=message)
        )

    def _spend(self, event: Any, cost: int) -> None:
        self._spent += cost
        if self._spent > MAX_NODES:
            raise self._stop(event, f"more than {MAX_NODES} values once aliases are expanded")

    def _check_tag(self, event: Any) -> None:
        if event.tag is not None:
            mark = event.start_mark
            self._report(mark.line, mark.column, f"tags are not supported (got {quote(event.tag)})")

    def _scalar(self, event: Any) -> None:
        if len(event.value) > MAX_TEXT:
            raise self._stop(event, f"a text of more than {MAX_TEXT} characters")
        cost = 1 + len(event.value) // 100
        self._spend(event, cost)
        self._check_tag(event)
        mark = event.start_mark
        scalar = Scalar(
            line=mark.line,
            col=mark.column,
            start=mark.index,
            end=event.end_mark.index,
            style=event.style or "",
            text=event.value,
            value=self._value(event),
        )
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(scalar, cost, 0)
        self._add(scalar, 0)

    def _value(self, event: Any) -> str | int | float | bool | None:
        mark, text = event.start_mark, str(event.value)
        if _UNUSABLE.search(text):
            self._report(mark.line, mark.column, "a text with a NUL or half a character in it")
            return ""
        if event.style:
            return text
        is_key = bool(self._stack) and self._stack[-1].expects_key
        try:
            return resolve(text)
        except AmbiguousError as error:
            if not is_key:
                path = self._path()
                shown = quote(text) if may_show(text, path) else "this value"
                self._report(mark.line, mark.column, f"{shown} {error}")
            return text

    def _alias(self, event: Any) -> None:
        name = event.anchor
        if name not in self._anchors:
            raise self._stop(event, f"alias of an anchor that does not exist (got {quote(name)})")
        target = self._anchors[name]
        if target is None:
            raise self._stop(event, f"alias {quote(name)} contains itself")
        self._spend(event, target.cost)
        if len(self._stack) + target.height > MAX_DEPTH:
            raise self._stop(event, f"nested deeper than {MAX_DEPTH} levels")
        self._add(target.node, target.height)

    def _open(self, event: Any) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise self._stop(event, f"nested deeper than {MAX_DEPTH} levels")
        spent = self._spent
        self._spend(event, 1)
        self._check_tag(event)
        if event.anchor:
            self._anchors[event.anchor] = None
        mark = event.start_mark
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        self._stack.append(_Frame(mark.line, mark.column, is_mapping, event.anchor, spent))

    def _close(self) -> None:
        frame = self._stack[-1]
        node = self._mapping(frame) if frame.is_mapping else _sequence(frame)
        self._stack.pop()
        height = frame.height + 1
        if frame.anchor:
            self._anchors[frame.anchor] = _Anchored(node, self._spent - frame.spent, height)
        self._add(node, height)

    def _add(self, node: Node, height: int) -> None:
        if not self._stack:
            self._root = node
            return
        frame = self._stack[-1]
        frame.height = max(frame.height, height)
        frame.nodes.append(node)

    def _mapping(self, frame: _Frame) -> Mapping:
        entries: dict[str, Entry] = {}
        merged: list[Node] = []
        seen_merge: Scalar | None = None
        for key, value in zip(frame.nodes[::2], frame.nodes[1::2], strict=True):
            if not isinstance(key, Scalar) or not isinstance(key.value, str):
                shown = quote(key.value) if isinstance(key, Scalar) else "a collection"
                message = f"keys must be text (got {shown}, expected it in quotes)"
                self._report(key.line, key.col, message)
                continue
            is_merge = key.text == _MERGE and not key.style
            first = (
                seen_merge if is_merge else entries[key.text].key if key.text in entries else None
            )
            if first:
                message = f"duplicate key (first at {first.line + 1}:{first.col + 1})"
                self._report(key.line, key.col, message, key.text)
            elif is_merge:
                seen_merge = key
                merged = list(value.items) if isinstance(value, Sequence) else [value]
            else:
                entries[key.text] = Entry(key=key, value=value)
        for source in merged:
            self._merge(entries, source)
        return Mapping(line=frame.line, col=frame.col, entries=MappingProxyType(entries))

    def _merge(self, entries: dict[str, Entry], source: Node) -> None:
        """Add what is not there yet: explicit keys win, and earlier sources win."""
        if not isinstance(source, Mapping):
            message = "wrong merge (expected an alias of a mapping, or a list of them)"
            self._report(source.line, source.col, message, _MERGE)
            return
        for key, entry in source.entries.items():
            entries.setdefault(key, entry)


def _sequence(frame: _Frame) -> Sequence:
    return Sequence(line=frame.line, col=frame.col, items=tuple(frame.nodes))
