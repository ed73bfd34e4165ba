"""The second look after a failure, against real servers on loopback."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest
import trustme

from monitor.confirmer import AGAIN_S, AT_ONCE, SOONEST_S, STEP_S, Confirmer, Subject
from monitor.metrics import CONFIRMATIONS, Telemetry
from monitor.model import Cause, Diagnosis, Outcome, Sample, Target
from monitor.probes.base import ProbeIO, Reach
from monitor.probes.stall import StallLog
from tests.probes.raw_server import loop_connect, replies, response, serve


class HandClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    def wall(self, at: float) -> float:
        return at


def target(name: str = "shop/home/here") -> Target:
    return Target(
        id=name, deployment="shop", environment="test", probe="home", region="here",
        interval_s=15, timeout_s=5,
    )  # fmt: skip


def sample(
    outcome: Outcome = Outcome.BAD, reason: str = "status", name: str = "shop/home/here"
) -> Sample:
    return Sample(target=name, at=0.0, outcome=outcome, reason=reason, detail="HTTP 503")


def io(resolve: Callable[[str], Awaitable[Sequence[str]]], **fields: object) -> ProbeIO:
    return ProbeIO(
        connect=loop_connect, resolve=resolve, allowed_networks=("127.0.0.0/8",),
        monotonic=time.monotonic, **fields,  # type: ignore[arg-type]
    )  # fmt: skip


async def names(host: str) -> Sequence[str]:
    if host == "gone.test":
        raise socket.gaierror(socket.EAI_NONAME, "no such name")
    return ["127.0.0.1", "127.0.0.2"] if host == "two.test" else ["127.0.0.1"]


async def confirm(reach: Reach, failed: Sample, world: ProbeIO) -> list[Diagnosis]:
    """Let one failure be looked at; return what was found."""
    found: list[Diagnosis] = []
    confirmer = Confirmer(HandClock(), world, found.append, Telemetry())
    confirmer.replace_subjects([Subject(target(), reach)], world)
    confirmer.notice(failed)
    await asyncio.gather(*confirmer._under_way.values())
    return found


async def test_an_application_that_answers_wrongly() -> None:
    """All of the way works, so it is the application."""
    async with serve(replies(response(b"", "503 No"))) as port:
        [found] = await confirm(Reach("shop.test", port, secure=False), sample(), io(names))
    assert (found.cause, found.deployment) == (Cause.APP, "shop")
    assert "127.0.0.1 accepts connections in" in found.text


async def test_a_service_that_is_not_there() -> None:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    failed = sample(reason="connect_refused")
    [found] = await confirm(Reach("127.0.0.1", port, secure=False), failed, io(names))
    assert (found.cause, "refuses connections" in found.text) == (Cause.APP, True)


async def test_one_of_two_addresses_that_is_down() -> None:
    """The other address tells that it is the way there."""
    async with serve(replies(response())) as port:
        reach = Reach("two.test", port, secure=False)
        [found] = await confirm(reach, sample(reason="connect_refused"), io(names))
    assert found.cause is Cause.ROUTE
    assert "127.0.0.2; 127.0.0.1 can" in found.text


async def test_a_name_that_is_gone() -> None:
    """Nothing is connected to."""
    [found] = await confirm(Reach("gone.test", 443, secure=True), sample(reason="dns"), io(names))
    assert (found.cause, "gone.test cannot be looked up" in found.text) == (Cause.DNS, True)


async def test_an_address_that_must_not_be_connected_to_is_not() -> None:
    """The policy of probes holds for the look too, and blames nobody."""

    async def metadata(_host: str) -> Sequence[str]:
        return ["169.254.169.254"]

    assert await confirm(Reach("evil.test", 80, secure=False), sample(), io(metadata)) == []


@pytest.mark.parametrize("is_broken", [True, False])
async def test_tls(*, is_broken: bool) -> None:
    """Something that speaks no TLS is told from a certificate that only the probe minds."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"what is this?")

    async with serve(silent, None if is_broken else context) as port:
        reach = Reach("127.0.0.1", port, secure=True)
        [found] = await confirm(reach, sample(reason="tls_untrusted"), io(names))
    assert found.cause is Cause.TLS
    assert ("HTTP 503" in found.text) is not is_broken


async def test_a_look_that_our_own_stall_spoilt_says_nothing() -> None:
    """Better no diagnosis than a wrong one."""
    stalls = StallLog()

    async def stall(_host: str) -> Sequence[str]:
        stalls.beat(time.monotonic())
        time.sleep(STEP_S / 3)  # noqa: ASYNC251 - the stall
        return ["127.0.0.1"]

    reach = Reach("shop.test", 9, secure=False)
    assert await confirm(reach, sample(), io(stall, stalls=stalls)) == []


async def test_a_target_that_stays_bad_is_looked_at_again_after_a_while() -> None:
    """The first failure, then one a minute; sooner after it was good, but not at once."""
    clock, telemetry = HandClock(), Telemetry()
    found: list[Diagnosis] = []
    confirmer = Confirmer(clock, io(names), found.append, telemetry)
    confirmer.replace_subjects([Subject(target(), Reach("gone.test", 80, secure=False))], io(names))
    looks = []
    for step_s, outcome in (
        (0, Outcome.BAD), (1, Outcome.BAD), (AGAIN_S - 1, Outcome.BAD), (1, Outcome.BAD),
        (1, Outcome.GOOD), (1, Outcome.BAD), (SOONEST_S, Outcome.BAD), (1, Outcome.UNKNOWN),
        (1, Outcome.BAD),
    ):  # fmt: skip
        clock.at += step_s
        confirmer.notice(sample(outcome))
        await asyncio.gather(*confirmer._under_way.values())
        looks.append(len(found))
    assert looks == [1, 1, 2, 2, 2, 2, 3, 3, 3]
    counted = {row: n for series, row, n in telemetry.numbers() if series is CONFIRMATIONS}
    assert counted["dns",] == 3


async def test_only_so_many_looks_at_once() -> None:
    """An outage of everything does not become a storm of our own; strangers are not looked at."""

    async def never(_host: str) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    confirmer = Confirmer(HandClock(), io(never), lambda _: None, Telemetry())
    subjects = [Subject(target(f"t{n}"), Reach("a.test", 80, secure=False)) for n in range(100)]
    confirmer.replace_subjects(subjects, io(never))
    for each in [*subjects, Subject(target("stranger"), Reach("b.test", 80, secure=False))]:
        confirmer.notice(sample(name=each.target.id))
    assert len(confirmer._under_way) == AT_ONCE
    confirmer.stop()
    await asyncio.gather(*confirmer._under_way.values(), return_exceptions=True)
    assert not confirmer._under_way
