"""The names that conditions and queries may use, and what each name means.

Owns the names, units and windows. Computes no value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType
from typing import Literal

from monitor.model import ReleaseStatus

_MINUTE, _HOUR, _DAY = 60, 3600, 86400

WINDOWS: Mapping[str, int] = MappingProxyType(
    {
        "1m": _MINUTE,
        "5m": 5 * _MINUTE,
        "10m": 10 * _MINUTE,
        "15m": 15 * _MINUTE,
        "30m": 30 * _MINUTE,
        "1h": _HOUR,
        "2h": 2 * _HOUR,
        "6h": 6 * _HOUR,
        "12h": 12 * _HOUR,
        "1d": _DAY,
        "3d": 3 * _DAY,
        "7d": 7 * _DAY,
        "28d": 28 * _DAY,
        "30d": 30 * _DAY,
        "90d": 90 * _DAY,
    }
)
"""Window name -> seconds, shortest first."""

DEFAULT_LATENCY_WINDOW_S = WINDOWS["5m"]
DEFAULT_PERIOD_S = WINDOWS["30d"]


class Unit(StrEnum):
    """Unit of a value as conditions and queries show it."""

    PERCENT = "percent"
    MS = "ms"
    RATIO = "ratio"
    COUNT = "count"
    DAYS = "days"
    TEXT = "text"


class Health(StrEnum):
    """The values of `health`."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One value of a deployment that can be asked for by name."""

    name: str
    kind: str
    """The name without quantile and window: `error_rate`, `latency`, `health`."""
    window_s: int | None = None
    """None when it has no window, or the objective's period is its window."""
    quantile: Fraction | None = None
    """0-1, for latencies."""
    unit: Unit
    type: Literal["number", "string"]


_WINDOWED: Mapping[str, Unit] = MappingProxyType(
    {
        "error_rate": Unit.PERCENT,
        "success_rate": Unit.PERCENT,
        "uptime_percentage": Unit.PERCENT,
        "burn_rate": Unit.RATIO,
        "samples": Unit.COUNT,
        "coverage": Unit.PERCENT,
    }
)
_PLAIN: Mapping[str, Unit] = MappingProxyType(
    {
        "uptime_percentage": Unit.PERCENT,
        "error_budget_remaining": Unit.PERCENT,
        "available_regions": Unit.COUNT,
        "certificate_expiry_days": Unit.DAYS,
        "deployment_status": Unit.TEXT,
        "health": Unit.TEXT,
        "deployment": Unit.TEXT,
        "environment": Unit.TEXT,
        "region": Unit.TEXT,
        "revision": Unit.TEXT,
    }
)
_LATENCY = re.compile(r"p([1-9]\d?|999)_latency(?:_(\w+))?", re.ASCII)
_LISTED_QUANTILES = ("50", "95", "99")

ALLOWED_VALUES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"deployment_status": tuple(ReleaseStatus), "health": tuple(Health)}
)
"""The only values that these text signals can have."""


OF_REGIONS = frozenset(
    {"error_rate", "success_rate", "uptime_percentage", "samples", "coverage", "latency"}
)
"""Kinds that can be seen from one region alone."""


def parse_signal(name: str) -> Signal | None:
    """Return the signal of this name, None when there is none."""
    if name in _PLAIN:
        return _signal(name, name, _PLAIN[name])
    latency = _LATENCY.fullmatch(name)
    if latency:
        window_s = WINDOWS.get(latency[2]) if latency[2] else DEFAULT_LATENCY_WINDOW_S
        if window_s is None:
            return None
        return _signal(name, "latency", Unit.MS, window_s, _quantile(latency[1]))
    kind, _, window = name.rpartition("_")
    if kind in _WINDOWED and window in WINDOWS:
        return _signal(name, kind, _WINDOWED[kind], WINDOWS[window])
    return None


def signal_names() -> tuple[str, ...]:
    """Return all names; of the latencies those of p50, p95 and p99."""
    latencies = [f"p{digits}_latency" for digits in _LISTED_QUANTILES]
    windowed = [f"{kind}_{window}" for kind in (*_WINDOWED, *latencies) for window in WINDOWS]
    return (*_PLAIN, *latencies, *windowed)


def _quantile(digits: str) -> Fraction:
    return Fraction(int(digits), 10 ** len(digits) if len(digits) > 1 else 100)


def _signal(
    name: str,
    kind: str,
    unit: Unit,
    window_s: int | None = None,
    quantile: Fraction | None = None,
) -> Signal:
    return Signal(
        name=name,
        kind=kind,
        window_s=window_s,
        quantile=quantile,
        unit=unit,
        type="string" if unit is Unit.TEXT else "number",
    )
