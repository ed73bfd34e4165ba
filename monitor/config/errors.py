"""What is wrong with a configuration, where, and in whose words.

Owns the form `file:line:col: path: what is wrong (got X, expected Y)`. Knows neither YAML nor
pydantic, and never repeats a value that may be a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

SHOWN = 60
"""Characters of a foreign value that an error repeats."""
_LONGEST_PATH = 160
_PLAIN_KEY = re.compile(r"[\w.-]{1,60}")
_SENSITIVE = re.compile(
    r"(?i)secret|token|passw|passphrase|credential|authori[sz]ation|api_?key|routing_?key|dsn|cookie"
)
_CREDENTIALS_IN_URL = re.compile(r"://[^/]*@")
Step = str | int


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ConfigError:
    """One thing to fix. `line` and `col` count from 1."""

    file: str
    line: int
    col: int
    path: str
    message: str

    def __str__(self) -> str:
        """Return the one line that people and editors read."""
        path = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.line}:{self.col}: {path}{self.message}"


class ConfigErrors(Exception):  # noqa: N818 - it carries many; one of them is a ConfigError
    """Everything that is wrong, in order of place."""

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        """Keep `errors` sorted by file, line and column, each once."""
        self.errors = tuple(sorted(set(errors)))
        super().__init__(self.errors)

    def __str__(self) -> str:
        """Return one line for each error."""
        return "\n".join(map(str, self.errors))


def format_path(steps: Sequence[Step]) -> str:
    """Return `deployments[0].probes[1].url` for the steps from the root of a file."""
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            key = step if _PLAIN_KEY.fullmatch(step) else quote(step)
            text += f".{key}" if text else key
    return text if len(text) <= _LONGEST_PATH else f"{text[:_LONGEST_PATH]}..."


def quote(value: object) -> str:
    """Return a scalar as one short line: text in quotes, control characters escaped."""
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, (str, bool)) else str(value)
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def may_show(value: object, steps: Sequence[Step]) -> bool:
    """Whether an error may repeat `value`, found at `steps`: no secret by name or by form."""
    if any(isinstance(step, str) and _SENSITIVE.search(step) for step in steps):
        return False
    return not (isinstance(value, str) and _CREDENTIALS_IN_URL.search(value))


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean "x"?)`, or the words that exist when none is close."""
    words = list(known)
    close = get_close_matches(word[:SHOWN], words, n=1)
    if close:
        return f" (did you mean {quote(close[0])}?)"
    return f" (expected one of {', '.join(sorted(words))})" if words else ""
