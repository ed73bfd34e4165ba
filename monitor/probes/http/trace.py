"""What is known so far about one run of the probe: phases, and what a deadline would mean now.

Mutable and owned by that run; every later layer reads it, above all when the run fails. Takes its
clock as an argument.
"""

from __future__ import annotations

from collections.abc import Callable

from monitor.probes.reason import Reason

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


class Trace:
    """A stopwatch that is always in exactly one phase, so phases add up to the latency."""

    __slots__ = (
        "_now",
        "_seconds",
        "_since",
        "body_awaited",
        "certificate_expires_at",
        "phase",
        "status",
    )

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` gives monotonic seconds."""
        self._now = now
        self._since = 0.0
        self._seconds: dict[str, float] = {}
        self.phase: str | None = None
        self.body_awaited = False
        """The headers of the current response are complete."""
        self.status: int | None = None
        """Of the last response whose headers were complete."""
        self.certificate_expires_at: float | None = None
        """The earliest of all hops, UTC seconds."""

    def enter(self, phase: str | None) -> None:
        """End the phase that is under way and begin `phase`; None stops the watch."""
        now = self._now()
        if self.phase is not None:
            self._seconds[self.phase] = self._seconds.get(self.phase, 0.0) + now - self._since
        self.phase = phase
        self._since = now

    @property
    def overdue(self) -> Reason:
        """What it means when the deadline ends the run now."""
        if self.body_awaited:
            return Reason.TIMEOUT_BODY
        return _OVERDUE.get(self.phase or "", Reason.TIMEOUT_HEADERS)

    @property
    def phases(self) -> tuple[tuple[str, float], ...]:
        """(phase, seconds) of the finished phases, summed over redirects, in order."""
        return tuple((phase, self._seconds[phase]) for phase in PHASES if phase in self._seconds)

    @property
    def elapsed_s(self) -> float:
        """Seconds from the start to the last change of phase."""
        return sum(self._seconds.values())

    def saw_certificate(self, expires_at: float | None) -> None:
        """Remember the earliest expiry."""
        if expires_at is not None:
            known = self.certificate_expires_at
            self.certificate_expires_at = expires_at if known is None else min(known, expires_at)
