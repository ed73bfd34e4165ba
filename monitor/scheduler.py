"""When to probe: open loop, spread by hash, one `Sample` for every outcome.

Owns the schedule and the probes in flight. A start never waits for an earlier reply; a probe that
raises becomes an UNKNOWN sample; ticks that were missed are counted, never made up for in a bunch.
Knows nothing of SLIs.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

from monitor.metrics import Telemetry
from monitor.model import Clock, Outcome, Sample, Target
from monitor.probes.base import Closing, Probe, QuickProbe, Run
from monitor.probes.reason import Reason
from monitor.probes.stall import Pulse
from monitor.probes.verdict import raised

GRID_S = 0.05
"""Phases are multiples of this. What starts together shares the cost of waking up, which is most
of what a probe on its own costs, and a few probes are through before the next ones begin."""
FINEST = 20
"""Short intervals have a finer grid: at least so many phases."""
SLACK_S = 1.0
"""A probe keeps its own deadline; about this much later it is cut off from outside."""
IN_FLIGHT_CAP = 2000
PER_HOST_CAP = 1000
"""One host that hangs may hold half of all slots, so that the others go on."""
MIN_WAIT_S = 0.001
"""Timers are no finer: a shorter wait would end at once, again and again, until it is time."""


@dataclass(frozen=True, slots=True)
class Job:
    """A target with the probe that measures it."""

    target: Target
    probe: Probe
    host: str = ""
    """Where it goes; "" when that is nowhere in particular."""
    quick: QuickProbe | None = field(init=False, repr=False)
    """The probe, when it may do without a task."""

    def __post_init__(self) -> None:
        """Ask the probe once: it is a slow question."""
        quick = self.probe if isinstance(self.probe, QuickProbe) else None
        object.__setattr__(self, "quick", quick)


def phase_s(target: Target) -> float:
    """Return the target's offset within its interval: stable, and spread evenly over targets."""
    digest = hashlib.sha256(target.id.encode()).digest()
    phases = max(FINEST, int(target.interval_s / GRID_S))
    return int.from_bytes(digest[:8]) * phases // 2**64 * target.interval_s / phases


def next_start(phase: float, interval_s: float, after: float) -> float:
    """Return the first scheduled start later than `after` (UTC s): phase + k x interval."""
    start = phase + ((after - phase) // interval_s + 1) * interval_s
    # Division rounds: a start that is not later than `after` would be run twice.
    return start if start > after else start + interval_s


class _Flight:
    """A probe under way."""

    __slots__ = ("at", "has_overrun", "host", "run", "target", "until")

    def __init__(self, target: Target, host: str, until: float) -> None:
        self.target = target
        self.host = host
        self.at = 0.0
        """When it began, UTC seconds."""
        self.until = until
        self.run: Run | None = None
        self.has_overrun = False


class Scheduler:
    """Starts every probe at its time and hands each sample to `deliver`."""

    def __init__(
        self,
        clock: Clock,
        deliver: Callable[[Sample], None],
        telemetry: Telemetry,
        pulse: Pulse | None = None,
    ) -> None:
        """Build an idle scheduler; `replace_jobs` says what to probe.

        `pulse` hears of the begin and the end of every probe.
        """
        self._clock = clock
        self._deliver = deliver
        self._telemetry = telemetry
        self._pulse = pulse
        self._heap: list[tuple[float, int, float, Job]] = []
        """(next start, tie-break, phase, job)."""
        self._changed = asyncio.Event()
        self._in_flight: dict[_Flight, None] = {}
        self._at_hosts: dict[str, int] = {}
        """How many probes are in flight to each host."""
        self._idle: asyncio.Event | None = None
        """Somebody waits until nothing is in flight."""
        self._sweep_at = math.inf

    def replace_jobs(self, jobs: Sequence[Job]) -> None:
        """Probe exactly these from now on; a target that stays keeps its rhythm."""
        now = self._clock.now()
        self._close({id(job.probe) for job in jobs})
        self._heap = []
        for number, job in enumerate(jobs):
            phase = phase_s(job.target)
            start = next_start(phase, job.target.interval_s, now)
            self._heap.append((start, number, phase, job))
        heapq.heapify(self._heap)
        self._changed.set()

    def start_now(self, jobs: Sequence[Job]) -> None:
        """Start these once, besides what the schedule does."""
        now = self._clock.now()
        for job in jobs:
            self._start(job, now, now)

    async def run(self) -> None:
        """Start probes for ever."""
        while True:
            self._changed.clear()
            now = self._clock.now()
            heap = self._heap
            while heap and heap[0][0] <= now:
                at, number, phase, job = heap[0]
                upcoming = next_start(phase, job.target.interval_s, max(at, now))
                heapq.heapreplace(heap, (upcoming, number, phase, job))
                self._start(job, at, now)
            if now >= self._sweep_at:
                self._cut_off(now)
            until = min(heap[0][0] if heap else math.inf, self._sweep_at)
            await self._wait_for(until - self._clock.now())

    async def drain(self, grace_s: float) -> None:
        """Wait for the probes in flight, at most `grace_s`; cut off the rest."""
        if self._in_flight:
            self._idle = asyncio.Event()
            try:
                await asyncio.wait_for(self._idle.wait(), grace_s)
            except TimeoutError:
                for flight in tuple(self._in_flight):
                    self._end(flight)
        self._close(set())

    def _close(self, kept: Collection[int]) -> None:
        """Let all probes but `kept` (their `id`) give up what they hold between runs."""
        for *_, job in self._heap:
            if id(job.probe) not in kept and isinstance(job.probe, Closing):
                job.probe.close()

    async def _wait_for(self, wait_s: float) -> None:
        """Return after so long, or when the jobs change."""
        # A timer that sets the event is cheaper than a timeout that cancels the wait.
        timer = None
        if wait_s < math.inf:
            timer = asyncio.get_running_loop().call_later(
                max(wait_s, MIN_WAIT_S), self._changed.set
            )
        try:
            await self._changed.wait()
        finally:
            if timer is not None:
                timer.cancel()

    def _start(self, job: Job, at: float, now: float) -> None:
        target = job.target
        missed = int((now - at) // target.interval_s)
        if missed:
            self._telemetry.count_skipped("late", missed)
        if len(self._in_flight) >= IN_FLIGHT_CAP:
            self._refuse(target, at, now, Reason.OVERLOAD, "too many probes in flight")
            return
        at_host = self._at_hosts.get(job.host, 0)
        if at_host >= PER_HOST_CAP and job.host:
            self._refuse(target, at, now, Reason.HOST_BUSY, f"too many probes of {job.host}")
            return
        self._at_hosts[job.host] = at_host + 1
        flight = _Flight(target, job.host, now + target.timeout_s + SLACK_S)
        self._in_flight[flight] = None
        self._sweep_at = min(self._sweep_at, flight.until)
        if self._pulse is not None:
            self._pulse.begin()
        if job.quick is None or not self._begin(job.quick, at, flight):
            task = self._probe(job.probe, at, flight)
            flight.run = asyncio.get_running_loop().create_task(task)

    def _refuse(self, target: Target, at: float, now: float, reason: Reason, detail: str) -> None:
        """Begin nothing: the tick counts as skipped, and is UNKNOWN."""
        self._telemetry.observe_lateness(now - at)
        self._telemetry.count_skipped(reason.value, 1)
        self._deliver(_unknown(target, now, reason, detail))

    def _begin(self, probe: QuickProbe, due: float, flight: _Flight) -> bool:
        """Begin a probe that does without a task; return False when it needs one."""
        at, target = self._clock.now(), flight.target
        flight.at = at
        try:
            run = probe.begin(at, target.timeout_s, partial(self._land, flight))
        except Exception as error:  # noqa: BLE001 - told as the sample
            self._land(flight, raised(target.id, at, error))
        else:
            if run is None:
                return False
            if flight in self._in_flight:
                flight.run = run
        self._telemetry.observe_lateness(at - due)
        return True

    def _cut_off(self, now: float) -> None:
        """End what ignores its own deadline: one look at all of them costs less than timers."""
        for flight in tuple(self._in_flight):
            if flight.until <= now and not flight.has_overrun:
                flight.has_overrun = True
                self._end(flight)
        waiting = (flight.until for flight in self._in_flight if not flight.has_overrun)
        self._sweep_at = max(min(waiting, default=math.inf), now + SLACK_S)

    async def _probe(self, probe: Probe, due: float, flight: _Flight) -> None:
        target = flight.target
        # Only now does it begin: what held the loop up since the schedule looked is lateness too.
        at = flight.at = self._clock.now()
        self._telemetry.observe_lateness(at - due)
        try:
            sample = await probe(at, target.timeout_s)
        except asyncio.CancelledError:
            if not flight.has_overrun:
                self._leave(flight)
                raise
            sample = _overrun(flight)
        except Exception as error:  # noqa: BLE001 - told as the sample
            sample = raised(target.id, at, error)
        self._land(flight, sample)

    def _end(self, flight: _Flight) -> None:
        """End a probe from outside; one that has overrun leaves a sample."""
        if flight.run is None:
            return
        flight.run.cancel()
        if isinstance(flight.run, asyncio.Task):
            # It hears of that first.
            return
        if flight.has_overrun:
            self._land(flight, _overrun(flight))
        else:
            self._leave(flight)

    def _land(self, flight: _Flight, sample: Sample) -> None:
        self._leave(flight)
        self._telemetry.observe_sample(flight.target, sample)
        self._deliver(sample)

    def _leave(self, flight: _Flight) -> None:
        del self._in_flight[flight]
        left = self._at_hosts[flight.host] - 1
        if left:
            self._at_hosts[flight.host] = left
        else:
            del self._at_hosts[flight.host]
        # They hold each other: both are to go without the garbage collector.
        flight.run = None
        if self._pulse is not None:
            self._pulse.end()
        if self._idle is not None and not self._in_flight:
            self._idle.set()


def _overrun(flight: _Flight) -> Sample:
    return _unknown(flight.target, flight.at, Reason.PROBER_ERROR, "the probe overran its deadline")


def _unknown(target: Target, at: float, reason: Reason, detail: str) -> Sample:
    return Sample(
        target=target.id, at=at, outcome=Outcome.UNKNOWN, reason=reason.value, detail=detail
    )
