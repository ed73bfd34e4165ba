"""Tokens of conditions, and the error that points into one. Knows no grammar."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

INSTEAD: Mapping[str, str] = MappingProxyType(
    {"and": "&&", "or": "||", "not": "!", "is": "==", "=": "==", "&": "&&", "|": "||"}
)
"""What people write in other languages, and what it is here."""

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\f]+)
    |(?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<string>'(?:[^'\\\r\n]|\\.)*'|"(?:[^"\\\r\n]|\\.)*")
    |(?P<mark>&&|\|\||[=!<>]=|[-+*/%<>!?:()\[\],.])""",
    re.VERBOSE,
)
_ESCAPES = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "r": "\r", "t": "\t"}


class ConditionError(ValueError):
    """A condition cannot be used; `offset` is the character of the text where it goes wrong."""

    def __init__(self, message: str, offset: int) -> None:
        """Say what is wrong and what to write instead."""
        super().__init__(message)
        self.message = message
        self.offset = offset


class Token(NamedTuple):
    """`kind` is number, name, string, mark or end; `at` is its offset in the text."""

    kind: str
    text: str
    at: int


def tokens_of(text: str) -> list[Token]:
    """Return the tokens of a condition, the last one of kind `end`.

    Raises:
        ConditionError: a character has no place in a condition.
    """
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ConditionError(_unreadable(text[at]), at)
        if match.lastgroup != "space":
            tokens.append(Token(str(match.lastgroup), match[0], at))
        at = match.end()
    return [*tokens, Token("end", "", len(text))]


def _unreadable(char: str) -> str:
    if char in "'\"":
        return "this text is never closed on its line"
    if char in INSTEAD:
        return f"{char} is not an operator here, write {INSTEAD[char]}"
    return f"unexpected character {char!r}"


def unquoted(token: Token) -> str:
    """Return what the text literal means.

    Raises:
        ConditionError: an escape is unknown.
    """

    def value(escape: re.Match[str]) -> str:
        if escape[1] not in _ESCAPES:
            at = token.at + 1 + escape.start()
            msg = rf"unknown escape {escape[0]}; for a backslash write \\"
            raise ConditionError(msg, at)
        return _ESCAPES[escape[1]]

    return re.sub(r"\\(.)", value, token.text[1:-1])
