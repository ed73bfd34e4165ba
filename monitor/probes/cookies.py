"""The cookies of one origin during one run: RFC 6265 as far as a few requests in a row need it.

Belongs to one origin, so `Domain` is not looked at and nothing goes elsewhere. Values are secrets.
No I/O, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

MAX_COOKIES = 50
MAX_BYTES = 4096
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x20-\x3a\x3c-\x7e\x80-\xff]*")
_DIGITS = 10


@dataclass(frozen=True, slots=True, repr=False)
class _Cookie:
    value: str
    secure: bool


class CookieJar:
    """Keeps what an origin sets and gives back what belongs to a path."""

    def __init__(self, *, secure: bool) -> None:
        """`secure` says that the origin is reached over TLS."""
        self._secure = secure
        self._cookies: dict[tuple[str, str], _Cookie] = {}

    def take(self, headers: Iterable[tuple[bytes, bytes]], path: str, at: float) -> None:
        """Take in the `Set-Cookie` headers of an answer to a request for `path` at `at` (UTC s).

        A cookie that is malformed or too long is ignored, and so is one too many.
        """
        for name, value in headers:
            if name.lower() == b"set-cookie" and len(value) <= MAX_BYTES:
                self._set(value.decode("latin-1"), path, at)

    def header(self, path: str) -> str | None:
        """Return the `Cookie` header of a request for `path`, longest paths first, or None."""
        found = [
            (place, f"{name}={cookie.value}")
            for (name, place), cookie in self._cookies.items()
            if _matches(path, place) and (self._secure or not cookie.secure)
        ]
        found.sort(key=lambda item: -len(item[0]))
        return "; ".join(pair for _, pair in found) or None

    @property
    def values(self) -> tuple[str, ...]:
        """What must not be shown."""
        return tuple(cookie.value for cookie in self._cookies.values())

    def _set(self, text: str, path: str, at: float) -> None:
        pair, *rest = text.split(";")
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            return
        attributes = _attributes(rest)
        place = attributes.get("path", "")
        key = (name, place if place.startswith("/") else _directory(path))
        if _is_over(attributes, at):
            self._cookies.pop(key, None)
        elif key in self._cookies or len(self._cookies) < MAX_COOKIES:
            self._cookies[key] = _Cookie(value, secure="secure" in attributes)


def _attributes(parts: Iterable[str]) -> dict[str, str]:
    pairs = (part.partition("=") for part in parts)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _is_over(attributes: dict[str, str], at: float) -> bool:
    age = attributes.get("max-age", "")
    if age.removeprefix("-").isdecimal():
        return age.startswith("-") or int(age[:_DIGITS]) == 0
    try:
        return parsedate_to_datetime(attributes["expires"]).timestamp() <= at
    except (KeyError, ValueError, OverflowError):
        return False


def _directory(path: str) -> str:
    return path.partition("?")[0].rpartition("/")[0] or "/"


def _matches(path: str, place: str) -> bool:
    path = path.partition("?")[0]
    return path == place or path.startswith(place if place.endswith("/") else place + "/")
