"""Validates a part of a document against a model and says what is wrong at its place in the file.

Owns the translation of pydantic's errors. Files are validated in JSON's strict mode: what YAML can
express is what JSON can, and no text is taken for a number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from collections.abc import Mapping as AbstractMapping
from collections.abc import Sequence as AbstractSequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from monitor.config.errors import ConfigError, Step, may_show, quote, suggest
from monitor.config.kinds import KIND
from monitor.config.schema_walk import Schema, known_keys, known_kinds, may_be_secret
from monitor.config.tree import Document, Mapping, Node, Scalar, Sequence, child, follow, to_plain
from monitor.fields import SecretResolver

T = TypeVar("T")
_SHOULD = re.compile(r"^\w+ should ")
"""How pydantic begins what it expected."""
_IN_KEY = "[key]"
"""How pydantic ends the location of an error in a key of a mapping."""
_EXPECTED: AbstractMapping[str, str] = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "too_short": "at least one entry",
}


@dataclass(slots=True)
class Validator:
    """Checks parts of documents and collects every error on the way."""

    secrets: SecretResolver
    errors: list[ConfigError] = field(default_factory=list)
    _adapters: dict[Any, TypeAdapter[Any]] = field(default_factory=dict)

    def check(
        self,
        document: Document,
        steps: AbstractSequence[Step],
        expected: type[T],
        *,
        without: frozenset[str] = frozenset(),
        hints: Any = None,
    ) -> T | None:
        """Return the value at `steps` as `expected` makes it; None when errors were added.

        Args:
            document: The file.
            steps: Way from its root to the part.
            expected: A model, or a mapping or list of models.
            without: Keys of the part that are checked elsewhere.
            hints: Model that knows those keys too, for suggestions.

        """
        node = follow(document.root, *steps)
        plain = to_plain(node) if node else None
        if isinstance(plain, dict):
            plain = {key: value for key, value in plain.items() if key not in without}
        adapter: TypeAdapter[T] = self._adapter(expected)
        try:
            return adapter.validate_json(
                json.dumps(plain), context={"secrets": self.secrets}, by_alias=True, by_name=False
            )
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False, include_context=True)
        schema = self._adapter(hints or expected).json_schema()
        problems = [_Problem(document, steps, schema, each) for each in found]
        self.errors.extend(problem.to_error() for problem in _likely(problems))
        return None

    def _adapter(self, expected: Any) -> TypeAdapter[Any]:
        return self._adapters.setdefault(expected, TypeAdapter(expected))


def _likely(problems: AbstractSequence[_Problem]) -> Iterator[_Problem]:
    """Leave out what only follows from something else that is wrong.

    When a value of one type was refused for its content, that it is not of another type either
    (text instead of a reference to a secret) helps nobody; nor does it that a list whose entries
    were refused has too few.
    """
    refused = {tuple(each.steps) for each in problems if not each.is_about_type}
    inside = {tuple(each.steps[:n]) for each in problems for n in range(len(each.steps))}
    for problem in problems:
        steps = tuple(problem.steps)
        follows = problem.is_about_type and steps in refused
        if not follows and not (problem.error["type"] == "too_short" and steps in inside):
            yield problem


@dataclass(frozen=True)
class _Problem:
    """One error of pydantic, being put into words."""

    document: Document
    base: AbstractSequence[Step]
    schema: Schema
    error: AbstractMapping[str, Any]

    @property
    def location(self) -> tuple[Step, ...]:
        return tuple(step for step in self.error["loc"] if step != _IN_KEY)

    @property
    def start(self) -> Node | None:
        """The part that was checked."""
        return follow(self.document.root, *self.base)

    @property
    def below(self) -> list[Step]:
        """The way from that part to what is wrong."""
        return self.steps[len(self.base) :]

    @property
    def is_about_type(self) -> bool:
        return str(self.error["type"]).endswith("_type")

    @cached_property
    def steps(self) -> list[Step]:
        """The location without the tags that pydantic adds for unions."""
        steps = list(self.base)
        node = follow(self.document.root, *steps)
        may_be_tag = True
        for step in self.location:
            if may_be_tag and isinstance(node, Mapping) and _kind_of(node) == step:
                may_be_tag = False
                continue
            below = child(node, step)
            if below is None:
                continue
            steps.append(step)
            node, may_be_tag = below, True
        return steps

    def to_error(self) -> ConfigError:
        """Return the error at its place."""
        kind = self.error["type"]
        if kind == "missing":
            return self.document.error(self.steps, f"missing key {quote(self.location[-1])}")
        if kind == "extra_forbidden":
            *above, key = self.below
            hint = suggest(str(key), known_keys(self.schema, self.start, above))
            return self.document.error(self.steps, f"unknown key{hint}", at_key=True)
        if kind in {"union_tag_not_found", "union_tag_invalid"}:
            return self._kind_error(kind)
        return self.document.error(
            self.steps, self._message(), at_key=self.error["loc"][-1:] == (_IN_KEY,)
        )

    def _kind_error(self, error: str) -> ConfigError:
        kinds = f"expected one of {', '.join(known_kinds(self.schema, self.start, self.below))}"
        if error == "union_tag_not_found":
            return self.document.error(self.steps, f"missing key {quote(KIND)} ({kinds})")
        steps = [*self.steps, KIND]
        return self.document.error(steps, f"unknown kind (got {self._got(steps)}, {kinds})")

    def _message(self) -> str:
        kind, said = self.error["type"], str(self.error["msg"]).removeprefix("Value error, ")
        expected = _EXPECTED.get(kind) or _SHOULD.sub("to ", said.removeprefix("Input should be "))
        if kind == "value_error":
            if not said.startswith("expected "):
                return said
            expected = said.removeprefix("expected ")
        if self.error["loc"][-1:] == (_IN_KEY,):
            return f"wrong key (expected {expected})"
        got = self._got(self.steps)
        if kind == "string_type" and got:
            expected += " in quotes"
        return f"wrong value ({f'got {got}, ' if got else ''}expected {expected})"

    def _got(self, steps: AbstractSequence[Step]) -> str:
        """Return what stands there, or nothing when it may be a secret."""
        node = follow(self.document.root, *steps)
        if may_be_secret(self.schema, self.start, steps[len(self.base) :]):
            return ""
        if isinstance(node, Sequence):
            return "a list"
        if isinstance(node, Mapping):
            return "a mapping"
        if node is None or not may_show(node.text, steps):
            return ""
        return node.text if _is_bare(node) else quote(node.value)


def _is_bare(node: Scalar) -> bool:
    """Whether the text itself is the best way to show the value: a number as it was written."""
    return isinstance(node.value, (int, float)) and not isinstance(node.value, bool)


def _kind_of(node: Node | None) -> str | None:
    kind = child(node, KIND)
    return kind.text if isinstance(kind, Scalar) else None
