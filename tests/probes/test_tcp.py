"""The `tcp` kind against real and hostile servers on the loopback interface."""

from __future__ import annotations

import asyncio
import errno
import ssl
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.model import Outcome, Sample
from monitor.probes.conversation import MAX_INPUT_BYTES, Conversation, show_bytes
from monitor.probes.stream import Stream
from monitor.probes.tcp import TcpProbeConfig
from tests.probes.peers import probe_peer, says, server_context
from tests.probes.raw_server import AT, Handler, make_io, reset, serve
from tests.support import virtual
from tests.support.smtp import smtp_server

Run = Callable[..., Any]
DEADLINE_S = 0.25


async def probe(port: int, deadline_s: float = 5.0, **fields: Any) -> Sample:
    return await probe_peer(TcpProbeConfig, port, deadline_s, **fields)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA) -> Iterator[str]:
    with authority.cert_pem.tempfile() as path:
        yield path


async def counts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each line with its number, in two pieces."""
    number = 0
    while line := await reader.readline():
        number += 1
        writer.write(b"OK ")
        await asyncio.sleep(0.01)
        writer.write(b"%d %b" % (number, line))


async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"all work and no play " * 1000)
        await writer.drain()


async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"\xff")
        await asyncio.sleep(0.02)


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"half")
    await asyncio.sleep(0.02)
    reset(writer)


def test_being_connected_is_enough(run: Run) -> None:
    """Without steps nothing is waited for; the address is the deployment URL's."""

    async def story() -> None:
        async with serve(says(hold=True)) as port:
            sample = await probe(port)
        assert (sample.outcome, sample.target, sample.at) == (Outcome.GOOD, "shop/peer/here", AT)
        assert [name for name, _ in sample.phases] == ["connect"]
        assert sample.latency_s == pytest.approx(sum(seconds for _, seconds in sample.phases))

    run(story())


def test_a_name_is_looked_up(run: Run) -> None:
    """`address` wins over the URL, and the look-up is a phase of its own."""
    asked: list[str] = []

    async def resolve(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    async def story() -> None:
        async with serve(says(hold=True)) as port:
            io = make_io(resolve=resolve)
            sample = await probe(1, io=io, address=f"Mail.Shop.test:{port}")
        assert sample.outcome is Outcome.GOOD
        assert asked == ["mail.shop.test"]
        assert [name for name, _ in sample.phases] == ["resolve", "connect"]

    run(story())


WAITS = [{"expect": "ready"}]
DIALOGUES: list[Any] = [
    pytest.param(says(b"220 rea", b"dy\r\n", hold=True), WAITS, "", "", id="banner"),
    pytest.param(says(b"ready"), WAITS, "", "", id="banner-and-hang-up"),
    pytest.param(
        counts,
        [
            {"send": "a\n"},
            {"expect": "^OK 1 a\n"},
            {"send": "é\n"},
            {"expect": "^OK 2 é\n$"},
        ],
        "",
        "",
        id="two-rounds",
    ),
    pytest.param(
        says(b"once ", hold=True),
        [{"expect": "once"}, {"expect": "once"}],
        "timeout",
        "expected 'once', got ' '",
        id="a-match-is-used-up",
    ),
    pytest.param(says(b"a b", hold=True), [{"expect": "a"}, {"expect": "b"}], "", "", id="rest"),
    pytest.param(says(hold=True), WAITS, "timeout", "got nothing", id="silence"),
    pytest.param(says(b"554 no\r\n", hold=True), WAITS, "timeout", r"got '554 no\r\n'", id="no"),
    pytest.param(says(b"554 no\r\n"), WAITS, "body", r"got '554 no\r\n'", id="no-and-hang-up"),
    pytest.param(says(), WAITS, "truncated", "got nothing", id="hang-up"),
    pytest.param(says(b"\x1b[2J\xff\x00"), WAITS, "body", r"'\x1b[2J\\xff\x00'", id="binary"),
    pytest.param(floods, WAITS, "body", f"nothing in {MAX_INPUT_BYTES} bytes", id="flood"),
    pytest.param(drips, WAITS, "timeout", "got '", id="drip"),
    pytest.param(resets, WAITS, "reset", "connection lost", id="reset"),
    pytest.param(floods, [{"expect": "no play"}], "", "", id="flood-that-matches"),
]


@pytest.mark.parametrize(("handler", "steps", "reason", "detail"), DIALOGUES)
def test_dialogues(
    run: Run, handler: Handler, steps: list[dict[str, str]], reason: str, detail: str
) -> None:
    """Every course of a dialogue ends within the deadline, with a reason and what was heard."""

    async def story() -> None:
        async with serve(handler) as port:
            sample = await probe(port, DEADLINE_S, steps=steps)
        assert sample.reason == reason
        assert sample.outcome is (Outcome.BAD if reason else Outcome.GOOD)
        assert detail in sample.detail
        assert sample.detail.isprintable()
        assert len(sample.detail) <= 200
        assert sample.censored is (reason == "timeout")
        assert (sample.latency_s is None) is (reason in {"truncated", "reset"})
        assert [name for name, _ in sample.phases] == ["connect", "dialogue"]

    run(story())


async def test_a_flood_costs_no_memory() -> None:
    """An endless answer is cut at the cap."""
    async with serve(floods) as port:
        await probe(port, steps=WAITS)
        tracemalloc.start()
        try:
            sample = await probe(port, steps=WAITS)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert sample.reason == "body"
    assert peak < 2 * 1024 * 1024


def test_a_secret_is_told_and_never_shown(run: Run) -> None:
    """What was sent from a secret is not quoted back, even when the server echoes it."""
    heard: list[bytes] = []

    async def echoes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"TOKEN"))
        writer.write(b"unknown: " + heard[0])

    async def story() -> None:
        async with serve(echoes) as port:
            steps = [{"send": "AUTH "}, {"send": {"env": "TOKEN"}}, {"expect": "welcome"}]
            sample = await probe(port, steps=steps)
        assert heard == [b"AUTH env-TOKEN"]
        assert sample.reason == "body"
        assert "got 23 bytes" in sample.detail
        assert "TOKEN" not in repr(sample)

    run(story())


def test_slow(run: Run) -> None:
    """A run that is longer than allowed is BAD with its latency."""

    async def story() -> None:
        async with serve(counts) as port:
            steps = [{"send": "x\n"}, {"expect": "x\n"}]
            sample = await probe(port, steps=steps, max_latency="5ms")
        assert (sample.outcome, sample.reason, sample.censored) == (Outcome.BAD, "slow", False)
        assert sample.latency_s is not None
        assert sample.latency_s > 0.005

    run(story())


# --- TLS --------------------------------------------------------------------------------------


def test_tls_from_the_first_byte(run: Run, authority: trustme.CA, ca_file: str) -> None:
    """The dialogue is inside TLS, for the name that was configured, and the expiry is reported."""
    not_after = datetime(2040, 1, 2, 3, 4, 5, tzinfo=UTC)
    context = server_context(authority, "shop.test", not_after=not_after)
    names: list[str | None] = []
    context.sni_callback = lambda _tls, name, _context: names.append(name)

    async def story() -> None:
        async with serve(counts, context) as port:
            sample = await probe(
                port,
                tls=True,
                ca_file=ca_file,
                server_name="shop.test",
                steps=[{"send": "x\n"}, {"expect": "^OK 1 x\n"}],
            )
        assert (sample.outcome, sample.detail) == (Outcome.GOOD, "")
        assert [name for name, _ in sample.phases] == ["connect", "tls", "dialogue"]
        assert sample.certificate_expires_at == not_after.timestamp()
        assert names == ["shop.test"]

    run(story())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("127.0.0.1", "tls_expired"),
        ("elsewhere.test", "tls_name"),
        ("127.0.0.1", "tls_untrusted"),
    ],
)
def test_bad_certificates(
    run: Run, authority: trustme.CA, ca_file: str, name: str, reason: str
) -> None:
    """Each way to be unacceptable has its own reason; `insecure` accepts them all."""
    issuer = trustme.CA() if reason == "tls_untrusted" else authority
    now = datetime.now(UTC)
    not_after = now + timedelta(days=-1 if reason == "tls_expired" else 1)
    tls = server_context(issuer, name, not_before=now - timedelta(days=9), not_after=not_after)

    async def story() -> None:
        async with serve(says(hold=True), tls) as port:
            sample = await probe(port, tls=True, ca_file=ca_file)
            insecure = await probe(port, tls=True, insecure=True)
        assert (sample.outcome, sample.reason) == (Outcome.BAD, reason)
        assert insecure.outcome is Outcome.GOOD

    run(story())


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (says(b"220 mail.test ESMTP\r\n", hold=True), "tls_protocol"),
        (says(b"\x16\x03\x01\x00\x05hello", hold=True), "tls_protocol"),
        (says(hold=True), "tls_timeout"),
        (says(), "reset"),
        (resets, "reset"),
    ],
)
def test_broken_handshakes(run: Run, handler: Handler, reason: str) -> None:
    """What is no TLS, never finishes or breaks off is told apart."""

    async def story() -> None:
        async with serve(handler) as port:
            sample = await probe(port, DEADLINE_S, tls=True)
        assert (sample.outcome, sample.reason) == (Outcome.BAD, reason)
        assert sample.censored is (reason == "tls_timeout")

    run(story())


async def test_a_real_mail_server(tmp_path: Path) -> None:
    """SMTP with STARTTLS as a mail server does it, and the dialogue that only TLS allows."""
    steps = [{"send": "EHLO me.test\r\n"}, {"expect": "250[ -]AUTH"}, {"send": "QUIT\r\n"}]
    async with smtp_server(tmp_path) as mailbox:
        sample = await probe(
            mailbox.port,
            starttls="smtp",
            ca_file=mailbox.ca_file,
            steps=[*steps, {"expect": "221"}],
        )
        strange = await probe(mailbox.port, starttls="smtp")
    assert (sample.outcome, sample.detail) == (Outcome.GOOD, "")
    assert sample.certificate_expires_at is not None
    assert strange.reason == "tls_untrusted"


async def test_a_real_mail_server_without_tls(tmp_path: Path) -> None:
    """A server that lost its STARTTLS is BAD with a reason that says so."""
    async with smtp_server(tmp_path, starttls=False) as mailbox:
        sample = await probe(mailbox.port, starttls="smtp")
    assert (sample.outcome, sample.reason) == (Outcome.BAD, "starttls")


# --- not even connected -----------------------------------------------------------------------


async def test_a_closed_port(run: Run) -> None:
    """Nobody listens: BAD without a latency."""
    async with serve(says()) as port:
        pass
    sample = await probe(port)
    assert (sample.outcome, sample.reason) == (Outcome.BAD, "connect_refused")
    assert sample.latency_s is None


async def test_denied_addresses_are_not_connected_to() -> None:
    """The policy holds for names too, after they were looked up."""

    async def resolve(_host: str) -> list[str]:
        return ["169.254.169.254"]

    sample = await probe(1, io=make_io(resolve=resolve), address="meta.test:80")
    assert (sample.outcome, sample.reason) == (Outcome.BAD, "address_denied")


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
async def test_our_own_poverty_is_not_theirs(code: int) -> None:
    """Without descriptors or buffers nothing was measured."""

    async def connect(*_args: Any) -> Any:
        raise OSError(code, "none left")

    sample = await probe(1, io=make_io(connect=connect))
    assert (sample.outcome, sample.reason) == (Outcome.UNKNOWN, "local_resource")


def test_virtual_time_is_enough() -> None:
    """With an injected connection nothing needs a real loop, and the deadline is exact."""

    async def connect(*_args: Any) -> Any:
        await asyncio.sleep(3600)

    async def story() -> Sample:
        return await probe(1, 10.0, io=make_io(connect=connect))

    sample = virtual.run(story())
    assert (sample.reason, sample.censored) == ("connect_timeout", True)
    assert sample.latency_s == 10


# --- configuration ----------------------------------------------------------------------------


def test_the_example_loads() -> None:
    """What the documentation shows is a valid probe."""
    config = TcpProbeConfig.model_validate(yaml.safe_load(TcpProbeConfig.example), by_name=False)
    assert (config.kind, config.starttls) == ("tcp", "smtp")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"address": "mail.shop.test"}, "expected host:port"),
        ({"address": "http://mail.shop.test:25"}, "expected host:port"),
        ({"address": "mail.shop.test:0"}, "expected host:port"),
        ({"address": "mail shop:25"}, "expected host:port"),
        ({"tls": True, "starttls": "smtp"}, "exclude each other"),
        ({"starttls": "nntp"}, "Input should be 'smtp'"),
        ({"insecure": True}, "insecure has no effect without tls or starttls"),
        ({"ca_file": "ca.pem"}, "ca_file has no effect"),
        ({"server_name": "shop.test"}, "server_name has no effect"),
        ({"tls": True, "server_name": "shop.test:443"}, "without a port"),
        ({"steps": [{}]}, "either send or expect"),
        ({"steps": [{"send": "a", "expect": "b"}]}, "make two steps"),
        ({"steps": [{"send": ""}]}, "at least 1 character"),
        ({"steps": [{"expect": "(a"}]}, "RE2"),
        ({"steps": [{"expect": "a"}] * 51}, "at most 50 items"),
        ({"max_latency": 5}, "expected a duration"),
        ({"port": 25}, "Extra inputs"),
    ],
)
def test_configuration_errors(fields: dict[str, Any], problem: str) -> None:
    """Each mistake is named before anything runs."""
    with pytest.raises(ValidationError, match=problem.replace("(", r"\(")):
        TcpProbeConfig.model_validate(fields, by_name=False)


async def test_a_bad_ca_file_is_found_before_the_first_probe(tmp_path: Path) -> None:
    """Building the probe names the file that cannot be used."""
    with pytest.raises(ValueError, match="ca_file: cannot load"):
        await probe(1, tls=True, ca_file=str(tmp_path / "none.pem"))


# --- whatever comes ---------------------------------------------------------------------------


@given(data=st.binary(max_size=300))
def test_any_bytes_can_be_shown(data: bytes) -> None:
    """What hostile servers say is short, printable ASCII in a detail."""
    shown = show_bytes(data)
    assert shown.isascii()
    assert shown.isprintable()


@given(pieces=st.lists(st.binary(min_size=1, max_size=20), max_size=8), size=st.integers(1, 30))
def test_pieces_do_not_matter(pieces: list[bytes], size: int) -> None:
    """Taking from a conversation depends on the bytes, never on how the network cut them."""

    async def story() -> tuple[bytes | None, bytes]:
        stream = Stream()
        conversation = Conversation(stream)
        task = asyncio.create_task(
            conversation.take(lambda heard: size if len(heard) >= size else None)
        )
        for piece in pieces:
            stream.data_received(piece)
            await asyncio.sleep(0)
        stream.eof_received()
        return await task, conversation.heard

    whole = b"".join(pieces)
    taken, rest = virtual.run(story())
    if len(whole) >= size:
        assert taken == whole[:size]
        assert whole.startswith(taken + rest)
    else:
        assert (taken, rest) == (None, whole)


def test_contexts_are_shared(ca_file: str) -> None:
    """Two probes that trust the same file read it once."""
    io = make_io()
    first = io.tls.get(ca_file, insecure=False)
    assert first is io.tls.get(ca_file, insecure=False)
    assert first.verify_mode is ssl.CERT_REQUIRED
