"""Takes values out of answers for later steps, and judges answers without repeating them. Pure.

What an answer holds may be somebody's session: no text made here quotes it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from monitor.probes.call import Answer
from monitor.probes.failure import ProbeError
from monitor.probes.http.assertions import (
    JsonCheck,
    StatusRanges,
    format_statuses,
    parse_document,
)
from monitor.probes.http.conditions import is_found
from monitor.probes.http.jsonpath import MISSING, JsonPath, look_up
from monitor.probes.reason import Reason

MAX_VALUE = 4096
"""Characters of one captured value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """Where the value called `name` is: exactly one of the other fields is there."""

    name: str
    path: JsonPath | None = None
    header: bytes | None = None
    """Lower case."""
    regex: Any = None
    """A compiled RE2 pattern; its first group counts, or all of it when it has none."""

    def take(self, answer: Answer) -> str:
        """Return the value.

        Raises:
            ProbeError: (capture) when it is not there or cannot be used.
        """
        value = self._find(answer)
        if isinstance(value, bool | int | float):
            value = json.dumps(value)
        if not isinstance(value, str):
            detail = f"cannot capture {self.name}: it is {kind_of(value)}"
            raise ProbeError(Reason.CAPTURE, detail)
        if not 0 < len(value) <= MAX_VALUE:
            detail = f"{self.name} has {len(value)} characters, expected 1 to {MAX_VALUE}"
            raise ProbeError(Reason.CAPTURE, detail)
        return value

    def _find(self, answer: Answer) -> object:
        if self.header is not None:
            found = answer.header(self.header)
            return MISSING if found is None else found.decode("latin-1")
        if self.path is not None:
            return look_up(document_of(answer), self.path)
        match = self.regex.search(answer.body)
        if match is None:
            return MISSING
        part = match.group(1 if self.regex.groups else 0)
        return MISSING if part is None else part.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """What is asked of one step's answer."""

    status: StatusRanges
    contains: bytes | None = None
    matches: Any = None
    json: tuple[JsonCheck, ...] = ()

    def judge(self, answer: Answer) -> None:
        """Accept the answer.

        Raises:
            ProbeError: (status, body, json) for the first thing that is not as expected.
        """
        if not any(first <= answer.status <= last for first, last in self.status):
            detail = f"HTTP {answer.status}, expected {format_statuses(self.status)}"
            raise ProbeError(Reason.STATUS, detail)
        if self.contains is not None and self.contains not in answer.body:
            raise ProbeError(Reason.BODY, "the body does not contain the expected text")
        if self.matches is not None and not is_found(self.matches, answer.body):
            raise ProbeError(Reason.BODY, "the body does not match the expected pattern")
        _judge_json(self.json, answer)


def _judge_json(checks: Sequence[JsonCheck], answer: Answer) -> None:
    if not checks:
        return
    document = document_of(answer)
    for check in checks:
        value = look_up(document, check.path)
        if not check.condition.holds(value):
            detail = f"{check.text} is {kind_of(value)}, expected {check.condition.expected}"
            raise ProbeError(Reason.JSON, detail)


def document_of(answer: Answer) -> object:
    """Return the JSON in an answer.

    Raises:
        ProbeError: (json) when it is none, or longer than what was read.
    """
    if answer.is_capped:
        raise ProbeError(Reason.JSON, "the body is longer than max_body")
    return parse_document(answer.body)


def kind_of(value: object) -> str:
    """Return what a JSON value is, without saying which."""
    if value is MISSING:
        return "missing"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return "another text"
    return (
        "null"
        if value is None
        else f"another {'truth value' if isinstance(value, bool) else 'number'}"
    )
