"""The bytes of a request, and which of its headers may go to which origin.

Secrets are revealed here and nowhere else. No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from monitor import __version__
from monitor.fields import Secret
from monitor.probes.http.url import Url

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_FRAMING = frozenset(
    {"connection", "content-length", "expect", "te", "trailer", "transfer-encoding", "upgrade"}
)
_HOME_ONLY = frozenset({"authorization", "cookie", "host", "proxy-authorization"})
_DEFAULTS = {
    "User-Agent": f"slo-monitor/{__version__}",
    "Accept": "*/*",
    "Accept-Encoding": "identity",
}
_HTTP_1_ONLY = frozenset({b"host", b"keep-alive", b"proxy-connection"})
_SEE_OTHER = 303
_BECOME_GET = frozenset({301, 302})


Fields = tuple[tuple[bytes, bytes], ...]
"""Names in lower case and values, as HTTP/2 has them."""


def check_header_name(name: str) -> None:
    """Accept what can name a header.

    Raises:
        ValueError: when it cannot.
    """
    if not _HEADER_NAME.fullmatch(name):
        msg = f"{name!r} is not a header name"
        raise ValueError(msg)


def check_header(name: str, value: str | Secret) -> None:
    """Accept a header that can be sent as it stands.

    Raises:
        ValueError: saying why it cannot, without its value.
    """
    check_header_name(name)
    if name.lower() in _FRAMING:
        msg = f"{name} belongs to the prober and cannot be set"
        raise ValueError(msg)
    if not _HEADER_VALUE.fullmatch(_plain(value)):
        msg = f"the value of {name} holds a line break, a control character or no Latin-1"
        raise ValueError(msg)


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """What to ask, without where: rendered for each hop. Holds secrets, so it has no repr."""

    method: str
    body: bytes
    home_headers: bytes
    """For the configured origin only."""
    headers: bytes
    """For any origin."""
    home_names_host: bool

    @classmethod
    def build(cls, method: str, headers: Mapping[str, str | Secret], body: bytes) -> Request:
        """Return a request; `headers` (see `check_header`) replace defaults of the same name."""
        own = {name.lower() for name in headers}
        rest = {name: value for name, value in _DEFAULTS.items() if name.lower() not in own}
        shared = {name: value for name, value in headers.items() if not _is_private(name, value)}
        return cls(
            method=method,
            body=body,
            home_headers=_render(headers) + _render(rest),
            headers=_render(shared) + _render(rest),
            home_names_host="host" in own,
        )

    def render(
        self,
        url: Url,
        *,
        at_home: bool,
        authorization: bytes = b"",
        keep_alive: bool = False,
        absolute: bool = False,
    ) -> bytes:
        """Return the bytes for `url`; secrets go to the configured origin (`at_home`) only.

        `authorization` is a header's whole line, and a secret. `absolute` is how proxies want it.
        """
        lines = f"{self.method} {url if absolute else url.target} HTTP/1.1\r\n"
        if not (at_home and self.home_names_host):
            lines += f"Host: {url.authority}\r\n"
        if not keep_alive:
            lines += "Connection: close\r\n"
        if self.body or self.method == "POST":
            lines += f"Content-Length: {len(self.body)}\r\n"
        headers = authorization + self.home_headers if at_home else self.headers
        return lines.encode("ascii") + headers + b"\r\n" + self.body

    def fields(self, url: Url, *, at_home: bool, authorization: bytes = b"") -> Fields:
        """Return what `render` says before the body in the words of HTTP/2."""
        headers = authorization + self.home_headers if at_home else self.headers
        lines = (line.partition(b":") for line in headers.splitlines())
        own = [(name.lower(), value.strip()) for name, _, value in lines]
        authority = dict(own).get(b"host", url.authority.encode("ascii"))
        length: Fields = ()
        if self.body or self.method == "POST":
            length = ((b"content-length", b"%d" % len(self.body)),)
        return (
            (b":method", self.method.encode("ascii")),
            (b":scheme", url.scheme.encode("ascii")),
            (b":authority", authority),
            (b":path", url.target.encode("ascii")),
            *length,
            *(field for field in own if field[0] not in _HTTP_1_ONLY),
        )

    def redirected(self, status: int) -> Request:
        """Return what to ask after a redirect: as in browsers, a POST may become GET."""
        becomes_get = (status == _SEE_OTHER and self.method != "HEAD") or (
            status in _BECOME_GET and self.method == "POST"
        )
        return replace(self, method="GET", body=b"") if becomes_get else self


def _plain(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def _is_private(name: str, value: str | Secret) -> bool:
    return isinstance(value, Secret) or name.lower() in _HOME_ONLY


def _render(headers: Mapping[str, str | Secret]) -> bytes:
    lines = (f"{name}: {_plain(value)}\r\n" for name, value in headers.items())
    return "".join(lines).encode("latin-1")
