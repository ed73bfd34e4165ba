"""Whether each clause of an SLA is kept. Compares exactly, then shows a rounded value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from monitor.slo.objective import Sla
from monitor.slo.signal import Unit
from monitor.slo.tally import WindowStats


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One clause against what was measured over the SLA's period."""

    clause: str
    """`uptime`, `p95` (any quantile), `error_rate`, `regions`."""
    limit: str
    """As a person would write it: `>= 99.9%`, `< 2500ms`."""
    value: float | None
    """In `unit`; None without data."""
    unit: Unit
    ok: bool | None


def verdicts_of(sla: Sla, stats: WindowStats, regions: int | None) -> tuple[Verdict, ...]:
    """Judge every clause that was written: uptime, latencies, error rate, regions.

    `stats` cover the SLA's period; `regions` are those available now.
    """
    return tuple(_verdicts(sla, stats, regions))


def _verdicts(sla: Sla, stats: WindowStats, regions: int | None) -> Iterator[Verdict]:
    if sla.uptime is not None:
        yield _at_least("uptime", stats.uptime, sla.uptime)
    for q, below_s in sla.latency_below_s:
        latency_s = stats.quantile(q)
        yield Verdict(
            clause=_quantile_name(q),
            limit=f"< {_text(below_s * 1000)}ms",
            value=None if latency_s is None else latency_s * 1000,
            unit=Unit.MS,
            ok=None if latency_s is None else Fraction(latency_s) < below_s,
        )
    if sla.error_rate_below is not None:
        error = stats.error_ratio
        yield Verdict(
            clause="error_rate",
            limit=f"< {_text(sla.error_rate_below * 100)}%",
            value=None if error is None else float(error * 100),
            unit=Unit.PERCENT,
            ok=None if error is None else error < sla.error_rate_below,
        )
    if sla.min_regions is not None:
        yield Verdict(
            clause="regions",
            limit=f">= {sla.min_regions}",
            value=None if regions is None else float(regions),
            unit=Unit.COUNT,
            ok=None if regions is None else regions >= sla.min_regions,
        )


def _at_least(clause: str, share: Fraction | None, limit: Fraction) -> Verdict:
    return Verdict(
        clause=clause,
        limit=f">= {_text(limit * 100)}%",
        value=None if share is None else float(share * 100),
        unit=Unit.PERCENT,
        ok=None if share is None else share >= limit,
    )


def _quantile_name(q: Fraction) -> str:
    return f"p{_text(q * 100)}".replace(".", "")


def _text(number: Fraction) -> str:
    return f"{float(number):.12g}"
