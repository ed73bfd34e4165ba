"""How much of an outage shows: our open-loop schedule beside a closed loop.

    make bench BENCH=open_loop

On virtual time a server hangs for 10 s in every 100 s: who asks then is answered when it is over.
Our scheduler probes it every second for an hour and does not wait for answers; the closed loop asks
again a second after its last answer, as a simple script does, and so hardly asks while it hangs.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field

from bench.support.figures import Figure, conclude
from monitor.metrics import Telemetry
from monitor.model import Outcome, Sample, Target
from monitor.scenario.loop import VirtualClock, VirtualLoop
from monitor.scheduler import Job, Scheduler

HOUR_S = 3600.0
PERIOD_S, HANGS_S = 100.0, 10.0
QUICK_S, SLOW_S = 0.05, 0.051
OFF_BY_MOST = 0.005
"""Of all samples: the one at the edge."""


@dataclass(slots=True)
class Server:
    """Hangs at the beginning of every period."""

    latencies_s: list[float] = field(default_factory=list)

    async def ask(self) -> float:
        """Return how long an answer took."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        phase_s = started % PERIOD_S
        await asyncio.sleep(QUICK_S + max(0.0, HANGS_S - phase_s))
        return loop.time() - started

    async def __call__(self, at: float, deadline_s: float) -> Sample:  # noqa: ARG002 - a probe's
        """Be probed."""
        return Sample(target="t", at=at, outcome=Outcome.GOOD, latency_s=await self.ask())


async def open_loop() -> list[float]:
    """Return the latencies of our scheduler's samples."""
    samples: list[Sample] = []
    clock = VirtualClock(asyncio.get_running_loop(), 0.0)
    scheduler = Scheduler(clock, samples.append, Telemetry())
    target = Target(
        id="t", deployment="d", environment="e", probe="p", region="r", interval_s=1, timeout_s=15
    )
    scheduler.replace_jobs([Job(target, Server())])
    running = asyncio.create_task(scheduler.run())
    await asyncio.sleep(HOUR_S)
    running.cancel()
    await scheduler.drain(PERIOD_S)
    return [sample.latency_s for sample in samples if sample.latency_s is not None]


async def closed_loop() -> list[float]:
    """Return the latencies that are seen by who waits for each answer."""
    server, loop = Server(), asyncio.get_running_loop()
    latencies: list[float] = []
    while loop.time() < HOUR_S:
        latencies.append(await server.ask())
        await asyncio.sleep(1.0)
    return latencies


def slow_share(latencies: list[float]) -> float:
    """Return the share that was slow, in percent."""
    return 100 * sum(each > SLOW_S for each in latencies) / len(latencies)


def main() -> int:
    """Print both shares."""
    shares = []
    for story in (open_loop, closed_loop):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            shares.append(slow_share(runner.run(story())))
    truth = 100 * HANGS_S / PERIOD_S
    return conclude(
        [
            Figure(name="slow_samples_open_loop", value=shares[0], unit="%"),
            Figure(name="slow_samples_closed_loop", value=shares[1], unit="%"),
            Figure(
                name="open_loop_error",
                value=abs(shares[0] - truth),
                unit="percentage points",
                at_most=100 * OFF_BY_MOST,
            ),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
