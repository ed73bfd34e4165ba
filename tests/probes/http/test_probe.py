"""Every fault of the target's side that a probe must survive, against real loopback servers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import socket
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.model import Deployment, Outcome, Sample, Target
from monitor.probes.base import ProbeIO
from monitor.probes.http import HttpProbeConfig
from monitor.probes.http.assertions import Checks
from monitor.probes.http.probe import HttpProbe
from monitor.probes.http.request import Request
from monitor.probes.http.url import parse_url
from monitor.probes.reason import Reason
from tests.probes.raw_server import (
    AT,
    LOOPS,
    Handler,
    make_io,
    once,
    replies,
    reset,
    response,
    run_probe,
    serve,
)

Run = Callable[..., Any]
DEADLINE_S = 0.25


async def drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    for byte in data:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    await drip(writer, b"x" * 1000)


async def drip_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    await drip(writer, b"HTTP/1.1 200 OK\r\n" + b"X-Slow: yes\r\n" * 100)


async def endless_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"all work and no play " * 1000)
        await writer.drain()


async def endless_trailer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ")
    while True:
        writer.write(b"y" * 10_000)
        await writer.drain()


async def endless_interim(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n")
        await writer.drain()


async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def close_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def reset_in_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
    await asyncio.sleep(0.05)
    reset(writer)


async def reset_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    reset(writer)


def gzip_bomb() -> bytes:
    body = gzip.compress(bytes(64 * 1024 * 1024), compresslevel=9)
    return response(body, "200 OK", "Content-Encoding: gzip")


MANY_HEADERS = b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * 5000 + b"\r\n"
LONG_HEADERS = b"HTTP/1.1 200 OK\r\n" + (b"X-Long: " + b"y" * 8192 + b"\r\n") * 9

FAULTS: list[Any] = [
    pytest.param(drip_body, {}, "timeout_body", 200, id="drip-body"),
    pytest.param(drip_headers, {}, "timeout_headers", None, id="drip-headers"),
    pytest.param(never_answer, {}, "timeout_headers", None, id="accept-never-answer"),
    pytest.param(endless_body, {}, "", 200, id="endless-body-unchecked"),
    pytest.param(endless_body, {"body_contains": "no play"}, "", 200, id="endless-body-match"),
    pytest.param(endless_body, {"body_contains": "Jack"}, "body", 200, id="endless-body-miss"),
    pytest.param(endless_body, {"revision": "$.v"}, "json", 200, id="endless-json"),
    pytest.param(endless_trailer, {}, "too_large_headers", 200, id="endless-trailer"),
    pytest.param(endless_interim, {}, "too_large_headers", None, id="endless-100-continue"),
    pytest.param(replies(MANY_HEADERS), {}, "too_large_headers", None, id="5000-headers"),
    pytest.param(replies(LONG_HEADERS), {}, "too_large_headers", None, id="8-KB-lines"),
    pytest.param(replies(b"400 Nope\r\n\r\n"), {}, "protocol", None, id="garbage-status-line"),
    pytest.param(replies(b"HTTP/1.1 2x0 OK\r\n\r\n"), {}, "protocol", None, id="garbage-status"),
    pytest.param(replies(b"HTTP/1.1 007 No\r\n\r\n"), {}, "protocol", None, id="status-007"),
    pytest.param(replies(b"SSH-2.0-OpenSSH_9\r\n"), {}, "protocol", None, id="other-protocol"),
    pytest.param(
        replies(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        {},
        "protocol",
        200,
        id="bad-chunk",
    ),
    pytest.param(close_at_once, {}, "truncated", None, id="closed-without-answer"),
    pytest.param(replies(b"HTTP/1.1 200 OK\r\nX"), {}, "truncated", None, id="short-headers"),
    pytest.param(
        replies(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"),
        {},
        "truncated",
        200,
        id="short-body",
    ),
    pytest.param(
        replies(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n"),
        {},
        "truncated",
        200,
        id="short-chunks",
    ),
    pytest.param(reset_at_once, {}, "reset", None, id="reset-before-answer"),
    pytest.param(reset_in_body, {}, "reset", 200, id="reset-in-body"),
    pytest.param(
        replies(response(b"no", "200 OK", "Content-Encoding: gzip")),
        {"body_contains": "no"},
        "protocol",
        200,
        id="not-really-gzip",
    ),
    pytest.param(
        replies(response(b"??", "200 OK", "Content-Encoding: br")),
        {"body_contains": "no"},
        "protocol",
        200,
        id="unwanted-coding",
    ),
    pytest.param(
        replies(response(b"??", "200 OK", "Content-Encoding: br")), {}, "", 200, id="coding-unread"
    ),
    pytest.param(replies(gzip_bomb()), {"body_contains": "x"}, "body", 200, id="gzip-bomb"),
    pytest.param(replies(response(b"", "503 No")), {}, "status", 503, id="503"),
    pytest.param(
        replies(b"HTTP/1.1 101 Up\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxx"),
        {},
        "status",
        101,
        id="unasked-upgrade",
    ),
    pytest.param(replies(response()), {"max_latency": "0.001ms"}, "slow", 200, id="slow"),
]


@pytest.mark.parametrize(("handler", "fields", "reason", "status"), FAULTS)
def test_faults(
    run: Run, handler: Handler, fields: dict[str, Any], reason: str, status: int | None
) -> None:
    """Each fault ends within the deadline, with its own reason and the status if one was seen."""

    async def story() -> None:
        started = asyncio.get_running_loop().time()
        async with serve(handler) as port:
            url = f"http://127.0.0.1:{port}"
            sample = await run_probe(url, DEADLINE_S, **fields)
            # Two loops' clocks and a busy machine: what matters is that it is no second timeout.
            assert asyncio.get_running_loop().time() - started < DEADLINE_S + 1
        assert (sample.reason, sample.status) == (reason, status)
        assert sample.outcome is (Outcome.BAD if reason else Outcome.GOOD)
        assert sample.censored is reason.startswith("timeout")
        if sample.censored:
            assert sample.latency_s is not None
            assert sample.latency_s >= DEADLINE_S
        else:
            answered = reason in {"", "status", "body", "json", "slow"}
            assert (sample.latency_s is not None) is answered
        assert bool(sample.detail) is bool(reason)

    run(story())


def test_a_silent_server_shows_in_the_phases(run: Run) -> None:
    """Connecting succeeded and waiting took the whole time: the phases say where it hung."""

    async def story() -> None:
        async with serve(never_answer) as port:
            sample = await run_probe(f"http://127.0.0.1:{port}", DEADLINE_S)
        phases = dict(sample.phases)
        assert set(phases) == {"connect", "send", "wait"}
        assert phases["wait"] > DEADLINE_S / 2

    run(story())


def test_a_good_answer_has_every_phase_and_they_add_up(run: Run) -> None:
    """The latency of a GOOD sample is the sum of its phases, and the sample says when and what."""

    async def resolve(_host: str) -> list[str]:
        return ["127.0.0.1"]

    async def story() -> None:
        async with serve(replies(response(b"hello"))) as port:
            sample = await run_probe(f"http://shop.test:{port}", io=make_io(resolve=resolve))
        assert sample.outcome is Outcome.GOOD
        assert (sample.target, sample.at, sample.status) == ("shop/home/here", AT, 200)
        names = [name for name, _ in sample.phases]
        assert names == ["resolve", "connect", "send", "wait", "transfer"]
        assert sample.latency_s == pytest.approx(sum(seconds for _, seconds in sample.phases))
        assert all(seconds >= 0 for _, seconds in sample.phases)

    run(story())


def chunked(*chunks: bytes) -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([response(b"all is well")], id="content-length"),
        pytest.param([chunked(b"all is", b" well")], id="chunked"),
        pytest.param([b"HTTP/1.1 200 OK\r\n\r\nall is", b" well"], id="close-delimited"),
        pytest.param([b"HTTP/1.0 200 OK\r\n\r\nall is well"], id="http-1.0"),
        pytest.param(
            [
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nContent-Encoding: br\r\n\r\n",
                response(b"all is well"),
            ],
            id="interim-answers",
        ),
        pytest.param([response(b"all is well") + b"HTTP/1.1 500 No\r\n\r\n"], id="more-than-asked"),
        pytest.param(
            [response(gzip.compress(b"all is well"), "200 OK", "Content-Encoding: GZIP")], id="gzip"
        ),
        pytest.param([bytes([byte]) for byte in response(b"all is well")], id="byte-by-byte"),
    ],
)
def test_every_framing_gives_the_same_body(run: Run, parts: list[bytes]) -> None:
    """However the server delimits the body, it is read to its end and no further."""

    async def story() -> None:
        async with serve(replies(*parts)) as port:
            sample = await run_probe(f"http://127.0.0.1:{port}", body_matches="^all is well$")
        assert (sample.reason, sample.status) == ("", 200)

    run(story())


def test_head_does_not_wait_for_the_body_that_its_headers_announce(run: Run) -> None:
    """The answer to HEAD ends with its headers."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HEAD / ")
        await reader.read()

    async def story() -> None:
        async with serve(handler) as port:
            sample = await run_probe(f"http://127.0.0.1:{port}", method="HEAD")
        assert sample.outcome is Outcome.GOOD

    run(story())


@pytest.mark.parametrize("handler", [replies(gzip_bomb()), endless_body, endless_trailer])
async def test_no_answer_costs_memory(handler: Handler) -> None:
    """Reading stops at the caps, so not even the peak is 10 MiB (the bomb holds 64 MiB)."""
    async with serve(handler) as port:
        tracemalloc.start()
        try:
            sample = await run_probe(f"http://127.0.0.1:{port}", body_contains="Jack")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert sample.reason in {"body", "too_large_headers"}
    assert peak < 10 * 1024 * 1024


# --- redirects ---------------------------------------------------------------------------------


def redirect(location: str, status: str = "302 Found", seen: list[bytes] | None = None) -> Handler:
    return replies(response(b"", status, f"Location: {location}"), seen=seen)


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("/again", "redirects"),
        ("file:///etc/passwd", "redirect_scheme"),
        ("gopher://127.0.0.1:70/", "redirect_scheme"),
        ("unix:/var/run/docker.sock", "redirect_scheme"),
        ("https://", "redirect_invalid"),
        ("http://[::1", "redirect_invalid"),
        ("http://user:pass@127.0.0.1/", "redirect_invalid"),
        ("http://127.0.0.1:99999/", "redirect_invalid"),
        ("http://127.0.0.1:0/", "redirect_invalid"),
        ("/a b", "redirect_invalid"),
        ("http://169.254.169.254/latest/meta-data", "address_denied"),
        ("http://[::ffff:169.254.169.254]/", "address_denied"),
        ("http://[fd00:ec2::254]/", "address_denied"),
        ("http://0.0.0.0/", "address_denied"),
        ("http://2852039166/", "address_denied"),
        ("http://0xa9fea9fe/", "address_denied"),
    ],
)
async def test_bad_redirects(location: str, reason: str) -> None:
    """A redirect leads only to http(s), to addresses that the policy allows, and not for ever."""

    async def resolve(host: str) -> list[str]:
        # What getaddrinfo makes of the odd spellings.
        assert host in {"2852039166", "0xa9fea9fe"}
        return ["169.254.169.254"]

    async with serve(redirect(location)) as port:
        sample = await run_probe(f"http://127.0.0.1:{port}", io=make_io(resolve=resolve))
    assert (sample.outcome, sample.reason, sample.status) == (Outcome.BAD, reason, 302)
    assert sample.latency_s is None


async def test_redirects_are_followed_and_their_phases_summed() -> None:
    """Relative and absolute hops lead to the answer that is judged; the latency covers them all."""
    pages = {
        b"/": b"/a?b=c",
        b"/a?b=c": b"../d",
        b"/d": b"//127.0.0.1:%d/e",
        b"/e": b"http://127.0.0.1:%d/f",
    }
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        seen.append(path)
        port = writer.get_extra_info("sockname")[1]
        if path in pages:
            await asyncio.sleep(0.01)
            location = pages[path].replace(b"%d", b"%d" % port)
            # The body of a redirect never comes, and is not waited for.
            writer.write(b"HTTP/1.1 301 Go\r\nContent-Length: 9\r\n")
            writer.write(b"Location: %b\r\n\r\n" % location)
            await reader.read()
        else:
            writer.write(response(b"arrived"))

    async with serve(handler) as port:
        sample = await run_probe(f"http://127.0.0.1:{port}", body_contains="arrived")
    assert sample.outcome is Outcome.GOOD
    assert seen == [b"/", b"/a?b=c", b"/d", b"/e", b"/f"]
    assert dict(sample.phases)["wait"] >= 0.04 - 0.005


async def test_a_deadline_after_a_redirect_speaks_of_the_last_hop() -> None:
    """Headers that came from an earlier hop do not count as those that are missing now."""
    async with (
        serve(never_answer) as silent,
        serve(redirect(f"http://127.0.0.1:{silent}/")) as port,
    ):
        sample = await run_probe(f"http://127.0.0.1:{port}", DEADLINE_S)
    assert sample.reason == "timeout_headers"


async def test_redirects_need_not_be_followed() -> None:
    """Without following, the redirect itself is the answer."""
    async with serve(redirect("/elsewhere")) as port:
        url = f"http://127.0.0.1:{port}"
        sample = await run_probe(url, follow_redirects=False, status=302)
        unexpected = await run_probe(url, follow_redirects=False)
    assert sample.outcome is Outcome.GOOD
    assert unexpected.detail == "HTTP 302, expected 200-299"


async def test_a_redirect_without_location_is_an_answer() -> None:
    """Where there is nowhere to go the status is judged."""
    async with serve(replies(response(b"", "302 Found"))) as port:
        sample = await run_probe(f"http://127.0.0.1:{port}")
    assert sample.reason == "status"


async def test_secrets_do_not_leave_their_origin() -> None:
    """A redirect to another port is another origin: no secret, cookie or host name goes there."""
    home: list[bytes] = []
    away: list[bytes] = []
    headers = {
        "X-Api-Key": {"env": "TOKEN"},
        "Authorization": "Basic Zm9v",
        "cookie": "a=b",
        "Host": "shop.example",
        "X-Plain": "plain",
    }
    async with (
        serve(replies(response(), seen=away)) as foreign,
        serve(redirect(f"http://127.0.0.1:{foreign}/", seen=home)) as port,
    ):
        sample = await run_probe(f"http://127.0.0.1:{port}", headers=headers)
    assert sample.outcome is Outcome.GOOD
    private = (b"env-TOKEN", b"Zm9v", b"a=b", b"shop.example")
    assert all(text in home[0] for text in private)
    assert not any(text in away[0] for text in private)
    assert b"X-Plain: plain" in away[0]
    assert f"Host: 127.0.0.1:{foreign}".encode() in away[0]


async def test_secrets_are_kept_within_their_origin() -> None:
    """A redirect on the same origin still authenticates."""
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        done = seen[-1].startswith(b"GET /in")
        writer.write(response() if done else response(b"", "307 Go", "Location: /in"))

    async with serve(handler) as port:
        await run_probe(f"http://127.0.0.1:{port}", headers={"X-Api-Key": {"env": "TOKEN"}})
    assert [b"X-Api-Key: env-TOKEN" in head for head in seen] == [True, True]


# --- turned round and looked ahead -------------------------------------------------------------


@pytest.mark.parametrize(
    ("handler", "outcome", "reason"),
    [
        (replies(response()), Outcome.BAD, "not_refused"),
        (replies(response(b"", "403 Forbidden")), Outcome.GOOD, ""),
        (close_at_once, Outcome.GOOD, ""),
        (never_answer, Outcome.GOOD, ""),
    ],
)
def test_what_must_fail(run: Run, handler: Handler, outcome: Outcome, reason: str) -> None:
    """Whatever would be BAD is GOOD, and an answer that is well is not."""

    async def story() -> None:
        async with serve(handler) as port:
            sample = await run_probe(f"http://127.0.0.1:{port}", DEADLINE_S, must_fail=True)
        assert (sample.outcome, sample.reason) == (outcome, reason)
        assert not sample.censored
        assert bool(sample.detail) is bool(reason)
        assert (sample.latency_s is not None) is (sample.status is not None)

    run(story())


async def test_what_is_not_known_does_not_pass_for_a_failure() -> None:
    """A name that we cannot look up has not been refused by anybody."""

    async def resolve(_host: str) -> list[str]:
        raise OSError

    sample = await run_probe("http://shop.test", io=make_io(resolve=resolve), must_fail=True)
    assert (sample.outcome, sample.reason) == (Outcome.UNKNOWN, "resolver")


async def test_each_hop_has_its_own_phases() -> None:
    """Who looks at one probe sees where on the way the time went."""
    async with (
        serve(replies(response())) as last,
        serve(redirect(f"http://127.0.0.1:{last}/")) as port,
    ):
        sample = await run_probe(f"http://127.0.0.1:{port}")
        direct = await run_probe(f"http://127.0.0.1:{last}")
    names = ["connect", "send", "wait", "transfer"]
    assert [[name for name, _ in hop] for hop in sample.hops] == [names, names]
    summed = {name: sum(dict(hop)[name] for hop in sample.hops) for name in names}
    assert dict(sample.phases) == pytest.approx(summed)
    assert direct.hops == ()


def probe_of(url: str, io: ProbeIO) -> HttpProbe:
    deployment = Deployment(name="shop", service="shop", environment="test", url=url)
    target = Target(
        id="t", deployment="shop", environment="test", probe="home", region="here",
        interval_s=15, timeout_s=5,
    )  # fmt: skip
    return HttpProbeConfig.model_validate({}).build(target, deployment, url, io)


@pytest.fixture
def on_direct_sockets() -> Iterator[Run]:
    """Run a coroutine on the loop where plain HTTP needs no task."""
    with asyncio.Runner(loop_factory=LOOPS["direct"]) as runner:
        yield runner.run


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 302 Found\r\nLocation: /next\r\n\r\n"])
def test_a_run_without_a_task_can_be_ended(on_direct_sockets: Run, answer: bytes) -> None:
    """Whether it waits for its first answer or follows a redirect, nobody hears of it any more."""

    async def story() -> list[Sample]:
        heard: list[Sample] = []
        silent, closed = asyncio.Event(), asyncio.Event()

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            if answer and not head.startswith(b"GET /next"):
                writer.write(answer)
                return
            silent.set()
            await reader.read()
            closed.set()

        async with serve(handler) as port:
            probe = probe_of(f"http://127.0.0.1:{port}", make_io())
            under_way = probe.begin(AT, 0.2, heard.append)
            assert under_way is not None
            await silent.wait()
            under_way.cancel()
            await closed.wait()
            await asyncio.sleep(0.25)
        return heard

    assert on_direct_sockets(asyncio.wait_for(story(), 10.0)) == []


def test_a_connection_that_is_given_up_is_closed(on_direct_sockets: Run) -> None:
    """After the deadline and after a cancel nothing is left that could still send a request."""

    async def story() -> tuple[list[str], int]:
        with socket.socket() as listener:
            # A full queue takes no further connection, and refuses none.
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            port = listener.getsockname()[1]
            with socket.socket() as first, socket.socket() as second:
                for filler in (first, second):
                    filler.settimeout(0)
                    filler.connect_ex(("127.0.0.1", port))
                io = make_io()
                assert io.sockets is not None
                probe = probe_of(f"http://127.0.0.1:{port}", io)
                heard: list[Sample] = []
                probe.begin(AT, 0.1, heard.append)
                ended = probe.begin(AT, 5.0, heard.append)
                assert ended is not None
                ended.cancel()
                await asyncio.sleep(0.3)
                return [sample.reason for sample in heard], len(io.sockets._open)

    assert on_direct_sockets(story()) == (["connect_timeout"], 0)


def test_only_what_is_plain_does_without_a_task(on_direct_sockets: Run) -> None:
    """A name to look up, TLS, or an address that is not allowed begins nothing."""

    async def story() -> list[object]:
        return [
            probe_of(url, make_io(allowed=allowed)).begin(AT, 1.0, lambda _: None)
            for url, allowed in (
                ("http://shop.test", ["127.0.0.0/8"]),
                ("https://127.0.0.1:1", ["127.0.0.0/8"]),
                ("http://127.0.0.1:1", []),
            )
        ]

    assert on_direct_sockets(story()) == [None, None, None]


def test_a_mistake_in_judging_an_answer_is_told_as_such(on_direct_sockets: Run) -> None:
    """An exception of ours becomes an UNKNOWN sample at once."""

    class Wrong(Checks):
        def judge(self, *_: object, **__: object) -> str | None:
            msg = "bug"
            raise ArithmeticError(msg)

    async def story() -> Sample:
        async with serve(replies(response(b"hi"))) as port:
            probe = HttpProbe(
                target="t",
                url=parse_url(f"http://127.0.0.1:{port}/"),
                request=Request.build("GET", {}, b""),
                checks=Wrong(status=((200, 299),)),
                io=make_io(),
                max_body_bytes=100,
                follow_redirects=True,
                ca_file=None,
                insecure=False,
            )
            return await once(probe, 5.0)

    sample = on_direct_sockets(story())
    assert (sample.outcome, sample.reason) == (Outcome.UNKNOWN, "prober_error")
    assert sample.detail == "ArithmeticError in the probe"


def test_a_probe_leaves_no_garbage(run: Run) -> None:
    """What a probe used goes at once: collecting cycles would stall a loop with many targets."""

    async def story() -> list[object]:
        async with serve(replies(response(b"hi"))) as port:
            url = f"http://127.0.0.1:{port}"
            probe = probe_of(url, make_io())
            gc.collect()
            gc.set_debug(gc.DEBUG_SAVEALL)
            try:
                for _ in range(5):
                    await once(probe, 5.0)
                gc.collect()
                return list(gc.garbage)
            finally:
                gc.set_debug(0)
                gc.garbage.clear()

    left = {type(each).__name__ for each in run(story())}
    assert left.isdisjoint(
        {"ResponseProtocol", "HttpResponseParser", "Trace", "Body", "DirectRun", "DirectTransport"}
    )


# --- anything at all ---------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _byte_server(answer: list[bytes]) -> Any:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer[0])

    async with serve(handler) as port:
        yield port


HTTPISH = st.lists(
    st.sampled_from(
        [
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 302 Found\r\n",
            b"Location: \xff\xfe\r\n",
            b"Location: http://[::1%25lo]/\r\n",
            b"Content-Encoding: gzip\r\n",
            b"Content-Length: 5\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"\r\n",
            b"5\r\n",
            b'{"a":[[[[1e999]]]]}',
            b"\x1f\x8b\x08",
        ]
    )
    | st.binary(max_size=20),
    max_size=8,
).map(b"".join)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(answer=st.binary(max_size=300) | HTTPISH)
def test_no_answer_makes_the_probe_raise(answer: bytes) -> None:
    """Whatever bytes a server sends, the result is a Sample with a reason of the closed set."""

    async def story() -> None:
        async with _byte_server([answer]) as port:
            url = f"http://127.0.0.1:{port}"
            sample = await run_probe(url, json=[{"path": "a[0][0]", "less_than": 5}])
        assert sample.outcome is Outcome.BAD
        assert Reason(sample.reason).outcome is Outcome.BAD
        assert 0 < len(sample.detail) <= 200
        assert sample.detail.isprintable()

    asyncio.run(story())
