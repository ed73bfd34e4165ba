"""One POST: its outcome is known, or known to be unknown, and shows no secret."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from monitor.fields import Secret
from monitor.model import Delivery, DeliveryResult
from monitor.notify.base import NotifyIO
from monitor.notify.http import (
    ANSWER_LIMIT,
    DETAIL_LIMIT,
    RETRY_AFTER_CAP_S,
    Answer,
    Endpoint,
    post,
    retry_after,
    shown,
    status_result,
)
from monitor.scenario.provider import Reply, Request
from tests.notify.samples import CANARY, NOW
from tests.support.serve import serve

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Says:
    """Answers everything alike and remembers what was asked."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.seen: list[Request] = []

    def handle(self, request: Request) -> Reply:
        self.seen.append(request)
        return self.reply


@asynccontextmanager
async def wire(handler: Handler) -> AsyncIterator[str]:
    """Serve raw bytes: what a well-behaved server library would refuse to send."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def attempt(notify_io: NotifyIO, url: str, limit_s: float = 5) -> Answer | Delivery:
    return await post(notify_io.http, Endpoint.parse(Secret(url)), b"{}", {}, limit_s)


def outcome(answer: Answer | Delivery) -> DeliveryResult:
    assert isinstance(answer, Delivery)
    return answer.result


async def test_the_secret_path_reaches_the_server_only(
    notify_io: NotifyIO, caplog: pytest.LogCaptureFixture
) -> None:
    """The client logs the address of every request; the secret part is not in it."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="httpx2")
    provider = Says(Reply(status=200, body=b"ok"))
    async with serve(provider) as url:
        answer = await attempt(notify_io, f"{url}/services/{CANARY}?token={CANARY}")
    assert isinstance(answer, Answer)
    assert provider.seen[0].path == f"/services/{CANARY}?token={CANARY}"
    assert "127.0.0.1" in caplog.text
    assert CANARY not in caplog.text


async def test_user_and_password_of_an_address_are_sent_as_credentials(
    notify_io: NotifyIO,
) -> None:
    """An address with credentials works and does not show them."""
    provider = Says(Reply(status=204))
    async with serve(provider) as url:
        await attempt(notify_io, url.replace("//", f"//user:{CANARY}@") + "/hook")
    assert provider.seen[0].headers["authorization"].startswith("Basic ")


async def test_a_refused_connection_was_not_sent(notify_io: NotifyIO) -> None:
    """Nothing listens there: trying again is safe."""
    async with wire(lambda _reader, _writer: asyncio.sleep(0)) as url:
        pass
    answer = await attempt(notify_io, url)
    assert outcome(answer) is DeliveryResult.RETRY
    assert isinstance(answer, Delivery)
    assert "refused" in answer.detail.lower()


async def test_a_failed_handshake_was_not_sent(notify_io: NotifyIO) -> None:
    """TLS that cannot be agreed on ends before the request: trying again is safe."""
    provider = Says(Reply(status=200))
    async with serve(provider) as url:
        answer = await attempt(notify_io, url.replace("http:", "https:"))
    assert outcome(answer) is DeliveryResult.RETRY
    assert provider.seen == []


async def test_a_handshake_that_hangs_was_not_sent(notify_io: NotifyIO) -> None:
    """Connecting may use only a part of the limit, so that running out of it means `sent`."""

    async def mute(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        await asyncio.sleep(30)

    async with wire(mute) as url:
        answer = await attempt(notify_io, url.replace("http:", "https:"), limit_s=0.6)
    assert outcome(answer) is DeliveryResult.RETRY


@pytest.mark.parametrize(
    "reply",
    [Reply(status=200, delay_s=30), Reply(status=200, drop=True)],
    ids=["hangs", "closes"],
)
async def test_silence_after_the_request_is_uncertain(notify_io: NotifyIO, reply: Reply) -> None:
    """The request went out and no answer came: it may have arrived."""
    provider = Says(reply)
    started = asyncio.get_running_loop().time()
    async with serve(provider) as url:
        answer = await attempt(notify_io, url, limit_s=0.3)
    assert outcome(answer) is DeliveryResult.UNCERTAIN
    assert len(provider.seen) == 1
    assert asyncio.get_running_loop().time() - started < 2


async def test_dripped_headers_end_at_the_limit(notify_io: NotifyIO) -> None:
    """A server that sends a byte now and then cannot hold the channel: the limit is a total."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.05)

    async with wire(drip) as url:
        async with asyncio.timeout(2):
            answer = await attempt(notify_io, url, limit_s=0.4)
    assert outcome(answer) is DeliveryResult.UNCERTAIN


@pytest.mark.parametrize("garbage", [b"ICY 200 OK\r\n\r\n", b"", b"\x15\x03\x01"])
async def test_a_garbled_answer_is_uncertain(notify_io: NotifyIO, garbage: bytes) -> None:
    """Something answered, but not in HTTP: the message may have been taken."""

    async def garble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(garbage)
        await writer.drain()

    async with wire(garble) as url:
        assert outcome(await attempt(notify_io, url)) is DeliveryResult.UNCERTAIN


async def test_a_status_counts_though_the_body_breaks_off(notify_io: NotifyIO) -> None:
    """The status line decides; a body that never ends only costs the detail."""

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nsor")
        await writer.drain()
        await asyncio.sleep(30)

    async with wire(stall) as url:
        answer = await attempt(notify_io, url, limit_s=0.3)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body) == (503, None)


async def test_an_endless_body_is_left_unread(notify_io: NotifyIO) -> None:
    """An answer costs a bounded amount of memory and time."""
    sent = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            sent += 65536
            await writer.drain()

    async with wire(pour) as url:
        answer = await attempt(notify_io, url)
    assert isinstance(answer, Answer)
    assert answer.body == "x" * ANSWER_LIMIT
    assert sent < 50_000_000


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        (None, None),
        ("", None),
        ("30", 30.0),
        (" 30 ", 30.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("-5", None),
        ("soon", None),
        ("\u00b2", None),
        ("999999999", RETRY_AFTER_CAP_S),
        ("9" * 400, None),
        ("Fri, 15 Jan 2027 08:00:42 GMT", 42.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("Fri, 15 Jan 2099 07:00:00 GMT", RETRY_AFTER_CAP_S),
        ("Fri, 99 Jan 2027 07:00:00 GMT", None),
    ],
)
def test_retry_after(value: str | None, wait_s: float | None) -> None:
    """Seconds and dates are both understood; nonsense counts as no wish, and no wish is endless."""
    assert retry_after(value, NOW) == wait_s


@pytest.mark.parametrize(
    "address",
    ["", "hooks.slack.com/x", "ftp://x/y", "https://", "https:///x", "http://[::1", f"{CANARY}://x",
     "https://h:99999999/x", "https://\ud800/"],
)  # fmt: skip
def test_an_unusable_address_is_refused_without_repeating_it(address: str) -> None:
    """The error says what is expected; the address may hold a token, so it stays out."""
    with pytest.raises(ValueError, match="expected an address that starts with https://") as caught:
        Endpoint.parse(Secret(address))
    assert CANARY not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://example.com/a", "https://example.com/"),
        ("http://127.0.0.1:8080/a", "http://127.0.0.1:8080/"),
        ("http://[::1]:8080/a", "http://[::1]:8080/"),
        (" https://example.com/a\n", "https://example.com/"),
    ],
)
def test_an_address_is_split(address: str, origin: str) -> None:
    """Scheme, host and port are public; the path is not, not even in a repr."""
    endpoint = Endpoint.parse(Secret(address))
    assert (endpoint.origin, endpoint.target) == (origin, b"/a")
    assert "target" not in repr(endpoint)


def test_every_telling_part_of_an_address_is_hidden() -> None:
    """A provider that echoes the address, or only a part of it, does not get it into the ledger."""
    secret = f"https://user:pass-{CANARY}@h/services/{CANARY}?k=q-{CANARY}"
    endpoint = Endpoint.parse(Secret(secret))
    for echo in (secret, f"no such hook: /services/{CANARY}", CANARY, f"pass-{CANARY}"):
        assert CANARY not in shown(f"{'x' * 190}{echo}", endpoint.secrets)
        assert CANARY[:8] not in shown(echo, endpoint.secrets)


def test_details_are_one_short_line() -> None:
    """What a provider says cannot flood or break the ledger."""
    text = shown("a\r\nb\x00" * 1000, ())
    assert len(text) == DETAIL_LIMIT
    assert text.startswith("a b\ufffda b")


def test_every_status_has_an_outcome() -> None:
    """Success, try again (timeouts, rate limits, server errors), or refused for good."""
    results = {status: status_result(status) for status in range(200, 600)}
    assert {s for s, r in results.items() if r is DeliveryResult.DELIVERED} == set(range(200, 300))
    assert {s for s, r in results.items() if r is DeliveryResult.RETRY} == {
        408, 425, 429, *range(500, 600),
    }  # fmt: skip
    assert DeliveryResult.UNCERTAIN not in results.values()
