"""What is known so far about one run of the probe: phases, and what a deadline would mean now.

Mutable and owned by that run; every later layer reads it, above all when the run fails. Takes its
clock as an argument. Our own event loop's delay is kept out of a phase where its true end is known
and is reported as taint where it is not.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from monitor.probes.reason import Reason
from monitor.probes.stall import MARGIN_S, StallLog
from monitor.probes.tcp_info import RESOLUTION_S

RESOLVE, CONNECT, TLS, SEND, WAIT, TRANSFER = PHASES = (
    "resolve",
    "connect",
    "tls",
    "send",
    "wait",
    "transfer",
)
_OVERDUE = {
    RESOLVE: Reason.RESOLVER,
    CONNECT: Reason.CONNECT_TIMEOUT,
    TLS: Reason.TLS_TIMEOUT,
}
_OURS_AT_MOST = 0.1
_ONE_STEP = (CONNECT, WAIT)
"""Phases in which the target owes us one thing: silence in them is the target's own."""

Phases = tuple[tuple[str, float], ...]
"""(phase, seconds), in order."""
Late = Callable[[float], float | None]
"""Takes how long a phase took (s), returns how long ago it truly ended, or None: not known."""


class Trace:
    """A stopwatch that is always in at most one phase, so phases add up to the latency."""

    __slots__ = (
        "_hops",
        "_marks",
        "_now",
        "_since",
        "_stalls",
        "body_awaited",
        "certificate_expires_at",
        "elapsed_s",
        "phase",
        "skipped_s",
        "status",
        "tainted_s",
        "waiting_for",
    )

    def __init__(self, now: Callable[[], float], stalls: StallLog | None = None) -> None:
        """`now` gives monotonic seconds, those of `stalls`."""
        self._now = now
        self._stalls = stalls
        self._since = 0.0
        self._marks: list[tuple[str, float]] = []
        self._hops: list[int] = []
        self.elapsed_s = 0.0
        """Seconds of all finished phases."""
        self.phase: str | None = None
        self.body_awaited = False
        """The headers of the current response are complete."""
        self.waiting_for: Reason | None = None
        """What a deadline would mean while somebody else than the target is being waited for."""
        self.status: int | None = None
        """Of the last response whose headers were complete."""
        self.certificate_expires_at: float | None = None
        """The earliest of all hops, UTC seconds."""
        self.tainted_s = 0.0
        """Seconds of our own stall that the phases may contain."""
        self.skipped_s = 0.0
        """Seconds of our own stall that were kept out of the phases."""

    def enter(
        self, phase: str | None, late: Late | None = None, ready_at: float | None = None
    ) -> None:
        """End the phase that is under way and begin `phase`; None stops the watch.

        `late` says how long ago the phase under way ended; it is asked when that can matter.
        `ready_at` is when we could have seen that end, if others had not been served before.
        """
        now = self._now()
        if self.phase is not None:
            seconds = now - self._since
            if seconds >= RESOLUTION_S:
                seconds -= self._own(seconds, now, late)
            if ready_at is not None and ready_at - self._since < seconds:
                seconds = max(0.0, ready_at - self._since)
            self._marks.append((self.phase, seconds))
            self.elapsed_s += seconds
        self.phase = phase
        self._since = now

    def give_up(self) -> None:
        """Stop the watch at the deadline, after everything that had arrived was read."""
        if self.phase in _ONE_STEP:
            seconds = self._now() - self._since
            self._marks.append((self.phase, seconds))
            self.elapsed_s += seconds
            self.phase = None
        else:
            self.enter(None)

    def hop(self) -> None:
        """Begin another hop."""
        self._hops.append(len(self._marks))
        self.body_awaited = False

    def restart(self) -> None:
        """Forget what was measured: it was no attempt at the target."""
        self._marks.clear()
        self.phase = None
        self.elapsed_s = self.tainted_s = 0.0

    @property
    def overdue(self) -> Reason:
        """What it means when the deadline ends the run now."""
        if self.waiting_for is not None:
            return self.waiting_for
        if self.body_awaited:
            return Reason.TIMEOUT_BODY
        return _OVERDUE.get(self.phase or "", Reason.TIMEOUT_HEADERS)

    def is_short_changed(self, deadline_s: float) -> bool:
        """Whether our stalls took so much of the time that a passed deadline says nothing.

        A target that was silent for nearly all of it is overdue, whatever we did besides: else a
        busy prober would be blind to every outage.
        """
        return self.tainted_s + self.skipped_s > max(MARGIN_S, deadline_s * _OURS_AT_MOST)

    @property
    def phases(self) -> Phases:
        """The finished phases, summed over redirects."""
        seconds = dict(self._marks)
        if len(seconds) == len(self._marks):
            return tuple(self._marks)
        return tuple(
            (phase, sum(length_s for name, length_s in self._marks if name == phase))
            for phase in PHASES
            if phase in seconds
        )

    @property
    def hops(self) -> tuple[Phases, ...]:
        """The finished phases of each hop; empty without redirects."""
        if not self._hops:
            return ()
        edges = [0, *self._hops, len(self._marks)]
        return tuple(tuple(self._marks[first:last]) for first, last in pairwise(edges))

    def saw_certificate(self, expires_at: float | None) -> None:
        """Remember the earliest expiry."""
        if expires_at is not None:
            known = self.certificate_expires_at
            self.certificate_expires_at = expires_at if known is None else min(known, expires_at)

    def _own(self, seconds: float, now: float, late: Late | None) -> float:
        """Return how much of the phase that ends `now` was our own delay, as far as is known."""
        since_end_s = None if late is None else late(seconds)
        if since_end_s is not None and since_end_s >= RESOLUTION_S:
            self.skipped_s += min(since_end_s, seconds)
            return min(since_end_s, seconds)
        if self._stalls is not None:
            suspect_s = seconds if since_end_s is None else RESOLUTION_S
            self.tainted_s += self._stalls.overlap(now - suspect_s, now)
        return 0.0
