"""Our own event loop's delay: what is remembered of it, and that no target is blamed for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from bench.support.exact import exact_server
from monitor.model import Deployment, Outcome, Sample, Target
from monitor.probes.base import Probe, ProbeIO
from monitor.probes.http import HttpProbeConfig
from monitor.probes.stall import Pulse, StallLog
from tests.probes.raw_server import (
    AT,
    direct_sockets,
    loop_connect,
    no_names,
    once,
    replies,
    response,
    serve,
)

Run = Callable[..., Any]
DELAY_S = 0.05
TOLERANCE_S = 0.005
STALL_S = 0.2
PERIOD_S = 0.5
SPELL_S = 1.4


@contextmanager
def beating(pulse: Pulse) -> Iterator[None]:
    """Let `pulse` beat as long as a probe is under way."""
    pulse.begin()
    try:
        yield
    finally:
        pulse.end()


# --- the record --------------------------------------------------------------------------------


def log_of(*beats: float) -> StallLog:
    log = StallLog(interval_s=0.02, margin_s=0.005)
    for beat in beats:
        log.beat(beat)
    return log


@pytest.mark.parametrize(
    ("start", "end", "overlap"),
    [
        (0.0, 1.0, 0.0),
        (1.0, 1.02, 0.0),
        (1.02, 1.32, 0.3),
        (1.0, 1.1, 0.08),
        (1.2, 1.34, 0.12),
        (1.1, 1.2, 0.1),
        (1.32, 1.34, 0.0),
        # The last beat is at 1.34: what follows is a stall as soon as a beat is overdue.
        (1.34, 1.36, 0.0),
        (1.34, 1.54, 0.2),
        (1.5, 1.54, 0.04),
        (1.0, 1.54, 0.5),
    ],
)
def test_overlap(start: float, end: float, overlap: float) -> None:
    """A gap between beats, be it under way, counts as far as a span lies in it."""
    log = log_of(1.0, 1.02, 1.32, 1.34)
    assert log.overlap(start, end) == pytest.approx(overlap)


def test_without_beats_there_is_no_stall() -> None:
    """Before the first beat and after the last, silence says nothing."""
    log = StallLog()
    assert log.overlap(0.0, 100.0) == 0.0
    log.beat(100.0)
    log.stop()
    assert log.overlap(0.0, 200.0) == 0.0
    log.beat(200.0)
    assert log.overlap(0.0, 200.0) == 0.0


def test_only_so_many_stalls_are_remembered() -> None:
    """The record is bounded, and the oldest stalls go first."""
    log = log_of(*range(10_000))
    assert log.overlap(0.0, 9_999.0) == 512.0


@given(
    gaps=st.lists(st.floats(0.001, 1.0), max_size=30),
    span=st.tuples(st.floats(0.0, 20.0), st.floats(0.0, 20.0)),
)
def test_overlap_is_a_part_of_the_span(gaps: list[float], span: tuple[float, float]) -> None:
    """However beats come, no more than the span itself can have been a stall."""
    start, end = sorted(span)
    beats = [sum(gaps[:count]) for count in range(len(gaps) + 1)]
    now = max(end, beats[-1])
    log = log_of(*beats)
    assert 0.0 <= log.overlap(start, end) <= end - start + 1e-9
    assert log.overlap(start, now) >= log.overlap(start, end) - 1e-9


def test_a_stall_during_a_probe_is_found(run: Run) -> None:
    """A blocked loop shows in the log as soon as it runs again, and silence afterwards does not."""
    log = StallLog()

    async def story() -> tuple[float, float]:
        with beating(Pulse(log, time.monotonic)):
            await asyncio.sleep(0.06)
            start = time.monotonic()
            time.sleep(0.1)  # noqa: ASYNC251 - the stall
            end = time.monotonic()
            found = log.overlap(start, end)
        return found, log.overlap(end, time.monotonic() + 10)

    found, after = run(story())
    assert found >= 0.095
    assert after < 0.095


def test_the_pulse_rests_while_nothing_is_under_way(run: Run) -> None:
    """It goes on until the last of several probes has ended, and begins again with the next."""
    beats: list[float] = []

    def clock() -> float:
        beats.append(time.monotonic())
        return beats[-1]

    async def story() -> list[int]:
        pulse, counts = Pulse(StallLog(), clock, 0.005), []
        with beating(pulse):
            with beating(pulse):
                pass
            await asyncio.sleep(0.03)
            counts.append(len(beats))
        await asyncio.sleep(0.03)
        counts.append(len(beats))
        with beating(pulse):
            counts.append(len(beats))
        return counts

    busy, idle, again = run(story())
    assert busy >= 2
    assert (idle, again) == (busy, busy + 1)


# --- the proof ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Result:
    """A probe as a stopwatch around it saw it."""

    started: float
    ended: float
    sample: Sample

    @property
    def truth_s(self) -> float:
        """From our start to the server's answer."""
        return float(self.sample.revision or "nan") - self.started

    @property
    def raw_s(self) -> float:
        return self.ended - self.started


def make_probe(url: str, io: ProbeIO, timeout_s: float, **fields: Any) -> Probe:
    config = HttpProbeConfig.model_validate(fields, by_name=False)
    target = Target(
        id="shop/home/here",
        deployment="shop",
        environment="test",
        probe="home",
        region="here",
        interval_s=1,
        timeout_s=timeout_s,
    )
    deployment = Deployment(name="shop", service="shop", environment="test", url=url)
    return config.build(target, deployment, url, io)


def make_io(log: StallLog | None) -> ProbeIO:
    return ProbeIO(
        connect=loop_connect,
        sockets=direct_sockets(),
        resolve=no_names,
        allowed_networks=("127.0.0.0/8",),
        monotonic=time.monotonic,
        stalls=log,
    )


async def timed(probe: Probe, timeout_s: float, pulse: Pulse) -> Result:
    started = time.monotonic()
    with beating(pulse):
        sample = await once(probe, timeout_s)
    return Result(started, time.monotonic(), sample)


async def stalled_probes(probe: Probe, log: StallLog) -> list[Result]:
    """Probe every 20 ms while the loop is blocked for 200 ms of every 500."""

    async def stall() -> None:
        while True:
            await asyncio.sleep(PERIOD_S - STALL_S)
            time.sleep(STALL_S)  # noqa: ASYNC251 - the point of it

    stalling, pulse = asyncio.create_task(stall()), Pulse(log, time.monotonic)
    probes = []
    end = time.monotonic() + SPELL_S
    while time.monotonic() < end:
        probes.append(asyncio.create_task(timed(probe, 2.0, pulse)))
        await asyncio.sleep(0.02)
    results = await asyncio.gather(*probes)
    stalling.cancel()
    await asyncio.wait([stalling])
    return results


@pytest.mark.parametrize(
    ("scheme", "version"), [("http", "1.1"), ("https", "1.1"), ("http", "2"), ("https", "2")]
)
def test_our_stalls_are_not_the_targets_latency(
    run: Run, tmp_path: Path, scheme: str, version: str
) -> None:
    """Every sample that is not tainted tells the server's own delay, however our loop stood still.

    What the server's machine adds (it shares ours) is known from the time at which it answered.
    """
    authority = trustme.CA()
    pem, ca = tmp_path / "server.pem", tmp_path / "ca.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    authority.cert_pem.write_to_path(ca)
    fields = {"ca_file": str(ca)} if scheme == "https" else {}

    async def story(port: int) -> list[Result]:
        log = StallLog()
        url = f"{scheme}://127.0.0.1:{port}"
        about = {"revision": "answered_at", "http_version": version, **fields}
        probe = make_probe(url, make_io(log), 2.0, **about)
        return await stalled_probes(probe, log)

    with exact_server(DELAY_S, *([str(pem)] if fields else [])) as port:
        results = run(story(port))
    assert {each.sample.reason for each in results} <= {"", "stalled"}
    clean = [
        each
        for each in results
        if each.sample.outcome is Outcome.GOOD and not each.sample.tainted_s
    ]
    assert len(clean) >= len(results) / 2
    # The stalls did hit: what a stopwatch around the probe says is far off.
    assert sum(each.raw_s - each.truth_s > STALL_S / 4 for each in clean) >= 2
    errors = []
    for each in clean:
        assert each.sample.latency_s is not None
        assert each.sample.latency_s >= DELAY_S - TOLERANCE_S
        assert all(s < STALL_S / 2 for name, s in each.sample.phases if name != "wait")
        errors.append(each.sample.latency_s - each.truth_s)
    errors.sort()
    assert abs(errors[len(errors) // 2]) <= TOLERANCE_S / 2
    # A busy machine may hold the server up between its word on the time and its answer; that is
    # rare and short, and nothing like a stall of ours.
    assert sum(error > TOLERANCE_S for error in errors) <= len(errors) / 20
    assert errors[-1] <= STALL_S / 4


def test_a_deadline_that_a_stall_ran_over_is_no_timeout(run: Run) -> None:
    """An answer that lay in the kernel in time is read before the deadline ends the run."""

    async def story(port: int) -> Sample:
        probe = make_probe(f"http://127.0.0.1:{port}", make_io(StallLog()), 0.15)
        probing = asyncio.create_task(once(probe, 0.15))
        await asyncio.sleep(0.02)
        time.sleep(0.3)  # noqa: ASYNC251 - the stall
        return await probing

    with exact_server(DELAY_S) as port:
        sample = run(story(port))
    assert sample.outcome is Outcome.GOOD
    assert sample.latency_s == pytest.approx(DELAY_S, abs=0.04)


def test_an_answer_after_the_deadline_is_a_timeout(run: Run) -> None:
    """What came during a stall, but after the deadline, came too late."""

    async def story(port: int) -> Sample:
        probe = make_probe(f"http://127.0.0.1:{port}", make_io(StallLog()), 0.03)
        probing = asyncio.create_task(once(probe, 0.03))
        await asyncio.sleep(0.01)
        time.sleep(0.3)  # noqa: ASYNC251 - the stall
        return await probing

    with exact_server(DELAY_S) as port:
        sample = run(story(port))
    assert (sample.outcome, sample.censored) == (Outcome.BAD, True)
    assert sample.reason in {"timeout_headers", "timeout_body"}


def test_silence_is_the_targets_even_when_we_stalled(run: Run) -> None:
    """A target that never answers is found out however often our own loop stands still."""

    async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def story() -> Sample:
        async with serve(hang) as port:
            log = StallLog()
            probe = make_probe(f"http://127.0.0.1:{port}", make_io(log), 0.2)
            with beating(Pulse(log, time.monotonic)):
                probing = asyncio.create_task(once(probe, 0.2))
                await asyncio.sleep(0.05)
                time.sleep(0.1)  # noqa: ASYNC251 - the stall
                return await probing

    sample = run(story())
    assert (sample.outcome, sample.reason) == (Outcome.BAD, "timeout_headers")


@pytest.mark.parametrize("fields", [{"max_latency": "50ms"}, {"cel": "latency_ms < 50"}])
def test_what_may_be_our_own_slowness_is_unknown(run: Run, fields: dict[str, str]) -> None:
    """Where the end of a phase cannot be corrected, a latency over the limit is not judged."""

    async def resolve(_host: str) -> list[str]:
        time.sleep(0.1)  # noqa: ASYNC251 - the stall
        return ["127.0.0.1"]

    async def story(log: StallLog) -> Sample:
        async with serve(replies(response())) as port:
            io = ProbeIO(
                connect=loop_connect,
                resolve=resolve,
                allowed_networks=("127.0.0.0/8",),
                monotonic=time.monotonic,
                stalls=log,
            )
            log.beat(time.monotonic())
            return await make_probe(f"http://shop.test:{port}", io, 2.0, **fields)(AT, 2.0)

    tainted = run(story(StallLog()))
    assert (tainted.outcome, tainted.reason) == (Outcome.UNKNOWN, "stalled")
    assert tainted.tainted_s >= 0.1
    # The same delay without a stall of ours on record is the target's.
    believed = run(story(StallLog(interval_s=10.0)))
    assert believed.outcome is Outcome.BAD
    assert believed.tainted_s == 0.0


def test_a_deadline_that_our_stalls_used_up_is_unknown(run: Run) -> None:
    """A target that got only the rest of its time has not been measured."""

    async def resolve(_host: str) -> list[str]:
        time.sleep(0.1)  # noqa: ASYNC251 - the stall
        return ["127.0.0.1"]

    async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def story() -> Sample:
        async with serve(hang) as port:
            log = StallLog()
            log.beat(time.monotonic())
            io = ProbeIO(
                connect=loop_connect,
                resolve=resolve,
                allowed_networks=("127.0.0.0/8",),
                monotonic=time.monotonic,
                stalls=log,
            )
            return await make_probe(f"http://shop.test:{port}", io, 0.2)(AT, 0.2)

    sample = run(story())
    assert (sample.outcome, sample.reason, sample.latency_s) == (Outcome.UNKNOWN, "stalled", None)
