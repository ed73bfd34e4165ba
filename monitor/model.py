"""Nouns that cross two packages: frozen values with derived properties only.

Owns no behaviour, no I/O and no clock. All timestamps are UTC seconds since the epoch on the
process's own timeline (`Clock.now`); all durations are seconds unless the name says otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

EMPTY: Mapping[str, str] = MappingProxyType({})


class Clock(Protocol):
    """Where time comes from; only the scheduler, pipeline, outbox and recovery hold one."""

    def now(self) -> float:
        """UTC seconds; never goes backwards within one process."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary origin, for durations."""
        ...

    def wall(self, at: float) -> float:
        """What other people's clocks say at a moment of `now()`'s timeline, UTC seconds."""
        ...


# --- what is measured -----------------------------------------------------------------------


class Outcome(StrEnum):
    """What one probe says about its target; UNKNOWN means that *we* could not measure."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A service in one environment. `name` is unique and is the `deployment` label."""

    name: str
    service: str
    environment: str
    url: str
    purpose: str = ""
    traffic_share: float | None = None
    """Share of users served, 0-1; None when the plan does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One thing that is probed: a probe of a deployment in a region. `id` is unique and stable."""

    id: str
    deployment: str
    environment: str
    probe: str
    region: str
    interval_s: float
    timeout_s: float
    sli: bool = True
    """Whether its samples count towards SLIs (a version look-up does not)."""
    network: str = ""
    """What it is reached through, as far as its address tells; "" when that is no network."""
    inverted: bool = False
    """Whether GOOD means that it does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One result of one probe.

    `latency_s` is None when no response came and no timeout passed (a refused connection says
    nothing about latency). A timeout carries the time waited and `censored=True`: the true
    latency is at least that.
    """

    target: str
    at: float
    """Start of the probe, UTC seconds."""
    outcome: Outcome
    reason: str = ""
    """From a closed set, empty when GOOD; safe as a metric label."""
    detail: str = ""
    """For people: at most 200 characters, no secret in it; never a label."""
    latency_s: float | None = None
    censored: bool = False
    status: int | None = None
    phases: tuple[tuple[str, float], ...] = ()
    """(phase, seconds): resolve, connect, tls, send, wait, transfer."""
    hops: tuple[tuple[tuple[str, float], ...], ...] = ()
    """The phases of each request on the way, when redirects were followed."""
    tainted_s: float = 0.0
    """Seconds of our own stall that `latency_s` may contain: such a latency is not counted."""
    revision: str | None = None
    """Version that the target reported, when the probe reads it."""
    certificate_expires_at: float | None = None
    health: str | None = None
    """What the target says of itself: healthy, degraded or unhealthy; None when it does not."""
    checks: tuple[tuple[str, bool], ...] = ()
    """Named checks that the target reports of itself, and whether each is healthy."""
    values: tuple[tuple[str, float], ...] = ()
    """Named figures besides latency (a score, days left), in the unit that the name says."""


class Cause(StrEnum):
    """Which part of the way to an answer is to blame."""

    DNS = "dns"
    ROUTE = "route"
    TLS = "tls"
    APP = "app"
    SLOW = "slow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What a second look at a target found after it failed. No SLI knows of it."""

    target: str
    deployment: str
    at: float
    cause: Cause
    text: str
    """For people, one line."""


# --- releases ---------------------------------------------------------------------------------


class ReleaseStatus(StrEnum):
    """The values of `deployment_status` in conditions."""

    UNKNOWN = "unknown"
    IN_PROGRESS = "in_progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    ROLLBACK_FAILED = "rollback_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A deployment event: this revision has this status since `at`."""

    deployment: str
    revision: str
    status: ReleaseStatus
    at: float
    source: str = "probe"
    """`probe` (version discovery), `api` (a pipeline told us) or `rollback` (our own hook)."""


# --- alerts -----------------------------------------------------------------------------------


class AlertState(StrEnum):
    """Prometheus' alert states; RESOLVED appears only as the end of a transition."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


class Severity(StrEnum):
    """How loud, most urgent first."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Priority(StrEnum):
    """How fast people must respond (the plan's 9.2), most urgent first."""

    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"


PRIORITY_OF: Mapping[Severity, Priority] = MappingProxyType(
    {
        Severity.CRITICAL: Priority.P0,
        Severity.WARNING: Priority.P2,
        Severity.INFO: Priority.P3,
    }
)
"""What an alert that has a severity only is worth: P0 is called `Critical` by the plan."""
SEVERITY_RANK: Mapping[Severity, int] = MappingProxyType(
    {severity: rank for rank, severity in enumerate(Severity)}
)
"""0 for the loudest."""
SEVERITY_OF: Mapping[Priority, Severity] = MappingProxyType(
    {
        Priority.P0: Severity.CRITICAL,
        Priority.P1: Severity.CRITICAL,
        Priority.P2: Severity.WARNING,
        Priority.P3: Severity.INFO,
    }
)
"""How loud an alert is that has a priority only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertStatus:
    """The durable state of one rule on one deployment; every timer is in here."""

    rule: str
    deployment: str
    state: AlertState
    active_at: float | None = None
    """First match of the current episode."""
    fired_at: float | None = None
    clear_since: float | None = None
    """First non-match while firing (the `keep_firing_for` clock)."""
    evaluated_at: float = 0.0
    """The latest evaluation that could have changed something."""
    no_data: bool = False
    """The last evaluation had no data: the state is frozen."""
    matched_at: tuple[float, ...] = ()
    """Starts of the periods in which the condition held, of those that its rule counts."""

    @property
    def is_at_rest(self) -> bool:
        """Whether another evaluation that does not match would change nothing."""
        return self.state is AlertState.INACTIVE and not self.no_data and not self.matched_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """An alert changed state; journalled before anyone is told."""

    at: float
    rule: str
    deployment: str
    before: AlertState
    after: AlertState
    since: float
    """First match of the episode, i.e. when the trouble began."""
    values: Mapping[str, float | str | None] = field(default_factory=lambda: MappingProxyType({}))
    """The condition's inputs at this moment, in the units of conditions."""
    reason: str = ""
    """Why it ended when the condition did not say so, e.g. `config_removed`."""


# --- incidents and messages -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A line appended to an incident: a rollback's result, a configuration change."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentAlert:
    """One firing of one alert, as part of an incident."""

    rule: str
    deployment: str
    severity: Severity
    channels: tuple[str, ...]
    """Who is told of it."""
    condition: str
    summary: str
    started_at: float
    """First bad evaluation."""
    opened_at: float
    """When it fired."""
    environment: str = ""
    service: str = ""
    priority: Priority = Priority.P1
    resolved_at: float | None = None
    resolve_reason: str = ""
    rollback: bool = False
    values: Mapping[str, float | str | None] = field(default_factory=lambda: MappingProxyType({}))
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    annotations: Mapping[str, str] = field(default_factory=lambda: EMPTY)

    @property
    def is_open(self) -> bool:
        """True until it is resolved."""
        return self.resolved_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """Somebody works on it: nobody else is called before `until`."""

    by: str
    at: float
    until: float
    source: str = "api"
    """`api`, `cli`, `link` or `pagerduty`."""


TAKEN_BACK = "the acknowledgement was taken back"
"""Text of the note that says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledge:
    """Somebody says of an incident that they work on it, or (None) that nobody does."""

    incident: str
    """Id of the episode."""
    acknowledgement: Acknowledgement | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One episode of a group of alerts as its receivers see it.

    `key` is the dedup key: the same for every episode of this group, stable across restarts,
    replicas and reloads. `id` names the episode. `rule`, `condition`, `summary`, `values`,
    `labels` and `annotations` are those of the alert that leads: the most severe, then the oldest.
    """

    id: str
    key: str
    rule: str
    deployment: str
    service: str
    environment: str
    severity: Severity
    channels: tuple[str, ...]
    condition: str
    summary: str
    started_at: float
    """First bad evaluation."""
    opened_at: float
    """When it fired."""
    resolved_at: float | None = None
    resolve_reason: str = ""
    revision: str | None = None
    """Revision that was live when it fired."""
    rollback: bool = False
    """Whether the rule asked for a rollback."""
    values: Mapping[str, float | str | None] = field(default_factory=lambda: MappingProxyType({}))
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    annotations: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    notes: tuple[Note, ...] = ()
    alerts: tuple[IncidentAlert, ...] = ()
    """All alerts of the group in this episode, oldest first."""
    priority: Priority = Priority.P1
    acknowledgement: Acknowledgement | None = None
    escalated: tuple[Note, ...] = ()
    """The steps of the escalation that were taken: when, and who was called."""
    called: tuple[str, ...] = ()
    """Channels that are among `channels` because of the escalation."""
    hidden_by: str = ""
    """Why nobody is told of its opening now (a silence, maintenance); "" when nothing hides it."""
    group: str = ""
    """What its alerts have in common; an alert of the same group may join."""
    covers: tuple[str, ...] = ()
    """Ids of the incidents that this one, a digest of one channel, speaks for; else nothing."""
    steps: tuple[str, ...] = ()
    """Steps of escalations that were taken: `P0/1` is the first of P0."""
    shown_at: float | None = None
    """When it was hidden last and is not any more: nobody could be called before."""

    @property
    def is_open(self) -> bool:
        """True until it is resolved."""
        return self.resolved_at is None

    @property
    def lead(self) -> IncidentAlert:
        """The alert that leads it, also when an older version wrote it without its alerts."""
        if self.alerts:
            return self.alerts[0]
        return IncidentAlert(
            rule=self.rule,
            deployment=self.deployment,
            severity=self.severity,
            channels=self.channels,
            condition=self.condition,
            summary=self.summary,
            started_at=self.started_at,
            opened_at=self.opened_at,
            environment=self.environment,
            service=self.service,
            priority=self.priority,
            resolved_at=self.resolved_at,
            resolve_reason=self.resolve_reason,
            rollback=self.rollback,
            values=self.values,
            labels=self.labels,
            annotations=self.annotations,
        )

    def with_lead(self) -> Incident:
        """Return it with its alerts, also when an older version wrote it without them."""
        return self if self.alerts else replace(self, alerts=(self.lead,))

    @property
    def asks_for_rollback(self) -> IncidentAlert:
        """The alert for which it may be rolled back: the first that wants it and is not over."""
        asking = (each for each in self.alerts if each.rollback)
        return min(asking, key=lambda each: not each.is_open, default=self.lead)

    @property
    def changed_at(self) -> float:
        """When an alert joined or ended last."""
        moments = [(each.resolved_at or 0.0, each.opened_at) for each in self.alerts]
        return max([self.opened_at, *map(max, moments)])

    @property
    def alerts_state(self) -> str:
        """Which alerts are open and which are over: another text when one joins or ends."""
        parts = sorted(
            f"{it.rule}\0{it.deployment}\0{it.opened_at!r}\0{it.is_open}" for it in self.alerts
        )
        return hashlib.sha256("\0\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def with_note(self, note: Note) -> Incident:
        """Return a copy with `note` appended."""
        return replace(self, notes=(*self.notes, note))


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """One comparison of a label of an alert; a label that is missing is the empty text."""

    name: str
    operator: str
    """`=`, `!=`, `=~` or `!~`, as in Alertmanager; patterns are RE2 and match the whole text."""
    value: str

    def __str__(self) -> str:
        """Return it as it is written: `rule=high_latency`."""
        return f"{self.name}{self.operator}{self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Time in which nobody is told that matching alerts fire; their ends are told all the same."""

    id: str
    matchers: tuple[Matcher, ...]
    """All of them must match; never none."""
    owner: str
    reason: str
    starts_at: float
    ends_at: float
    at: float
    """When it was made."""
    ends_on_resolve: bool = False
    """Whether it ends by itself when the last alert that it hid is over."""
    ended_at: float | None = None
    """When it ended before its time."""

    def is_active(self, now: float) -> bool:
        """Whether it hides anything at `now`."""
        return self.starts_at <= now < min(self.ends_at, self.ended_at or self.ends_at)


class SendReason(StrEnum):
    """Why the outbox owes a receiver a message."""

    FIRST = "first"
    NEW_ALERTS = "new_alerts"
    """More alerts joined an incident that the receiver knows, or some of its alerts ended."""
    ESCALATED = "escalated"
    """The first message to somebody who is called because nobody acknowledged."""
    ACKNOWLEDGED = "acknowledged"
    """Somebody works on it."""
    RESOLVED = "resolved"
    REPEAT = "repeat"
    TEST = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a deployment did around the onset of an incident, one point for each step of time."""

    at: tuple[float, ...]
    """Starts of the steps, UTC seconds, rising."""
    error_ratio: tuple[float | None, ...]
    """0 to 1; None where nothing was measured."""
    latency_s: tuple[float | None, ...]
    """95th percentile; None where nothing was measured."""
    onset_at: float
    error_limit: float | None = None
    latency_limit_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What is known about an incident besides itself at the moment of a message."""

    facts: tuple[tuple[str, str], ...] = ()
    """(label, text), most important first."""
    course: Course | None = None
    links: tuple[tuple[str, str], ...] = ()
    """(label, address): acknowledge, silence, runbook, dashboard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a notifier is asked to say."""

    reason: SendReason
    incident: Incident
    at: float
    """UTC seconds at which this attempt starts."""
    may_be_repeated: bool = False
    """An earlier attempt ended without an answer, so the receiver may see this twice."""
    page_url: str | None = None
    """Address of the live page, for a link back; None when it is not published."""
    ahead_s: float = 0.0
    """How far the receiver's clock, as far as we know it, is ahead of the incident's times."""
    brief: Brief | None = None


class DeliveryResult(StrEnum):
    """How an attempt ended."""

    DELIVERED = "delivered"
    RETRY = "retry"
    """Refused for now; it certainly did not arrive."""
    PERMANENT = "permanent"
    """Refused for good: trying the same again cannot help."""
    UNCERTAIN = "uncertain"
    """No answer after the request went out: it may have arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A notifier's answer."""

    result: DeliveryResult
    detail: str = ""
    """For people: the provider's answer in at most 200 characters, secrets removed."""
    retry_after_s: float | None = None
    """What the provider asked us to wait; None when it did not say."""
    retry_all: bool = True
    """Whether it asked so for every message, and not for this one alone."""
    remote_key: str | None = None
    """What a later resolve needs (e.g. the routing key's fingerprint); opaque to the outbox."""


class Told(StrEnum):
    """What a receiver was last successfully told about an incident."""

    NOTHING = "nothing"
    OPEN = "open"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """The durable state of one (incident, channel): last told, and what is under way.

    `intent` is set and committed before a send and cleared by its receipt; finding it set after
    a restart means that the outcome of that send is unknown.
    """

    incident: str
    channel: str
    told: Told = Told.NOTHING
    told_at: float | None = None
    intent: SendReason | None = None
    uncertain: SendReason | None = None
    """An earlier send of this reason may have arrived: mark the next one `may_be_repeated`."""
    attempts: int = 0
    """Failed attempts in a row."""
    next_at: float = 0.0
    """Not before this time."""
    parked: str = ""
    """Why it is not tried any more until a reload or restart (a permanent refusal)."""
    remote_key: str | None = None
    told_alerts: str = ""
    """Which alerts were open and over in what was told last, as `Incident.alerts_state` has it."""
    whole: bool = False
    """Whether the receiver stands in for others, and therefore sees every alert."""
    acknowledged_at: float | None = None
    """The acknowledgement that was told last."""
    via: str = ""
    """Id of the digest that speaks for the incident on this channel; "" when none does."""
    key: str = ""
    """The dedup key that opened it there, when it is not the incident's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One line of the delivery ledger."""

    incident: str
    channel: str
    reason: SendReason
    at: float
    duration_s: float
    result: DeliveryResult
    detail: str = ""
    may_be_repeated: bool = False


# --- rollback ---------------------------------------------------------------------------------


class RollbackState(StrEnum):
    """Life of one rollback request."""

    BLOCKED = "blocked"
    """The guard said no; `detail` says why."""
    DRY_RUN = "dry_run"
    INTENDED = "intended"
    """Committed, the call may or may not have gone out."""
    UNCERTAIN = "uncertain"
    """Called without an answer; must be queried, not repeated."""
    ACCEPTED = "accepted"
    """The hook took it and works on it."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackRequest:
    """One decision to roll back; `id` is the idempotency key that goes with every call."""

    id: str
    incident: str
    deployment: str
    environment: str
    service: str
    rule: str
    from_revision: str
    to_revision: str | None
    at: float
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackRecord:
    """A request with its durable state."""

    request: RollbackRequest
    state: RollbackState
    updated_at: float
    detail: str = ""
    remote_id: str | None = None
    attempts: int = 0


# --- storage ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRow:
    """A part of the windows of a target or an objective as it is stored."""

    owner: str
    part: str
    at: float
    """When it was written, UTC seconds, rounded up to the end of a bucket."""
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """Time of which somebody said later that it does not count as it was measured."""

    id: str
    deployment: str
    slo: str
    """Name of the objective; "" for all of the deployment."""
    start: float
    end: float
    """UTC seconds, widened to whole buckets when it is applied."""
    reason: str
    at: float
    """When it was said."""
    is_undone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketRow:
    """One window bucket of one target as schema versions up to 2 stored it."""

    target: str
    width_s: int
    start: int
    """UTC seconds, a multiple of `width_s`."""
    good: int
    bad: int
    unknown: int
    up_ms: int
    down_ms: int
    sketch: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatRow:
    """What is known of one job that reports, as it is stored."""

    name: str
    at: float
    """When this was written, UTC seconds."""
    times: Mapping[str, float | None]
    """The times by their names; what they mean is the board's business."""
