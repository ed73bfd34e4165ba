"""Whether our own event loop's delay becomes the target's latency.

    make bench BENCH=latency_truth

A server in a process of its own answers after 50 ms and says when it did. It is probed every 20 ms,
over HTTP and HTTPS, while our event loop is blocked for 200 ms out of every 500. What a stopwatch
around the probe says (*raw*) stands beside what the sample says. Samples that say themselves that
they may be wrong (tainted, or unknown) are counted and left out; none of the others may be.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import trustme
import uvloop

from bench.support.exact import exact_server
from bench.support.figures import Figure, conclude
from bench.support.probing import http_probe, probe_io, run_once
from monitor.model import Outcome, Sample
from monitor.probes.base import Probe
from monitor.probes.stall import Pulse, StallLog

DELAY_S = 0.05
STALL_S = 0.2
PERIOD_S = 0.5
EVERY_S = 0.02
LASTS_S = 20.0
TIMEOUT_S = 2.0
BAR_MS = 5.0
LEAST_CLEAN = 0.5


@dataclass(frozen=True, slots=True)
class Result:
    """One probe; what the server's machine adds to its delay is in `truth_s`."""

    raw_s: float
    truth_s: float
    sample: Sample

    @property
    def is_clean(self) -> bool:
        """Whether the sample claims to be right."""
        return self.sample.outcome is Outcome.GOOD and not self.sample.tainted_s

    @property
    def error_ms(self) -> float:
        """By how much the sample is off."""
        return 1000 * abs((self.sample.latency_s or 0.0) - self.truth_s)


async def timed(probe: Probe, pulse: Pulse) -> Result:
    """Probe once within `pulse`."""
    pulse.begin()
    started = time.monotonic()
    sample = await run_once(probe, TIMEOUT_S)
    ended = time.monotonic()
    pulse.end()
    return Result(ended - started, float(sample.revision or "nan") - started, sample)


async def stalled(url: str, **fields: str) -> list[Result]:
    """Probe `url` on a loop that stands still again and again."""
    log = StallLog()
    pulse, probes = Pulse(log, time.monotonic), []

    async def stall() -> None:
        while True:
            await asyncio.sleep(PERIOD_S - STALL_S)
            time.sleep(STALL_S)  # noqa: ASYNC251 - the point of it

    async with probe_io(log) as io:
        probe = http_probe(url, io, TIMEOUT_S, revision="answered_at", **fields)
        stalling = asyncio.create_task(stall())
        end = time.monotonic() + LASTS_S
        while time.monotonic() < end:
            probes.append(asyncio.create_task(timed(probe, pulse)))
            await asyncio.sleep(EVERY_S)
        results = await asyncio.gather(*probes)
        stalling.cancel()
    return results


def p99_ms(values: list[float]) -> float:
    """Return the 99th percentile of seconds, in ms."""
    return statistics.quantiles(values, n=100)[-1] * 1000


def figures(name: str, results: list[Result]) -> list[Figure]:
    """Return what the results of one scheme say."""
    clean = [each for each in results if each.is_clean]
    truth = p99_ms([each.truth_s for each in clean])
    said = p99_ms([each.sample.latency_s or 0.0 for each in clean])
    raw = p99_ms([each.raw_s for each in results])
    note = f"{len(results)} probes, {len(clean)} clean; the server itself took {truth:.1f} ms"
    return [
        Figure(name=f"{name}_p99_raw", value=raw, unit="ms"),
        Figure(name=f"{name}_p99", value=said, unit="ms", note=note),
        Figure(name=f"{name}_p99_error", value=abs(said - truth), unit="ms", at_most=BAR_MS),
        Figure(
            name=f"{name}_clean",
            value=len(clean) / len(results),
            unit="of all probes",
            at_least=LEAST_CLEAN,
        ),
        Figure(
            name=f"{name}_wrong_without_saying_so",
            value=sum(each.error_ms > STALL_S * 1000 / 4 for each in clean),
            unit="probes",
            at_most=0,
        ),
    ]


def main() -> int:
    """Print the figures of both schemes."""
    found: list[Figure] = []
    with TemporaryDirectory(prefix="bench-") as folder:
        authority, home = trustme.CA(), Path(folder)
        certificate = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
        certificate.write_to_path(home / "server.pem")
        authority.cert_pem.write_to_path(home / "ca.pem")
        for scheme, arguments, fields in (
            ("http", (), {}),
            ("https", (str(home / "server.pem"),), {"ca_file": str(home / "ca.pem")}),
        ):
            with (
                exact_server(DELAY_S, *arguments) as port,
                asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
            ):
                results = runner.run(stalled(f"{scheme}://127.0.0.1:{port}", **fields))
            found += figures(scheme, results)
    return conclude(found)


if __name__ == "__main__":
    sys.exit(main())
