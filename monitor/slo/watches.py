"""One rule on one deployment, as the engine asks it. Keeps the last answer, changes no alert."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from monitor.model import AlertState
from monitor.slo.alerting import AlertRule, NoData, inactive
from monitor.slo.burning import BurnCondition
from monitor.slo.condition import Condition
from monitor.slo.record import SloRecord
from monitor.slo.signal import Signal
from monitor.slo.values import Value

Look = Callable[[Signal], Value]
"""Returns a signal's value at this moment."""
Values = Mapping[str, float | str | None]

_SEEN = frozenset(
    {
        "error_rate",
        "success_rate",
        "samples",
        "latency",
        "uptime_percentage",
        "burn_rate",
        "error_budget_remaining",
        "coverage",
        "available_regions",
        "health",
    }
)
"""Signals that say nothing while we are blind."""


_OF_TIME = frozenset(
    {
        "available_regions",
        "certificate_expiry_days",
        "coverage",
        "error_budget_remaining",
        "health",
    }
)
"""Signals that change by themselves."""


class Watch:
    """A user's rule, with the answer to the inputs that it was last asked about."""

    __slots__ = (
        "_clear",
        "_condition",
        "_inputs",
        "_is_timeless",
        "_signals",
        "_verdict",
        "key",
        "needs_sight",
        "rule",
        "status",
    )

    def __init__(self, rule: AlertRule, condition: Condition, deployment: str) -> None:
        """Watch `rule`, of which `condition` is the condition."""
        self.rule = rule
        self._condition = condition
        self._clear = rule.clear if isinstance(rule.clear, Condition) else None
        also = () if self._clear is None else self._clear.signals
        self._signals = tuple(dict.fromkeys((*condition.signals, *also)))
        self.needs_sight = any(signal.kind in _SEEN for signal in self._signals)
        self._is_timeless = all(signal.kind not in _OF_TIME for signal in self._signals)
        self.key = (rule.name, deployment)
        self.status = inactive(*self.key, 0.0)
        self._inputs: list[Value] | None = None
        self._verdict: bool | None = None

    def judge(self, look: Look, _now: float) -> bool | None:
        """Return whether the condition holds, None without data."""
        is_firing = self.status.state is AlertState.FIRING
        inputs = [*map(look, self._signals), is_firing]
        if inputs != self._inputs:
            names = [signal.name for signal in self._signals]
            self._verdict = self._ask(dict(zip(names, inputs, strict=False)), is_firing=is_firing)
            self._inputs = inputs
        return self._verdict

    def _ask(self, values: Mapping[str, Value], *, is_firing: bool) -> bool | None:
        verdict = self._condition.evaluate(values)
        if verdict is False and is_firing and self._clear is not None:
            cleared = self._clear.evaluate(values)
            verdict = None if cleared is None else not cleared
        if verdict is None and self.rule.no_data is not NoData.FREEZE:
            return self.rule.no_data is NoData.ALERT
        return verdict

    @property
    def rests(self) -> bool:
        """Whether it would say the same again, if nothing else is known."""
        return self._is_timeless and self.status.is_at_rest

    def values(self, look: Look, _now: float) -> Values:
        """Return the condition's inputs."""
        return {signal.name: look(signal) for signal in self._signals}


class BurnWatch:
    """A tier of an objective."""

    __slots__ = ("_condition", "_record", "key", "needs_sight", "rule", "status")

    def __init__(self, rule: AlertRule, condition: BurnCondition, record: SloRecord) -> None:
        """Watch `rule`, of which `condition` is the condition, on an objective's record."""
        self.rule = rule
        self._condition = condition
        self._record = record
        self.needs_sight = True
        self.key = (rule.name, record.deployment)
        self.status = inactive(*self.key, 0.0)

    def judge(self, _look: Look, now: float) -> bool | None:
        """Return whether the budget burns so fast, None where too little was measured."""
        is_firing = self.status.state is AlertState.FIRING
        return self._condition.judge(self._record, now, is_firing=is_firing)

    @property
    def rests(self) -> bool:
        """Whether it would say the same again, if nothing else is known."""
        return self._record.is_timeless and self.status.is_at_rest

    def values(self, _look: Look, now: float) -> Values:
        """Return what a message shows."""
        return self._condition.values(self._record, now)
