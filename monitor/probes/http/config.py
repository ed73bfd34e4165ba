"""The configuration of an HTTP probe: what may stand in a file, checked before anything runs."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from monitor.fields import Duration, Model, Secret, Size
from monitor.model import Deployment, Target
from monitor.probes.base import ProbeConfig, ProbeIO
from monitor.probes.http.assertions import Checks, JsonCheck, StatusRanges, format_statuses
from monitor.probes.http.conditions import (
    compile_regex,
    equals,
    exists,
    greater_than,
    less_than,
    matches,
)
from monitor.probes.http.jsonpath import parse_path
from monitor.probes.http.probe import HttpProbe
from monitor.probes.http.request import Request, check_header
from monitor.probes.http.url import join

_STATUS = r"([1-9]\d\d)(?:-([1-9]\d\d))?"
_SUCCESS = ((200, 299),)
_REDIRECTION = (300, 399)
_MAX_BODY_LIMIT = 1024 * 1024


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


def _are_redirects(statuses: StatusRanges) -> bool:
    lowest, highest = _REDIRECTION
    return all(lowest <= first and last <= highest for first, last in statuses)


def _check_json_path(text: str) -> str:
    parse_path(text)
    return text


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
Regex = Annotated[str, AfterValidator(_check_regex)]
JsonPathText = Annotated[str, AfterValidator(_check_json_path)]


class JsonAssertion(Model):
    """Conditions on one place of a JSON body; all of those given must hold."""

    path: JsonPathText
    equals: str | bool | int | float | None = None
    exists: bool | None = None
    matches: Regex | None = None
    """RE2, somewhere in a text."""
    less_than: float | None = None
    greater_than: float | None = None

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


class HttpProbeConfig(ProbeConfig):
    """One HTTP or HTTPS request and what its answer must look like."""

    kind: Literal["http"] = "http"
    path: str = "/"
    """Appended to the deployment's URL; `/` stands for that URL as it is written."""
    method: Literal["GET", "HEAD", "POST"] = "GET"
    headers: dict[str, str | Secret] = Field(default_factory=dict)
    """Secrets, Authorization, Cookie and Host are sent to the deployment's own origin only."""
    body: str | None = None
    status: Statuses = _SUCCESS
    """Of the answer at the end of all redirects."""
    body_contains: Annotated[str, Field(min_length=1)] | None = None
    body_matches: Regex | None = None
    """RE2, somewhere in the body."""
    json_: list[JsonAssertion] = Field(default_factory=list, alias="json")
    max_latency_s: Duration | None = None
    """A longer answer is BAD (`slow`)."""
    follow_redirects: bool = True
    """At most 5."""
    ca_file: str | None = None
    """PEM file with the authorities to trust instead of the system's."""
    insecure: bool = False
    """Accept any certificate; its expiry is then not reported."""
    max_body_bytes: Annotated[Size, Field(gt=0, le=_MAX_BODY_LIMIT)] = 64 * 1024
    """Read no more than this; the answer is judged on what was read."""
    revision_json: JsonPathText | None = Field(default=None, alias="revision")
    """JSON path of the text that names the deployed revision."""

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: str) -> str:
        if not path.startswith("/") or "#" in path:
            msg = "expected a path that starts with / and has no fragment"
            raise ValueError(msg)
        join("http://host", path)
        return path

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, str | Secret]) -> dict[str, str | Secret]:
        for name, value in headers.items():
            check_header(name, value)
        if len({name.lower() for name in headers}) < len(headers):
            msg = "a header is given twice"
            raise ValueError(msg)
        return headers

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.body is not None and self.method != "POST":
            msg = f"{self.method} sends no body; set method: POST"
            raise ValueError(msg)
        if self.method == "HEAD" and self._checks().need_body:
            msg = "HEAD gets no body to check; set method: GET"
            raise ValueError(msg)
        if self.follow_redirects and _are_redirects(self.status):
            msg = "redirects are followed, so none is ever seen; set follow_redirects: false"
            raise ValueError(msg)
        return self

    def build(self, target: Target, deployment: Deployment, url: str, io: ProbeIO) -> HttpProbe:  # noqa: ARG002 - the signature of every kind
        """Return the probe of `target` at `url` and the configured path.

        Raises:
            ValueError: when `url` is no base URL or `ca_file` cannot be loaded.
        """
        return HttpProbe(
            target=target.id,
            url=join(url, self.path),
            request=Request.build(self.method, self.headers, (self.body or "").encode()),
            checks=self._checks(),
            io=io,
            max_body_bytes=self.max_body_bytes,
            follow_redirects=self.follow_redirects,
            ca_file=self.ca_file,
            insecure=self.insecure,
        )

    def _checks(self) -> Checks:
        contains, pattern, revision = self.body_contains, self.body_matches, self.revision_json
        return Checks(
            status=self.status,
            contains=None if contains is None else contains.encode(),
            matches=None if pattern is None else compile_regex(pattern),
            json=tuple(check for item in self.json_ for check in item.compiled()),
            revision=None if revision is None else parse_path(revision),
            max_latency_s=self.max_latency_s,
        )
