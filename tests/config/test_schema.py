"""The JSON Schema of monitor.yml."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from monitor.config.kinds import discover
from monitor.config.schema import json_schema
from monitor.notify.base import ChannelConfig
from monitor.probes.base import ProbeConfig
from monitor.rollback.base import HookConfig


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        schema = list(schema.values())
    if isinstance(schema, list):
        for each in schema:
            yield from parts(each)


def test_the_dialect_and_every_key_are_named() -> None:
    """Editors need to know what they read."""
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["required"] == ["service"]
    assert schema["additionalProperties"] is False
    assert {"deployments", "channels", "rules", "sla", "environments"} <= set(schema["properties"])


def test_every_kind_is_in_it() -> None:
    """The schema grows with the packages of kinds."""
    kinds = {
        part["properties"]["kind"]["const"]
        for part in parts(json_schema())
        if "const" in part.get("properties", {}).get("kind", {})
    }
    assert kinds == {*discover(ChannelConfig), *discover(ProbeConfig), *discover(HookConfig)}


def test_every_reference_leads_somewhere() -> None:
    """A schema with a dangling reference is useless to an editor."""
    schema = json_schema()
    for part in parts(schema):
        reference = part.get("$ref")
        if reference is not None:
            assert reference.removeprefix("#/$defs/") in schema["$defs"]


def test_defaults_are_as_a_file_would_say_them() -> None:
    """A duration's default is a duration, not a number."""
    properties = json_schema()["properties"]
    assert properties["evaluation_interval"]["default"] == "5s"
    assert properties["repeat_interval"]["default"] == "4h"
    texts = [part for part in parts(json_schema()) if part.get("type") == "string"]
    assert all(isinstance(part.get("default", ""), str) for part in texts)


def test_secrets_are_marked() -> None:
    """What is a secret is a reference that is written and never shown."""
    token = json_schema()["$defs"]["ServerModel"]["properties"]["token"]
    assert token["anyOf"][0]["writeOnly"] is True
