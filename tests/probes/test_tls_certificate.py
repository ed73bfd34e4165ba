"""The `tls` kind against real servers with every sort of certificate, and against hostile ones."""

from __future__ import annotations

import asyncio
import ssl
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

import pytest
import trustme
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.model import Outcome, Sample
from monitor.probes.chain import look
from monitor.probes.failure import ProbeError
from monitor.probes.reason import Reason
from monitor.probes.stream import Stream
from monitor.probes.tls_certificate import TlsProbeConfig
from monitor.probes.witness import Handshake, Witness, certificates
from tests.probes.peers import CONSENTS, consents, probe_peer, says, server_context, shakes_hands
from tests.probes.raw_server import Handler, make_io, reset, serve
from tests.support import virtual
from tests.support.smtp import smtp_server

Run = Callable[..., Any]
DEADLINE_S = 0.25
DAY_S = 86400.0
VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


async def probe(port: int, deadline_s: float = 5.0, **fields: Any) -> Sample:
    return await probe_peer(TlsProbeConfig, port, deadline_s, **{"at": time.time(), **fields})


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(organization_name="Private Authority")


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA) -> Iterator[str]:
    with authority.cert_pem.tempfile() as path:
        yield path


def days_from_now(days: float) -> datetime:
    return datetime.fromtimestamp(int(time.time() + days * DAY_S), UTC)


def lasting(authority: trustme.CA, days: float, name: str = "127.0.0.1") -> ssl.SSLContext:
    return server_context(
        authority, name, not_before=days_from_now(-90), not_after=days_from_now(days)
    )


# --- what is reported -------------------------------------------------------------------------


@pytest.mark.parametrize("version", sorted(VERSIONS))
def test_a_good_certificate(run: Run, authority: trustme.CA, ca_file: str, version: str) -> None:
    """The days left are reported from either form of the Certificate message."""
    tls = lasting(authority, 30)
    tls.minimum_version = tls.maximum_version = VERSIONS[version]

    async def story() -> None:
        async with serve(says(hold=True), tls) as port:
            sample = await probe(port, ca_file=ca_file)
        assert (sample.outcome, sample.detail) == (Outcome.GOOD, "")
        assert [name for name, _ in sample.phases] == ["connect", "tls"]
        assert sample.latency_s == pytest.approx(sum(seconds for _, seconds in sample.phases))
        assert sample.certificate_expires_at == pytest.approx(time.time() + 30 * DAY_S, abs=60)
        assert dict(sample.values) == {
            "certificate_days_left": pytest.approx(30, abs=0.01),
            "presented_chain_days_left": pytest.approx(30, abs=0.01),
            "verified_chain_days_left": pytest.approx(30, abs=0.01),
        }

    run(story())


@pytest.mark.parametrize("version", sorted(VERSIONS))
@pytest.mark.parametrize(
    ("days", "name", "reason"),
    [
        (-3, "127.0.0.1", "tls_expired"),
        (30, "elsewhere.test", "tls_name"),
        (30, "127.0.0.2", "tls_name"),
        (30, "127.0.0.1", "tls_untrusted"),
    ],
)
def test_a_bad_certificate_still_tells_its_days(
    run: Run,
    authority: trustme.CA,
    ca_file: str,
    *,
    version: str,
    days: float,
    name: str,
    reason: str,
) -> None:
    """Refused certificates were read before; days are negative after expiry, and none verified."""
    tls = lasting(trustme.CA() if reason == "tls_untrusted" else authority, days, name)
    tls.minimum_version = tls.maximum_version = VERSIONS[version]

    async def story() -> None:
        async with serve(says(hold=True), tls) as port:
            refused = await probe(port, ca_file=ca_file)
            insecure = await probe(port, insecure=True)
        assert (refused.outcome, refused.reason) == (Outcome.BAD, reason)
        assert insecure.outcome is Outcome.GOOD
        for sample in (refused, insecure):
            assert dict(sample.values) == {
                "certificate_days_left": pytest.approx(days, abs=0.01),
                "presented_chain_days_left": pytest.approx(days, abs=0.01),
            }
            assert sample.certificate_expires_at == pytest.approx(
                time.time() + days * DAY_S, abs=60
            )

    run(story())


@dataclass(frozen=True, slots=True)
class Party:
    """A name and its key, whatever number of certificates it gets."""

    name: x509.Name
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def called(cls, name: str) -> Self:
        attribute = x509.NameAttribute(x509.NameOID.COMMON_NAME, name)
        return cls(x509.Name([attribute]), ec.generate_private_key(ec.SECP256R1()))

    def signs(self, subject: Party, days: float, *extensions: x509.ExtensionType) -> bytes:
        """Return a certificate (PEM) that ends in `days`."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject.name)
            .issuer_name(self.name)
            .public_key(subject.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(days_from_now(-90))
            .not_valid_after(days_from_now(days))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


@dataclass(frozen=True, slots=True)
class Site:
    """A server whose leaf a root has signed, and the root's certificate in a file."""

    tls: ssl.SSLContext
    ca_file: str


def build_site(folder: Path, *, leaf: float, root: float, old_root: float) -> Site:
    """Return a site whose certificates last so many days; the old root is shown, not trusted."""
    authority, shop = Party.called("Root"), Party.called("shop")
    signing = x509.BasicConstraints(ca=True, path_length=None)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    chain = authority.signs(shop, leaf, address) + authority.signs(authority, old_root, signing)
    (folder / "server.pem").write_bytes(shop.key_pem() + chain)
    (folder / "root.pem").write_bytes(authority.signs(authority, root, signing))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "server.pem")
    return Site(tls, str(folder / "root.pem"))


@pytest.mark.parametrize(
    ("days", "effective"),
    [
        pytest.param({"leaf": 2, "root": 3, "old_root": 1}, 2, id="old-root-shown"),
        pytest.param({"leaf": 9, "root": 3, "old_root": 5}, 3, id="root-ends-first"),
    ],
)
def test_presented_and_verified_chains_are_told_apart(
    run: Run, tmp_path: Path, days: dict[str, float], effective: float
) -> None:
    """What is shown but not needed has its own figure; what clients rest on is what is judged."""
    site = build_site(tmp_path, **days)

    async def story() -> None:
        async with serve(says(hold=True), site.tls) as port:
            sample = await probe(port, ca_file=site.ca_file, min_days_left=effective - 0.5)
            strict = await probe(port, ca_file=site.ca_file, min_days_left=effective + 0.5)
        assert (sample.outcome, sample.detail) == (Outcome.GOOD, "")
        assert dict(sample.values) == {
            "certificate_days_left": pytest.approx(effective, abs=0.01),
            "presented_chain_days_left": pytest.approx(
                min(days["leaf"], days["old_root"]), abs=0.01
            ),
            "verified_chain_days_left": pytest.approx(effective, abs=0.01),
        }
        assert strict.reason == "expiring"

    run(story())


# --- what is asserted -------------------------------------------------------------------------

ASSERTIONS: list[Any] = [
    ({"min_days_left": 9.9}, "", ""),
    ({"min_days_left": 10.1}, "expiring", "certificate_days_left is 10.0, expected 10.1 or more"),
    ({"names": ["shop.test", "a.eu.shop.test", "*.eu.shop.test", "127.0.0.1"]}, "", ""),
    ({"names": ["shop.test", "www.shop.test"]}, "tls_name", "not for www.shop.test"),
    ({"names": ["10.0.0.1"]}, "tls_name", "not for 10.0.0.1"),
    ({"issuer_matches": "O=Private Authority$"}, "", ""),
    ({"issuer_matches": "Let's Encrypt"}, "body", "O=Private Authority"),
    ({"min_version": "TLSv1.2"}, "", ""),
    ({"min_version": "TLSv1.3"}, "tls_protocol", "settled for TLSv1.2, expected TLSv1.3"),
    ({"version": "TLSv1.2"}, "", ""),
    ({"version": "TLSv1.3"}, "tls_protocol", "handshake"),
    ({"max_latency": "0.001ms"}, "slow", "allowed 0.001 ms"),
]


@pytest.mark.parametrize(("fields", "reason", "detail"), ASSERTIONS)
def test_assertions(
    run: Run, authority: trustme.CA, ca_file: str, *, fields: Any, reason: str, detail: str
) -> None:
    """Each is judged after the handshake, against a server of TLS 1.2 with 10 days left."""
    tls = server_context(
        authority,
        "127.0.0.1",
        "shop.test",
        "*.eu.shop.test",
        not_before=days_from_now(-1),
        not_after=days_from_now(10),
    )
    tls.maximum_version = ssl.TLSVersion.TLSv1_2

    async def story() -> None:
        async with serve(shakes_hands(tls)) as port:
            sample = await probe(port, ca_file=ca_file, **fields)
        assert sample.reason == reason
        assert sample.outcome is (Outcome.BAD if reason else Outcome.GOOD)
        assert detail in sample.detail

    run(story())


def test_the_name_that_is_asked_for(run: Run, authority: trustme.CA, ca_file: str) -> None:
    """`server_name` goes into SNI and is what the certificate must be for."""
    tls = lasting(authority, 9, "shop.test")
    names: list[str | None] = []
    tls.sni_callback = lambda _tls, name, _context: names.append(name)

    async def story() -> None:
        async with serve(says(hold=True), tls) as port:
            sample = await probe(port, ca_file=ca_file, server_name="Shop.test")
        assert (sample.outcome, names) == (Outcome.GOOD, ["shop.test"])

    run(story())


# --- what must be refused ---------------------------------------------------------------------


def legacy(authority: trustme.CA) -> ssl.SSLContext:
    """A server that still accepts TLS 1.0."""
    tls = lasting(authority, 9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tls.minimum_version = ssl.TLSVersion.TLSv1
    tls.set_ciphers("DEFAULT:@SECLEVEL=0")
    return tls


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1.1"])
def test_an_old_version_must_be_refused(
    run: Run, authority: trustme.CA, ca_file: str, version: str
) -> None:
    """GOOD when the server sends an alert, BAD when it shakes hands; only that version is tried."""

    async def story() -> None:
        fields = {"ca_file": ca_file, "version": version, "must_fail": True}
        async with serve(shakes_hands(lasting(authority, 9))) as port:
            modern = await probe(port, **fields)
            plain = await probe(port, ca_file=ca_file, version=version)
        async with serve(shakes_hands(legacy(authority))) as port:
            old = await probe(port, **fields)
            strange = await probe(port, version=version, must_fail=True)
        assert (modern.outcome, modern.reason, modern.detail) == (Outcome.GOOD, "", "")
        assert modern.latency_s is not None
        assert (plain.outcome, plain.reason) == (Outcome.BAD, "tls_protocol")
        assert (old.outcome, old.reason) == (Outcome.BAD, "not_refused")
        assert strange.reason == "not_refused", "an untrusted certificate refuses no version"

    run(story())


@pytest.mark.parametrize("reason", ["tls_expired", "tls_name", "tls_untrusted", ""])
def test_a_bad_chain_must_be_refused(
    run: Run, authority: trustme.CA, ca_file: str, reason: str
) -> None:
    """GOOD when our own verification refuses; the days are reported all the same."""
    name = "elsewhere.test" if reason == "tls_name" else "127.0.0.1"
    issuer = trustme.CA() if reason == "tls_untrusted" else authority
    tls = lasting(issuer, -2 if reason == "tls_expired" else 2, name)

    async def story() -> None:
        async with serve(says(hold=True), tls) as port:
            sample = await probe(port, ca_file=ca_file, must_fail=True)
        assert sample.reason == ("" if reason else "not_refused")
        assert sample.outcome is (Outcome.GOOD if reason else Outcome.BAD)
        assert abs(dict(sample.values)["certificate_days_left"]) == pytest.approx(2, abs=0.01)

    run(story())


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.close()


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    reset(writer)


BROKEN: list[Any] = [
    pytest.param(says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "tls_protocol", False, id="http"),
    pytest.param(
        says(b"\x16\x03\x01\x00\x05hello", hold=True), "tls_protocol", False, id="garbage"
    ),
    pytest.param(says(b"\x15\x03\x01\x00\x02\x02\x46"), "tls_protocol", True, id="alert"),
    pytest.param(says(hold=True), "tls_timeout", False, id="hangs"),
    pytest.param(says(b"\x16\x03\x03\x40\x00", hold=True), "tls_timeout", False, id="half"),
    pytest.param(hangs_up, "reset", True, id="hangs-up"),
    pytest.param(resets, "reset", True, id="resets"),
]


@pytest.mark.parametrize(("handler", "reason", "is_refusal"), BROKEN)
def test_broken_handshakes(run: Run, handler: Handler, reason: str, *, is_refusal: bool) -> None:
    """Told apart as failures; only an alert and a hang-up count as a refusal that was wanted."""

    async def story() -> None:
        async with serve(handler) as port:
            sample = await probe(port, DEADLINE_S)
            wanted = await probe(port, DEADLINE_S, must_fail=True)
        assert (sample.outcome, sample.reason) == (Outcome.BAD, reason)
        assert sample.censored is (reason == "tls_timeout")
        assert sample.values == ()
        assert wanted.outcome is (Outcome.GOOD if is_refusal else Outcome.BAD)
        assert wanted.reason == ("" if is_refusal else reason)

    run(story())


async def test_a_closed_port_refuses_nothing() -> None:
    """Where nobody listens, no version was refused."""
    async with serve(says()) as port:
        pass
    sample = await probe(port, must_fail=True)
    assert (sample.outcome, sample.reason) == (Outcome.BAD, "connect_refused")


def prefed(data: bytes, context: ssl.SSLContext) -> tuple[Handshake, ProbeError | None]:
    """Return a handshake and its failure with a server that says `data` and hangs up."""

    class Wire(asyncio.Transport):
        def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
            pass

    stream = Stream()
    stream.connection_made(Wire())
    stream.data_received(data)
    stream.eof_received()
    handshake = Handshake(stream, "shop.test", context)
    try:
        handshake.run().send(None)
    except ProbeError as error:
        return handshake, error
    except StopIteration:
        return handshake, None
    pytest.fail("the handshake waits although the server has hung up")


def test_what_our_own_library_refuses_is_no_refusal_of_theirs() -> None:
    """Without a version to offer nothing is sent, so nothing was learnt: UNKNOWN."""
    context = ssl.create_default_context()
    Witness("TLSv1.2")(context)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    _, failure = prefed(b"", context)
    assert failure is not None
    assert failure.reason is Reason.PROBER_ERROR
    assert failure.reason.outcome is Outcome.UNKNOWN


# --- STARTTLS ---------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", sorted(CONSENTS))
def test_after_starttls(run: Run, authority: trustme.CA, protocol: str) -> None:
    """An expired certificate behind STARTTLS tells its days like any other."""
    greeting, exchanges = CONSENTS[protocol]

    async def story() -> None:
        async with serve(consents(greeting, *exchanges, tls=lasting(authority, -1))) as port:
            sample = await probe(port, starttls=protocol, insecure=True)
        assert (sample.outcome, sample.detail) == (Outcome.GOOD, "")
        assert [name for name, _ in sample.phases] == ["connect", "starttls", "tls"]
        assert dict(sample.values)["certificate_days_left"] == pytest.approx(-1, abs=0.01)

    run(story())


async def test_a_real_mail_server(tmp_path: Path) -> None:
    """SMTP with STARTTLS as a mail server does it."""
    async with smtp_server(tmp_path) as mailbox:
        sample = await probe(mailbox.port, starttls="smtp", ca_file=mailbox.ca_file)
    assert (sample.outcome, sample.detail) == (Outcome.GOOD, "")
    assert dict(sample.values)["verified_chain_days_left"] > 0


# --- configuration ----------------------------------------------------------------------------


def test_the_example_loads() -> None:
    """What the documentation shows is a valid probe."""
    config = TlsProbeConfig.model_validate(yaml.safe_load(TlsProbeConfig.example), by_name=False)
    assert (config.kind, config.min_days_left) == ("tls", 14)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"address": "shop.test"}, "expected host:port"),
        ({"min_days_left": -1}, "greater than or equal to 0"),
        ({"min_days_left": "14d"}, "valid number"),
        ({"names": ["https://shop.test"]}, "expected a host name"),
        ({"names": ["*.*.shop.test"]}, "expected host"),
        ({"issuer_matches": "(a"}, "RE2"),
        ({"min_version": "TLSv1"}, "Input should be 'TLSv1.2' or 'TLSv1.3'"),
        ({"version": "SSLv3"}, "Input should be 'TLSv1'"),
        ({"version": "TLSv1.2", "min_version": "TLSv1.3"}, "below min_version"),
        ({"must_fail": True, "names": ["shop.test"]}, "names is never judged"),
        ({"must_fail": True, "min_days_left": 3}, "min_days_left is never judged"),
        ({"tls": True}, "Extra inputs"),
    ],
)
def test_configuration_errors(fields: dict[str, Any], problem: str) -> None:
    """Each mistake is named before anything runs."""
    with pytest.raises(ValidationError, match=problem.replace("(", r"\(")):
        TlsProbeConfig.model_validate(fields, by_name=False)


# --- whatever comes ---------------------------------------------------------------------------


def test_virtual_time_is_enough() -> None:
    """With an injected connection the deadline is exact, also within a handshake."""

    class Wire(asyncio.Transport):
        def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
            assert data[:1] == b"\x16"

        def abort(self) -> None:
            pass

    async def connect(factory: Any, *_where: Any) -> Any:
        await asyncio.sleep(1)
        factory().connection_made(Wire())

    async def story() -> Sample:
        return await probe(1, 10.0, io=make_io(connect=connect), insecure=True)

    sample = virtual.run(story())
    assert (sample.reason, sample.latency_s) == ("tls_timeout", 10)


@given(data=st.binary(max_size=400), is_framed=st.booleans())
def test_no_bytes_break_a_handshake(data: bytes, *, is_framed: bool) -> None:
    """Whatever a server answers to our hello is a failure, never an exception of another kind."""
    context = CONTEXTS["insecure"]
    frame = b"\x16\x03\x03" + len(data).to_bytes(2, "big") + data
    handshake, failure = prefed(frame if is_framed else data, context)
    assert failure is not None
    assert failure.reason in {Reason.TLS_PROTOCOL, Reason.RESET}
    assert handshake.tls.presented == ()


@given(message=st.binary(max_size=100), with_extensions=st.booleans())
def test_no_bytes_break_a_certificate_message(message: bytes, *, with_extensions: bool) -> None:
    """A malformed chain gives what can be cut out of it, all of it from the message."""
    found = certificates(message, with_extensions=with_extensions)
    assert sum(map(len, found)) <= len(message)
    assert look(found, ()).verified_until is None


@given(chain=st.lists(st.binary(max_size=20), max_size=4), with_extensions=st.booleans())
def test_a_chain_comes_back_as_it_was_sent(chain: list[bytes], *, with_extensions: bool) -> None:
    """Both forms of the Certificate message are taken apart without loss."""
    after = b"\x00\x03ext" if with_extensions else b""
    entries = b"".join(len(der).to_bytes(3, "big") + der + after for der in chain)
    message = len(entries).to_bytes(3, "big") + entries
    if with_extensions:
        message = b"\x02ab" + message
    assert certificates(message, with_extensions=with_extensions) == tuple(chain)


def _insecure() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    Witness()(context)
    return context


CONTEXTS = {"insecure": _insecure()}
