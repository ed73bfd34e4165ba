"""How long a scrape of 2,000 deployments holds the event loop up.

    make bench BENCH=scrape_stall

An engine with 2,000 deployments, each with two hours of samples, is scraped over loopback every
second by another process. A task that wants to run every millisecond notes how late it was and how
much of that time this process was itself at work; waiting for a core that somebody else has is
nobody's hold. The figure is the longest hold with scrapes minus the longest without, the median of
five such pairs.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import uvloop

from bench.support.figures import Figure, conclude
from bench.support.fleet import EPOCH, fleet, rules, samples
from monitor.metrics import Telemetry
from monitor.model import Incident, Owed, Release, RollbackRecord, Silence
from monitor.slo.engine import Engine
from monitor.store.base import IncidentHistory
from monitor.web.application import build_web
from monitor.web.server import CappedSite, make_runner

DEPLOYMENTS = 2000
FILLED_S = 7200
STEP_S = 150
ROUNDS = 5
SPELL_S = 3.0
BEAT_S = 0.001
BAR_MS = 10.0


@dataclass(slots=True)
class Daemon:
    """What the web surface sees; nothing has ever gone wrong here."""

    engine: Engine
    telemetry: Telemetry = field(default_factory=Telemetry)
    channels: Sequence[str] = ("slack", "pagerduty", "email")

    def now(self) -> float:
        """The moment at which the samples end."""
        return EPOCH + FILLED_S

    def incidents(self) -> Sequence[Incident]:
        """None."""
        return ()

    def owed(self) -> Sequence[Owed]:
        """None."""
        return ()

    def backlog(self) -> Mapping[str, tuple[int, float]]:
        """None."""
        return {}

    async def history(self, limit: int, incident: str | None = None) -> Sequence[IncidentHistory]:  # noqa: ARG002 - a View's
        """None."""
        return ()

    def rollbacks(self) -> Sequence[RollbackRecord]:
        """None."""
        return ()

    def silences(self) -> Sequence[Silence]:
        """None."""
        return ()

    async def accept_release(self, release: Release) -> None:
        """Ignore it."""

    async def reload(self) -> str | None:
        """Succeed."""
        return None

    def ready(self) -> str | None:
        """Ready."""
        return None

    def live(self) -> str | None:
        """Alive."""
        return None


def build() -> Daemon:
    """Return a daemon with two hours behind it."""
    specs, chance = fleet(DEPLOYMENTS), random.Random(1)  # noqa: S311 - must be repeatable
    daemon = Daemon(Engine(specs, rules(), EPOCH))
    targets = {target.id: target for spec in specs for target in spec.targets}
    for at in range(STEP_S, FILLED_S + 1, STEP_S):
        batch = list(samples(specs, EPOCH + at - 1, chance))
        daemon.engine.step(EPOCH + at, batch)
        for sample in batch:
            daemon.telemetry.observe_sample(targets[sample.target], sample)
    return daemon


@dataclass(frozen=True, slots=True)
class Beats:
    """What the task that wants to run every millisecond noticed, in ms, one entry a beat."""

    late: list[float]
    held: list[float]
    """The part of it in which this process, whatever its thread, was at work."""


async def beat(until: asyncio.Future[Any]) -> Beats:
    """Beat until `until` is done."""
    late, held = [], []
    while not until.done():
        before, worked = time.perf_counter(), time.process_time()
        await asyncio.sleep(BEAT_S)
        late.append((time.perf_counter() - before - BEAT_S) * 1000)
        held.append(min(late[-1], (time.process_time() - worked) * 1000))
    return Beats(late, held)


async def scrape(url: str) -> dict[str, Any]:
    """Have another process scrape `url`; return what it says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.support.scraper", url, str(SPELL_S)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        answer, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    found: dict[str, Any] = json.loads(answer)
    return found


async def measure(daemon: Daemon) -> list[Figure]:
    """Return the figures of all rounds together."""
    rounds: list[tuple[Beats, Beats]] = []
    seconds: list[float] = []
    told: dict[str, Any] = {}
    with ThreadPoolExecutor(1) as executor:
        runner = make_runner(build_web(daemon, token=None, executor=executor))
        await runner.setup()
        site = CappedSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            for _ in range(ROUNDS):
                gc.collect()
                idle = await beat(asyncio.ensure_future(asyncio.sleep(SPELL_S)))
                scraping = asyncio.create_task(scrape(f"{site.name}/metrics"))
                rounds.append((idle, await beat(scraping)))
                told = scraping.result()
                seconds += told["took_s"]
        finally:
            await runner.cleanup()
    return figures(rounds, f"{told['lines']} lines, {len(seconds)} scrapes", seconds)


def figures(rounds: list[tuple[Beats, Beats]], size: str, seconds: list[float]) -> list[Figure]:
    """Return what (without, with scrapes) say."""
    added = [max(busy.held) - max(idle.held) for idle, busy in rounds]
    found = {
        "scrape_hold_without": [max(idle.held) for idle, _ in rounds],
        "scrape_hold_with": [max(busy.held) for _, busy in rounds],
        "scrape_hold_with_p99.9": [statistics.quantiles(b.held, n=1000)[-1] for _, b in rounds],
        "scrape_late_without": [max(idle.late) for idle, _ in rounds],
        "scrape_late_with": [max(busy.late) for _, busy in rounds],
    }
    return [
        *(
            Figure(name=name, value=statistics.median(values), unit="ms")
            for name, values in found.items()
        ),
        Figure(name="scrape_duration", value=statistics.median(seconds), unit="s", note=size),
        Figure(
            name="scrape_stall",
            value=statistics.median(added),
            unit="ms",
            at_most=BAR_MS,
            note="each round: " + ", ".join(f"{each:.1f}" for each in added),
        ),
    ]


def main() -> int:
    """Print the figures."""
    daemon = build()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        return conclude(loop.run(measure(daemon)))


if __name__ == "__main__":
    sys.exit(main())
