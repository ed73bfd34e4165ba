"""Writes docs/probes.md from the kinds of probes themselves, and has the other pages written.

    make docs

What a kind is for, its fields and its example stand in the kind's own file; the reasons stand in
`monitor/probes/reason.py`. A test fails when a page is stale.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from docs import channels
from docs.fields import MISSING, cell, nested, paragraphs, table
from monitor.config.kinds import discover
from monitor.config.loader import parse
from monitor.config.tree import to_plain
from monitor.probes import reason
from monitor.probes.base import ProbeConfig
from monitor.probes.reason import Reason

HERE = Path(__file__).resolve().parent
PAGE = HERE / "probes.md"
COMMON = ("kind", "name", "interval", "timeout")

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
    common = table(schema, schema.get("$defs", {}), COMMON)
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
        f"{paragraphs(text)}\n",
        f"```yaml\nprobes:\n{block}```\n",
        table(schema, defs, fields),
    ]
    parts += [f"\n{line}" for line in nested(schema, defs, fields)]
    return "\n".join(parts)


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
        meaning = cell(texts[each.value])
        yield f"| `{each.value}` | {each.outcome.upper()} | {latency} | {meaning} |\n"


if __name__ == "__main__":
    for path, text in ((PAGE, page()), (channels.PAGE, channels.page())):
        path.write_text(text)
        sys.stdout.write(f"{path.name} is written\n")
