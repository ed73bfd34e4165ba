"""Probes of TCP and TLS services for the tests of both kinds, and servers that speak STARTTLS."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
from typing import Any

import trustme
from pydantic import TypeAdapter

from monitor.model import Deployment, Sample, Target
from monitor.probes.base import ProbeConfig, ProbeIO
from tests.probes.raw_server import AT, Handler, make_io


def server_context(issuer: trustme.CA, *names: str, **issue: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert(*names, **issue).configure_cert(context)
    return context


async def probe_peer(
    config_type: type[ProbeConfig],
    port: int,
    deadline_s: float = 5.0,
    *,
    io: ProbeIO | None = None,
    at: float = AT,
    scheme: str = "http",
    **fields: Any,
) -> Sample:
    """Probe 127.0.0.1 once with a configuration that has these YAML fields."""
    config = TypeAdapter(config_type).validate_python(
        fields,
        by_name=False,
        by_alias=True,
        context={"secrets": lambda how, name: f"{how}-{name}"},
    )
    url = f"{scheme}://127.0.0.1:{port}"
    deployment = Deployment(name="shop", service="shop", environment="test", url=url)
    target = Target(
        id="shop/peer/here",
        deployment="shop",
        environment="test",
        probe="peer",
        region="here",
        interval_s=15,
        timeout_s=deadline_s,
    )
    return await config.build(target, deployment, url, io or make_io())(at, deadline_s)


class _SilentTransport(asyncio.Transport):
    def write(self, data: Any) -> None:
        pass

    def abort(self) -> None:
        pass


def silent_io() -> ProbeIO:
    """A scripted world, for virtual time, in which every peer accepts and never says a word."""

    async def connect(factory: Any, _address: str, _port: int) -> Any:
        protocol = factory()
        protocol.connection_made(_SilentTransport())
        return None, protocol

    return dataclasses.replace(make_io(connect=connect), monotonic=None)


def says(*parts: bytes, hold: bool = False) -> Handler:
    """Send `parts` at once, then close, or with `hold` wait for the client to go."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if hold:
            await reader.read()

    return handler


def shakes_hands(tls: ssl.SSLContext) -> Handler:
    """Speak TLS as OpenSSL does by itself: with the alert that asyncio's servers keep back."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = tls.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                session.do_handshake()
            except ssl.SSLWantReadError:
                is_over = False
            except ssl.SSLError:
                is_over = True
            else:
                is_over = False
            writer.write(outgoing.read())
            data = b"" if is_over else await reader.read(65536)
            if not data:
                return
            incoming.write(data)

    return handler


def consents(greeting: bytes, *exchanges: tuple[bytes, bytes], tls: ssl.SSLContext) -> Handler:
    """Speak a script (what must come, what to answer), go on with TLS, and answer PING there."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        for wanted, answer in exchanges:
            assert await reader.readexactly(len(wanted)) == wanted
            writer.write(answer)
        await writer.start_tls(tls)
        assert await reader.readexactly(4) == b"PING"
        writer.write(b"PONG")
        await reader.read()

    return handler


SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
EHLO = b"EHLO monitor.invalid\r\n"
OFFER = b"250-mail.test\r\n250-SIZE 1000\r\n250 STARTTLS\r\n"
CONSENTS: dict[str, tuple[bytes, tuple[tuple[bytes, bytes], ...]]] = {
    "smtp": (
        b"220-mail.test\r\n220 ready\r\n",
        ((EHLO, OFFER), (b"STARTTLS\r\n", b"220 go ahead\r\n")),
    ),
    "imap": (
        b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n",
        ((b"m1 STARTTLS\r\n", b"* CAPABILITY IMAP4rev1\r\nm1 OK begin\r\n"),),
    ),
    "pop3": (b"+OK ready\r\n", ((b"STLS\r\n", b"+OK begin\r\n"),)),
    "ftp": (
        b"220-Welcome\r\n  to 220 files\r\n221 of ours\r\n220 ready\r\n",
        ((b"AUTH TLS\r\n", b"234 begin\r\n"),),
    ),
    "postgresql": (b"", ((SSL_REQUEST, b"S"),)),
}
"""By protocol: the greeting, and the exchanges that end in the server's consent."""
