"""Every Prometheus series (its name, help and labels) and the tallies of our own work.

The only file that names a series. Keeps no SLO state: `web.collect` reads window figures from the
engine at each scrape, and drops the tallies of what left the configuration.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from monitor import __version__
from monitor.model import (
    Cause,
    DeliveryResult,
    Outcome,
    Release,
    ReleaseStatus,
    RollbackState,
    Sample,
    Target,
)

SKIP_REASONS = ("late", "overload", "host_busy", "queue_full")
RELEASE_RESULTS = (
    ReleaseStatus.SUCCEEDED,
    ReleaseStatus.FAILED,
    ReleaseStatus.ROLLED_BACK,
    ReleaseStatus.ROLLBACK_FAILED,
)
SUPPRESSIONS = ("silence", "maintenance", "inhibition")
ESCALATION_STEPS = ("1", "2", "3", "4", "late")
"""The first call after the first page is step 1; a step beyond the last counts as the last."""
ACKNOWLEDGEMENT_SOURCES = ("api", "cli", "link", "pagerduty")
ROLLBACK_RESULTS = (
    RollbackState.BLOCKED,
    RollbackState.DRY_RUN,
    RollbackState.SUCCEEDED,
    RollbackState.FAILED,
)

_LATENCY_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LAG_BOUNDS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_DELAY_BOUNDS = (1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)


@dataclass(frozen=True, slots=True)
class Series:
    """One family as it is exposed: `name` carries the suffix, e.g. `_total`."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    kind: Literal["gauge", "counter", "histogram", "summary"] = "gauge"
    bounds: tuple[float, ...] = ()


DEPLOYMENT_LABELS = ("deployment", "environment")
TARGET_LABELS = (*DEPLOYMENT_LABELS, "target", "region")
REGION_LABELS = (*DEPLOYMENT_LABELS, "region")

PROBE_SAMPLES = Series(
    "monitor_probe_samples_total",
    "Probe results by outcome; unknown means that we could not measure.",
    (*TARGET_LABELS, "outcome"),
    "counter",
)
PROBE_DURATION = Series(
    "monitor_probe_duration_seconds",
    "Time from the start of a probe to its answer or its timeout.",
    REGION_LABELS,
    "histogram",
    _LATENCY_BOUNDS,
)
PROBE_PHASE = Series(
    "monitor_probe_phase_seconds",
    "Phases of the latest probe of a target.",
    (*TARGET_LABELS, "phase"),
)
PROBE_LAST_SUCCESS = Series(
    "monitor_probe_last_success_timestamp_seconds", "Start of the latest good probe.", TARGET_LABELS
)
PROBE_CHECK = Series(
    "monitor_probe_check_ok",
    "1 when the check that the target reports of itself is healthy, else 0.",
    (*TARGET_LABELS, "check"),
)
PROBE_VALUE = Series(
    "monitor_probe_value",
    "Figures besides latency that the latest probe measured, each in the unit that its name says.",
    (*TARGET_LABELS, "name"),
)
PROBE_CERTIFICATE_EXPIRY = Series(
    "monitor_probe_certificate_expiry_timestamp_seconds",
    "End of validity of the certificate that the latest probe saw.",
    TARGET_LABELS,
)
PROBES_SKIPPED = Series(
    "monitor_probes_skipped_total",
    "Measurements that did not happen or did not arrive.",
    ("reason",),
    "counter",
)
CONFIRMATIONS = Series(
    "monitor_confirmations_total",
    "Second looks at a target that failed, by what they found to blame.",
    ("result",),
    "counter",
)
SCHEDULE_LATENESS = Series(
    "monitor_schedule_lateness_seconds",
    "How long after its time a probe started.",
    kind="histogram",
    bounds=_LAG_BOUNDS,
)
LOOP_LAG = Series(
    "monitor_loop_lag_seconds",
    "How late the event loop ran a timer.",
    kind="histogram",
    bounds=_LAG_BOUNDS,
)
WINDOW_ERROR = Series(
    "monitor_window_error_ratio",
    "Bad / valid samples in the window.",
    (*DEPLOYMENT_LABELS, "window"),
)
WINDOW_LATENCY = Series(
    "monitor_window_latency_seconds",
    "Latency quantiles of the window.",
    (*DEPLOYMENT_LABELS, "window", "quantile"),
    # A label called quantile belongs to summaries; this one has no sum, since a window forgets.
    "summary",
)
WINDOW_UPTIME = Series(
    "monitor_window_uptime_ratio",
    "Share of the known time of the window that was up.",
    (*DEPLOYMENT_LABELS, "window"),
)
WINDOW_COVERAGE = Series(
    "monitor_window_coverage_ratio",
    "Share of the expected measurement of the window that exists.",
    (*DEPLOYMENT_LABELS, "window"),
)
SLO_OBJECTIVE = Series("monitor_slo_objective_ratio", "The objective.", (*DEPLOYMENT_LABELS, "slo"))
SLO_BUDGET = Series(
    "monitor_slo_error_budget_remaining_ratio",
    "Share of the error budget that is left; negative when overspent.",
    (*DEPLOYMENT_LABELS, "slo"),
)
SLO_BUDGET_WORST = Series(
    "monitor_slo_error_budget_remaining_worst_ratio",
    "The same if all that was not measured had been bad.",
    (*DEPLOYMENT_LABELS, "slo"),
)
SLO_BUDGET_BEST = Series(
    "monitor_slo_error_budget_remaining_best_ratio",
    "The same if all that is not known is good.",
    (*DEPLOYMENT_LABELS, "slo"),
)
SLO_COVERAGE = Series(
    "monitor_slo_coverage_ratio",
    "Share of the expected measurement of the period that exists.",
    (*DEPLOYMENT_LABELS, "slo"),
)
SLO_CALENDAR_BUDGET = Series(
    "monitor_slo_calendar_budget_remaining_ratio",
    "Share of the error budget that is left of the week, month or quarter.",
    (*DEPLOYMENT_LABELS, "slo", "period"),
)
SLO_BURN = Series(
    "monitor_slo_burn_rate",
    "Speed of spending: 1 uses up the budget exactly by the end of the period.",
    (*DEPLOYMENT_LABELS, "slo", "window"),
)
SLA_CLAUSE = Series(
    "monitor_sla_clause_ok",
    "1 when the SLA clause is kept, else 0.",
    (*DEPLOYMENT_LABELS, "clause"),
)
HEALTH = Series(
    "monitor_deployment_health",
    "1 for the health that the deployment has, 0 for the others.",
    (*DEPLOYMENT_LABELS, "health"),
)
DEPLOYMENT_INFO = Series(
    "monitor_deployment_info",
    "The revision that is live.",
    (*DEPLOYMENT_LABELS, "service", "revision"),
)
DEPLOYMENTS = Series(
    "monitor_deployments_total",
    "Releases that ended, by how.",
    ("deployment", "result"),
    "counter",
)
ROLLBACKS = Series(
    "monitor_rollbacks_total",
    "Rollback decisions that ended, by how.",
    ("deployment", "result"),
    "counter",
)
ALERTS = Series(
    "monitor_alerts",
    "1 for the state that the alert is in, else 0.",
    ("deployment", "environment", "alertname", "severity", "state"),
)
ALERT_NO_DATA = Series(
    "monitor_alert_no_data",
    "1 when the latest evaluation had no data, so that the state is frozen.",
    ("deployment", "environment", "alertname"),
)
NOTIFICATIONS = Series(
    "monitor_notifications_total",
    "Attempts to notify, by result.",
    ("channel", "result"),
    "counter",
)
NOTIFICATION_DELAY = Series(
    "monitor_notification_delay_seconds",
    "Time from the first bad evaluation to the acceptance of the first notification.",
    ("channel",),
    "histogram",
    _DELAY_BOUNDS,
)
OUTBOX_DEPTH = Series("monitor_outbox_depth", "Messages owed to the channel.", ("channel",))
OUTBOX_OLDEST = Series(
    "monitor_outbox_oldest_seconds", "Age of the oldest message owed; 0 when none.", ("channel",)
)
CHANNEL_BROKEN = Series(
    "monitor_channel_broken", "1 while the channel is marked as broken, else 0.", ("channel",)
)
SELF_TEST_SUCCESS = Series(
    "monitor_channel_self_test_success",
    "1 when the channel accepted its latest self-test, else 0.",
    ("channel",),
)
SELF_TEST_AT = Series(
    "monitor_channel_self_test_timestamp_seconds",
    "When the latest self-test of the channel began.",
    ("channel",),
)
DEADMAN_BEATING = Series(
    "monitor_deadman_beating",
    "1 while the outside sink is told that messages can be delivered, else 0.",
)
DEADMAN_AT = Series(
    "monitor_deadman_last_beat_timestamp_seconds",
    "When the outside sink last took a beat.",
)
SILENCES_ACTIVE = Series("monitor_silences_active", "Silences that hide alerts now.")
SUPPRESSED = Series(
    "monitor_notifications_suppressed_total",
    "Alerts that fired and were held back, by what held them back.",
    ("reason",),
    "counter",
)
ESCALATIONS = Series(
    "monitor_escalations_total",
    "Steps of escalations that were taken; late counts those taken too late once more.",
    ("step",),
    "counter",
)
ACKNOWLEDGED = Series(
    "monitor_incidents_acknowledged_total",
    "Acknowledgements of incidents, by where they came from.",
    ("source",),
    "counter",
)
UNDELIVERED = Series(
    "monitor_undelivered_messages_total",
    "Messages that every channel refused for good, so that only the file of last resort has them.",
    kind="counter",
)
BLIND = Series("monitor_blind", "1 when the monitor cannot tell its own failure from theirs.")
RELOAD_OK = Series(
    "monitor_config_last_reload_successful", "1 when the latest configuration load succeeded."
)
RELOAD_AT = Series(
    "monitor_config_last_reload_success_timestamp_seconds",
    "When configuration was last loaded successfully.",
)
STORE_ERRORS = Series(
    "monitor_store_errors_total", "Commits that the store refused.", kind="counter"
)
STORE_DURABLE = Series("monitor_store_durable", "1 when all state is on disk, 0 when it is not.")
STATE_LOST = Series(
    "monitor_state_lost", "1 when this process had to start without its earlier state."
)
TASK_RESTARTS = Series(
    "monitor_task_restarts_total", "Internal tasks that failed.", ("task",), "counter"
)
LOG_DROPPED = Series(
    "monitor_log_records_dropped_total", "Log records lost to a blocked output.", kind="counter"
)
BUILD_INFO = Series("monitor_build_info", "What is running.", ("version", "python_version"))


Row = tuple[str, ...]


def target_row(target: Target) -> Row:
    """Return the values of TARGET_LABELS for `target`."""
    return (target.deployment, target.environment, target.id, target.region)


class Histogram:
    """Counts per bucket; an observation above the last bound lands in `+Inf`."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Start empty; `bounds` ascend and are inclusive."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration; a negative one (clock granularity) counts as zero."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        if seconds > 0.0:
            self._sum += seconds

    def buckets(self) -> list[tuple[str, int]]:
        """Return (upper bound, how many at or below it), `+Inf` last."""
        texts = [*(repr(bound) for bound in self._bounds), "+Inf"]
        return list(zip(texts, accumulate(self._counts), strict=True))

    @property
    def sum(self) -> float:
        """All durations together."""
        return self._sum


class _ProbeTally:
    """What one target's probes came to: plain attributes, since every sample counts here."""

    __slots__ = ("bad", "durations", "good", "last_success_at", "target", "unknown")

    def __init__(self, target: Target, durations: Histogram) -> None:
        self.target = target
        self.durations = durations
        """Shared by all targets of the deployment in the region."""
        self.good = self.bad = self.unknown = 0
        self.last_success_at: float | None = None

    def numbers(self) -> Iterator[tuple[Series, Row, float]]:
        where = target_row(self.target)
        yield PROBE_SAMPLES, (*where, Outcome.GOOD), self.good
        yield PROBE_SAMPLES, (*where, Outcome.BAD), self.bad
        yield PROBE_SAMPLES, (*where, Outcome.UNKNOWN), self.unknown
        if self.last_success_at is not None:
            yield PROBE_LAST_SUCCESS, where, self.last_success_at


class Telemetry:
    """Tallies of our own work. Owned by the event loop; nothing here blocks or raises."""

    def __init__(self, version: str = __version__) -> None:
        """Start at zero; the closed label sets are present from the first scrape."""
        self._numbers: dict[Series, dict[Row, float]] = {}
        self._histograms: dict[Series, dict[Row, Histogram]] = {}
        self._probes: dict[str, _ProbeTally] = {}
        """By the target's id."""
        self._set(BUILD_INFO, (version, platform.python_version()), 1)
        self._set(BLIND, (), 0)
        self._set(STATE_LOST, (), 0)
        self._set(STORE_DURABLE, (), 1)
        self._set(SILENCES_ACTIVE, (), 0)
        for counter in (STORE_ERRORS, LOG_DROPPED, UNDELIVERED):
            self._add(counter, (), 0)
        for result in (*Cause, "none"):
            self._add(CONFIRMATIONS, (result,), 0)
        for reason in SKIP_REASONS:
            self.count_skipped(reason, 0)
        for series, rows in (
            (SUPPRESSED, SUPPRESSIONS),
            (ESCALATIONS, ESCALATION_STEPS),
            (ACKNOWLEDGED, ACKNOWLEDGEMENT_SOURCES),
        ):
            for row in rows:
                self._add(series, (row,), 0)
        self._histogram(LOOP_LAG, ())
        self._lateness = self._histogram(SCHEDULE_LATENESS, ())

    def observe_sample(self, target: Target, sample: Sample) -> None:
        """Count a probe's result, and its duration when it has one."""
        tally = self._probes.get(target.id)
        if tally is None or tally.target is not target:
            tally = self._tally_of(target)
        if sample.outcome is Outcome.GOOD:
            tally.good += 1
            tally.last_success_at = sample.at
        elif sample.outcome is Outcome.BAD:
            tally.bad += 1
        else:
            tally.unknown += 1
        if sample.latency_s is not None and not sample.tainted_s:
            tally.durations.observe(sample.latency_s)

    def count_confirmation(self, result: str) -> None:
        """Count a second look; `result` is a `Cause` or `none`."""
        self._add(CONFIRMATIONS, (result,))

    def observe_lateness(self, seconds: float) -> None:
        """Note how long after its time a probe started."""
        self._lateness.observe(seconds)

    def observe_loop_lag(self, seconds: float) -> None:
        """Note how late a timer ran."""
        self._histogram(LOOP_LAG, ()).observe(seconds)

    def count_skipped(self, reason: str, count: int) -> None:
        """Count measurements that are missing because of us; `reason` is from SKIP_REASONS."""
        self._add(PROBES_SKIPPED, (reason,), count)

    def set_alerting(
        self,
        *,
        suppressed: Iterable[str],
        steps: Iterable[tuple[int, bool]],
        silences: int,
        broken: Collection[str],
    ) -> None:
        """Note what came of one evaluation.

        `suppressed` has one of SUPPRESSIONS for each alert that began to be held back, `steps` has
        (number, whether it was late) for each step of an escalation that was taken, 1 for the
        first; `broken` are the channels that cannot be used.
        """
        for reason in suppressed:
            self._add(SUPPRESSED, (reason,))
        for step, late in steps:
            self._add(ESCALATIONS, (str(min(step, len(ESCALATION_STEPS) - 1)),))
            if late:
                self._add(ESCALATIONS, ("late",))
        self._set(SILENCES_ACTIVE, (), silences)
        rows = self._numbers.setdefault(CHANNEL_BROKEN, {})
        for row in rows:
            rows[row] = float(row[0] in broken)

    def count_notification(
        self, channel: str, result: DeliveryResult, delay_s: float | None
    ) -> None:
        """Count an attempt.

        `delay_s` is given for the delivery of an incident's opening (`SendReason.FIRST`) only: the
        seconds from `Incident.started_at`, its first bad evaluation, to the acceptance.
        """
        self._add(NOTIFICATIONS, (channel, result))
        if delay_s is not None:
            self._histogram(NOTIFICATION_DELAY, (channel,)).observe(delay_s)

    def accepted(self, channel: str) -> int:
        """Return how many messages the channel has accepted since it is known here."""
        row = (channel, DeliveryResult.DELIVERED)
        return int(self._numbers.get(NOTIFICATIONS, {}).get(row, 0))

    def set_self_test(self, channel: str, *, ok: bool, at: float) -> None:
        """Note how the channel's latest self-test ended, which began `at` (UTC seconds)."""
        self._set(SELF_TEST_SUCCESS, (channel,), ok)
        self._set(SELF_TEST_AT, (channel,), at)

    def set_deadman(self, *, beating: bool) -> None:
        """Note what the outside sink is being told."""
        self._set(DEADMAN_BEATING, (), beating)

    def set_beat(self, at: float) -> None:
        """Note that the outside sink took a beat, at `at` (UTC seconds)."""
        self._set(DEADMAN_AT, (), at)

    def count_acknowledgement(self, source: str) -> None:
        """Count an acknowledgement; `source` is from ACKNOWLEDGEMENT_SOURCES."""
        self._add(ACKNOWLEDGED, (source,))

    def count_undelivered(self) -> None:
        """Count a message that every channel refused for good."""
        self._add(UNDELIVERED, ())

    def count_release(self, release: Release) -> None:
        """Count a release that ended; one that is under way is not counted yet."""
        if release.status in RELEASE_RESULTS:
            self._add(DEPLOYMENTS, (release.deployment, release.status))

    def count_rollback(self, deployment: str, state: RollbackState) -> None:
        """Count a rollback that ended; one that is under way is not counted yet."""
        if state in ROLLBACK_RESULTS:
            self._add(ROLLBACKS, (deployment, state))

    def set_reload(self, *, ok: bool, at: float) -> None:
        """Note how the latest load of the configuration ended, at `at` (UTC seconds)."""
        self._set(RELOAD_OK, (), ok)
        if ok:
            self._set(RELOAD_AT, (), at)

    def set_blind(self, *, blind: bool) -> None:
        """Note whether we can see."""
        self._set(BLIND, (), blind)

    def set_durable(self, *, durable: bool) -> None:
        """Note whether all state is on disk."""
        self._set(STORE_DURABLE, (), durable)

    def set_state_lost(self) -> None:
        """Note that this process had to start without its earlier state."""
        self._set(STATE_LOST, (), 1)

    def count_store_error(self) -> None:
        """Count a commit that the store refused."""
        self._add(STORE_ERRORS, ())

    def count_task_restart(self, task: str) -> None:
        """Count the failure of a long task; `task` is its kind, from a closed set."""
        self._add(TASK_RESTARTS, (task,))

    def count_log_dropped(self) -> None:
        """Count a lost log record."""
        self._add(LOG_DROPPED, ())

    def seed(self, deployments: Collection[str], channels: Collection[str]) -> None:
        """Make counters of known deployments and channels start at 0, so that rates see the 1."""
        for channel in channels:
            for answer in DeliveryResult:
                self._add(NOTIFICATIONS, (channel, answer), 0)
            self._histogram(NOTIFICATION_DELAY, (channel,))
            self._numbers.setdefault(CHANNEL_BROKEN, {}).setdefault((channel,), 0)
        for deployment in deployments:
            for ended in RELEASE_RESULTS:
                self._add(DEPLOYMENTS, (deployment, ended), 0)
            for decided in ROLLBACK_RESULTS:
                self._add(ROLLBACKS, (deployment, decided), 0)

    def forget(self, series: Series, row: Row) -> None:
        """Drop one row: what it describes is gone."""
        self._numbers.get(series, {}).pop(row, None)
        self._histograms.get(series, {}).pop(row, None)
        if series is PROBE_SAMPLES:
            where = row[: len(TARGET_LABELS)]
            gone = self._probes.get(where[TARGET_LABELS.index("target")])
            if gone is not None and target_row(gone.target) == where:
                del self._probes[gone.target.id]

    def numbers(self) -> Iterator[tuple[Series, Row, float]]:
        """Yield every counter and gauge; safe against changes while it is suspended."""
        for series, rows in tuple(self._numbers.items()):
            for row, value in tuple(rows.items()):
                yield series, row, value
        for tally in tuple(self._probes.values()):
            yield from tally.numbers()

    def histograms(self) -> Iterator[tuple[Series, Row, Histogram]]:
        """Yield every histogram; safe against changes while it is suspended."""
        for series, rows in tuple(self._histograms.items()):
            for row, histogram in tuple(rows.items()):
                yield series, row, histogram

    def _tally_of(self, target: Target) -> _ProbeTally:
        """Return the tally of `target` as it is configured now; labels may have changed."""
        row = (target.deployment, target.environment, target.region)
        durations = self._histogram(PROBE_DURATION, row)
        known = self._probes.get(target.id)
        if known is not None and target_row(known.target) == target_row(target):
            known.target, known.durations = target, durations
            return known
        tally = self._probes[target.id] = _ProbeTally(target, durations)
        return tally

    def _add(self, series: Series, row: Row, count: float = 1) -> None:
        rows = self._numbers.setdefault(series, {})
        rows[row] = rows.get(row, 0) + count

    def _set(self, series: Series, row: Row, value: float) -> None:
        self._numbers.setdefault(series, {})[row] = value

    def _histogram(self, series: Series, row: Row) -> Histogram:
        rows = self._histograms.setdefault(series, {})
        if row not in rows:
            rows[row] = Histogram(series.bounds)
        return rows[row]
