"""Types of conditions: which pieces fit together, and the CEL that is run for them.

Where an int meets a double it is widened. The order of tokens is the parser's business.
Everything here raises ConditionError, at the piece that does not fit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from monitor.slo.signal import ALLOWED_VALUES
from monitor.slo.tokens import ConditionError, Token

MAX_PATTERN = 128
MAX_PATTERN_CLASSES = 8

Type = Literal["bool", "int", "double", "string", "list"]

WORDS = {
    "bool": "a truth value",
    "int": "a number",
    "double": "a number",
    "string": "a text",
    "list": "a list",
}
_FUNCTIONS: Mapping[str, Type] = MappingProxyType(
    {"double": "double", "int": "int", "string": "string", "size": "int"}
)
_METHODS = ("contains", "startsWith", "endsWith", "matches", "size")
_MACROS = frozenset({"map", "filter", "all", "exists", "exists_one", "has"})
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})


@dataclass(frozen=True, slots=True)
class Expr:
    """A typed piece of a condition; `text` is the CEL that is run for it."""

    type: Type
    text: str
    at: int
    literal: float | str | None = None
    signal: str | None = None
    items: tuple[Expr, ...] = ()


def check_callable(name: Token, receiver: Expr | None) -> None:
    """Refuse a call of what does not exist, before its arguments are looked at."""
    if name.text in _MACROS:
        msg = f"{name.text}() is a comprehension; conditions have none, so that they stay fast"
        raise ConditionError(msg, name.at)
    if receiver is None and name.text not in _FUNCTIONS:
        known = ", ".join(f"{each}()" for each in _FUNCTIONS)
        msg = f"there is no function {name.text}(); there are {known}"
        raise ConditionError(msg, name.at)
    if receiver is not None:
        require(receiver, "string", f".{name.text}() needs a text before the dot")
        if name.text not in _METHODS:
            known = ", ".join(f"{each}()" for each in _METHODS)
            msg = f"texts have no {name.text}(); they have {known}"
            raise ConditionError(msg, name.at)


def function(name: Token, argument: Expr | None) -> Expr:
    """Type a call of a function: double(), int(), string(), size()."""
    if argument is None:
        msg = f"{name.text}() needs one value"
        raise ConditionError(msg, name.at)
    if name.text == "size":
        require(argument, "string", "size() needs a text")
    elif name.text != "string":
        require(argument, "number", f"{name.text}() needs a number")
    elif family(argument.type) not in {"number", "string"}:
        msg = f"string() needs a number or a text, not {WORDS[argument.type]}"
        raise ConditionError(msg, argument.at)
    return Expr(_FUNCTIONS[name.text], f"{name.text}({argument.text})", name.at)


def method(name: Token, receiver: Expr, argument: Expr | None) -> Expr:
    """Type a call of a text's method: size(), contains(), startsWith(), endsWith(), matches()."""
    if (argument is None) != (name.text == "size"):
        msg = f"{name.text}() needs {'nothing' if argument else 'one text'} between its parentheses"
        raise ConditionError(msg, name.at)
    if argument is None:
        return Expr("int", f"{receiver.text}.size()", receiver.at)
    require(argument, "string", f"{name.text}() needs a text")
    return Expr("bool", f"{receiver.text}.{name.text}({argument.text})", receiver.at)


def check_pattern(pattern: Expr) -> None:
    """Refuse a pattern that is not a literal or could take long to compile."""
    if not isinstance(pattern.literal, str):
        msg = "matches() needs its pattern written out as a text"
        raise ConditionError(msg, pattern.at)
    classes = len(re.findall(r"\\[wWdDsSpPbB]", pattern.literal))
    counted = re.search(r"\{\d", re.sub(r"\\.", "", pattern.literal))
    if len(pattern.literal) > MAX_PATTERN or classes > MAX_PATTERN_CLASSES or counted:
        msg = (
            f"this pattern may be slow: at most {MAX_PATTERN} characters, {MAX_PATTERN_CLASSES}"
            r" classes such as \w, and no {n}"
        )
        raise ConditionError(msg, pattern.at)


def combine(left: Expr, operator: Token, right: Expr) -> Expr:
    """Type a binary operation."""
    mark = operator.text
    if mark in {"&&", "||"}:
        for side in (left, right):
            require(side, "bool", f"{mark} needs a truth value on both sides")
        return Expr("bool", f"{left.text} {mark} {right.text}", left.at)
    if mark == "in":
        return _membership(left, right)
    families = family(left.type), family(right.type)
    if families[0] != families[1] or families[0] == "list":
        verb = "compared with" if mark in _COMPARISONS else f"used with {mark} and"
        msg = f"{WORDS[left.type]} cannot be {verb} {WORDS[right.type]}"
        raise ConditionError(msg, operator.at)
    left, right = _widened(left, right)
    text = f"{left.text} {mark} {right.text}"
    if mark in {"==", "!="}:
        _check_values(left, (right,))
        _check_values(right, (left,))
        return Expr("bool", text, left.at)
    if families[0] == "string" and mark == "+":
        return Expr("string", text, left.at)
    if families[0] != "number":
        msg = f"{mark} works on numbers, not on {WORDS[left.type]}; texts have == and !="
        raise ConditionError(msg, operator.at)
    if mark == "%" and left.type == "double":
        msg = "% needs whole numbers: write int(...) around both sides"
        raise ConditionError(msg, operator.at)
    return Expr("bool" if mark in _COMPARISONS else left.type, text, left.at)


def _membership(left: Expr, right: Expr) -> Expr:
    if right.type != "list":
        msg = "in needs a list, such as health in ['degraded', 'unhealthy']"
        raise ConditionError(msg, right.at)
    if family(right.items[0].type) != family(left.type):
        msg = f"{WORDS[left.type]} is never in a list of other things"
        raise ConditionError(msg, right.at)
    _check_values(left, right.items)
    if left.type == "double" or any(item.type == "double" for item in right.items):
        left = _as_double(left)
        items = ", ".join(_as_double(item).text for item in right.items)
        return Expr("bool", f"{left.text} in [{items}]", left.at)
    return Expr("bool", f"{left.text} in {right.text}", left.at)


def choice(test: Expr, yes: Expr, no: Expr) -> Expr:
    """Type `test ? yes : no`."""
    require(test, "bool", "? needs a truth value before it")
    if family(yes.type) != family(no.type):
        msg = f"one branch is {WORDS[yes.type]}, the other {WORDS[no.type]}"
        raise ConditionError(msg, no.at)
    yes, no = _widened(yes, no)
    return Expr(yes.type, f"{test.text} ? {yes.text} : {no.text}", test.at)


def family(kind: Type) -> str:
    """Return `number` for both kinds of numbers, any other type as it is."""
    return "number" if kind in {"int", "double"} else kind


def require(expr: Expr, wanted: str, message: str) -> None:
    """Raise ConditionError with `message` unless `expr` is of this family."""
    if family(expr.type) != wanted:
        msg = f"{message}, this is {WORDS[expr.type]}"
        raise ConditionError(msg, expr.at)


def _widened(left: Expr, right: Expr) -> tuple[Expr, Expr]:
    if {left.type, right.type} == {"int", "double"}:
        return _as_double(left), _as_double(right)
    return left, right


def _as_double(expr: Expr) -> Expr:
    if expr.type != "int":
        return expr
    text = f"double({expr.text})" if expr.literal is None else _with_point(expr.text)
    return replace(expr, type="double", text=text)


def _with_point(text: str) -> str:
    return re.sub(r"\d+", lambda digits: f"{digits[0]}.0", text, count=1)


def _check_values(signal: Expr, others: Sequence[Expr]) -> None:
    allowed = ALLOWED_VALUES.get(signal.signal or "")
    if allowed is None:
        return
    for other in others:
        if other.literal is not None and other.literal not in allowed:
            msg = f"{signal.signal} is never {other.literal!r}; it is one of {', '.join(allowed)}"
            raise ConditionError(msg, other.at)
