"""What an answer must look like to be GOOD: status, headers, body, JSON, CEL, latency. Pure.

Judges in this order and reports the first failure. Texts for people repeat a JSON value at most
shortly and escaped, never a header or a body. Takes time linear in the answer, but for CEL, which
bounds itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeGuard

from monitor.probes.failure import ProbeError
from monitor.probes.http.conditions import Condition, is_found, show
from monitor.probes.http.expression import Expression, Facts
from monitor.probes.http.jsonpath import JsonPath, look_up
from monitor.probes.reason import Reason
from monitor.probes.stall import MARGIN_S

StatusRanges = tuple[tuple[int, int], ...]
"""(first, last), both included."""

_REVISION_MAX = 128


@dataclass(frozen=True, slots=True)
class JsonCheck:
    """A condition on the value at `path`; `text` is the path as it was written."""

    text: str
    path: JsonPath
    condition: Condition


@dataclass(frozen=True, slots=True)
class HeaderCheck:
    """One of the values of the header called `name` (lower case) must match."""

    name: str
    pattern: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """Everything that is asked of an answer."""

    status: StatusRanges
    headers: tuple[HeaderCheck, ...] = ()
    contains: bytes | None = None
    matches: Any = None
    json: tuple[JsonCheck, ...] = ()
    revision: JsonPath | None = None
    expected_revision: str | None = None
    expression: Expression | None = None
    max_latency_s: float | None = None
    need_body: bool = field(init=False)
    """Whether anything looks at the body."""

    def __post_init__(self) -> None:
        """Settle once what is needed."""
        looks = self.contains or self.matches or self.json or self.revision is not None
        object.__setattr__(
            self,
            "need_body",
            bool(looks or (self.expression is not None and self.expression.needs_body)),
        )

    def judge(
        self,
        status: int,
        body: bytes,
        latency_s: float,
        *,
        is_capped: bool,
        headers: Sequence[tuple[bytes, bytes]] = (),
        phases: Sequence[tuple[str, float]] = (),
        tainted_s: float = 0.0,
    ) -> str | None:
        """Return the revision that the answer names, or None when it is not asked for.

        `is_capped` says that `body` is a prefix, `tainted_s` how much of `latency_s` may be ours.

        Raises:
            ProbeError: (status, header, body, json, version, cel, slow) for the first check that
                fails; (stalled) for one that may fail for our own delay only.
        """
        for first, last in self.status:
            if first <= status <= last:
                break
        else:
            detail = f"HTTP {status}, expected {format_statuses(self.status)}"
            raise ProbeError(Reason.STATUS, detail)
        for check in self.headers:
            _judge_header(check, headers)
        revision = self._judge_body(body, is_capped=is_capped) if self.need_body else None
        if self.expression is not None:
            facts = Facts(status, headers, body, latency_s, phases)
            _judge_expression(self.expression, facts, tainted_s)
        if self.max_latency_s is not None and latency_s > self.max_latency_s:
            took = f"took {latency_s * 1000:.0f} ms"
            if latency_s - tainted_s <= self.max_latency_s:
                detail = f"{took}, of which {tainted_s * 1000:.0f} ms may be our own delay"
                raise ProbeError(Reason.STALLED, detail)
            raise ProbeError(Reason.SLOW, f"{took}, expected at most {self.max_latency_s:g} s")
        return revision

    def _judge_body(self, body: bytes, *, is_capped: bool) -> str | None:
        if self.contains is not None and self.contains not in body:
            _fail_body("does not contain the expected text", is_capped=is_capped)
        if self.matches is not None and not is_found(self.matches, body):
            _fail_body("does not match the expected pattern", is_capped=is_capped)
        revision = self._judge_json(body, is_capped=is_capped)
        if self.expected_revision is not None and revision != self.expected_revision:
            detail = f"the version is {show(revision)}, expected {show(self.expected_revision)}"
            raise ProbeError(Reason.VERSION, detail)
        return revision

    def _judge_json(self, body: bytes, *, is_capped: bool) -> str | None:
        if not self.json and self.revision is None:
            return None
        if is_capped:
            raise ProbeError(Reason.JSON, "the body is longer than max_body")
        document = parse_document(body)
        for check in self.json:
            value = look_up(document, check.path)
            if not check.condition.holds(value):
                detail = f"{check.text} is {show(value)}, expected {check.condition.expected}"
                raise ProbeError(Reason.JSON, detail)
        if self.revision is None:
            return None
        return _revision(look_up(document, self.revision))


def parse_document(body: bytes) -> object:
    """Return the JSON document in `body`.

    Raises:
        ProbeError: (json) when it is none; NaN and Infinity are not JSON.
    """
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        # What the parser says may quote the body.
        raise ProbeError(Reason.JSON, "the body is not JSON") from None


def format_statuses(statuses: StatusRanges) -> str:
    """Return the text of some ranges: `200-299, 404`."""
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in statuses)


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError


def is_revision(value: object) -> TypeGuard[str]:
    """Whether it may become a metric label and go into messages: a short, printable text."""
    return isinstance(value, str) and 0 < len(value) <= _REVISION_MAX and value.isprintable()


def _revision(value: object) -> str:
    if is_revision(value):
        return value
    raise ProbeError(Reason.JSON, f"the revision is {show(value)}, expected a short text")


def _judge_header(check: HeaderCheck, headers: Sequence[tuple[bytes, bytes]]) -> None:
    name = check.name.encode("latin-1")
    values = [value for key, value in headers if key.lower() == name]
    if not any(is_found(check.pattern, value) for value in values):
        problem = "does not match the expected pattern" if values else "is missing"
        raise ProbeError(Reason.HEADER, f"the header {check.name} {problem}")


def _judge_expression(expression: Expression, facts: Facts, tainted_s: float) -> None:
    try:
        expression.judge(facts)
    except ProbeError as error:
        if expression.needs_times and tainted_s > MARGIN_S:
            detail = f"{error.detail}, but {tainted_s * 1000:.0f} ms may be our own delay"
            raise ProbeError(Reason.STALLED, detail) from None
        raise


def _fail_body(problem: str, *, is_capped: bool) -> NoReturn:
    suffix = " within max_body" if is_capped else ""
    raise ProbeError(Reason.BODY, f"the body {problem}{suffix}")
