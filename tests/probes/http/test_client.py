"""One hop: addresses, fallback and our own failures, with an injected network."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from monitor.model import Outcome, Sample
from monitor.probes.base import ProbeIO
from tests.probes.raw_server import loop_connect, make_io, replies, response, run_probe, serve

NO_ROUTE = OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


class Network:
    """Answers look-ups with `addresses`; connecting fails as scripted, else reaches the server."""

    def __init__(
        self, addresses: Sequence[str] | Exception, failures: dict[str, Exception] | None = None
    ) -> None:
        self.addresses = addresses
        self.failures = failures or {}
        self.tried: list[str] = []

    async def resolve(self, host: str) -> Sequence[str]:
        assert host == "shop.test"
        if isinstance(self.addresses, Exception):
            raise self.addresses
        return self.addresses

    async def connect(self, factory: Any, host: str, port: int) -> Any:
        self.tried.append(host)
        if host in self.failures:
            raise self.failures[host]
        return await loop_connect(factory, "127.0.0.1", port)

    async def probe(self, deadline_s: float = 5.0) -> Sample:
        async with serve(replies(response())) as port:
            io = make_io(connect=self.connect, resolve=self.resolve)
            return await run_probe(f"http://shop.test:{port}", deadline_s, io)


@pytest.mark.parametrize(
    ("failures", "reason"),
    [
        ({}, ""),
        ({"192.0.2.1": REFUSED}, ""),
        ({"192.0.2.1": NO_ROUTE}, ""),
        ({"192.0.2.1": REFUSED, "192.0.2.2": NO_ROUTE}, "connect_refused"),
        ({"192.0.2.1": NO_ROUTE, "192.0.2.2": REFUSED}, "connect_refused"),
        ({"192.0.2.1": NO_ROUTE, "192.0.2.2": NO_ROUTE}, "connect_unreachable"),
    ],
)
async def test_the_next_address_is_tried(failures: dict[str, Exception], reason: str) -> None:
    """A fast failure leads to the next address, and the most telling failure is reported."""
    network = Network(["192.0.2.1", "192.0.2.2"], failures)
    sample = await network.probe()
    assert sample.reason == reason
    assert network.tried == ["192.0.2.1", "192.0.2.2"][: len(failures) + 1]
    assert sample.latency_s is None if reason else sample.latency_s is not None


async def test_running_out_of_descriptors_is_our_failure() -> None:
    """EMFILE ends the attempt as UNKNOWN at once: the next address would fail alike."""
    network = Network(["192.0.2.1", "192.0.2.2"], {"192.0.2.1": OSError(errno.EMFILE, "full")})
    sample = await network.probe()
    assert (sample.outcome, sample.reason) == (Outcome.UNKNOWN, "local_resource")
    assert network.tried == ["192.0.2.1"]


@pytest.mark.parametrize(
    ("answer", "outcome", "reason"),
    [
        (socket.gaierror(socket.EAI_NONAME, "no"), Outcome.BAD, "dns"),
        ((), Outcome.BAD, "dns"),
        (socket.gaierror(socket.EAI_AGAIN, "later"), Outcome.UNKNOWN, "resolver"),
        (["169.254.169.254"], Outcome.BAD, "address_denied"),
        (["fe80::1", "::1"], Outcome.BAD, "address_denied"),
    ],
)
async def test_names_without_a_usable_address(
    answer: Sequence[str] | Exception, outcome: Outcome, reason: str
) -> None:
    """A name that does not exist is the target's failure, a broken resolver is ours."""
    network = Network(answer)
    sample = await network.probe()
    assert (sample.outcome, sample.reason, sample.latency_s) == (outcome, reason, None)
    assert network.tried == []
    assert "shop.test" in sample.detail


async def test_only_allowed_addresses_of_a_name_are_tried() -> None:
    """A name that also leads to a denied address is probed at the others."""
    network = Network(["169.254.169.254", "192.0.2.1", "::1"])
    assert (await network.probe()).outcome is Outcome.GOOD
    assert network.tried == ["192.0.2.1"]


async def test_a_hanging_resolver_is_our_failure() -> None:
    """Until witnesses say otherwise, no answer from DNS says nothing about the target."""

    async def resolve(_host: str) -> Sequence[str]:
        await asyncio.sleep(60)
        raise AssertionError

    sample = await run_probe("http://shop.test", 0.05, make_io(resolve=resolve))
    assert (sample.outcome, sample.reason) == (Outcome.UNKNOWN, "resolver")
    assert (sample.latency_s, sample.censored) == (None, False)


async def test_a_hanging_connect_is_a_censored_timeout() -> None:
    """A dropped SYN has waited for the whole deadline, in the phase connect."""

    async def connect(_factory: Any, _host: str, _port: int) -> Any:
        await asyncio.sleep(60)

    sample = await run_probe("http://192.0.2.1", 0.05, make_io(connect=connect))
    assert (sample.outcome, sample.reason) == (Outcome.BAD, "connect_timeout")
    assert sample.censored
    assert [name for name, _ in sample.phases] == ["connect"]


async def test_a_server_that_speaks_before_the_handshake() -> None:
    """What arrives between connecting and the handshake is no TLS, and is not lost unseen."""

    async def connect(factory: Any, host: str, port: int) -> Any:
        transport, protocol = await loop_connect(factory, host, port)
        protocol.data_received(b"220 mail.test ESMTP\r\n")
        return transport, protocol

    async with serve(replies(response())) as port:
        sample = await run_probe(f"https://127.0.0.1:{port}", io=make_io(connect=connect))
    assert (sample.outcome, sample.reason) == (Outcome.BAD, "tls_protocol")
    assert sample.detail == "the server spoke before the handshake"


async def test_cancelling_a_probe_closes_its_connection() -> None:
    """Shutdown ends a probe at once and leaves no socket behind."""
    closed = asyncio.Event()
    connected = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        connected.set()
        await reader.read()
        closed.set()

    async with serve(handler) as port:
        probe = asyncio.ensure_future(run_probe(f"http://127.0.0.1:{port}"))
        await connected.wait()
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        async with asyncio.timeout(1):
            await closed.wait()


async def test_time_comes_from_the_loop_unless_a_clock_is_given() -> None:
    """Virtual time needs no clock of its own: the running loop's time is the probe's."""
    ticks = iter(range(100))
    async with serve(replies(response())) as port:
        url = f"http://127.0.0.1:{port}"
        io = make_io()
        on_loop = await run_probe(
            url,
            io=ProbeIO(
                connect=io.connect, resolve=io.resolve, allowed_networks=io.allowed_networks
            ),
        )
        counted = await run_probe(
            url,
            io=ProbeIO(
                connect=io.connect,
                resolve=io.resolve,
                allowed_networks=io.allowed_networks,
                monotonic=lambda: next(ticks) / 1024,
            ),
        )
    assert on_loop.latency_s is not None
    assert 0 <= on_loop.latency_s < 1
    tick = 1 / 1024
    assert counted.phases == tuple((name, tick) for name in ("connect", "send", "wait", "transfer"))
