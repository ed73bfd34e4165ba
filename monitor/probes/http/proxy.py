"""A tunnel through an HTTP proxy (CONNECT), which TLS then goes through.

Owns the proxy's part of a failure: what it says of the target counts for the target, all else says
nothing about it. Connects to nothing by itself.
"""

from __future__ import annotations

import asyncio
import re
from typing import cast

from monitor.probes.failure import ProbeError
from monitor.probes.http.trace import CONNECT, Trace
from monitor.probes.http.url import Url
from monitor.probes.reason import Reason
from monitor.probes.tcp_info import connect_delay_s

AUTHENTICATION_REQUIRED = 407
_HEAD_MAX = 16 * 1024
_END = b"\r\n\r\n"
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9]\d\d)(?: [^\r\n]*)?\r\n")
_SUCCESS = range(200, 300)
_UNREACHABLE = frozenset({502, 503, 504})
"""How proxies say that they could not get through to the target."""


class Tunnel(asyncio.Protocol):
    """Asks a proxy for a connection to the host and port of a URL; `settled` resolves once."""

    def __init__(self, url: Url, trace: Trace, settled: asyncio.Future[ProbeError | None]) -> None:
        """`settled` becomes None when the tunnel stands, else the failure."""
        host = f"[{url.host}]" if ":" in url.host else url.host
        self._to = f"{host}:{url.port}"
        self._trace = trace
        self._head = b""
        self.settled = settled
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast("asyncio.WriteTransport", transport)
        self._trace.waiting_for = None
        self._trace.enter(CONNECT, lambda seconds: connect_delay_s(transport, seconds))
        request = f"CONNECT {self._to} HTTP/1.1\r\nHost: {self._to}\r\n\r\n"
        self._transport.write(request.encode("ascii"))

    def data_received(self, data: bytes) -> None:
        """Read the answer's head."""
        self._head += data
        if _END in self._head or len(self._head) > _HEAD_MAX:
            self._settle(_verdict(self._head))

    def eof_received(self) -> None:
        """Take a half-close for the end."""
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Fail, unless there was an answer."""
        self._settle(ProbeError(Reason.PROXY, "the proxy closed the connection"))

    def abort(self) -> None:
        """Close the connection now, whatever its state."""
        if self._transport is not None:
            self._transport.abort()

    def _settle(self, failure: ProbeError | None) -> None:
        if not self.settled.done():
            self.settled.set_result(failure)


def _verdict(head: bytes) -> ProbeError | None:
    line = _STATUS_LINE.match(head)
    if line is None or _END not in head:
        return ProbeError(Reason.PROXY, "the proxy's answer is not HTTP/1.1")
    status = int(line[1])
    if status in _UNREACHABLE:
        detail = f"the proxy cannot reach the target (HTTP {status})"
        return ProbeError(Reason.CONNECT_UNREACHABLE, detail)
    if status not in _SUCCESS:
        return ProbeError(Reason.PROXY, f"the proxy refuses to connect (HTTP {status})")
    if not head.endswith(_END) or head.count(_END) > 1:
        return ProbeError(Reason.TLS_PROTOCOL, "the server spoke before the handshake")
    return None
