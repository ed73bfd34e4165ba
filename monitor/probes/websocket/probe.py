"""The WebSocket probe: upgrade, say something, wait for the message that is expected, close.

Owns the phases and what is expected. Frames and caps are the session's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from typing import Any

from monitor.model import Sample
from monitor.probes.base import ProbeIO
from monitor.probes.conversation import show_bytes
from monitor.probes.dial import opened
from monitor.probes.endpoint import Endpoint
from monitor.probes.failure import ProbeError
from monitor.probes.http.conditions import is_found
from monitor.probes.http.url import Url
from monitor.probes.reason import Reason
from monitor.probes.run import Run, measure
from monitor.probes.stream import Stream
from monitor.probes.tls import certificate_expiry
from monitor.probes.websocket.session import Session

UPGRADE, MESSAGE = "upgrade", "message"
_CLOSE_S = 1.0
"""How long a server may take to answer our close; the latency does not contain it."""


class WebSocketProbe:
    """Probes one URL; holds no state between runs, so that runs may overlap."""

    def __init__(
        self,
        *,
        target: str,
        url: Url,
        host: str,
        headers: Sequence[tuple[bytes, bytes]],
        subprotocol: str | None,
        send: str | None,
        expect: Any,
        context: ssl.SSLContext | None,
        io: ProbeIO,
    ) -> None:
        """`expect` is a compiled pattern or None; `context` is there exactly for https."""
        self._target = target
        self._endpoint = Endpoint(url.host, url.port, url.is_address)
        self._path = url.target
        self._host = host
        self._headers = headers
        self._subprotocol = subprotocol
        self._send = send
        self._expect = expect
        self._context = context
        self._io = io

    async def __call__(self, at: float, deadline_s: float) -> Sample:
        """Measure once; never raises for what the server or the network does."""
        return await measure(
            self._attempt, target=self._target, at=at, deadline_s=deadline_s, io=self._io
        )

    async def _attempt(self, run: Run) -> None:
        async with opened(self._endpoint, self._io, run.watch, self._context) as stream:
            run.certificate_expires_at = certificate_expiry(stream.transport)
            session = Session(self._host, self._path, self._headers, self._subprotocol)
            run.watch.enter(UPGRADE)
            try:
                while not session.is_open:
                    await _exchange(session, stream)
                await self._converse(session, stream, run)
            finally:
                run.status = session.status
            run.watch.enter(None)
            # All is known: neither a server that does not close nor a deadline can change it.
            run.at_deadline = _accept
            with contextlib.suppress(ProbeError, TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await _close(session, stream)

    async def _converse(self, session: Session, stream: Stream, run: Run) -> None:
        if self._send is None and self._expect is None:
            return
        run.watch.enter(MESSAGE)
        if self._send is not None:
            session.say(self._send)
            stream.write(session.outgoing())
        if self._expect is not None:
            await self._await_message(session, stream, run)

    async def _await_message(self, session: Session, stream: Stream, run: Run) -> None:
        others: list[bytes] = []

        def judge_others() -> None:
            if not others:
                raise TimeoutError
            text = f"no message matches the pattern (the last is {show_bytes(others[-1])})"
            raise ProbeError(Reason.BODY, text)

        run.at_deadline = judge_others
        while True:
            while session.messages:
                message = session.messages.popleft()
                if is_found(self._expect, message):
                    return
                others[:] = [message]
            if session.farewell is not None:
                raise ProbeError(Reason.TRUNCATED, session.farewell)
            await _exchange(session, stream)


async def _exchange(session: Session, stream: Stream) -> None:
    """Send what is to be sent and take in what comes next."""
    stream.write(session.outgoing())
    try:
        session.receive(await stream.read())
    finally:
        # A refusal or a farewell goes out as well.
        stream.write(session.outgoing())


async def _close(session: Session, stream: Stream) -> None:
    """Close in order, and wait for the server to do the same."""
    session.close()
    stream.write(session.outgoing())
    while session.farewell is None:
        await _exchange(session, stream)


def _accept() -> None:
    """Leave the verdict as it is."""
