"""HTML that is safe by construction: text becomes markup only here, and here it is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TypeAlias


class Markup(str):
    """HTML that was built by `tag`; any other text is escaped when it becomes a child."""

    __slots__ = ()


Child: TypeAlias = "str | Iterable[Child] | None"

VOID = frozenset({"input", "link", "meta", "path", "rect", "circle"})


def join(*children: Child) -> Markup:
    """Return the children as one piece; None is nothing."""
    return Markup("".join(_pieces(children)))


def tag(name: str, /, *children: Child, **attributes: str | None) -> Markup:
    """Return an element.

    Attributes: a trailing underscore is dropped (`class_`), other underscores become hyphens, and
    None leaves the attribute out.
    """
    text = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{text}/>")
    return Markup(f"<{name}{text}>{join(*children)}</{name}>")


def _pieces(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if isinstance(child, Markup):
            yield child
        elif isinstance(child, str):
            yield escape(child)
        elif child is not None:
            yield from _pieces(child)
