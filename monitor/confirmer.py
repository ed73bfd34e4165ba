"""A second look after a first failure: which part is to blame, for the page and nothing else.

Looks up the name, connects to its addresses, shakes hands: three steps, each with a deadline. What
it finds is a `Diagnosis` and never a `Sample`: the SLI does not know of it. Owns how often and how
many at once; judges nothing itself.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from monitor.diagnoses import Look, Tried, judge
from monitor.metrics import Telemetry
from monitor.model import Clock, Diagnosis, Outcome, Sample, Target
from monitor.probes.base import ProbeIO, Reach
from monitor.probes.dial import connected, find_addresses
from monitor.probes.endpoint import Endpoint, parse_host
from monitor.probes.failure import ProbeError
from monitor.probes.stall import Pulse
from monitor.probes.stopwatch import Stopwatch
from monitor.probes.verdict import to_detail

log = logging.getLogger(__name__)

AGAIN_S = 60.0
"""A target that stays bad is looked at this often."""
SOONEST_S = 10.0
"""One that comes and goes is looked at no more often than this."""
AT_ONCE = 20
ADDRESSES = 4
STEP_S = 2.0
"""For each step; what takes longer has failed."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A target and where its probe connects to."""

    target: Target
    reach: Reach


class Confirmer:
    """Takes every sample, looks again at what fails, and hands over what it finds."""

    def __init__(
        self,
        clock: Clock,
        io: ProbeIO,
        deliver: Callable[[Diagnosis], None],
        telemetry: Telemetry,
        pulse: Pulse | None = None,
    ) -> None:
        """Build an idle confirmer; `replace_subjects` says what it may look at.

        `pulse` hears of the begin and the end of every look.
        """
        self._clock = clock
        self._io = io
        self._deliver = deliver
        self._telemetry = telemetry
        self._subjects: dict[str, Subject] = {}
        self._looked_at: dict[str, float] = {}
        self._has_been_good: set[str] = set()
        """Since it was looked at last."""
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._pulse = pulse

    def replace_subjects(self, subjects: list[Subject], io: ProbeIO) -> None:
        """Look at exactly these from now on, by way of `io`."""
        self._io = io
        self._subjects = {each.target.id: each for each in subjects if each.reach.port}
        self._looked_at = {key: at for key, at in self._looked_at.items() if key in self._subjects}
        self._has_been_good &= self._subjects.keys()

    def notice(self, sample: Sample) -> None:
        """Look at the target of a bad sample, if that is its first or the last look is long ago."""
        subject = self._subjects.get(sample.target)
        if subject is None:
            return
        name = sample.target
        if sample.outcome is Outcome.GOOD:
            if name in self._looked_at:
                self._has_been_good.add(name)
            return
        if sample.outcome is not Outcome.BAD or name in self._under_way:
            return
        now = self._clock.now()
        wait_s = SOONEST_S if name in self._has_been_good else AGAIN_S
        is_soon = now - self._looked_at.get(name, -math.inf) < wait_s
        if is_soon or len(self._under_way) >= AT_ONCE:
            return
        self._looked_at[name] = now
        self._has_been_good.discard(name)
        task = asyncio.get_running_loop().create_task(self._confirm(subject, sample))
        self._under_way[name] = task
        task.add_done_callback(lambda _: self._under_way.pop(name, None))

    def stop(self) -> None:
        """End what is under way."""
        for task in self._under_way.values():
            task.cancel()

    async def _confirm(self, subject: Subject, sample: Sample) -> None:
        now = self._io.clock()
        began = now()
        if self._pulse is not None:
            self._pulse.begin()
        try:
            judged = judge(sample, await self._look(subject.reach))
        except Exception:
            log.exception("the look after a failure failed", extra={"target": sample.target})
            judged = None
        finally:
            stalls = self._io.stalls
            stalled_s = 0.0 if stalls is None else stalls.overlap(began, now())
            if self._pulse is not None:
                self._pulse.end()
        if judged is None or stalled_s > STEP_S / 4:
            # What failed may have been our own slowness: better none than a wrong one.
            self._telemetry.count_confirmation("none")
            return
        cause, text = judged
        self._telemetry.count_confirmation(cause)
        self._deliver(
            Diagnosis(
                target=sample.target,
                deployment=subject.target.deployment,
                at=self._clock.now(),
                cause=cause,
                text=to_detail(text),
            )
        )

    async def _look(self, reach: Reach) -> Look:
        endpoint = Endpoint(reach.host, reach.port, parse_host(reach.host).is_address)
        addresses: list[str] = []

        async def look_up(watch: Stopwatch) -> None:
            addresses.extend(await find_addresses(endpoint, self._io, watch))

        lookup = await self._try(reach.host, look_up)
        tries = (self._connect(reach, address) for address in addresses[:ADDRESSES])
        connections = await asyncio.gather(*tries)
        reached = next((each.address for each in connections if not each.failure), None)
        handshake = None
        if reach.secure and reached is not None:
            handshake = await self._shake_hands(reach, reached)
        return Look(host=reach.host, lookup=lookup, connections=connections, handshake=handshake)

    async def _connect(self, reach: Reach, address: str) -> Tried:
        async def connect(watch: Stopwatch) -> None:
            async with connected([address], reach.port, self._io, watch):
                pass

        return await self._try(address, connect)

    async def _shake_hands(self, reach: Reach, address: str) -> Tried:
        """Shake hands with whoever is there: whom the probe trusts is the probe's own affair."""
        context = self._io.tls.get(None, insecure=True)

        async def shake(watch: Stopwatch) -> None:
            async with connected([address], reach.port, self._io, watch) as stream:
                await stream.secure(reach.host, context)

        return await self._try(address, shake)

    async def _try(self, address: str, step: Callable[[Stopwatch], Awaitable[None]]) -> Tried:
        now = self._io.clock()
        began = now()
        try:
            async with asyncio.timeout(STEP_S):
                await step(Stopwatch(now))
        except ProbeError as error:
            return Tried(address, now() - began, error.reason.value, error.detail)
        except TimeoutError:
            return Tried(address, STEP_S, "timeout", f"nothing within {STEP_S:g} s")
        return Tried(address, now() - began)
