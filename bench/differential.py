"""Our windows beside Prometheus' own arithmetic on the same samples.

    make bench BENCH=differential

Needs Debian's `apt-get install prometheus`. One recorded stream (36 hours at 15 s with errors,
outages, timeouts, gaps and lognormal latencies) goes through our engine, and as OpenMetrics text
through `promtool tsdb create-blocks-from openmetrics` into a real Prometheus on loopback.

A range of PromQL begins exactly `w` before the moment, our window at the beginning of a bucket:
that is all the difference there may be. So each window is asked for twice. Over exactly our
window's span, all counts must be equal, ratios to 1e-12, and quantiles within 1 % of the nearest
rank among the raw latencies that Prometheus holds, and of `quantile_over_time` (or between the two
neighbours that it interpolates between). Over the plain range the difference is printed, with what
`increase` and `histogram_quantile` would have said.
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

from bench.support.figures import Figure, conclude
from bench.support.fleet import EPOCH, INTERVAL_S, fleet
from bench.support.processes import free_port, read, require, running
from monitor.model import Outcome, Sample
from monitor.slo.engine import Engine, WindowStats
from monitor.slo.signal import WINDOWS
from monitor.slo.window import latency_span_s, window_span_s

HOURS = 36
MOMENTS_S = (
    *(93_784.5, 100_141.25, 101_170.25, 108_003.5, 115_201.75),
    *(119_131.5, 120_000.5, 126_845.25, 128_700.5, 129_599.5),
)
"""When both are asked, seconds after the start, a day of samples behind them.

Two are within an outage, one while nothing is known.
"""
COMPARED = tuple(name for name, window_s in WINDOWS.items() if window_s <= WINDOWS["1d"])
QUANTILES = (Fraction(1, 2), Fraction(9, 10), Fraction(95, 100), Fraction(99, 100))
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Of the classic histogram: the buckets that Prometheus' client libraries start from."""
TIMEOUT_S = 10.0
RATIO_ERROR, RELATIVE_ERROR = 1e-12, 0.01
OUTAGES_S = ((40_000, 40_900), (100_000, 100_240), (128_000, 129_000))
UNKNOWNS_S = ((60_000, 63_000), (119_000, 119_200))
_IMPORT_S = 60.0
_MS = 1000


def stream() -> list[Sample]:
    """Return the recorded samples.

    Each is taken at an odd millisecond, and ranges begin at even ones: whether the beginning
    belongs to a range, on which versions of Prometheus differ, does not matter.
    """
    chance = random.Random(7)  # noqa: S311 - must be repeatable
    [target] = fleet(1)[0].targets
    found = []
    for number in range(round(HOURS * 3600 / INTERVAL_S)):
        after_s = number * INTERVAL_S
        odd_ms = 2 * chance.randrange(1500) + 1
        kind = chance.random()
        outcome, latency_s = Outcome.GOOD, min(TIMEOUT_S, chance.lognormvariate(-2.3, 0.7))
        is_down = any(start <= after_s < end for start, end in OUTAGES_S)
        is_blind = any(start <= after_s < end for start, end in UNKNOWNS_S)
        if is_blind or kind < 0.01:  # noqa: PLR2004 - a share
            outcome, latency_s = Outcome.UNKNOWN, math.nan
        elif is_down or kind < 0.02:  # noqa: PLR2004 - a share
            # A third of the failures is refused, a third times out, the rest is an answer.
            outcome = Outcome.BAD
            latency_s = (math.nan, TIMEOUT_S, latency_s)[chance.randrange(3)]
        if chance.random() < 0.005:  # noqa: PLR2004 - a share
            continue
        found.append(
            Sample(
                target=target.id,
                at=EPOCH + after_s + odd_ms / _MS,
                outcome=outcome,
                latency_s=None if math.isnan(latency_s) else latency_s,
                censored=latency_s == TIMEOUT_S,
            )
        )
    return found


def open_metrics(samples: Sequence[Sample]) -> Iterator[str]:
    """Yield the lines of what Prometheus imports: gauges of 0 and 1, counters, a histogram."""
    times = [f"{sample.at:.3f}" for sample in samples]
    for outcome in Outcome:
        yield f"# TYPE {outcome} gauge"
        for sample, at in zip(samples, times, strict=True):
            yield f"{outcome} {int(sample.outcome is outcome)} {at}"
    yield "# TYPE latency_seconds gauge"
    for sample, at in zip(samples, times, strict=True):
        if sample.latency_s is not None:
            yield f"latency_seconds {sample.latency_s!r} {at}"
    yield "# TYPE probes counter"
    for outcome in Outcome:
        total = 0
        for sample, at in zip(samples, times, strict=True):
            total += sample.outcome is outcome
            yield f'probes_total{{outcome="{outcome}"}} {total} {at}'
    yield "# TYPE waited_seconds histogram"
    for bound_s in (*BOUNDS_S, math.inf):
        le = "+Inf" if math.isinf(bound_s) else f"{bound_s}"
        total = 0
        for sample, at in zip(samples, times, strict=True):
            total += sample.latency_s is not None and sample.latency_s <= bound_s
            yield f'waited_seconds_bucket{{le="{le}"}} {total} {at}'
    yield "# EOF"


class Prometheus:
    """A running Prometheus with the samples in it."""

    def __init__(self, base: str) -> None:
        """Ask the one at `base`."""
        self._base = base

    def number(self, query: str, moment: float) -> float:
        """Return the one value that `query` has at `moment`, NaN when it has none."""
        result = self._result(query, moment)
        return float(result[0]["value"][1]) if result else math.nan

    def values(self, query: str, moment: float) -> list[float]:
        """Return the raw values of a range, sorted."""
        return sorted(
            float(value) for series in self._result(query, moment) for _, value in series["values"]
        )

    def _result(self, query: str, moment: float) -> list[dict[str, Any]]:
        asked = urlencode({"query": query, "time": f"{moment:.3f}"})
        answer = json.loads(read(f"{self._base}/api/v1/query?{asked}"))
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result


@dataclass(frozen=True, slots=True)
class Theirs:
    """What Prometheus says of one range."""

    counts: tuple[float, float, float]
    """Good, bad, unknown."""
    error_ratio: float
    uptime: float
    latencies: list[float]
    quantiles: tuple[float, ...]


def ask(prometheus: Prometheus, moment: float, span_s: float, latency_s: float) -> Theirs:
    """Ask for the last `span_s`, and for the latencies of the last `latency_s`."""
    span, of_latency = f"[{round(span_s * _MS)}ms]", f"[{round(latency_s * _MS)}ms]"
    good, bad, unknown = (f"sum_over_time({outcome}{span})" for outcome in Outcome)
    return Theirs(
        counts=(
            prometheus.number(good, moment),
            prometheus.number(bad, moment),
            prometheus.number(unknown, moment),
        ),
        error_ratio=prometheus.number(f"{bad} / ({good} + {bad})", moment),
        uptime=prometheus.number(f"{good} / ({good} + {bad})", moment),
        latencies=prometheus.values(f"latency_seconds{of_latency}", moment),
        quantiles=tuple(
            prometheus.number(
                f"quantile_over_time({float(q)}, latency_seconds{of_latency})", moment
            )
            for q in QUANTILES
        ),
    )


@dataclass(frozen=True, slots=True)
class Row:
    """One window at one moment."""

    window: str
    complaints: tuple[str, ...]
    """What differs over our span; nothing should."""
    rank_error: float
    """Largest distance from the nearest rank over our span."""
    quantile_error: float
    """Largest distance from `quantile_over_time` over our span."""
    plain: float
    """Difference in error ratio over the plain range."""
    increased: float
    """The same with `increase` of counters, which extrapolates."""
    histogram_error: float
    """Largest distance of `histogram_quantile` from the nearest rank."""


def differences(ours: WindowStats, theirs: Theirs) -> Iterator[str]:
    """Yield what is not as it has to be over one and the same span."""
    counts = (ours.good, ours.bad, ours.unknown)
    if counts != theirs.counts:
        yield f"counts {counts} != {theirs.counts}"
    for name, our, their in (
        ("error ratio", ours.error_ratio, theirs.error_ratio),
        ("uptime", ours.uptime, theirs.uptime),
    ):
        if not same_ratio(our, their):
            yield f"{name} {our} != {their}"
    for q, their in zip(QUANTILES, theirs.quantiles, strict=True):
        our_s = ours.quantile(q)
        if not same_quantile(our_s, their, theirs.latencies, q):
            yield f"p{float(100 * q):g} {our_s} != {their}"


def same_ratio(ours: Fraction | None, theirs: float) -> bool:
    """Whether both are the same, or both say that there is nothing to say."""
    if ours is None:
        return math.isnan(theirs)
    return abs(float(ours) - theirs) <= RATIO_ERROR


def same_quantile(ours: float | None, theirs: float, latencies: list[float], q: Fraction) -> bool:
    """Whether ours is the nearest rank to 1 %, and theirs or where theirs interpolates."""
    if ours is None:
        return math.isnan(theirs) and not latencies
    if distance(ours, nearest_rank(latencies, q)) > RELATIVE_ERROR:
        return False
    if distance(ours, theirs) <= RELATIVE_ERROR:
        return True
    place = q * (len(latencies) - 1)
    low, high = latencies[math.floor(place)], latencies[math.ceil(place)]
    return low * (1 - RELATIVE_ERROR) <= ours <= high * (1 + RELATIVE_ERROR)


def nearest_rank(latencies: list[float], q: Fraction) -> float:
    """Return the smallest of the sorted latencies with a share `q` at or below it."""
    return latencies[max(1, math.ceil(q * len(latencies))) - 1] if latencies else math.nan


def distance(value: float | None, truth: float) -> float:
    """Return the relative error, 0 where there is nothing to compare."""
    if value is None or math.isnan(value) or math.isnan(truth):
        return 0.0
    return abs(value - truth) / truth


def compare(engine: Engine, prometheus: Prometheus, window: str, moment: float) -> Row:
    """Ask both for one window at one moment."""
    [deployment] = engine.specs
    window_s = WINDOWS[window]
    ours = engine.window(deployment, window_s, moment)
    theirs = ask(
        prometheus, moment, window_span_s(window_s, moment), latency_span_s(window_s, moment)
    )
    plain = ask(prometheus, moment, window_s, window_s)
    good, bad = (
        f'increase(probes_total{{outcome="{outcome}"}}[{window}])' for outcome in ("good", "bad")
    )
    increased = prometheus.number(
        f"{bad} / ignoring(outcome) ({bad} + ignoring(outcome) {good})", moment
    )
    ranks = [nearest_rank(plain.latencies, q) for q in QUANTILES]
    guesses = [
        prometheus.number(
            f"histogram_quantile({float(q)}, increase(waited_seconds_bucket[{window}]))", moment
        )
        for q in QUANTILES
    ]
    error_ratio = float(ours.error_ratio or 0)
    return Row(
        window=window,
        complaints=tuple(differences(ours, theirs)),
        rank_error=max(
            distance(ours.quantile(q), nearest_rank(theirs.latencies, q)) for q in QUANTILES
        ),
        quantile_error=max(
            distance(ours.quantile(q), their)
            for q, their in zip(QUANTILES, theirs.quantiles, strict=True)
        ),
        plain=gap(error_ratio, plain.error_ratio),
        increased=gap(increased, plain.error_ratio),
        histogram_error=max(map(distance, guesses, ranks)),
    )


def gap(one: float, other: float) -> float:
    """Return how far apart two shares are, 0 when one of them is unknown."""
    return 0.0 if math.isnan(one) or math.isnan(other) else abs(one - other)


def fed(samples: Sequence[Sample]) -> Iterator[tuple[float, Engine]]:
    """Yield our engine at each moment, with all samples until then in it."""
    engine, taken = Engine(fleet(1), [], EPOCH), 0
    for moment in (EPOCH + after_s for after_s in MOMENTS_S):
        while taken < len(samples) and samples[taken].at <= moment:
            engine.step(samples[taken].at, [samples[taken]])
            taken += 1
        engine.step(moment)
        yield moment, engine


def imported(samples: Sequence[Sample], home: Path) -> Path:
    """Return the folder with Prometheus' blocks of these samples."""
    text, blocks = home / "samples.om", home / "tsdb"
    text.write_text("".join(f"{line}\n" for line in open_metrics(samples)))
    command = (
        require("promtool", "prometheus"),
        *("tsdb", "create-blocks-from", "openmetrics", str(text), str(blocks)),
    )
    done = subprocess.run(  # noqa: S603 - ours
        command, capture_output=True, text=True, timeout=_IMPORT_S, check=False
    )
    if done.returncode:
        msg = f"promtool failed:\n{done.stderr[-2000:]}"
        raise RuntimeError(msg)
    return blocks


def rows(home: Path) -> list[Row]:
    """Ask both for every window at every moment."""
    program = require("prometheus", "prometheus")
    samples = stream()
    blocks = imported(samples, home)
    (home / "prometheus.yml").write_text("scrape_configs: []\n")
    address = f"127.0.0.1:{free_port()}"
    command = (
        program,
        f"--config.file={home / 'prometheus.yml'}",
        f"--storage.tsdb.path={blocks}",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address={address}",
    )
    base = f"http://{address}"
    with running(command, home, f"{base}/-/ready"):
        prometheus = Prometheus(base)
        return [
            compare(engine, prometheus, window, moment)
            for moment, engine in fed(samples)
            for window in COMPARED
        ]


def show(found: Sequence[Row]) -> None:
    """Print one line a window: the largest of each difference over all moments."""
    names = ("window", "equal", "rank", "quantiles", "plain", "increase", "histogram")
    print(*(f"{name:>10}" for name in names))
    for window in COMPARED:
        mine = [row for row in found if row.window == window]
        equal = sum(not row.complaints for row in mine)
        print(
            f"{window:>10}",
            f"{f'{equal}/{len(mine)}':>10}",
            f"{max(row.rank_error for row in mine):10.2%}",
            f"{max(row.quantile_error for row in mine):10.2%}",
            f"{max(row.plain for row in mine):10.6f}",
            f"{max(row.increased for row in mine):10.6f}",
            f"{max(row.histogram_error for row in mine):10.2%}",
        )
    for row in found:
        for complaint in row.complaints:
            print(f"{row.window}: {complaint}")


def main() -> int:
    """Print the table and the figures."""
    with TemporaryDirectory(prefix="bench-") as folder:
        found = rows(Path(folder))
    show(found)
    equal = sum(not row.complaints for row in found)
    return conclude(
        [
            Figure(
                name="equal_windows",
                value=100 * equal / len(found),
                unit="%",
                at_least=100,
                note=f"{len(found)}: {len(COMPARED)} windows at {len(MOMENTS_S)} moments",
            ),
            Figure(
                name="nearest_rank",
                value=100 * max(row.rank_error for row in found),
                unit="%",
                at_most=100 * RELATIVE_ERROR,
                note="largest distance from the raw latencies' nearest rank over our span",
            ),
            Figure(
                name="quantile_over_time",
                value=100 * max(row.quantile_error for row in found),
                unit="%",
                note="largest distance over our span; it interpolates, we take the nearest rank",
            ),
            Figure(
                name="plain_range",
                value=max(row.plain for row in found),
                unit="error ratio",
                note="largest difference; our window begins with a bucket",
            ),
            Figure(
                name="increase",
                value=max(row.increased for row in found),
                unit="error ratio",
                note="the same for `increase` of counters, which extrapolates",
            ),
            Figure(
                name="histogram_quantile",
                value=100 * max(row.histogram_error for row in found),
                unit="%",
                note="largest distance from the nearest rank, default buckets",
            ),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
