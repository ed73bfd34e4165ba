"""Conditions on one JSON value, each with the words that say what was expected. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

import re2  # type: ignore[import-untyped]  # google-re2 ships no types

from monitor.probes.http.jsonpath import MISSING

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Condition:
    """`holds` takes a JSON value or `MISSING`; `expected` ends the sentence `... expected ...`."""

    holds: Callable[[object], bool]
    expected: str


def exists(*, wanted: bool) -> Condition:
    """There is something (also null) at the path, or nothing."""
    text = "something" if wanted else "nothing"
    return Condition(lambda value: (value is not MISSING) is wanted, text)


def equals(expected: str | float | None) -> Condition:
    """The same value; numbers compare as numbers, but true is not 1."""
    is_bool = isinstance(expected, bool)
    return Condition(
        lambda value: isinstance(value, bool) is is_bool and value == expected, show(expected)
    )


def matches(pattern: str) -> Condition:
    """A text in which the RE2 `pattern` is found."""
    regex = compile_regex(pattern)
    return Condition(
        lambda value: isinstance(value, str) and is_found(regex, value.encode(errors="replace")),
        f"a text that matches {show(pattern)}",
    )


def less_than(limit: float) -> Condition:
    """A number below `limit`."""
    return Condition(lambda value: _is_number(value) and value < limit, f"less than {limit:g}")


def greater_than(limit: float) -> Condition:
    """A number above `limit`."""
    return Condition(lambda value: _is_number(value) and value > limit, f"more than {limit:g}")


def compile_regex(pattern: str) -> Any:
    """Return a compiled RE2 pattern: linear time, so no target can make it slow.

    Raises:
        ValueError: when it is none; look-around and back-references do not exist in RE2.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        problem = error.args[0] if error.args else b""
        text = problem.decode("utf-8", "replace") if isinstance(problem, bytes) else str(problem)
        msg = f"expected a regular expression in RE2 syntax: {text}"
        raise ValueError(msg) from error


def is_found(regex: Any, text: bytes) -> bool:
    """Return whether a compiled pattern occurs in `text`, which need not be valid UTF-8."""
    return regex.search(text) is not None


def show(value: object) -> str:
    """Return a short, escaped text of a JSON value."""
    if value is MISSING:
        return "missing"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return repr(value if len(value) <= _SHOWN else value[:_SHOWN] + "...")
    return json.dumps(value)[:_SHOWN]


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
