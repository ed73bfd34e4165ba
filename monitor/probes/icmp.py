"""The kind `icmp`: echo requests, how many come back and how fast.

Owns the messages and their matching; sockets come from `ProbeIO.echo`.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
import struct
from collections.abc import Callable
from fractions import Fraction
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from monitor.fields import Line, Percent, Size
from monitor.model import Deployment, Sample, Target
from monitor.probes.base import ProbeConfig, ProbeIO, Reach
from monitor.probes.dial import TRY_NEXT, find_addresses
from monitor.probes.echo import EchoSocket
from monitor.probes.endpoint import Endpoint, parse_host
from monitor.probes.failure import ProbeError, connect_failure
from monitor.probes.http.url import parse_url
from monitor.probes.reason import Reason
from monitor.probes.run import Run, measure

ECHO = "echo"
_HEADER = struct.Struct("!BBHHH")
_IPV4, _IPV6 = 4, 6
_REQUEST, _REPLY = {_IPV4: 8, _IPV6: 128}, {_IPV4: 0, _IPV6: 129}
_TOKEN_BYTES = 16
_SPACING_S = 1.0
_IDENTIFIERS = 1 << 16


class IcmpProbeConfig(ProbeConfig):
    """Sends ICMP echo requests (ping) to a host.

    It needs no privilege where the system's `net.ipv4.ping_group_range` covers our group. The
    latency is the mean round trip; looking up the name is not part of it.
    """

    example: ClassVar[str] = (
        "{kind: icmp, name: uplink, host: gateway.shop.test, count: 5, max_loss: 20%}"
    )

    kind: Literal["icmp"] = "icmp"
    host: Line | None = None
    """A name or an address; the host of the deployment's URL by default."""
    count: Annotated[int, Field(ge=1, le=100)] = 1
    """Requests for each probe, spread over the first half of its time, at most 1 s apart."""
    max_loss: Percent = Field(default=Fraction(0), json_schema_extra={"default": "0%"})
    """More requests without a reply are BAD (`loss`)."""
    payload_bytes: Annotated[Size, Field(ge=_TOKEN_BYTES, le=9000)] = 56
    """Of each request."""

    @model_validator(mode="after")
    def _check_host(self) -> Self:
        if self.host is not None:
            parse_host(self.host)
        return self

    def reach(self, url: str) -> Reach:
        """Return the host, which is asked on no port."""
        return Reach(parse_host(self.host or parse_url(url).host).host, 0, secure=False)

    def build(self, target: Target, deployment: Deployment, url: str, io: ProbeIO) -> IcmpProbe:  # noqa: ARG002 - the signature of every kind
        """Return the probe of `target`.

        Raises:
            ValueError: when there is no host to ask.
        """
        return IcmpProbe(
            target=target.id,
            host=parse_host(self.host or parse_url(url).host),
            count=self.count,
            max_loss=self.max_loss,
            payload_bytes=self.payload_bytes,
            io=io,
        )


class IcmpProbe:
    """Pings one host; holds no state between runs, so that runs may overlap."""

    def __init__(
        self,
        *,
        target: str,
        host: Endpoint,
        count: int,
        max_loss: Fraction,
        payload_bytes: int,
        io: ProbeIO,
    ) -> None:
        """`max_loss` is a share, 0-1."""
        self._target = target
        self._host = host
        self._count = count
        self._max_loss = max_loss
        self._payload_bytes = payload_bytes
        self._io = io

    async def __call__(self, at: float, deadline_s: float) -> Sample:
        """Measure once; never raises for what the host or the network does."""

        async def attempt(run: Run) -> None:
            await self._attempt(run, deadline_s)

        return await measure(
            attempt, target=self._target, at=at, deadline_s=deadline_s, io=self._io
        )

    async def _attempt(self, run: Run, deadline_s: float) -> None:
        failure = None
        for address in await find_addresses(self._host, self._io, run.watch):
            try:
                await self._ping(address, run, deadline_s)
            except ProbeError as error:
                failure = failure or error
                if error.reason not in TRY_NEXT:
                    raise
            else:
                return
        raise failure or ProbeError(Reason.DNS, "the host has no address")

    async def _ping(self, address: str, run: Run, deadline_s: float) -> None:
        run.watch.enter(ECHO)
        now = self._io.clock()
        echoes = Echoes(_IPV6 if ":" in address else _IPV4, self._count, self._payload_bytes, now)
        run.at_deadline = lambda: self._judge(echoes, run)
        try:
            channel = self._io.echo(address, echoes.take, echoes.fail)
        except PermissionError as error:
            raise ProbeError(Reason.LOCAL_RESOURCE, f"cannot ping: {error.strerror}") from error
        except OSError as error:
            raise _failure(error, address) from error
        try:
            await self._converse(echoes, channel, deadline_s)
        except OSError as error:
            raise _failure(error, address) from error
        finally:
            channel.close()
        self._judge(echoes, run)

    async def _converse(self, echoes: Echoes, channel: EchoSocket, deadline_s: float) -> None:
        """Send all requests and return when all are answered; raises OSError of the network."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        spacing_s = min(_SPACING_S, deadline_s / (2 * self._count))
        for sequence in range(self._count):
            wait_s = start + sequence * spacing_s - loop.time()
            if wait_s > 0:
                await asyncio.wait([echoes.complete], timeout=wait_s)
            if echoes.complete.done():
                break
            channel.send(echoes.request(sequence, channel.identifier))
        await echoes.complete
        if echoes.error is not None:
            raise echoes.error

    def _judge(self, echoes: Echoes, run: Run) -> None:
        """Accept what has come by now, also when the time is up.

        Raises:
            TimeoutError: when nothing came at all.
            ProbeError: (loss) when too little came.
        """
        round_trips_s = list(echoes.round_trips_s.values())
        lost = 1 - Fraction(len(round_trips_s), self._count)
        run.values = (("loss_percent", float(lost * 100)),)
        if not round_trips_s:
            raise TimeoutError
        run.is_exact = True
        run.latency_s = sum(round_trips_s) / len(round_trips_s)
        if lost > self._max_loss:
            text = f"{float(lost * 100):.3g} % of {self._count} requests stayed without a reply"
            detail = f"{text}, expected at most {float(self._max_loss * 100):g} %"
            raise ProbeError(Reason.LOSS, detail)


class Echoes:
    """The requests of one run and the replies that belong to them."""

    __slots__ = (
        "_count",
        "_identifier",
        "_now",
        "_payload",
        "_sent_at",
        "_version",
        "complete",
        "error",
        "round_trips_s",
    )

    def __init__(
        self, version: int, count: int, payload_bytes: int, now: Callable[[], float]
    ) -> None:
        """`version` of IP; nobody who does not see the requests can make up a reply."""
        self._version = version
        self._count = count
        self._now = now
        self._identifier = secrets.randbelow(_IDENTIFIERS)
        self._payload = secrets.token_bytes(_TOKEN_BYTES) + bytes(payload_bytes - _TOKEN_BYTES)
        self._sent_at: dict[int, float] = {}
        self.round_trips_s: dict[int, float] = {}
        """By sequence number."""
        self.complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when every request has its reply, or there is an `error`."""
        self.error: OSError | None = None
        """What the network says of the host."""

    def request(self, sequence: int, identifier: int | None) -> bytes:
        """Return the message to send now; `identifier` is what the kernel insists on."""
        if identifier is not None:
            self._identifier = identifier
        fields = _REQUEST[self._version], 0, 0, self._identifier, sequence
        message = _HEADER.pack(*fields) + self._payload
        if self._version == _IPV4:
            # In IPv6 the sum covers addresses that only the kernel knows.
            fields = _REQUEST[self._version], 0, checksum(message), self._identifier, sequence
            message = _HEADER.pack(*fields) + self._payload
        self._sent_at[sequence] = self._now()
        return message

    def take(self, message: bytes, waited_s: float) -> None:
        """Accept a reply to one of the requests that waited for `waited_s`; ignore all else."""
        if len(message) < _HEADER.size:
            return
        kind, code, _, identifier, sequence = _HEADER.unpack_from(message)
        is_reply = (kind, code, identifier) == (_REPLY[self._version], 0, self._identifier)
        if not is_reply or message[_HEADER.size :] != self._payload:
            return
        if sequence not in self._sent_at or sequence in self.round_trips_s:
            return
        elapsed_s = self._now() - self._sent_at[sequence]
        # A clock that was set in between makes nonsense of the kernel's time stamp.
        self.round_trips_s[sequence] = elapsed_s - (waited_s if waited_s < elapsed_s else 0.0)
        if len(self.round_trips_s) == self._count and not self.complete.done():
            self.complete.set_result(None)

    def fail(self, error: OSError) -> None:
        """End the run: the network says that the host cannot be reached."""
        if not self.complete.done():
            self.error = error
            self.complete.set_result(None)


def checksum(message: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    padded = message + bytes(len(message) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _failure(error: OSError, address: str) -> ProbeError:
    reason = connect_failure(error, address, 0).reason
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return ProbeError(reason, f"cannot reach {address} ({name})")
