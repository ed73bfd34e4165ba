"""Texts with placeholders for captured values: `/orders/{order}`. Pure.

Owns how a value is written where it goes. A value comes from the target, so it never gets out of
its place: no line break in a header, no slash in a path, no quote in a JSON text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from urllib.parse import quote, quote_plus

from monitor.probes.failure import ProbeError
from monitor.probes.http.request import check_header
from monitor.probes.reason import Reason

NAME = r"[A-Za-z_][A-Za-z0-9_]{0,63}"
_PLACEHOLDER = re.compile(rf"\{{({NAME})\}}")
_JSON = re.compile(r"application/(?:[\w.-]+\+)?json")
_FORM = "application/x-www-form-urlencoded"


def placeholders(text: str) -> frozenset[str]:
    """Return the names between braces in `text`."""
    return frozenset(_PLACEHOLDER.findall(text))


def fill_path(text: str, captured: Mapping[str, str]) -> str:
    """Return a path; every value is percent-encoded, so that it stays one part of it.

    Raises:
        ProbeError: (capture) for a value that would lead to another directory.
    """
    for name in placeholders(text) & captured.keys():
        if captured[name] in {"", ".", ".."}:
            detail = f"the captured {name} cannot stand in a path"
            raise ProbeError(Reason.CAPTURE, detail)
    return _fill(text, captured, lambda value: quote(value, safe="", errors="replace"))


def fill_header(name: str, text: str, captured: Mapping[str, str]) -> str:
    """Return the value of the header called `name`.

    Raises:
        ProbeError: (capture) when it could not be sent as one header.
    """
    value = _fill(text, captured, str)
    try:
        check_header(name, value)
    except ValueError:
        detail = f"a captured value cannot be sent in the header {name}"
        raise ProbeError(Reason.CAPTURE, detail) from None
    return value


def fill_body(text: str, captured: Mapping[str, str], content_type: str) -> bytes:
    """Return a body; values are written as its type asks, and as they are when it is unknown."""
    plain_type = content_type.partition(";")[0].strip().lower()
    write: Callable[[str], str] = str
    if _JSON.fullmatch(plain_type):
        write = _in_json_text
    elif plain_type == _FORM:
        write = _in_form
    return _fill(text, captured, write).encode("utf-8", "replace")


def _fill(text: str, captured: Mapping[str, str], write: Callable[[str], str]) -> str:
    """Replace once: values are not looked into again, unknown names stay."""
    return _PLACEHOLDER.sub(
        lambda match: write(captured[match[1]]) if match[1] in captured else match[0], text
    )


def _in_json_text(value: str) -> str:
    return json.dumps(value)[1:-1]


def _in_form(value: str) -> str:
    return quote_plus(value, errors="replace")
