"""Configurations that nobody would write."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.config.errors import ConfigErrors
from monitor.config.load import load_plan
from monitor.config.schema import json_schema

SECRET = "canary-5ecret"


def _keys(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return {key for each in schema for key in _keys(each)}
    if not isinstance(schema, dict):
        return set()
    return {*schema.get("properties", {}), *_keys(list(schema.values()))}


KEYS = st.sampled_from(sorted({*_keys(json_schema()), "alerts", "p95", "Live", "env"}))
TEXTS = st.sampled_from(
    ["http", "slack", "github", "https://a.example", "/", "5s", "0s", "99.9%", "< 1s", "3+ regions",
     "error_rate_5m > 5", "critical", "Live", "SET", "UNSET", "m.yml", "", "\r\n", "é", "a", "$.a"]
)  # fmt: skip
ODD = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cn")), max_size=8)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6) | TEXTS | ODD
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5)
)
PROBE = st.fixed_dictionaries({"kind": st.just("http")}, optional={}).flatmap(
    lambda base: st.dictionaries(KEYS, VALUES, max_size=4).map(lambda more: {**more, **base})
)
ITEM = st.dictionaries(KEYS, VALUES, max_size=5)
DOCUMENT = st.fixed_dictionaries(
    {"service": st.just("shop")},
    optional={
        "environments": st.dictionaries(st.just("Live") | KEYS, ITEM | VALUES, max_size=3) | VALUES,
        "sla": ITEM | VALUES,
        "rules": st.fixed_dictionaries({"alerts": st.lists(ITEM, max_size=2)}) | VALUES,
        "channels": st.dictionaries(KEYS, ITEM, max_size=3) | VALUES,
        "deployments": st.lists(
            ITEM.flatmap(
                lambda item: st.fixed_dictionaries(
                    {"environment": st.just("Live"), "url": st.just("https://a.example")},
                    optional={"probes": st.lists(PROBE, max_size=2), "rollback": ITEM},
                ).map(lambda base: {**item, **base})
            ),
            max_size=2,
        ),
        "defaults": ITEM,
        "storage": ITEM,
        "server": ITEM,
        "fallback": VALUES,
    },
)


def _load(data: bytes) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "m.yml")
        path.write_bytes(data)
        try:
            told = repr(load_plan(path, {"SET": SECRET}))
        except ConfigErrors as errors:
            told = str(errors)
        assert told
        assert SECRET not in told


@settings(deadline=None, max_examples=50)
@given(document=DOCUMENT)
def test_any_structure_is_a_plan_or_errors(document: dict[str, Any]) -> None:
    """Wrong types and wrong places are told, never raised as something else."""
    _load(json.dumps(document, ensure_ascii=False).encode())


@settings(deadline=None)
@given(data=st.binary(max_size=100))
def test_any_bytes_are_a_plan_or_errors(data: bytes) -> None:
    """The same for what is no structure at all."""
    _load(data)
