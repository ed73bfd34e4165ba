"""One HTTP/1.1 exchange on one fresh connection: a bare asyncio protocol around llhttp.

Owns framing, its caps and the phases from the first byte out to the last byte in. Sets no
deadline (one timer for the whole probe lies outside), opens no connection and judges nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import NoReturn, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from monitor.probes.failure import ProbeError, lost_failure
from monitor.probes.http.body import Body
from monitor.probes.http.trace import SEND, TLS, TRANSFER, WAIT, Trace
from monitor.probes.reason import Reason

MAX_HEADERS = 200
MAX_HEADER_BYTES = 64 * 1024
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SWITCHING_PROTOCOLS = 101
_FIRST_FINAL_STATUS = 200


@dataclass(frozen=True, slots=True)
class Exchange:
    """What to send, and how much of the answer is needed."""

    request: bytes
    is_head: bool
    """The answer has no body, whatever its headers say."""
    keep_body: bool
    max_body_bytes: int
    follow_redirects: bool
    """The body of a redirect is not waited for."""
    secure: bool
    """TLS comes first; `ResponseProtocol.begin` is called when it stands."""


class _StopParsingError(Exception):
    """Leaves the parser from within a callback once the outcome is settled."""


class ResponseProtocol(asyncio.Protocol):
    """Sends one request and takes in one response; `settled` resolves exactly once."""

    __slots__ = (
        "_body",
        "_exchange",
        "_header_count",
        "_parser",
        "_trace",
        "_transport",
        "_unframed",
        "headers",
        "settled",
        "status",
    )

    def __init__(
        self, exchange: Exchange, trace: Trace, settled: asyncio.Future[ProbeError | None]
    ) -> None:
        """`settled` becomes None when the answer is complete (or long enough), else the failure."""
        self._exchange = exchange
        self._trace = trace
        self._transport: asyncio.WriteTransport | None = None
        self._parser = HttpResponseParser(self)
        self._body = Body(exchange.max_body_bytes, keep=exchange.keep_body)
        self._unframed = 0
        self._header_count = 0
        self.settled = settled
        self.status = 0
        """0 until the headers of a final response are complete."""
        self.headers: list[tuple[bytes, bytes]] = []
        """As received, trailers included."""

    # --- the answer ---------------------------------------------------------------------------

    @property
    def body(self) -> bytes:
        """The decoded body, when it was to be kept."""
        return self._body.content

    @property
    def is_capped(self) -> bool:
        """Whether the body was longer than what was read."""
        return self._body.full

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of the header called `name` (lower case)."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    # --- asyncio's side -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send at once on a plain connection; wait for `begin` on a secure one."""
        self._transport = cast("asyncio.WriteTransport", transport)
        if self._exchange.secure:
            self._trace.enter(TLS)
        else:
            self.begin(transport)

    def begin(self, transport: asyncio.BaseTransport) -> None:
        """Send the request over `transport`."""
        self._transport = cast("asyncio.WriteTransport", transport)
        self._trace.enter(SEND)
        self._transport.write(self._exchange.request)
        self._trace.enter(WAIT)

    def data_received(self, data: bytes) -> None:
        """Feed the parser within the caps."""
        if self.settled.done():
            return
        phase = self._trace.phase
        if phase == WAIT:
            self._trace.enter(TRANSFER)
        elif phase == TLS:
            # A server that speaks first does not speak TLS; start_tls would never see these bytes.
            self._settle(ProbeError(Reason.TLS_PROTOCOL, "the server spoke before the handshake"))
            return
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self.settled.done():
                detail = f"not valid HTTP/1.1: {error}"
                self._settle(ProbeError(Reason.PROTOCOL, detail))

    def eof_received(self) -> None:
        """Take a half-close for the end: an HTTP server has nothing more to say after it."""
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Decide whether this end of the connection ends the response."""
        if self.settled.done():
            return
        if isinstance(exc, OSError):
            when = "while reading the body" if self.status else "before the response was complete"
            self._settle(lost_failure(exc, when))
        elif self.status and self._ends_with_connection():
            self._settle(None)
        else:
            part = "body" if self.status else "headers"
            text = f"the connection was closed before the {part} were complete"
            self._settle(ProbeError(Reason.TRUNCATED, text.replace("body were", "body was")))

    def abort(self) -> None:
        """Close the connection now, whatever its state."""
        if self._transport is not None:
            self._transport.abort()

    # --- the parser's side --------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect one header or trailer."""
        self.headers.append((name, value))
        self._header_count += 1
        if self._header_count > MAX_HEADERS:
            self._stop(ProbeError(Reason.TOO_LARGE_HEADERS, f"more than {MAX_HEADERS} headers"))

    def on_headers_complete(self) -> None:
        """Take a final status; skip interim ones, whose headers still count for the caps."""
        status = self._parser.get_status_code()
        if status < _FIRST_FINAL_STATUS and status != _SWITCHING_PROTOCOLS:
            self._skip_interim(status)
            return
        self.status = self._trace.status = status
        self._trace.body_awaited = True
        if self._exchange.is_head or self._is_redirect() or status == _SWITCHING_PROTOCOLS:
            self._stop(None)
        if self._exchange.keep_body:
            try:
                self._body.decode(self.header(b"content-encoding"))
            except ProbeError as error:
                self._stop(error)

    def on_body(self, chunk: bytes) -> None:
        """Collect a part of the body up to its cap."""
        self._unframed = 0
        try:
            self._body.add(chunk)
        except ProbeError as error:
            self._stop(error)
        if self._body.full:
            self._stop(None)

    def on_message_complete(self) -> None:
        """End with a final response; an interim one is followed by another message."""
        if self.status:
            self._stop(None)

    # --- inside -------------------------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        # Everything but body bytes (headers, chunk framing, trailers) comes out of one allowance,
        # and is cut before the parser sees it, because llhttp's glue joins parts without a bound.
        while data:
            room = MAX_HEADER_BYTES - self._unframed
            if room <= 0:
                detail = f"more than {MAX_HEADER_BYTES} bytes of headers or framing"
                self._settle(ProbeError(Reason.TOO_LARGE_HEADERS, detail))
                return
            part, data = data[:room], data[room:]
            self._unframed += len(part)
            self._parser.feed_data(part)
            if self.settled.done():
                return

    def _skip_interim(self, status: int) -> None:
        if status < 100:  # noqa: PLR2004 - the first status there is
            self._stop(ProbeError(Reason.PROTOCOL, f"HTTP status {status:03} does not exist"))
        self.headers.clear()

    def _is_redirect(self) -> bool:
        return (
            self._exchange.follow_redirects
            and self.status in REDIRECTS
            and self.header(b"location") is not None
        )

    def _ends_with_connection(self) -> bool:
        coding = self.header(b"transfer-encoding")
        if coding is not None:
            return not coding.lower().rstrip().endswith(b"chunked")
        return self.header(b"content-length") is None

    def _stop(self, failure: ProbeError | None) -> NoReturn:
        self._settle(failure)
        raise _StopParsingError

    def _settle(self, failure: ProbeError | None) -> None:
        if not self.settled.done():
            self._trace.enter(None)
            self.settled.set_result(failure)
            self.abort()
