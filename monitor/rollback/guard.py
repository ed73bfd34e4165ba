"""Whether a rollback may happen now: a pure function of the evidence, closed by default.

Owns the policy, the reasons and the idempotency key. Calls nothing, stores nothing and has no
clock. Every guard must hold; what is not known counts against the rollback.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from monitor.model import ReleaseStatus, RollbackRecord, RollbackState

MIN_COVERAGE = 0.5
"""Share of the expected measurement that must exist, 0-1."""

_NEVER_RAN = frozenset({RollbackState.BLOCKED, RollbackState.DRY_RUN})
_UNDER_WAY = frozenset({RollbackState.INTENDED, RollbackState.UNCERTAIN, RollbackState.ACCEPTED})
_NOT_SLUG = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackPolicy:
    """What one deployment's plan says about automatic rollbacks."""

    cooldown_s: float
    """Quiet time after the last attempt, whatever became of it."""
    min_samples: int
    """Valid samples that the evidence window must hold."""
    dry_run: bool
    max_consecutive: int = 3
    """Attempts in a row without a success, after which only a person may go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known about one deployment at the moment of the decision."""

    revision: str | None
    """Live now."""
    previous_revision: str | None
    """What a rollback would restore."""
    status: ReleaseStatus | None
    revision_at_transition: str | None
    """Live when the alert fired."""
    revision_since: float | None
    """When `revision` was seen first, UTC seconds."""
    revision_seen_at: float | None
    """When it was seen last."""
    before_seen_at: float | None
    """When the revision before it was seen last."""
    announced: bool
    """A pipeline told us of `revision`, so what probes have seen so far does not matter."""
    wanted: bool
    """The plan in force asks for a rollback by this rule."""
    started_at: float
    """When the trouble began: the first match of the rule, UTC seconds."""
    fired_at: float
    """UTC seconds."""
    blames_samples: bool
    """The rule is about bad samples, so the release must have some of its own."""
    bad_samples: int
    """Of `revision`, as are all the figures below."""
    valid_samples: int
    unknown_samples: int
    coverage: float | None
    """Share of the window's expected measurement that exists, 0-1."""
    no_data: bool
    """The alert is frozen: its last evaluation had no data."""
    blind: bool
    """We cannot measure anything, so what we see says nothing about the deployment."""
    durable: bool
    """An intent can be committed before the call."""
    firing: bool
    """The incident is still open."""
    needs_target: bool
    """The hook cannot work without `previous_revision`."""
    state_lost: bool = False
    """This process had to start without what an earlier one knew, and only observes for now."""
    history: Sequence[RollbackRecord] = ()
    """All earlier requests for this deployment, in any order."""


class Reason(StrEnum):
    """Why a rollback is (not) called; a closed set, said to people as it stands."""

    ALLOWED = "every guard holds"
    DRY_RUN = "every guard holds; not called because dry_run is on"
    NOT_FIRING = "the incident is over"
    NOT_DURABLE = "the store does not work: the intent could be forgotten"
    STATE_LOST = "the earlier state was lost: what was rolled back before is not known"
    BLIND = "the prober is blind: nothing it sees is about this deployment"
    NOT_WANTED = "the rule does not ask for a rollback any more"
    NO_DATA = "the alert has no data"
    NOT_CONFIRMED = "the live revision was not seen since the alert fired"
    NO_BAD_SAMPLE = "no bad sample of the live revision yet"
    FEW_SAMPLES = "fewer valid samples than min_samples"
    MOSTLY_UNKNOWN = "more unknown than valid samples"
    LOW_COVERAGE = "coverage is below 50 % or not known"
    REVISION_UNKNOWN = "revision unknown: cannot keep once-per-revision"
    REVISION_CHANGED = "the revision changed since the alert fired"
    NO_TARGET = "no earlier revision is known, and the hook needs one"
    UNDER_WAY = "a rollback of this deployment is under way"
    ONCE_PER_REVISION = "this revision was rolled back before"
    RESTORED = "the live revision came from a rollback: the fault is not in the release"
    TOO_MANY = "too many rollbacks in a row without a success: a person must look"
    COOLDOWN = "cooling down since the last rollback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The guard's answer; `dry_run` means that only the policy's dry_run stood in the way."""

    allowed: bool
    dry_run: bool
    reason: Reason


def decide(policy: RollbackPolicy, evidence: Evidence, now: float) -> Decision:
    """Return whether to call the hook at `now` (UTC seconds), with the first guard that objects."""
    objection = _objection_of_data(policy, evidence) or _objection_of_past(policy, evidence, now)
    if objection is not None:
        return Decision(allowed=False, dry_run=False, reason=objection)
    if policy.dry_run:
        return Decision(allowed=False, dry_run=True, reason=Reason.DRY_RUN)
    return Decision(allowed=True, dry_run=False, reason=Reason.ALLOWED)


def request_id(deployment: str, revision: str, incident_id: str) -> str:
    """Return the idempotency key of one decision: at most 64 of `a-z`, `0-9` and `-`.

    The same three give the same key in every process; the beginning is for people.
    """
    digest = hashlib.sha256(json.dumps([deployment, revision, incident_id]).encode()).hexdigest()
    readable = (_slug(deployment, 20), _slug(revision, 12))
    return "-".join(("rb", *filter(None, readable), digest[:24]))


def _objection_of_data(policy: RollbackPolicy, evidence: Evidence) -> Reason | None:
    covered = evidence.coverage is not None and evidence.coverage >= MIN_COVERAGE
    known = evidence.revision is not None and evidence.revision_at_transition is not None
    # Probes see a release some time after it happened: until they have looked again, the revision
    # that is known may be the one before the one that broke.
    seen_at = evidence.revision_seen_at
    confirmed = evidence.announced or (seen_at is not None and seen_at > evidence.fired_at)
    targeted = evidence.previous_revision not in {None, evidence.revision}
    objections = (
        (not evidence.firing, Reason.NOT_FIRING),
        (not evidence.durable, Reason.NOT_DURABLE),
        (evidence.state_lost, Reason.STATE_LOST),
        (evidence.blind, Reason.BLIND),
        (not evidence.wanted, Reason.NOT_WANTED),
        (evidence.no_data, Reason.NO_DATA),
        (not known, Reason.REVISION_UNKNOWN),
        (not confirmed, Reason.NOT_CONFIRMED),
        (not _came_with_the_trouble(evidence), Reason.REVISION_CHANGED),
        (evidence.valid_samples < policy.min_samples, Reason.FEW_SAMPLES),
        (evidence.unknown_samples > evidence.valid_samples, Reason.MOSTLY_UNKNOWN),
        (not covered, Reason.LOW_COVERAGE),
        (evidence.blames_samples and evidence.bad_samples == 0, Reason.NO_BAD_SAMPLE),
        (evidence.needs_target and not targeted, Reason.NO_TARGET),
    )
    return next((reason for objects, reason in objections if objects), None)


def _came_with_the_trouble(evidence: Evidence) -> bool:
    """Whether the live revision is the one that the alert is about, and no later one."""
    since = evidence.revision_since
    if since is None:
        return False
    if evidence.revision == evidence.revision_at_transition and since <= evidence.fired_at:
        return True
    # First seen after the alert, but nobody saw the one before it once the trouble had begun.
    before = evidence.before_seen_at
    return not evidence.announced and before is not None and before <= evidence.started_at


def _objection_of_past(policy: RollbackPolicy, evidence: Evidence, now: float) -> Reason | None:
    tried = sorted(
        (record for record in evidence.history if record.state not in _NEVER_RAN),
        key=lambda record: (record.request.at, record.updated_at, record.request.id),
    )
    under_way = any(record.state in _UNDER_WAY for record in tried)
    restored = bool(tried) and tried[-1].request.to_revision == evidence.revision
    # An answer that came late still disturbed the deployment late.
    last_at = max((max(it.request.at, it.updated_at) for it in tried), default=None)
    objections = (
        (under_way or evidence.status is ReleaseStatus.ROLLING_BACK, Reason.UNDER_WAY),
        (
            any(record.request.from_revision == evidence.revision for record in tried),
            Reason.ONCE_PER_REVISION,
        ),
        (restored or evidence.status is ReleaseStatus.ROLLED_BACK, Reason.RESTORED),
        (_failures_in_a_row(tried) >= policy.max_consecutive, Reason.TOO_MANY),
        (last_at is not None and now - last_at < policy.cooldown_s, Reason.COOLDOWN),
    )
    return next((reason for objects, reason in objections if objects), None)


def _failures_in_a_row(tried: Sequence[RollbackRecord]) -> int:
    count = 0
    for record in reversed(tried):
        if record.state is RollbackState.SUCCEEDED:
            break
        count += 1
    return count


def _slug(text: str, limit: int) -> str:
    return _NOT_SLUG.sub("-", text.lower()).strip("-")[:limit].rstrip("-")
