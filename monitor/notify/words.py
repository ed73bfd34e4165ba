"""Text that other systems wrote, made safe and short for people; figures with their units.

Pure: no I/O, no clock, no markup. Whatever comes out is free of control characters, lone
surrogates and text-direction tricks, and bounded in size.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from monitor.fields import format_duration

TITLE_LIMIT = 200
VALUE_LIMIT = 2000

# Controls except line feed and tab, lone surrogates, line separators and bidirectional overrides.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
    "\ud800-\udfff\ufeff\ufffe\uffff]"
)
_SPACE = re.compile(r"\s+")
_UNITS = (
    (re.compile(r"(error|success)_rate_|uptime_percentage|error_budget_|coverage_"), " %"),
    (re.compile(r"p[0-9.]+_latency"), " ms"),
    (re.compile(r"burn_rate_"), "x"),
    (re.compile(r"certificate_expiry_days"), " days"),
)


def clean(text: str) -> str:
    """Return `text` without characters that break a protocol or deceive a reader.

    Line feeds stay; CR LF becomes one line feed; everything else unprintable becomes U+FFFD.
    """
    return _UNPRINTABLE.sub("\ufffd", text.replace("\r\n", "\n").replace("\t", " "))


def one_line(text: str) -> str:
    """Return `text` clean and on one line."""
    return _SPACE.sub(" ", clean(text)).strip()


def clip(text: str, limit: int) -> str:
    """Return at most `limit` (>= 1) characters of `text`, ending in `…` when something is gone."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def fit(text: str, limit: int) -> str:
    """Return `text` clean, without space around it, at most `limit` characters.

    Work is bounded too: a megabyte costs no more than what is kept of it.
    """
    start = clean(text[: 2 * limit]).strip()
    return clip(f"{start}…" if len(text) > 2 * limit else start, limit)


def fit_line(text: str, limit: int) -> str:
    """Return `text` like `fit`, and on one line."""
    return _SPACE.sub(" ", fit(text, limit))


def iso(at: float) -> str:
    """Return UTC seconds as ISO 8601 to the second: `2026-01-31T12:00:00Z`."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def measured(name: str, value: float | str | None) -> str:
    """Return an input of a condition for people, with the unit that conditions use for `name`."""
    if value is None:
        return "no data"
    if isinstance(value, str):
        return fit_line(value, TITLE_LIMIT)
    unit = next((unit for pattern, unit in _UNITS if pattern.match(name)), "")
    # Four decimals keep 99.995 apart from 100; what is smaller still must not look like zero.
    digits = f"{value:.4f}".rstrip("0").rstrip(".")
    return f"{f'{value:.2g}' if digits in {'0', '-0'} and value else digits}{unit}"


def some(texts: list[str], limit: int) -> list[str]:
    """Return the first `limit` texts, and how many more there are."""
    rest = len(texts) - limit
    return texts if rest <= 0 else [*texts[:limit], f"… {rest:,} more"]


def span(seconds: float) -> str:
    """Return a length of time for people, whole seconds: `1h30m`; `0s` when it is none."""
    return format_duration(max(0, round(seconds)))
