"""The rollback guard: closed by default, and once per revision."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.model import ReleaseStatus, RollbackRecord, RollbackRequest, RollbackState
from monitor.rollback.guard import Evidence, Reason, RollbackPolicy, decide, request_id

NOW = 1_000_000.0
COOLDOWN_S = 600.0
POLICY = RollbackPolicy(cooldown_s=COOLDOWN_S, min_samples=5, dry_run=False)
SOUND = Evidence(
    revision="B",
    previous_revision="A",
    status=ReleaseStatus.SUCCEEDED,
    revision_at_transition="B",
    revision_since=NOW - 600,
    revision_seen_at=NOW,
    before_seen_at=None,
    announced=False,
    wanted=True,
    started_at=NOW - 600,
    fired_at=NOW - 600,
    blames_samples=True,
    bad_samples=1,
    valid_samples=5,
    unknown_samples=5,
    coverage=0.5,
    no_data=False,
    blind=False,
    durable=True,
    firing=True,
    needs_target=True,
)
UNDER_WAY = {RollbackState.INTENDED, RollbackState.UNCERTAIN, RollbackState.ACCEPTED}
NEVER_RAN = {RollbackState.BLOCKED, RollbackState.DRY_RUN}


def record(
    state: RollbackState,
    revision: str = "Z",
    target: str | None = "Y",
    age_s: float = 10_000.0,
    took_s: float = 0.0,
) -> RollbackRecord:
    at = NOW - age_s
    request = RollbackRequest(
        id=f"rb-{revision}-{age_s}-{state}",
        incident="i",
        deployment="d",
        environment="e",
        service="s",
        rule="r",
        from_revision=revision,
        to_revision=target,
        at=at,
    )
    return RollbackRecord(request=request, state=state, updated_at=at + took_s)


OBJECTIONS: list[tuple[dict[str, Any], Reason]] = [
    ({"firing": False}, Reason.NOT_FIRING),
    ({"durable": False}, Reason.NOT_DURABLE),
    ({"state_lost": True}, Reason.STATE_LOST),
    ({"blind": True}, Reason.BLIND),
    ({"no_data": True}, Reason.NO_DATA),
    ({"valid_samples": 4, "unknown_samples": 0}, Reason.FEW_SAMPLES),
    ({"valid_samples": 0, "unknown_samples": 0}, Reason.FEW_SAMPLES),
    ({"unknown_samples": 6}, Reason.MOSTLY_UNKNOWN),
    ({"coverage": None}, Reason.LOW_COVERAGE),
    ({"coverage": 0.4999999}, Reason.LOW_COVERAGE),
    ({"coverage": 0.0}, Reason.LOW_COVERAGE),
    ({"coverage": float("nan")}, Reason.LOW_COVERAGE),
    ({"revision": None}, Reason.REVISION_UNKNOWN),
    ({"revision_at_transition": None}, Reason.REVISION_UNKNOWN),
    ({"revision": None, "revision_at_transition": None}, Reason.REVISION_UNKNOWN),
    ({"wanted": False}, Reason.NOT_WANTED),
    ({"revision_seen_at": None}, Reason.NOT_CONFIRMED),
    ({"revision_seen_at": NOW - 600}, Reason.NOT_CONFIRMED),
    ({"revision": "C"}, Reason.REVISION_CHANGED),
    ({"revision": "C", "before_seen_at": NOW - 599}, Reason.REVISION_CHANGED),
    (
        {"revision": "C", "before_seen_at": NOW - 601, "announced": True},
        Reason.REVISION_CHANGED,
    ),
    ({"revision_since": NOW - 599}, Reason.REVISION_CHANGED),
    ({"revision_since": None}, Reason.REVISION_CHANGED),
    ({"bad_samples": 0}, Reason.NO_BAD_SAMPLE),
    ({"previous_revision": None}, Reason.NO_TARGET),
    ({"previous_revision": "B"}, Reason.NO_TARGET),
    ({"status": ReleaseStatus.ROLLING_BACK}, Reason.UNDER_WAY),
    ({"status": ReleaseStatus.ROLLED_BACK}, Reason.RESTORED),
    *[({"history": [record(state)]}, Reason.UNDER_WAY) for state in sorted(UNDER_WAY)],
    ({"history": [record(RollbackState.SUCCEEDED, "B")]}, Reason.ONCE_PER_REVISION),
    ({"history": [record(RollbackState.FAILED, "B")]}, Reason.ONCE_PER_REVISION),
    ({"history": [record(RollbackState.SUCCEEDED, "C", "B")]}, Reason.RESTORED),
    (
        {"history": [record(RollbackState.FAILED, age_s=age) for age in (9000, 8000, 7000)]},
        Reason.TOO_MANY,
    ),
    (
        {
            "history": [
                record(RollbackState.SUCCEEDED, age_s=9500),
                *[record(RollbackState.FAILED, age_s=age) for age in (9000, 8000, 7000)],
            ]
        },
        Reason.TOO_MANY,
    ),
    ({"history": [record(RollbackState.SUCCEEDED, age_s=599.9)]}, Reason.COOLDOWN),
    ({"history": [record(RollbackState.FAILED, age_s=700, took_s=200)]}, Reason.COOLDOWN),
]


@pytest.mark.parametrize(
    "change",
    [
        # Seen first after the alert, but the one before it was last seen before the trouble.
        {"revision": "C", "revision_since": NOW - 590, "before_seen_at": NOW - 600},
        # A pipeline told us what runs: no probe has to confirm it.
        {"announced": True, "revision_seen_at": None},
        # A rule about latency blames no sample.
        {"blames_samples": False, "bad_samples": 0},
    ],
)
def test_the_release_that_came_with_the_trouble_is_rolled_back(change: dict[str, Any]) -> None:
    """Probes see a release late; that alone does not clear it."""
    assert decide(POLICY, replace(SOUND, **change), NOW).allowed


def test_sound_evidence_allows() -> None:
    """At the very limits every guard still holds."""
    decision = decide(POLICY, SOUND, NOW)
    assert (decision.allowed, decision.dry_run, decision.reason) == (True, False, Reason.ALLOWED)


@pytest.mark.parametrize(("flaw", "reason"), OBJECTIONS)
def test_one_flaw_is_enough(flaw: dict[str, Any], reason: Reason) -> None:
    """Each guard blocks alone, and names itself."""
    decision = decide(POLICY, replace(SOUND, **flaw), NOW)
    assert (decision.allowed, decision.dry_run, decision.reason) == (False, False, reason)


def test_every_reason_is_reachable() -> None:
    """The set of reasons is closed: each one is given by some evidence of these tests."""
    assert {reason for _, reason in OBJECTIONS} == set(Reason) - {Reason.ALLOWED, Reason.DRY_RUN}


HARMLESS: list[dict[str, Any]] = [
    {"previous_revision": None, "needs_target": False},
    {"status": None},
    {"status": ReleaseStatus.FAILED},
    {"history": [record(RollbackState.BLOCKED, "B", age_s=1)]},
    {"history": [record(RollbackState.DRY_RUN, "B", age_s=1)]},
    {"history": [record(RollbackState.SUCCEEDED, age_s=600)]},
    {"history": [record(RollbackState.FAILED, age_s=age) for age in (9000, 8000)]},
    {
        "history": [
            *[record(RollbackState.FAILED, age_s=age) for age in (9000, 8000)],
            record(RollbackState.SUCCEEDED, age_s=7500),
            *[record(RollbackState.FAILED, age_s=age) for age in (7000, 6000)],
        ]
    },
    {
        # An earlier release came back to B; what was rolled back since restored something else.
        "history": [
            record(RollbackState.SUCCEEDED, "C", "B", age_s=9000),
            record(RollbackState.SUCCEEDED, "D", "A", age_s=8000),
        ]
    },
]


@pytest.mark.parametrize("change", HARMLESS)
def test_what_no_guard_is_about(change: dict[str, Any]) -> None:
    """What never ran, or lies far enough back, does not block."""
    assert decide(POLICY, replace(SOUND, **change), NOW).allowed


def cases() -> Iterator[tuple[dict[str, Any], bool]]:
    flags = [
        [({"firing": True}, True), ({"firing": False}, False)],
        [({"durable": True}, True), ({"durable": False}, False)],
        [({"blind": False}, True), ({"blind": True}, False)],
        [({"no_data": False}, True), ({"no_data": True}, False)],
        [({"valid_samples": 5}, True), ({"valid_samples": 4}, False)],
        [({"unknown_samples": 4}, True), ({"unknown_samples": 6}, False)],
        [({"coverage": 0.5}, True), ({"coverage": 0.49}, False), ({"coverage": None}, False)],
        [({"revision": "B"}, True), ({"revision": "C"}, False), ({"revision": None}, False)],
        [
            ({"previous_revision": "A", "needs_target": True}, True),
            ({"previous_revision": None, "needs_target": False}, True),
            ({"previous_revision": None, "needs_target": True}, False),
        ],
        [
            ({"status": ReleaseStatus.SUCCEEDED}, True),
            ({"status": ReleaseStatus.ROLLING_BACK}, False),
        ],
        [
            ({"history": [record(RollbackState.FAILED)]}, True),
            ({"history": [record(RollbackState.FAILED, "B")]}, False),
            ({"history": [record(RollbackState.ACCEPTED)]}, False),
            ({"history": [record(RollbackState.FAILED, age_s=1)]}, False),
        ],
    ]
    for chosen in itertools.product(*flags):
        changes: dict[str, Any] = {}
        for change, _ in chosen:
            changes |= change
        yield changes, all(holds for _, holds in chosen)


@pytest.mark.parametrize("dry_run", [False, True])
def test_allowed_exactly_when_every_guard_holds(dry_run: bool) -> None:  # noqa: FBT001 - a parameter
    """Over the whole product of the flags nothing slips through, and dry run is the last guard."""
    policy = replace(POLICY, dry_run=dry_run)
    outcomes = set()
    for changes, holds in cases():
        decision = decide(policy, replace(SOUND, **changes), NOW)
        assert decision.allowed == (holds and not dry_run), changes
        assert decision.dry_run == (holds and dry_run), changes
        outcomes.add(holds)
    assert outcomes == {True, False}


histories = st.lists(
    st.builds(
        record,
        state=st.sampled_from(RollbackState),
        revision=st.sampled_from("BCD"),
        target=st.sampled_from(["A", "B", None]),
        age_s=st.integers(0, 5000).map(float),
        took_s=st.integers(0, 900).map(float),
    ),
    max_size=8,
    unique_by=lambda each: each.request.id,
)


@given(history=histories)
def test_allowed_histories_are_harmless(history: list[RollbackRecord]) -> None:
    """Whatever happened before: what is allowed breaks none of the promises about the past."""
    if decide(POLICY, replace(SOUND, history=history), NOW).allowed:
        tried = [each for each in history if each.state not in NEVER_RAN]
        assert not any(each.state in UNDER_WAY for each in tried)
        assert not any(each.request.from_revision == "B" for each in tried)
        assert all(NOW - each.updated_at >= COOLDOWN_S for each in tried)
        latest = sorted(tried, key=lambda each: each.request.at)[-3:]
        assert len(latest) < 3 or any(each.state is RollbackState.SUCCEEDED for each in latest)


@given(data=st.data(), history=histories)
def test_order_and_what_never_ran_do_not_matter(
    data: st.DataObject, history: list[RollbackRecord]
) -> None:
    """The decision depends on what was tried, not on the order in which it is told."""
    told = decide(POLICY, replace(SOUND, history=history), NOW)
    shuffled = data.draw(st.permutations(history))
    tried = [each for each in shuffled if each.state not in NEVER_RAN]
    assert decide(POLICY, replace(SOUND, history=shuffled), NOW) == told
    assert decide(POLICY, replace(SOUND, history=tried), NOW) == told


@given(
    releases=st.lists(
        st.tuples(st.sampled_from("ABCDEF"), st.integers(0, 900), st.booleans()), max_size=30
    )
)
def test_no_revision_is_ever_rolled_back_twice(releases: list[tuple[str, int, bool]]) -> None:
    """Over any story of releases and outcomes, each revision is called for at most once."""
    history: list[RollbackRecord] = []
    now = NOW
    for revision, wait_s, succeeds in releases:
        now += wait_s
        evidence = replace(
            SOUND, revision=revision, revision_at_transition=revision, history=history
        )
        if decide(POLICY, evidence, now).allowed:
            state = RollbackState.SUCCEEDED if succeeds else RollbackState.FAILED
            history.append(record(state, revision, "Y", age_s=NOW - now))
    called = [each.request.from_revision for each in history]
    assert len(called) == len(set(called))


def test_request_id_is_stable() -> None:
    """The key never changes between processes and versions: receivers remember it."""
    assert request_id("shop-production", "1.5.0", "inc-1") == (
        "rb-shop-production-1-5-0-4c4845c6b1ea87c5f046673d"
    )


@given(st.tuples(st.text(), st.text(), st.text()), st.tuples(st.text(), st.text(), st.text()))
def test_request_id_is_plain_and_tells_apart(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    """Whatever names come in, the key fits a header and a path, and differs for each decision."""
    assert re.fullmatch(r"rb(-[a-z0-9]+)+", request_id(*one))
    assert len(request_id(*one)) <= 64
    assert (request_id(*one) == request_id(*other)) == (one == other)


def test_request_id_keeps_its_parts_apart() -> None:
    """Text that moves from one part to the next makes another key."""
    assert request_id("ab", "c", "d") != request_id("a", "bc", "d")
