"""Reading of conditions: the part of CEL that is allowed, with types, before anything runs.

Numbers are CEL's `double` and `int`; where they meet, the int is widened, so that
`error_rate_5m * 2 > 5` means what it says. Comprehensions are not in the language, and everything
that is left takes bounded time. Evaluates nothing.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from monitor.slo.signal import WINDOWS, Signal, parse_signal, signal_names
from monitor.slo.tokens import INSTEAD, ConditionError, Token, tokens_of, unquoted
from monitor.slo.typecheck import (
    WORDS,
    Expr,
    Type,
    check_callable,
    check_pattern,
    choice,
    combine,
    family,
    function,
    method,
    require,
)

MAX_BYTES = 2048
MAX_DEPTH = 32
MAX_INT = 2**63 - 1

_LEVELS = ({"||"}, {"&&"}, {"==", "!=", "<", "<=", ">", ">=", "in"}, {"+", "-"}, {"*", "/", "%"})


@dataclass(frozen=True, slots=True)
class Reading:
    """A condition that can be compiled."""

    text: str
    signals: tuple[Signal, ...]
    divisors: tuple[str, ...]
    """CEL of everything that is divided by: a zero there means no data."""
    patterns: tuple[Expr, ...]
    """Literals of `matches`, for the regular expression engine to check."""


def read(text: str) -> Reading:
    """Parse and type-check a condition.

    Raises:
        ConditionError: it is not one.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        msg = "this character is half of a pair and cannot be written"
        raise ConditionError(msg, error.start) from None
    if size > MAX_BYTES:
        msg = f"the condition is longer than {MAX_BYTES} bytes"
        raise ConditionError(msg, min(MAX_BYTES, len(text)))
    return _Parser(tokens_of(text)).condition()


class _Parser:
    """One pass over the tokens: a level per precedence, types checked on the way up."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0
        self._signals: dict[str, Signal] = {}
        self._divisors: list[str] = []
        self._patterns: list[Expr] = []

    def condition(self) -> Reading:
        result = self._expression()
        if self._peek.kind != "end":
            raise ConditionError(_stray(self._peek), self._peek.at)
        if result.type != "bool":
            msg = f"a condition must be true or false, this is {WORDS[result.type]}: compare it"
            raise ConditionError(msg, result.at)
        signals = tuple(self._signals.values())
        return Reading(result.text, signals, tuple(self._divisors), tuple(self._patterns))

    @property
    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self, *marks: str) -> Token | None:
        token = self._peek
        if token.kind in {"mark", "name"} and token.text in marks:
            self._next += 1
            return token
        return None

    def _expect(self, mark: str) -> Token:
        token = self._take(mark)
        if token is None:
            found = self._peek
            msg = f"expected {mark!r} here, got {found.text or 'the end'}"
            raise ConditionError(msg, found.at)
        return token

    def _expression(self) -> Expr:
        self._deeper()
        first = self._binary(0)
        if self._take("?"):
            yes = self._binary(0)
            self._expect(":")
            first = choice(first, yes, self._expression())
        self._depth -= 1
        return first

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            msg = f"nested more than {MAX_DEPTH} levels deep"
            raise ConditionError(msg, self._peek.at)

    def _binary(self, level: int) -> Expr:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while operator := self._take(*_LEVELS[level]):
            if operator.text == "%" and self._peek.text in {"", ")", "&&", "||"}:
                msg = "percentages are plain numbers from 0 to 100: write 5, not 5%"
                raise ConditionError(msg, operator.at)
            right = self._binary(level + 1)
            left = combine(left, operator, right)
            if operator.text in {"/", "%"}:
                self._divide(right)
        return left

    def _divide(self, divisor: Expr) -> None:
        if divisor.literal is None:
            self._divisors.append(divisor.text)
        elif divisor.literal == 0:
            msg = "division by zero"
            raise ConditionError(msg, divisor.at)

    def _unary(self) -> Expr:
        operator = self._take("!", "-")
        if operator is None:
            return self._postfix(self._primary())
        self._deeper()
        operand = self._unary()
        self._depth -= 1
        if operator.text == "!":
            require(operand, "bool", "! needs a truth value")
            return Expr("bool", f"!{operand.text}", operator.at)
        require(operand, "number", "- needs a number")
        literal = -operand.literal if isinstance(operand.literal, int | float) else None
        return Expr(operand.type, f"-{operand.text}", operator.at, literal)

    def _primary(self) -> Expr:
        token = self._peek
        self._next += 1
        if token.kind == "number":
            return self._number(token)
        if token.kind == "string":
            return Expr("string", token.text, token.at, unquoted(token))
        if token.kind == "name":
            return self._name(token)
        if token.text == "(":
            inner = self._expression()
            self._expect(")")
            return replace(inner, text=f"({inner.text})", at=token.at)
        if token.text == "[":
            return self._list(token)
        wrote = token.text or "the end"
        hint = f": write {INSTEAD[token.text]}" if token.text in INSTEAD else ""
        msg = f"expected a name, a number or a text here, got {wrote}{hint}"
        raise ConditionError(msg, token.at)

    def _number(self, token: Token) -> Expr:
        following = self._peek
        if following.kind == "name" and following.at == token.at + len(token.text):
            msg = (
                f"{token.text}{following.text} is not a number: numbers have no unit;"
                " latencies are in ms, percentages from 0 to 100"
            )
            raise ConditionError(msg, token.at)
        if token.text.isdigit():
            if int(token.text) > MAX_INT:
                msg = f"{token.text} is too large"
                raise ConditionError(msg, token.at)
            return Expr("int", token.text, token.at, int(token.text))
        if float(token.text) == float("inf"):
            msg = f"{token.text} is too large"
            raise ConditionError(msg, token.at)
        return Expr("double", token.text, token.at, float(token.text))

    def _list(self, token: Token) -> Expr:
        items: list[Expr] = []
        while not items or self._take(","):
            items.append(self._expression())
            if len({family(item.type) for item in items}) > 1:
                msg = "all values of a list must be of one type"
                raise ConditionError(msg, items[-1].at)
        self._expect("]")
        text = f"[{', '.join(item.text for item in items)}]"
        return Expr("list", text, token.at, items=tuple(items))

    def _name(self, token: Token) -> Expr:
        if token.text in {"true", "false"}:
            return Expr("bool", token.text, token.at)
        if self._take("("):
            return self._call(token, None)
        signal = parse_signal(token.text)
        if signal is None:
            raise ConditionError(_unknown(token.text), token.at)
        self._signals[signal.name] = signal
        kind: Type = "double" if signal.type == "number" else "string"
        return Expr(kind, token.text, token.at, signal=signal.name)

    def _postfix(self, expr: Expr) -> Expr:
        while self._take("."):
            called = self._peek
            if called.kind != "name":
                msg = "expected the name of a text's method after the dot"
                raise ConditionError(msg, called.at)
            self._next += 1
            self._expect("(")
            expr = self._call(called, expr)
        return expr

    def _call(self, name: Token, receiver: Expr | None) -> Expr:
        check_callable(name, receiver)
        argument = None if self._take(")") else self._expression()
        if argument is not None:
            self._expect(")")
        if receiver is None:
            return function(name, argument)
        call = method(name, receiver, argument)
        if name.text == "matches" and argument is not None:
            check_pattern(argument)
            self._patterns.append(argument)
        return call


def _stray(token: Token) -> str:
    if token.text in INSTEAD:
        return f"{token.text} is not an operator here, write {INSTEAD[token.text]}"
    return f"expected an operator or the end here, got {token.text}"


def _unknown(name: str) -> str:
    kind, _, window = name.rpartition("_")
    if re.fullmatch(r"\d+[a-z]+", window) and parse_signal(f"{kind}_5m"):
        return f"there is no window {window}; windows are {' '.join(WINDOWS)}"
    close = difflib.get_close_matches(name, signal_names(), n=3)
    hint = f" (did you mean {' or '.join(close)}?)" if close else ""
    return f"unknown name {name}{hint}; `monitor query --help` lists all names"
