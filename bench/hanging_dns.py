"""What names that hang do to a healthy target.

    make bench BENCH=hanging_dns

A name that resolves is probed every 20 ms over HTTP, alone and beside 20 names of which every
look-up hangs, in turns. All go through our resolver's threads; its look-ups are scripted, since a
real name server that hangs is not to be had everywhere.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from bench.support.figures import Figure, conclude
from bench.support.probing import http_probe, probe_io, run_once
from bench.support.webserver import webserver
from monitor.model import Outcome, Sample
from monitor.probes.resolver import Resolver

NAMES = 20
EVERY_S = 0.02
SPELL_S = 8.0
ROUNDS = 3
TIMEOUT_S = 1.0
BAR_MS = 2.0


async def healthy(url: str, resolver: Resolver) -> list[Sample]:
    """Probe the name that resolves for one spell."""
    async with probe_io(resolve=resolver) as io:
        probe, samples = http_probe(url, io, TIMEOUT_S), []
        for _ in range(int(SPELL_S / EVERY_S)):
            samples.append(asyncio.create_task(run_once(probe, TIMEOUT_S)))
            await asyncio.sleep(EVERY_S)
        return await asyncio.gather(*samples)


async def hanging(resolver: Resolver) -> list[Sample]:
    """Probe all names that hang, every second for one spell."""
    async with probe_io(resolve=resolver) as io:
        probes = [http_probe(f"http://hangs-{n}.test", io, TIMEOUT_S) for n in range(NAMES)]
        samples = []
        for _ in range(int(SPELL_S)):
            samples += [asyncio.create_task(run_once(probe, TIMEOUT_S)) for probe in probes]
            await asyncio.sleep(1.0)
        return await asyncio.gather(*samples)


async def measure(url: str) -> tuple[list[float], list[float], int]:
    """Return the p99 (s) of each spell alone and beside, and how many probes did not hang."""
    over = threading.Event()

    def look_up(host: str) -> Sequence[str]:
        if host.startswith("hangs-"):
            over.wait(120.0)
        return ("127.0.0.1",)

    resolver = Resolver(lookup=look_up)
    alone, beside, strange = [], [], 0
    try:
        for _ in range(ROUNDS):
            alone.append(p99_s(await healthy(url, resolver)))
            samples, hung = await asyncio.gather(healthy(url, resolver), hanging(resolver))
            beside.append(p99_s(samples))
            strange += sum(sample.outcome is not Outcome.UNKNOWN for sample in hung)
    finally:
        over.set()
        resolver.close()
    return alone, beside, strange


def p99_s(samples: Sequence[Sample]) -> float:
    """Return the 99th percentile; a probe that failed took for ever."""
    seconds = [
        sample.latency_s if sample.outcome is Outcome.GOOD and sample.latency_s else TIMEOUT_S
        for sample in samples
    ]
    return statistics.quantiles(seconds, n=100)[-1]


def main() -> int:
    """Print both percentiles and what the hanging names add."""
    with (
        TemporaryDirectory(prefix="bench-") as folder,
        webserver(Path(folder)) as server,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        url = server.url.replace("127.0.0.1", "shop.test")
        alone, beside, strange = runner.run(measure(url))
    added = statistics.median(beside) - statistics.median(alone)
    return conclude(
        [
            Figure(name="p99_alone", value=1000 * statistics.median(alone), unit="ms"),
            Figure(name="p99_beside_hanging", value=1000 * statistics.median(beside), unit="ms"),
            Figure(name="p99_added", value=1000 * added, unit="ms", at_most=BAR_MS),
            Figure(name="hanging_not_unknown", value=strange, unit="probes", at_most=0),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
