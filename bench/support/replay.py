"""A drawn record of samples, and its way through the engine with restarts in between.

Owns drawing, feeding and restarting. Knows no exact answer: who compares brings one of his own.
"""

from __future__ import annotations

import math
import random
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from bench.support.fleet import EPOCH, fleet
from monitor.model import Outcome, Sample, WindowRow
from monitor.slo.engine import DeploymentSpec, Engine

DAY_S = 86400.0
MOMENTS = tuple(EPOCH + age_s for age_s in (2 * DAY_S + 4711.3, 50 * DAY_S + 3.7, 100 * DAY_S))
"""When one looks, the last one at the very edge of a bucket; the restarts are at the second."""
DOWN_S = 7200.0
"""For how long nobody watches after the second restart: longer than the narrowest buckets reach."""
_RESTART_AT = MOMENTS[1]
_TAIL_S = 90 * DAY_S
"""Most samples come before a moment, as many in the last 1 to 10 s as in 10 to 100 s."""
_SPREAD = 0.25
"""Share of the samples that are anywhere in all of the time."""
_UNKNOWN, _BAD, _REFUSED = 0.005, 0.02, 0.005
_BATCH = 1000
_LOG_MEDIAN = math.log(0.080)
_OUTCOMES = (Outcome.GOOD, Outcome.BAD, Outcome.UNKNOWN)
_CODES = {outcome: code for code, outcome in enumerate(_OUTCOMES)}

Draw = Callable[[random.Random], float]


def _bimodal(chance: random.Random) -> float:
    middle_s = 0.040 if chance.random() < 0.9 else 0.900  # noqa: PLR2004 - a share
    return max(0.001, chance.gauss(middle_s, middle_s / 10))


SHAPES: Mapping[str, Draw] = MappingProxyType(
    {
        "lognormal": lambda chance: chance.lognormvariate(_LOG_MEDIAN, 0.5),
        "bimodal": _bimodal,
        "constant": lambda _: 0.080,
    }
)
"""Latencies in seconds, by name."""


@dataclass(frozen=True, slots=True)
class Record:
    """Samples in the order in which they arrive."""

    spec: DeploymentSpec
    arrived: array[float]
    at: array[float]
    """Start of the probe; a slow one arrives after others that began later."""
    latency_s: array[float]
    """NaN where there is none."""
    outcome: array[int]
    """0 good, 1 bad, 2 unknown."""

    def samples(self, start: int, end: int) -> list[Sample]:
        """Return those from `start` up to `end` as the engine takes them."""
        [target] = self.spec.targets
        return [
            Sample(
                target=target.id,
                at=self.at[number],
                outcome=_OUTCOMES[self.outcome[number]],
                latency_s=None if math.isnan(self.latency_s[number]) else self.latency_s[number],
            )
            for number in range(start, end)
        ]

    def until(self, moment: float) -> int:
        """Return how many have arrived at `moment`."""
        return bisect_right(self.arrived, moment)


@dataclass(slots=True)
class _Stored:
    """What a store would hold: only what the engine handed out."""

    windows: dict[tuple[str, str], WindowRow] = field(default_factory=dict)
    born: dict[str, float] = field(default_factory=dict)


def draw(shape: str, count: int, seed: int) -> Record:
    """Return a repeatable record of `count` samples whose latencies have this shape."""
    chance = random.Random(seed)  # noqa: S311 - must be repeatable
    latency = SHAPES[shape]
    [spec] = fleet(1)
    rows: list[tuple[float, float, float, int]] = []
    while len(rows) < count:
        at, kind = _when(chance), chance.random()
        latency_s, outcome = latency(chance), Outcome.GOOD
        if kind < _UNKNOWN:
            latency_s, outcome = math.nan, Outcome.UNKNOWN
        elif kind < _UNKNOWN + _BAD:
            outcome = Outcome.BAD
            if kind < _UNKNOWN + _REFUSED:
                latency_s = math.nan
        arrived = at if math.isnan(latency_s) else at + latency_s
        if _RESTART_AT < arrived <= _RESTART_AT + DOWN_S:
            continue
        rows.append((arrived, at, latency_s, _CODES[outcome]))
    rows.sort()
    return Record(
        spec=spec,
        arrived=array("d", (row[0] for row in rows)),
        at=array("d", (row[1] for row in rows)),
        latency_s=array("d", (row[2] for row in rows)),
        outcome=array("b", (row[3] for row in rows)),
    )


def replay(record: Record) -> Iterator[tuple[float, Engine]]:
    """Yield the engine at each of MOMENTS, and after each of the two restarts."""
    engine = Engine([record.spec], [], EPOCH)
    stored, fed = _Stored(), 0
    for moment in MOMENTS:
        for end in (*range(fed + _BATCH, record.until(moment), _BATCH), record.until(moment)):
            if end > fed:
                engine.step(record.arrived[end - 1], record.samples(fed, end))
                fed = end
        engine.step(moment)
        yield moment, engine
        if moment == _RESTART_AT:
            engine = _restarted(engine, stored, moment, moment)
            yield moment, engine
            engine = _restarted(engine, stored, moment, moment + DOWN_S)
            yield moment + DOWN_S, engine


def _restarted(engine: Engine, stored: _Stored, seen_at: float, now: float) -> Engine:
    """Return the engine of a new process that begins at `now`; the old one ended at `seen_at`."""
    rows, born = engine.flush()
    stored.windows |= {(row.owner, row.part): row for row in rows}
    stored.born |= dict(born)
    after = Engine(tuple(engine.specs.values()), [], now)
    after.restore(
        alerts=(),
        releases=(),
        windows=tuple(stored.windows.values()),
        born=tuple(stored.born.items()),
        seen_at=seen_at,
        now=now,
    )
    return after


def _when(chance: random.Random) -> float:
    last = MOMENTS[-1]
    if chance.random() < _SPREAD:
        return chance.uniform(EPOCH, last)
    moment = chance.choice(MOMENTS)
    age_s = math.exp(chance.uniform(0.0, math.log(min(_TAIL_S, moment - EPOCH))))
    return moment - age_s
