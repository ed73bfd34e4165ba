"""TLS faults of the target's side, against real loopback servers with throw-away authorities."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from monitor.model import Outcome
from tests.probes.peers import server_context
from tests.probes.raw_server import (
    AT,
    Handler,
    make_io,
    replies,
    reset,
    response,
    run_probe,
    serve,
)

Run = Callable[..., Any]
DEADLINE_S = 0.25


def test_a_good_handshake_is_timed_and_shows_the_expiry(
    run: Run, authority: trustme.CA, ca_file: str
) -> None:
    """TLS has its own phase between connect and send, and the leaf's notAfter is reported."""
    not_after = datetime(2040, 1, 2, 3, 4, 5, tzinfo=UTC)
    tls = server_context(authority, "127.0.0.1", not_after=not_after)

    async def story() -> None:
        async with serve(replies(response(b"hi")), tls) as port:
            url = f"https://127.0.0.1:{port}"
            sample = await run_probe(url, ca_file=ca_file, body_contains="hi")
        assert sample.outcome is Outcome.GOOD
        assert [name for name, _ in sample.phases] == ["connect", "tls", "send", "wait", "transfer"]
        assert sample.certificate_expires_at == not_after.timestamp()

    run(story())


def test_the_name_is_sent_to_the_server(run: Run, authority: trustme.CA, ca_file: str) -> None:
    """SNI carries the host name, and the certificate is checked against it, not the address."""
    tls = server_context(authority, "shop.test")
    names: list[str | None] = []

    def on_name(_tls: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        names.append(name)

    tls.sni_callback = on_name

    async def resolve(_host: str) -> list[str]:
        return ["127.0.0.1"]

    async def story() -> None:
        async with serve(replies(response()), tls) as port:
            url = f"https://shop.test:{port}"
            sample = await run_probe(url, io=make_io(resolve=resolve), ca_file=ca_file)
        assert sample.outcome is Outcome.GOOD
        assert names == ["shop.test"]

    run(story())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("127.0.0.1", "tls_expired"),
        ("elsewhere.test", "tls_name"),
        ("127.0.0.2", "tls_name"),
        ("127.0.0.1", "tls_untrusted"),
    ],
)
def test_bad_certificates(
    run: Run, authority: trustme.CA, ca_file: str, name: str, reason: str
) -> None:
    """Each way to be unacceptable has its own reason; `insecure` accepts them all."""
    issuer = trustme.CA() if reason == "tls_untrusted" else authority
    now = datetime.now(UTC)
    not_after = now + timedelta(days=-1 if reason == "tls_expired" else 1)
    tls = server_context(issuer, name, not_before=now - timedelta(days=9), not_after=not_after)

    async def story() -> None:
        async with serve(replies(response()), tls) as port:
            url = f"https://127.0.0.1:{port}"
            sample = await run_probe(url, ca_file=ca_file)
            insecure = await run_probe(url, insecure=True)
        assert (sample.outcome, sample.reason) == (Outcome.BAD, reason)
        assert sample.latency_s is None
        assert "127.0.0.1" in sample.detail
        assert insecure.outcome is Outcome.GOOD
        assert insecure.certificate_expires_at is None

    run(story())


async def garbage_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"\x16\x03\x01\x00\x05hello")
    await reader.read()


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def banner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.test ESMTP\r\n")
    await reader.read()


async def close_in_handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.close()


async def reset_in_handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    reset(writer)


async def reset_on_accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reset(writer)


async def plain_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(response(b"", "400 Bad Request"))


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (plain_http, "tls_protocol"),
        (garbage_hello, "tls_protocol"),
        (banner, "tls_protocol"),
        (hang, "tls_timeout"),
        (close_in_handshake, "reset"),
        (reset_in_handshake, "reset"),
        (reset_on_accept, "reset"),
    ],
)
def test_broken_handshakes(run: Run, handler: Handler, reason: str) -> None:
    """What is no TLS, never finishes or breaks off is told apart, and never raises."""

    async def story() -> None:
        async with serve(handler) as port:
            sample = await run_probe(f"https://127.0.0.1:{port}", DEADLINE_S)
        assert (sample.outcome, sample.reason) == (Outcome.BAD, reason)
        assert sample.censored is (reason == "tls_timeout")
        assert "send" not in dict(sample.phases)

    run(story())


def test_a_server_may_hang_up_without_closing_tls(
    run: Run, authority: trustme.CA, ca_file: str
) -> None:
    """A reset after the handshake is a reset, whatever layer notices it."""
    tls = server_context(authority, "127.0.0.1")

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
        await asyncio.sleep(0.05)
        reset(writer)

    async def story() -> None:
        async with serve(handler, tls) as port:
            sample = await run_probe(f"https://127.0.0.1:{port}", ca_file=ca_file)
        assert (sample.reason, sample.status) == ("reset", 200)
        assert sample.certificate_expires_at is not None

    run(story())


def test_secrets_do_not_follow_a_downgrade(run: Run, authority: trustme.CA, ca_file: str) -> None:
    """A redirect from https to http is followed, but without what must stay secret."""
    tls = server_context(authority, "127.0.0.1")
    seen: list[bytes] = []

    async def story() -> None:
        async with serve(replies(response(), seen=seen)) as plain:
            location = f"Location: http://127.0.0.1:{plain}/"
            async with serve(replies(response(b"", "301 Go", location)), tls) as port:
                sample = await run_probe(
                    f"https://127.0.0.1:{port}",
                    ca_file=ca_file,
                    headers={"Authorization": {"env": "TOKEN"}},
                )
        assert sample.outcome is Outcome.GOOD
        assert b"env-TOKEN" not in seen[0]
        assert sample.certificate_expires_at is not None

    run(story())


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
async def test_a_bad_ca_file_is_found_before_the_first_probe(
    tmp_path: Path, content: bytes | None
) -> None:
    """Building the probe names the file that cannot be used."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"ca_file: cannot load certificates from .*ca\.pem"):
        await run_probe("https://127.0.0.1", ca_file=str(path))


@pytest.mark.parametrize(("days", "reason"), [(9999.9, ""), (10000.1, "expiring")])
async def test_a_certificate_that_soon_expires(
    authority: trustme.CA, ca_file: str, days: float, reason: str
) -> None:
    """The notice counts from the start of the probe, and the detail says how much is left."""
    not_after = datetime.fromtimestamp(AT, UTC) + timedelta(days=10_000)
    tls = server_context(authority, "127.0.0.1", not_after=not_after)
    async with serve(replies(response()), tls) as port:
        url = f"https://127.0.0.1:{port}"
        sample = await run_probe(url, ca_file=ca_file, min_certificate_days=days)
    assert sample.reason == reason
    assert sample.certificate_expires_at is not None
    if reason:
        assert "expires in 10000.0 days" in sample.detail


async def test_without_tls_there_is_no_certificate_to_judge() -> None:
    """Such a configuration is refused before the first probe."""
    with pytest.raises(ValueError, match="needs an https address"):
        await run_probe("http://127.0.0.1", min_certificate_days=14)
