"""A real DNS server on loopback, UDP and TCP on one port, that answers from a zone or a script."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

Script = Callable[[dns.message.Message, str], Sequence[bytes]]
"""Takes a query and `udp` or `tcp`, returns the messages to send back, in order."""


@dataclass(slots=True)
class NameServer:
    """Where it listens and what it was asked."""

    port: int
    queries: list[tuple[str, dns.message.Message]] = field(default_factory=list)


def zone(records: Mapping[str, Sequence[str]], *, authoritative: bool = True) -> Script:
    """Answer from `records` (`name TYPE` -> data), with the whole chain of CNAMEs."""

    def script(query: dns.message.Message, _transport: str) -> Sequence[bytes]:
        return [reply(query, records, authoritative=authoritative).to_wire()]

    return script


def reply(
    query: dns.message.Message, records: Mapping[str, Sequence[str]], *, authoritative: bool = True
) -> dns.message.Message:
    answer = dns.message.make_response(query)
    if authoritative:
        answer.flags |= dns.flags.AA
    question = query.question[0]
    name, wanted = question.name.canonicalize(), dns.rdatatype.to_text(question.rdtype)
    if not any(key.split()[0] == str(name) for key in records):
        answer.set_rcode(dns.rcode.NXDOMAIN)
    while alias := records.get(f"{name} CNAME", ()) if wanted != "CNAME" else ():
        answer.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", *alias))
        name = dns.name.from_text(alias[0])
    if data := records.get(f"{name} {wanted}"):
        answer.answer.append(dns.rrset.from_text(name, 60, "IN", wanted, *data))
    return answer


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer, script: Script) -> None:
        self._server = server
        self._script = script

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        self._server.queries.append(("udp", query))
        for message in self._script(query, "udp"):
            self._transport.sendto(message, address)


@contextlib.asynccontextmanager
async def nameserver(script: Script) -> AsyncIterator[NameServer]:
    """Serve `script` on 127.0.0.1."""
    loop = asyncio.get_running_loop()
    with _two_sockets() as (udp, tcp):
        server = NameServer(udp.getsockname()[1])

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                length = int.from_bytes(await reader.readexactly(2), "big")
                query = dns.message.from_wire(await reader.readexactly(length))
                server.queries.append(("tcp", query))
                for message in script(query, "tcp"):
                    writer.write(len(message).to_bytes(2, "big") + message)
                await writer.drain()
            writer.close()

        datagrams, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(server, script), sock=udp
        )
        listener = await asyncio.start_server(handle, sock=tcp)
        try:
            yield server
        finally:
            listener.close()
            datagrams.abort()
            await asyncio.sleep(0)


@contextlib.contextmanager
def _two_sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Bind a free port for both transports."""
    for _ in range(20):
        with contextlib.ExitStack() as stack:
            udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            tcp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            udp.bind(("127.0.0.1", 0))
            try:
                tcp.bind(udp.getsockname())
            except OSError:
                continue
            yield udp, tcp
            return
    msg = "no port is free for both UDP and TCP"
    raise RuntimeError(msg)
