"""When to probe: open loop, spread by hash, one `Sample` for every outcome.

Owns the schedule and the probes in flight. A start never waits for an earlier reply; a probe that
raises becomes an UNKNOWN sample; ticks that were missed are counted, never made up for in a bunch.
Knows nothing of SLIs.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from monitor.metrics import Telemetry
from monitor.model import Clock, Outcome, Sample, Target
from monitor.probes.base import Probe
from monitor.probes.deadline import Deadline

log = logging.getLogger(__name__)

SLACK_S = 1.0
"""A probe keeps its own deadline; this much later it is cut off from outside."""
NOTED_S = 0.001
"""Every timer is a little late; below this it is not worth a copy of the sample."""
IN_FLIGHT_CAP = 2000
MIN_WAIT_S = 0.001
"""Timers are no finer: a shorter wait would end at once, again and again, until it is time."""


@dataclass(frozen=True, slots=True)
class Job:
    """A target with the probe that measures it."""

    target: Target
    probe: Probe


def phase_s(target: Target) -> float:
    """Return the target's offset within its interval: stable, and spread evenly over targets."""
    digest = hashlib.sha256(target.id.encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64 * target.interval_s


def next_start(target: Target, after: float) -> float:
    """Return the first scheduled start later than `after` (UTC s): phase + k x interval."""
    phase = phase_s(target)
    k = (after - phase) // target.interval_s + 1
    start = phase + k * target.interval_s
    # Division rounds: a start that is not later than `after` would be run twice.
    return start if start > after else start + target.interval_s


class Scheduler:
    """Starts every probe at its time and hands each sample to `deliver`."""

    def __init__(
        self, clock: Clock, deliver: Callable[[Sample], None], telemetry: Telemetry
    ) -> None:
        """Build an idle scheduler; `replace_jobs` says what to probe."""
        self._clock = clock
        self._deliver = deliver
        self._telemetry = telemetry
        self._jobs: dict[str, Job] = {}
        self._heap: list[tuple[float, str, int]] = []
        self._generation = 0
        self._changed = asyncio.Event()
        self._in_flight: dict[asyncio.Task[None], str] = {}

    def replace_jobs(self, jobs: Sequence[Job]) -> None:
        """Probe exactly these from now on; a target that stays keeps its rhythm."""
        self._generation += 1
        self._jobs = {job.target.id: job for job in jobs}
        now = self._clock.now()
        self._heap = [
            (next_start(job.target, now), job.target.id, self._generation) for job in jobs
        ]
        heapq.heapify(self._heap)
        self._changed.set()

    async def run(self) -> None:
        """Start probes for ever."""
        while True:
            self._changed.clear()
            now = self._clock.now()
            while self._heap and self._heap[0][0] <= now:
                at, target_id, generation = heapq.heappop(self._heap)
                self._start(self._jobs[target_id], at, now)
                upcoming = next_start(self._jobs[target_id].target, max(at, now))
                heapq.heappush(self._heap, (upcoming, target_id, generation))
            await self._wait_for(self._heap[0][0] - self._clock.now() if self._heap else None)

    async def drain(self, grace_s: float) -> None:
        """Wait for the probes in flight, at most `grace_s`; cut off the rest."""
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=grace_s)
        for task in list(self._in_flight):
            task.cancel()

    async def _wait_for(self, wait_s: float | None) -> None:
        """Return after so long, or when the jobs change."""
        # A timer that sets the event is cheaper than a timeout that cancels the wait.
        timer = None
        if wait_s is not None:
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
        lateness_s = now - at
        self._telemetry.observe_lateness(lateness_s)
        missed = int(lateness_s // target.interval_s)
        if missed:
            self._telemetry.count_skipped("late", missed)
        if len(self._in_flight) >= IN_FLIGHT_CAP:
            self._telemetry.count_skipped("overload", 1)
            self._deliver(_unknown(target, now, "overload", "too many probes in flight"))
            return
        task = asyncio.create_task(self._probe(job, now, lateness_s), name=f"probe {target.id}")
        self._in_flight[task] = target.id
        task.add_done_callback(lambda done: self._in_flight.pop(done, None))

    async def _probe(self, job: Job, at: float, lateness_s: float) -> None:
        target = job.target
        try:
            with Deadline(target.timeout_s + SLACK_S):
                sample = await job.probe(at, target.timeout_s)
        except TimeoutError:
            sample = _unknown(target, at, "prober_error", "the probe overran its deadline")
        except Exception as error:
            log.exception("probe raised", extra={"target": target.id})
            sample = _unknown(target, at, "prober_error", f"{type(error).__name__} in the probe")
        self._telemetry.observe_sample(target, sample)
        if lateness_s >= NOTED_S:
            sample = replace(sample, lateness_s=lateness_s)
        self._deliver(sample)


def _unknown(target: Target, at: float, reason: str, detail: str) -> Sample:
    return Sample(target=target.id, at=at, outcome=Outcome.UNKNOWN, reason=reason, detail=detail)
