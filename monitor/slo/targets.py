"""What is known of each target right now, and of a deployment from its targets together.

Owns the latest sample, freshness and the target's windows. Evaluates no condition.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from monitor.model import Outcome, Sample, Target
from monitor.slo.signal import Health
from monitor.slo.sketch import Sketch
from monitor.slo.window import TargetWindow, window_span_s

_DAY_S = 86400
_UNWELL = frozenset({Health.DEGRADED, Health.UNHEALTHY})


class TargetState:
    """One target: its windows and the latest that it said."""

    __slots__ = (
        "_certificate_at",
        "_revision_at",
        "_since",
        "bad",
        "born",
        "certificate_expires_at",
        "good_at",
        "last",
        "last_at",
        "revision",
        "target",
        "window",
    )

    def __init__(self, target: Target, now: float, extra: Iterable[int]) -> None:
        """Start watching at `now`; `extra` are windows in seconds beyond the named ones."""
        self.target = target
        self.window = TargetWindow(target.id, now, extra)
        self.born = now
        """First time that it was ever monitored, UTC seconds; restored after a restart."""
        self.last: Sample | None = None
        self.last_at = -math.inf
        self.bad: Sample | None = None
        """The latest bad sample."""
        self.good_at = -math.inf
        """Start of the latest good sample."""
        self.revision: str | None = None
        self.certificate_expires_at: float | None = None
        self._since = now
        self._revision_at = self._certificate_at = -math.inf

    def file(self, sample: Sample, now: float) -> None:
        """Count a sample and remember it if it is the latest."""
        self.window.add(sample, self.target.interval_s)
        at = min(now, sample.at)
        if at >= self.last_at:
            self.last, self.last_at = sample, at
        if sample.outcome is Outcome.GOOD and at > self.good_at:
            self.good_at = at
        elif sample.outcome is Outcome.BAD and (self.bad is None or at >= self.bad.at):
            self.bad = sample
        if sample.revision is not None and at >= self._revision_at:
            self.revision, self._revision_at = sample.revision, at
        if sample.certificate_expires_at is not None and at >= self._certificate_at:
            self.certificate_expires_at = sample.certificate_expires_at
            self._certificate_at = at

    def take_back(self, sample: Sample, instead: Sample) -> None:
        """Let `sample`, which was filed, count as `instead`, which says nothing."""
        self.window.take_back(sample, self.target.interval_s)
        if self.last is sample:
            self.last = instead
        if self.bad is sample:
            self.bad = None

    @property
    def stale_after_s(self) -> float:
        """Age from which the latest sample says nothing about now."""
        return 2 * self.target.interval_s + self.target.timeout_s

    def outcome(self, now: float) -> Outcome:
        """Return the latest outcome, UNKNOWN when it is too old or there is none."""
        if self.last is None or now - self.last_at > self.stale_after_s:
            return Outcome.UNKNOWN
        return self.last.outcome

    def said(self, now: float) -> str | None:
        """Return what it said lately of its own health, None when it did not."""
        return (
            None if self.last is None or self.outcome(now) is Outcome.UNKNOWN else self.last.health
        )

    def awaits_first(self, now: float) -> bool:
        """Whether this process has just begun and its first sample is still to come."""
        return self.last is None and now - self._since <= self.stale_after_s

    def fresh_revision(self, now: float) -> str | None:
        """Return the revision that it reported lately."""
        return self.revision if now - self._revision_at <= self.stale_after_s else None

    def expected_ms(self, window_s: int, now: float) -> int:
        """Return how much of the window should have been measured.

        Whole intervals only, of the buckets that the window holds, and without the probe that may
        still be under way: what was never missed counts as complete at every moment.
        """
        span_s = min(window_span_s(window_s, now), max(0.0, now - self.born))
        interval_s = self.target.interval_s
        whole = max(0.0, span_s - self.target.timeout_s) // interval_s
        return int(1000 * (whole * interval_s or span_s))


def latencies(states: Iterable[TargetState], window_s: int) -> Iterator[Sketch]:
    """Yield sketches that together are the window of all these targets; do not change them."""
    for state in states:
        yield from state.window.latencies(window_s)


def health(states: Sequence[TargetState], now: float) -> Health | None:
    """Return what the latest samples of the SLI targets say together.

    One that answers well but says of itself that it is not well makes the whole degraded. Targets
    that could not be measured do not take part. None (no data) while a process that has
    just begun waits for first samples: an alert that was firing before must not end for that.
    """
    if any(state.awaits_first(now) for state in states):
        return None
    known = [state.outcome(now) for state in states]
    bad, good = known.count(Outcome.BAD), known.count(Outcome.GOOD)
    if not bad and not good:
        return Health.UNKNOWN
    if not bad:
        words = {state.said(now) for state in states}
        return Health.DEGRADED if words & _UNWELL else Health.HEALTHY
    return Health.DEGRADED if good else Health.UNHEALTHY


def available_regions(states: Sequence[TargetState], now: float) -> int | None:
    """Return in how many regions every SLI target was GOOD lately, None without data."""
    outcomes = [(state.target.region, state.outcome(now)) for state in states]
    waiting = any(state.awaits_first(now) for state in states)
    if waiting or all(outcome is Outcome.UNKNOWN for _, outcome in outcomes):
        return None
    failing = {region for region, outcome in outcomes if outcome is not Outcome.GOOD}
    return len({region for region, _ in outcomes} - failing)


def certificate_days(states: Iterable[TargetState], now: float) -> float | None:
    """Return the days until the first certificate expires, negative afterwards."""
    ends = [s.certificate_expires_at for s in states if s.certificate_expires_at is not None]
    return (min(ends) - now) / _DAY_S if ends else None


def agreed_revision(states: Iterable[TargetState], now: float) -> str | None:
    """Return the revision that all fresh targets report, None while they differ."""
    revisions = {state.fresh_revision(now) for state in states} - {None}
    return revisions.pop() if len(revisions) == 1 else None
