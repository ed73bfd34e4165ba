"""The dialogues before TLS: consent, refusal, nonsense, and bytes that were smuggled in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, get_args

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from monitor.model import Outcome
from monitor.probes.conversation import MAX_INPUT_BYTES
from monitor.probes.failure import ProbeError
from monitor.probes.reason import Reason
from monitor.probes.starttls import Protocol, start_tls
from monitor.probes.stream import Stream
from monitor.probes.tcp import TcpProbeConfig
from tests.probes.peers import CONSENTS, EHLO, OFFER, consents, probe_peer, says, server_context
from tests.probes.raw_server import serve

Run = Callable[..., Any]
DEADLINE_S = 0.25
PING = [{"send": "PING"}, {"expect": "^PONG$"}]


class Wire(asyncio.Transport):
    """Takes in what is written and never answers by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.written += bytes(data)

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def ask(protocol: Protocol, heard: bytes) -> ProbeError | None:
    """Return how a dialogue ends with a server that says all of `heard` at once and hangs up."""
    stream = Stream()
    stream.connection_made(Wire())
    stream.data_received(heard)
    stream.eof_received()
    try:
        start_tls(protocol, stream).send(None)
    except StopIteration:
        return None
    except ProbeError as error:
        return error
    pytest.fail("the dialogue waits although the server has hung up")


def test_every_protocol_has_a_server_here() -> None:
    """A protocol that is added gets its stand-in, or this fails."""
    assert set(CONSENTS) == set(get_args(Protocol))


@pytest.mark.parametrize("protocol", sorted(CONSENTS))
def test_a_server_that_agrees_is_spoken_to_over_tls(run: Run, protocol: str) -> None:
    """The certificate is checked after the consent, and the dialogue goes on in secret."""
    authority = trustme.CA()
    greeting, exchanges = CONSENTS[protocol]

    async def story(tmp_ca: str) -> None:
        tls = server_context(authority, "127.0.0.1")
        async with serve(consents(greeting, *exchanges, tls=tls)) as port:
            sample = await probe_peer(
                TcpProbeConfig, port, starttls=protocol, ca_file=tmp_ca, steps=PING
            )
            strange = await probe_peer(TcpProbeConfig, port, starttls=protocol, steps=PING)
        assert (sample.outcome, sample.detail) == (Outcome.GOOD, "")
        assert [name for name, _ in sample.phases] == ["connect", "starttls", "tls", "dialogue"]
        assert sample.certificate_expires_at is not None
        assert strange.reason == "tls_untrusted"

    with authority.cert_pem.tempfile() as ca_file:
        run(story(ca_file))


@pytest.mark.parametrize("protocol", sorted(CONSENTS))
def test_a_consent_in_any_pieces_is_a_consent(protocol: Protocol) -> None:
    """Whether all of it comes at once is up to the network, and no byte is left over."""
    greeting, exchanges = CONSENTS[protocol]
    heard = greeting + b"".join(answer for _, answer in exchanges)
    assert ask(protocol, heard) is None


@pytest.mark.parametrize("protocol", sorted(CONSENTS))
def test_words_after_the_consent_are_an_attack(protocol: Protocol) -> None:
    """Bytes sent along with the consent, in the clear, must not pass for the secured dialogue."""
    greeting, exchanges = CONSENTS[protocol]
    heard = greeting + b"".join(answer for _, answer in exchanges)
    failure = ask(protocol, heard + b"250 smuggled\r\n")
    assert failure is not None
    assert failure.reason is Reason.PROTOCOL
    assert "smuggled" in failure.detail


@pytest.mark.parametrize(
    ("protocol", "heard"),
    [
        pytest.param("smtp", b"554 no service\r\n", id="smtp-greeting"),
        pytest.param("smtp", b"220 hi\r\n500 what?\r\n", id="smtp-no-ehlo"),
        pytest.param("smtp", b"220 hi\r\n250-a\r\n250 SIZE\r\n", id="smtp-not-offered"),
        pytest.param("smtp", b"220 hi\r\n250 XSTARTTLS\r\n", id="smtp-something-like-it"),
        pytest.param("smtp", b"220 hi\r\n" + OFFER + b"454 not now\r\n", id="smtp-refused"),
        pytest.param("imap", b"* BYE go away\r\n", id="imap-greeting"),
        pytest.param("imap", b"* OK\r\nm1 NO\r\n", id="imap-no"),
        pytest.param("imap", b"* OK\r\n* OK by the way\r\nm1 BAD what?\r\n", id="imap-bad"),
        pytest.param("pop3", b"-ERR busy\r\n", id="pop3-greeting"),
        pytest.param("pop3", b"+OK\r\n-ERR no\r\n", id="pop3-refused"),
        pytest.param("ftp", b"421 too many\r\n", id="ftp-greeting"),
        pytest.param("ftp", b"220 hi\r\n534 no\r\n", id="ftp-refused"),
        pytest.param("postgresql", b"N", id="postgresql-N"),
    ],
)
def test_a_refusal_is_its_own_reason(protocol: Protocol, heard: bytes) -> None:
    """A server that speaks the protocol and does not want TLS is not a broken server."""
    failure = ask(protocol, heard)
    assert failure is not None
    assert failure.reason is Reason.STARTTLS
    assert failure.detail.isprintable()


@pytest.mark.parametrize(
    ("protocol", "heard", "reason"),
    [
        *((protocol, b"", Reason.TRUNCATED) for protocol in CONSENTS),
        *((protocol, b"SSH-2.0-x\r\n", Reason.PROTOCOL) for protocol in CONSENTS),
        *((protocol, b"\x15\x03\x01\x00\x02\x02\x46", Reason.PROTOCOL) for protocol in CONSENTS),
        ("smtp", b"220", Reason.PROTOCOL),
        ("smtp", b"220 hi\r\n", Reason.TRUNCATED),
        ("smtp", b"220-hi\r\n" * MAX_INPUT_BYTES, Reason.PROTOCOL),
        ("imap", b"* OK\r\n" * MAX_INPUT_BYTES, Reason.PROTOCOL),
        ("ftp", b"220-hi\r\n" + b"x" * MAX_INPUT_BYTES, Reason.PROTOCOL),
        ("postgresql", b"E\x00\x00\x00\x09SFATAL", Reason.PROTOCOL),
    ],
)
def test_what_is_no_such_server(protocol: Protocol, heard: bytes, reason: Reason) -> None:
    """Another protocol, an endless one and a hang-up are told from a refusal."""
    failure = ask(protocol, heard)
    assert failure is not None
    assert failure.reason is reason


@given(protocol=st.sampled_from(sorted(CONSENTS)), heard=st.binary(max_size=200))
def test_no_bytes_break_a_dialogue(protocol: Protocol, heard: bytes) -> None:
    """Whatever a server says ends in consent or in a failure with a printable detail."""
    failure = ask(protocol, heard)
    assert failure is None or (failure.detail.isprintable() and failure.detail.isascii())


@given(
    protocol=st.sampled_from(sorted(CONSENTS)),
    lines=st.lists(
        st.sampled_from(
            [b"220 a", b"220-a", b"250 STARTTLS", b"234 x", b"* OK", b"m1 OK", b"m1 NO", b"+OK"]
        )
    ),
)
def test_no_mixture_of_right_words_breaks_a_dialogue(
    protocol: Protocol, lines: list[bytes]
) -> None:
    """Replies in the wrong order are refused as well."""
    heard = b"".join(line + b"\r\n" for line in lines)
    failure = ask(protocol, heard)
    assert failure is None or failure.reason in {
        Reason.STARTTLS,
        Reason.PROTOCOL,
        Reason.TRUNCATED,
    }


@pytest.mark.parametrize("protocol", sorted(CONSENTS))
def test_a_silent_server_is_timed_in_its_phase(run: Run, protocol: str) -> None:
    """Waiting for consent is no TLS timeout, and the detail says how far it came."""

    async def story() -> None:
        async with serve(says(hold=True)) as port:
            sample = await probe_peer(TcpProbeConfig, port, DEADLINE_S, starttls=protocol)
        assert (sample.outcome, sample.reason) == (Outcome.BAD, "timeout")
        assert sample.censored
        assert "did not get as far as TLS" in sample.detail
        assert dict(sample.phases)["starttls"] > DEADLINE_S / 2

    run(story())


def test_what_is_said_is_what_servers_expect() -> None:
    """The words go out in the order of the protocol, each only after the answer before it."""
    stream, wire = Stream(), Wire()
    stream.connection_made(wire)
    stream.data_received(b"220 hi\r\n")
    dialogue = start_tls("smtp", stream)

    async def story() -> None:
        task = asyncio.create_task(dialogue)
        await asyncio.sleep(0)
        assert wire.written == EHLO
        stream.data_received(OFFER)
        for _ in range(3):
            await asyncio.sleep(0)
        assert wire.written == EHLO + b"STARTTLS\r\n"
        stream.data_received(b"220 go ahead\r\n")
        await task

    asyncio.run(story())
