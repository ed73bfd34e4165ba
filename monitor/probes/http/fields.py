"""Field types of every kind that asks over HTTP or judges JSON: checked before anything runs.

Owns their text forms and their JSON Schema. Knows no kind.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from monitor.fields import Model, Secret
from monitor.probes.http.assertions import JsonCheck, StatusRanges, format_statuses
from monitor.probes.http.conditions import (
    compile_regex,
    equals,
    exists,
    greater_than,
    less_than,
    matches,
)
from monitor.probes.http.expression import Expression
from monitor.probes.http.jsonpath import parse_path
from monitor.probes.http.request import check_header, check_header_name
from monitor.probes.http.url import join, parse_url

_STATUS = r"([1-9]\d\d)(?:-([1-9]\d\d))?"


def parse_statuses(value: object) -> StatusRanges:
    """Return the ranges of `200`, `200-299` or a list of these.

    Raises:
        ValueError: when one of them is neither, or there is none.
    """
    ranges = []
    for item in value if isinstance(value, list) else [value]:
        match = re.fullmatch(_STATUS, str(item)) if isinstance(item, int | str) else None
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            msg = "expected a status such as 200, a range such as 200-299, or a list of these"
            raise ValueError(msg)
        ranges.append((first, last))
    if not ranges:
        msg = "expected at least one status"
        raise ValueError(msg)
    return tuple(ranges)


def _check_regex(text: str) -> str:
    compile_regex(text)
    return text


def _check_json_path(text: str) -> str:
    parse_path(text)
    return text


def check_url_path(path: str) -> str:
    """Return `path` when it can follow a deployment's URL.

    Raises:
        ValueError: when it cannot.
    """
    if not path.startswith("/") or "#" in path:
        msg = "expected a path that starts with / and has no fragment"
        raise ValueError(msg)
    join("http://host", path)
    return path


def check_headers(headers: dict[str, str | Secret]) -> dict[str, str | Secret]:
    """Return `headers` when each can be sent, and none stands there twice.

    Raises:
        ValueError: when not, without any value.
    """
    for name, value in headers.items():
        check_header(name, value)
    if len({name.lower() for name in headers}) < len(headers):
        msg = "a header is given twice"
        raise ValueError(msg)
    return headers


_STATUS_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": 100, "maximum": 999},
        {"type": "string", "pattern": f"^{_STATUS}$"},
    ]
}
Statuses = Annotated[
    StatusRanges,
    BeforeValidator(parse_statuses),
    PlainSerializer(lambda ranges: format_statuses(ranges).split(", ")),
    WithJsonSchema(
        {
            "anyOf": [*_STATUS_SCHEMA["anyOf"], {"type": "array", "items": _STATUS_SCHEMA}],
            "examples": ["200-299"],
        }
    ),
]


def _check_header_names(patterns: dict[str, str]) -> dict[str, str]:
    for name in patterns:
        check_header_name(name)
    return patterns


def _check_proxy(text: str) -> str:
    url = parse_url(text)
    if url.scheme != "http" or url.target != "/":
        msg = "expected a proxy such as http://proxy.example:3128"
        raise ValueError(msg)
    return text


def _check_cel(text: str) -> str:
    Expression(text)
    return text


def _as_version(value: object) -> object:
    """Take the numbers, because in YAML a version looks like one."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}" if is_number else value


HttpVersion = Annotated[
    Literal["1.1", "2"],
    BeforeValidator(_as_version),
    WithJsonSchema({"enum": ["1.1", "2", 1.1, 2]}),
]
UrlPath = Annotated[str, AfterValidator(check_url_path)]
Headers = Annotated[dict[str, str | Secret], AfterValidator(check_headers)]
Regex = Annotated[str, AfterValidator(_check_regex)]
JsonPathText = Annotated[str, AfterValidator(_check_json_path)]
HeaderPatterns = Annotated[dict[str, Regex], AfterValidator(_check_header_names)]
ProxyUrl = Annotated[str, AfterValidator(_check_proxy)]
Cel = Annotated[str, AfterValidator(_check_cel)]


class JsonAssertion(Model):
    """Conditions on one place of a JSON body; all of those given must hold."""

    path: JsonPathText
    """Where to look in the body."""
    equals: str | bool | int | float | None = None
    """The value that must stand there."""
    exists: bool | None = None
    """Whether anything must stand there, or nothing may."""
    matches: Regex | None = None
    """RE2, somewhere in a text."""
    less_than: float | None = None
    """The number there must be less than this."""
    greater_than: float | None = None
    """The number there must be greater than this."""

    @model_validator(mode="after")
    def _has_condition(self) -> Self:
        if self.model_fields_set <= {"path"}:
            msg = "expected one of equals, exists, matches, less_than, greater_than"
            raise ValueError(msg)
        return self

    def compiled(self) -> tuple[JsonCheck, ...]:
        """Return one check for each condition."""
        found = []
        if self.exists is not None:
            found.append(exists(wanted=self.exists))
        if "equals" in self.model_fields_set:
            found.append(equals(self.equals))
        if self.matches is not None:
            found.append(matches(self.matches))
        if self.less_than is not None:
            found.append(less_than(self.less_than))
        if self.greater_than is not None:
            found.append(greater_than(self.greater_than))
        path = parse_path(self.path)
        return tuple(JsonCheck(self.path, path, condition) for condition in found)
