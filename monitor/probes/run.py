"""One run of a probe, from its start to its `Sample`, for kinds that are one conversation.

Owns the deadline and what it means when it passes. Opens nothing and judges no answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from monitor.model import Outcome, Sample
from monitor.probes.base import ProbeIO
from monitor.probes.failure import ProbeError
from monitor.probes.reason import Reason
from monitor.probes.stopwatch import Stopwatch
from monitor.probes.verdict import failed

RESOLVE, CONNECT, TLS, SEND, WAIT, TRANSFER = (
    "resolve",
    "connect",
    "tls",
    "send",
    "wait",
    "transfer",
)
_OVERDUE = {
    RESOLVE: (Reason.RESOLVER, "looking up the name"),
    CONNECT: (Reason.CONNECT_TIMEOUT, "connecting"),
    TLS: (Reason.TLS_TIMEOUT, "shaking hands (TLS)"),
    TRANSFER: (Reason.TIMEOUT, "reading the answer"),
}
_UNANSWERED = (Reason.TIMEOUT, "waiting for an answer")


@dataclass(slots=True)
class Run:
    """What is known so far; an attempt fills it in, and a failed one leaves what it had."""

    watch: Stopwatch
    status: int | None = None
    certificate_expires_at: float | None = None
    health: str | None = None
    values: tuple[tuple[str, float], ...] = ()
    latency_s: float | None = None
    """Instead of the sum of all phases."""
    is_exact: bool = False
    """The kernel took the latency, so that no stall of ours is in it."""
    notes: list[str] = field(default_factory=list)
    """For people, after what a passed deadline says."""
    at_deadline: Callable[[], None] | None = None
    """Judges what is known when the time is up; raises TimeoutError when that is nothing."""


async def measure(
    attempt: Callable[[Run], Awaitable[None]],
    *,
    target: str,
    at: float,
    deadline_s: float,
    io: ProbeIO,
) -> Sample:
    """Return what `attempt` measured within `deadline_s`: GOOD when it returns.

    It raises `ProbeError` for everything else that the target or the network does.
    """
    now = io.clock()
    run = Run(Stopwatch(now))
    start = now()
    sample = await _sample(run, attempt, target, at, deadline_s)
    if io.stalls is None or run.is_exact:
        return sample
    return replace(sample, tainted_s=io.stalls.overlap(start, start + run.watch.elapsed_s))


async def _sample(
    run: Run, attempt: Callable[[Run], Awaitable[None]], target: str, at: float, deadline_s: float
) -> Sample:
    failure = None
    try:
        await _keep_deadline(run, attempt, deadline_s)
    except ProbeError as error:
        failure = error
    except TimeoutError:
        reason, doing = _OVERDUE.get(run.watch.phase or "", _UNANSWERED)
        detail = "; ".join([f"timed out after {deadline_s:g} s while {doing}", *run.notes])
        failure = ProbeError(reason, detail)
    run.watch.enter(None)
    sample = Sample(
        target=target,
        at=at,
        outcome=Outcome.GOOD,
        latency_s=run.watch.elapsed_s if run.latency_s is None else run.latency_s,
        status=run.status,
        phases=run.watch.phases,
        certificate_expires_at=run.certificate_expires_at,
        health=run.health,
        values=run.values,
    )
    return sample if failure is None else failed(sample, failure, deadline_s)


async def _keep_deadline(
    run: Run, attempt: Callable[[Run], Awaitable[None]], deadline_s: float
) -> None:
    try:
        async with asyncio.timeout(deadline_s):
            await attempt(run)
    except TimeoutError:
        if run.at_deadline is None:
            raise
        run.at_deadline()
