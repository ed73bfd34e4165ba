"""One connection for many probes, and what becomes of it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from monitor.model import Deployment, Outcome, Sample, Target
from monitor.probes.base import ProbeIO
from monitor.probes.http import HttpProbeConfig
from monitor.probes.http.probe import HttpProbe
from tests.probes.raw_server import AT, Handler, make_io, reset, response, serve

Run = Callable[..., Any]


def kept(url: str, io: ProbeIO | None = None, interval_s: float = 15, **fields: Any) -> HttpProbe:
    config = HttpProbeConfig.model_validate({"keep_alive": True, **fields}, by_name=False)
    deployment = Deployment(name="shop", service="shop", environment="test", url=url)
    target = Target(
        id="shop/home/here",
        deployment="shop",
        environment="test",
        probe="home",
        region="here",
        interval_s=interval_s,
        timeout_s=interval_s / 10,
    )
    return config.build(target, deployment, url, io or make_io())


class Server:
    """Answers up to `answers` requests on a connection, then ends it in its own way."""

    def __init__(self, answers: int, *, ends: str = "close", answer: bytes | None = None) -> None:
        self.answers = answers
        self.ends = ends
        self.answer = answer or response(b"hello")
        self.connections = 0
        self.heads: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        for _ in range(self.answers):
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.answer)
        if self.ends == "close":
            writer.close()
            return
        await reader.readuntil(b"\r\n\r\n")
        if self.ends == "close on request":
            writer.close()
        elif self.ends == "reset on request":
            reset(writer)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            writer.close()


def phases(sample: Sample) -> list[str]:
    return [name for name, _ in sample.phases]


def test_later_probes_need_no_connection(run: Run) -> None:
    """Only the first run connects, and each run has its own answer and status."""
    server = Server(9)

    async def story() -> list[Sample]:
        async with serve(server) as port:
            probe = kept(f"http://127.0.0.1:{port}", body_contains="hello")
            samples = [await probe(AT, 5.0) for _ in range(3)]
            probe.close()
            return samples

    first, *later = run(story())
    assert phases(first) == ["connect", "send", "wait", "transfer"]
    assert [phases(each) for each in later] == [["send", "wait", "transfer"]] * 2
    assert {each.outcome for each in (first, *later)} == {Outcome.GOOD}
    assert server.connections == 1
    assert not any(b"Connection:" in head for head in server.heads)


@pytest.mark.parametrize("ends", ["close", "close on request", "reset on request"])
def test_a_connection_that_went_away_is_replaced(run: Run, ends: str) -> None:
    """That a server gives up an idle connection is no failure, and its time is not counted."""
    server = Server(1, ends=ends)

    async def story() -> list[Sample]:
        async with serve(server) as port:
            probe = kept(f"http://127.0.0.1:{port}")
            samples = []
            for _ in range(3):
                samples.append(await probe(AT, 5.0))
                await asyncio.sleep(0.01)
            probe.close()
            return samples

    samples = run(story())
    assert [each.outcome for each in samples] == [Outcome.GOOD] * 3
    assert [phases(each)[0] for each in samples] == ["connect"] * 3
    assert server.connections == 3


def test_an_answer_that_breaks_off_is_a_failure(run: Run) -> None:
    """Once the answer has begun there is no second try."""
    server = Server(1, ends="half an answer")

    async def story() -> list[Sample]:
        async with serve(server) as port:
            probe = kept(f"http://127.0.0.1:{port}")
            return [await probe(AT, 5.0) for _ in range(2)]

    samples = run(story())
    assert [each.reason for each in samples] == ["", "truncated"]
    assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        response(b"hello", "200 OK", "Connection: close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        response(b"hello") + b"HTTP/1.1 200 OK\r\n",
        response(b"hello") + b"unasked",
        response(b"h" * 2000),
        response(b"", "101 Switching Protocols"),
    ],
)
def test_not_every_connection_can_be_kept(run: Run, answer: bytes) -> None:
    """Where the server ends it, says too much or was not read to the end, a fresh one is made."""
    server = Server(9, answer=answer)

    async def story() -> None:
        async with serve(server) as port:
            probe = kept(f"http://127.0.0.1:{port}", max_body="1KiB", status=[101, 200])
            for _ in range(2):
                sample = await probe(AT, 5.0)
                assert (sample.outcome, phases(sample)[0]) == (Outcome.GOOD, "connect")

    run(story())
    assert server.connections == 2


def test_bytes_that_nobody_asked_for_end_it(run: Run) -> None:
    """What a server says between two probes never becomes the next answer."""
    pushed = asyncio.Event()

    async def pushing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(b"hello"))
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(response(b"old", "500 Oops"))
        await reader.read()
        pushed.set()

    async def story() -> list[Sample]:
        async with serve(pushing) as port:
            probe = kept(f"http://127.0.0.1:{port}")
            first = await probe(AT, 5.0)
            async with asyncio.timeout(5):
                await pushed.wait()
            second = await probe(AT, 5.0)
            probe.close()
            return [first, second]

    first, second = run(story())
    assert (first.outcome, second.outcome) == (Outcome.GOOD, Outcome.GOOD)
    assert phases(second)[0] == "connect"


def test_runs_that_overlap_do_not_share(run: Run) -> None:
    """A run that finds the connection taken makes its own, and one of both is kept."""
    both = asyncio.Event()
    waiting: list[int] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            waiting.append(1)
            if len(waiting) == 2:
                both.set()
            await both.wait()
            writer.write(response(b"hello"))

    async def story() -> list[str]:
        async with serve(handler) as port:
            probe = kept(f"http://127.0.0.1:{port}")
            await asyncio.gather(probe(AT, 5.0), probe(AT, 5.0))
            sample = await probe(AT, 5.0)
            probe.close()
            return phases(sample)

    assert run(story())[0] == "send"


@pytest.mark.parametrize("how", ["close", "idle"])
def test_the_connection_is_given_up(run: Run, how: str) -> None:
    """By the owner, or by itself when no probe comes any more (the configuration changed)."""
    gone = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(b"hello"))
        await reader.read()
        gone.set()

    async def story() -> None:
        async with serve(handler) as port:
            probe = kept(f"http://127.0.0.1:{port}", interval_s=30 if how == "close" else 0.05)
            assert (await probe(AT, 5.0)).outcome is Outcome.GOOD
            if how == "close":
                probe.close()
            async with asyncio.timeout(2):
                await gone.wait()

    run(story())


def test_a_deadline_ends_the_connection(run: Run) -> None:
    """An answer that comes too late is not left for the next probe."""

    async def slow_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(b"hello"))
        await reader.readuntil(b"\r\n\r\n")
        await reader.read()

    async def story() -> list[Sample]:
        async with serve(slow_second) as port:
            probe = kept(f"http://127.0.0.1:{port}")
            samples = [await probe(AT, 0.5), await probe(AT, 0.05), await probe(AT, 0.5)]
            probe.close()
            return samples

    samples = run(story())
    assert [each.reason for each in samples] == ["", "timeout_headers", ""]
    assert phases(samples[2])[0] == "connect"


def test_a_secure_connection_is_kept_with_its_certificate(run: Run, tmp_path: Path) -> None:
    """Later probes still know when the certificate ends."""
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server: Handler = Server(9)

    async def story() -> list[Sample]:
        async with serve(server, tls) as port:
            probe = kept(f"https://127.0.0.1:{port}", ca_file=str(tmp_path / "ca.pem"))
            samples = [await probe(AT, 5.0) for _ in range(2)]
            probe.close()
            await asyncio.sleep(0)
            return samples

    first, second = run(story())
    assert "tls" in phases(first)
    assert phases(second) == ["send", "wait", "transfer"]
    assert second.certificate_expires_at == first.certificate_expires_at is not None
