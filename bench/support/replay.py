"""A drawn record of samples, and its way through the engine with a restart in between.

Owns drawing, feeding and restarting. Knows no exact answer: who compares brings one of his own.
"""

from __future__ import annotations

import math
import random
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from bench.support.fleet import EPOCH, fleet
from monitor.model import BucketRow, Outcome, Sample
from monitor.slo.engine import DeploymentSpec, Engine

DAY_S = 86400.0
MOMENTS = tuple(EPOCH + age_s for age_s in (2 * DAY_S + 4711.3, 50 * DAY_S + 3.7, 100 * DAY_S))
"""When one looks, the last one at the very edge of a bucket; the restart is at the second."""
_TAIL_S = 90 * DAY_S
"""Half of all samples come shortly before a moment, as many in 1 to 10 s as in 10 to 100 s."""
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


def draw(shape: str, count: int, seed: int) -> Record:
    """Return a repeatable record of `count` samples whose latencies have this shape."""
    chance = random.Random(seed)  # noqa: S311 - must be repeatable
    latency = SHAPES[shape]
    [spec] = fleet(1)
    rows = []
    for _ in range(count):
        at, kind = _when(chance), chance.random()
        latency_s, outcome = latency(chance), Outcome.GOOD
        if kind < _UNKNOWN:
            latency_s, outcome = math.nan, Outcome.UNKNOWN
        elif kind < _UNKNOWN + _BAD:
            outcome = Outcome.BAD
            if kind < _UNKNOWN + _REFUSED:
                latency_s = math.nan
        arrived = at if math.isnan(latency_s) else at + latency_s
        rows.append((arrived, at, latency_s, _CODES[outcome]))
    rows.sort()
    return Record(
        spec=spec,
        arrived=array("d", (row[0] for row in rows)),
        at=array("d", (row[1] for row in rows)),
        latency_s=array("d", (row[2] for row in rows)),
        outcome=array("b", (row[3] for row in rows)),
    )


def replay(
    record: Record, moments: Sequence[float] = MOMENTS, restart_at: float = MOMENTS[1]
) -> Iterator[tuple[float, Engine]]:
    """Yield the engine at each of `moments`, at `restart_at` both the old one and the new one."""
    engine = Engine([record.spec], [], EPOCH)
    rows: dict[tuple[str, int, int], BucketRow] = {}
    born: dict[str, float] = {}
    fed = 0
    for moment in moments:
        for end in (*range(fed + _BATCH, record.until(moment), _BATCH), record.until(moment)):
            if end > fed:
                engine.step(record.arrived[end - 1], record.samples(fed, end))
                fed = end
        engine.step(moment)
        yield moment, engine
        if moment == restart_at:
            changed, newborn = engine.flush()
            rows |= {(row.target, row.width_s, row.start): row for row in changed}
            born |= dict(newborn)
            engine = Engine([record.spec], [], moment)
            engine.restore(
                alerts=(),
                releases=(),
                buckets=tuple(rows.values()),
                born=tuple(born.items()),
                seen_at=moment,
                now=moment,
            )
            yield moment, engine


def _when(chance: random.Random) -> float:
    last = MOMENTS[-1]
    if chance.random() < 0.5:  # noqa: PLR2004 - a half
        return chance.uniform(EPOCH, last)
    moment = chance.choice(MOMENTS)
    age_s = math.exp(chance.uniform(0.0, math.log(min(_TAIL_S, moment - EPOCH))))
    return moment - age_s
