"""Where a probe goes that is not HTTP: a host and a port, as people write them. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from monitor.probes.http.url import parse_url

_NOT_IN_ADDRESS = re.compile(r"[/?#@\\]")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place to connect to."""

    host: str
    """Lower case, ASCII; an IPv6 address without brackets."""
    port: int
    is_address: bool
    """Whether `host` is an address already."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_endpoint(text: str, default_port: int | None = None) -> Endpoint:
    """Return the endpoint in `host:port`, `[::1]:port`, or a bare host with `default_port`.

    Raises:
        ValueError: when it is none.
    """
    bare = f"[{text}]" if text.count(":") > 1 and "[" not in text else text
    msg = "expected host:port, such as mail.shop.test:25 or [2001:db8::1]:25"
    if _NOT_IN_ADDRESS.search(text):
        raise ValueError(msg)
    try:
        url = parse_url(f"http://{bare}")
        port = urlsplit(f"//{bare}").port or default_port
    except ValueError as error:
        raise ValueError(msg) from error
    if port is None:
        raise ValueError(msg)
    return Endpoint(url.host, port, url.is_address)


def parse_host(text: str) -> Endpoint:
    """Return the endpoint of a host or an address that stands without a port (0).

    Raises:
        ValueError: when it is none.
    """
    if text.count(":") == 1 or "]:" in text:
        msg = "expected a host name or an address, without a port"
        raise ValueError(msg)
    endpoint = parse_endpoint(text, 1)
    return Endpoint(endpoint.host, 0, endpoint.is_address)
