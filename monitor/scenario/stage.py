"""Plays a story: the whole application on virtual time, in the scripted world.

Owns the life of the daemon within a story (start, stop, kill, reload) and the comparison of the
world with the story's checks. What counts is what receivers took in, not what we think we sent.
"""

from __future__ import annotations

import asyncio
import heapq
import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import httpx2

from monitor.app.daemon import App
from monitor.app.surroundings import Surroundings
from monitor.config.plan import Plan
from monitor.metrics import Telemetry
from monitor.notify.base import NotifyIO
from monitor.probes.base import ProbeIO
from monitor.rollback.base import HookIO
from monitor.scenario.loop import InlineExecutor, VirtualClock, VirtualLoop
from monitor.scenario.papers import Papers
from monitor.scenario.promises import broken_promises
from monitor.scenario.provider import ProviderTransport, SyncProviderTransport
from monitor.scenario.receivers import Receivers
from monitor.scenario.story import Check, Figure, Step, Story, TargetChange
from monitor.scenario.world import ScriptedTarget, World
from monitor.slo.signal import parse_signal
from monitor.store.sqlite import open_store


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A check that did not hold."""

    at_s: float
    what: str
    got: object
    expected: object

    def __str__(self) -> str:
        """Return one line for people."""
        return f"at {self.at_s:g}s: {self.what} is {self.got!r}, expected {self.expected!r}"


@dataclass(frozen=True, slots=True)
class Performance:
    """What came of a story."""

    mismatches: Sequence[Mismatch]
    receivers: Receivers


def play(story: Story, folder: Path, seed: int = 0) -> Sequence[Mismatch]:
    """Play `story`, whose file lies in `folder`; return every check that did not hold.

    The promises that hold in every story are checked as well, at its end.

    Raises:
        ConfigErrors: the story's configuration is wrong.
        DeadlockError: the application waits for something that will never come.
    """
    return perform(story, folder, seed).mismatches


def perform(story: Story, folder: Path, seed: int = 0) -> Performance:
    """Play `story` like `play`; return what its receivers took in too."""
    with (
        TemporaryDirectory(prefix="slo-monitor-") as home,
        asyncio.Runner(loop_factory=VirtualLoop) as runner,
    ):
        return runner.run(_Stage(story, folder, Path(home), seed).perform())


class _Stage:
    """One performance; needs a running virtual loop from `perform` on."""

    def __init__(self, story: Story, folder: Path, home: Path, seed: int) -> None:
        self._story = story
        self._home = home
        self._rng = random.Random(seed)  # noqa: S311 - a story must be repeatable
        self._papers = Papers(story, folder, home)
        self._telemetry = Telemetry()
        self._console = io.StringIO()
        self._world = World({host: _changed(ScriptedTarget(), change)
                             for host, change in story.targets.items()})  # fmt: skip
        self._receivers = Receivers(self._world, self._console)
        self._app: App | None = None
        self._around: Surroundings | None = None
        self._clients: list[httpx2.AsyncClient] = []

    async def perform(self) -> Performance:
        story = self._story
        self._clock = VirtualClock(asyncio.get_running_loop(), story.starts_at)
        mismatches: list[Mismatch] = []
        await self._start()
        for at_s, what in self._programme():
            await asyncio.sleep(max(0.0, at_s - self._clock.monotonic()))
            mismatches += await self._act(what) if isinstance(what, Step) else self._look(what)
        await asyncio.sleep(max(0.0, story.lasts_s - self._clock.monotonic()))
        if self._app is not None:
            await self._app.stop()
        for client in self._clients:
            await client.aclose()
        mismatches += [
            Mismatch(story.lasts_s, "promise", broken, "kept")
            for broken in broken_promises(self._receivers)
        ]
        return Performance(mismatches, self._receivers)

    def _programme(self) -> Iterator[tuple[float, Step | Check]]:
        """Yield everything that happens, in order; at the same moment steps come before checks."""
        entries: list[tuple[float, int, int, Step | Check]] = []
        for number, step in enumerate(self._story.steps):
            end_s = step.at_s if step.until_s is None else step.until_s
            at_s = step.at_s
            while at_s <= end_s:
                entries.append((at_s, 0, number, step))
                if not step.every_s:
                    break
                at_s += step.every_s
        entries += [(check.at_s, 1, n, check) for n, check in enumerate(self._story.checks)]
        heapq.heapify(entries)
        while entries:
            at_s, _, _, what = heapq.heappop(entries)
            yield at_s, what

    async def _act(self, step: Step) -> list[Mismatch]:
        """Let happen what `step` says; return what kept the daemon from doing it."""
        if step.target is not None and step.change is not None:
            _changed(self._world.targets[step.target], step.change)
        if step.channel is not None or step.hook is not None:
            self._receivers.act(step)
        if step.config is not None:
            self._papers.change(step.config)
        if step.daemon is None:
            return []
        problem = await self._conduct(step.daemon)
        return [] if problem is None else [Mismatch(step.at_s, step.daemon, problem, "done")]

    async def _conduct(self, what: str) -> str | None:
        """Do `what` to the daemon; return why not, when it cannot be done."""
        if (self._app is None) != (what == "start"):
            return "not running" if self._app is None else "running already"
        if what == "start":
            await self._start()
        elif what == "kill":
            await self._kill()
        elif self._app is not None and what == "reload":
            self._receivers.add(self._load())
            return await self._app.reload()
        elif self._app is not None:
            await self._app.stop()
            self._app = None
        return None

    async def _start(self) -> None:
        store = await open_store(
            self._home / "data", InlineExecutor(), self._clock.now(), synchronous="OFF"
        )
        providers = self._receivers.providers
        client = httpx2.AsyncClient(
            transport=ProviderTransport(providers, self._clock.now), follow_redirects=False
        )
        self._clients.append(client)
        self._around = Surroundings(
            clock=self._clock,
            rng=self._rng,
            store=store,
            executor=InlineExecutor(),
            probes=ProbeIO(
                connect=self._world.connect,
                resolve=self._world.resolve,
                datagram=_not_in_a_story,
                echo=_no_echo,
                spawn=_not_in_a_story,
                modified_at=_not_in_a_story,
            ),
            notify=NotifyIO(
                http=client,
                sync_transport=SyncProviderTransport(providers, self._clock.now),
                executor=InlineExecutor(),
                smtp_send=self._receivers.send_mail,
                console=self._console,
            ),
            hooks=HookIO(http=client, spawn=_not_in_a_story),
            load_plan=self._load,
        )
        plan = self._load()
        self._receivers.add(plan)
        self._app = App(plan, self._around, self._telemetry)
        await self._app.start()

    async def _kill(self) -> None:
        """End the daemon as SIGKILL does: nothing is drained, flushed or said."""
        if self._app is None or self._around is None:
            return
        mine = asyncio.current_task()
        victims = [task for task in asyncio.all_tasks() if task is not mine]
        for task in victims:
            task.cancel()
        await asyncio.gather(*victims, return_exceptions=True)
        await self._around.store.close()
        self._app = None

    def _load(self) -> Plan:
        return self._papers.load()

    def _look(self, check: Check) -> list[Mismatch]:
        found = [
            (what, got, expected)
            for what, got, expected, within in self._figures(check)
            if not _agrees(got, expected, within)
        ]
        return [Mismatch(check.at_s, *each) for each in found]

    def _figures(self, check: Check) -> Iterator[tuple[str, object, object, float]]:
        """Yield (what, value, expected, tolerance) for everything that `check` names.

        What only the daemon knows is None while it is down, or does not know it any more.
        """
        for name, told in check.channels.items():
            counts = self._receivers.told(name)
            for what, expected in told.model_dump(exclude_none=True).items():
                yield f"{name} {what}", counts[what], expected, 0.0
        for deployment, count in check.rollbacks.items():
            done = len(self._receivers.rolled_back(deployment))
            yield f"rollbacks of {deployment}", done, count, 0.0
        app = self._app
        if check.open_incidents is not None:
            still = app and sum(incident.is_open for incident in app.incidents())
            yield "open incidents", still, check.open_incidents, 0.0
        known = app.engine.alerts() if app else ()
        states = {f"{alert.rule}@{alert.deployment}": alert.state.value for alert in known}
        for name, state in check.alerts.items():
            yield f"alert {name}", states.get(name), state, 0.0
        for figure in check.figures:
            what = f"{figure.name} of {figure.deployment}"
            yield what, self._value(figure), figure.is_, figure.within

    def _value(self, figure: Figure) -> float | str | None:
        signal = parse_signal(figure.name)
        if self._app is None or signal is None or figure.deployment not in self._app.engine.specs:
            return None
        return self._app.engine.value(signal, figure.deployment, self._clock.now())


async def _not_in_a_story(*_what: object, **_how: object) -> NoReturn:
    msg = "a story starts no processes, sends no datagrams and looks at no files"
    raise OSError(msg)


def _no_echo(*_what: object) -> NoReturn:
    msg = "a story sends no pings"
    raise OSError(msg)


def _agrees(got: object, expected: object, within: float) -> bool:
    if isinstance(got, int | float) and isinstance(expected, int | float):
        return abs(got - expected) <= within
    return got == expected


def _changed(target: ScriptedTarget, change: TargetChange) -> ScriptedTarget:
    for name in change.model_fields_set:
        value = getattr(change, name)
        if value is not None:
            setattr(target, name, value)
    return target
