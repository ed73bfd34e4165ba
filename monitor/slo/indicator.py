"""What a sample, or a moment, is for an objective: good, bad or not known.

Pure functions over the newest knowledge of targets. Keeps no count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from monitor.model import Outcome, Sample
from monitor.slo.objective import Objective, Sli, SliKind
from monitor.slo.targets import TargetState, certificate_days

_OF_SAMPLES = frozenset({SliKind.UPTIME, SliKind.AVAILABILITY, SliKind.LATENCY})
_WELL = frozenset({None, "healthy"})


def judges_samples(objective: Objective) -> bool:
    """Whether each sample is judged by itself; otherwise it is the state at every moment."""
    return all(sli.kind in _OF_SAMPLES for sli in objective.slis)


def latency_limit(below_s: Fraction) -> float:
    """Return the float of which `latency < limit` says exactly what `latency < below_s` does."""
    limit = float(below_s)
    return limit if limit >= below_s else math.nextafter(limit, math.inf)


def of_sample(sample: Sample, limits: Sequence[float]) -> Outcome:
    """Return what a sample is for an objective with these limits of latency, in seconds.

    A sample that failed is bad, however quick it was; of one whose latency may be our own doing,
    only a time below the limit says something.
    """
    if sample.outcome is not Outcome.GOOD or not limits:
        return sample.outcome
    if sample.latency_s is None:
        return Outcome.UNKNOWN
    if all(sample.latency_s < limit for limit in limits):
        return Outcome.GOOD
    return Outcome.UNKNOWN if sample.tainted_s else Outcome.BAD


def of_moment(objective: Objective, states: Sequence[TargetState], now: float) -> Outcome:
    """Return what this moment is: bad when one indicator is, unknown when one is not known."""
    found = {_of_moment(sli, states, now) for sli in objective.slis}
    for outcome in (Outcome.BAD, Outcome.UNKNOWN):
        if outcome in found:
            return outcome
    return Outcome.GOOD


def _of_moment(sli: Sli, states: Sequence[TargetState], now: float) -> Outcome:
    if sli.kind is SliKind.FRESHNESS:
        return _freshness(sli, states, now)
    if sli.kind is SliKind.CERTIFICATE:
        days = certificate_days(states, now)
        if days is None:
            return Outcome.UNKNOWN
        return Outcome.GOOD if days >= (sli.days or 0) else Outcome.BAD
    outcomes = {state.outcome(now) for state in states}
    if sli.kind is SliKind.HEALTH and any(state.said(now) not in _WELL for state in states):
        outcomes.add(Outcome.BAD)
    if sli.kind is SliKind.LATENCY and sli.below_s is not None:
        limits = (latency_limit(sli.below_s),)
        outcomes |= {of_sample(s.last, limits) for s in states if s.last is not None}
    for outcome in (Outcome.BAD, Outcome.UNKNOWN):
        if outcome in outcomes:
            return outcome
    return Outcome.GOOD


def _freshness(sli: Sli, states: Sequence[TargetState], now: float) -> Outcome:
    """Stale is bad only when we looked and did not find: what we cannot see is not stale."""
    max_age_s = sli.max_age_s or 0.0
    stale = [state for state in states if now - state.good_at > max_age_s]
    if not stale:
        return Outcome.GOOD
    if any(state.outcome(now) is Outcome.BAD for state in stale):
        return Outcome.BAD
    return Outcome.UNKNOWN
