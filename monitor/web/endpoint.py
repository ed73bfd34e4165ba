"""What is offered, as data: the routes and the OpenAPI document are both made from it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from monitor import __version__
from monitor.web.guard import JSON, Proof
from monitor.web.respond import Handler

_IN_PATH = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one path."""

    path: str
    handler: Handler
    summary: str
    method: Literal["GET", "POST"] = "GET"
    media: str = "application/json"
    status: int = 200
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Query parameters and what they mean."""
    body: Mapping[str, Any] | None = None
    """JSON Schema of the body."""
    proof: Proof | None = None
    """What is asked for instead of the token."""


def openapi(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of `endpoints`."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    schemes = {
        _scheme_name(each): dict(each.scheme)
        for each in (endpoint.proof for endpoint in endpoints)
        if each is not None
    }
    refusal = {"type": "object", "required": ["error"], "properties": {"error": _TEXT}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "slo-monitor", "version": __version__, "description": _DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": {"Refusal": refusal},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}, **schemes},
        },
    }


_TEXT = {"type": "string"}
_DESCRIPTION = (
    "Times are seconds since the epoch, UTC. Names that end in _s are seconds, in _ms "
    "milliseconds; percentages are 0-100. No data is null."
)


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "responses": {
            str(endpoint.status): {
                "description": "Done.",
                "content": {endpoint.media: {}},
            },
            "default": {
                "description": "Refused; `error` says why.",
                "content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}
                },
            },
        },
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": _TEXT}
            for name in _IN_PATH.findall(endpoint.path)
        ]
        + [
            {"name": name, "in": "query", "description": meaning, "schema": _TEXT}
            for name, meaning in endpoint.parameters.items()
        ],
    }
    if endpoint.method == "POST":
        name = "token" if endpoint.proof is None else _scheme_name(endpoint.proof)
        operation["security"] = [{name: []}]
    if endpoint.body is not None:
        media = JSON if endpoint.proof is None else endpoint.proof.media
        operation["requestBody"] = {
            "required": True,
            "content": {media: {"schema": endpoint.body}},
        }
    return operation


def _scheme_name(proof: Proof) -> str:
    return proof.scheme["name"]
