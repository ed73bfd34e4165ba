"""HTTP/1.1 exchanges on one connection: a bare asyncio protocol around llhttp.

Owns framing, its caps and the phases from the first byte out to the last byte in; each ends when
the kernel had its last byte, not when our loop came to read it. Sets no deadline (one timer for
the whole probe lies outside), opens no connection and judges nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import NoReturn, Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from monitor.probes.failure import ProbeError, lost_failure
from monitor.probes.http.body import Body
from monitor.probes.http.redirects import REDIRECTS
from monitor.probes.http.request import Fields
from monitor.probes.http.trace import SEND, TLS, TRANSFER, WAIT, Late, Trace
from monitor.probes.reason import Reason
from monitor.probes.sockets import DirectTransport
from monitor.probes.tcp_info import connect_delay_s, data_delay_s, end_delay_s

MAX_HEADERS = 200
MAX_HEADER_BYTES = 64 * 1024
_SWITCHING_PROTOCOLS = 101
_FIRST_FINAL_STATUS = 200


@dataclass(frozen=True, slots=True)
class Exchange:
    """What to send, and how much of the answer is needed."""

    request: bytes
    """All of it; for HTTP/2 its body only."""
    is_head: bool
    """The answer has no body, whatever its headers say."""
    keep_body: bool
    max_body_bytes: int
    follow_redirects: bool
    """The body of a redirect is not waited for."""
    secure: bool
    """TLS comes first; `ResponseProtocol.begin` is called when it stands."""
    keep: bool = False
    """Leave the connection open after a complete answer, when the server does too."""
    http2: Fields | None = None
    """The fields of the request when it goes over HTTP/2."""


class Settled(Protocol):
    """Where the outcome of an exchange goes: a future, or what does without one."""

    def done(self) -> bool:
        """Whether there is an outcome, or nobody waits for it any more."""
        ...

    def set_result(self, failure: ProbeError | None, /) -> None:
        """Take the outcome: None when the answer is complete (or long enough)."""
        ...


class StopParsingError(Exception):
    """Leaves the parser from within a callback once the outcome is settled."""


class ResponseProtocol(asyncio.Protocol):
    """Sends one request and takes in one response; what waits hears exactly once of each."""

    __slots__ = (
        "_body",
        "_direct",
        "_exchange",
        "_header_count",
        "_parser",
        "_settled",
        "_socket",
        "_transport",
        "_unframed",
        "connect_error",
        "headers",
        "is_idle",
        "is_settled",
        "status",
        "trace",
    )

    def __init__(self, exchange: Exchange, trace: Trace, settled: Settled) -> None:
        """`settled` becomes None when the answer is complete (or long enough), else the failure."""
        self._transport: asyncio.WriteTransport | None = None
        self._socket: asyncio.WriteTransport | None = None
        self._direct: DirectTransport | None = None
        self.connect_error: OSError | None = None
        """Why there is no connection; then `settled` tells no failure."""
        self._prepare(exchange, trace, settled)

    def renew(self, exchange: Exchange, trace: Trace, settled: Settled) -> None:
        """Send another request on this connection, which `is_idle`."""
        self._prepare(exchange, trace, settled)
        if self._transport is not None:
            self.begin(self._transport)

    def _prepare(self, exchange: Exchange, trace: Trace, settled: Settled) -> None:
        self._exchange = exchange
        self.trace = trace
        self._body = Body(exchange.max_body_bytes, keep=exchange.keep_body)
        self._unframed = 0
        self._header_count = 0
        self._settled: Settled | None = settled
        self.is_settled = False
        """Whether this exchange has an outcome."""
        self.status = 0
        """0 until the headers of a final response are complete."""
        self.headers: list[tuple[bytes, bytes]] = []
        """As received, trailers included."""
        self.is_idle = False
        """Whether the connection is open and can carry another exchange."""
        self._open_parser()

    # --- the answer ---------------------------------------------------------------------------

    @property
    def body(self) -> bytes:
        """The decoded body, when it was to be kept."""
        return self._body.content

    @property
    def has_begun(self) -> bool:
        """Whether anything of it has come."""
        return bool(self.status or self._unframed)

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
        self.attach(transport, self._since_connected)

    def connection_failed(self, error: OSError) -> None:
        """Leave it to others what that means: there may be another address."""
        self.connect_error = error
        self._tell(None)

    def attach(self, transport: asyncio.BaseTransport, late: Late | None = None) -> None:
        """Take over a connection; without `late` it is a tunnel whose last data opened it."""
        self._transport = self._socket = cast("asyncio.WriteTransport", transport)
        self._direct = transport if isinstance(transport, DirectTransport) else None
        # uvloop gathers small writes until the end of the turn; that wait is not the target's.
        self._socket.set_write_buffer_limits(0)
        self.trace.waiting_for = None
        phase = TLS if self._exchange.secure else SEND
        self.trace.enter(phase, late or self._since_data, self._ready_at)
        if not self._exchange.secure:
            self.begin(transport)

    def begin(self, transport: asyncio.BaseTransport) -> None:
        """Send the request over `transport`."""
        self._transport = cast("asyncio.WriteTransport", transport)
        if self.trace.phase != SEND:
            self.trace.enter(SEND)
        self._transport.write(self._exchange.request)
        self.trace.enter(WAIT)

    def data_received(self, data: bytes) -> None:
        """Feed the parser within the caps."""
        if self.is_settled:
            # Nobody asked: whatever it is, it must not become the next answer.
            self.abort()
            return
        phase = self.trace.phase
        if phase == WAIT:
            self.trace.enter(TRANSFER, self._since_data, self._ready_at)
        elif phase == TLS:
            # A server that speaks first does not speak TLS; start_tls would never see these bytes.
            self._settle(ProbeError(Reason.TLS_PROTOCOL, "the server spoke before the handshake"))
            return
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if self.is_settled:
                self.abort()
            else:
                detail = f"not valid HTTP/1.1: {error}"
                self._settle(ProbeError(Reason.PROTOCOL, detail))

    def eof_received(self) -> None:
        """Take a half-close for the end: an HTTP server has nothing more to say after it."""
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Decide whether this end of the connection ends the response."""
        self.is_idle = False
        if self.is_settled:
            return
        if exc is not None and not isinstance(exc, OSError):
            detail = f"{type(exc).__name__} while the answer was read"
            self._settle(ProbeError(Reason.PROBER_ERROR, detail))
        elif exc is not None:
            when = "while reading the body" if self.status else "before the response was complete"
            self._settle(lost_failure(exc, when))
        elif self.status and self._ends_with_connection():
            self.trace.enter(None, self._since_end, self._ready_at)
            self._settle(self._body.shortfall)
        else:
            part = "body was" if self.status else "headers were"
            detail = f"the connection was closed before the {part} complete"
            self._settle(ProbeError(Reason.TRUNCATED, detail))

    def abort(self) -> None:
        """Close the connection now, whatever its state."""
        self.is_idle = False
        if self._transport is not None:
            self._transport.abort()

    # --- what the kernel saw ------------------------------------------------------------------

    @property
    def _ready_at(self) -> float | None:
        return None if self._direct is None else self._direct.ready_at

    def _since_connected(self, connect_s: float) -> float | None:
        return None if self._socket is None else connect_delay_s(self._socket, connect_s)

    def _since_data(self, _phase_s: float) -> float | None:
        return None if self._socket is None else data_delay_s(self._socket)

    def _since_end(self, _phase_s: float) -> float | None:
        return None if self._socket is None else end_delay_s(self._socket)

    # --- the parser's side --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Refuse what follows a whole answer: nobody asked for it."""
        if self.is_settled:
            raise StopParsingError

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect one header or trailer."""
        self.headers.append((name, value))
        self._header_count += 1
        if self._header_count > MAX_HEADERS:
            self._stop(ProbeError(Reason.TOO_LARGE_HEADERS, f"more than {MAX_HEADERS} headers"))

    def on_headers_complete(self) -> None:
        """Take what the parser found."""
        self._take_head(self._parser.get_status_code())

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
            # Stopping the parser by an exception costs more than letting it find the end itself.
            keep = self._exchange.keep and self._parser.should_keep_alive()
            self._settle(self._body.shortfall, keep=keep)

    # --- inside -------------------------------------------------------------------------------

    def _open_parser(self) -> None:
        self._parser = HttpResponseParser(self)

    def _close_parser(self) -> None:
        # The parser holds our methods: without this each probe would leave a cycle behind.
        del self._parser

    def _take_head(self, status: int) -> None:
        """Take a final status; skip interim ones, whose headers still count for the caps."""
        if status < _FIRST_FINAL_STATUS and status != _SWITCHING_PROTOCOLS:
            self._skip_interim(status)
            return
        self.status = self.trace.status = status
        self.trace.body_awaited = True
        if self._exchange.is_head or self._is_redirect() or status == _SWITCHING_PROTOCOLS:
            self._stop(None)
        if self._exchange.keep_body:
            try:
                self._body.decode(self.header(b"content-encoding"))
            except ProbeError as error:
                self._stop(error)

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
            if self.is_settled:
                return

    def _skip_interim(self, status: int) -> None:
        if status < 100:  # noqa: PLR2004 - the first status there is
            self._stop(ProbeError(Reason.PROTOCOL, f"HTTP status {status:03} does not exist"))
        self.headers.clear()

    def _is_redirect(self) -> bool:
        return (
            self.status in REDIRECTS
            and self._exchange.follow_redirects
            and self.header(b"location") is not None
        )

    def _ends_with_connection(self) -> bool:
        coding = self.header(b"transfer-encoding")
        if coding is not None:
            return not coding.lower().rstrip().endswith(b"chunked")
        return self.header(b"content-length") is None

    def _stop(self, failure: ProbeError | None) -> NoReturn:
        self._settle(failure)
        raise StopParsingError

    def _settle(self, failure: ProbeError | None, *, keep: bool = False) -> None:
        if self.is_settled:
            return
        self.trace.enter(None, self._since_data, self._ready_at)
        self._close_parser()
        self.is_idle = keep
        if not keep:
            self.abort()
        self._tell(failure)

    def _tell(self, failure: ProbeError | None) -> None:
        self.is_settled = True
        # They hold each other: what a probe used is to go without the garbage collector.
        settled, self._settled = self._settled, None
        # Whoever waited may have been ended in this very turn of the loop.
        if settled is not None and not settled.done():
            settled.set_result(failure)
