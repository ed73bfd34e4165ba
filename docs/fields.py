"""Fields of configuration models in a reader's words: the tables of the generated pages.

Owns how a JSON Schema is told. Knows no kind and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from monitor.fields import format_duration
from monitor.probes.http.assertions import format_statuses

MISSING = "(not described)"
_SECRET = {"env", "file"}
_WORDS = {"15s": "duration", "64KiB": "size", "99.9%": "percentage"}
"""The examples of our own field types, and what people call these."""


def paragraphs(text: str) -> str:
    """Return the paragraphs of a docstring, each on one line."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def table(schema: Mapping[str, Any], defs: Mapping[str, Any], fields: tuple[str, ...]) -> str:
    """Return a table of `fields` (keys of the properties of `schema`)."""
    rows = ["| field | value | default | meaning |", "| --- | --- | --- | --- |"]
    required = schema.get("required", ())
    for key in fields:
        field = schema["properties"][key]
        default = "required" if key in required else _default(field)
        meaning = " ".join(field.get("description", MISSING).split())
        rows.append(f"| `{key}` | {cell(_type(field, defs))} | {default} | {cell(meaning)} |")
    return "\n".join(rows)


def _default(field: Mapping[str, Any]) -> str:
    value = field.get("default")
    word = _type(field, {}).partition(" ")[0] if "pattern" in field else ""
    if word in {"duration", "size"} and isinstance(value, int | float):
        return f"`{format_duration(value) if word == 'duration' else _size(int(value))}`"
    if isinstance(value, list) and all(isinstance(each, list) for each in value) and value:
        return f"`{format_statuses(value)}`"
    if value is None or value in ({}, [], ""):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{_plain(value)}`"


def _plain(value: object) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.removesuffix("\n...\n").strip()


def _size(count: int) -> str:
    return f"{count // 1024}KiB" if count and not count % 1024 else f"{count}B"


def cell(text: str) -> str:
    """Return `text` as it may stand in a table."""
    return text.replace("|", "\\|")


def _type(field: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    """Return what may stand there, in a reader's words."""
    if "$ref" in field:
        return _type(_resolved(field, defs), defs)
    if "anyOf" in field:
        choices = [_type(each, defs) for each in field["anyOf"] if each != {"type": "null"}]
        return " or ".join(dict.fromkeys(choices))
    values = field.get("enum") or ([field["const"]] if "const" in field else [])
    return ", ".join(dict.fromkeys(f"`{value}`" for value in values)) or _kind(field, defs)


def _kind(field: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    kind, values = field.get("type"), field.get("additionalProperties")
    if kind == "array":
        return f"list of {_type(field.get('items', {}), defs)}"
    if set(field.get("properties", ())) == _SECRET:
        return "secret"
    if kind == "object":
        is_open = isinstance(values, dict) and "properties" not in field
        return f"mapping to {_type(values or {}, defs)}" if is_open else "mapping"
    if field.get("examples"):
        shown = _plain(field["examples"][0])
        return f"{_WORDS.get(shown, 'text')} such as `{shown}`"
    words = {"boolean": "`true`, `false`", "integer": "whole number", "number": "number"}
    return words.get(str(kind), "text")


def _resolved(field: Mapping[str, Any], defs: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = defs[field["$ref"].rpartition("/")[2]]
    return found


def nested(
    schema: Mapping[str, Any], defs: Mapping[str, Any], fields: tuple[str, ...]
) -> Iterator[str]:
    """Yield a list for each mapping with keys of its own, named like the field that holds it."""
    for key in fields:
        for path, model in _models(f"`{key}`", schema["properties"][key], defs):
            lines = [f"{path} has:", ""]
            required = model.get("required", ())
            for name, field in model["properties"].items():
                meaning = " ".join(field.get("description", MISSING).split())
                must = ", required" if name in required else ""
                lines.append(f"- `{name}` ({_type(field, defs)}{must}): {meaning}")
            yield "\n".join(lines) + "\n"


def _models(
    path: str, field: Mapping[str, Any], defs: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (where it stands, its schema) of each mapping within `field`."""
    if "$ref" in field:
        found = _resolved(field, defs)
        inner = found.get("properties", {})
        if inner and set(inner) != _SECRET:
            yield path, found
            for name, each in inner.items():
                yield from _models(f"`{name}` in {path[0].lower()}{path[1:]}", each, defs)
        return
    for each in field.get("anyOf", ()):
        yield from _models(path, each, defs)
    for inner in (field.get("items"), field.get("additionalProperties")):
        if isinstance(inner, dict):
            yield from _models(f"Each of {path}", inner, defs)
