"""Looks things up in a JSON Schema by the place of a value: which keys exist there, is it secret.

Used for errors only, so that suggestions come from the very schema that editors see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from monitor.config.errors import Step
from monitor.config.kinds import KIND
from monitor.config.tree import Node, child, text_of

Schema = dict[str, Any]


def known_keys(root: Schema, node: Node | None, steps: Sequence[Step]) -> list[str]:
    """Return the keys that may stand in the mapping that `steps` lead to from `node`."""
    found = _walk(root, node, steps)
    keys = (key for schema in found[-1] for key in schema.get("properties", {}))
    return list(dict.fromkeys(keys))


def known_kinds(root: Schema, node: Node | None, steps: Sequence[Step]) -> list[str]:
    """Return the values of `kind` that may stand in the mapping that `steps` lead to."""
    kinds = {_kind(schema) for schema in _walk(root, node, steps)[-1]}
    return sorted(kind for kind in kinds if isinstance(kind, str))


def may_be_secret(root: Schema, node: Node | None, steps: Sequence[Step]) -> bool:
    """Whether the value or something around it is a secret, or is not described at all."""
    found = _walk(root, node, steps)
    return not found[-1] or any(schema.get("writeOnly") for schemas in found for schema in schemas)


def _walk(root: Schema, node: Node | None, steps: Sequence[Step]) -> list[list[Schema]]:
    """Return, for the start and after every step, the schemas that may hold there."""
    schemas = _of_kind(list(_variants(root, root)), node)
    found = [schemas]
    for step in steps:
        node = child(node, step)
        below = (inner for schema in schemas for inner in _below(schema, step))
        schemas = _of_kind([each for inner in below for each in _variants(root, inner)], node)
        found.append(schemas)
    return found


def _of_kind(schemas: list[Schema], node: Node | None) -> list[Schema]:
    """Keep only the kind that the mapping says it is, if that exists."""
    kind = text_of(child(node, KIND))
    if kind is None:
        return schemas
    return [schema for schema in schemas if _kind(schema) == kind] or schemas


def _variants(root: Schema, schema: Schema) -> Iterator[Schema]:
    if "$ref" in schema:
        yield from _variants(root, root["$defs"][schema["$ref"].rpartition("/")[2]])
        return
    yield schema
    for inner in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from _variants(root, inner)


def _below(schema: Schema, step: Step) -> Iterator[Schema]:
    if isinstance(step, int):
        candidates = [schema.get("items")]
    elif step in schema.get("properties", {}):
        candidates = [schema["properties"][step]]
    else:
        # Keys with a pattern of their own are described under it.
        patterns = schema.get("patternProperties", {})
        candidates = [schema.get("additionalProperties"), *patterns.values()]
    yield from (each for each in candidates if isinstance(each, dict))


def _kind(schema: Schema) -> str | None:
    kind = schema.get("properties", {}).get(KIND, {}).get("const")
    return kind if isinstance(kind, str) else None
