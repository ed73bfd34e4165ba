"""The `websocket` kind against aiohttp's WebSocket server, and scripted raw peers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import trustme
import yaml
from aiohttp import WSMsgType, web
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.model import Outcome, Sample
from monitor.probes.failure import ProbeError
from monitor.probes.websocket import WebSocketProbeConfig
from monitor.probes.websocket.session import MAX_FRAMES, MAX_MESSAGE_BYTES, Session
from tests.probes.peers import probe_peer, server_context, silent_io
from tests.probes.raw_server import Handler, make_io, replies, reset, response, serve
from tests.support import virtual

Run = Callable[..., Any]
Talk = Callable[[web.WebSocketResponse], Awaitable[None]]
DEADLINE_S = 0.25
NOT_AFTER = datetime(2040, 1, 2, 3, 4, 5, tzinfo=UTC)


async def probe(port: int, deadline_s: float = 5.0, **fields: Any) -> Sample:
    return await probe_peer(WebSocketProbeConfig, port, deadline_s, **fields)


class Site:
    """An aiohttp server whose every path is a WebSocket; it keeps what it saw."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.requests: list[web.BaseRequest] = []
        self.close_codes: list[int | None] = []
        self.closed = asyncio.Event()
        self.port = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        socket = web.WebSocketResponse(protocols=("prices.v2",))
        await socket.prepare(request)
        await self._talk(socket)
        self.close_codes.append(socket.close_code)
        self.closed.set()
        return socket


@contextlib.asynccontextmanager
async def serve_site(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    site = Site(talk)
    runner = web.ServerRunner(web.Server(site.answer, access_log=None), shutdown_timeout=0.05)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        site.port = runner.addresses[0][1]
        yield site
    finally:
        await runner.cleanup()


async def echoes(socket: web.WebSocketResponse) -> None:
    await socket.send_str("welcome")
    await socket.send_bytes(b"\xff\xfe")
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(f"echo {message.data}")


async def listens(socket: web.WebSocketResponse) -> None:
    async for _ in socket:
        pass


async def leaves(socket: web.WebSocketResponse) -> None:
    await socket.send_str("going")
    await socket.close(code=4401, message=b"no \x1b token")


async def big(socket: web.WebSocketResponse) -> None:
    await socket.send_str("x" * MAX_MESSAGE_BYTES)
    await socket.send_str("x" * (MAX_MESSAGE_BYTES + 1))
    await listens(socket)


def test_an_upgrade_is_enough(run: Run) -> None:
    """Without expectations an upgrade is GOOD, and the connection is closed in order."""

    async def story() -> None:
        async with serve_site(listens) as site:
            sample = await probe(site.port)
            await asyncio.wait_for(site.closed.wait(), 5)
        assert (sample.outcome, sample.detail, sample.status) == (Outcome.GOOD, "", 101)
        assert [name for name, _ in sample.phases] == ["connect", "upgrade"]
        assert sample.latency_s == pytest.approx(sum(seconds for _, seconds in sample.phases))
        assert site.close_codes == [1000]

    run(story())


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"expect": "^welcome$"}, ""),
        ({"expect": r"\xff"}, "no message matches the pattern (the last is '\\\\xff\\\\xfe')"),
        ({"send": "héllo", "expect": "^echo héllo$"}, ""),
        ({"send": "hello"}, ""),
        (
            {"send": "hello", "expect": "^bye"},
            "no message matches the pattern (the last is 'echo hello')",
        ),
    ],
)
def test_messages(run: Run, fields: dict[str, Any], detail: str) -> None:
    """What is sent arrives; other messages are passed over until the time is up."""

    async def story() -> None:
        async with serve_site(echoes) as site:
            sample = await probe(site.port, DEADLINE_S if detail else 5.0, **fields)
        assert (sample.reason, sample.detail) == ("body" if detail else "", detail)
        assert [name for name, _ in sample.phases] == ["connect", "upgrade", "message"]
        assert sample.latency_s is not None

    run(story())


@pytest.mark.parametrize(
    ("talk", "fields", "reason", "detail"),
    [
        (listens, {"expect": "x"}, "timeout", "timed out after 0.25 s while waiting for an answer"),
        (
            leaves,
            {"expect": "never"},
            "truncated",
            r"the server closed the WebSocket (code 4401, 'no \x1b token')",
        ),
        (leaves, {"expect": "going"}, "", ""),
        (leaves, {}, "", ""),
        (big, {"expect": "^x+$"}, "", ""),
        (big, {"expect": "y"}, "body", "a message is longer than 65536 bytes"),
        (
            listens,
            {"subprotocol": "prices.v3"},
            "protocol",
            "the server does not speak the subprotocol prices.v3",
        ),
        (listens, {"subprotocol": "prices.v2"}, "", ""),
    ],
)
def test_what_a_server_may_do(
    run: Run, talk: Talk, fields: dict[str, Any], reason: str, detail: str
) -> None:
    """Silence, a farewell, a long message and no agreement each have their reason."""

    async def story() -> Sample:
        async with serve_site(talk) as site:
            return await probe(site.port, DEADLINE_S if reason == "timeout" else 5.0, **fields)

    sample: Sample = run(story())
    assert (sample.reason, sample.detail) == (reason, detail)
    assert sample.censored is (reason == "timeout")
    assert sample.status == 101


async def test_pings_are_answered() -> None:
    """While a message is waited for, the server's ping gets its pong, with its payload."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(accept(await reader.readuntil(b"\r\n\r\n")) + frame(9, b"are you there"))
        head = await reader.readexactly(6)
        payload = await reader.readexactly(head[1] & 0x7F)
        unmasked = bytes(byte ^ head[2 + at % 4] for at, byte in enumerate(payload))
        writer.write(frame(1, b"pong " + unmasked if head[0] == 0x8A else b"no pong"))

    async with serve(handler) as port:
        sample = await probe(port, expect="^pong are you there$")
    assert (sample.outcome, sample.detail) == (Outcome.GOOD, "")


async def test_what_is_sent() -> None:
    """The path follows the deployment's URL; headers go out with secrets revealed."""
    async with serve_site(listens) as site:
        sample = await probe(
            site.port,
            path="/live?x=1",
            subprotocol="prices.v2",
            headers={"Origin": "https://shop.test", "X-Key": {"env": "KEY"}, "Host": "shop.test"},
        )
    assert sample.outcome is Outcome.GOOD
    request = site.requests[0]
    assert request.path_qs == "/live?x=1"
    assert request.headers["Origin"] == "https://shop.test"
    assert request.headers["X-Key"] == "env-KEY"
    assert request.headers.getall("Host") == ["shop.test"]
    assert request.headers["User-Agent"].startswith("slo-monitor/")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA) -> Iterator[str]:
    with authority.cert_pem.tempfile() as path:
        yield path


def test_tls(run: Run, authority: trustme.CA, ca_file: str) -> None:
    """For https the WebSocket is secure: verified, timed, with its expiry."""
    tls = server_context(authority, "127.0.0.1", not_after=NOT_AFTER)

    async def story() -> None:
        async with serve_site(echoes, tls) as site:
            good = await probe(site.port, scheme="https", ca_file=ca_file, expect="welcome")
            bad = await probe(site.port, scheme="https")
        assert (good.outcome, good.detail) == (Outcome.GOOD, "")
        assert [name for name, _ in good.phases] == ["connect", "tls", "upgrade", "message"]
        assert good.certificate_expires_at == NOT_AFTER.timestamp()
        assert (bad.outcome, bad.reason) == (Outcome.BAD, "tls_untrusted")

    run(story())


# --- scripted peers -----------------------------------------------------------------------------


def accept(request: bytes) -> bytes:
    """Return the answer that agrees to an upgrade (RFC 6455, 4.2.2)."""
    found = re.search(rb"(?i)sec-websocket-key: *(\S+)", request)
    assert found is not None
    digest = hashlib.sha1(found[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()  # noqa: S324 - the protocol's own
    lines = [
        b"HTTP/1.1 101 Go",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest),
    ]
    return b"\r\n".join([*lines, b"", b""])


def frame(opcode: int, payload: bytes = b"", *, last: bool = True) -> bytes:
    assert len(payload) < 126
    return bytes([opcode | (0x80 if last else 0), len(payload)]) + payload


def upgrades(*parts: bytes, over_and_over: bool = False, then: str = "hold") -> Handler:
    """Agree, send `parts` (the last one for ever, if so), then `hold`, `close` or `reset`."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(accept(await reader.readuntil(b"\r\n\r\n")))
        for part in parts:
            writer.write(part)
        await writer.drain()
        while over_and_over:
            writer.write(parts[-1] * 1000)
            await writer.drain()
        if then == "reset":
            await asyncio.sleep(0.02)
            reset(writer)
        if then == "hold":
            await reader.read()

    return handler


async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in b"HTTP/1.1 101 Go\r\n" + b"X-Slow: yes\r\n" * 100:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)


async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


FAULTS: list[Any] = [
    pytest.param(never, "timeout", "timed out after 0.25 s", None, id="never"),
    pytest.param(drips, "timeout", "timed out after 0.25 s", None, id="drips"),
    pytest.param(
        closes,
        "truncated",
        "the connection was closed before the answer to the upgrade came",
        None,
        id="closes",
    ),
    pytest.param(
        replies(response(b"", "403 No")), "status", "HTTP 403 instead of an upgrade", 403, id="403"
    ),
    pytest.param(replies(response()), "status", "HTTP 200 instead", 200, id="200"),
    pytest.param(
        replies(b"HTTP/1.1 103 Early\r\n\r\n"), "status", "HTTP 103 instead", 103, id="103"
    ),
    pytest.param(replies(b"SSH-2.0\r\n"), "protocol", "the server does not speak", None, id="ssh"),
    pytest.param(
        replies(
            b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
            b"Sec-WebSocket-Accept: AAAA\r\n\r\n"
        ),
        "protocol",
        "not a valid WebSocket answer: Bad accept token",
        None,
        id="wrong-accept",
    ),
    pytest.param(
        replies(b"HTTP/1.1 101 Go\r\n\r\n"),
        "protocol",
        "not a valid WebSocket answer: Missing header",
        None,
        id="no-upgrade-header",
    ),
    pytest.param(
        replies(b"HTTP/1.1 101 Go\r\n" + b"X: y\r\n" * 20_000),
        "protocol",
        "not a valid WebSocket answer",
        None,
        id="endless-headers",
    ),
    pytest.param(
        upgrades(then="close"),
        "truncated",
        "the connection was closed before a message came",
        101,
        id="closed-without-farewell",
    ),
    pytest.param(upgrades(b"\x81", then="reset"), "reset", "connection lost", 101, id="reset"),
    pytest.param(
        upgrades(frame(3)), "protocol", "not a valid WebSocket frame: ", 101, id="bad-opcode"
    ),
    pytest.param(
        upgrades(frame(1, b"\xff")), "protocol", "not a valid WebSocket frame", 101, id="not-utf-8"
    ),
    pytest.param(
        upgrades(b"\x81\x85maskhello"), "protocol", "not a valid WebSocket frame", 101, id="masked"
    ),
    pytest.param(
        upgrades(b"\x81\x7f" + b"\xff" * 8 + b"x" * 100),
        "protocol",
        "not a valid WebSocket frame",
        101,
        id="huge-length",
    ),
    pytest.param(
        upgrades(frame(2, b"x" * 125, last=False), frame(0, b"y" * 125, last=False),
                 over_and_over=True),
        "body", "a message is longer than 65536 bytes", 101, id="endless-message",
    ),
    pytest.param(
        upgrades(frame(9, b"x"), over_and_over=True),
        "protocol",
        f"more than {MAX_FRAMES} frames",
        101,
        id="flood-of-pings",
    ),
    pytest.param(
        upgrades(frame(1, b""), over_and_over=True),
        "protocol",
        f"more than {MAX_FRAMES} frames",
        101,
        id="flood-of-messages",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("handler", "reason", "detail", "status"), FAULTS)
def test_faults(run: Run, handler: Handler, reason: str, detail: str, status: int | None) -> None:
    """Each fault ends within the deadline, with its own reason and a printable detail."""

    async def story() -> Sample:
        async with serve(handler) as port:
            deadline_s = DEADLINE_S if reason == "timeout" else 5.0
            return await probe(port, deadline_s, expect="never said")

    sample: Sample = run(story())
    assert (sample.outcome, sample.reason, sample.status) == (Outcome.BAD, reason, status)
    assert sample.detail.startswith(detail)
    assert sample.detail.isprintable()
    assert sample.censored is (reason == "timeout")


async def test_a_server_that_does_not_close_changes_nothing() -> None:
    """The verdict and the latency are settled before the close; the deadline cannot spoil them."""
    async with serve(upgrades(frame(1, b"hello"))) as port:
        sample = await probe(port, DEADLINE_S, expect="hello")
    assert (sample.outcome, sample.detail) == (Outcome.GOOD, "")
    assert sample.latency_s is not None
    assert sample.latency_s < DEADLINE_S


def test_virtual_time() -> None:
    """With an injected connection nothing but the loop's own time counts."""
    sample = virtual.run(probe(80, io=silent_io()))
    assert (sample.reason, sample.latency_s) == ("timeout", 5.0)


async def test_the_address_is_judged() -> None:
    """Before anything is sent to it."""
    sample = await probe(80, io=make_io(allowed=()))
    assert (sample.outcome, sample.reason) == (Outcome.BAD, "address_denied")


# --- bytes --------------------------------------------------------------------------------------


def session() -> tuple[Session, bytes]:
    fresh = Session("shop.test", "/", [], None)
    return fresh, accept(fresh.outgoing())


def receive(data: bytes, *, upgraded: bool) -> None:
    fresh, agreement = session()
    if upgraded:
        fresh.receive(agreement)
        assert fresh.is_open
    with contextlib.suppress(ProbeError):
        fresh.receive(data)
        fresh.outgoing()


@given(st.binary(max_size=300))
def test_no_bytes_break_the_session(data: bytes) -> None:
    """Arbitrary bytes, before and after the upgrade, end in a ProbeError at worst."""
    receive(data, upgraded=False)
    receive(b"HTTP/1.1 101 " + data, upgraded=False)
    receive(data, upgraded=True)


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 2, 8, 9, 10]), st.binary(max_size=60), st.booleans()),
        max_size=8,
    )
)
def test_no_frames_break_the_session(frames: list[tuple[int, bytes, bool]]) -> None:
    """Nor does any order of frames that are well-formed each on its own."""
    data = b"".join(frame(opcode, payload, last=last) for opcode, payload, last in frames)
    receive(data, upgraded=True)


@given(st.integers(0, 200), st.integers(0, 255))
def test_no_damaged_agreement_breaks_the_session(at: int, byte: int) -> None:
    """Nor does an agreement with a byte changed."""
    fresh, agreement = session()
    damaged = bytearray(agreement)
    damaged[at % len(damaged)] = byte
    with contextlib.suppress(ProbeError):
        fresh.receive(bytes(damaged))


# --- configuration ------------------------------------------------------------------------------


def test_the_example_loads() -> None:
    """What the documentation shows can be used."""
    fields = yaml.safe_load(WebSocketProbeConfig.example)
    config = WebSocketProbeConfig.model_validate(fields, by_name=False)
    assert (config.path, config.send, config.expect) == ("/live", "ping", "^pong")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"path": "live"}, "starts with /"),
        ({"expect": "("}, "RE2"),
        ({"send": ""}, "at least 1"),
        ({"subprotocol": "a b"}, "pattern"),
        ({"headers": {"Upgrade": "x"}}, "belongs to the prober"),
        ({"headers": {"Sec-WebSocket-Key": "x"}}, "belongs to the prober"),
        ({"headers": {"X": "hush\n"}}, "the value of X"),
    ],
)
def test_bad_configuration(fields: dict[str, Any], problem: str) -> None:
    """Each mistake is told before anything runs, and no value is repeated."""
    with pytest.raises(ValidationError, match=problem) as caught:
        WebSocketProbeConfig.model_validate({"kind": "websocket", **fields}, by_name=False)
    assert "hush" not in str(caught.value)
