"""One connection as a probe's conversation reads it: bytes as they come, the end, or a failure.

Owns back-pressure and the start of TLS. Knows no protocol above and sets no deadline.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from monitor.probes.failure import ProbeError, lost_failure, tls_failure
from monitor.probes.reason import Reason
from monitor.probes.tls import shake_hands

_HIGH_WATER = 64 * 1024


class Stream(asyncio.Protocol):
    """A connection with one reader."""

    __slots__ = ("_buffer", "_error", "_is_paused", "_over", "_transport", "_waiter")

    def __init__(self) -> None:
        """Wait for a connection to be made."""
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._error: OSError | None = None
        self._over = False
        self._is_paused = False

    async def read(self) -> bytes:
        """Return what has come since the last time, at least one byte; nothing at the end.

        Raises:
            ProbeError: (reset, tls_protocol) when the connection breaks.
        """
        while not self._buffer:
            if self._error is not None:
                raise lost_failure(self._error, "before the answer was complete")
            if self._over:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = bytes(self._buffer)
        self._buffer.clear()
        if self._is_paused:
            self._is_paused = False
            self._live.resume_reading()
        return data

    def write(self, data: bytes) -> None:
        """Send `data`, unless the connection is gone, which reading will tell."""
        if not self._over and data:
            self._live.write(data)

    async def secure(self, host: str, context: ssl.SSLContext) -> None:
        """Speak TLS from now on with a peer that is to be `host`.

        Raises:
            ProbeError: (tls_*, reset) when that fails.
        """
        if self._buffer:
            raise ProbeError(Reason.TLS_PROTOCOL, "the server spoke before the handshake")
        if self._over:
            raise tls_failure(self._error or ConnectionResetError(), host) from self._error
        self._transport = await shake_hands(self._live, self, context, host)

    @property
    def transport(self) -> asyncio.Transport:
        """The connection, for what it knows besides bytes (`get_extra_info`)."""
        return self._live

    def abort(self) -> None:
        """Cut the connection now, whatever its state."""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio's side -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the connection."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Keep `data` for the reader; let the peer wait when there is much of it."""
        self._buffer += data
        if len(self._buffer) >= _HIGH_WATER and not self._is_paused:
            self._is_paused = True
            self._live.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """Take a half-close for the end."""
        self._over = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the reader."""
        if not self._over and isinstance(exc, OSError):
            self._error = exc
        self._over = True
        self._wake()

    @property
    def _live(self) -> asyncio.Transport:
        if self._transport is None:
            msg = "there is no connection yet"
            raise RuntimeError(msg)
        return self._transport

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
