"""The configuration of a flow: what may stand in a file, checked before anything runs."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from monitor.fields import Model, Secret, Size
from monitor.model import Deployment, Target
from monitor.probes.base import ProbeConfig, ProbeIO
from monitor.probes.call import Caller
from monitor.probes.flow.capture import Capture, Expectations
from monitor.probes.flow.probe import FlowProbe, Step
from monitor.probes.flow.template import NAME, placeholders
from monitor.probes.http.conditions import compile_regex
from monitor.probes.http.fields import (
    Headers,
    JsonAssertion,
    JsonPathText,
    Regex,
    Statuses,
    UrlPath,
)
from monitor.probes.http.jsonpath import parse_path
from monitor.probes.http.url import join

MAX_STEPS = 20
_SUCCESS = ((200, 299),)
_MAX_BODY_LIMIT = 1024 * 1024
_WITHOUT_BODY = frozenset({"GET", "HEAD"})
CaptureName = Annotated[str, StringConstraints(pattern=f"^{NAME}$")]


class CaptureFromHeader(Model):
    """The value of a response header."""

    header: Annotated[str, Field(min_length=1)]
    """The header whose value is captured."""


class CaptureFromText(Model):
    """The first group of a pattern in the body, or all that it matches when it has no group."""

    regex: Regex
    """RE2 whose first group, or whole match, is captured from the body."""


class FlowStep(Model):
    """One request, what its answer must look like, and what later steps need from it."""

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    """What is asked."""
    path: UrlPath = "/"
    """Appended to the deployment's URL; `{name}` stands for a captured value, percent-encoded."""
    headers: Headers = Field(default_factory=dict)
    """`{name}` stands for a captured value."""
    body: str | Secret | None = None
    """`{name}` stands for a captured value, escaped as Content-Type asks (JSON, form)."""
    status: Statuses = _SUCCESS
    """Redirects are answers: they are not followed."""
    body_contains: Annotated[str, Field(min_length=1)] | None = None
    """A text that must be somewhere in the body."""
    body_matches: Regex | None = None
    """RE2, somewhere in the body."""
    json_: list[JsonAssertion] = Field(default_factory=list, alias="json")
    """What must hold in the body, which must be JSON then."""
    capture: dict[CaptureName, JsonPathText | CaptureFromHeader | CaptureFromText] = Field(
        default_factory=dict
    )
    """By name: a JSON path, `{header: NAME}` or `{regex: PATTERN}`. Captured values are secrets."""

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.body is not None and self.method in _WITHOUT_BODY:
            msg = f"{self.method} sends no body; set method: POST"
            raise ValueError(msg)
        reads = self.body_contains or self.body_matches or self.json_
        if self.method == "HEAD" and (reads or self._captures_from_body):
            msg = "HEAD gets no body to read; set method: GET"
            raise ValueError(msg)
        return self

    @property
    def _captures_from_body(self) -> bool:
        return not all(isinstance(each, CaptureFromHeader) for each in self.capture.values())

    @property
    def template_names(self) -> frozenset[str]:
        """Names in places where braces can mean nothing else."""
        texts = [self.path, *(each for each in self.headers.values() if isinstance(each, str))]
        return frozenset().union(*(placeholders(each) for each in texts))

    @property
    def body_names(self) -> frozenset[str]:
        """Names in the body, where braces may also be its own."""
        return placeholders(self.body) if isinstance(self.body, str) else frozenset()

    def compiled(self) -> Step:
        """Return what the probe runs."""
        contains, pattern = self.body_contains, self.body_matches
        return Step(
            method=self.method,
            path=self.path,
            headers=self.headers,
            body=self.body,
            expects=Expectations(
                status=self.status,
                contains=None if contains is None else contains.encode(),
                matches=None if pattern is None else compile_regex(pattern),
                json=tuple(check for item in self.json_ for check in item.compiled()),
            ),
            captures=tuple(_capture(name, how) for name, how in self.capture.items()),
        )


class FlowProbeConfig(ProbeConfig):
    """Goes through several HTTP steps, such as signing in and reading a page, on one session.

    Cookies are kept within a run and sent to the deployment's own origin only. The latency is the
    sum of all steps; each step's own is a value (`step1_ms`); the detail names the failed step.
    """

    example: ClassVar[str] = (
        "{kind: flow, name: sign-in, steps: [{method: POST, path: /login, "
        'headers: {Content-Type: application/json}, body: \'{"user": "probe"}\', '
        "capture: {token: $.token}}, "
        "{path: /me, headers: {Authorization: 'Bearer {token}'}, "
        "json: [{path: $.user, equals: probe}]}]}"
    )

    kind: Literal["flow"] = "flow"
    steps: Annotated[list[FlowStep], Field(min_length=1, max_length=MAX_STEPS)]
    """One request after the other; the first that fails ends the run."""
    max_body_bytes: Annotated[Size, Field(gt=0, le=_MAX_BODY_LIMIT)] = 256 * 1024
    """Read no more than this of each answer."""
    ca_file: str | None = None
    """PEM file with the authorities to trust instead of the system's."""
    insecure: bool = False
    """Accept any certificate; its expiry is then not reported."""

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        known: set[str] = set()
        every = {name for step in self.steps for name in step.capture}
        for number, step in enumerate(self.steps, 1):
            used = step.template_names | (step.body_names & every)
            if unknown := sorted(used - known):
                msg = f"step {number} uses {{{unknown[0]}}}, which no earlier step captures"
                raise ValueError(msg)
            known |= step.capture.keys()
        return self

    def build(self, target: Target, deployment: Deployment, url: str, io: ProbeIO) -> FlowProbe:  # noqa: ARG002 - the signature of every kind
        """Return the probe of `target`.

        Raises:
            ValueError: when `url` is no base URL or `ca_file` cannot be loaded.
        """
        for step in self.steps:
            join(url, step.path)
        return FlowProbe(
            target=target.id,
            base=url,
            steps=tuple(step.compiled() for step in self.steps),
            max_body_bytes=self.max_body_bytes,
            caller=Caller(io, ca_file=self.ca_file, insecure=self.insecure),
        )


def _capture(name: str, how: str | CaptureFromHeader | CaptureFromText) -> Capture:
    if isinstance(how, CaptureFromHeader):
        return Capture(name=name, header=how.header.lower().encode("latin-1", "replace"))
    if isinstance(how, CaptureFromText):
        return Capture(name=name, regex=compile_regex(how.regex))
    return Capture(name=name, path=parse_path(how))
