"""URLs as the wire needs them: parsed once, checked strictly. No I/O, no address policy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import quote, urljoin, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?")
_SAFE = "%/:@!$&'()*+,;=?~"


class SchemeError(ValueError):
    """The URL is for something else than HTTP."""


@dataclass(frozen=True, slots=True)
class Url:
    """An absolute http or https URL without fragment and without credentials."""

    scheme: str
    host: str
    """Lower case, ASCII; an IPv6 address without brackets."""
    port: int
    target: str
    """Path and query, percent-encoded."""
    is_address: bool
    """Whether `host` is an address already."""

    @property
    def authority(self) -> str:
        """The `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """What a secret is bound to."""
        return self.scheme, self.host, self.port

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_url(text: str) -> Url:
    """Return the URL in `text`.

    Raises:
        SchemeError: when it is not http or https.
        ValueError: when it is not an absolute URL, or carries a user name or control characters.
    """
    if not text.isprintable() or " " in text:
        msg = "a URL holds no spaces and no control characters"
        raise ValueError(msg)
    parts = urlsplit(text)
    if parts.scheme not in _DEFAULT_PORTS:
        msg = "expected a URL that starts with http:// or https://"
        raise SchemeError(msg)
    if parts.username is not None or parts.password is not None:
        msg = "a URL holds no user name or password; send them as a header"
        raise ValueError(msg)
    host, is_address = _host(parts.hostname or "")
    port = _DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
    if port == 0:
        msg = "port 0 cannot be connected to"
        raise ValueError(msg)
    target = quote(parts.path or "/", safe=_SAFE)
    if parts.query:
        target += "?" + quote(parts.query, safe=_SAFE + "[]")
    return Url(parts.scheme, host, port, target, is_address)


def join(base: str, path: str) -> Url:
    """Return `path` below `base`: a base URL may have a path of its own, which is kept.

    The path `/` stands for the base URL exactly as it is written.

    Raises:
        ValueError: when the result is no URL, or the base has a query.
    """
    if "?" in base or "#" in base:
        msg = "a base URL has no query and no fragment"
        raise ValueError(msg)
    return parse_url(base if path == "/" else base.rstrip("/") + path)


def follow(url: Url, location: bytes) -> Url:
    """Return where a `Location` header, absolute or relative to `url`, leads.

    Raises:
        SchemeError: when it leads away from http and https.
        ValueError: when it is no URL.
    """
    return parse_url(urljoin(str(url), location.decode("utf-8")))


def _host(name: str) -> tuple[str, bool]:
    try:
        # A scoped address (fe80::1%eth0) means nothing to the server that would read it.
        return str(ip_address(name.replace("%", "!"))), True
    except ValueError:
        host = name.removesuffix(".").encode("idna").decode("ascii").lower()
    if not _HOST.fullmatch(host):
        msg = "expected a host name or an address after //"
        raise ValueError(msg)
    return host, False
