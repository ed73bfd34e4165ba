"""The `dns` kind against a real DNS server on the loopback interface, honest or scripted."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rdatatype
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.model import Outcome, Sample
from monitor.probes.base import ProbeIO
from monitor.probes.datagram import open_datagram, system_nameservers
from monitor.probes.dns import DnsProbeConfig
from monitor.probes.dns.answer import AnswerChecks, read_answer
from monitor.probes.failure import ProbeError
from tests.probes.peers import probe_peer
from tests.probes.raw_server import Handler, loop_connect, make_io, reset, serve
from tests.support import virtual
from tests.support.nameserver import Script, nameserver, reply, zone

Run = Callable[..., Any]
DEADLINE_S = 0.25
RECORDS = {
    "shop.test. A": ["192.0.2.7", "192.0.2.8"],
    "shop.test. AAAA": ["2001:db8::7"],
    "shop.test. MX": ["10 mail.shop.test.", "20 backup.shop.test."],
    "shop.test. NS": ["ns1.shop.test."],
    "shop.test. TXT": ['"v=spf1 " "-all"', '"site=42"'],
    "shop.test. SOA": ["ns1.shop.test. admin.shop.test. 7 3600 600 86400 60"],
    "shop.test. CAA": ['0 issue "ca.test"'],
    "shop.test. HTTPS": ["1 . alpn=h2"],
    "_imap._tcp.shop.test. SRV": ["0 1 143 mail.shop.test."],
    "7.2.0.192.in-addr.arpa. PTR": ["shop.test."],
    "www.shop.test. CNAME": ["edge.shop.test."],
    "edge.shop.test. CNAME": ["shop.test."],
    "loop.shop.test. CNAME": ["loop.shop.test."],
    "empty.shop.test. TXT": ['"no address here"'],
}


async def probe(port: int, deadline_s: float = 5.0, **fields: Any) -> Sample:
    fields = {"query": "shop.test", "server": f"127.0.0.1:{port}", **fields}
    return await probe_peer(DnsProbeConfig, port, deadline_s, **fields)


def ask(run: Run, script: Script, deadline_s: float = 5.0, **fields: Any) -> Sample:
    async def story() -> Sample:
        async with nameserver(script) as server:
            return await probe(server.port, deadline_s, **fields)

    sample: Sample = run(story())
    return sample


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize(
    ("query", "kind", "expected"),
    [
        ("shop.test", "A", "192.0.2.8"),
        ("SHOP.test.", "AAAA", "2001:DB8:0::7"),
        ("shop.test", "MX", "10 Mail.shop.test"),
        ("shop.test", "NS", "ns1.shop.test"),
        ("shop.test", "TXT", "v=spf1 -all"),
        ("shop.test", "SOA", "ns1.shop.test admin.shop.test 7 3600 600 86400 60"),
        ("shop.test", "CAA", '0 issue "ca.test"'),
        ("shop.test", "HTTPS", "1 . alpn=h2"),
        ("_imap._tcp.shop.test", "SRV", "0 1 143 mail.shop.test"),
        ("192.0.2.7", "PTR", "shop.test"),
        ("7.2.0.192.in-addr.arpa", "PTR", "shop.test"),
        ("www.shop.test", "CNAME", "edge.shop.test"),
        ("www.shop.test", "A", "192.0.2.7"),
    ],
)
async def test_every_record_type(query: str, kind: str, expected: str, transport: str) -> None:
    """A record is found whatever its type and spelling, and at the end of a chain of CNAMEs."""
    async with nameserver(zone(RECORDS)) as server:
        fields = {"query": query, "type": kind, "transport": transport}
        good = await probe(server.port, answers_include=[expected], **fields)
    assert (good.outcome, good.detail) == (Outcome.GOOD, "")
    assert [used for used, _ in server.queries] == [transport]


def test_a_good_answer_is_timed(run: Run) -> None:
    """The latency is the look-up of the server's name and the request, and answers are counted."""

    async def resolve(host: str) -> Sequence[str]:
        assert host == "ns1.shop.test"
        return ["127.0.0.1"]

    async def story() -> None:
        async with nameserver(zone(RECORDS)) as server:
            io = make_io(resolve=resolve)
            sample = await probe(server.port, server=f"ns1.shop.test:{server.port}", io=io)
        assert sample.outcome is Outcome.GOOD
        assert [name for name, _ in sample.phases] == ["resolve", "request"]
        assert sample.latency_s == sum(seconds for _, seconds in sample.phases)
        assert sample.values == (("answers", 2.0),)

    run(story())


JUDGED: list[Any] = [
    pytest.param({"answers_match": r"\.8$"}, "", "", id="one-matches"),
    pytest.param({"all_answers_match": r"^192\.0\.2\."}, "", "", id="all-match"),
    pytest.param({"min_answers": 2}, "", "", id="enough"),
    pytest.param({"authoritative": True}, "", "", id="authoritative"),
    pytest.param({"query": "no.test", "rcode": "NXDOMAIN"}, "", "", id="nxdomain-expected"),
    pytest.param({"query": "empty.shop.test", "min_answers": 0}, "", "", id="no-data-expected"),
    pytest.param(
        {"query": "no.test"}, "status", "the server answers NXDOMAIN, expected NOERROR", id="nx"
    ),
    pytest.param(
        {"rcode": "NXDOMAIN"},
        "status",
        "the server answers NOERROR, expected NXDOMAIN",
        id="exists-unexpectedly",
    ),
    pytest.param(
        {"query": "empty.shop.test"}, "body", "0 A records, expected at least 1", id="no-data"
    ),
    pytest.param({"min_answers": 3}, "body", "2 A records, expected at least 3", id="too-few"),
    pytest.param(
        {"answers_match": "^10"},
        "body",
        "no answer matches the pattern (got '192.0.2.7', '192.0.2.8')",
        id="none-matches",
    ),
    pytest.param(
        {"all_answers_match": "8$"},
        "body",
        "an answer does not match the pattern (got '192.0.2.7')",
        id="not-all-match",
    ),
    pytest.param(
        {"answers_include": ["192.0.2.7", "192.0.2.9"]},
        "body",
        "'192.0.2.9' is not among the answers (got '192.0.2.7', '192.0.2.8')",
        id="one-is-missing",
    ),
    pytest.param({"query": "loop.shop.test"}, "protocol", "the answer makes no sense", id="loop"),
]


@pytest.mark.parametrize(("fields", "reason", "detail"), JUDGED)
async def test_answers_are_judged(fields: dict[str, Any], reason: str, detail: str) -> None:
    """Each expectation that is not met has its reason, and its detail says what came instead."""

    def script(query: dns.message.Message, _transport: str) -> Sequence[bytes]:
        # The helper would follow this chain for ever.
        if str(query.question[0].name) == "loop.shop.test.":
            alias = dns.message.make_response(query)
            alias.answer.append(
                dns.rrset.from_text("loop.shop.test.", 60, "IN", "CNAME", "loop.shop.test.")
            )
            return [alias.to_wire()]
        return zone(RECORDS)(query, _transport)

    async with nameserver(script) as server:
        sample = await probe(server.port, **fields)
    assert (sample.reason, sample.detail) == (reason, detail)
    assert sample.outcome is (Outcome.BAD if reason else Outcome.GOOD)
    assert (sample.latency_s is None) is (reason == "protocol")


async def test_a_cached_answer_is_not_authoritative() -> None:
    """`authoritative` looks at the flag of the answer."""
    async with nameserver(zone(RECORDS, authoritative=False)) as server:
        sample = await probe(server.port, authoritative=True)
    assert (sample.reason, sample.detail) == ("status", "the answer is not authoritative")


async def test_queries_cannot_be_guessed() -> None:
    """Each has another id, and asks for recursion as configured."""
    async with nameserver(zone(RECORDS)) as server:
        for _ in range(6):
            await probe(server.port, recursion=False)
        await probe(server.port)
    queries = [query for _, query in server.queries]
    assert len({query.id for query in queries}) > 4
    wants_recursion = [bool(query.flags & dns.flags.RD) for query in queries]
    assert wants_recursion == [False] * 6 + [True]


def forged(query: dns.message.Message) -> list[bytes]:
    """Answers that belong to other questions, and noise."""
    other = dns.message.make_query("evil.test", "A", id=query.id)
    wrong_id = reply(query, RECORDS)
    wrong_id.id ^= 1
    return [
        wrong_id.to_wire(),
        reply(other, {"evil.test. A": ["198.51.100.1"]}).to_wire(),
        query.to_wire(),
        b"\x00",
        bytes([query.id >> 8 ^ 0xFF]) + b"garbage",
    ]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_what_is_no_answer_to_the_query_is_ignored(run: Run, transport: str) -> None:
    """Another id, another question, our own query and noise change nothing."""

    def script(query: dns.message.Message, _transport: str) -> Sequence[bytes]:
        return [*forged(query), reply(query, RECORDS).to_wire()]

    sample = ask(run, script, transport=transport, answers_include=["192.0.2.7"])
    assert (sample.outcome, sample.detail) == (Outcome.GOOD, "")


def test_the_real_answer_is_waited_for_until_the_deadline(run: Run) -> None:
    """When only others come, the time runs out, and the detail says what came."""
    sample = ask(run, lambda query, _: forged(query), DEADLINE_S)
    assert (sample.outcome, sample.reason, sample.censored) == (Outcome.BAD, "timeout", True)
    assert sample.latency_s is not None
    assert sample.latency_s >= DEADLINE_S
    assert sample.detail == (
        "timed out after 0.25 s while waiting for an answer;"
        " 5 answers to other questions were ignored"
    )


def broken(query: dns.message.Message, _transport: str) -> Sequence[bytes]:
    return [reply(query, RECORDS).to_wire()[:-3]]


def junk(query: dns.message.Message, _transport: str) -> Sequence[bytes]:
    return [query.id.to_bytes(2, "big") + b"\xff" * 40]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("script", [broken, junk])
def test_garbage_from_the_server_itself(run: Run, script: Script, transport: str) -> None:
    """What has the right id but is no message is the server's failure, at once."""
    sample = ask(run, script, transport=transport)
    assert (sample.outcome, sample.reason) == (Outcome.BAD, "protocol")


def test_a_truncated_answer_is_asked_for_again(run: Run) -> None:
    """What does not fit a datagram comes over TCP, even when the datagram was cut in a record."""

    def script(query: dns.message.Message, transport: str) -> Sequence[bytes]:
        answer = reply(query, RECORDS)
        if transport == "tcp":
            return [answer.to_wire()]
        answer.flags |= dns.flags.TC
        return [answer.to_wire()[:-7]]

    async def story() -> None:
        async with nameserver(script) as server:
            sample = await probe(server.port, min_answers=2)
        assert (sample.outcome, sample.detail) == (Outcome.GOOD, "")
        assert [used for used, _ in server.queries] == ["udp", "tcp"]
        assert [name for name, _ in sample.phases] == ["request", "connect"]

    run(story())


async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(2)
    writer.write(b"\x00\x40half")


async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\xff\xff")
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.02)


async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"\x00\x00" * 10_000)
        await writer.drain()


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(2)
    reset(writer)


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (says_nothing, "timeout"),
        (closes, "truncated"),
        (drips, "timeout"),
        (floods, "protocol"),
        (resets, "reset"),
    ],
)
def test_faults_over_tcp(run: Run, handler: Handler, reason: str) -> None:
    """Each ends within the deadline with its own reason."""

    async def story() -> Sample:
        async with serve(handler) as port:
            return await probe(port, DEADLINE_S, transport="tcp")

    sample = run(story())
    assert (sample.outcome, sample.reason) == (Outcome.BAD, reason)
    assert sample.censored is (reason == "timeout")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_nobody_listens(run: Run, transport: str) -> None:
    """A port that is closed is told by the system, for datagrams as well."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sample = run(probe(port, transport=transport))
    assert (sample.outcome, sample.reason) == (Outcome.BAD, "connect_refused")
    assert sample.detail == f"cannot connect to 127.0.0.1 port {port} (ECONNREFUSED)"


async def test_the_next_address_of_the_server_is_asked() -> None:
    """An address that refuses does not hide one that answers."""

    async def resolve(_host: str) -> Sequence[str]:
        return ["127.0.0.2", "127.0.0.1"]

    async with nameserver(zone(RECORDS)) as server:
        io = make_io(resolve=resolve)
        sample = await probe(server.port, server=f"ns.test:{server.port}", io=io)
    assert sample.outcome is Outcome.GOOD


def failing_lookup(code: int) -> Callable[[str], Any]:
    async def resolve(_host: str) -> Sequence[str]:
        raise socket.gaierror(code, "no")

    return resolve


async def finds_metadata(_host: str) -> Sequence[str]:
    return ["169.254.169.254"]


@pytest.mark.parametrize(
    ("resolve", "outcome", "reason"),
    [
        (failing_lookup(socket.EAI_NONAME), Outcome.BAD, "dns"),
        (failing_lookup(socket.EAI_AGAIN), Outcome.UNKNOWN, "resolver"),
        (finds_metadata, Outcome.BAD, "address_denied"),
    ],
)
async def test_the_name_of_the_server(resolve: Any, outcome: Outcome, reason: str) -> None:
    """It is looked up like every name, and its addresses are judged before they are used."""
    sample = await probe(53, server="ns1.shop.test", io=make_io(resolve=resolve))
    assert (sample.outcome, sample.reason) == (outcome, reason)


async def test_no_descriptors_are_left() -> None:
    """That we cannot open a socket says nothing about the server."""

    async def refuse(*_: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    sample = await probe(53, io=dataclasses.replace(make_io(), datagram=refuse))
    assert (sample.outcome, sample.reason) == (Outcome.UNKNOWN, "local_resource")


async def test_the_machines_own_server_is_the_default() -> None:
    """It is known when the probe is built, and need not be in the allowed networks."""
    asked: list[tuple[str, int]] = []
    async with nameserver(zone(RECORDS)) as server:

        async def redirect(factory: Any, address: str, port: int) -> Any:
            asked.append((address, port))
            return await open_datagram(factory, "127.0.0.1", server.port)

        io = ProbeIO(
            connect=loop_connect,
            resolve=failing_lookup(socket.EAI_NONAME),
            datagram=redirect,
            nameservers=lambda: ("127.0.0.53", "192.0.2.1"),
        )
        sample = await probe_peer(DnsProbeConfig, 80, io=io, query="shop.test")
    assert (sample.outcome, asked) == (Outcome.GOOD, [("127.0.0.53", 53)])


async def test_a_machine_without_a_name_server() -> None:
    """Then the file must say which to ask."""
    io = dataclasses.replace(make_io(), nameservers=lambda: ())
    with pytest.raises(ValueError, match=r"^server: this machine names no name server"):
        await probe_peer(DnsProbeConfig, 80, io=io, query="shop.test")


def test_the_machines_name_servers_are_read(tmp_path: Path) -> None:
    """Comments and other options of resolv.conf are passed over, as is a missing file."""
    path = tmp_path / "resolv.conf"
    assert system_nameservers(path) == ()
    path.write_text("# nameserver 1.1.1.1\nsearch test\nnameserver\t::1  \nnameserver 192.0.2.1\n")
    assert system_nameservers(path) == ("::1", "192.0.2.1")


class _VirtualServer(asyncio.DatagramTransport):
    """Answers after 50 ms of virtual time, or never."""

    def __init__(self, protocol: asyncio.DatagramProtocol, *, answers: bool) -> None:
        super().__init__()
        self._protocol = protocol
        self._answers = answers

    def sendto(self, data: Any, addr: Any = None) -> None:
        wire = reply(dns.message.from_wire(data), RECORDS).to_wire()
        if self._answers:
            loop = asyncio.get_running_loop()
            loop.call_later(0.05, self._protocol.datagram_received, wire, None)

    def abort(self) -> None:
        pass


@pytest.mark.parametrize(("answers", "latency_s"), [(True, 0.05), (False, 5.0)])
def test_virtual_time(answers: bool, latency_s: float) -> None:  # noqa: FBT001 - a table's column
    """With an injected socket nothing but the loop's own time counts."""

    async def open_virtual(factory: Any, _address: str, _port: int) -> Any:
        protocol = factory()
        return _VirtualServer(protocol, answers=answers), protocol

    async def story() -> Sample:
        io = dataclasses.replace(make_io(), datagram=open_virtual, monotonic=None)
        return await probe(53, io=io)

    sample = virtual.run(story())
    assert sample.latency_s == pytest.approx(latency_s)
    assert sample.censored is not answers


QUERY = dns.message.make_query("shop.test", "MX", id=0x1234)
ANSWER = reply(QUERY, RECORDS).to_wire()
CHECKS = AnswerChecks(record_type="MX", include=(("10 mail.shop.test", b"?"),))


def judge(wire: bytes) -> None:
    with contextlib.suppress(ProbeError):
        answer = read_answer(QUERY, wire, is_datagram=True)
        if answer is not None:
            CHECKS.judge(answer)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    """Whatever stands behind a message's head ends in an answer, in None or in a ProbeError."""
    judge(data)
    judge(ANSWER[:2] + data)
    judge(ANSWER[:12] + data)


@given(st.integers(2, len(ANSWER) - 1), st.integers(0, 255), st.integers(0, len(ANSWER)))
def test_no_damaged_answer_breaks_the_parser(at: int, byte: int, length: int) -> None:
    """Nor does a real answer with a byte changed, or cut off."""
    damaged = bytearray(ANSWER)
    damaged[at] = byte
    judge(bytes(damaged)[:length])
    judge(bytes(damaged))


def test_the_example_loads() -> None:
    """What the documentation shows can be used."""
    config = DnsProbeConfig.model_validate(yaml.safe_load(DnsProbeConfig.example), by_name=False)
    assert (config.record_type, config.answers_include) == ("MX", ["10 mail.shop.test"])


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"type": "ANY"}, "Input should be 'A'"),
        ({"type": "MX", "answers_include": ["mail"]}, "'mail' is no MX record"),
        ({"answers_include": ["::1"]}, "'::1' is no A record"),
        ({"query": "a..b"}, "'a..b' is no name to ask for"),
        ({"query": "x" * 64}, "is no name to ask for"),
        ({"server": "ns1:0"}, "expected host:port"),
        ({"server": "http://ns1"}, "expected host:port"),
        ({"answers_match": "("}, "RE2"),
        ({"rcode": "NXDOMAIN", "min_answers": 1}, "holds no records to check"),
        ({"rcode": "NXDOMAIN", "answers_include": ["192.0.2.1"]}, "holds no records to check"),
        ({"min_answers": -1}, "greater than or equal to 0"),
        ({"transport": "quic"}, "Input should be 'udp'"),
    ],
)
def test_bad_configuration(fields: dict[str, Any], problem: str) -> None:
    """Each mistake is told before anything runs."""
    with pytest.raises(ValidationError, match=problem):
        DnsProbeConfig.model_validate({"kind": "dns", "query": "shop.test", **fields})


async def test_the_deployments_host_is_asked_for_by_default() -> None:
    """Without a query the name is that of the deployment's URL."""
    async with nameserver(zone({"1.0.0.127. A": []})) as server:
        await probe_peer(DnsProbeConfig, server.port, server=f"127.0.0.1:{server.port}")
    assert [str(query.question[0].name) for _, query in server.queries] == ["127.0.0.1."]
