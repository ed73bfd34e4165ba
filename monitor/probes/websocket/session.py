"""The client's side of one WebSocket connection: bytes in, bytes out. No I/O; wsproto frames.

Bytes come from whoever sends them: nothing in here raises for them but `ProbeError`. Owns the caps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)

from monitor.probes.conversation import show_bytes
from monitor.probes.failure import ProbeError
from monitor.probes.reason import Reason

MAX_MESSAGE_BYTES = 64 * 1024
MAX_RECEIVED_BYTES = 1024 * 1024
MAX_FRAMES = 1000
"""Taking them apart costs time, however small they are."""
_HTTP = b"HTTP/"
_SWITCHING_PROTOCOLS = 101
_NORMAL_CLOSURE = 1000


class Session:
    """One upgrade and the messages after it."""

    def __init__(
        self,
        host: str,
        target: str,
        headers: Sequence[tuple[bytes, bytes]],
        subprotocol: str | None,
    ) -> None:
        """Prepare the request, which `outgoing` gives first."""
        self._connection = WSConnection(ConnectionType.CLIENT)
        self._subprotocol = subprotocol
        self._outgoing = self._connection.send(
            Request(
                host=host,
                target=target,
                extra_headers=list(headers),
                subprotocols=[] if subprotocol is None else [subprotocol],
            )
        )
        self._room = MAX_RECEIVED_BYTES
        self._beginning = b""
        self._frames = 0
        self._message = bytearray()
        self.status: int | None = None
        """The HTTP status, once there is one."""
        self.is_open = False
        self.farewell: str | None = None
        """How the server has closed the WebSocket, once it has."""
        self.messages: deque[bytes] = deque()
        """Whole messages that nobody has taken."""

    def outgoing(self) -> bytes:
        """Return what is to be sent now."""
        data, self._outgoing = self._outgoing, b""
        return data

    def say(self, text: str) -> None:
        """Send a message."""
        self._outgoing += self._connection.send(TextMessage(data=text))

    def close(self) -> None:
        """Send a close frame, unless the server was faster."""
        if self._connection.state is ConnectionState.OPEN:
            self._outgoing += self._connection.send(CloseConnection(code=_NORMAL_CLOSURE))

    def receive(self, data: bytes) -> None:
        """Take in the next bytes; none stand for the end of the connection.

        Raises:
            ProbeError: (status, protocol, truncated, body) when it cannot go on.
        """
        if not data:
            awaited = "a message" if self.is_open else "the answer to the upgrade"
            text = f"the connection was closed before {awaited} came"
            raise ProbeError(Reason.TRUNCATED, text)
        self._room -= len(data)
        if self._room < 0:
            raise ProbeError(Reason.BODY, f"more than {MAX_RECEIVED_BYTES} bytes")
        if not self.is_open:
            self._check_beginning(data)
        for event in self._events(data):
            self._frames += 1
            if self._frames > MAX_FRAMES:
                raise ProbeError(Reason.PROTOCOL, f"more than {MAX_FRAMES} frames")
            self._take(event)

    def _check_beginning(self, data: bytes) -> None:
        """Refuse what is no HTTP at once: h11 would wait for an empty line."""
        self._beginning += data[: max(0, len(_HTTP) - len(self._beginning))]
        if not _HTTP.startswith(self._beginning):
            text = f"the server does not speak HTTP: {show_bytes(data)}"
            raise ProbeError(Reason.PROTOCOL, text)

    def _events(self, data: bytes) -> Iterator[Event]:
        try:
            self._connection.receive_data(data)
            yield from self._connection.events()
        except Exception as error:  # whatever a library says of hostile bytes
            text = f"not a valid WebSocket answer: {error}"
            raise ProbeError(Reason.PROTOCOL, text) from error

    def _take(self, event: Event) -> None:
        if isinstance(event, AcceptConnection):
            self._accept(event)
        elif isinstance(event, RejectConnection):
            self.status = event.status_code
            text = f"HTTP {event.status_code} instead of an upgrade"
            raise ProbeError(Reason.STATUS, text)
        elif isinstance(event, Ping):
            if self._connection.state is ConnectionState.OPEN:
                self._outgoing += self._connection.send(event.response())
        elif isinstance(event, TextMessage | BytesMessage):
            self._collect(event)
        elif isinstance(event, CloseConnection):
            self._end(event)

    def _accept(self, event: AcceptConnection) -> None:
        self.status = _SWITCHING_PROTOCOLS
        if event.subprotocol != self._subprotocol:
            text = f"the server does not speak the subprotocol {self._subprotocol}"
            raise ProbeError(Reason.PROTOCOL, text)
        self.is_open = True

    def _collect(self, event: Message[str] | Message[bytes | bytearray]) -> None:
        data = event.data
        self._message += data.encode() if isinstance(data, str) else data
        if len(self._message) > MAX_MESSAGE_BYTES:
            text = f"a message is longer than {MAX_MESSAGE_BYTES} bytes"
            raise ProbeError(Reason.BODY, text)
        if event.message_finished:
            self.messages.append(bytes(self._message))
            self._message.clear()

    def _end(self, event: CloseConnection) -> None:
        reason = show_bytes((event.reason or "").encode("utf-8", "replace"))
        if self._connection.state is ConnectionState.OPEN:
            # This is how wsproto tells of frames that break the protocol.
            raise ProbeError(Reason.PROTOCOL, f"not a valid WebSocket frame: {reason}")
        self.farewell = f"the server closed the WebSocket (code {event.code:d}, {reason})"
        if self._connection.state is ConnectionState.REMOTE_CLOSING:
            self._outgoing += self._connection.send(event.response())
