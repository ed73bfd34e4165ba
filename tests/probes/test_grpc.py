"""The `grpc` kind against a real grpcio health server, and scripted HTTP/2 peers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.events
import pytest
import trustme
import yaml
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.model import Outcome, Sample
from monitor.probes.failure import ProbeError
from monitor.probes.grpc import GrpcProbeConfig
from monitor.probes.grpc.call import MAX_RECEIVED_BYTES, UnaryCall
from monitor.probes.grpc.message import ServingStatus, decode_response, encode_request
from tests.probes.peers import probe_peer, server_context, silent_io
from tests.probes.raw_server import Handler, make_io, reset, serve
from tests.support import virtual

Run = Callable[..., Any]
Headers = list[tuple[str, str]]
DEADLINE_S = 0.25
NOT_AFTER = datetime(2040, 1, 2, 3, 4, 5, tzinfo=UTC)


async def probe(port: int, deadline_s: float = 5.0, **fields: Any) -> Sample:
    return await probe_peer(GrpcProbeConfig, port, deadline_s, **fields)


@dataclass(slots=True)
class Servers:
    """Ports, and what was asked there."""

    plain: int
    secure: int
    bare: int
    """Has no health service."""
    ca_file: str
    seen: list[dict[str, str]] = field(default_factory=list)
    """Metadata of the calls."""
    remaining_s: list[float] = field(default_factory=list)


class Watcher(health.HealthServicer):
    """The reference health service, which also notes how it is called."""

    servers: Servers

    def Check(  # noqa: N802 - the service's own name
        self, request: Any, context: grpc.ServicerContext
    ) -> Any:
        self.servers.seen.append(dict(context.invocation_metadata()))
        self.servers.remaining_s.append(context.time_remaining())
        return super().Check(request, context)


def start(stack: contextlib.ExitStack, servicer: Any, tls: trustme.CA | None) -> int:
    server = grpc.server(stack.enter_context(ThreadPoolExecutor(2)))
    if servicer is not None:
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    if tls is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        leaf = tls.issue_cert("127.0.0.1", not_after=NOT_AFTER)
        pair = (leaf.private_key_pem.bytes(), leaf.cert_chain_pems[0].bytes())
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    server.start()
    stack.callback(lambda: server.stop(None).wait())
    return int(port)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def servers(authority: trustme.CA) -> Iterator[Servers]:
    servicer = Watcher()
    serving = health_pb2.HealthCheckResponse
    servicer.set("", serving.SERVING)
    servicer.set("shop.Cart", serving.SERVING)
    servicer.set("shop.Old", serving.NOT_SERVING)
    servicer.set("shop.New", serving.UNKNOWN)
    with contextlib.ExitStack() as stack:
        ca_file = stack.enter_context(authority.cert_pem.tempfile())
        servicer.servers = Servers(
            start(stack, servicer, None),
            start(stack, servicer, authority),
            start(stack, None, None),
            ca_file,
        )
        yield servicer.servers


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ("", "", "healthy")),
        ({"service": "shop.Cart"}, ("", "", "healthy")),
        ({"service": "shop.Old", "expect": "NOT_SERVING"}, ("", "", "unhealthy")),
        (
            {"service": "shop.Old"},
            ("status", "the service is NOT_SERVING, expected SERVING", "unhealthy"),
        ),
        (
            {"expect": "NOT_SERVING"},
            ("status", "the service is SERVING, expected NOT_SERVING", "healthy"),
        ),
        ({"service": "shop.New"}, ("status", "the service is UNKNOWN, expected SERVING", None)),
        (
            {"service": "shop.None"},
            ("status", "gRPC status NOT_FOUND: the server does not know this service", None),
        ),
    ],
)
def test_health(
    run: Run, servers: Servers, fields: dict[str, Any], expected: tuple[str, str, str | None]
) -> None:
    """The state of the server or of one service is judged, and kept as what it says of itself."""
    sample: Sample = run(probe(servers.plain, **fields))
    assert (sample.reason, sample.detail, sample.health) == expected
    assert sample.outcome is (Outcome.BAD if sample.reason else Outcome.GOOD)
    assert [name for name, _ in sample.phases] == ["connect", "send", "wait", "transfer"]
    assert sample.latency_s == pytest.approx(sum(seconds for _, seconds in sample.phases))
    assert sample.status == 200


def test_there_is_no_health_service(run: Run, servers: Servers) -> None:
    """A gRPC server without it says UNIMPLEMENTED, and the detail says what that means."""
    sample: Sample = run(probe(servers.bare))
    assert (sample.outcome, sample.reason) == (Outcome.BAD, "status")
    assert sample.detail.startswith("gRPC status UNIMPLEMENTED: the server has no health service")


async def test_the_call_carries_metadata_and_the_deadline(servers: Servers) -> None:
    """Metadata goes out with secrets revealed, and the server knows how long we wait."""
    sample = await probe(
        servers.plain, 3.0, metadata={"x-team": "shop", "authorization": {"env": "TOKEN"}}
    )
    assert sample.outcome is Outcome.GOOD
    assert servers.seen[-1]["x-team"] == "shop"
    assert servers.seen[-1]["authorization"] == "env-TOKEN"
    assert servers.seen[-1]["user-agent"].startswith("slo-monitor/")
    assert 1.0 < servers.remaining_s[-1] <= 3.1


def test_tls(run: Run, servers: Servers) -> None:
    """TLS has its phase, agrees on HTTP/2 and shows the certificate's expiry."""
    sample: Sample = run(probe(servers.secure, scheme="https", ca_file=servers.ca_file))
    assert (sample.outcome, sample.detail) == (Outcome.GOOD, "")
    assert [name for name, _ in sample.phases] == ["connect", "tls", "send", "wait", "transfer"]
    assert sample.certificate_expires_at == NOT_AFTER.timestamp()


async def test_tls_can_be_chosen(servers: Servers) -> None:
    """`tls` and `address` win over the deployment's URL."""
    fields = {"address": f"localhost:{servers.secure}", "tls": True, "insecure": True}

    async def resolve(host: str) -> Sequence[str]:
        assert host == "localhost"
        return ["127.0.0.1"]

    secure = await probe(80, io=make_io(resolve=resolve), **fields)
    plain = await probe(servers.plain, scheme="https", tls=False)
    assert secure.outcome is plain.outcome is Outcome.GOOD
    assert secure.certificate_expires_at is None


async def test_an_unknown_authority_is_not_trusted(servers: Servers) -> None:
    """The certificate is verified."""
    sample = await probe(servers.secure, scheme="https")
    assert (sample.outcome, sample.reason) == (Outcome.BAD, "tls_untrusted")


async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_a_tls_server_without_http2(authority: trustme.CA, servers: Servers) -> None:
    """Without agreement on HTTP/2 nothing is sent."""
    async with serve(never, server_context(authority, "127.0.0.1")) as port:
        sample = await probe(port, scheme="https", ca_file=servers.ca_file)
    assert (sample.outcome, sample.reason) == (Outcome.BAD, "tls_protocol")
    assert sample.detail == "the server does not offer HTTP/2 (ALPN h2)"


# --- scripted peers -----------------------------------------------------------------------------

OK: Headers = [(":status", "200"), ("content-type", "application/grpc+proto")]
SERVING = b"\x00\x00\x00\x00\x02\x08\x01"


def answers(
    headers: Headers,
    body: bytes = b"",
    trailers: Headers | None = None,
    seen: Headers | None = None,
) -> Handler:
    """Answer a call over HTTP/2 with just this; without trailers the data ends the stream."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        connection.initiate_connection()
        while data := await reader.read(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived) and seen is not None:
                    seen.extend(event.headers)
                if isinstance(event, h2.events.StreamEnded):
                    connection.send_headers(1, headers, end_stream=not body and trailers is None)
                    if body:
                        connection.send_data(1, body, end_stream=trailers is None)
                    if trailers is not None:
                        connection.send_headers(1, trailers, end_stream=True)
            writer.write(connection.data_to_send())

    return handler


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


SETTINGS, RST_STREAM, PING, GOAWAY, HEADERS, CONTINUATION = 4, 3, 6, 7, 1, 9


def says(*parts: bytes, over_and_over: bool = False) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(24)
        for part in parts:
            writer.write(part)
        while over_and_over:
            writer.write(parts[-1] * 1000)
            await writer.drain()
        await reader.read()

    return handler


async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in frame(SETTINGS) + frame(PING, bytes(8)) * 20:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)


async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(24)
    writer.write(frame(SETTINGS))


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(24)
    reset(writer)


def status(code: str, message: str = "") -> Headers:
    return [*OK, ("grpc-status", code), ("grpc-message", message)]


FAULTS: list[Any] = [
    pytest.param(never, "timeout", "timed out after 0.25 s while waiting for an", id="never"),
    pytest.param(drips, "timeout", "timed out after 0.25 s while waiting for an", id="drips"),
    pytest.param(closes, "truncated", "the connection was closed", id="closes"),
    pytest.param(resets, "reset", "connection lost", id="resets"),
    pytest.param(
        says(b"HT", b"TP/1.1 400 No\r\n\r\n"),
        "protocol",
        "the server does not speak HTTP/2: 'HTTP/1.1 400 No",
        id="http-1",
    ),
    pytest.param(says(b"\x00" * 100), "protocol", "the server does not speak HTTP/2", id="zeros"),
    pytest.param(
        says(frame(SETTINGS), frame(RST_STREAM, b"\0\0\0\x07", stream=1)),
        "reset",
        "the server reset the call (HTTP/2 error 7)",
        id="refused-stream",
    ),
    pytest.param(
        says(frame(SETTINGS), frame(GOAWAY, b"\0\0\0\0\0\0\0\x0b")),
        "reset",
        "the server ends the connection (HTTP/2 error 11)",
        id="goaway",
    ),
    pytest.param(
        says(frame(SETTINGS), frame(GOAWAY, b"\0\0\0\1\0\0\0\0"), frame(1, b"\x8d", 5, 1)),
        "status",
        "HTTP 404 instead of a gRPC answer",
        id="goaway-for-others",
    ),
    pytest.param(
        says(frame(SETTINGS), frame(PING, bytes(8)), over_and_over=True),
        "protocol",
        f"more than {MAX_RECEIVED_BYTES} bytes of HTTP/2",
        id="flood-of-pings",
    ),
    pytest.param(
        says(frame(SETTINGS), frame(HEADERS, stream=1), frame(CONTINUATION, stream=1) * 200),
        "protocol",
        "not valid HTTP/2",
        id="flood-of-continuations",
    ),
    pytest.param(
        answers([(":status", "503")]), "status", "HTTP 503 instead of a gRPC answer", id="503"
    ),
    pytest.param(
        answers([(":status", "200"), ("content-type", "text/html")], b"hi"),
        "protocol",
        "the answer is not gRPC",
        id="html",
    ),
    pytest.param(
        answers(OK, SERVING), "protocol", "the answer ended without a gRPC status", id="no-trailers"
    ),
    pytest.param(
        answers(OK, SERVING, [("grpc-status", "14"), ("grpc-message", "going%20away%0A\x7f")]),
        "status",
        "gRPC status UNAVAILABLE: 'going away\\n\\x7f'",
        id="status-after-data",
    ),
    pytest.param(answers(status("4")), "status", "gRPC status DEADLINE_EXCEEDED", id="deadline"),
    pytest.param(
        answers(status("16", "no token")),
        "status",
        "gRPC status UNAUTHENTICATED: 'no token'",
        id="unauthenticated",
    ),
    pytest.param(answers(status("99")), "status", "gRPC status '99'", id="unknown-status"),
    pytest.param(answers(status("zero")), "status", "gRPC status 'zero'", id="odd-status"),
    pytest.param(
        answers(OK, b"\x01" + SERVING[1:], [("grpc-status", "0")]),
        "protocol",
        "not a health answer: compressed without being asked",
        id="compressed",
    ),
    pytest.param(
        answers(OK, SERVING * 2, [("grpc-status", "0")]),
        "protocol",
        "not a health answer: not one whole message",
        id="two-messages",
    ),
    pytest.param(
        answers(OK, b"", [("grpc-status", "0")]),
        "protocol",
        "not a health answer: not one whole message",
        id="no-message",
    ),
    pytest.param(
        answers(OK, b"x" * 16_000, [("grpc-status", "0")]), "protocol", "not a", id="long-message"
    ),
    pytest.param(
        answers([*OK, ("x-long", "y" * 20_000)]), "protocol", "not valid HTTP/2", id="long-headers"
    ),
]


@pytest.mark.parametrize(("handler", "reason", "detail"), FAULTS)
def test_faults(run: Run, handler: Handler, reason: str, detail: str) -> None:
    """Each fault ends within the deadline, with its own reason and a printable detail."""

    async def story() -> Sample:
        async with serve(handler) as port:
            return await probe(port, DEADLINE_S if reason == "timeout" else 5.0)

    sample: Sample = run(story())
    assert (sample.outcome, sample.reason) == (Outcome.BAD, reason)
    assert sample.detail.startswith(detail)
    assert sample.detail.isprintable()
    assert sample.censored is (reason == "timeout")
    assert (sample.latency_s is not None) is (reason in {"timeout", "status"})


async def test_what_is_sent() -> None:
    """The call states its authority, and the scheme that it is made over."""
    seen: Headers = []
    async with serve(answers(OK, SERVING, [("grpc-status", "0")], seen)) as port:
        sample = await probe(port, authority="cart.shop.test")
    assert sample.outcome is Outcome.GOOD
    sent = dict(seen)
    assert sent[":authority"] == "cart.shop.test"
    assert sent[":path"] == "/grpc.health.v1.Health/Check"
    assert (sent[":scheme"], sent[":method"], sent["te"]) == ("http", "POST", "trailers")


def test_virtual_time() -> None:
    """With an injected connection nothing but the loop's own time counts."""
    sample = virtual.run(probe(80, io=silent_io()))
    assert (sample.reason, sample.latency_s) == ("timeout", 5.0)


# --- messages -----------------------------------------------------------------------------------


@given(st.text(max_size=300))
def test_requests_are_what_protobuf_makes_of_them(service: str) -> None:
    """Our encoding is that of the reference implementation, byte for byte."""
    framed = encode_request(service)
    reference = health_pb2.HealthCheckRequest(service=service).SerializeToString()
    assert framed == b"\x00" + len(reference).to_bytes(4, "big") + reference


@pytest.mark.parametrize("state", list(ServingStatus))
def test_answers_are_what_protobuf_makes_of_them(state: ServingStatus) -> None:
    """Our decoding is that of the reference implementation, the default value included."""
    reference = health_pb2.HealthCheckResponse(status=int(state)).SerializeToString()
    assert decode_response(b"\x00" + len(reference).to_bytes(4, "big") + reference) is state


@given(st.binary(max_size=40))
def test_no_bytes_break_the_decoder(message: bytes) -> None:
    """What we accept protobuf accepts as well, and reads the same; the rest is a ValueError."""
    with contextlib.suppress(ValueError):
        decode_response(message)
    try:
        ours = decode_response(b"\x00" + len(message).to_bytes(4, "big") + message)
    except ValueError:
        return
    reference = health_pb2.HealthCheckResponse.FromString(message)
    assert int(ours) == reference.status


def receive(call: UnaryCall, data: bytes) -> None:
    with contextlib.suppress(ProbeError):
        call.receive(data)
        call.outgoing()
        call.answer()


CALL = (
    [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")],
    b"",
)
GOOD_ANSWER = bytes(
    frame(SETTINGS)
    + frame(HEADERS, b"\x88\x5f\x10application/grpc\x00\x0bgrpc-status\x010", 0x4, 1)
    + frame(0, SERVING, 0x1, 1)
)


def test_the_answer_to_be_damaged_is_good() -> None:
    """Or the next test would prove little."""
    call = UnaryCall(*CALL)
    call.receive(GOOD_ANSWER)
    assert call.is_complete
    assert call.answer() == SERVING


@given(st.binary(max_size=200), st.integers(0, len(GOOD_ANSWER) - 1), st.integers(0, 255))
def test_no_bytes_break_the_call(data: bytes, at: int, byte: int) -> None:
    """Arbitrary bytes, also after SETTINGS, and damaged answers end in a ProbeError at worst."""
    receive(UnaryCall(*CALL), data)
    receive(UnaryCall(*CALL), frame(SETTINGS) + data)
    receive(UnaryCall(*CALL), frame(SETTINGS) + frame(HEADERS, data, 0x5, 1))
    damaged = bytearray(GOOD_ANSWER)
    damaged[at] = byte
    receive(UnaryCall(*CALL), bytes(damaged))


# --- configuration ------------------------------------------------------------------------------


def test_the_example_loads() -> None:
    """What the documentation shows can be used."""
    config = GrpcProbeConfig.model_validate(yaml.safe_load(GrpcProbeConfig.example), by_name=False)
    assert (config.service, config.address) == ("shop.Cart", "cart.shop.test:50051")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"address": "shop.test"}, "expected host:port"),
        ({"expect": "UNKNOWN"}, "Input should be 'SERVING'"),
        ({"service": "x" * 501}, "at most 500"),
        ({"authority": "a b"}, "pattern"),
        ({"authority": "a\r\n"}, "pattern"),
        ({"metadata": {"X-Team": "shop"}}, "'X-Team' is no metadata key"),
        ({"metadata": {"grpc-timeout": "1S"}}, "belongs to the protocol"),
        ({"metadata": {"te": "x"}}, "belongs to the protocol"),
        ({"metadata": {"a": "hush\n"}}, "the value of a holds something else"),
        ({"tls": False, "insecure": True}, "tls: false switches off"),
    ],
)
def test_bad_configuration(fields: dict[str, Any], problem: str) -> None:
    """Each mistake is told before anything runs, and no value is repeated."""
    with pytest.raises(ValidationError, match=problem) as caught:
        GrpcProbeConfig.model_validate({"kind": "grpc", **fields}, by_name=False)
    assert "hush" not in str(caught.value)
