"""What each signal is worth for one deployment at one moment, in the units of conditions.

Every number is one division of exact integers, so it is the float nearest to the true value and
ties with a decimal threshold are ties: 1 bad of 1000 is an uptime of exactly 99.9.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType

from monitor.model import Deployment, Release, ReleaseStatus
from monitor.slo.budget import counted_error, remaining_share
from monitor.slo.objective import Objective, Period
from monitor.slo.record import SloRecord
from monitor.slo.signal import DEFAULT_PERIOD_S, Signal
from monitor.slo.sketch import Sketch
from monitor.slo.targets import TargetState, available_regions, certificate_days, health, latencies

Value = float | str | None


@dataclass(slots=True, kw_only=True)
class Situation:
    """All that signals are computed from, and what was computed already."""

    deployment: Deployment
    objective: Objective | None
    record: SloRecord | None
    """Of that objective."""
    states: Sequence[TargetState]
    slis: Sequence[TargetState]
    """Those of `states` that count towards SLIs."""
    release: Release | None
    now: float
    _totals: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)
    _values: dict[str, Value] = field(default_factory=dict)
    _regions: dict[str, Situation] = field(default_factory=dict)

    def look(self, signal: Signal) -> Value:
        """Return a signal's value, None when there is no data for it; computed once."""
        name = signal.name
        if name in self._values:
            return self._values[name]
        value = self._values[name] = _KINDS[signal.kind](signal, self)
        return value

    def within(self, region: str) -> Situation:
        """Return what is known from one region; nothing there is about an objective's budget."""
        if region not in self._regions:
            self._regions[region] = Situation(
                deployment=self.deployment,
                objective=self.objective,
                record=None,
                states=[each for each in self.states if each.target.region == region],
                slis=[each for each in self.slis if each.target.region == region],
                release=self.release,
                now=self.now,
            )
        return self._regions[region]

    def totals(self, window_s: int) -> tuple[int, int, int, int]:
        """Return (good, bad, up ms, down ms) of all SLI targets in a window; added up once."""
        known = self._totals.get(window_s)
        if known is None:
            good = bad = up_ms = down_ms = 0
            for state in self.slis:
                tally = state.window.counts(window_s)
                good += tally.good
                bad += tally.bad
                up_ms += tally.up_ms
                down_ms += tally.down_ms
            known = self._totals[window_s] = (good, bad, up_ms, down_ms)
        return known


def _ratio(part: int, whole: int, scale: int = 1) -> float | None:
    return scale * part / whole if whole else None


def _window_s(signal: Signal, situation: Situation) -> int:
    if signal.window_s is not None:
        return signal.window_s
    return situation.objective.period_s if situation.objective else DEFAULT_PERIOD_S


def _samples(signal: Signal, situation: Situation) -> tuple[int, int]:
    good, bad, _, _ = situation.totals(_window_s(signal, situation))
    return good, bad


def _time_ms(signal: Signal, situation: Situation) -> tuple[int, int]:
    _, _, up_ms, down_ms = situation.totals(_window_s(signal, situation))
    return up_ms, down_ms


def _error_rate(signal: Signal, situation: Situation) -> Value:
    good, bad = _samples(signal, situation)
    return _ratio(bad, good + bad, 100)


def _success_rate(signal: Signal, situation: Situation) -> Value:
    good, bad = _samples(signal, situation)
    return _ratio(good, good + bad, 100)


def _valid_samples(signal: Signal, situation: Situation) -> Value:
    return float(sum(_samples(signal, situation)))


def _latency_ms(signal: Signal, situation: Situation) -> Value:
    sketch = Sketch.merged(latencies(situation.slis, _window_s(signal, situation)))
    latency_s = sketch.quantile(signal.quantile or Fraction(1, 2))
    return None if latency_s is None else latency_s * 1000


def _uptime(signal: Signal, situation: Situation) -> Value:
    up_ms, down_ms = _time_ms(signal, situation)
    return _ratio(up_ms, up_ms + down_ms, 100)


def _burn_rate(signal: Signal, situation: Situation) -> Value:
    if situation.record is None:
        return None
    target = situation.record.objective.target
    bad, valid = situation.record.ratio(_window_s(signal, situation))
    allowed = valid * (target.denominator - target.numerator)
    return _ratio(bad * target.denominator, allowed)


def _budget_remaining(_signal: Signal, situation: Situation) -> Value:
    if situation.record is None:
        return None
    record = situation.record
    rolling = Period(length_s=record.objective.period_s)
    error = counted_error(record.measured(rolling, situation.now))
    return None if error is None else float(100 * remaining_share(error, record.objective))


def _coverage(signal: Signal, situation: Situation) -> Value:
    window_s = _window_s(signal, situation)
    expected_ms = sum(state.expected_ms(window_s, situation.now) for state in situation.slis)
    return _ratio(min(sum(_time_ms(signal, situation)), expected_ms), expected_ms, 100)


def _available_regions(_signal: Signal, situation: Situation) -> Value:
    regions = available_regions(situation.slis, situation.now)
    return None if regions is None else float(regions)


def _certificate_expiry_days(_signal: Signal, situation: Situation) -> Value:
    return certificate_days(situation.states, situation.now)


def _deployment_status(_signal: Signal, situation: Situation) -> Value:
    return str(situation.release.status if situation.release else ReleaseStatus.UNKNOWN)


def _health(_signal: Signal, situation: Situation) -> Value:
    found = health(situation.slis, situation.now)
    return None if found is None else str(found)


def _deployment(_signal: Signal, situation: Situation) -> Value:
    return situation.deployment.name


def _environment(_signal: Signal, situation: Situation) -> Value:
    return situation.deployment.environment


def _region(_signal: Signal, situation: Situation) -> Value:
    return ",".join(dict.fromkeys(state.target.region for state in situation.states))


def _revision(_signal: Signal, situation: Situation) -> Value:
    return situation.release.revision if situation.release else None


_KINDS: Mapping[str, Callable[[Signal, Situation], Value]] = MappingProxyType(
    {
        "error_rate": _error_rate,
        "success_rate": _success_rate,
        "samples": _valid_samples,
        "latency": _latency_ms,
        "uptime_percentage": _uptime,
        "burn_rate": _burn_rate,
        "error_budget_remaining": _budget_remaining,
        "coverage": _coverage,
        "available_regions": _available_regions,
        "certificate_expiry_days": _certificate_expiry_days,
        "deployment_status": _deployment_status,
        "health": _health,
        "deployment": _deployment,
        "environment": _environment,
        "region": _region,
        "revision": _revision,
    }
)
