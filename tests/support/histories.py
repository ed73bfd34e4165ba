"""Random histories of alerts, people and faults, and what must be true at the end of each.

The real incidents and the real outbox, in virtual time, over a store that forgets what was not
committed. Every await of a channel and every commit may fail, hang, or be the last thing that the
process does. Conditions are level-triggered, as in the engine: a transition that a crash took away
comes again.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, cast

from monitor.escalation import EscalationStep
from monitor.incidents import Incidents, IncidentSettings
from monitor.last_resort import LastResort
from monitor.metrics import Telemetry
from monitor.model import (
    Acknowledge,
    Acknowledgement,
    AlertState,
    AlertStatus,
    Delivery,
    DeliveryResult,
    Deployment,
    Incident,
    IncidentAlert,
    Matcher,
    Message,
    Owed,
    Priority,
    SendReason,
    Severity,
    Silence,
    Transition,
)
from monitor.outbox import Outbox, OutboxSettings
from monitor.routing import Tempo
from monitor.scenario.loop import InlineExecutor, VirtualClock
from monitor.slo.alerting import AlertRule
from monitor.slo.condition import compile_condition
from monitor.slo.engine import DeploymentSpec, Engine
from monitor.store.base import Batch, StoreError
from tests.support.virtual import run

START = 1_000_000.0
TICK_S = 30.0
STEPS = 10
CALM_S = 9000.0
"""Longer than any back-off and any hold: after it everything must be in order."""
CALM_TICK_S = 450.0
DEPLOYMENTS = ("api", "web", "jobs")
RULES = {
    "errors": (Severity.CRITICAL, ("pager", "chat", "estate")),
    "down": (Severity.CRITICAL, ("pager", "chat", "mail")),
    # One that is called by the escalation too.
    "slow": (Severity.WARNING, ("chat", "lead")),
}
KEYED = ("pager", "estate")
RESENT_S = {"estate": 1500.0}
"""Receivers that want to hear again, so often, that something is still open."""
EXPIRES_S = 3000.0
"""What they were not reminded of for so long is over for them."""
CALM_BEFORE_S = 2000.0
"""Until nothing of the faults before is left."""
Where = tuple[str, str]
Firing = tuple[str, str, float]
"""Rule, deployment, and when it fired."""


class ScriptedEngine:
    """What incidents ask of the engine: rules, specs, and the alerts that were committed."""

    def __init__(self, rules: Mapping[str, AlertRule]) -> None:
        self.rules = rules
        self.maintained: set[str] = set()
        self.firing: dict[Where, float] = {}
        self.specs = {
            name: _Spec(
                deployment=Deployment(
                    name=name, service="shop", environment="production", url="http://x.test"
                ),
                targets=(),
                objective=None,
                sla=None,
                maintenance=(_Window(self.maintained, name),),
            )
            for name in DEPLOYMENTS
        }

    def rule(self, name: str, deployment: str) -> AlertRule | None:
        return self.rules.get(name)

    def rank(self, name: str, deployment: str) -> int:
        return list(RULES).index(name)

    def values(self, name: str, deployment: str, now: float) -> dict[str, float]:
        return {"error_rate_5m": 7.0}

    def release(self, deployment: str) -> None:
        return None

    def alerts(self) -> list[AlertStatus]:
        return [
            AlertStatus(
                rule=rule, deployment=deployment, state=AlertState.FIRING, active_at=since,
                fired_at=since,
            )
            for (rule, deployment), since in self.firing.items()
        ]  # fmt: skip


class _Spec(DeploymentSpec):
    """A deployment under maintenance that can be switched."""


@dataclass(frozen=True, slots=True)
class _Window:
    maintained: set[str]
    name: str

    def is_active(self, at: float) -> bool:
        return self.name in self.maintained


@dataclass
class Disk:
    """What survives the process."""

    incidents: dict[str, Incident] = field(default_factory=dict)
    owed: dict[tuple[str, str], Owed] = field(default_factory=dict)
    silences: dict[str, Silence] = field(default_factory=dict)
    firing: dict[Where, float] = field(default_factory=dict)


class Chaos:
    """Decides what goes wrong; ends the process by never letting it go on."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.level = 0.0
        self.disk_fails = False
        """What is not saved when the process dies is lost: one fault at a time can be survived."""
        self.hopeless: str | None = None
        """A channel that refuses everything for good."""
        self.crashed = asyncio.Event()
        self.crashes = 0
        self.lost_answers = 0

    async def may_crash(self) -> None:
        if not self.disk_fails and self.rng.random() < 0.04 * self.level:
            await self.crash()

    async def crash(self) -> NoReturn:
        self.crashes += 1
        self.crashed.set()
        await asyncio.Event().wait()
        raise AssertionError


class RiskyStore:
    """Commits to the disk, or refuses, or is the last thing that the process does."""

    def __init__(self, disk: Disk, chaos: Chaos) -> None:
        self._disk, self._chaos = disk, chaos
        self.firing: dict[Where, float] | None = None

    async def commit(self, batch: Batch) -> None:
        await self._chaos.may_crash()
        if self._chaos.disk_fails and self._chaos.rng.random() < 0.2 * self._chaos.level:
            msg = "no space left"
            raise StoreError(msg)
        self._disk.incidents |= {each.id: each for each in batch.incidents}
        self._disk.owed |= {(each.channel, each.incident): each for each in batch.owed}
        self._disk.silences |= {each.id: each for each in batch.silences}
        if self.firing is not None:
            self._disk.firing, self.firing = dict(self.firing), None
        await self._chaos.may_crash()


@dataclass(frozen=True, slots=True)
class Told:
    """One message as its receiver took it in."""

    at: float
    id: str
    key: str
    reason: SendReason
    marked: bool
    covers: tuple[str, ...]
    alerts: frozenset[Firing]
    open: frozenset[Firing]


class RiskyChannel:
    """A receiver that remembers what it took in, behind a connection that fails in every way."""

    updates = True
    rate_per_s = 1000.0
    burst = 1000

    def __init__(self, name: str, chaos: Chaos, told: list[Told]) -> None:
        self.told = told
        self.deduplicates = name in KEYED
        self.repeats = name != "pager"
        self.repeat_s = RESENT_S.get(name)
        self._chaos = chaos
        self._name = name
        self._well = name == "console"

    async def send(self, message: Message, deadline_s: float, remote_key: str | None) -> Delivery:
        chaos = self._chaos
        await chaos.may_crash()
        await asyncio.sleep(chaos.rng.random() * 2)
        fate = 1.0 if self._well else chaos.rng.random() / max(chaos.level, 1e-9)
        if chaos.hopeless == self._name:
            return Delivery(result=DeliveryResult.PERMANENT, detail="channel_not_found")
        if fate < 0.10:
            return Delivery(
                result=DeliveryResult.RETRY, retry_after_s=chaos.rng.choice([None, 40.0])
            )
        if fate < 0.13:
            return Delivery(result=DeliveryResult.PERMANENT, detail="invalid_token")
        if fate < 0.18:
            chaos.lost_answers += 1
            return Delivery(result=DeliveryResult.UNCERTAIN)
        self._take(message)
        await chaos.may_crash()
        if fate < 0.23:
            chaos.lost_answers += 1
            return Delivery(result=DeliveryResult.UNCERTAIN)
        if fate < 0.26:
            chaos.lost_answers += 1
            await asyncio.sleep(1e6)
        return Delivery(result=DeliveryResult.DELIVERED)

    def _take(self, message: Message) -> None:
        incident = message.incident
        at = asyncio.get_running_loop().time()
        self.told.append(
            Told(at, incident.id, incident.key, message.reason, message.may_be_repeated,
                 incident.covers, _firings(incident.alerts),
                 _firings(it for it in incident.alerts if it.is_open))
        )  # fmt: skip


class History:
    """One history; `problems` is empty when every invariant held."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - a history must be repeatable
        self.problems: list[str] = []
        self.told: dict[str, list[Told]] = defaultdict(list)
        self.known: dict[str, Incident] = {}
        self._truth: set[Where] = set()
        self._blinked: set[Where] = set()
        self._fallback = self.rng.choice(["console", "console", "mail"])
        self._disk = Disk()
        self._rules = _rules()
        self._channels: tuple[str, ...] = ("pager", "chat", "mail", "estate", "console")
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._said: list[Silence | Acknowledge] = []

    async def perform(self) -> None:
        self.chaos = Chaos(self.rng)
        self.clock = VirtualClock(asyncio.get_running_loop(), START)
        self._engine = ScriptedEngine(self._rules)
        self._start()
        phases = self.rng.choice([1, 1, 2])
        for phase in range(phases):
            self.chaos.level = self.rng.choice([0.3, 1.0, 2.0])
            self.chaos.disk_fails = self.rng.random() < 0.25
            self.chaos.hopeless = self.rng.choice([None, None, None, "pager", "chat", "mail"])
            for _ in range(STEPS):
                self._happen()
                await self._pass(self.rng.choice([30.0, 60.0, 300.0]))
            await self._be_calm(end=phase == phases - 1)
        self._stop()

    # --- the process --------------------------------------------------------------------------

    def _start(self) -> None:
        self.chaos.crashed.clear()
        self.store = RiskyStore(self._disk, self.chaos)
        self._engine.firing = dict(self._disk.firing)
        self.outbox = Outbox(
            self.clock,
            cast("Any", self.store),
            self._outbox_settings(),
            Telemetry(),
            self.rng,
            last_resort=LastResort(lambda _line: None, InlineExecutor(), Telemetry()),
        )
        self.book = Incidents(cast("Engine", self._engine), self._settings())
        incidents = list(self._disk.incidents.values())
        self.book.restore(incidents, tuple(self._disk.silences.values()), self.clock.now())
        self.outbox.restore(incidents, tuple(self._disk.owed.values()))
        self._unsaved = Batch()
        self._tasks = {}
        self._spawn()

    def _spawn(self) -> None:
        for name in self.outbox.channels():
            if name not in self._tasks:
                self._tasks[name] = asyncio.create_task(self.outbox.work(name))

    def _stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    async def _pass(self, for_s: float) -> None:
        """Let time pass: ticks, and new starts after crashes."""
        end = self.clock.monotonic() + for_s
        while self.clock.monotonic() < end:
            tick = asyncio.create_task(self._tick())
            crash = asyncio.create_task(self.chaos.crashed.wait())
            await asyncio.wait({tick, crash}, return_when=asyncio.FIRST_COMPLETED)
            if tick.done():
                pause = TICK_S if self.chaos.level else CALM_TICK_S
                await asyncio.wait({crash}, timeout=pause)
            crashed = self.chaos.crashed.is_set()
            for each in (tick, crash):
                each.cancel()
            await asyncio.gather(tick, crash, return_exceptions=True)
            if tick.done() and not tick.cancelled() and tick.exception() is not None:
                raise cast("BaseException", tick.exception())
            if crashed:
                self._stop()
                await asyncio.gather(*self._tasks.values(), return_exceptions=True)
                await asyncio.sleep(self.rng.choice([0.0, 5.0, 700.0]))
                self._start()
            for task in self._tasks.values():
                if task.done() and not task.cancelled():
                    raise cast("BaseException", task.exception())

    async def _tick(self) -> None:
        now = self.clock.now()
        changed: dict[str, Incident] = {}
        said, self._said = self._said, []
        silences = [each for each in said if isinstance(each, Silence)]
        for silence in silences:
            self.book.silence(silence, now)
        for each in said:
            if isinstance(each, Acknowledge):
                changed |= {it.id: it for it in self.book.acknowledge(each, now)}
        for transition in self._transitions(now):
            changed |= {it.id: it for it in self.book.follow(transition)}
        changed |= {it.id: it for it in self.book.settle(now, self.outbox.broken)}
        silences += self.book.ended_silences
        self.book.ended_silences.clear()
        incidents = {each.id: each for each in (*self._unsaved.incidents, *changed.values())}
        kept = (*self._unsaved.silences, *silences)
        batch = Batch(incidents=tuple(incidents.values()), silences=kept)
        self.store.firing = dict(self._engine.firing)
        try:
            await self.store.commit(batch)
            self._unsaved = Batch()
        except StoreError:
            self._unsaved = batch
        self.known |= {each.id: each for each in changed.values()}
        self.outbox.notice(tuple(changed.values()))

    def _transitions(self, now: float) -> list[Transition]:
        found = []
        firing = self._engine.firing
        wanted = {where for where in self._truth if where[0] in self._rules}
        for where in sorted(wanted - firing.keys()):
            firing[where] = now
            before = AlertState.INACTIVE
            if self.rng.random() < 0.5:
                found.append(_transition(where, now, before, AlertState.PENDING))
                before = AlertState.PENDING
            found.append(_transition(where, now, before, AlertState.FIRING))
        for where in sorted(self._blinked - firing.keys()):
            found.append(_transition(where, now, AlertState.INACTIVE, AlertState.PENDING))
            found.append(_transition(where, now, AlertState.PENDING, AlertState.INACTIVE))
        self._blinked.clear()
        for where in sorted(firing.keys() - wanted):
            del firing[where]
            reason = "" if where[0] in self._rules else "config_removed"
            ended = _transition(where, now, AlertState.FIRING, AlertState.RESOLVED)
            found.append(replace(ended, reason=reason))
        return found

    # --- what happens -------------------------------------------------------------------------

    def _happen(self) -> None:  # noqa: C901 - a table of what may happen
        now = self.clock.now()
        where = self.rng.choice(list(RULES)), self.rng.choice(DEPLOYMENTS)
        match self.rng.randrange(12):
            case 0 | 1 | 2 | 3:
                self._truth ^= {where}
            case 4:
                self._truth |= {(rule, name) for rule in RULES for name in DEPLOYMENTS}
            case 5:
                self._truth.clear()
            case 6:
                self._said.append(
                    Silence(
                        id=f"s{now}", owner="ana", reason="known", starts_at=now, at=now,
                        matchers=(Matcher(name="deployment", operator="=", value=where[1]),),
                        ends_at=now + self.rng.choice([60.0, 900.0, 7200.0]),
                        ends_on_resolve=self.rng.random() < 0.5,
                    )
                )  # fmt: skip
            case 7:
                self._engine.maintained ^= {where[1]}
            case 8:
                ids = [each.id for each in self.book.all() if each.is_open]
                if ids:
                    ack = Acknowledgement(by="bo", at=now, until=now + 1800.0)
                    said = self.rng.choice([ack, ack, None])
                    chosen = self.rng.choice(ids)
                    self._said.append(Acknowledge(incident=chosen, acknowledgement=said))
            case 9:
                self._reload()
            case 10:
                if not self.chaos.disk_fails:
                    self.chaos.crashes += 1
                    self.chaos.crashed.set()
            case _:
                # Its condition holds for less than its `for`.
                self._blinked.add(where)

    def _reload(self, *, whole: bool = False) -> None:
        names = set(RULES) if whole else {name for name in RULES if self.rng.random() < 0.7}
        self._rules = {name: rule for name, rule in _rules().items() if name in names}
        self._engine.rules = self._rules
        gone = "" if whole else self.rng.choice(["", "chat", "pager", "mail"])
        channels = ("pager", "chat", "mail", "estate", "console")
        self._channels = tuple(name for name in channels if name != gone)
        self.outbox.reconfigure(self._outbox_settings())
        self._spawn()
        for incident in self.book.follow_channels():
            self.known[incident.id] = incident
            self._unsaved = replace(self._unsaved, incidents=(*self._unsaved.incidents, incident))
            self.outbox.notice((incident,))

    async def _be_calm(self, *, end: bool) -> None:
        """Nothing goes wrong any more for a long time: then everything must be in order."""
        self.chaos.level = 0.0
        self.chaos.hopeless = None
        self._reload(whole=True)
        self._engine.maintained.clear()
        if end:
            self._truth.clear()
        began = self.clock.monotonic()
        await self._pass(CALM_S)
        self._check_told()
        for channel in RESENT_S:
            self._check_reminded(channel, began + CALM_BEFORE_S)
        self._check_receivers(end=end)

    # --- what must be true ----------------------------------------------------------------------

    def _check_told(self) -> None:
        """Whoever is to be called for what is open was."""
        for incident in self.book.all():
            if not incident.is_open or incident.hidden_by:
                continue
            for channel in incident.channels:
                own = [each for each in incident.alerts if channel in each.channels]
                if own and not any(each.is_open for each in own):
                    continue
                told = [each for each in self.told[channel] if _is_about(each, incident.id)]
                if not told:
                    self.problems.append(f"{channel} was never told of {_name(incident)}")
                for alert in own or incident.alerts:
                    firing = _firings([alert])
                    if alert.is_open and not any(firing <= each.alerts for each in told):
                        self.problems.append(
                            f"{channel} was never told of {alert.rule} on {alert.deployment}"
                        )

    def _check_receivers(self, *, end: bool) -> None:
        for channel, heard in self.told.items():
            self._check_order(channel, heard)
            if channel in KEYED:
                self._check_keys(channel, heard, end=end)
            elif end:
                told_open = {each.id for each in heard if each.reason in _OPENING}
                ended = {each.id for each in heard if each.reason is SendReason.RESOLVED}
                for each in told_open - ended:
                    self.problems.append(f"{channel} never heard the end of {each}")

    def _check_reminded(self, channel: str, calm_since: float) -> None:
        """A receiver to whom silence is the end hears, while it is open, that it is open."""
        last: dict[str, float] = {}
        for each in self.told[channel]:
            before = max(calm_since, last.get(each.id, each.at))
            # What may have been taken is opened anew when a silence ends: that is no reminder.
            if each.reason is not SendReason.FIRST and each.at - before > EXPIRES_S:
                self.problems.append(f"{channel}: {each.id} expired before {each.at:.0f} s")
            last[each.id] = each.at

    def _check_order(self, channel: str, heard: Sequence[Told]) -> None:
        """Nothing is said of an incident after its end, and nothing twice without a mark."""
        over: dict[str, frozenset[Firing]] = {}
        first: Counter[str] = Counter()
        for each in heard:
            if each.reason is SendReason.RESOLVED:
                over[each.id] = each.alerts
                # What it is shown besides, since it stands in for others, is another opening.
                del first[each.id]
            elif each.open <= over.get(each.id, frozenset()):
                self.problems.append(f"{channel}: {each.id} was called open after its end")
            if each.reason in {SendReason.FIRST, SendReason.ESCALATED}:
                first[each.id] += 1
                if first[each.id] > 1 and not each.marked and channel not in KEYED:
                    self.problems.append(f"{channel}: {each.id} opened twice without a mark")
        repeated = sum(first.values()) - len(first)
        if repeated > self.chaos.crashes + self.chaos.lost_answers:
            self.problems.append(f"{channel}: {repeated} openings were repeated")

    def _check_keys(self, channel: str, heard: Sequence[Told], *, end: bool) -> None:
        """A receiver with keys sees one opening for each incident, and its end."""
        open_now: dict[str, str] = {}
        openings: Counter[str] = Counter()
        for each in heard:
            if each.reason is SendReason.RESOLVED:
                if open_now.get(each.key, each.id) != each.id:
                    self.problems.append(f"{channel}: the end of {each.id} closed another")
                open_now.pop(each.key, None)
            elif each.reason is not SendReason.ACKNOWLEDGED and each.key not in open_now:
                open_now[each.key] = each.id
                openings[each.id] += 1
            elif open_now.get(each.key, each.id) != each.id:
                self.problems.append(f"{channel}: {each.id} went into {open_now[each.key]}")
        self.problems += [
            f"{channel}: {key} opened {count} times" for key, count in openings.items() if count > 1
        ]
        if end and open_now:
            self.problems.append(f"{channel}: still open at the end: {sorted(open_now)}")

    # --- settings -------------------------------------------------------------------------------

    def _settings(self) -> IncidentSettings:
        return IncidentSettings(
            service="shop",
            blind_channels=("console",),
            escalation={
                Priority.P0: (
                    EscalationStep(after_s=600.0, channels=("lead",)),
                    EscalationStep(after_s=3600.0, channels=("boss",)),
                ),
                Priority.P2: (EscalationStep(after_s=300.0, channels=("mail",)),),
            },
        )

    def _outbox_settings(self) -> OutboxSettings:
        names = (*self._channels, "lead", "boss")
        return OutboxSettings(
            notifiers={
                name: cast("Any", RiskyChannel(name, self.chaos, self.told[name])) for name in names
            },
            fallback=self._fallback,
            fallback_after_s=120.0,
            tempo=lambda _: Tempo(wait_s=0.0, interval_s=300.0, repeat_s=3600.0),
            digest_above=3,
        )


_OPENING = frozenset({SendReason.FIRST, SendReason.ESCALATED, SendReason.REPEAT})


def play(seed: int) -> list[str]:
    """Return what went wrong in the history of `seed`."""
    history = History(seed)
    run(history.perform())
    return history.problems


def _rules() -> dict[str, AlertRule]:
    condition = compile_condition("error_rate_5m > 5")
    return {
        name: AlertRule(name=name, condition=condition, severity=severity, channels=channels)
        for name, (severity, channels) in RULES.items()
    }


def _transition(where: Where, at: float, before: AlertState, after: AlertState) -> Transition:
    return Transition(
        at=at, rule=where[0], deployment=where[1], before=before, after=after, since=at,
        values={"error_rate_5m": 9.0},
    )  # fmt: skip


def _is_about(told: Told, incident: str) -> bool:
    return told.id == incident or incident in told.covers


def _firings(alerts: Iterable[IncidentAlert]) -> frozenset[Firing]:
    return frozenset((it.rule, it.deployment, it.opened_at) for it in alerts)


def _name(incident: Incident) -> str:
    return f"{incident.id} ({incident.rule} on {incident.deployment})"
