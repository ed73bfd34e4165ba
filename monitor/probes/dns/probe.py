"""The DNS probe: one question over UDP, again over TCP when the answer does not fit.

Owns the exchange and which datagrams count. What an answer must hold is another module's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import dns.flags
import dns.message
import dns.name

from monitor.model import Sample
from monitor.probes.base import ProbeIO
from monitor.probes.conversation import Conversation
from monitor.probes.dial import TRY_NEXT, connected, find_addresses
from monitor.probes.dns.answer import AnswerChecks, read_answer
from monitor.probes.endpoint import Endpoint
from monitor.probes.failure import ProbeError, connect_failure
from monitor.probes.reason import Reason
from monitor.probes.run import Run, measure

PORT = 53
REQUEST = "request"
_EDNS_PAYLOAD = 1232
"""Fits every network without fragments."""
_LENGTH_BYTES = 2
_MAX_MESSAGES = 16


class DnsProbe:
    """Asks one question; holds no state between runs, so that runs may overlap."""

    def __init__(
        self,
        *,
        target: str,
        name: dns.name.Name,
        is_recursive: bool,
        server: Endpoint | None,
        over_tcp: bool,
        checks: AnswerChecks,
        io: ProbeIO,
    ) -> None:
        """`server` None stands for the machine's own.

        Raises:
            ValueError: when the machine has none.
        """
        self._target = target
        self._name = name
        self._is_recursive = is_recursive
        # The machine's own server is asked by every look-up anyway, and is often on the loopback
        # interface: the address policy guards what configuration names.
        self._own_servers = () if server is not None else (_own_server(io),)
        self._server = server
        self._over_tcp = over_tcp
        self._checks = checks
        self._io = io

    async def __call__(self, at: float, deadline_s: float) -> Sample:
        """Measure once; never raises for what the server or the network does."""
        return await measure(
            self._attempt, target=self._target, at=at, deadline_s=deadline_s, io=self._io
        )

    async def _attempt(self, run: Run) -> None:
        query = self._query()
        addresses, port = await self._find_server(run)
        answer = None
        if not self._over_tcp:
            answer = await self._ask_datagram(query, addresses, port, run)
        if answer is None or answer.flags & dns.flags.TC:
            answer = await self._ask_stream(query, addresses, port, run)
        run.watch.enter(None)
        run.values = (("answers", float(self._checks.judge(answer))),)

    async def _find_server(self, run: Run) -> tuple[Sequence[str], int]:
        if self._server is None:
            return self._own_servers, PORT
        return await find_addresses(self._server, self._io, run.watch), self._server.port

    def _query(self) -> dns.message.Message:
        # A new message has a random id, a new socket a random port.
        query = dns.message.make_query(
            self._name, self._checks.record_type, use_edns=0, payload=_EDNS_PAYLOAD
        )
        if not self._is_recursive:
            query.flags &= ~dns.flags.RD
        return query

    async def _ask_datagram(
        self, query: dns.message.Message, addresses: Sequence[str], port: int, run: Run
    ) -> dns.message.Message:
        """Return the first answer that belongs to `query`.

        Raises:
            ProbeError: (connect_*, protocol, local_resource).
        """
        run.watch.enter(REQUEST)
        failure = None
        for address in addresses:
            try:
                return await self._exchange(query, address, port, run)
            except ProbeError as error:
                failure = failure or error
                if error.reason not in TRY_NEXT:
                    break
        raise failure or ProbeError(Reason.DNS, "the server has no address")

    async def _exchange(
        self, query: dns.message.Message, address: str, port: int, run: Run
    ) -> dns.message.Message:
        listener = _Listener(query, lambda error: connect_failure(error, address, port))
        try:
            transport, _ = await self._io.datagram(lambda: listener, address, port)
        except OSError as error:
            raise connect_failure(error, address, port) from error
        try:
            transport.sendto(query.to_wire())
            return await listener.answer
        finally:
            transport.abort()
            if listener.ignored:
                run.notes.append(f"{listener.ignored} answers to other questions were ignored")

    async def _ask_stream(
        self, query: dns.message.Message, addresses: Sequence[str], port: int, run: Run
    ) -> dns.message.Message:
        async with connected(addresses, port, self._io, run.watch) as stream:
            run.watch.enter(REQUEST)
            stream.write(query.to_wire(prepend_length=True))
            server = Conversation(stream)
            for _ in range(_MAX_MESSAGES):
                message = await server.take(_end_of_message)
                if message is None:
                    text = "the connection was closed before the answer was complete"
                    raise ProbeError(Reason.TRUNCATED, text)
                answer = read_answer(query, message[_LENGTH_BYTES:])
                if answer is not None:
                    return answer
        text = f"more than {_MAX_MESSAGES} answers to other questions on one connection"
        raise ProbeError(Reason.PROTOCOL, text)


class _Listener(asyncio.DatagramProtocol):
    """Waits for the answer to `query` and counts what is not."""

    def __init__(self, query: dns.message.Message, failed: Callable[[OSError], ProbeError]) -> None:
        self._query = query
        self._failed = failed
        self.answer: asyncio.Future[dns.message.Message] = (
            asyncio.get_running_loop().create_future()
        )
        self.ignored = 0

    def datagram_received(self, data: bytes, _address: object) -> None:
        if self.answer.done():
            return
        try:
            answer = read_answer(self._query, data, is_datagram=True)
        except ProbeError as error:
            self.answer.set_exception(error)
            return
        if answer is None:
            self.ignored += 1
        else:
            self.answer.set_result(answer)

    def error_received(self, error: Exception) -> None:
        if not self.answer.done() and isinstance(error, OSError):
            self.answer.set_exception(self._failed(error))


def _end_of_message(buffer: bytes) -> int | None:
    """Return where the first message over TCP ends, or None while it is not complete."""
    end = _LENGTH_BYTES + int.from_bytes(buffer[:_LENGTH_BYTES])
    return end if _LENGTH_BYTES <= end <= len(buffer) else None


def _own_server(io: ProbeIO) -> str:
    servers = io.nameservers()
    if not servers:
        msg = "server: this machine names no name server of its own; say which to ask"
        raise ValueError(msg)
    return servers[0]
