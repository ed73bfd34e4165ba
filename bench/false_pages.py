"""How often burn-rate tiers page for nothing.

    make bench BENCH=false_pages

Ten years at four samples a minute, drawn for twenty seeds, with a true error rate of 0.05 % where
the objective (99.9 % of 30 days) allows 0.1 %: nothing is wrong, so every page is a false one. The
tiers are the engine's own, and so are the decisions; only the counting is done by numpy. The same
again without the confidence bound, and with errors that come two or three in a row at the same
mean rate, for which the bound, which takes samples for independent, was not made.

A tier that stops and begins again counts twice, one page of each of two tiers is two, and an
alert ends here as soon as it would not begin any more: the engine lets it go on for as long as
both windows are above the factor, so it has fewer. Between samples nothing changes, and windows
are exact: those of the engine begin with a bucket, so they are a little shorter. That the engine's
own alerts follow these decisions is verified on a few days with real trouble in them, over the
spans of its windows.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from bench.support.figures import Figure, conclude
from bench.support.fleet import EPOCH, INTERVAL_S, fleet
from monitor.model import AlertState, Outcome, Sample, Severity
from monitor.slo.burn import default_tiers, exceeds, is_surely_above
from monitor.slo.engine import Engine
from monitor.slo.objective import Objective, Tier
from monitor.slo.window import window_span_s

SEEDS = 20
YEARS = 10
ERROR_RATE = 0.0005
OBJECTIVE = Objective(target=Fraction(999, 1000))
TIERS: tuple[Tier, ...] = tuple(default_tiers(OBJECTIVE.target, OBJECTIVE.period_s))
PAGES_BAR = 0.95
"""Less than one, as a mean of twenty whole numbers can say it."""
_YEAR_S = 365.25 * 86400
_CHUNK = 1 << 20
_WARM_UP = round(max(tier.long_s for tier in TIERS) / INTERVAL_S)
"""Samples until the longest window is full; before that nothing is counted."""
_DRAWN = _WARM_UP + round(YEARS * _YEAR_S / INTERVAL_S)
_BURST_LENGTHS = (2, 3)

_VERIFIED = round(5 * 86400 / INTERVAL_S)
_TROUBLE = ((2000, 2100, 1.0), (6000, 6720, 0.1), (12_000, 14_000, 0.02), (20_000, 27_000, 0.008))
"""(first sample, end, error rate) of what is wrong in the days to verify."""

Places = NDArray[np.int64]
"""Numbers of the samples that are bad, ascending."""
Draw = Callable[[np.random.Generator], Places]


def independent(chance: np.random.Generator) -> Places:
    """Draw every sample for itself."""
    return _hits(chance, ERROR_RATE)


def bursts(chance: np.random.Generator) -> Places:
    """Draw errors that come two or three in a row, at the same mean rate."""
    mean = sum(_BURST_LENGTHS) / len(_BURST_LENGTHS)
    starts = _hits(chance, ERROR_RATE / mean)
    lengths = chance.choice(_BURST_LENGTHS, len(starts))
    rows = [starts[lengths > place] + place for place in range(max(_BURST_LENGTHS))]
    places: Places = np.unique(np.concatenate(rows))
    return places


def _hits(chance: np.random.Generator, rate: float) -> Places:
    """Return which of all samples are hit; drawn in pieces to stay small."""
    found = [
        start + np.flatnonzero(chance.random(min(_CHUNK, _DRAWN - start)) < rate)
        for start in range(0, _DRAWN, _CHUNK)
    ]
    return np.concatenate(found)


@dataclass(frozen=True, slots=True)
class Rule:
    """How a tier decides, with or without the confidence bound."""

    tier: Tier
    is_bounded: bool

    def burns(self, long: tuple[int, int], short: tuple[int, int]) -> bool:
        """Whether it fires on (bad, valid) of its two windows."""
        return self.long_burns(*long) and self.short_burns(*short)

    def short_burns(self, bad: int, valid: int) -> bool:
        """Whether the short window says that it burns still."""
        return exceeds(bad, valid, self.tier.factor, OBJECTIVE.allowed)

    def long_burns(self, bad: int, valid: int) -> bool:
        """Whether the long window has burnt enough, for certain if it is bounded."""
        if valid < OBJECTIVE.min_events:
            return False
        rate = self.tier.factor * OBJECTIVE.allowed
        return exceeds(bad, valid, self.tier.factor, OBJECTIVE.allowed) and (
            not self.is_bounded or is_surely_above(bad, valid, rate, OBJECTIVE.confidence)
        )


def episodes(rule: Rule, places: Places) -> int:
    """Return how often the rule begins to fire.

    Counts change where a bad sample comes or leaves a window, so these are all moments at which
    the answer can change.
    """
    long, short = (round(s / INTERVAL_S) for s in (rule.tier.long_s, rule.tier.short_s))
    moments = np.unique(np.concatenate((places, places + long, places + short)))
    moments = moments[(moments >= _WARM_UP) & (moments < _DRAWN)]
    fires = _asked(rule.long_burns, _bad(places, moments, long), long)
    fires &= _asked(rule.short_burns, _bad(places, moments, short), short)
    return _beginnings(fires)


def _bad(places: Places, moments: Places, length: int) -> Places:
    """Return how many of the last `length` samples are bad at each moment, that one included."""
    until: Places = np.searchsorted(places, moments, "right")
    before: Places = np.searchsorted(places, moments - length, "right")
    return until - before


def _asked(decide: Callable[[int, int], bool], bad: Places, valid: int) -> NDArray[np.bool_]:
    """Return what is decided on each of the counts; each different one is asked for once."""
    counts, which = np.unique(bad, return_inverse=True)
    return np.array([decide(int(count), valid) for count in counts], dtype=bool)[which]


def _beginnings(fires: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(fires & ~np.concatenate(([False], fires[:-1]))))


# --- that this is what the engine does ---------------------------------------------------------


def troubled_days() -> NDArray[np.bool_]:
    """Return which samples are bad in the days that are verified."""
    chance = np.random.default_rng(0)
    rates = np.full(_VERIFIED, ERROR_RATE)
    for start, end, rate in _TROUBLE:
        rates[start:end] = rate
    is_bad: NDArray[np.bool_] = chance.random(_VERIFIED) < rates
    return is_bad


def agreement(is_bad: NDArray[np.bool_]) -> tuple[float, Counter[str]]:
    """Return the share of moments at which the engine's alerts are as they have to be.

    And how often each tier began to fire. Of the days before the first the engine, like us, takes
    all samples for good.
    """
    objective = replace(OBJECTIVE, tiers=TIERS)
    spec = replace(fleet(1)[0], objective=objective)
    engine, [target] = Engine([spec], [], EPOCH), spec.targets
    total = np.concatenate(([0], np.cumsum(is_bad)))
    firing = dict.fromkeys((tier.name for tier in TIERS), False)
    begun: Counter[str] = Counter()
    same = 0
    for number, bad in enumerate(is_bad, 1):
        now = EPOCH + (number - 1) * INTERVAL_S
        outcome = Outcome.BAD if bad else Outcome.GOOD
        engine.step(now, [Sample(target=target.id, at=now, outcome=outcome)])
        if number < OBJECTIVE.min_events:
            same += 1
            continue
        for tier in TIERS:
            before = firing[tier.name]
            firing[tier.name] = _should_fire(tier, total, number, now, before=before)
            begun[tier.name] += firing[tier.name] and not before
        found = {
            each.rule.rpartition("_")[2]: each.state is AlertState.FIRING
            for each in engine.alerts()
        }
        same += found == firing
    return same / len(is_bad), begun


def _should_fire(
    tier: Tier, total: NDArray[np.int64], number: int, now: float, *, before: bool
) -> bool:
    rule, counts = Rule(tier, is_bounded=not before), []
    for window_s in (tier.long_s, tier.short_s):
        # A sample at the very beginning of the span is in it.
        valid = int(window_span_s(window_s, now) // INTERVAL_S) + 1
        counts.append((int(total[number] - total[max(0, number - valid)]), valid))
    return rule.burns(*counts)


# --- figures -----------------------------------------------------------------------------------


def simulate(draw: Draw) -> dict[Rule, list[int]]:
    """Return the episodes of each rule, one number for each seed."""
    found: dict[Rule, list[int]] = {
        Rule(tier, is_bounded): [] for is_bounded in (False, True) for tier in TIERS
    }
    for seed in range(1, SEEDS + 1):
        places = draw(np.random.default_rng(seed))
        for rule, counts in found.items():
            counts.append(episodes(rule, places))
    return found


def _summed(
    found: dict[Rule, list[int]], severity: Severity, *, is_bounded: bool
) -> NDArray[np.int64]:
    """Return for each seed the episodes of all tiers of a severity."""
    counts = [
        np.array(each)
        for rule, each in found.items()
        if rule.is_bounded is is_bounded and rule.tier.severity is severity
    ]
    summed: NDArray[np.int64] = np.sum(counts, axis=0, dtype=np.int64)
    return summed


def show(title: str, found: dict[Rule, list[int]]) -> None:
    """Print the mean and the worst of each tier."""
    print(f"{title}: episodes in {YEARS} years, mean (worst) of {SEEDS} seeds")
    for tier in TIERS:
        plain, bounded = found[Rule(tier, is_bounded=False)], found[Rule(tier, is_bounded=True)]
        print(
            f"{tier.name:>4} x{float(tier.factor):<5g} {tier.severity:>8}:"
            f" plain {np.mean(plain):8.2f} ({max(plain)}),"
            f" bounded {np.mean(bounded):6.2f} ({max(bounded)})"
        )


def figures_of(prefix: str, found: dict[Rule, list[int]], bar: float | None) -> list[Figure]:
    """Return the figures of one way in which errors come; `bar` is on the mean of pages."""
    pages = _summed(found, Severity.CRITICAL, is_bounded=True)
    plain = _summed(found, Severity.CRITICAL, is_bounded=False)
    tickets = _summed(found, Severity.WARNING, is_bounded=True)
    plain_tickets = _summed(found, Severity.WARNING, is_bounded=False)
    return [
        Figure(
            name=f"{prefix}pages_in_10_years",
            value=float(pages.mean()),
            unit="pages",
            at_most=bar,
            note=f"mean of {SEEDS} seeds, the worst has {pages.max()}",
        ),
        Figure(
            name=f"{prefix}pages_without_bound",
            value=float(plain.mean()),
            unit="pages",
            note=f"the worst has {plain.max()}",
        ),
        Figure(
            name=f"{prefix}tickets_in_10_years",
            value=float(tickets.mean()),
            unit="tickets",
            note=f"{plain_tickets.mean():.4g} without bound",
        ),
    ]


def main() -> int:
    """Print episodes by tier, and the figures."""
    figures = []
    for prefix, draw, bar in (("", independent, PAGES_BAR), ("burst_", bursts, None)):
        found = simulate(draw)
        show(draw.__name__, found)
        figures += figures_of(prefix, found, bar)
    is_bad = troubled_days()
    share, begun = agreement(is_bad)
    note = ", ".join(f"{name}: {count}" for name, count in begun.items())
    figures.append(
        Figure(
            name="same_as_engine",
            value=100 * share,
            unit="% of moments",
            at_least=100,
            note=f"{_VERIFIED} moments with real trouble in them; episodes {note}",
        )
    )
    return conclude(figures)


if __name__ == "__main__":
    sys.exit(main())
