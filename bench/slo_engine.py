"""What the engine and the store cost by themselves.

    make bench BENCH=slo_engine

Processor time of taking in one sample, of asking for one window, and of one evaluation of 10,000
deployments with five rules and one objective of four burn-rate tiers each; the longest piece of
work between two pauses of that evaluation; memory of a target with ninety days behind it, at 15 s
and all windows asked for; and, by the clock, one commit of 1,000 changed targets and the restart
of 1,000 targets with ninety days behind them.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.support.figures import Figure, conclude
from bench.support.fleet import EPOCH, INTERVAL_S, OBJECTIVE, fleet, rules, samples
from monitor.model import Sample, WindowRow
from monitor.slo.engine import Engine
from monitor.slo.heads import PART as HEADS
from monitor.slo.signal import WINDOWS
from monitor.slo.spec import DeploymentSpec
from monitor.store.base import Batch
from monitor.store.lock import DATABASE
from monitor.store.sqlite import open_store

DEPLOYMENTS = 10_000
EVALUATION_S = 5.0
STEPS = 12
TAKING = 1000
FILLED_S = 600
QUERIES = 3000
REMEMBERING = 2
"""Targets whose memory is measured: each is fed a quarter of a year."""
WEIGHED = 50
RESTORED = 1000
COMMITS = 8
RESTARTS = 3
DAY_S = 86400
DAYS = 90
LATER = EPOCH + DAYS * DAY_S
ERRORS = 0.0005
"""Half of what a 99.9 % objective allows: nothing is quiet enough to be skipped for ever."""


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time that `work` takes; it waits for nothing."""
    began = time.process_time()
    work()
    return time.process_time() - began


def feed(engine: Engine, specs: list[DeploymentSpec], start: float, end: float, seed: int) -> None:
    """Give the engine what every target measured from `start` to `end`."""
    chance, now = random.Random(seed), start  # noqa: S311 - must be repeatable
    while now < end:
        now += INTERVAL_S
        engine.step(now, list(samples(specs, now - 1, chance, errors=ERRORS)))


def engine_figures(known: list[DeploymentSpec], rows: Sequence[WindowRow]) -> list[Figure]:
    """Measure the engine on a fleet with a quarter of a year behind it."""
    specs, now = fleet(DEPLOYMENTS), LATER
    engine = Engine(specs, rules(), now)
    windows = copies(known, rows, specs)
    engine.restore(
        alerts=(),
        releases=(),
        windows=windows,
        born=[(target.id, EPOCH) for spec in specs for target in spec.targets],
        seen_at=None,
        now=now,
    )
    gc.collect()
    gc.freeze()
    chance = random.Random(2)  # noqa: S311 - must be repeatable
    # The first one adds up whatever is asked about; from then on totals are kept.
    first_s, _ = sliced(engine, now, [])
    spent, pieces = [], []
    for number in range(STEPS):
        now += EVALUATION_S
        arrived = list(samples(specs, now - 1, chance, errors=ERRORS)) if number % 3 == 0 else []
        time_s, longest_s = sliced(engine, now, arrived)
        spent.append(time_s)
        pieces.append(longest_s)
    names = [chance.choice(specs).deployment.name for _ in range(QUERIES)]
    spans = [chance.choice(tuple(WINDOWS.values())) for _ in names]
    for name, span in zip(names, spans, strict=True):
        engine.window(name, span, now)
    asked = [
        seconds(partial(engine.window, name, span, now))
        for name, span in zip(names, spans, strict=True)
    ]
    kinds = f"{DEPLOYMENTS} deployments x (1 SLO with 4 tiers + {len(engine.rules)} rules)"
    return [
        Figure(
            name="window_query",
            value=statistics.median(asked) * 1e6,
            unit="us",
            at_most=50.0,
            note=f"99 of 100 below {sorted(asked)[-len(asked) // 100] * 1e6:.0f} us",
        ),
        Figure(
            name="evaluation",
            value=statistics.mean(spent) * 1e3,
            unit="ms",
            at_most=400.0,
            note=f"{kinds}, samples every 15 s included; "
            f"{min(spent) * 1e3:.0f} to {max(spent) * 1e3:.0f} ms, the very first {first_s:.1f} s",
        ),
        Figure(
            name="longest_piece", value=max(pieces) * 1e3, unit="ms", at_most=20.0,
            note="by the clock, between two pauses of an evaluation",
        ),
    ]  # fmt: skip


def ingest_figure() -> Figure:
    """Measure what a sample costs, for the windows of its target and the record of an objective.

    There are no rules, so that nothing is evaluated.
    """
    quiet = [replace(spec, objective=replace(OBJECTIVE, tiers=())) for spec in fleet(TAKING)]
    engine, now = Engine(quiet, [], EPOCH), EPOCH
    feed(engine, quiet, EPOCH, EPOCH + FILLED_S, 1)
    now += FILLED_S
    gc.collect()
    gc.freeze()
    chance = random.Random(2)  # noqa: S311 - must be repeatable
    taken = []
    for _ in range(STEPS):
        now += INTERVAL_S
        engine.step(now)
        arrived = list(samples(quiet, now, chance, errors=ERRORS))
        # Both evaluate everything, though without samples nothing would have to be.
        engine._moment = None  # noqa: SLF001
        nothing_s = seconds(partial(engine.step, now))
        engine._moment = None  # noqa: SLF001
        taken.append((seconds(partial(engine.step, now, arrived)) - nothing_s) / TAKING)
    return Figure(
        name="ingest",
        value=statistics.median(taken) * 1e6,
        unit="us/sample",
        at_most=5.0,
        note="into all windows of a target and an objective's record",
    )


def sliced(engine: Engine, now: float, arrived: list[Sample]) -> tuple[float, float]:
    """Return the processor time of one step, and its longest piece by the clock."""
    began = time.process_time()
    work, longest = engine.stepping(now, arrived), 0.0
    at = time.perf_counter()
    for _ in work:
        ended = time.perf_counter()
        longest, at = max(longest, ended - at), ended
    return time.process_time() - began, longest


def remembered() -> tuple[list[DeploymentSpec], tuple[WindowRow, ...]]:
    """Return a few deployments and all that is stored of them after a quarter of a year."""
    specs = fleet(REMEMBERING)
    engine = Engine(specs, [], EPOCH)
    feed(engine, specs, EPOCH, LATER, 3)
    # Nothing was flushed before, so this is every part of every window.
    rows, _ = engine.flush()
    return specs, rows


def memory_figures(specs: list[DeploymentSpec], rows: Sequence[WindowRow]) -> list[Figure]:
    """Measure what a target takes, and what an objective of it does."""
    known, specs = specs, fleet(WEIGHED)
    rows = list(copies(known, rows, specs))
    bare = [replace(spec, objective=None, sla=None) for spec in specs]
    alone, together = (_bytes_per_target(each, rows) for each in (bare, specs))
    return [
        Figure(
            name="target_memory",
            value=alone / 1024,
            unit="KiB",
            at_most=48.0,
            note=f"{DAYS} days at {INTERVAL_S:g} s, quantiles of every window asked for",
        ),
        Figure(
            name="objective_memory",
            value=(together - alone) / 1024,
            unit="KiB",
            note="an objective with four tiers, besides",
        ),
    ]


def _bytes_per_target(specs: list[DeploymentSpec], rows: Sequence[WindowRow]) -> float:
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    engine = Engine(specs, [], LATER)
    engine.restore(alerts=(), releases=(), windows=rows, born=(), seen_at=None, now=LATER)
    for spec in specs:
        for window_s in WINDOWS.values():
            engine.window(spec.deployment.name, window_s, LATER)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / len(specs)


async def store_figures(
    folder: Path, known: list[DeploymentSpec], rows: Sequence[WindowRow]
) -> list[Figure]:
    """Measure the store on the disk that `folder` is on."""
    specs, windows = fleet(RESTORED), list(copies(known, rows, fleet(RESTORED)))
    commits, restarts = [], []
    with ThreadPoolExecutor(1) as disk:
        store = await open_store(folder, disk, LATER)
        await store.commit(Batch(windows=windows, seen_at=LATER))
        heads = [row for row in windows if row.part == HEADS]
        for round_ in range(COMMITS):
            changed = [replace(row, at=row.at + round_) for row in heads]
            began = time.perf_counter()
            await store.commit(Batch(windows=changed, seen_at=LATER))
            commits.append(time.perf_counter() - began)
        await store.close()
        size = os.stat(folder / DATABASE).st_size  # noqa: PTH116 - what a path offers would wait
        for _ in range(RESTARTS):
            began = time.perf_counter()
            store = await open_store(folder, disk, LATER)
            state = await store.load(LATER)
            engine = Engine(specs, rules(), LATER)
            engine.restore(
                alerts=state.alerts,
                releases=state.releases,
                windows=state.windows,
                born=state.born,
                seen_at=state.seen_at,
                now=LATER,
            )
            restarts.append(time.perf_counter() - began)
            found = engine.window(specs[0].deployment.name, 30 * DAY_S, LATER).valid
            await store.close()
    return [
        Figure(
            name="store_commit",
            value=statistics.median(commits) * 1e3,
            unit="ms",
            note=f"{len(heads)} changed targets, slowest {max(commits) * 1e3:.0f} ms",
        ),
        Figure(
            name="store_restore",
            value=statistics.median(restarts),
            unit="s",
            at_most=2.0,
            note=f"{RESTORED} targets and objectives x {DAYS} days, {found} samples in 30 of them",
        ),
        Figure(
            name="store_size", value=size / 1024 / RESTORED, unit="KiB",
            note="on disk for a target with an objective",
        ),
    ]  # fmt: skip


def copies(
    known: list[DeploymentSpec], rows: Sequence[WindowRow], specs: list[DeploymentSpec]
) -> Iterator[WindowRow]:
    """Yield the rows as if every deployment of the fleet had gone through the same."""
    by_owner: dict[str, list[WindowRow]] = {}
    for row in rows:
        by_owner.setdefault(row.owner, []).append(row)
    for number, spec in enumerate(specs):
        model = known[number % len(known)].deployment.name
        for owner, found in by_owner.items():
            if model in owner:
                # Names are equally long, and heads name their owners.
                mine, there = spec.deployment.name, model.encode()
                for row in found:
                    data = row.data
                    if row.part == HEADS:
                        data = data.replace(there, mine.encode())
                    yield replace(row, owner=owner.replace(model, mine), data=data)


def main() -> int:
    """Print the figures."""
    specs, rows = remembered()
    figures = [ingest_figure(), *engine_figures(specs, rows), *memory_figures(specs, rows)]
    with TemporaryDirectory(prefix="bench-") as folder:
        figures += asyncio.run(store_figures(Path(folder), specs, rows))
    return conclude(figures)


if __name__ == "__main__":
    sys.exit(main())
