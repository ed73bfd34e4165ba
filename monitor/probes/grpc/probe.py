"""The gRPC probe: one health check on a fresh connection. Owns its phases and what is expected."""

from __future__ import annotations

import math
import ssl

from monitor import __version__
from monitor.model import Sample
from monitor.probes.base import ProbeIO
from monitor.probes.dial import opened
from monitor.probes.endpoint import Endpoint
from monitor.probes.failure import ProbeError
from monitor.probes.grpc.call import Headers, UnaryCall
from monitor.probes.grpc.message import ServingStatus, decode_response, encode_request
from monitor.probes.reason import Reason
from monitor.probes.run import SEND, TRANSFER, WAIT, Run, measure
from monitor.probes.stream import Stream
from monitor.probes.tls import certificate_expiry

ALPN = "h2"
_PATH = b"/grpc.health.v1.Health/Check"
_HEALTH = {ServingStatus.SERVING: "healthy", ServingStatus.NOT_SERVING: "unhealthy"}


class GrpcProbe:
    """Asks for the health of one service; holds no state between runs, so that runs may overlap."""

    def __init__(
        self,
        *,
        target: str,
        endpoint: Endpoint,
        authority: str,
        service: str,
        metadata: Headers,
        expected: ServingStatus,
        context: ssl.SSLContext | None,
        io: ProbeIO,
    ) -> None:
        """`context` is there exactly when the server speaks TLS."""
        self._target = target
        self._endpoint = endpoint
        self._context = context
        self._expected = expected
        self._io = io
        self._message = encode_request(service)
        self._headers = (
            (b":method", b"POST"),
            (b":scheme", b"http" if context is None else b"https"),
            (b":path", _PATH),
            (b":authority", authority.encode()),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"user-agent", f"slo-monitor/{__version__}".encode()),
            *metadata,
        )

    async def __call__(self, at: float, deadline_s: float) -> Sample:
        """Measure once; never raises for what the server or the network does."""
        # The server, too, need not work longer than we wait.
        timeout = (b"grpc-timeout", f"{math.ceil(deadline_s * 1000)}m".encode())

        async def attempt(run: Run) -> None:
            async with opened(self._endpoint, self._io, run.watch, self._context) as stream:
                self._inspect(stream, run)
                call = UnaryCall((*self._headers, timeout), self._message)
                await _converse(call, stream, run)
            self._judge(call.answer(), run)

        return await measure(
            attempt, target=self._target, at=at, deadline_s=deadline_s, io=self._io
        )

    def _inspect(self, stream: Stream, run: Run) -> None:
        run.certificate_expires_at = certificate_expiry(stream.transport)
        tls = stream.transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != ALPN:
            raise ProbeError(Reason.TLS_PROTOCOL, "the server does not offer HTTP/2 (ALPN h2)")

    def _judge(self, message: bytes, run: Run) -> None:
        try:
            status = decode_response(message)
        except ValueError as error:
            raise ProbeError(Reason.PROTOCOL, f"not a health answer: {error}") from error
        run.health = _HEALTH.get(status)
        if status is not self._expected:
            text = f"the service is {status.name}, expected {self._expected.name}"
            raise ProbeError(Reason.STATUS, text)


async def _converse(call: UnaryCall, stream: Stream, run: Run) -> None:
    """Exchange bytes until the answer is complete; raises ProbeError when it never will be."""
    run.watch.enter(SEND)
    stream.write(call.outgoing())
    run.watch.enter(WAIT)
    while not call.is_complete:
        call.receive(await stream.read())
        if call.status is not None and run.status is None:
            run.watch.enter(TRANSFER)
            run.status = call.status
        stream.write(call.outgoing())
    run.watch.enter(None)
