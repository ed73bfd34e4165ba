"""Through an HTTP proxy: relayed or tunnelled, and whose failure it is when that goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from monitor.model import Outcome, Sample
from monitor.probes.http.proxy import _verdict
from monitor.probes.reason import Reason
from tests.probes.raw_server import Handler, make_io, replies, response, run_probe, serve

Run = Callable[..., Any]


class Proxy:
    """Relays http and tunnels https to the loopback port that a URL names, whatever its host."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        method, target, _ = head.split(b" ", 2)
        authority = target if method == b"CONNECT" else target.split(b"/")[2]
        port = int(authority.rpartition(b":")[2])
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n")
        else:
            up_writer.write(head)
        try:
            async with asyncio.TaskGroup() as pipes:
                pipes.create_task(pipe(reader, up_writer))
                pipes.create_task(pipe(up_reader, writer))
        finally:
            up_writer.transport.abort()


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    authority = trustme.CA()
    path: Path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("shop.test").configure_cert(tls)
    return tls, str(path)


def test_http_is_relayed(run: Run) -> None:
    """The proxy gets the whole URL and looks up the name itself; the answer is the target's."""
    proxy, seen = Proxy(), list[bytes]()

    async def story() -> tuple[int, Sample]:
        async with serve(proxy) as proxy_port, serve(replies(response(b"hi"), seen=seen)) as port:
            sample = await run_probe(
                f"http://shop.test:{port}",
                proxy=f"http://127.0.0.1:{proxy_port}",
                path="/a?b=c",
                body_contains="hi",
            )
            return port, sample

    port, sample = run(story())
    assert sample.outcome is Outcome.GOOD
    assert proxy.heads[0].startswith(b"GET http://shop.test:%d/a?b=c HTTP/1.1\r\n" % port)
    assert b"Host: shop.test:%d\r\n" % port in seen[0]
    assert [name for name, _ in sample.phases] == ["connect", "send", "wait", "transfer"]


def test_https_is_tunnelled(run: Run, secure: tuple[ssl.SSLContext, str]) -> None:
    """TLS is spoken with the target itself; the proxy sees no request and no secret."""
    tls, ca_file = secure
    proxy, seen = Proxy(), list[bytes]()

    async def story() -> tuple[int, Sample]:
        async with serve(proxy) as proxy_port, serve(replies(response(), seen=seen), tls) as port:
            sample = await run_probe(
                f"https://shop.test:{port}",
                proxy=f"http://127.0.0.1:{proxy_port}",
                ca_file=ca_file,
                auth={"bearer": {"env": "TOKEN"}},
            )
            return port, sample

    port, sample = run(story())
    assert sample.outcome is Outcome.GOOD
    assert sample.certificate_expires_at is not None
    to = b"shop.test:%d" % port
    assert proxy.heads == [b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (to, to)]
    assert b"Bearer env-TOKEN" in seen[0]
    assert seen[0].startswith(b"GET / HTTP/1.1\r\n")
    names = [name for name, _ in sample.phases]
    assert names == ["connect", "tls", "send", "wait", "transfer"]


def test_a_redirect_keeps_to_the_proxy(run: Run) -> None:
    """Every hop goes the same way."""
    proxy = Proxy()

    async def story() -> Sample:
        async with serve(proxy) as proxy_port, serve(replies(response())) as last:
            location = f"Location: http://other.test:{last}/end"
            async with serve(replies(response(b"", "302 Go", location))) as port:
                return await run_probe(
                    f"http://shop.test:{port}", proxy=f"http://127.0.0.1:{proxy_port}"
                )

    assert run(story()).outcome is Outcome.GOOD
    assert b"GET http://other.test:" in proxy.heads[1]


async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    await reader.read()


async def close(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("handler", "outcome", "reason"),
    [
        (replies(b"HTTP/1.1 407 Who are you\r\n\r\n"), Outcome.UNKNOWN, "proxy"),
        (replies(b"HTTP/1.1 403 No\r\n\r\n"), Outcome.UNKNOWN, "proxy"),
        (replies(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"), Outcome.BAD, "connect_unreachable"),
        (replies(b"HTTP/1.1 504 Gateway Timeout\r\n\r\n"), Outcome.BAD, "connect_unreachable"),
        (replies(b"garbage\r\n\r\n"), Outcome.UNKNOWN, "proxy"),
        (replies(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000), Outcome.UNKNOWN, "proxy"),
        (replies(b"HTTP/1.1 200 OK\r\n\r\n220 mail\r\n"), Outcome.BAD, "tls_protocol"),
        (close, Outcome.UNKNOWN, "proxy"),
        (hang, Outcome.BAD, "connect_timeout"),
    ],
)
def test_a_tunnel_that_does_not_stand(
    run: Run, handler: Handler, outcome: Outcome, reason: str
) -> None:
    """What the proxy says of the target counts; a proxy that fails by itself says nothing."""

    async def story() -> Sample:
        async with serve(handler) as port:
            proxy = f"http://127.0.0.1:{port}"
            return await run_probe("https://shop.test", 0.25, proxy=proxy)

    sample = run(story())
    assert (sample.outcome, sample.reason) == (outcome, reason)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_cannot_be_reached(scheme: str) -> None:
    """Nothing is known of the target behind it."""
    async with serve(hang) as port:
        pass
    refused = await run_probe(f"{scheme}://shop.test", proxy=f"http://127.0.0.1:{port}")
    unknown = await run_probe(f"{scheme}://shop.test", proxy="http://nowhere.test:3128")
    for sample in (refused, unknown):
        assert (sample.outcome, sample.reason) == (Outcome.UNKNOWN, "proxy")
        assert sample.detail.startswith("the proxy cannot be reached: ")


async def test_a_proxy_that_does_not_accept() -> None:
    """A connection to the proxy that never stands is the proxy's failure too."""

    async def connect(_factory: Any, _host: str, _port: int) -> Any:
        await asyncio.sleep(60)

    io = make_io(connect=connect)
    sample = await run_probe("http://shop.test", 0.05, io, proxy="http://127.0.0.1:3128")
    assert (sample.outcome, sample.reason) == (Outcome.UNKNOWN, "proxy")
    assert "connecting to the proxy" in sample.detail


async def test_a_relay_that_wants_credentials() -> None:
    """407 comes from the proxy, never from the target."""
    async with serve(replies(response(b"", "407 Who are you"))) as port:
        sample = await run_probe("http://shop.test", proxy=f"http://127.0.0.1:{port}")
    assert (sample.outcome, sample.reason) == (Outcome.UNKNOWN, "proxy")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_denied_addresses_stay_denied(scheme: str) -> None:
    """A proxy is no way around the policy for what a URL or a redirect names by its address."""
    seen: list[bytes] = []
    location = f"Location: {scheme}://169.254.169.254/latest/"
    async with serve(replies(response(b"", "302 Go", location), seen=seen)) as port:
        proxy = f"http://127.0.0.1:{port}"
        direct = await run_probe(f"{scheme}://169.254.169.254", proxy=proxy)
        redirected = await run_probe("http://shop.test", proxy=proxy)
    assert [direct.reason, redirected.reason] == ["address_denied", "address_denied"]
    assert len(seen) == 1


# --- which addresses first ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ip", "tried"),
    [
        ("any", ["192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"]),
        (4, ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]),
        (6, ["2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2"]),
    ],
)
async def test_the_preferred_addresses_come_first(ip: object, tried: list[str]) -> None:
    """The others remain as a fallback."""
    connected: list[str] = []

    async def resolve(_host: str) -> Sequence[str]:
        return ["192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"]

    async def connect(_factory: Any, host: str, _port: int) -> Any:
        connected.append(host)
        raise ConnectionRefusedError(111, "refused")

    io = make_io(connect=connect, resolve=resolve)
    sample = await run_probe("http://shop.test", io=io, ip=ip)
    assert sample.reason == "connect_refused"
    assert connected == tried


@given(
    st.binary(max_size=60)
    | st.tuples(st.sampled_from([b"HTTP/1.1 200", b"HTTP/1.0 502 "]), st.binary(max_size=20)).map(
        lambda parts: b"\r\n".join([*parts, b"", b""])
    )
)
def test_no_answer_of_a_proxy_breaks_the_reading(head: bytes) -> None:
    """Whatever a proxy says opens the tunnel or is a failure with its own reason."""
    failure = _verdict(head)
    assert failure is None or failure.reason in {
        Reason.PROXY,
        Reason.CONNECT_UNREACHABLE,
        Reason.TLS_PROTOCOL,
    }
