"""The stopwatch of one run: phases, hops, and what of them is our own delay."""

from __future__ import annotations

import pytest

from monitor.probes.http.trace import CONNECT, RESOLVE, SEND, TLS, TRANSFER, WAIT, Trace
from monitor.probes.reason import Reason
from monitor.probes.stall import StallLog


class Watch:
    """A clock that is moved by hand, with a trace and a log of stalls on it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.stalls = StallLog()
        self.stalls.beat(self.now)
        self.trace = Trace(lambda: self.now, self.stalls)

    def run(self, *phases: tuple[str, float]) -> Trace:
        """Go through phases of so many seconds, without a stall."""
        for phase, seconds in phases:
            self.trace.enter(phase)
            self.now += seconds
            self.stalls.stop()
            self.stalls.beat(self.now)
        return self.trace

    def stall(self, seconds: float) -> None:
        self.now += seconds
        self.stalls.beat(self.now)


def test_phases_add_up_over_hops() -> None:
    """Each hop has its phases, and the sums are what the sample shows."""
    watch = Watch()
    watch.run((CONNECT, 0.5), (WAIT, 0.25)).enter(None)
    watch.trace.hop()
    watch.run((RESOLVE, 1.0), (CONNECT, 0.5), (TLS, 0.125)).enter(None)
    assert watch.trace.phases == ((RESOLVE, 1.0), (CONNECT, 1.0), (TLS, 0.125), (WAIT, 0.25))
    assert watch.trace.hops == (
        ((CONNECT, 0.5), (WAIT, 0.25)),
        ((RESOLVE, 1.0), (CONNECT, 0.5), (TLS, 0.125)),
    )
    assert watch.trace.elapsed_s == 2.375


def test_without_redirects_there_are_no_hops() -> None:
    """The phases say it all."""
    assert Watch().run((CONNECT, 0.5), (WAIT, 0.25)).hops == ()


@pytest.mark.parametrize(
    ("late_s", "seconds", "tainted_s", "skipped_s"),
    [
        (0.25, 0.25, 0.0, 0.25),
        # The kernel's account is too coarse for this: what may be ours is said instead.
        (0.004, 0.5, 0.008, 0.0),
        (None, 0.5, 0.5, 0.0),
        # A phase cannot end before it began.
        (0.75, 0.0, 0.0, 0.5),
    ],
)
def test_a_stall_at_the_end_of_a_phase(
    late_s: float | None, seconds: float, tainted_s: float, skipped_s: float
) -> None:
    """What is known to be ours is taken away, what may be ours is reported."""
    watch = Watch()
    trace = watch.trace
    trace.enter(WAIT)
    watch.stall(0.5)
    trace.enter(TRANSFER, lambda _seconds: late_s)
    assert trace.phases == ((WAIT, pytest.approx(seconds)),)
    assert trace.tainted_s == pytest.approx(tainted_s)
    assert trace.skipped_s == pytest.approx(skipped_s)


def test_a_short_phase_is_taken_as_it_is() -> None:
    """Below the kernel's resolution nobody is asked."""
    watch = Watch()
    watch.trace.enter(SEND)
    watch.now += 0.007

    def unasked(_seconds: float) -> float:
        raise AssertionError

    watch.trace.enter(WAIT, unasked)
    assert watch.trace.phases[0][1] == pytest.approx(0.007)


@pytest.mark.parametrize(
    ("phase", "is_ours"),
    [(RESOLVE, True), (CONNECT, False), (TLS, True), (WAIT, False), (TRANSFER, True)],
)
def test_giving_up_in_a_phase_with_a_stall(phase: str, *, is_ours: bool) -> None:
    """Silence is the target's where it owes us one thing only; steps that we delayed are not."""
    watch = Watch()
    watch.trace.enter(phase)
    watch.stall(0.5)
    watch.trace.give_up()
    assert watch.trace.is_short_changed(1.0) is is_ours
    assert not watch.trace.is_short_changed(10.0)
    assert watch.trace.elapsed_s == 0.5


def test_an_abandoned_attempt_leaves_nothing_behind() -> None:
    """After a restart only the new attempt counts."""
    watch = Watch()
    watch.run((SEND, 0.5), (WAIT, 1.0)).restart()
    watch.run((CONNECT, 0.25)).enter(None)
    assert watch.trace.phases == ((CONNECT, 0.25),)
    assert watch.trace.elapsed_s == 0.25


def test_somebody_else_may_be_waited_for() -> None:
    """While a provider or a proxy is asked, a deadline speaks of that."""
    trace = Watch().run((CONNECT, 0.5))
    assert trace.overdue is Reason.CONNECT_TIMEOUT
    trace.waiting_for = Reason.PROXY
    assert trace.overdue is Reason.PROXY
