"""HTTP/2: against nginx, and against peers that speak it badly."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import socket
import subprocess
import time
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import hpack
import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.model import Outcome, Sample
from monitor.probes.frames import MAX_FRAMES, FrameCutter
from monitor.probes.http import HttpProbeConfig
from monitor.probes.http.http2 import Http2Protocol
from monitor.probes.http.trace import Trace
from monitor.probes.http.wire import Exchange
from monitor.probes.reason import Reason
from tests.probes.http.test_proxy import Proxy
from tests.probes.peers import server_context
from tests.probes.raw_server import (
    Handler,
    loop_connect,
    make_io,
    replies,
    reset,
    response,
    run_probe,
    serve,
)

Run = Callable[..., Any]
Fields = list[tuple[str, str]]
DEADLINE_S = 0.25
MEBIBYTE = 1024 * 1024


async def probe(port: int, deadline_s: float = 5.0, scheme: str = "http", **fields: Any) -> Sample:
    url = f"{scheme}://127.0.0.1:{port}"
    return await run_probe(url, deadline_s, http_version=2, **fields)


# --- nginx --------------------------------------------------------------------------------------

NGINX = """\
daemon off;
master_process off;
pid {home}/nginx.pid;
error_log {home}/error.log;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  ssl_certificate {home}/server.pem;
  ssl_certificate_key {home}/server.pem;
  gzip on;
  gzip_min_length 1;
  default_type text/html;
  server {{
    listen 127.0.0.1:{plain} http2;
    listen 127.0.0.1:{secure} ssl http2;
    root {home};
    location / {{ return 200 "$server_protocol $request_method $host $http_x_key\\n"; }}
    location /size {{ alias {home}/size; }}
    location /last {{ keepalive_requests 1; alias {home}/size; }}
    location /hop {{ return 302 /arrived; }}
    location /bad {{ return 503; }}
    location /post {{ client_max_body_size 1m; proxy_pass http://127.0.0.1:{old}/length; }}
  }}
  server {{
    listen 127.0.0.1:{old};
    listen 127.0.0.1:{old_secure} ssl;
    location / {{ return 200 "old\\n"; }}
    location /length {{ return 200 "$content_length\\n"; }}
  }}
}}
"""
PORTS = ("plain", "secure", "old", "old_secure")


def free_ports() -> dict[str, int]:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PORTS]
        return dict(zip(PORTS, (each.getsockname()[1] for each in held), strict=True))


@pytest.fixture(scope="module")
def nginx(
    authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, int]]:
    home: Path = tmp_path_factory.mktemp("nginx")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        home / "server.pem"
    )
    (home / "size").write_bytes(b"x" * 900_000 + b"end")
    ports = free_ports()
    (home / "nginx.conf").write_text(NGINX.format(home=home, **ports))
    command = ["/usr/sbin/nginx", "-p", home, "-e", home / "error.log", "-c", home / "nginx.conf"]
    with subprocess.Popen(command) as server:
        until = time.monotonic() + 10
        while server.poll() is None and time.monotonic() < until:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", ports["plain"])),
            ):
                break
        yield ports
        server.terminate()


def test_a_secure_answer(run: Run, nginx: dict[str, int], ca_file: str) -> None:
    """Agreed on by ALPN, with the phases, the certificate and the checks of HTTP/1.1."""
    fields = {
        "headers": {"X-Key": {"env": "TOKEN"}, "Host": "shop.test", "Keep-Alive": "5"},
        "body_matches": "^HTTP/2.0 GET shop.test env-TOKEN\n$",
        "headers_match": {"Server": "^nginx"},
        "cel": "status == 200 && headers['content-type'] == 'text/html'",
    }
    sample = run(probe(nginx["secure"], scheme="https", ca_file=ca_file, **fields))
    assert (sample.outcome, sample.detail, sample.status) == (Outcome.GOOD, "", 200)
    assert [name for name, _ in sample.phases] == ["connect", "tls", "send", "wait", "transfer"]
    assert sample.latency_s == pytest.approx(sum(seconds for _, seconds in sample.phases))
    assert sample.certificate_expires_at is not None


def test_a_plain_answer(run: Run, nginx: dict[str, int]) -> None:
    """Without TLS the server has to know what is coming: HTTP/2 from the first byte."""
    sample = run(probe(nginx["plain"], body_contains="HTTP/2.0 GET 127.0.0.1"))
    assert (sample.outcome, sample.detail) == (Outcome.GOOD, "")
    assert [name for name, _ in sample.phases] == ["connect", "send", "wait", "transfer"]


def test_an_answer_through_a_tunnel(run: Run, nginx: dict[str, int], ca_file: str) -> None:
    """The proxy is asked in HTTP/1.1, the target in HTTP/2."""
    relay = Proxy()

    async def story() -> Sample:
        async with serve(relay) as port:
            proxy = f"http://127.0.0.1:{port}"
            fields = {"ca_file": ca_file, "body_contains": "HTTP/2.0 GET", "proxy": proxy}
            return await probe(nginx["secure"], scheme="https", **fields)

    sample = run(story())
    assert (sample.outcome, sample.detail) == (Outcome.GOOD, "")
    assert [head.split()[0] for head in relay.heads] == [b"CONNECT"]


@pytest.mark.parametrize(
    ("path", "fields", "end"),
    [
        ("/size", {"body_contains": "end", "max_body": "1MiB"}, ("", 200)),
        ("/last", {"body_contains": "end", "max_body": "1MiB"}, ("", 200)),
        ("/size", {"body_contains": "end", "max_body": "500KiB"}, ("body", 200)),
        (
            "/size",
            {"body_contains": "end", "max_body": "1MiB", "headers": {"Accept-Encoding": "gzip"}},
            ("", 200),
        ),
        ("/size", {"method": "HEAD"}, ("", 200)),
        ("/hop", {"body_contains": "HTTP/2.0"}, ("", 200)),
        ("/hop", {"follow_redirects": False, "status": 302}, ("", 302)),
        ("/bad", {}, ("status", 503)),
        ("/post", {"method": "POST", "body": "y" * 300_000, "body_contains": "300000"}, ("", 200)),
        ("/post", {"method": "POST", "body_contains": "0"}, ("", 200)),
    ],
)
def test_what_else_is_asked(
    run: Run, nginx: dict[str, int], path: str, fields: dict[str, Any], end: tuple[str, int]
) -> None:
    """Bodies beyond the windows, both ways, a server that goes after its answer, redirects."""
    sample = run(probe(nginx["plain"], path=path, **fields))
    assert (sample.reason, sample.status) == end, sample.detail


def test_a_secure_server_without_it(run: Run, nginx: dict[str, int], ca_file: str) -> None:
    """Nothing is sent to a server that does not agree; that it speaks HTTP/1.1 does not help."""
    sample = run(probe(nginx["old_secure"], scheme="https", ca_file=ca_file))
    assert (sample.outcome, sample.reason) == (Outcome.BAD, "protocol")
    assert sample.detail == "the server does not offer HTTP/2 (ALPN h2): it chose http/1.1"


def test_a_plain_server_without_it(run: Run, nginx: dict[str, int]) -> None:
    """What it says of our preface is shown."""
    sample = run(probe(nginx["old"]))
    assert (sample.outcome, sample.reason) == (Outcome.BAD, "protocol")
    assert sample.detail.startswith("the server does not speak HTTP/2: ")


async def test_a_secure_server_without_alpn(authority: trustme.CA, ca_file: str) -> None:
    """No choice is no agreement."""
    async with serve(replies(response()), server_context(authority, "127.0.0.1")) as port:
        sample = await probe(port, scheme="https", ca_file=ca_file)
    assert sample.detail == "the server does not offer HTTP/2 (ALPN h2): it chose nothing"


# --- scripted peers -----------------------------------------------------------------------------

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    return (
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
    )


def headers(*fields: tuple[str, str], flags: int = END_HEADERS) -> bytes:
    return frame(HEADERS, hpack.Encoder().encode(fields), flags, 1)


OK = headers((":status", "200"))
WELL = frame(DATA, b"well", END_STREAM, 1)


def says(*parts: bytes, over_and_over: bytes = b"", hold: bool = True) -> Handler:
    """Settings first, then this; the connection stays open unless told otherwise."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(24)
        writer.write(frame(SETTINGS))
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        while over_and_over:
            writer.write(over_and_over)
            await writer.drain()
        if not hold:
            writer.write_eof()
        # What the probe still acknowledges is read: or the end would be a reset.
        await reader.read()

    return handler


async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(24)
    writer.write(frame(SETTINGS) + OK + frame(DATA, b"we", 0, 1))
    await asyncio.sleep(0.05)
    reset(writer)


def bomb() -> bytes:
    """One header of 4 KB and then an index of one byte for it, as often as a frame can hold."""
    block = hpack.Encoder().encode([(":status", "200")])
    return block + b"\x40\x01a\x7f\x81\x1e" + b"v" * 4000 + b"\xbe" * 12_000


def packed(data: bytes, step: int = 16_000) -> bytes:
    parts = [frame(DATA, data[at : at + step], 0, 1) for at in range(0, len(data), step)]
    return b"".join(parts) + frame(DATA, b"", END_STREAM, 1)


GZIP = headers((":status", "200"), ("content-encoding", "gzip"))

FAULTS: list[Any] = [
    pytest.param(never, "timeout_headers", None, id="never"),
    pytest.param(says(), "timeout_headers", None, id="only-settings"),
    pytest.param(says(OK), "timeout_body", 200, id="only-headers"),
    pytest.param(says(OK, frame(DATA, b"we", 0, 1)), "timeout_body", 200, id="half-a-body"),
    pytest.param(says(OK, b"\0\0\x04\0\x01\0\0\0\x01we"), "timeout_body", 200, id="half-a-frame"),
    pytest.param(says(hold=False), "truncated", None, id="closed-after-settings"),
    pytest.param(says(OK, hold=False), "truncated", 200, id="closed-after-headers"),
    pytest.param(resets, "reset", 200, id="reset-in-body"),
    pytest.param(says(frame(RST_STREAM, b"\0\0\0\x07", 0, 1)), "reset", None, id="refused-stream"),
    pytest.param(says(OK, frame(RST_STREAM, b"\0\0\0\x02", 0, 1)), "reset", 200, id="rst-in-body"),
    pytest.param(says(frame(RST_STREAM, b"\xff" * 4, 0, 1)), "reset", None, id="rst-odd-code"),
    pytest.param(says(frame(GOAWAY, bytes(8))), "reset", None, id="goaway-without-us"),
    pytest.param(
        says(frame(GOAWAY, b"\0\0\0\x01\0\0\0\x0b")), "reset", None, id="goaway-calm-down"
    ),
    pytest.param(
        says(frame(GOAWAY, b"\0\0\0\x01\0\0\0\0"), OK, WELL), "", 200, id="goaway-for-others"
    ),
    pytest.param(says(frame(GOAWAY, b"\0\0")), "protocol", None, id="goaway-too-short"),
    pytest.param(says(OK, WELL), "", 200, id="well"),
    pytest.param(says(frame(SETTINGS, b"", 1), OK, WELL), "", 200, id="settings-acknowledged"),
    pytest.param(says(frame(99, b"what"), OK, WELL), "", 200, id="unknown-frame"),
    pytest.param(says(headers((":status", "103")), OK, WELL), "", 200, id="early-hints"),
    pytest.param(
        says(headers((":status", "103"), flags=END_HEADERS | END_STREAM)),
        "protocol",
        None,
        id="only-interim",
    ),
    pytest.param(says(headers((":status", "101"))), "status", 101, id="101"),
    pytest.param(says(headers((":status", "99")), WELL), "protocol", None, id="status-99"),
    pytest.param(says(headers((":status", "099")), WELL), "protocol", None, id="status-099"),
    pytest.param(says(headers((":status", "2000")), WELL), "protocol", None, id="status-2000"),
    pytest.param(says(headers((":status", "-20")), WELL), "protocol", None, id="status-negative"),
    pytest.param(
        says(headers((":status", "\u00b2\u00b2\u00b2")), WELL), "protocol", None, id="status-odd"
    ),
    pytest.param(says(headers(("a", "b")), WELL), "protocol", None, id="no-status"),
    pytest.param(says(headers((":status", "200"), ("A", "b"))), "protocol", None, id="upper-case"),
    pytest.param(
        says(headers((":status", "200"), ("connection", "close"))),
        "protocol",
        None,
        id="connection",
    ),
    pytest.param(says(headers(("a", "b"), (":status", "200"))), "protocol", None, id="status-late"),
    pytest.param(says(WELL), "protocol", None, id="data-first"),
    pytest.param(says(OK, frame(DATA, b"well", END_STREAM, 3)), "protocol", 200, id="other-stream"),
    pytest.param(says(OK, frame(DATA, b"\xffwell", 9, 1)), "protocol", 200, id="bad-padding"),
    pytest.param(says(OK, frame(DATA, b"\x03wellxxx", 9, 1)), "", 200, id="padding"),
    pytest.param(
        says(headers((":status", "200"), ("content-length", "5")), WELL),
        "protocol",
        200,
        id="short",
    ),
    pytest.param(says(OK, frame(PUSH_PROMISE, b"\0\0\0\x02", 4, 1)), "protocol", 200, id="push"),
    pytest.param(says(OK, frame(DATA, b"x" * 16_385, 0, 1)), "protocol", 200, id="long-frame"),
    pytest.param(says(frame(PING, b"short")), "protocol", None, id="short-ping"),
    pytest.param(says(frame(SETTINGS, b"\0\x05\0\0\0\x01")), "protocol", None, id="bad-settings"),
    pytest.param(says(frame(UPDATE, b"\x7f\xff\xff\xff")), "protocol", None, id="window-overflow"),
    pytest.param(says(frame(UPDATE, bytes(4))), "protocol", None, id="window-of-nothing"),
    pytest.param(says(frame(HEADERS, b"\xff" * 20, 5, 1)), "protocol", None, id="bad-hpack"),
    pytest.param(says(frame(HEADERS, bomb(), 5, 1)), "too_large_headers", None, id="hpack-bomb"),
    pytest.param(
        says(headers((":status", "200"), *[("a", "b")] * 201)),
        "too_large_headers",
        None,
        id="201-headers",
    ),
    pytest.param(
        says(frame(HEADERS, b"", 0, 1), over_and_over=frame(CONTINUATION, b"\x40" * 16_000, 0, 1)),
        "too_large_headers",
        None,
        id="flood-of-continuations",
    ),
    pytest.param(
        says(frame(HEADERS, b"", 0, 1), over_and_over=frame(CONTINUATION, b"", 0, 1) * 100),
        "protocol",
        None,
        id="flood-of-empty-continuations",
    ),
    pytest.param(
        says(over_and_over=headers((":status", "100"))), "protocol", None, id="flood-of-interim"
    ),
    pytest.param(
        says(over_and_over=frame(SETTINGS) * 100), "protocol", None, id="flood-of-settings"
    ),
    pytest.param(
        says(over_and_over=frame(PING, bytes(8)) * 100), "protocol", None, id="flood-of-pings"
    ),
    pytest.param(
        says(OK, over_and_over=frame(DATA, b"", 0, 1) * 100), "protocol", 200, id="flood-of-nothing"
    ),
    pytest.param(
        says(OK, over_and_over=frame(UPDATE, b"\0\0\0\x01", 0, 1) * 100),
        "protocol",
        200,
        id="flood-of-updates",
    ),
    pytest.param(says(OK, packed(b"x" * 70_000)), "body", 200, id="body-beyond-the-cap"),
    pytest.param(
        says(OK, over_and_over=frame(DATA, b"x" * 16_000, 0, 1)), "body", 200, id="endless-body"
    ),
    pytest.param(says(GZIP, packed(gzip.compress(b"well"))), "", 200, id="gzip"),
    pytest.param(
        says(GZIP, packed(gzip.compress(b"well")[:12])), "truncated", 200, id="half-a-gzip"
    ),
    pytest.param(
        says(GZIP, packed(gzip.compress(bytes(64 * MEBIBYTE)))), "body", 200, id="gzip-bomb"
    ),
    pytest.param(
        says(headers((":status", "302"), ("location", "ftp://a/"))),
        "redirect_scheme",
        302,
        id="ftp",
    ),
    pytest.param(
        says(OK, frame(DATA, b"well", 0, 1), headers(("a", "b"), flags=5)), "", 200, id="trailers"
    ),
    pytest.param(
        says(OK, frame(DATA, b"well", 0, 1), headers((":status", "500"), flags=5)),
        "protocol",
        200,
        id="trailers-with-a-status",
    ),
]


@pytest.mark.parametrize(("handler", "reason", "status"), FAULTS)
def test_faults(run: Run, handler: Handler, reason: str, status: int | None) -> None:
    """Each fault ends within the deadline, with the reason that HTTP/1.1 would have."""

    async def story() -> Sample:
        async with serve(handler) as port:
            deadline_s = DEADLINE_S if reason.startswith("timeout") else 5.0
            return await probe(port, deadline_s, body_contains="well")

    sample: Sample = run(story())
    assert (sample.reason, sample.status) == (reason, status), sample.detail
    assert sample.outcome is (Outcome.BAD if reason else Outcome.GOOD)
    assert sample.detail.isprintable()
    assert bool(sample.detail) is bool(reason)
    assert sample.censored is reason.startswith("timeout")


@pytest.mark.parametrize(
    ("handler", "detail"),
    [
        (
            says(frame(RST_STREAM, b"\0\0\0\x0d", 0, 1)),
            "the server reset the stream (HTTP_1_1_REQUIRED)",
        ),
        (says(frame(GOAWAY, bytes(8))), "the server ends the connection (NO_ERROR)"),
        (says(over_and_over=frame(PING, bytes(8)) * 9), f"more than {MAX_FRAMES} frames of HTTP/2"),
        (
            replies(b"HTTP/1.1 400 Bad\r\n\r\n"),
            "the server does not speak HTTP/2: 'HTTP/1.1 400 Bad",
        ),
    ],
)
async def test_details(handler: Handler, detail: str) -> None:
    """The words of the protocol, for those who can do something about it."""
    async with serve(handler) as port:
        sample = await probe(port)
    assert sample.detail.startswith(detail)


def test_the_servers_settings_are_no_answer(run: Run) -> None:
    """They come at once, from whoever terminates the connection: the wait is for the headers."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(24)
        writer.write(frame(SETTINGS))
        await asyncio.sleep(0.1)
        writer.write(OK + WELL)
        await reader.read()

    async def story() -> Sample:
        async with serve(handler) as port:
            return await probe(port, body_contains="well")

    phases = dict(run(story()).phases)
    assert phases["wait"] > 0.08
    assert phases["transfer"] < 0.05


def test_settings_that_come_before_the_request(
    run: Run, authority: trustme.CA, ca_file: str
) -> None:
    """A server over TLS may speak first; what it says then is not lost."""
    tls = server_context(authority, "127.0.0.1")
    tls.set_alpn_protocols(["h2"])

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(SETTINGS, b"\0\x03\0\0\0\x64"))
        await reader.readexactly(24)
        writer.write(OK + WELL)
        await reader.read()

    async def story() -> Sample:
        async with serve(handler, tls) as port:
            return await probe(port, scheme="https", ca_file=ca_file, body_contains="well")

    sample = run(story())
    assert (sample.outcome, sample.detail) == (Outcome.GOOD, "")


async def test_a_server_that_speaks_before_the_handshake(ca_file: str) -> None:
    """In the clear nothing is to be said first, neither frames nor anything else."""

    async def connect(factory: Any, host: str, port: int) -> Any:
        transport, protocol = await loop_connect(factory, host, port)
        protocol.data_received(frame(SETTINGS))
        return transport, protocol

    async with serve(never) as port:
        url = f"https://127.0.0.1:{port}"
        sample = await run_probe(url, io=make_io(connect=connect), http_version="2")
    assert (sample.reason, sample.detail) == (
        "tls_protocol",
        "the server spoke before the handshake",
    )


async def test_a_connection_that_ends_before_our_turn() -> None:
    """Between the end of the handshake and the request lies a turn of the loop."""
    settled = asyncio.get_running_loop().create_future()
    exchange = Exchange(
        request=b"",
        is_head=False,
        keep_body=False,
        max_body_bytes=1,
        follow_redirects=False,
        secure=True,
        http2=((b":method", b"GET"),),
    )
    transport = _Silent()
    answer = Http2Protocol(exchange, Trace(time.monotonic), settled)
    answer.connection_made(transport)
    answer.eof_received()
    answer.begin(transport)
    assert settled.result().reason is Reason.TRUNCATED


class _Silent(asyncio.Transport):
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def abort(self) -> None:
        pass


def test_a_body_goes_out_as_the_server_has_room(run: Run) -> None:
    """A request waits for the windows that the server opens, and is whole in the end."""
    got: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        while data := await reader.read(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    got.append(event.data)
                    connection.acknowledge_received_data(event.flow_controlled_length, 1)
                if isinstance(event, h2.events.StreamEnded):
                    connection.send_headers(1, [(":status", "204")], end_stream=True)
            writer.write(connection.data_to_send())

    async def story() -> Sample:
        async with serve(handler) as port:
            return await probe(port, method="POST", body="z" * 200_000)

    sample = run(story())
    assert (sample.outcome, sample.detail, sample.status) == (Outcome.GOOD, "", 204)
    assert b"".join(got) == b"z" * 200_000


async def test_secrets_do_not_leave_their_origin() -> None:
    """As with HTTP/1.1, and another origin over plain http is asked in HTTP/1.1."""
    away: list[bytes] = []
    async with serve(replies(response(b"well"), seen=away)) as foreign:
        location = ("location", f"http://127.0.0.1:{foreign}/")
        async with serve(says(headers((":status", "302"), location))) as port:
            key = {"env": "TOKEN"}
            sample = await probe(port, headers={"X-Key": key}, body_contains="well")
    assert (sample.outcome, sample.detail, len(sample.hops)) == (Outcome.GOOD, "", 2)
    assert away[0].startswith(b"GET / HTTP/1.1\r\n")
    assert b"TOKEN" not in away[0]


@pytest.mark.parametrize(
    "handler",
    [
        says(GZIP, packed(gzip.compress(bytes(64 * MEBIBYTE)))),
        says(OK, over_and_over=frame(DATA, b"x" * 16_000, 0, 1)),
        says(frame(HEADERS, bomb(), 5, 1)),
        says(frame(HEADERS, b"", 0, 1), over_and_over=frame(CONTINUATION, b"\x40" * 16_000, 0, 1)),
        says(over_and_over=frame(99, b"x" * 16_000)),
        says(over_and_over=frame(PING, bytes(8)) * 1000),
    ],
)
async def test_no_answer_costs_memory(handler: Handler) -> None:
    """Bombs and floods of every kind cost less than 10 MiB even at the peak."""
    async with serve(handler) as port:
        tracemalloc.start()
        try:
            sample = await probe(port, body_contains="well")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert sample.outcome is Outcome.BAD
    assert not sample.censored
    assert peak < 10 * MEBIBYTE


def test_a_probe_leaves_no_garbage(run: Run) -> None:
    """What an exchange used goes at once, h2's own cycles included."""

    async def story() -> list[object]:
        async with serve(says(OK, WELL)) as port:
            await probe(port)
            gc.collect()
            gc.set_debug(gc.DEBUG_SAVEALL)
            try:
                for _ in range(5):
                    await probe(port)
                gc.collect()
                return list(gc.garbage)
            finally:
                gc.set_debug(0)
                gc.garbage.clear()

    left = {type(each).__name__ for each in run(story())}
    assert left.isdisjoint({"Http2Protocol", "H2Connection", "H2Stream", "Trace", "Body"})


# --- anything at all ----------------------------------------------------------------------------

FRAMES = st.builds(
    frame,
    st.integers(0, 11),
    st.binary(max_size=30)
    | st.sampled_from([hpack.Encoder().encode([(":status", "200")]), b"\x88", b"well", bytes(8)]),
    st.sampled_from([0, 1, 4, 5, 8, 9, 0x2D]),
    st.sampled_from([0, 1, 1, 1, 2, 3]),
)
GOOD_ANSWER = OK + frame(PING, bytes(8)) + frame(DATA, b"we", 0, 1) + frame(DATA, b"ll", 1, 1)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    answer = bytearray(GOOD_ANSWER)
    for _ in range(draw(st.integers(1, 3))):
        answer[draw(st.integers(0, len(answer) - 1))] = draw(st.integers(0, 255))
    return bytes(answer[: draw(st.integers(0, len(answer)))])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    answer=st.lists(FRAMES, max_size=8).map(b"".join) | damaged() | st.binary(max_size=100),
    cuts=st.lists(st.integers(0, 100), max_size=4),
)
def test_no_answer_makes_the_probe_raise(answer: bytes, cuts: list[int]) -> None:
    """Whatever frames or bytes follow the settings, and however cut, the end is a sample."""
    edges = sorted({min(cut, len(answer)) for cut in cuts} | {0, len(answer)})
    parts = [answer[first:last] for first, last in pairwise(edges)]

    async def story() -> Sample:
        async with serve(says(*parts, hold=False)) as port:
            return await probe(port, body_contains="well")

    sample = asyncio.run(story())
    assert sample.outcome is not Outcome.UNKNOWN, sample.detail
    assert sample.reason == "" or Reason(sample.reason).outcome is Outcome.BAD
    assert sample.detail.isprintable()


@given(
    parts=st.lists(st.binary(max_size=40).map(lambda payload: frame(PING, payload)), max_size=6),
    size=st.integers(1, 50),
    rest=st.binary(max_size=8),
)
def test_frames_come_out_whole(parts: list[bytes], size: int, rest: bytes) -> None:
    """However the network cuts them, and what is incomplete is kept back."""
    sent = [frame(SETTINGS), *parts]
    data = b"".join(sent) + rest
    cutter = FrameCutter()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert [each for piece in pieces for each in cutter.cut(piece)] == sent


# --- configuration ------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [2, 2.0, "2", 1.1, "1.1"])
def test_a_version_may_look_like_a_number(value: object) -> None:
    """In YAML it does."""
    config = HttpProbeConfig.model_validate({"http_version": value}, by_name=False)
    assert config.http_version == str(value).removesuffix(".0")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"http_version": 3}, "'1.1' or '2'"),
        ({"http_version": True}, "'1.1' or '2'"),
        ({"http_version": 2, "keep_alive": True}, "keep_alive is for HTTP/1.1"),
    ],
)
def test_bad_configuration(fields: dict[str, Any], problem: str) -> None:
    """Each mistake is found at load."""
    with pytest.raises(ValidationError, match=problem):
        HttpProbeConfig.model_validate(fields, by_name=False)


async def test_a_relay_does_not_speak_it() -> None:
    """Through a proxy only a tunnel can carry it."""
    with pytest.raises(ValueError, match=r"relays http://127\.0\.0\.1:1/ as HTTP/1\.1"):
        await probe(1, proxy="http://127.0.0.1:2")
