"""A CEL expression on one answer. Pure; what its parts mean is CEL's business.

Owns the variables, the check at load and the bound on work: an answer comes from a target that may
be hostile, so an expression may walk through it, but not walk within a walk.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cel

from monitor.probes.failure import ProbeError
from monitor.probes.reason import Reason

VARIABLES = ("status", "headers", "body", "json", "latency_ms", "phases")
_BODY = frozenset({"body", "json"})
_TIMES = frozenset({"latency_ms", "phases"})
_LENGTH_MAX = 2000
_SHOWN = 100
_TEXT = re.compile(r"""[rRbB]{0,2}('(?:[^'\\\r\n]|\\.)*'|"(?:[^"\\\r\n]|\\.)*")|//[^\r\n]*""")
_TOKEN = re.compile(r"\.\s*(?P<walk>all|exists|exists_one|map|filter)\s*\(|(?P<mark>[()])")
_BOUND = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*(\w+)\s*,")
FUNCTIONS = (
    "size", "contains", "startsWith", "endsWith", "matches",
    "int", "uint", "double", "string", "bytes", "type", "dyn", "duration", "timestamp",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Facts:
    """What an expression is about."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    """As received."""
    body: bytes
    latency_s: float
    phases: Sequence[tuple[str, float]]


class Expression:
    """A compiled expression; two with the same text are equal."""

    __slots__ = ("_program", "_used", "text")

    def __init__(self, text: str) -> None:
        """Compile `text`.

        Raises:
            ValueError: when it is no CEL, names what does not exist or walks within a walk.
        """
        self.text = text
        if len(text) > _LENGTH_MAX:
            msg = f"expected an expression of at most {_LENGTH_MAX} characters"
            raise ValueError(msg)
        bare = _TEXT.sub("''", text)
        _check_walks(bare)
        self._program = cel.compile(text)
        self._used = frozenset(self._program.variables()).difference(_BOUND.findall(bare))
        self._check_names()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    @property
    def needs_body(self) -> bool:
        """Whether it looks at the body."""
        return not self._used.isdisjoint(_BODY)

    @property
    def needs_times(self) -> bool:
        """Whether it looks at the latency."""
        return not self._used.isdisjoint(_TIMES)

    def judge(self, facts: Facts) -> None:
        """Accept an answer for which the expression is true.

        Raises:
            ProbeError: (cel) when it is not, or cannot be evaluated.
        """
        try:
            value = self._program.execute(self._values(facts))
        except Exception as error:  # noqa: BLE001 - the library raises by the kind of mistake: type, key, arithmetic, ...
            detail = f"cannot evaluate {self._shown}: {_first_line(error)}"
            raise ProbeError(Reason.CEL, detail) from None
        if value is False:
            raise ProbeError(Reason.CEL, f"{self._shown} is false")
        if value is not True:
            kind = type(value).__name__
            raise ProbeError(Reason.CEL, f"{self._shown} is a {kind}, expected true or false")

    @property
    def _shown(self) -> str:
        return self.text if len(self.text) <= _SHOWN else self.text[:_SHOWN] + "..."

    def _values(self, facts: Facts) -> dict[str, Any]:
        values: dict[str, Any] = {"status": facts.status, "latency_ms": facts.latency_s * 1000}
        if "headers" in self._used:
            values["headers"] = _by_name(facts.headers)
        if "phases" in self._used:
            values["phases"] = {name: seconds * 1000 for name, seconds in facts.phases}
        if "body" in self._used:
            values["body"] = facts.body.decode("utf-8", "replace")
        if "json" in self._used:
            values["json"] = _document(facts.body)
        return values

    def _check_names(self) -> None:
        # Operators are functions too, with names that are none.
        called = {name for name in self._program.functions() if name[0].isalpha()}
        for used, known in (
            (self._used, VARIABLES),
            (called, FUNCTIONS),
        ):
            unknown = sorted(used.difference(known))
            if unknown:
                msg = f"{unknown[0]} is not known here; there are {', '.join(known)}"
                raise ValueError(msg)


def _check_walks(text: str) -> None:
    """Refuse all, exists, map and filter inside each other: their work multiplies."""
    open_calls: list[bool] = []
    for token in _TOKEN.finditer(text):
        if token["mark"] == ")":
            if open_calls:
                open_calls.pop()
            continue
        is_walk = token["walk"] is not None
        if is_walk and any(open_calls):
            msg = f"{token['walk']}() cannot stand inside another walk through a list"
            raise ValueError(msg)
        open_calls.append(is_walk)


def _by_name(headers: Sequence[tuple[bytes, bytes]]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _document(body: bytes) -> object:
    """Return the JSON document in `body`, None (null) when it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0].split(". ", 1)[0]
