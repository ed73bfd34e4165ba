"""What the engine and the store cost by themselves.

    make bench BENCH=ingest

Engine: taking in one sample, asking for one window, and one evaluation of 1,000 deployments with
five rules each, in processor time. Store: one commit of 1,000 window buckets to disk, and the
restart of 100 targets with thirty days behind them (read the database, rebuild the windows), by
the clock. Medians of several runs.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.support.figures import Figure, conclude
from bench.support.fleet import EPOCH, INTERVAL_S, fleet, rules, samples
from monitor.model import BucketRow
from monitor.slo.engine import Engine
from monitor.slo.signal import WINDOWS
from monitor.slo.sketch import Sketch
from monitor.store.base import Batch
from monitor.store.sqlite import open_store

DEPLOYMENTS = 1000
FILLED_S = 3600
STEPS = 20
QUERIES = 2000
BUCKETS = 1000
COMMITS = 15
RESTORED = 100
DAYS = 30
RESTARTS = 3
DAY_S = 86400


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time that `work` takes; it waits for nothing."""
    began = time.process_time()
    work()
    return time.process_time() - began


def engine_figures() -> list[Figure]:
    """Measure the engine on a fleet with an hour behind it."""
    specs, chance = fleet(DEPLOYMENTS), random.Random(1)  # noqa: S311 - must be repeatable
    engine, now = Engine(specs, rules(), EPOCH), EPOCH
    while now < EPOCH + FILLED_S:
        now += 4 * INTERVAL_S
        engine.step(now, list(samples(specs, now - 1, chance)))
    quiet, busy = [], []
    for _ in range(STEPS):
        # The next tick of the same moment only evaluates; the one after it takes samples in too.
        quiet.append(seconds(partial(engine.step, now)))
        arrived = list(samples(specs, now, chance))
        busy.append(seconds(partial(engine.step, now, arrived)))
    step_s = statistics.median(quiet)
    names = [chance.choice(specs).deployment.name for _ in range(QUERIES)]
    spans = [chance.choice(tuple(WINDOWS.values())) for _ in names]
    asked = [
        seconds(partial(engine.window, name, span, now))
        for name, span in zip(names, spans, strict=True)
    ]
    return [
        Figure(
            name="engine_ingest",
            value=(statistics.median(busy) - step_s) / DEPLOYMENTS * 1e6,
            unit="us/sample",
        ),
        Figure(name="engine_window", value=statistics.median(asked) * 1e6, unit="us/query"),
        Figure(
            name="engine_step",
            value=step_s * 1e3,
            unit="ms",
            note=f"{DEPLOYMENTS} deployments x {len(engine.rules)} rules",
        ),
    ]


def buckets() -> Iterator[BucketRow]:
    """Yield what is on disk of RESTORED targets after DAYS days, up to EPOCH."""
    sketches = list(_sketches())
    for number, spec in enumerate(fleet(RESTORED)):
        [target] = spec.targets
        for width_s, kept_s in ((10, 3 * 3600), (300, 4 * DAY_S), (3600, DAYS * DAY_S)):
            count = max(1, round(width_s / INTERVAL_S))
            sketch = sketches[number % len(sketches)][width_s]
            for start in range(int(EPOCH) - kept_s, int(EPOCH), width_s):
                yield BucketRow(
                    target=target.id,
                    width_s=width_s,
                    start=start // width_s * width_s,
                    good=count,
                    bad=0,
                    unknown=0,
                    up_ms=round(count * INTERVAL_S * 1000),
                    down_ms=0,
                    sketch=sketch,
                )


def _sketches() -> Iterator[dict[int, bytes]]:
    """Yield sketches as large as the buckets of each width have them."""
    chance = random.Random(2)  # noqa: S311 - must be repeatable
    for _ in range(10):
        made = {}
        for width_s in (10, 300, 3600):
            sketch = Sketch()
            for _ in range(max(1, round(width_s / INTERVAL_S))):
                sketch.add(chance.lognormvariate(-2.3, 0.4))
            made[width_s] = sketch.to_bytes()
        yield made


async def store_figures(folder: Path) -> list[Figure]:
    """Measure the store on the disk that `folder` is on."""
    rows = list(buckets())
    commits, restarts = [], []
    with ThreadPoolExecutor(1) as disk:
        store = await open_store(folder, disk, EPOCH)
        await store.commit(Batch(buckets=rows, seen_at=EPOCH))
        for round_ in range(COMMITS):
            # Half of what is flushed changes a bucket that is there, half begins one.
            changed = [
                replace(row, start=row.start + (round_ + 1) * (index % 2) * 3600)
                for index, row in enumerate(rows[-BUCKETS:])
            ]
            began = time.perf_counter()
            await store.commit(Batch(buckets=changed, seen_at=EPOCH))
            commits.append(time.perf_counter() - began)
        await store.close()
        for _ in range(RESTARTS):
            began = time.perf_counter()
            store = await open_store(folder, disk, EPOCH)
            state = await store.load(EPOCH)
            engine = Engine(fleet(RESTORED), rules(), EPOCH)
            engine.restore(
                alerts=state.alerts,
                releases=state.releases,
                buckets=state.buckets,
                born=state.born,
                seen_at=state.seen_at,
                now=EPOCH,
            )
            restarts.append(time.perf_counter() - began)
            await store.close()
    size = f"{len(state.buckets)} buckets"
    return [
        Figure(
            name="store_commit",
            value=statistics.median(commits) * 1e3,
            unit="ms",
            note=f"{BUCKETS} buckets, slowest {max(commits) * 1e3:.0f} ms",
        ),
        Figure(name="store_restore", value=statistics.median(restarts), unit="s", note=size),
    ]


def main() -> int:
    """Print the figures."""
    figures = engine_figures()
    with TemporaryDirectory(prefix="bench-") as folder:
        figures += asyncio.run(store_figures(Path(folder)))
    return conclude(figures)


if __name__ == "__main__":
    sys.exit(main())
