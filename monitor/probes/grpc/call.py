"""One unary call on one HTTP/2 connection: bytes in, bytes out. No I/O; the frames are h2's.

Bytes come from whoever sends them: nothing in here raises for them but `ProbeError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

import h2.config
import h2.connection
import h2.events
import h2.settings

from monitor.probes.conversation import show_bytes
from monitor.probes.failure import ProbeError
from monitor.probes.frames import FrameCutter, is_farewell
from monitor.probes.reason import Reason

Headers = Sequence[tuple[bytes, bytes]]

MAX_RECEIVED_BYTES = 32 * 1024
"""Of frames of every kind: an answer has a few hundred, and taking frames apart costs time."""
_MAX_HEADER_BYTES = 16 * 1024
_HTTP_OK = 200
_CONTENT_TYPE = b"application/grpc"
_CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
    "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
_MEANING = {
    "NOT_FOUND": "the server does not know this service",
    "UNIMPLEMENTED": "the server has no health service",
}


class UnaryCall:
    """Sends one message and takes in the answer to it."""

    def __init__(self, headers: Headers, message: bytes) -> None:
        """Prepare what `outgoing` will give first."""
        config = h2.config.H2Configuration(client_side=True, header_encoding=None)
        self._connection = h2.connection.H2Connection(config)
        codes = h2.settings.SettingCodes
        self._connection.local_settings = h2.settings.Settings(
            client=True,
            initial_values={codes.ENABLE_PUSH: 0, codes.MAX_HEADER_LIST_SIZE: _MAX_HEADER_BYTES},
        )
        self._connection.decoder.max_header_list_size = _MAX_HEADER_BYTES
        self._connection.initiate_connection()
        self._stream = self._connection.get_next_available_stream_id()
        self._connection.send_headers(self._stream, headers)
        self._connection.send_data(self._stream, message, end_stream=True)
        self._room = MAX_RECEIVED_BYTES
        self._frames = FrameCutter()
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self.status: int | None = None
        """The HTTP status, once there is one."""
        self.is_complete = False

    def outgoing(self) -> bytes:
        """Return what is to be sent now."""
        return self._connection.data_to_send()

    def receive(self, data: bytes) -> None:
        """Take in the next bytes; none stand for the end of the connection.

        Raises:
            ProbeError: (protocol, reset, truncated) when the call cannot succeed any more.
        """
        if not data:
            text = "the connection was closed before the answer was complete"
            raise ProbeError(Reason.TRUNCATED, text)
        self._room -= len(data)
        if self._room < 0:
            raise ProbeError(Reason.PROTOCOL, f"more than {MAX_RECEIVED_BYTES} bytes of HTTP/2")
        for frame in self._frames.cut(data):
            if is_farewell(frame, self._stream):
                continue
            try:
                events = self._connection.receive_data(frame)
            except Exception as error:  # whatever a library says of hostile bytes
                text = f"not valid HTTP/2 ({type(error).__name__})"
                raise ProbeError(Reason.PROTOCOL, text) from error
            for event in events:
                self._take(event)

    def answer(self) -> bytes:
        """Return the message of a complete answer.

        Raises:
            ProbeError: (status, protocol) when it is none.
        """
        if self.status != _HTTP_OK:
            raise ProbeError(Reason.STATUS, f"HTTP {self.status} instead of a gRPC answer")
        if not (self._header(b"content-type") or b"").startswith(_CONTENT_TYPE):
            raise ProbeError(Reason.PROTOCOL, "the answer is not gRPC")
        code = self._header(b"grpc-status")
        if code is None:
            raise ProbeError(Reason.PROTOCOL, "the answer ended without a gRPC status")
        if code != b"0":
            raise ProbeError(Reason.STATUS, self._describe(code))
        return bytes(self._body)

    def _describe(self, code: bytes) -> str:
        known = code.isdigit() and len(code) <= 2 and int(code) < len(_CODES)  # noqa: PLR2004 - two digits
        name = _CODES[int(code)] if known else show_bytes(code)
        parts = [f"gRPC status {name}"]
        if name in _MEANING:
            parts.append(_MEANING[name])
        message = unquote_to_bytes(self._header(b"grpc-message") or b"")
        if message:
            parts.append(show_bytes(message))
        return ": ".join(parts)

    def _header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self._headers if key == name), None)

    def _take(self, event: h2.events.Event) -> None:
        if self.is_complete:
            return
        if isinstance(event, h2.events.ResponseReceived):
            self._headers += [(bytes(key), bytes(value)) for key, value in event.headers]
            # h2 let it pass: there is one, and it is a number.
            self.status = int(self._header(b":status") or b"0")
        elif isinstance(event, h2.events.TrailersReceived):
            self._headers += [(bytes(key), bytes(value)) for key, value in event.headers]
        elif isinstance(event, h2.events.DataReceived):
            self._body += event.data
        elif isinstance(event, h2.events.StreamEnded):
            self.is_complete = True
        elif isinstance(event, h2.events.StreamReset):
            text = f"the server reset the call (HTTP/2 error {event.error_code})"
            raise ProbeError(Reason.RESET, text)
        elif isinstance(event, h2.events.ConnectionTerminated):
            text = f"the server ends the connection (HTTP/2 error {event.error_code})"
            raise ProbeError(Reason.RESET, text)
