"""HTTP/2 frames before a library takes them apart: whole ones, not too many, nothing else. Pure.

Owns what a server may make us work through, and what counts as HTTP/2 at all. Reads no payload but
that of GOAWAY.
"""

from __future__ import annotations

from collections.abc import Iterator

from monitor.probes.conversation import show_bytes
from monitor.probes.failure import ProbeError
from monitor.probes.reason import Reason

MAX_FRAMES = 2000
"""Of every kind: taking one apart costs tens of microseconds, and a mebibyte needs 64."""
_MAX_FRAME_BYTES = 16 * 1024
_HEAD_BYTES = 9
_KIND_AT = 3
_HEADERS, _SETTINGS, _GOAWAY, _CONTINUATION = 1, 4, 7, 9


class FrameCutter:
    """Cuts what comes into whole frames: one that never ends is not collected."""

    __slots__ = ("_buffer", "_count")

    def __init__(self) -> None:
        """Expect the server's first frame."""
        self._buffer = bytearray()
        self._count = 0

    def cut(self, data: bytes) -> Iterator[bytes]:
        """Yield the frames that are complete with `data`.

        Raises:
            ProbeError: (protocol) when this is no HTTP/2, or too much of it.
        """
        self._buffer += data
        while len(self._buffer) >= _HEAD_BYTES:
            length = int.from_bytes(self._buffer[:_KIND_AT])
            if not self._count and self._buffer[_KIND_AT] != _SETTINGS:
                shown = show_bytes(bytes(self._buffer))
                raise ProbeError(Reason.PROTOCOL, f"the server does not speak HTTP/2: {shown}")
            if length > _MAX_FRAME_BYTES:
                detail = f"not valid HTTP/2: a frame of {length} bytes"
                raise ProbeError(Reason.PROTOCOL, detail)
            end = _HEAD_BYTES + length
            if len(self._buffer) < end:
                return
            self._count += 1
            if self._count > MAX_FRAMES:
                raise ProbeError(Reason.PROTOCOL, f"more than {MAX_FRAMES} frames of HTTP/2")
            frame = bytes(self._buffer[:end])
            del self._buffer[:end]
            yield frame


def has_headers(frame: bytes) -> bool:
    """Whether it carries headers or trailers, or a part of them."""
    return frame[_KIND_AT] in {_HEADERS, _CONTINUATION}


def is_farewell(frame: bytes, stream: int) -> bool:
    """Whether the server only takes no further requests, but answers that on `stream`.

    Servers end each connection like this, sooner or later; h2 would hear no more of the answer.
    """
    last, code = frame[_HEAD_BYTES:][:4], frame[_HEAD_BYTES:][4:8]
    is_polite = frame[_KIND_AT] == _GOAWAY and code == bytes(4)
    return is_polite and int.from_bytes(last) & 0x7FFFFFFF >= stream
