"""The `icmp` kind: the loopback interface where the system allows it, scripted networks elsewhere.

Whether this machine lets us open ICMP sockets is asked of the machine, and both answers are tested.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.model import Outcome, Sample
from monitor.probes.base import ProbeIO
from monitor.probes.echo import EchoSocket, OnMessage, open_echo
from monitor.probes.icmp import Echoes, IcmpProbeConfig, checksum
from tests.probes.peers import probe_peer
from tests.probes.raw_server import make_io
from tests.support import virtual

Run = Callable[..., Any]
HINT = "widen the sysctl net.ipv4.ping_group_range or grant CAP_NET_RAW"


def is_allowed(family: socket.AddressFamily) -> bool:
    protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        with contextlib.suppress(OSError), socket.socket(family, kind, protocol):
            return True
    return False


async def probe(
    deadline_s: float = 5.0, io: ProbeIO | None = None, host: str = "127.0.0.1", **fields: Any
) -> Sample:
    chosen = io or make_io(allowed=("127.0.0.0/8", "::1/128"))
    return await probe_peer(IcmpProbeConfig, 80, deadline_s, io=chosen, host=host, **fields)


@pytest.mark.parametrize(
    ("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)]
)
@pytest.mark.parametrize("fields", [{}, {"count": 3, "payload": "1400B"}])
def test_the_loopback_interface(
    run: Run, host: str, family: socket.AddressFamily, fields: dict[str, Any]
) -> None:
    """It answers every request; where the system allows no ICMP socket that is UNKNOWN, and why."""
    sample: Sample = run(probe(0.6, host=host, **fields))
    if is_allowed(family):
        assert (sample.outcome, sample.detail) == (Outcome.GOOD, "")
        assert sample.latency_s is not None
        assert 0 < sample.latency_s < 0.3
        assert sample.values == (("loss_percent", 0.0),)
        assert [name for name, _ in sample.phases] == ["echo"]
    else:
        assert (sample.outcome, sample.reason) == (Outcome.UNKNOWN, "local_resource")
        assert sample.detail == f"cannot ping: no ICMP socket is allowed: {HINT}"


async def test_a_busy_loop_is_not_in_the_latency() -> None:
    """The kernel says for how long a reply had been waiting before we read it."""
    if not is_allowed(socket.AF_INET):
        await test_nothing_is_permitted()
        return

    def open_and_stall(address: str, on_message: OnMessage, on_error: Any) -> EchoSocket:
        asyncio.get_running_loop().call_later(0.0, time.sleep, 0.2)
        return open_echo(address, on_message, on_error)

    sample = await probe(io=dataclasses.replace(make_io(), echo=open_and_stall))
    assert sample.outcome is Outcome.GOOD
    assert sample.latency_s is not None
    assert sample.latency_s < 0.1
    assert sample.phases[0][1] >= 0.2


async def test_nothing_is_permitted() -> None:
    """Without permission we cannot measure, and the detail names the sysctl that would help."""

    def refuse(*_: Any) -> EchoSocket:
        raise PermissionError(errno.EPERM, f"no ICMP socket is allowed: {HINT}")

    sample = await probe(io=dataclasses.replace(make_io(), echo=refuse))
    assert (sample.outcome, sample.reason) == (Outcome.UNKNOWN, "local_resource")
    assert "net.ipv4.ping_group_range" in sample.detail
    assert sample.latency_s is None


ALONE = """
import asyncio, ctypes, os
from monitor.probes.echo import open_echo
for capability in range(41):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
async def main():
    try:
        open_echo("127.0.0.1", print, print).close()
    except PermissionError as error:
        print(error.strerror)
    else:
        print("allowed")
asyncio.run(main())
"""


async def test_the_real_refusal(tmp_path: Path) -> None:
    """A process without any privilege gets a socket from the sysctl, or is told of the sysctl."""
    first, last = Path("/proc/sys/net/ipv4/ping_group_range").read_text().split()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ALONE, stdout=asyncio.subprocess.PIPE, cwd=Path.cwd()
    )
    output, _ = await asyncio.wait_for(process.communicate(), 10)
    group = 65534 if os.getuid() == 0 else os.getgid()
    allowed = int(first) <= group <= int(last)
    expected = "allowed" if allowed else f"no ICMP socket is allowed: {HINT}"
    assert output.decode().strip() == expected


# --- scripted networks --------------------------------------------------------------------------

Network = Callable[["Wire", bytes, int], None]
"""Takes the wire, a request and its number."""


class Wire:
    """A scripted network behind an echo socket; `identifier` None is a raw socket."""

    def __init__(self, network: Network, identifier: int | None = None) -> None:
        self.identifier = identifier
        self.sent: list[bytes] = []
        self.is_closed = False
        self._network = network

    def __call__(
        self, address: str, on_message: OnMessage, on_error: Callable[[OSError], None]
    ) -> EchoSocket:
        self.on_message = on_message
        self.on_error = on_error
        return self

    def send(self, message: bytes) -> None:
        self.sent.append(message)
        self._network(self, message, len(self.sent) - 1)

    def close(self) -> None:
        self.is_closed = True

    def later(self, delay_s: float, message: bytes, waited_s: float = 0.0) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(delay_s, self.on_message, message, waited_s)


def echo(request: bytes, **changes: int) -> bytes:
    """Return the reply to a request of IPv4, or one that differs in something."""
    kind, code, _, identifier, sequence = struct.unpack_from("!BBHHH", request)
    assert (kind, code) == (8, 0)
    fields = {"kind": 0, "code": 0, "identifier": identifier, "sequence": sequence, **changes}
    head = struct.pack(
        "!BBHHH", fields["kind"], fields["code"], 0, fields["identifier"], fields["sequence"]
    )
    return head + request[8:]


def scripted(wire: Wire, deadline_s: float = 5.0, **fields: Any) -> Sample:
    async def story() -> Sample:
        io = dataclasses.replace(make_io(), echo=wire, monotonic=None)
        return await probe(deadline_s, io, **fields)

    sample = virtual.run(story())
    assert wire.is_closed
    return sample


def answers_after(*delays_s: float | None) -> Network:
    def network(wire: Wire, request: bytes, number: int) -> None:
        delay_s = delays_s[number]
        if delay_s is not None:
            wire.later(delay_s, echo(request))

    return network


def test_the_latency_is_the_mean_round_trip() -> None:
    """Of the replies that came; the time between requests is not in it."""
    sample = scripted(Wire(answers_after(0.01, 0.03, 0.05)), count=3)
    assert sample.outcome is Outcome.GOOD
    assert sample.latency_s == pytest.approx(0.03)
    assert sample.values == (("loss_percent", 0.0),)


def test_requests_are_spread() -> None:
    """Over the first half of the time, so that the last reply has the other half."""
    sample = scripted(Wire(answers_after(0.01, 0.01, 0.01, 0.01)), count=4, deadline_s=2.0)
    assert dict(sample.phases)["echo"] == pytest.approx(0.76)


@pytest.mark.parametrize(
    ("max_loss", "outcome", "detail"),
    [
        ("25%", Outcome.GOOD, ""),
        (
            "24.9%",
            Outcome.BAD,
            "25 % of 4 requests stayed without a reply, expected at most 24.9 %",
        ),
        ("0%", Outcome.BAD, "25 % of 4 requests stayed without a reply, expected at most 0 %"),
    ],
)
def test_loss(max_loss: str, outcome: Outcome, detail: str) -> None:
    """A lost reply is waited for until the deadline; then the share that was lost decides."""
    wire = Wire(answers_after(0.01, None, 0.03, 0.02))
    sample = scripted(wire, count=4, max_loss=max_loss)
    assert (sample.outcome, sample.detail) == (outcome, detail)
    assert sample.reason == ("" if outcome is Outcome.GOOD else "loss")
    assert sample.values == (("loss_percent", 25.0),)
    assert (sample.latency_s, sample.censored) == (pytest.approx(0.02), False)


def test_silence() -> None:
    """No reply at all is a timeout, and the latency is censored."""
    sample = scripted(Wire(answers_after(None, None)), count=2)
    assert (sample.outcome, sample.reason) == (Outcome.BAD, "timeout")
    assert (sample.latency_s, sample.censored) == (5.0, True)
    assert sample.values == (("loss_percent", 100.0),)


def test_only_the_reply_itself_counts() -> None:
    """Others' replies, our own request, changed payloads, made-up and repeated numbers do not."""

    def network(wire: Wire, request: bytes, _number: int) -> None:
        _, _, _, identifier, sequence = struct.unpack_from("!BBHHH", request)
        for other in (
            request,
            b"",
            echo(request)[:8],
            echo(request)[:-1],
            echo(request)[:-1] + b"\xff",
            echo(request, kind=3),
            echo(request, code=1),
            echo(request, identifier=identifier ^ 1),
            echo(request, sequence=sequence + 1),
        ):
            wire.later(0.0, other)
        wire.later(0.04, echo(request))
        wire.later(0.05, echo(request))

    sample = scripted(Wire(network), count=2, max_loss="0%")
    assert (sample.outcome, sample.latency_s) == (Outcome.GOOD, pytest.approx(0.04))


def test_the_kernels_identifier_is_expected() -> None:
    """An unprivileged socket has one of its own, which replies carry."""
    wire = Wire(answers_after(0.01), identifier=0x4242)
    assert scripted(wire).outcome is Outcome.GOOD
    assert wire.sent[0][4:6] == b"\x42\x42"
    assert len(wire.sent[0]) == 8 + 56


@pytest.mark.parametrize(("waited_s", "latency_s"), [(0.2, 0.05), (3600.0, 0.25), (0.0, 0.25)])
def test_waiting_in_the_kernel(waited_s: float, latency_s: float) -> None:
    """It is taken off, unless a clock that was set makes nonsense of it."""

    def network(wire: Wire, request: bytes, _number: int) -> None:
        wire.later(0.25, echo(request), waited_s)

    assert scripted(Wire(network)).latency_s == pytest.approx(latency_s)


@pytest.mark.parametrize(
    ("code", "outcome", "reason"),
    [
        (errno.EHOSTUNREACH, Outcome.BAD, "connect_unreachable"),
        (errno.ENETUNREACH, Outcome.BAD, "connect_unreachable"),
        (errno.ENOBUFS, Outcome.UNKNOWN, "local_resource"),
        (errno.EMFILE, Outcome.UNKNOWN, "local_resource"),
        (errno.EIO, Outcome.UNKNOWN, "prober_error"),
    ],
)
@pytest.mark.parametrize("where", ["open", "send", "later"])
def test_errors(where: str, code: int, outcome: Outcome, reason: str) -> None:
    """What the system says of the host is the host's, and what it says of us is ours."""

    def network(wire: Wire, _request: bytes, _number: int) -> None:
        if where == "send":
            raise OSError(code, "no")
        asyncio.get_running_loop().call_later(0.01, wire.on_error, OSError(code, "no"))

    def refuse(*_: Any) -> EchoSocket:
        raise OSError(code, "no")

    async def story() -> Sample:
        chosen = refuse if where == "open" else Wire(network)
        io = dataclasses.replace(make_io(), echo=chosen, monotonic=None)
        return await probe(io=io, count=3)

    sample = virtual.run(story())
    assert (sample.outcome, sample.reason) == (outcome, reason)
    assert sample.detail == f"cannot reach 127.0.0.1 ({errno.errorcode[code]})"
    assert sample.latency_s is None


async def test_the_address_is_judged() -> None:
    """Before anything is sent to it."""
    sample = await probe(host="169.254.169.254")
    assert (sample.outcome, sample.reason) == (Outcome.BAD, "address_denied")


def test_looking_up_the_name_is_not_in_the_latency() -> None:
    """But it has its phase; and the second address is tried when the first has no route."""
    tried: list[str] = []

    async def resolve(host: str) -> list[str]:
        assert host == "gateway.test"
        await asyncio.sleep(0.5)
        return ["127.0.0.2", "127.0.0.1"]

    def open_wire(address: str, on_message: OnMessage, on_error: Any) -> EchoSocket:
        tried.append(address)
        if address == "127.0.0.2":
            raise OSError(errno.EHOSTUNREACH, "no")
        return Wire(answers_after(0.01))(address, on_message, on_error)

    async def story() -> Sample:
        io = make_io(resolve=resolve)
        io = dataclasses.replace(io, echo=open_wire, monotonic=None)
        return await probe(io=io, host="gateway.test")

    sample = virtual.run(story())
    assert (sample.latency_s, tried) == (pytest.approx(0.01), ["127.0.0.2", "127.0.0.1"])
    assert dict(sample.phases) == {"resolve": pytest.approx(0.5), "echo": pytest.approx(0.01)}


@given(st.lists(st.binary(max_size=80), max_size=5), st.floats(0, 10))
def test_no_bytes_break_the_matching(messages: list[bytes], waited_s: float) -> None:
    """Whatever arrives is a reply to a request of ours, or nothing."""

    async def story() -> None:
        echoes = Echoes(4, 1, 16, lambda: 0.0)
        request = echoes.request(0, None)
        for message in messages:
            echoes.take(message, waited_s)
            echoes.take(request[:8] + message, waited_s)
            echoes.take(b"\0" + request[1:8] + message, waited_s)
        assert not echoes.complete.done()

    asyncio.run(story())


@given(st.binary(max_size=65))
def test_the_checksum_verifies(message: bytes) -> None:
    """A message that contains its checksum sums up to zero (RFC 1071)."""
    even = message + bytes(len(message) % 2)
    assert checksum(even + checksum(even).to_bytes(2, "big")) == 0
    assert checksum(message) == checksum(even)


def test_the_example_loads() -> None:
    """What the documentation shows can be used."""
    config = IcmpProbeConfig.model_validate(yaml.safe_load(IcmpProbeConfig.example), by_name=False)
    assert (config.count, config.host) == (5, "gateway.shop.test")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"count": 0}, "greater than or equal to 1"),
        ({"count": 101}, "less than or equal to 100"),
        ({"max_loss": "101%"}, "expected a percentage"),
        ({"payload": "15B"}, "greater than or equal to 16"),
        ({"host": "shop.test:80"}, "without a port"),
        ({"host": "[::1]:80"}, "without a port"),
        ({"host": "a b"}, "expected host"),
    ],
)
def test_bad_configuration(fields: dict[str, Any], problem: str) -> None:
    """Each mistake is told before anything runs."""
    with pytest.raises(ValidationError, match=problem):
        IcmpProbeConfig.model_validate({"kind": "icmp", **fields}, by_name=False)


@pytest.mark.parametrize(
    ("fields", "address"),
    [({}, "127.0.0.1"), ({"host": "[::1]"}, "::1"), ({"host": "::1"}, "::1")],
)
def test_whom_it_asks(fields: dict[str, str], address: str) -> None:
    """The configured host in any spelling, or that of the deployment's URL."""
    asked: list[str] = []

    def refuse(address: str, *_: Any) -> EchoSocket:
        asked.append(address)
        raise OSError(errno.EHOSTUNREACH, "no")

    async def story() -> None:
        io = make_io(allowed=("127.0.0.0/8", "::1/128"))
        await probe_peer(IcmpProbeConfig, 80, io=dataclasses.replace(io, echo=refuse), **fields)

    virtual.run(story())
    assert asked == [address]
