"""From the first failing answer to an accepted page, beside Prometheus with its Alertmanager.

    make bench BENCH=page_speed

Needs Debian's `apt-get install prometheus prometheus-blackbox-exporter prometheus-alertmanager`.
Both watch the same targets every 5 s, at the same time, and post to one webhook receiver. Each
target is broken (503) and repaired at random moments of the interval, again and again, on its own.
Ours is the real `monitor run` with its store on disk.

The clock starts twice: when the target breaks, and when it first gives that side a failing answer
(a good one after the repair). Before that answer nobody can know, and until then both wait the
same: half an interval in the middle. The bar is on what comes after it.
"""

from __future__ import annotations

import asyncio
import math
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from aiohttp import web

from bench.support.alertmanager import Peer, peer
from bench.support.figures import Figure, conclude
from bench.support.processes import free_port, running

SEED = 20261127
TARGETS = 60
INTERVAL_S = 5
OUTAGES_EACH = 3
"""An alert that fires four times within an hour flaps: its end is held back on purpose."""
SETTLE_S = 15.0
"""For three probes of everything before the first outage."""
PATIENCE_S = 30.0
"""For one word of both sides; a word that comes later is lost."""
FEWEST = 100
RATIO = 2.0
OURS, THEIRS = "ours", "theirs"
SIDES = (OURS, THEIRS)


@dataclass(slots=True)
class Turn:
    """A target that broke or was repaired, and when each side saw it and was heard of it."""

    broken: bool
    at: float
    seen: dict[str, float] = field(default_factory=dict)
    """Side -> when the first answer that shows it was given."""
    told: dict[str, float] = field(default_factory=dict)
    """Side -> when the receiver took its message."""
    both_told: asyncio.Event = field(default_factory=asyncio.Event)


class World:
    """The targets and the receiver of the pages; one process, so one clock."""

    def __init__(self) -> None:
        """Begin with everything in order."""
        self.turns = {
            f"t{number:02}": [Turn(broken=False, at=time.monotonic())] for number in range(TARGETS)
        }
        self.strays = 0
        """Messages that say what is not so, or was said before."""

    def turn(self, target: str, *, broken: bool) -> Turn:
        """Break a target or repair it."""
        turn = Turn(broken=broken, at=time.monotonic())
        self.turns[target].append(turn)
        return turn

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer a probe at `/SIDE/TARGET`, take a page at `/pages/SIDE`."""
        first, second = request.path.strip("/").split("/")
        if first == "pages":
            for target, firing in _pages(second, await request.json()):
                self.take(second, target, firing=firing)
            return web.Response(status=204)
        turn = self.turns[second][-1]
        turn.seen.setdefault(first, time.monotonic())
        return web.Response(status=503 if turn.broken else 200)

    def take(self, side: str, target: str, *, firing: bool) -> None:
        """Note that `side` says a target is down, or is not."""
        turn = self.turns[target][-1]
        if turn.broken is not firing or side in turn.told:
            self.strays += 1
            return
        turn.told[side] = time.monotonic()
        if len(turn.told) == len(SIDES):
            turn.both_told.set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Yield the address of all this."""
        runner = web.ServerRunner(web.Server(self.handle, access_log=None), shutdown_timeout=0.05)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


def _pages(side: str, document: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield the targets that a message is about, and whether each is said to be down."""
    if side == OURS:
        yield document["data"]["environment"], document["data"]["state"] == "open"
        return
    for alert in document["alerts"]:
        yield alert["labels"]["instance"].rpartition("/")[2], alert["status"] == "firing"


@contextmanager
def ours(home: Path, base: str, targets: Sequence[str]) -> Iterator[None]:
    """Run our daemon: one rule that fires on a single failing probe, without `for`."""
    port = free_port()
    rule = {
        "name": "down",
        "condition": "health == 'unhealthy'",
        "severity": "critical",
        "channels": ["pages"],
        "keep_firing_for": "0s",
    }
    config = {
        "service": "shop",
        "environments": {name: {"url": f"{base}/{OURS}/{name}"} for name in targets},
        "deployments": [{"environment": name, "probes": [{"kind": "http"}]} for name in targets],
        "rules": "alerts.yml",
        # A sample that may change an alert is evaluated when it comes, whatever this says.
        "evaluation_interval": "1s",
        "defaults": {"interval": f"{INTERVAL_S}s", "timeout": "2s"},
        "channels": {"pages": {"kind": "webhook", "url": f"{base}/pages/{OURS}"}},
        "server": {"listen": f"127.0.0.1:{port}"},
        "storage": {"path": "data"},
        "allowed_networks": ["127.0.0.0/8"],
    }
    (home / "monitor.yml").write_text(yaml.safe_dump(config))
    (home / "alerts.yml").write_text(yaml.safe_dump({"alerts": [rule]}))
    arguments = (sys.executable, "-m", "monitor", "run", "--config", str(home / "monitor.yml"))
    with running(arguments, home, f"http://127.0.0.1:{port}/readyz"):
        yield


async def live(world: World, target: str, chance: random.Random) -> None:
    """Break and repair one target a few times, at random moments of the interval."""
    for broken in (True, False) * OUTAGES_EACH:
        await asyncio.sleep(chance.uniform(0.2, 0.2 + 3 * INTERVAL_S))
        turn = world.turn(target, broken=broken)
        try:
            await asyncio.wait_for(turn.both_told.wait(), PATIENCE_S)
        except TimeoutError:
            silent = set(SIDES) - set(turn.told)
            print(f"# {target}: nothing within {PATIENCE_S:.0f} s from {', '.join(silent)}")


async def perform(home: Path) -> World:
    """Run both sides beside each other over all outages; return what happened."""
    world = World()
    chance = random.Random(SEED)  # noqa: S311 - must be repeatable
    async with world.serving() as base:
        with ExitStack() as sides:
            for name, start in ((OURS, ours), (THEIRS, theirs)):
                place = home / name
                place.mkdir()
                # Starting a program waits for it: meanwhile our servers have to answer.
                side = start(place, base, tuple(world.turns))
                await asyncio.to_thread(sides.enter_context, side)
            await asyncio.sleep(SETTLE_S)
            await asyncio.gather(
                *(
                    live(world, target, random.Random(chance.random()))  # noqa: S311
                    for target in world.turns
                )
            )
    return world


def theirs(home: Path, base: str, targets: Sequence[str]) -> Peer:
    """Run Debian's Prometheus, blackbox exporter and Alertmanager."""
    urls = [f"{base}/{THEIRS}/{target}" for target in targets]
    return peer(home, urls, f"{base}/pages/{THEIRS}", INTERVAL_S)


@dataclass(frozen=True, slots=True)
class Spread:
    """Middle and end of some waits, in seconds."""

    median: float
    p99: float

    @classmethod
    def of(cls, waits_s: Sequence[float]) -> Spread:
        """Return that of `waits_s`; the 99th percentile is the nearest rank."""
        ordered = sorted(waits_s)
        return cls(statistics.median(ordered), ordered[math.ceil(0.99 * len(ordered)) - 1])


def figures(turns: Sequence[Turn]) -> Iterator[Figure]:
    """Yield the figures of those turns that both sides saw and told."""
    for word, broken in (("page", True), ("resolved", False)):
        some = [turn for turn in turns if turn.broken is broken]
        yield Figure(name=f"{word}_count", value=len(some), unit="turns", at_least=FEWEST)
        if not some:
            continue
        for start in ("answer", "moment"):
            spreads = {}
            for side in SIDES:
                spreads[side] = spread = Spread.of(
                    [t.told[side] - (t.at if start == "moment" else t.seen[side]) for t in some]
                )
                note = f"p99 {spread.p99:.3g} s, from the {start}"
                name = f"{word}_from_{start}_{side}"
                yield Figure(name=name, value=spread.median, unit="s", note=note)
            for part in ("median", "p99"):
                yield Figure(
                    name=f"{word}_from_{start}_{part}_ratio",
                    value=getattr(spreads[THEIRS], part) / getattr(spreads[OURS], part),
                    unit="times as fast",
                    at_least=RATIO if start == "answer" else None,
                )


def main() -> int:
    """Measure both and print the figures."""
    print(f"# seed {SEED}, {TARGETS} targets, every {INTERVAL_S} s")
    with TemporaryDirectory(prefix="page-speed-") as place:
        world = asyncio.run(perform(Path(place)))
    # The first entry of each target is its good beginning.
    turns = [turn for each in world.turns.values() for turn in each[1:]]
    told = [turn for turn in turns if turn.both_told.is_set()]
    lost = {side: sum(side not in turn.told for turn in turns) for side in SIDES}
    return conclude(
        [
            *figures(told),
            Figure(name="lost_ours", value=lost[OURS], unit="messages", at_most=0),
            Figure(name="lost_theirs", value=lost[THEIRS], unit="messages"),
            Figure(name="strays", value=world.strays, unit="messages", note="of both"),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
