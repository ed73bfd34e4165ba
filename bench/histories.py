"""200,000 random histories of alerts, people and faults: the promises of alerting hold in each.

    make bench BENCH=histories

`.venv/bin/python -m bench.histories --seed 123` plays one again, with what was said.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from monitor.scenario.loop import VirtualLoop
from tests.support.histories import History, play

COUNT = 200_000
CHUNK = 200
LIMIT_S = float(os.environ.get("HISTORIES_LIMIT_S", "300"))
"""As many as fit into this time, in the order of their seeds."""


def broken(start: int) -> dict[int, list[str]]:
    """Return what went wrong in a chunk of seeds."""
    logging.disable(logging.CRITICAL)
    found = {seed: play(seed) for seed in range(start, start + CHUNK)}
    return {seed: problems for seed, problems in found.items() if problems}


def one(seed: int) -> int:
    """Play one history and show what every receiver was told."""
    history = History(seed)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(history.perform())
    lines = [
        (told.at, f"{channel:8} {told.reason:12} {told.id} {told.key}")
        for channel, heard in history.told.items()
        for told in heard
    ]
    for at, line in sorted(lines):
        print(f"{at:9.1f} s  {line}")
    print("\n".join(history.problems) or "every promise was kept")
    return 1 if history.problems else 0


def main() -> int:
    """Play as many histories as there is time for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="play this one again")
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    asked = parser.parse_args()
    if asked.seed is not None:
        return one(asked.seed)
    began, done, bad = time.monotonic(), 0, 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        starts = range(asked.first, asked.first + asked.count, CHUNK)
        for problems in pool.map(broken, starts):
            done += CHUNK
            bad += len(problems)
            for seed, words in problems.items():
                print(f"seed {seed}: {words[0]}", flush=True)
            if time.monotonic() - began > LIMIT_S:
                pool.shutdown(cancel_futures=True)
                break
    last = asked.first + done - 1
    print(f"{done} histories, seeds {asked.first} to {last}: {bad} broke a promise")
    print(f"again: .venv/bin/python -m bench.histories --first {last + 1}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
