"""Takes in a response's body up to a cap, decoding it. No I/O; its duty is bounded memory."""

from __future__ import annotations

import zlib
from typing import Protocol

from monitor.probes.failure import ProbeError
from monitor.probes.reason import Reason

_AUTODETECT = zlib.MAX_WBITS | 32
_CODINGS = frozenset({b"gzip", b"x-gzip", b"deflate"})


class Inflater(Protocol):
    """What `zlib.decompressobj` returns, as far as it is used."""

    @property
    def eof(self) -> bool:
        """Whether the end of the compressed stream was seen."""
        ...

    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes:
        """Return at most `max_length` decoded bytes."""
        ...


class Body:
    """At most `cap` decoded bytes of one body, or only their count when nobody reads them."""

    __slots__ = ("_cap", "_inflater", "_keep", "_parts", "_size", "_wire", "full")

    def __init__(self, cap: int, *, keep: bool) -> None:
        """Keep the bytes when `keep`."""
        self._cap = cap
        self._keep = keep
        self._parts: list[bytes] = []
        self._size = 0
        self._wire = 0
        self._inflater: Inflater | None = None
        self.full = False
        """There was more than the cap; what is kept is a prefix."""

    def decode(self, coding: bytes | None) -> None:
        """Expect a body with this `Content-Encoding`; only bytes that are kept get decoded.

        Raises:
            ProbeError: (protocol) for a coding that was never asked for and cannot be decoded.
        """
        name = (coding or b"identity").strip().lower()
        if not self._keep or name == b"identity":
            return
        if name not in _CODINGS:
            detail = f"the body is encoded as {name[:20].decode('latin-1')!r} without being asked"
            raise ProbeError(Reason.PROTOCOL, detail)
        self._inflater = zlib.decompressobj(_AUTODETECT)

    def add(self, chunk: bytes) -> None:
        """Take in the next bytes from the wire; once `full`, there is no need for more.

        Raises:
            ProbeError: (protocol) when compressed bytes cannot be decoded.
        """
        self._wire += len(chunk)
        # A compressed stream that decodes to nothing must not go on for ever either.
        self.full = self._wire > self._cap
        room = self._cap - self._size
        if self._inflater is not None:
            try:
                chunk = self._inflater.decompress(chunk, room + 1)
            except zlib.error as error:
                detail = "the body is not validly compressed"
                raise ProbeError(Reason.PROTOCOL, detail) from error
        if len(chunk) > room:
            chunk, self.full = chunk[:room], True
        self._size += len(chunk)
        if self._keep:
            self._parts.append(chunk)

    @property
    def shortfall(self) -> ProbeError | None:
        """Why the body cannot be all of it, now that nothing more comes."""
        if self._inflater is None or self._inflater.eof or self.full or not self._wire:
            return None
        return ProbeError(Reason.TRUNCATED, "the compressed body ended before its end")

    @property
    def content(self) -> bytes:
        """What was kept."""
        return b"".join(self._parts)
