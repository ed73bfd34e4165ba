"""How a probe shows who it is, against a real identity provider and a real target."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.fields import Secret
from monitor.model import Deployment, Outcome, Sample, Target
from monitor.probes.base import ProbeIO
from monitor.probes.failure import ProbeError
from monitor.probes.http import HttpProbeConfig
from monitor.probes.http.auth import _token
from monitor.probes.http.probe import HttpProbe
from monitor.probes.reason import Reason
from tests.probes.raw_server import (
    AT,
    Handler,
    loop_connect,
    make_io,
    no_names,
    replies,
    response,
    run_probe,
    serve,
)

Run = Callable[..., Any]
SECRET = "hunter2:%&"


class Clock:
    """Moved by hand, so that tokens get old."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Provider:
    """An OAuth 2.0 token endpoint: a new token each time."""

    def __init__(self, answer: bytes | None = None, expires_in: float | None = 3600) -> None:
        self.answer = answer
        self.expires_in = expires_in
        self.requests: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        self.requests.append(head + await reader.readexactly(length))
        await asyncio.sleep(0.02)
        said: dict[str, Any] = {"access_token": f"token-{len(self.requests)}"}
        if self.expires_in is not None:
            said["expires_in"] = self.expires_in
        writer.write(self.answer or response(json.dumps(said).encode()))


def make(url: str, token_port: int, clock: Callable[[], float], **oauth2: Any) -> HttpProbe:
    client = {
        "token_url": f"http://127.0.0.1:{token_port}/token",
        "client_id": "shop monitor",
        "client_secret": Secret(SECRET),
        **oauth2,
    }
    config = HttpProbeConfig.model_validate({"auth": {"oauth2": client}}, by_name=False)
    deployment = Deployment(name="shop", service="shop", environment="test", url=url)
    target = Target(
        id="t", deployment="shop", environment="test", probe="home", region="here",
        interval_s=15, timeout_s=5,
    )  # fmt: skip
    io = ProbeIO(
        connect=loop_connect,
        resolve=no_names,
        allowed_networks=("127.0.0.0/8",),
        monotonic=clock,
    )
    return config.build(target, deployment, url, io)


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        (
            {"basic": {"username": "caf\u00e9", "password": {"env": "PASSWORD"}}},
            b"Basic " + base64.b64encode("caf\u00e9:env-PASSWORD".encode()),
        ),
        ({"bearer": {"env": "TOKEN"}}, b"Bearer env-TOKEN"),
    ],
)
async def test_fixed_credentials(auth: dict[str, Any], header: bytes) -> None:
    """They are sent to the deployment's own origin, and nowhere else."""
    home: list[bytes] = []
    away: list[bytes] = []
    async with serve(replies(response(), seen=away)) as foreign:
        location = f"Location: http://127.0.0.1:{foreign}/"
        async with serve(replies(response(b"", "302 Go", location), seen=home)) as port:
            sample = await run_probe(f"http://127.0.0.1:{port}", auth=auth)
    assert sample.outcome is Outcome.GOOD
    assert b"\r\nAuthorization: " + header + b"\r\n" in home[0]
    assert b"Authorization" not in away[0]


@pytest.mark.parametrize(
    "auth",
    [
        {},
        {"bearer": None},
        {"bearer": {"env": "A"}, "basic": {"username": "a", "password": {"env": "B"}}},
        {"bearer": "plain text"},
        {"basic": {"username": "a:b", "password": {"env": "B"}}},
        {"oauth2": {"token_url": "ftp://id", "client_id": "a", "client_secret": {"env": "B"}}},
        {"bearer": {"env": "LINE\nBREAK"}},
    ],
)
def test_impossible_credentials(auth: dict[str, Any]) -> None:
    """Exactly one way, in a form that can be sent; no secret is repeated."""
    with pytest.raises(ValidationError) as caught:
        HttpProbeConfig.model_validate(
            {"auth": auth}, by_name=False, context={"secrets": lambda _how, name: f"hunter2{name}"}
        )
    assert "hunter2" not in str(caught.value)


def test_one_header_from_two_places() -> None:
    """Auth and a header of the same name would contradict each other."""
    fields = {"auth": {"bearer": Secret("a")}, "headers": {"authorization": "b"}}
    with pytest.raises(ValidationError, match="remove it from headers"):
        HttpProbeConfig.model_validate(fields, by_name=False)


def test_a_token_is_fetched_once_and_kept(run: Run) -> None:
    """Client credentials go to the provider as RFC 6749 says; its time is not the target's."""
    provider, seen, clock = Provider(), list[bytes](), Clock()

    async def story() -> list[Sample]:
        async with serve(provider) as token_port, serve(replies(response(), seen=seen)) as port:
            probe = make(f"http://127.0.0.1:{port}", token_port, clock, scope="read write")
            together = await asyncio.gather(probe(AT, 5.0), probe(AT, 5.0))
            clock.now += 3000
            return [*together, await probe(AT, 5.0)]

    samples = run(story())
    assert {each.outcome for each in samples} == {Outcome.GOOD}
    assert all(b"\r\nAuthorization: Bearer token-1\r\n" in head for head in seen)
    assert len(provider.requests) == 1
    head, _, form = provider.requests[0].partition(b"\r\n\r\n")
    assert form == b"grant_type=client_credentials&scope=read+write"
    identity = base64.b64encode(b"shop+monitor:hunter2%3A%25%26")
    assert b"\r\nAuthorization: Basic " + identity + b"\r\n" in head
    assert [name for name, _ in samples[0].phases] == ["connect", "send", "wait", "transfer"]


@pytest.mark.parametrize(
    ("expires_in", "age_s", "tokens"),
    [(3600, 3569, 1), (3600, 3571, 2), (60, 53, 1), (60, 55, 2), (None, 269, 1), (None, 271, 2)],
)
def test_a_token_is_renewed_before_it_ends(
    run: Run, expires_in: float | None, age_s: float, tokens: int
) -> None:
    """Half a minute early, or a tenth of a short life."""
    provider, clock = Provider(expires_in=expires_in), Clock()

    async def story() -> None:
        async with serve(provider) as token_port, serve(replies(response())) as port:
            probe = make(f"http://127.0.0.1:{port}", token_port, clock)
            await probe(AT, 5.0)
            clock.now += age_s
            await probe(AT, 5.0)

    run(story())
    assert len(provider.requests) == tokens


def test_a_token_that_is_refused_is_replaced(run: Run) -> None:
    """A 401 is the target's answer, and the next probe comes with a new token."""
    provider, seen, clock = Provider(), list[bytes](), Clock()

    async def story() -> list[Sample]:
        refusal = replies(response(b"", "401 Unauthorized"), seen=seen)
        async with serve(provider) as token_port, serve(refusal) as port:
            probe = make(f"http://127.0.0.1:{port}", token_port, clock)
            return [await probe(AT, 5.0), await probe(AT, 5.0)]

    samples = run(story())
    assert [each.reason for each in samples] == ["status", "status"]
    assert [b"token-1" in seen[0], b"token-2" in seen[1]] == [True, True]


@pytest.mark.parametrize(
    "answer",
    [
        response(b"", "400 Bad Request"),
        response(b"", "302 Found", "Location: http://127.0.0.1/"),
        response(b"no JSON"),
        response(b"[]"),
        response(b'{"token": "hunter2"}'),
        response(b'{"access_token": 5}'),
        response(b'{"access_token": "hunter2\\r\\nX: y"}'),
        response(b'{"access_token": "hunter2", "expires_in": "soon"}'),
        response(b'{"access_token": "hunter2", "expires_in": 1%b}' % (b"0" * 400)),
        b"garbage",
    ],
)
def test_no_token_says_nothing_about_the_target(run: Run, answer: bytes) -> None:
    """A provider that does not do its part makes the probe UNKNOWN, and is asked again."""
    provider, seen, clock = Provider(answer), list[bytes](), Clock()

    async def story() -> Sample:
        async with serve(provider) as token_port, serve(replies(response(), seen=seen)) as port:
            probe = make(f"http://127.0.0.1:{port}", token_port, clock)
            await probe(AT, 5.0)
            return await probe(AT, 5.0)

    sample = run(story())
    assert (sample.outcome, sample.reason, sample.latency_s) == (Outcome.UNKNOWN, "auth", None)
    assert sample.detail.startswith("no token")
    assert "hunter2" not in sample.detail
    assert (len(provider.requests), seen) == (2, [])


@given(
    st.binary(max_size=80)
    | st.fixed_dictionaries(
        {"access_token": st.text(max_size=10) | st.integers() | st.none()},
        optional={"expires_in": st.integers(-(10**400), 10**400) | st.floats() | st.text()},
    ).map(lambda document: json.dumps(document).encode())
)
def test_no_answer_breaks_the_reading_of_a_token(body: bytes) -> None:
    """Whatever a provider sends is one line of a header, good for a while, or no token."""
    failure = None
    try:
        token, lifetime_s = _token(body, "id.test")
    except ProbeError as error:
        failure = error
    if failure is None:
        assert not set(token) & set(b"\r\n\0")
        assert lifetime_s >= 0
    else:
        assert (failure.reason, failure.detail) == (
            Reason.AUTH,
            "no token in the answer of id.test",
        )


def test_a_hanging_provider_is_not_the_targets_failure(run: Run) -> None:
    """The probe's deadline ends its wait, but not the request that the next probe waits for."""
    go = asyncio.Event()
    asked: list[int] = []

    async def hanging(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.append(1)
        await go.wait()
        writer.write(response(b'{"access_token": "late"}'))

    async def story() -> list[Sample]:
        async with serve(hanging) as token_port, serve(replies(response())) as port:
            probe = make(f"http://127.0.0.1:{port}", token_port, time.monotonic)
            first = await probe(AT, 0.05)
            go.set()
            return [first, await probe(AT, 5.0)]

    first, second = run(story())
    assert (first.outcome, first.reason) == (Outcome.UNKNOWN, "auth")
    assert "waiting for a token" in first.detail
    assert second.outcome is Outcome.GOOD
    assert len(asked) == 1


# --- client certificates -----------------------------------------------------------------------


async def peer_name(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    peer = writer.get_extra_info("ssl_object").getpeercert()
    writer.write(response(b"known" if peer else b"stranger"))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def files(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder: Path = tmp_path_factory.mktemp("client")
    client = authority.issue_cert("prober@shop.test")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    client.private_key_pem.write_to_path(folder / "key.pem")
    client.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    return {name: str(folder / f"{name}.pem") for name in ("ca", "cert", "key")}


def demanding(authority: trustme.CA) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.configure_trust(tls)
    tls.verify_mode = ssl.CERT_OPTIONAL
    return tls


def test_a_client_certificate_is_shown_at_home_only(
    run: Run, authority: trustme.CA, files: dict[str, str]
) -> None:
    """The target asks for it and gets it; where a redirect leads to, nobody does."""
    certificate = {"cert_file": files["cert"], "key_file": files["key"]}

    async def story() -> tuple[Sample, Sample]:
        tls = demanding(authority)
        async with serve(peer_name, tls) as port:
            location = f"Location: https://127.0.0.1:{port}/"
            handler: Handler = replies(response(b"", "302 Go", location))
            async with serve(handler, tls) as elsewhere:
                fields: dict[str, Any] = {
                    "ca_file": files["ca"],
                    "client_certificate": certificate,
                    "body_contains": "known",
                }
                return (
                    await run_probe(f"https://127.0.0.1:{port}", **fields),
                    await run_probe(
                        f"https://127.0.0.1:{elsewhere}", **{**fields, "body_contains": "stranger"}
                    ),
                )

    assert [each.outcome for each in run(story())] == [Outcome.GOOD, Outcome.GOOD]


@pytest.mark.parametrize("broken", ["missing", "no PEM", "another key", "encrypted"])
async def test_a_certificate_that_cannot_be_used(
    tmp_path: Path, files: dict[str, str], broken: str
) -> None:
    """Building the probe names the files, before any measurement."""
    key = tmp_path / "key.pem"
    if broken == "no PEM":
        key.write_text("hello")
    elif broken == "another key":
        trustme.CA().issue_cert("a@b").private_key_pem.write_to_path(key)
    elif broken == "encrypted":
        key.write_text(
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\naaaa\n-----END ENCRYPTED PRIVATE KEY-----\n"
        )
    certificate = {"cert_file": files["cert"], "key_file": str(key)}
    with pytest.raises(ValueError, match=r"client_certificate: cannot load .*key\.pem"):
        await run_probe("https://127.0.0.1", io=make_io(), client_certificate=certificate)
