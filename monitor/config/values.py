"""The text forms of configuration files that only `config` reads: addresses and the plan's prose.

Every parser takes what stands in the file, returns the exact value and raises ValueError with
what was expected.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from monitor.fields import format_duration, parse_exact_duration, parse_percent
from monitor.probes.http.url import join

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_QUANTILE = re.compile(r"p([0-9]{1,2}(?:\.[0-9]{1,6})?)")
_BELOW = re.compile(r"<\s*(\S.*)")
_PERCENT_IN_TEXT = re.compile(r"[0-9][0-9.]*\s*%")
_UPTIME = re.compile(r"(\S+?\s*%)(?:\s+uptime)?")
_REGIONS = re.compile(r"([1-9][0-9]{0,2})\+(?:\s+[a-z ]+)?")
_LISTEN = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:\s]*):([0-9]{1,5})")
_MAX_PORT = 65535


def parse_url(text: object) -> str:
    """Return `text` when it is a base address that can be probed and shown.

    Raises:
        ValueError: when it is none, or carries a password.
    """
    msg = "expected an address such as https://app.example.org"
    if not isinstance(text, str):
        raise ValueError(msg)  # noqa: TRY004 - pydantic takes ValueError as the answer "no"
    try:
        join(text, "/")
    except UnicodeError:
        raise ValueError(msg) from None
    return text


def parse_path(text: object) -> str:
    """Return `text` when it is a path below an address.

    Raises:
        ValueError: when it is not.
    """
    if not isinstance(text, str) or not text.startswith("/") or "#" in text:
        msg = "expected a path such as /version.json"
        raise ValueError(msg)
    join("http://host", text)
    return text


def parse_traffic(text: object) -> Fraction | None:
    """Return the share (0-1) in `5% of production users`; None when the text names none.

    Raises:
        ValueError: when it is no line of text, or more than 100 %.
    """
    if not isinstance(text, str) or not text.isprintable():
        msg = "expected text such as 5% of production users"
        raise ValueError(msg)
    match = _PERCENT_IN_TEXT.search(text)
    return parse_percent(match[0]) if match else None


def parse_objective(text: object) -> Fraction:
    """Return the share (0-1, both excluded) of `99.9%` or `99.9% uptime`.

    Raises:
        ValueError: when it is none, or leaves no error budget.
    """
    match = _UPTIME.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        msg = "expected a percentage such as 99.9% or 99.9% uptime"
        raise ValueError(msg)
    share = parse_percent(match[1])
    if share in {0, 1}:
        msg = "expected more than 0% and less than 100%, which would leave no error budget"
        raise ValueError(msg)
    return share


def parse_latency_limit(text: object) -> Fraction:
    """Return the exact seconds in `< 2500ms`.

    Raises:
        ValueError: when it is no upper limit.
    """
    return _limit(text, parse_exact_duration, "< 2500ms")


def parse_error_limit(text: object) -> Fraction:
    """Return the share (0-1) in `< 0.1%`.

    Raises:
        ValueError: when it is no upper limit.
    """
    return _limit(text, parse_percent, "< 0.1%")


def _limit(text: object, parse: Callable[[object], Fraction], example: str) -> Fraction:
    match = _BELOW.fullmatch(text.strip()) if isinstance(text, str) else None
    try:
        limit = parse(match[1]) if match else Fraction()
    except ValueError:
        limit = Fraction()
    if not limit:
        msg = f"expected an upper limit such as {example}"
        raise ValueError(msg)
    return limit


def parse_quantile(text: object) -> Fraction:
    """Return the quantile (0-1) of `p95`, `p99.9`.

    Raises:
        ValueError: when it is none.
    """
    match = _QUANTILE.fullmatch(text) if isinstance(text, str) else None
    quantile = Fraction(match[1]) / 100 if match else Fraction()
    if not quantile:
        msg = "expected a percentile such as p95"
        raise ValueError(msg)
    return quantile


def parse_regions(text: object) -> int:
    """Return the least number of regions in `3+ regions`.

    Raises:
        ValueError: when it is none.
    """
    match = _REGIONS.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        msg = "expected a least number such as 3+ regions"
        raise ValueError(msg)
    return int(match[1])


def parse_identifier(text: object) -> str:
    """Return `text` when it can be a rule's or a label's name.

    Raises:
        ValueError: when it cannot.
    """
    if not isinstance(text, str) or not _IDENTIFIER.fullmatch(text):
        msg = "expected letters, digits and '_', not starting with a digit, at most 100"
        raise ValueError(msg)
    return text


def parse_text(text: object) -> str:
    """Return `text` when it has no control characters but line breaks and tabs.

    Raises:
        ValueError: when it has.
    """
    if not isinstance(text, str) or not all(c.isprintable() or c in "\n\t" for c in text):
        msg = "expected text without control characters"
        raise ValueError(msg)
    return text


def parse_listen(text: object) -> tuple[str, int]:
    """Return host and port of `127.0.0.1:9911` or `[::1]:9911`.

    Raises:
        ValueError: when it is none.
    """
    match = _LISTEN.fullmatch(text) if isinstance(text, str) else None
    if match is None or int(match[2]) > _MAX_PORT or not match[1]:
        msg = "expected host and port such as 127.0.0.1:9911"
        raise ValueError(msg)
    return match[1].strip("[]"), int(match[2])


def parse_network(text: object) -> str:
    """Return a network in CIDR form; a single address becomes one of its own.

    Raises:
        ValueError: when it is none.
    """
    msg = "expected a network such as 10.0.0.0/8"
    if not isinstance(text, str):
        raise ValueError(msg)  # noqa: TRY004 - pydantic takes ValueError as the answer "no"
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError(msg) from None


def at_least(limit_s: float) -> Callable[[float], float]:
    """Return a validator of durations that refuses any below `limit_s`."""

    def check(value_s: float) -> float:
        if value_s < limit_s:
            msg = f"expected at least {format_duration(limit_s)}"
            raise ValueError(msg)
        return value_s

    return check


def _text(*examples: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "examples": list(examples)})


Url = Annotated[str, BeforeValidator(parse_url), _text("https://app.example.org")]
UrlPath = Annotated[str, BeforeValidator(parse_path), _text("/version.json")]
Traffic = Annotated[Fraction | None, BeforeValidator(parse_traffic), _text("5% of users")]
ObjectiveShare = Annotated[Fraction, BeforeValidator(parse_objective), _text("99.9%")]
LatencyLimit = Annotated[Fraction, BeforeValidator(parse_latency_limit), _text("< 2500ms")]
ErrorLimit = Annotated[Fraction, BeforeValidator(parse_error_limit), _text("< 0.1%")]
Quantile = Annotated[Fraction, BeforeValidator(parse_quantile), _text("p95")]
Regions = Annotated[int, BeforeValidator(parse_regions), _text("3+ regions")]
Identifier = Annotated[str, BeforeValidator(parse_identifier), _text("high_error_rate")]
Text = Annotated[str, BeforeValidator(parse_text), _text()]
Listen = Annotated[tuple[str, int], BeforeValidator(parse_listen), _text("127.0.0.1:9911")]
Network = Annotated[str, BeforeValidator(parse_network), _text("10.0.0.0/8")]
