"""HTTP/2 exchanges, one on each connection: phases, caps and reasons are those of HTTP/1.1.

Owns what HTTP/2 adds to `wire`: agreement on it, settings and windows. The states are h2's, and
what h2 says of hostile bytes stays in here. Negotiates nothing: HTTP/2 was asked for, so a server
that speaks something else fails.
"""

from __future__ import annotations

import asyncio
from typing import cast

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from h2.errors import ErrorCodes

from monitor.probes.conversation import show_bytes
from monitor.probes.failure import ProbeError
from monitor.probes.frames import FrameCutter, has_headers, is_farewell
from monitor.probes.http.trace import SEND, TLS, TRANSFER, WAIT
from monitor.probes.http.wire import (
    MAX_HEADER_BYTES,
    Exchange,
    ResponseProtocol,
    StopParsingError,
)
from monitor.probes.reason import Reason

ALPN = ("h2", "http/1.1")
"""Both, so that a server without HTTP/2 says so instead of breaking off the handshake."""
_STREAM = 1
_DEFAULT_WINDOW = 64 * 1024 - 1
_WINDOW = 256 * 1024
"""So that most bodies need no further leave to be sent, as with HTTP/1.1."""


class Http2Protocol(ResponseProtocol):
    """Sends one request as stream 1 and takes in what is answered there."""

    __slots__ = ("_connection", "_early", "_frames", "_unsent")

    def begin(self, transport: asyncio.BaseTransport) -> None:
        """Send the request over `transport`, if the server agreed on HTTP/2 there."""
        if self.is_settled:
            # Closed between the end of the handshake and our turn.
            return
        self._transport = cast("asyncio.WriteTransport", transport)
        tls = transport.get_extra_info("ssl_object")
        chosen = None if tls is None else tls.selected_alpn_protocol()
        if tls is not None and chosen != ALPN[0]:
            choice = f"it chose {chosen}" if chosen else "it chose nothing"
            detail = f"the server does not offer HTTP/2 (ALPN h2): {choice}"
            self._settle(ProbeError(Reason.PROTOCOL, detail))
            return
        if self.trace.phase != SEND:
            self.trace.enter(SEND)
        self._flush()
        self.trace.enter(WAIT)
        if self._early:
            self._feed(self._early)

    def data_received(self, data: bytes) -> None:
        """Feed h2 within the caps; the wait ends with the answer, not with the server's settings.

        A server may send its settings as soon as TLS stands, before our request.
        """
        if self.is_settled:
            self.abort()
        elif self.trace.phase != TLS:
            self._feed(data)
        elif cast("asyncio.Transport", self._socket).get_protocol() is self:
            # No TLS has come between us and the socket yet.
            super().data_received(data)
        else:
            self._early += data

    # --- the parser's side --------------------------------------------------------------------

    def _open_parser(self) -> None:
        """Prepare everything up to the bytes of the request, before there is a connection."""
        fields = self._exchange.http2
        if fields is None:
            msg = "an exchange over HTTP/2 needs the fields of its request"
            raise ValueError(msg)
        self._frames = FrameCutter()
        self._early = b""
        self._unsent = self._exchange.request
        # Our fields were checked when they were configured.
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self._connection = connection = h2.connection.H2Connection(config)
        codes = h2.settings.SettingCodes
        connection.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                codes.ENABLE_PUSH: 0,
                codes.INITIAL_WINDOW_SIZE: _WINDOW,
                codes.MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES,
            },
        )
        connection.decoder.max_header_list_size = MAX_HEADER_BYTES
        connection.initiate_connection()
        connection.increment_flow_control_window(_WINDOW - _DEFAULT_WINDOW)
        connection.send_headers(_STREAM, fields, end_stream=not self._unsent)
        self._send_body()

    def _close_parser(self) -> None:
        # Its table of methods points back to it: without this each probe would leave a cycle.
        vars(self._connection).clear()

    def _feed(self, data: bytes) -> None:
        try:
            for frame in self._frames.cut(data):
                self._take(frame)
                if self.is_settled:
                    return
        except StopParsingError:
            return
        except ProbeError as error:
            self._settle(error)
            return
        self._flush()

    def _take(self, frame: bytes) -> None:
        if is_farewell(frame, _STREAM):
            return
        if has_headers(frame):
            self._unframed += len(frame)
            if self._unframed > MAX_HEADER_BYTES:
                detail = f"more than {MAX_HEADER_BYTES} bytes of headers"
                raise ProbeError(Reason.TOO_LARGE_HEADERS, detail)
        try:
            events = self._connection.receive_data(frame)
        except h2.exceptions.DenialOfServiceError as error:
            detail = f"more than {MAX_HEADER_BYTES} bytes of headers, compressed"
            raise ProbeError(Reason.TOO_LARGE_HEADERS, detail) from error
        except Exception as error:  # whatever a library says of hostile bytes
            detail = f"not valid HTTP/2 ({type(error).__name__})"
            raise ProbeError(Reason.PROTOCOL, detail) from error
        for event in events:
            self._handle(event)

    def _handle(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.DataReceived):
            if event.data:
                self.on_body(event.data)
            self._connection.acknowledge_received_data(event.flow_controlled_length, _STREAM)
        elif isinstance(
            event, h2.events.ResponseReceived | h2.events.InformationalResponseReceived
        ):
            self._on_headers([(bytes(name), bytes(value)) for name, value in event.headers])
        elif isinstance(event, h2.events.TrailersReceived):
            for name, value in event.headers:
                self.on_header(bytes(name), bytes(value))
        elif isinstance(event, h2.events.StreamEnded):
            self.on_message_complete()
        elif isinstance(event, h2.events.StreamReset):
            detail = f"the server reset the stream ({_name(event.error_code)})"
            raise ProbeError(Reason.RESET, detail)
        elif isinstance(event, h2.events.ConnectionTerminated):
            detail = f"the server ends the connection ({_name(event.error_code)})"
            raise ProbeError(Reason.RESET, detail)
        elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            self._send_body()

    def _on_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        if self.trace.phase == WAIT:
            self.trace.enter(TRANSFER, self._since_data, self._ready_at)
        status = b""
        for name, value in headers:
            if name == b":status":
                status = value
            else:
                self.on_header(name, value)
        if not (status.isdigit() and len(status) == 3):  # noqa: PLR2004 - three digits
            raise ProbeError(Reason.PROTOCOL, f"HTTP status {show_bytes(status)} does not exist")
        self._take_head(int(status))

    def _ends_with_connection(self) -> bool:
        return False

    # --- sending ------------------------------------------------------------------------------

    def _send_body(self) -> None:
        """Prepare as much of the request's body as the server wants to have now."""
        while self._unsent:
            room = min(
                self._connection.local_flow_control_window(_STREAM),
                self._connection.max_outbound_frame_size,
            )
            if room <= 0:
                return
            part, self._unsent = self._unsent[:room], self._unsent[room:]
            self._connection.send_data(_STREAM, part, end_stream=not self._unsent)

    def _flush(self) -> None:
        data = self._connection.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)


def protocol_of(exchange: Exchange) -> type[ResponseProtocol]:
    """Return what carries `exchange`."""
    return ResponseProtocol if exchange.http2 is None else Http2Protocol


def _name(code: int | None) -> str:
    return code.name if isinstance(code, ErrorCodes) else f"error {code}"
