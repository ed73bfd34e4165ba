"""Reads monitor.yml and the files that it names; finds where every block stands.

Owns paths and files. Knows nothing about what is in a block.
"""

from __future__ import annotations

from collections.abc import Sequence as AbstractSequence
from dataclasses import dataclass, field
from pathlib import Path

from monitor.config.errors import ConfigError, Step, quote
from monitor.config.loader import load
from monitor.config.tree import Document, Mapping, Node, Scalar, Sequence, child, follow

ENVIRONMENTS, SLA, RULES = "environments", "sla", "rules"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A part of a file. Its document may have no root: then it could not be read."""

    document: Document
    steps: tuple[Step, ...] = ()

    @property
    def node(self) -> Node | None:
        """The part itself."""
        return follow(self.document.root, *self.steps)

    def error(
        self, steps: AbstractSequence[Step], message: str, *, at_key: bool = False
    ) -> ConfigError:
        """Return an error at `steps` below this block."""
        return self.document.error((*self.steps, *steps), message, at_key=at_key)


@dataclass(slots=True, kw_only=True)
class Sources:
    """All files of one configuration, as read."""

    root: Document
    blocks: dict[str, tuple[Block, ...]] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    errors: list[ConfigError] = field(default_factory=list)

    def block(self, key: str) -> Block | None:
        """Return the one block under `key`; None when the key is not written."""
        return next(iter(self.blocks.get(key, ())), None)

    def is_complete(self, key: str) -> bool:
        """Whether everything that `key` names could be read."""
        return all(block.document.root is not None for block in self.blocks.get(key, ()))


def read_sources(path: Path) -> Sources:
    """Read `path` and what it includes; never raises for what is in the files or missing."""
    try:
        root = load(path)
    except OSError as error:
        root = Document(file=str(path), source="", root=None)
        wrong = root.error((), f"cannot be read: {error.strerror}")
        return Sources(root=root, files=[path], errors=[wrong])
    sources = Sources(root=root, files=[path], errors=list(root.errors))
    for key in (ENVIRONMENTS, SLA, RULES):
        node = child(root.root, key)
        if node is not None:
            blocks = _blocks(sources, path.parent, key, node)
            sources.blocks[key] = tuple(blocks)
    return sources


def _blocks(sources: Sources, directory: Path, key: str, node: Node) -> list[Block]:
    if isinstance(node, Mapping):
        return [Block(document=sources.root, steps=(key,))]
    if isinstance(node, Sequence) and key == RULES:
        return [
            _include(sources, directory, (key, index), item)
            for index, item in enumerate(node.items)
        ]
    return [_include(sources, directory, (key,), node)]


def _include(sources: Sources, directory: Path, steps: tuple[Step, ...], node: Node) -> Block:
    """Read a file that is named at `steps`; an unreadable one becomes a block without a root."""
    unread = Block(document=Document(file=sources.root.file, source="", root=None))
    if not (isinstance(node, Scalar) and isinstance(node.value, str) and node.value):
        or_list = " or a list of paths" if steps == (RULES,) else ""
        message = f"wrong value (expected a path{or_list}, or the block itself)"
        sources.errors.append(sources.root.error(steps, message))
        return unread
    path = directory / node.value
    if path in sources.files:
        sources.errors.append(sources.root.error(steps, "this file is named twice"))
        return unread
    sources.files.append(path)
    try:
        document = load(path)
    except OSError as error:
        message = f"{quote(node.value)} cannot be read: {error.strerror}"
        sources.errors.append(sources.root.error(steps, message))
        return unread
    sources.errors.extend(document.errors)
    return Block(document=document)
