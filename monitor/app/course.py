"""How a deployment did around the onset of an incident, read from the engine's windows.

Changes nothing and keeps nothing.
"""

from __future__ import annotations

import math
from fractions import Fraction

from monitor.model import Course
from monitor.slo.engine import Engine

QUANTILE = Fraction(95, 100)
_SCALES = ((60, 60), (300, 24), (900, 24), (3600, 24))
"""(step in seconds, steps): what the windows keep in buckets that fit into a step."""
_BEFORE = Fraction(1, 3)
"""This part of the picture shows how it was before the onset."""


def course(
    engine: Engine,
    deployment: str,
    onset_at: float,
    now: float,
    limits: tuple[float | None, float | None],
) -> Course | None:
    """Return the course up to `now`; None when the onset is too long ago, or nothing is known.

    `limits` are those of the error ratio and of the latency in seconds. KeyError: no such
    deployment.
    """
    age_s = max(0.0, now - onset_at)
    scales = (it for it in _SCALES if age_s <= (1 - _BEFORE) * it[0] * it[1])
    step_s, steps = next(scales, (0, 0))
    if not steps:
        return None
    end = math.ceil(now / step_s) * step_s
    at = [float(end - step_s * number) for number in range(steps, 0, -1)]
    stats = [engine.between(deployment, start, start + step_s, now) for start in at]
    if not any(each.valid for each in stats):
        return None
    ratios = [each.error_ratio for each in stats]
    return Course(
        at=tuple(at),
        error_ratio=tuple(None if ratio is None else float(ratio) for ratio in ratios),
        latency_s=tuple(each.quantile(QUANTILE) for each in stats),
        onset_at=onset_at,
        error_limit=limits[0],
        latency_limit_s=limits[1],
    )
