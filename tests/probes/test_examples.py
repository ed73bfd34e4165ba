"""The examples of the documentation, as they stand there, against real servers of each kind."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
import yaml
from aiohttp import WSMsgType, web
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from docs.generate import PAGE, example_of, meanings, page
from monitor.config.kinds import discover
from monitor.config.load import load_plan
from monitor.model import Outcome, Sample
from monitor.probes.base import ProbeConfig, ProbeIO
from monitor.probes.datagram import open_datagram
from monitor.probes.heartbeat_board import HeartbeatBoard, PingKind
from monitor.probes.reason import Reason
from tests.probes.kinds import site
from tests.probes.raw_server import loop_connect, make_io
from tests.probes.test_icmp import Wire, echo
from tests.support.nameserver import nameserver, zone
from tests.support.smtp import smtp_server

KINDS = discover(ProbeConfig)
NOW = datetime(2025, 12, 15, 4, 0, tzinfo=UTC).timestamp()
"""A morning on which the nightly job has reported, and the key is new."""
LIGHTHOUSE = {"categories": {"performance": {"score": 0.97}, "accessibility": {"score": 1.0}}}


class Shop:
    """All of shop.test on loopback: names and well-known ports lead to the servers of the test."""

    def __init__(self) -> None:
        self.url = ""
        self.ports: dict[int, int] = {}
        self.spawned: list[tuple[str, ...]] = []
        self.program = ""

    async def resolve(self, host: str) -> Sequence[str]:
        assert host.endswith("shop.test"), host
        return ["127.0.0.1"]

    async def connect(self, factory: Any, address: str, port: int) -> Any:
        return await loop_connect(factory, address, self.ports.get(port, port))

    async def datagram(self, factory: Any, address: str, port: int) -> Any:
        return await open_datagram(factory, address, self.ports.get(port, port))

    async def spawn(self, program: str, *arguments: str, **how: Any) -> Any:
        assert program == "lighthouse"
        self.spawned.append(arguments)
        return await asyncio.create_subprocess_exec(self.program, *arguments, **how)

    def io(self) -> ProbeIO:
        return dataclasses.replace(
            make_io(resolve=self.resolve),
            connect=self.connect,
            sockets=None,
            datagram=self.datagram,
            spawn=self.spawn,
            echo=Wire(lambda wire, request, _: wire.later(0.001, echo(request))),
            heartbeats=HeartbeatBoard(),
        )


def text(body: str, kind: str) -> Any:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=body, content_type=kind)

    return answer


async def sign_in(request: web.Request) -> web.Response:
    assert await request.json() == {"user": "probe"}
    return web.json_response({"token": "t0ken"})


async def me(request: web.Request) -> web.Response:
    assert request.headers["Authorization"] == "Bearer t0ken"
    return web.json_response({"user": "probe"})


async def live(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT and message.data == "ping":
            await socket.send_str("pong")
    return socket


@contextlib.contextmanager
def grpc_server() -> Any:
    servicer = health.HealthServicer()
    servicer.set("shop.Cart", health_pb2.HealthCheckResponse.SERVING)
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield port
        finally:
            server.stop(None).wait()


@contextlib.asynccontextmanager
async def the_shop(home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    """Run every server that the examples name."""
    shop, authority = Shop(), trustme.CA()
    authority.cert_pem.write_to_path(home / "ca.pem")
    # What the examples trust is what the machine trusts.
    monkeypatch.setenv("SSL_CERT_FILE", str(home / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("shop.test").configure_cert(tls)
    program = home / "lighthouse.sh"
    program.write_text(f"#!/bin/sh\necho '{json.dumps(LIGHTHOUSE)}'\n")
    program.chmod(0o755)
    shop.program = str(program)
    now = datetime.fromtimestamp(NOW, UTC).isoformat()
    routes = {
        "GET /": text("<h1>Shop</h1>", "text/html"),
        "GET /api/health": text(
            json.dumps({"status": "healthy", "timestamp": now}), "application/json"
        ),
        "GET /assets/index.js": text("x", "text/javascript"),
        "GET /assets/vendor-react.js": text("x", "text/javascript"),
        "GET /manifest.json": text("{}", "application/json"),
        "POST /login": sign_in,
        "GET /me": me,
        "GET /live": live,
    }
    records = zone({"shop.test. MX": ["10 mail.shop.test."]})
    async with (
        site(routes) as plain,
        site(routes, ssl_context=tls) as secure,
        nameserver(records) as names,
        smtp_server(home, hostname="mail.shop.test", authority=authority) as mail,
    ):
        with grpc_server() as cart:
            shop.url = plain.replace("127.0.0.1", "shop.test")
            shop.ports = {
                25: mail.port,
                53: names.port,
                443: int(secure.rpartition(":")[2]),
                50051: cart,
            }
            yield shop


@pytest.mark.parametrize("kind", KINDS)
async def test_the_example_of_every_kind_runs(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pasted into a monitor.yml it loads, and against a server of its kind it is GOOD."""
    async with the_shop(tmp_path, monkeypatch) as shop:
        config = {
            "service": "shop",
            "environments": {"Production": {"url": shop.url}},
            "deployments": [{"environment": "Production", "probes": [example_of(KINDS[kind])]}],
        }
        path = tmp_path / "monitor.yml"
        path.write_text(yaml.safe_dump(config))
        [bound] = load_plan(path, {}).deployments[0].probes
        io = shop.io()
        deployment = load_plan(path, {}).deployments[0].deployment
        probe = bound.config.build(bound.target, deployment, bound.url, io)
        for name in io.heartbeats.expected:
            io.heartbeats.watch(name, NOW - 90_000)
            io.heartbeats.ping(name, PingKind.FINISH, NOW - 3600)
        sample: Sample = await probe(NOW, bound.target.timeout_s)
    assert (sample.outcome, sample.reason, sample.detail) == (Outcome.GOOD, "", "")


def test_the_page_is_what_the_kinds_say() -> None:
    """Run `make docs` when this fails."""
    assert PAGE.read_text() == page()


def test_nothing_is_left_undescribed() -> None:
    """Every field, every reason and every kind says what it is."""
    assert "not described" not in page()
    assert meanings().keys() == {reason.value for reason in Reason}
    assert all(model.__doc__ and model.example for model in KINDS.values())
