"""Probes addresses in a process of its own and says how much memory each run took.

    python -m bench.support.prober WARM_UP_URL URL

The first address gets everything loaded. Prints one JSON object: growth (MiB), reason, seconds.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time

import uvloop

from bench.support.probing import http_probe, probe_io, run_once

TIMEOUT_S = 5.0


def peak_mib() -> float:
    """Return the highest resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def story(warm_up: str, url: str) -> None:
    """Probe both and print what the second one took."""
    async with probe_io() as io:
        for _ in range(20):
            await run_once(http_probe(warm_up, io, TIMEOUT_S, body_contains="x"), TIMEOUT_S)
        before, began = peak_mib(), time.monotonic()
        sample = await run_once(http_probe(url, io, TIMEOUT_S, body_contains="x"), TIMEOUT_S)
        took_s = time.monotonic() - began
    answer = {"grown_mib": peak_mib() - before, "reason": sample.reason, "took_s": took_s}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story(*sys.argv[1:3]))
