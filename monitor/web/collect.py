"""Collection of all series at a scrape: our own tallies, and live figures read from the engine.

Keeps nothing. No data is an absent series, never -1 or NaN. Never holds the event loop for long.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from fractions import Fraction

from prometheus_client.utils import floatToGoString

from monitor.metrics import (
    ALERT_NO_DATA,
    ALERTS,
    DEPLOYMENT_INFO,
    HEALTH,
    OUTBOX_DEPTH,
    OUTBOX_OLDEST,
    PROBE_CERTIFICATE_EXPIRY,
    PROBE_CHECK,
    PROBE_PHASE,
    PROBE_VALUE,
    REGION_LABELS,
    SLA_CLAUSE,
    SLO_BUDGET,
    SLO_BUDGET_BEST,
    SLO_BUDGET_WORST,
    SLO_BURN,
    SLO_CALENDAR_BUDGET,
    SLO_COVERAGE,
    SLO_OBJECTIVE,
    TARGET_LABELS,
    WINDOW_COVERAGE,
    WINDOW_ERROR,
    WINDOW_LATENCY,
    WINDOW_UPTIME,
    Histogram,
    Row,
    Series,
    Telemetry,
    target_row,
)
from monitor.model import AlertState, Target
from monitor.pace import Monotonic, Pace
from monitor.slo.engine import DeploymentSpec, Engine
from monitor.slo.record import EXPORTED_WINDOWS, SloRecord
from monitor.slo.signal import WINDOWS, Health, Signal, parse_signal

QUANTILES = (("0.5", Fraction(1, 2)), ("0.95", Fraction(19, 20)), ("0.99", Fraction(99, 100)))
LINES_PER_PART = 256


class Family:
    """The lines of one series, as text that both formats share."""

    __slots__ = ("_lines", "_parts", "series")

    def __init__(self, series: Series) -> None:
        """Start without a line."""
        self.series = series
        self._lines: list[str] = []
        self._parts: list[bytes] = []

    def write(self, line: str) -> None:
        """Append one line."""
        self._lines.append(line)
        # Hundreds of thousands of short strings would be as slow to let go as to make.
        if len(self._lines) >= LINES_PER_PART:
            self._join()

    def parts(self) -> Sequence[bytes]:
        """Return all lines, in parts of moderate size."""
        self._join()
        return self._parts

    def _join(self) -> None:
        self._parts.append("".join(self._lines).encode(errors="replace"))
        self._lines.clear()


class _Sheet:
    """The exposition while it grows: one family for each series that has a value.

    Lines are written at once. Objects for each sample, as client libraries make them, would set
    off the garbage collector, which holds everything up for as long as the whole heap takes.
    """

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}
        self._escaped: dict[str, str] = {}

    def add(self, series: Series, row: Row, value: float | Fraction | None) -> None:
        if value is not None:
            labels = self._labels(series.labels, row)
            self._family(series).write(f"{series.name}{labels} {floatToGoString(value)}\n")

    def add_histogram(self, series: Series, row: Row, histogram: Histogram) -> None:
        family, buckets = self._family(series), histogram.buckets()
        for bound, count in buckets:
            labels = self._labels((*series.labels, "le"), (*row, bound))
            family.write(f"{series.name}_bucket{labels} {floatToGoString(count)}\n")
        labels = self._labels(series.labels, row)
        family.write(f"{series.name}_count{labels} {floatToGoString(buckets[-1][1])}\n")
        family.write(f"{series.name}_sum{labels} {floatToGoString(histogram.sum)}\n")

    def families(self) -> list[Family]:
        return [self._families[name] for name in sorted(self._families)]

    def _family(self, series: Series) -> Family:
        family = self._families.get(series.name)
        if family is None:
            family = self._families[series.name] = Family(series)
        return family

    def _labels(self, names: Row, values: Row) -> str:
        pairs = [
            f'{name}="{self._escape(value)}"' for name, value in zip(names, values, strict=True)
        ]
        return f"{{{','.join(pairs)}}}" if pairs else ""

    def _escape(self, value: str) -> str:
        escaped = self._escaped.get(value)
        if escaped is None:
            escaped = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
            self._escaped[value] = escaped
        return escaped


async def collect(
    engine: Engine,
    telemetry: Telemetry,
    *,
    channels: Collection[str],
    backlog: Mapping[str, tuple[int, float]],
    now: float,
    monotonic: Monotonic,
) -> list[Family]:
    """Return all families, sorted by name, without holding the event loop for long.

    `backlog` maps a channel to (messages owed, age of the oldest in seconds). The engine may step
    or be reconfigured between two slices: a deployment that goes meanwhile is left incomplete.
    """
    pace, sheet = Pace(monotonic), _Sheet()
    known = {*channels, *backlog}
    await _tallies(sheet, engine, telemetry, known, pace)
    for channel in sorted(known):
        depth, oldest_s = backlog.get(channel, (0, 0.0))
        sheet.add(OUTBOX_DEPTH, (channel,), depth)
        sheet.add(OUTBOX_OLDEST, (channel,), oldest_s)
    for name, spec in tuple(engine.specs.items()):
        await pace.breathe()
        if name in engine.specs:
            for _ in _deployment(sheet, engine, spec, now):
                await pace.breathe()
                if name not in engine.specs:
                    break
    for _ in _alerts(sheet, engine):
        await pace.breathe()
    return sheet.families()


async def _tallies(
    sheet: _Sheet, engine: Engine, telemetry: Telemetry, channels: Collection[str], pace: Pace
) -> None:
    """Add the tallies of our own work; forget those of what is gone."""
    telemetry.seed((), channels)
    for name in tuple(engine.specs):
        telemetry.seed((name,), ())
        await pace.breathe()
    live = await _live(engine, channels, pace)
    for series, row, value in telemetry.numbers():
        if _is_live(live, series, row):
            sheet.add(series, row, value)
        else:
            telemetry.forget(series, row)
        await pace.breathe()
    for series, row, histogram in telemetry.histograms():
        if _is_live(live, series, row):
            sheet.add_histogram(series, row, histogram)
        else:
            telemetry.forget(series, row)
        await pace.breathe()


async def _live(engine: Engine, channels: Collection[str], pace: Pace) -> dict[Row, set[Row]]:
    """Return what still exists, by the labels that series of such things begin with."""
    targets: set[Row] = set()
    regions: set[Row] = set()
    for spec in tuple(engine.specs.values()):
        for target in spec.targets:
            targets.add(target_row(target))
            regions.add((target.deployment, target.environment, target.region))
        await pace.breathe()
    return {
        TARGET_LABELS: targets,
        REGION_LABELS: regions,
        ("deployment",): {(name,) for name in engine.specs},
        ("channel",): {(name,) for name in channels},
    }


def _is_live(live: Mapping[Row, set[Row]], series: Series, row: Row) -> bool:
    for labels, rows in live.items():
        if series.labels[: len(labels)] == labels:
            return row[: len(labels)] in rows
    return True


def _deployment(sheet: _Sheet, engine: Engine, spec: DeploymentSpec, now: float) -> Iterator[None]:
    """Add one deployment; yields between the costly parts."""
    name = spec.deployment.name
    where = (name, spec.deployment.environment)
    for window in EXPORTED_WINDOWS:
        stats = engine.window(name, WINDOWS[window], now)
        sheet.add(WINDOW_ERROR, (*where, window), stats.error_ratio)
        sheet.add(WINDOW_UPTIME, (*where, window), stats.uptime)
        sheet.add(WINDOW_COVERAGE, (*where, window), stats.coverage)
        for text, quantile in QUANTILES:
            sheet.add(WINDOW_LATENCY, (*where, window, text), stats.quantile(quantile))
        yield
    for record in engine.records(name, now):
        _objective(sheet, record, (*where, record.objective.name), now)
        yield
    for verdict in engine.verdicts(name, now):
        sheet.add(SLA_CLAUSE, (*where, verdict.clause), verdict.ok)
    yield
    health = engine.value(_signal("health"), name, now)
    for state in Health:
        sheet.add(HEALTH, (*where, state), state == (health or Health.UNKNOWN))
    release = engine.release(name)
    if release is not None:
        sheet.add(DEPLOYMENT_INFO, (*where, spec.deployment.service, release.revision), 1)
    for target in spec.targets:
        _target(sheet, engine, target)
        yield


def _objective(sheet: _Sheet, record: SloRecord, slo: Row, now: float) -> None:
    sheet.add(SLO_OBJECTIVE, slo, record.objective.target)
    for number, budget in enumerate(record.budgets(now)):
        if number == 0:
            sheet.add(SLO_BUDGET, slo, budget.remaining)
            sheet.add(SLO_BUDGET_WORST, slo, budget.worst)
            sheet.add(SLO_BUDGET_BEST, slo, budget.best)
            sheet.add(SLO_COVERAGE, slo, budget.coverage)
        elif budget.period.calendar is not None:
            period = budget.period.calendar
            sheet.add(SLO_CALENDAR_BUDGET, (*slo, period), budget.remaining)
    for window in EXPORTED_WINDOWS:
        sheet.add(SLO_BURN, (*slo, window), record.burn_rate(WINDOWS[window]))


def _target(sheet: _Sheet, engine: Engine, target: Target) -> None:
    sample = engine.last_sample(target.id)
    if sample is not None:
        where = target_row(target)
        for phase, seconds in sample.phases:
            sheet.add(PROBE_PHASE, (*where, phase), seconds)
        # Kinds bound the names and their number.
        for check, healthy in sample.checks:
            sheet.add(PROBE_CHECK, (*where, check), healthy)
        for name, value in sample.values:
            sheet.add(PROBE_VALUE, (*where, name), value)
        sheet.add(PROBE_CERTIFICATE_EXPIRY, where, sample.certificate_expires_at)


def _alerts(sheet: _Sheet, engine: Engine) -> Iterator[None]:
    """Add all alerts; yields after each."""
    for status in engine.alerts():
        rule = engine.rule(status.rule, status.deployment)
        spec = engine.specs.get(status.deployment)
        if rule is None or spec is None:
            continue
        row = (status.deployment, spec.deployment.environment, status.rule)
        for state in (AlertState.PENDING, AlertState.FIRING):
            sheet.add(ALERTS, (*row, rule.severity, state), status.state is state)
        sheet.add(ALERT_NO_DATA, row, status.no_data)
        yield


def _signal(name: str) -> Signal:
    signal = parse_signal(name)
    if signal is None:
        msg = f"{name} is no signal"
        raise LookupError(msg)
    return signal
