"""Waiting for a certain piece of what a server says, for dialogues in the clear or over TLS.

Owns the cap on what is kept and how hostile bytes are shown. Knows no protocol, sets no deadline.
"""

from __future__ import annotations

from collections.abc import Callable

from monitor.probes.stream import Stream

MAX_INPUT_BYTES = 64 * 1024
"""Of all that a server says on one connection."""
_SHOWN = 60


class Conversation:
    """The server's side of one connection, taken piece by piece."""

    __slots__ = ("_heard", "_room", "_stream")

    def __init__(self, stream: Stream) -> None:
        """Nothing has been heard yet."""
        self._stream = stream
        self._heard = b""
        self._room = MAX_INPUT_BYTES

    @property
    def heard(self) -> bytes:
        """What has come and was not taken."""
        return self._heard

    @property
    def is_full(self) -> bool:
        """Whether the server said more than is kept."""
        return self._room == 0

    def say(self, data: bytes) -> None:
        """Send `data`."""
        self._stream.write(data)

    async def take(self, find: Callable[[bytes], int | None]) -> bytes | None:
        """Return all up to where `find` ends, as soon as it finds something in what was heard.

        None when the server closed the connection, or filled the cap, before that.

        Raises:
            ProbeError: (reset, tls_protocol) when the connection breaks.
        """
        while (end := find(self._heard)) is None:
            data = b"" if self.is_full else (await self._stream.read())[: self._room]
            if not data:
                return None
            self._heard += data
            self._room -= len(data)
        taken, self._heard = self._heard[:end], self._heard[end:]
        return taken


def show_bytes(data: bytes) -> str:
    """Return the beginning of `data` as short, printable ASCII in quotes."""
    text = ascii(data[:_SHOWN].decode("utf-8", "backslashreplace"))
    return text if len(data) <= _SHOWN else f"{text}..."
