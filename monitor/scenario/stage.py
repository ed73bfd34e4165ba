"""Plays a story: the whole application on virtual time, in the scripted world.

Owns the life of the daemon within a story (start, stop, kill, reload) and the comparison of the
world with the story's checks. What counts is what receivers took in, not what we think we sent.
"""

from __future__ import annotations

import asyncio
import heapq
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import httpx2
import yaml

from monitor.app.daemon import App
from monitor.app.surroundings import Surroundings
from monitor.config.load import load_plan
from monitor.config.plan import Plan
from monitor.metrics import Telemetry
from monitor.notify.base import NotifyIO
from monitor.probes.base import ProbeIO
from monitor.rollback.base import HookIO
from monitor.scenario.loop import InlineExecutor, VirtualClock, VirtualLoop
from monitor.scenario.provider import ProviderTransport, SyncProviderTransport
from monitor.scenario.receivers import Receivers
from monitor.scenario.story import Check, Step, Story, TargetChange
from monitor.scenario.world import ScriptedTarget, World
from monitor.slo.signal import parse_signal
from monitor.store.sqlite import open_store

CONFIG = "monitor.yml"


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


def play(story: Story, folder: Path, seed: int = 0) -> list[Mismatch]:
    """Play `story`, whose file lies in `folder`; return every check that did not hold.

    Raises:
        ConfigErrors: the story's configuration is wrong.
        DeadlockError: the application waits for something that will never come.
    """
    with (
        TemporaryDirectory(prefix="slo-monitor-") as home,
        asyncio.Runner(loop_factory=VirtualLoop) as runner,
    ):
        return runner.run(_Stage(story, folder, Path(home), seed).play())


class _Stage:
    """One performance; needs a running virtual loop from `play` on."""

    def __init__(self, story: Story, folder: Path, home: Path, seed: int) -> None:
        self._story = story
        self._home = home
        self._rng = random.Random(seed)  # noqa: S311 - a story must be repeatable
        self._files: dict[str, Any] = dict(story.files)
        if isinstance(story.config, str):
            self._config_path = folder / story.config
        else:
            self._config_path = home / "config" / CONFIG
            self._files[CONFIG] = story.config
        self._telemetry = Telemetry()
        self._console = io.StringIO()
        self._app: App | None = None
        self._around: Surroundings | None = None
        self._clients: list[httpx2.AsyncClient] = []

    async def play(self) -> list[Mismatch]:
        story = self._story
        self._clock = VirtualClock(asyncio.get_running_loop(), story.starts_at)
        self._write_files()
        self._world = World({host: _changed(ScriptedTarget(), change)
                             for host, change in story.targets.items()})  # fmt: skip
        self._receivers = Receivers(self._load(), self._world, self._console)
        mismatches: list[Mismatch] = []
        await self._start()
        for at_s, what in self._programme():
            await asyncio.sleep(max(0.0, at_s - self._clock.monotonic()))
            if isinstance(what, Step):
                await self._act(what)
            else:
                mismatches += self._look(what)
        await asyncio.sleep(max(0.0, story.lasts_s - self._clock.monotonic()))
        if self._app is not None:
            await self._app.stop()
        for client in self._clients:
            await client.aclose()
        return mismatches

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

    async def _act(self, step: Step) -> None:
        if step.target is not None and step.change is not None:
            _changed(self._world.targets[step.target], step.change)
        if step.channel is not None and step.alive is not None:
            self._receivers.set_alive(step.channel, alive=step.alive)
        if step.config is not None:
            self._files[CONFIG] = {**self._files[CONFIG], **step.config}
            self._write_files()
        match step.daemon:
            case "kill":
                await self._kill()
            case "stop" if self._app is not None:
                await self._app.stop()
                self._app = None
            case "start":
                await self._start()
            case "reload" if self._app is not None:
                await self._app.reload()
            case _:
                pass

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
            probes=ProbeIO(connect=self._world.connect, resolve=self._world.resolve),
            notify=NotifyIO(
                http=client,
                sync_transport=SyncProviderTransport(providers, self._clock.now),
                executor=InlineExecutor(),
                smtp_send=self._receivers.send_mail,
                console=self._console,
            ),
            hooks=HookIO(http=client, spawn=_no_processes),
            load_plan=self._load,
        )
        self._app = App(self._load(), self._around, self._telemetry)
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
        plan = load_plan(self._config_path, self._story.env)
        # The world speaks plain HTTP only: TLS is not what a story is about.
        deployments = tuple(
            replace(
                each,
                probes=tuple(
                    replace(bound, url=bound.url.replace("https://", "http://", 1))
                    for bound in each.probes
                ),
            )
            for each in plan.deployments
        )
        return replace(plan, deployments=deployments)

    def _write_files(self) -> None:
        for name, content in self._files.items():
            path = self._home / "config" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            text = content if isinstance(content, str) else yaml.safe_dump(content)
            path.write_text(text, encoding="utf-8")

    def _look(self, check: Check) -> list[Mismatch]:
        found = [
            (what, got, expected)
            for what, got, expected, within in self._figures(check)
            if not _agrees(got, expected, within)
        ]
        return [Mismatch(check.at_s, *each) for each in found]

    def _figures(self, check: Check) -> Iterator[tuple[str, object, object, float]]:
        """Yield (what, value, expected, tolerance) for everything that `check` names."""
        for name, told in check.channels.items():
            counts = self._receivers.told(name)
            for what, expected in told.model_dump(exclude_none=True).items():
                yield f"{name} {what}", counts[what], expected, 0.0
        for deployment, count in check.rollbacks.items():
            yield f"rollbacks of {deployment}", self._receivers.rolled_back(deployment), count, 0.0
        app = self._app
        if app is None:
            return
        if check.open_incidents is not None:
            still = sum(incident.is_open for incident in app.incidents())
            yield "open incidents", still, check.open_incidents, 0.0
        states = {f"{a.rule}@{a.deployment}": a.state.value for a in app.engine.alerts()}
        for alert, state in check.alerts.items():
            yield f"alert {alert}", states.get(alert, "inactive"), state, 0.0
        for figure in check.figures:
            signal = parse_signal(figure.name)
            value = (
                app.engine.value(signal, figure.deployment, self._clock.now()) if signal else None
            )
            yield f"{figure.name} of {figure.deployment}", value, figure.is_, figure.within


async def _no_processes(*_argv: str, **_options: Any) -> NoReturn:
    msg = "a story starts no processes"
    raise OSError(msg)


def _agrees(got: object, expected: object, within: float) -> bool:
    if isinstance(got, int | float) and isinstance(expected, int | float):
        return abs(got - expected) <= within
    return got == expected


def _changed(target: ScriptedTarget, change: TargetChange) -> ScriptedTarget:
    for name, value in change.model_dump(exclude_none=True).items():
        setattr(target, name, value)
    return target
