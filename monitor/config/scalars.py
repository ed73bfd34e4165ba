"""What a plain YAML scalar means: JSON's values, and nothing that two readers see differently."""

from __future__ import annotations

import math
import re

_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_SURPRISES = (
    (r"(?i)y|n|yes|no|on|off", "a truth value", "true or false"),
    (r"[-+]?\d[\d_]*(:[0-5]?\d)+(\.[\d_]*)?", "a number to base 60", "a duration such as 1h30m"),
    (r"[-+]?0[xX][\da-fA-F_]+", "hexadecimal", "a decimal number"),
    (r"[-+]?0[bB][01_]+", "binary", "a decimal number"),
    (r"[-+]?0[oO]?\d[\d_]*(\.[\d_]*)?([eE][-+]?\d+)?", "octal", "no leading zeros"),
    (r"[-+]?\d[\d_]*(\.[\d_]*)?", "a number with underscores", "plain digits"),
    (r"(?i)[-+]?\.(nan|inf)", "not a finite number", "a number"),
)
"""What some readers of YAML take the text for, and what a person may have meant instead."""
_MAX_DIGITS = 18
_TOO_LARGE = "is too large for a number: write it in quotes, or a smaller number"


class AmbiguousError(ValueError):
    """Readers of YAML disagree about this text; says what to write instead."""


def resolve(text: str) -> str | int | float | bool | None:
    """Return the value of a plain scalar.

    Raises:
        AmbiguousError: the text means different things to different readers of YAML.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        if len(text.lstrip("+-")) > _MAX_DIGITS:
            raise AmbiguousError(_TOO_LARGE)
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise AmbiguousError(_TOO_LARGE)
        return number
    for pattern, meaning, instead in _SURPRISES:
        if re.fullmatch(pattern, text, re.ASCII):
            message = f"is {meaning} to some YAML readers: write it in quotes, or {instead}"
            raise AmbiguousError(message)
    return text
