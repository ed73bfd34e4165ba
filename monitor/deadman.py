"""The dead man's switch: beats to a sink outside, as long as messages can be delivered.

Owns when the beat stops. Reads what others know, changes nothing of it, and never raises into
them: a sink that hangs or is gone costs this task only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from monitor.fields import format_duration
from monitor.metrics import Telemetry
from monitor.model import Clock, Incident, Owed, Told
from monitor.sinks import Sink

log = logging.getLogger(__name__)

TRIES = 3
TRY_DEADLINE_S = 10.0
FIRST_WAIT_S = 1.0
"""Before the second try of a beat; the wait doubles."""


# --- the decision -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What is known at one moment."""

    waiting: Collection[frozenset[str]] = ()
    """For each incident that nobody was told of as it is now: the channels that owe it."""
    accepted: Mapping[str, int] = field(default_factory=dict)
    """Channel -> messages accepted so far."""
    stuck: str | None = None
    """Why the pipeline is not alive."""
    durable: bool = True
    """Whether the store takes what it is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What must be remembered between two looks; times are of a monotonic clock, seconds."""

    failing_since: Mapping[str, float] = field(default_factory=dict)
    """Channel that something waits for -> when it was seen first, or last accepted anything."""
    accepted: Mapping[str, int] = field(default_factory=dict)
    refused_since: float | None = None
    """When the store was first seen to refuse."""


def look(watch: Watch, readings: Readings, now: float) -> Watch:
    """Return the watch after the readings of `now`."""
    waited_for = frozenset[str]().union(*readings.waiting)
    since = {}
    for channel in waited_for:
        moved = readings.accepted.get(channel, 0) > watch.accepted.get(channel, 0)
        since[channel] = now if moved else watch.failing_since.get(channel, now)
    refused_since = now if watch.refused_since is None else watch.refused_since
    return Watch(
        failing_since=since,
        accepted=readings.accepted,
        refused_since=None if readings.durable else refused_since,
    )


def why_silent(watch: Watch, readings: Readings, now: float, limit_s: float) -> str | None:
    """Return why the beat must stop, or None while messages can be delivered.

    They cannot when there is an incident that nobody was told of, and every channel that owes it
    accepted nothing for longer than `limit_s`. One that hears of some incidents is not enough.
    """
    if readings.stuck is not None:
        return readings.stuck
    hopeless = {name for name, since in watch.failing_since.items() if now - since > limit_s}
    lost = sum(channels <= hopeless for channels in readings.waiting)
    if lost:
        return (
            f"{lost} incident(s) that nobody could be told of for more than "
            f"{format_duration(limit_s)}; failing: {', '.join(sorted(hopeless))}"
        )
    if watch.refused_since is not None and now - watch.refused_since > limit_s:
        return f"no state could be saved for more than {format_duration(limit_s)}"
    return None


def unheard(
    incidents: Sequence[Incident],
    rows: Sequence[Owed],
    late: Collection[str],
    configured: Collection[str],
    now: float,
) -> list[frozenset[str]]:
    """Return the channels that owe it, for each incident that nobody was told of as it is now.

    `late` are the channels that owe anything at all now. Not waited for is what is hidden on
    purpose, not due yet and never tried, or the end of what only a removed channel knows.
    """
    known = {incident.id: incident for incident in incidents}
    by_incident: dict[str, list[Owed]] = {}
    for row in rows:
        by_incident.setdefault(row.incident, []).append(row)
    found = []
    digests = {row.via for row in rows if row.via}
    for name, mine in by_incident.items():
        if name in digests:
            # What it speaks for is looked at itself.
            continue
        # One that is not known any more was over long ago.
        incident = known.get(name)
        is_open = incident is not None and incident.is_open
        knows = {Told.RESOLVED, Told.OPEN} if is_open else {Told.RESOLVED}
        hidden = incident is not None and incident.hidden_by
        if any(row.told in knows for row in mine):
            continue
        if hidden and all(row.told is Told.NOTHING for row in mine):
            continue
        due = frozenset(
            row.channel
            for row in mine
            if (row.attempts or row.next_at <= now)
            and row.channel in late
            and (is_open or row.channel in configured)
        )
        if due:
            found.append(due)
    return found


# --- the task -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """A sink and its rhythm."""

    sink: Sink
    interval_s: float
    limit_s: float


class Deadman:
    """Beats; `run` never ends."""

    def __init__(
        self, clock: Clock, telemetry: Telemetry, read: Callable[[], Readings], beat: Beat | None
    ) -> None:
        """Ask `read` before each beat; without a `beat` nobody outside is told anything."""
        self._clock = clock
        self._telemetry = telemetry
        self._read = read
        self._beat = beat
        self._watch = Watch()
        self._silent: str | None = None
        self._trouble: str | None = None
        self._changed = asyncio.Event()

    def reconfigure(self, beat: Beat | None) -> None:
        """Beat as `beat` says from now on, at once; what is known stays known."""
        self._beat = beat
        self._trouble = None
        self._changed.set()

    async def run(self) -> None:
        """Beat for ever, at the sink's interval."""
        while True:
            self._changed.clear()
            started, beat = self._clock.monotonic(), self._beat
            wait_s = None
            if beat is not None:
                await self._once(beat)
                wait_s = max(0.0, started + beat.interval_s - self._clock.monotonic())
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _once(self, beat: Beat) -> None:
        now, readings = self._clock.monotonic(), self._read()
        self._watch = look(self._watch, readings, now)
        silent = why_silent(self._watch, readings, now, beat.limit_s)
        self._telemetry.set_deadman(beating=silent is None)
        self._say(silent)
        trouble = await self._tell(beat, silent, now)
        if trouble is not None and self._trouble is None:
            log.warning("the dead man's switch cannot reach its sink: %s", trouble)
        self._trouble = trouble

    async def _tell(self, beat: Beat, silent: str | None, started: float) -> str | None:
        """Try a few times, well within one interval; return why it was not taken."""
        limit_s = min(TRY_DEADLINE_S, beat.interval_s / (2 * TRIES))
        trouble = None
        for number in range(TRIES):
            trouble = await beat.sink.tell(silent, limit_s)
            if trouble is None:
                if silent is None:
                    self._telemetry.set_beat(self._clock.now())
                return None
            wait_s = FIRST_WAIT_S * 2**number
            if self._clock.monotonic() - started + wait_s + limit_s > beat.interval_s:
                break
            await asyncio.sleep(wait_s)
        return trouble

    def _say(self, silent: str | None) -> None:
        if (silent is None) != (self._silent is None):
            if silent is None:
                log.info("the dead man's switch beats again")
            else:
                log.error("the dead man's switch stops beating: %s", silent)
        self._silent = silent
