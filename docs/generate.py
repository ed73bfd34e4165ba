"""Writes docs/probes.md from the kinds of probes themselves.

    make docs

What a kind is for, its fields and its example stand in the kind's own file; the reasons stand in
`monitor/probes/reason.py`. A test fails when the page is stale.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from monitor.config.kinds import discover
from monitor.config.loader import parse
from monitor.config.tree import to_plain
from monitor.fields import format_duration
from monitor.probes import reason
from monitor.probes.base import ProbeConfig
from monitor.probes.http.assertions import format_statuses
from monitor.probes.reason import Reason

HERE = Path(__file__).resolve().parent
PAGE = HERE / "probes.md"
COMMON = ("kind", "name", "interval", "timeout")
MISSING = "(not described)"
_SECRET = {"env", "file"}
_WORDS = {"15s": "duration", "64KiB": "size", "99.9%": "percentage"}
"""The examples of our own field types, and what people call these."""

_INTRO = """\
# Probes

Written by `make docs` from the kinds themselves; edit them, not this page.

A deployment is probed by what stands under its `probes`; without any, by one `http` probe of its
home page. Each probe is made for each of the deployment's regions. `monitor schema` prints the same
as a JSON Schema.

```yaml
deployments:
  - environment: Production
    probes:
      - {{kind: http, name: home, interval: 15s, timeout: 5s}}
      - {{kind: health, path: /api/health}}
```

What every kind has:

{common}

Every result is one of three:

- **GOOD**: the target answered as it must.
- **BAD**: it did not, and that is its own affair. The [reason](#reasons) says how.
- **UNKNOWN**: *we* could not measure (our resolver, our own overload, no network at all). It leaves
  the ratio, and lowers the coverage.

Kinds: {kinds}.

"""
_REASONS = """\
## Reasons

`reason` is a closed set, safe as a label. *Latency* says what a sample's latency is worth: it
*counts* where a whole answer came and was judged; it is *at least* what was waited where the time
was up; otherwise there is none.

| reason | outcome | latency | what it means |
| --- | --- | --- | --- |
"""


def example_of(kind: type[ProbeConfig]) -> Any:
    """Return the example of a kind as plain values, read as users' files are."""
    document = parse(kind.example.encode(), "example.yml")
    if document.root is None:
        msg = f"the example of {kind.__name__} is not readable"
        raise ValueError(msg)
    return to_plain(document.root)


def page() -> str:
    """Return the whole page."""
    kinds = discover(ProbeConfig)
    links = ", ".join(f"[`{name}`](#{name})" for name in kinds)
    schema = ProbeConfig.model_json_schema(by_alias=True)
    common = _table(schema, schema.get("$defs", {}), COMMON)
    parts = [_INTRO.format(common=common, kinds=links)]
    parts += [_section(name, model) for name, model in kinds.items()]
    parts.append(_REASONS + "".join(_reason_rows()))
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _section(name: str, model: type[ProbeConfig]) -> str:
    schema = model.model_json_schema(by_alias=True)
    defs = schema.get("$defs", {})
    fields = tuple(key for key in schema["properties"] if key not in COMMON)
    shown = yaml.safe_dump([example_of(model)], sort_keys=False, width=100, allow_unicode=True)
    block = "".join(f"  {line}\n" for line in shown.splitlines())
    text = inspect.cleandoc(model.__doc__ or "")
    parts = [
        f"## {name}\n",
        f"{_paragraphs(text)}\n",
        f"```yaml\nprobes:\n{block}```\n",
        _table(schema, defs, fields),
    ]
    parts += [f"\n{line}" for line in _nested(schema, defs, fields)]
    return "\n".join(parts)


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _table(schema: Mapping[str, Any], defs: Mapping[str, Any], fields: tuple[str, ...]) -> str:
    rows = ["| field | value | default | meaning |", "| --- | --- | --- | --- |"]
    required = schema.get("required", ())
    for key in fields:
        field = schema["properties"][key]
        default = "required" if key in required else _default(field)
        meaning = " ".join(field.get("description", MISSING).split())
        rows.append(f"| `{key}` | {_cell(_type(field, defs))} | {default} | {_cell(meaning)} |")
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


def _cell(text: str) -> str:
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


def _nested(
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


def meanings() -> dict[str, str]:
    """Return what each reason means, as its file says."""
    tree = ast.parse(inspect.getsource(reason))
    body = next(each for each in tree.body if isinstance(each, ast.ClassDef)).body
    found: dict[str, str] = {}
    for member, text in zip(body, [*body[1:], None], strict=True):
        if isinstance(member, ast.Assign) and isinstance(member.value, ast.Constant):
            is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
            found[str(member.value.value)] = (
                " ".join(str(text.value.value).split()) if is_text else MISSING
            )
    return found


def _reason_rows() -> Iterator[str]:
    texts = meanings()
    for each in Reason:
        latency = "at least" if each.is_timeout else "counts" if each.is_answer else ""
        meaning = _cell(texts[each.value])
        yield f"| `{each.value}` | {each.outcome.upper()} | {latency} | {meaning} |\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE.name} is written\n")
