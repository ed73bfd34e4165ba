"""What an answer must look like to be GOOD: status, body, JSON, latency. Pure and linear in time.

Judges in this order and reports the first failure. Texts for people repeat a JSON value at most
shortly and escaped, never a body.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from monitor.probes.failure import ProbeError
from monitor.probes.http.conditions import Condition, is_found, show
from monitor.probes.http.jsonpath import JsonPath, look_up
from monitor.probes.reason import Reason

StatusRanges = tuple[tuple[int, int], ...]
"""(first, last), both included."""

_REVISION_MAX = 128


@dataclass(frozen=True, slots=True)
class JsonCheck:
    """A condition on the value at `path`; `text` is the path as it was written."""

    text: str
    path: JsonPath
    condition: Condition


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """Everything that is asked of an answer."""

    status: StatusRanges
    contains: bytes | None = None
    matches: Any = None
    json: tuple[JsonCheck, ...] = ()
    revision: JsonPath | None = None
    max_latency_s: float | None = None

    @property
    def need_body(self) -> bool:
        """Whether anything looks at the body."""
        return bool(self.contains or self.matches or self.json or self.revision is not None)

    def judge(self, status: int, body: bytes, latency_s: float, *, is_capped: bool) -> str | None:
        """Return the revision that the answer names, or None when it is not asked for.

        `is_capped` says that `body` is a prefix.

        Raises:
            ProbeError: (status, body, json, slow) for the first check that fails.
        """
        if not any(first <= status <= last for first, last in self.status):
            detail = f"HTTP {status}, expected {format_statuses(self.status)}"
            raise ProbeError(Reason.STATUS, detail)
        if self.contains is not None and self.contains not in body:
            _fail_body("does not contain the expected text", is_capped=is_capped)
        if self.matches is not None and not is_found(self.matches, body):
            _fail_body("does not match the expected pattern", is_capped=is_capped)
        revision = self._judge_json(body, is_capped=is_capped)
        if self.max_latency_s is not None and latency_s > self.max_latency_s:
            detail = f"took {latency_s * 1000:.0f} ms, expected at most {self.max_latency_s:g} s"
            raise ProbeError(Reason.SLOW, detail)
        return revision

    def _judge_json(self, body: bytes, *, is_capped: bool) -> str | None:
        if not self.json and self.revision is None:
            return None
        if is_capped:
            raise ProbeError(Reason.JSON, "the body is longer than max_body")
        document = _parse(body)
        for check in self.json:
            value = look_up(document, check.path)
            if not check.condition.holds(value):
                detail = f"{check.text} is {show(value)}, expected {check.condition.expected}"
                raise ProbeError(Reason.JSON, detail)
        if self.revision is None:
            return None
        return _revision(look_up(document, self.revision))


def format_statuses(statuses: StatusRanges) -> str:
    """Return the text of some ranges: `200-299, 404`."""
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in statuses)


def _parse(body: bytes) -> object:
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        # What the parser says may quote the body.
        raise ProbeError(Reason.JSON, "the body is not JSON") from None


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError


def _revision(value: object) -> str:
    """A revision becomes a metric label and goes into messages: short, printable or nothing."""
    if isinstance(value, str) and 0 < len(value) <= _REVISION_MAX and value.isprintable():
        return value
    raise ProbeError(Reason.JSON, f"the revision is {show(value)}, expected a short text")


def _fail_body(problem: str, *, is_capped: bool) -> NoReturn:
    suffix = " within max_body" if is_capped else ""
    raise ProbeError(Reason.BODY, f"the body {problem}{suffix}")
