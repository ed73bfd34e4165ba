"""Single HTTP calls for kinds that make several of them, or read answers in their own way.

Owns what these calls share: the outside world, the trust roots and the time that there is. Judges
nothing; a redirect is an answer like any other and is not followed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from monitor.model import Outcome
from monitor.probes.base import ProbeIO
from monitor.probes.deadline import Deadline
from monitor.probes.failure import ProbeError
from monitor.probes.http.client import fetch
from monitor.probes.http.request import Request
from monitor.probes.http.trace import Trace
from monitor.probes.http.url import Url
from monitor.probes.http.wire import Exchange
from monitor.probes.reason import Reason

_WAITING_FOR = {
    Reason.RESOLVER: "looking up the name",
    Reason.CONNECT_TIMEOUT: "connecting",
    Reason.TLS_TIMEOUT: "shaking hands (TLS)",
    Reason.TIMEOUT_HEADERS: "waiting for the headers",
    Reason.TIMEOUT_BODY: "reading the body",
}
_OURS_MAX = 0.1
"""Share of the time that our own loop may take away without making a deadline meaningless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    """As received."""
    body: bytes
    """Decoded; a prefix when `is_capped`, empty when it was not to be kept."""
    is_capped: bool

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of the header called `name` (lower case)."""
        return next((value for key, value in self.headers if key.lower() == name), None)


class Allowance:
    """The time that one run of a probe has for all its calls."""

    def __init__(self, now: Callable[[], float], deadline_s: float) -> None:
        """Begin now; `now` gives monotonic seconds."""
        self._now = now
        self._until = now() + deadline_s
        self.deadline_s = deadline_s

    @property
    def left_s(self) -> float:
        """What is left of it; 0 when nothing is."""
        return max(0.0, self._until - self._now())


class Caller:
    """Calls one origin again and again; holds no state between calls."""

    def __init__(self, io: ProbeIO, *, ca_file: str | None, insecure: bool) -> None:
        """Read the trust roots now, not within a measurement.

        Raises:
            ValueError: when `ca_file` cannot be loaded.
        """
        self._io = io
        self._context = io.tls.get(ca_file, insecure=insecure)

    def trace(self) -> Trace:
        """Return the stopwatch for one call."""
        return Trace(self._io.clock(), self._io.stalls)

    def allow(self, deadline_s: float) -> Allowance:
        """Return the time for a run that starts now."""
        return Allowance(self._io.clock(), deadline_s)

    async def call(
        self, url: Url, request: Request, trace: Trace, allowance: Allowance, max_body_bytes: int
    ) -> Answer:
        """Return the answer to `request`, with at most `max_body_bytes` of its body.

        Raises:
            ProbeError: whatever the network or the target did, or did not do in time.
        """
        left_s = allowance.left_s
        if not left_s:
            detail = f"not begun within {allowance.deadline_s:g} s"
            raise ProbeError(Reason.TIMEOUT, detail)
        deadline = Deadline(left_s)
        try:
            with deadline:
                answer = await self._fetch(url, request, trace, max_body_bytes)
        except TimeoutError:
            answer = None
        except ProbeError:
            trace.enter(None)
            raise
        is_late = deadline.has_passed and trace.elapsed_s > left_s
        if answer is None or is_late:
            raise _overdue(trace, allowance.deadline_s)
        return answer

    async def _fetch(self, url: Url, request: Request, trace: Trace, max_body_bytes: int) -> Answer:
        secure = url.scheme == "https"
        exchange = Exchange(
            request=request.render(url, at_home=True),
            is_head=request.method == "HEAD",
            keep_body=True,
            max_body_bytes=max_body_bytes,
            follow_redirects=False,
            secure=secure,
        )
        answer = await fetch(url, exchange, self._io, self._context if secure else None, trace)
        return Answer(
            status=answer.status,
            headers=tuple(answer.headers),
            body=answer.body,
            is_capped=answer.is_capped,
        )


def earliest(traces: Iterable[Trace]) -> float | None:
    """Return when the first of all certificates that were seen expires, UTC seconds."""
    found = (trace.certificate_expires_at for trace in traces)
    return min((each for each in found if each is not None), default=None)


def _overdue(trace: Trace, deadline_s: float) -> ProbeError:
    """Return what it means that the deadline ended a call, unless it was our own loop's fault."""
    reason = trace.overdue
    detail = f"timed out after {deadline_s:g} s while {_WAITING_FOR[reason]}"
    trace.give_up()
    ours_s = trace.tainted_s + trace.skipped_s
    if reason.outcome is Outcome.BAD and ours_s > deadline_s * _OURS_MAX:
        detail += f", but our own loop stood still for {ours_s:.3g} s of that"
        reason = Reason.STALLED
    return ProbeError(reason, detail)
