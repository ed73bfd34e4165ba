"""Which revision runs, how its release went, and where to go back to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.model import Release, ReleaseStatus
from monitor.slo.releases import SETTLE_S, ReleaseTracker
from tests.slo.world import release

IN_PROGRESS, SUCCEEDED = ReleaseStatus.IN_PROGRESS, ReleaseStatus.SUCCEEDED
FAILED, ROLLING_BACK = ReleaseStatus.FAILED, ReleaseStatus.ROLLING_BACK
ROLLED_BACK, ROLLBACK_FAILED = ReleaseStatus.ROLLED_BACK, ReleaseStatus.ROLLBACK_FAILED

Story = list[str | tuple[str, ReleaseStatus]]


def tell(
    tracker: ReleaseTracker, story: Story, first: float = 0, step: float = 10
) -> list[Release]:
    """A bare revision is what probes see, a pair is an event; ten seconds apart."""
    stored = []
    for index, each in enumerate(story):
        now = first + index * step
        if isinstance(each, str):
            new = tracker.observe(each, now, now)
        else:
            new = tracker.accept(release(each[0], each[1], at=now), now)
        if new is not None:
            stored.append(new)
    return stored


@pytest.mark.parametrize(
    ("story", "revision", "status", "previous"),
    [
        (["a"], "a", SUCCEEDED, None),
        (["a", "a", "b"], "b", SUCCEEDED, "a"),
        (["a", ("b", IN_PROGRESS)], "b", IN_PROGRESS, "a"),
        (["a", ("b", IN_PROGRESS), "a", "a"], "b", IN_PROGRESS, "a"),
        (["a", ("b", IN_PROGRESS), "a", "b", ("b", SUCCEEDED), "b"], "b", SUCCEEDED, "a"),
        (["a", ("b", IN_PROGRESS), "c"], "c", SUCCEEDED, "a"),
        (["a", ("b", IN_PROGRESS), ("b", FAILED), "a", "a"], "b", FAILED, "a"),
        (["a", "b", ("b", FAILED), "b", ("c", IN_PROGRESS)], "c", IN_PROGRESS, "a"),
        (["a", "b", ("b", ROLLING_BACK), "b"], "b", ROLLING_BACK, "a"),
        (["a", "b", ("b", ROLLING_BACK), "a"], "a", ROLLED_BACK, None),
        (["a", "b", ("b", ROLLING_BACK), ("a", ROLLED_BACK), "b", "a"], "a", ROLLED_BACK, None),
        (["a", "b", ("b", ROLLING_BACK), ("b", ROLLED_BACK), "b", "a"], "a", ROLLED_BACK, None),
        (["a", "b", ("b", ROLLING_BACK), ("b", ROLLBACK_FAILED), "b"], "b", ROLLBACK_FAILED, "a"),
        (["a", "b", ("b", ROLLING_BACK), ("b", ROLLBACK_FAILED), "c"], "c", SUCCEEDED, "a"),
        (["a", "b", ("b", ROLLING_BACK), ("a", ROLLED_BACK), "a", "c"], "c", SUCCEEDED, "a"),
        (["a", "b", "c", ("b", ROLLING_BACK)], "c", SUCCEEDED, "b"),
        (["a", ("b", SUCCEEDED), "a", "b", "a"], "a", SUCCEEDED, "b"),
        ([("b", ROLLING_BACK)], "b", ROLLING_BACK, None),
    ],
    ids=[
        "the first seen has succeeded",
        "a change seen",
        "a release under way",
        "the old one is still seen under way",
        "the pipeline says that it is done",
        "another one is seen than announced",
        "a failed release stays failed though the old one answers",
        "never back to a failed one",
        "a rollback keeps the revision",
        "probes see the rollback done",
        "the bad one is still seen for a while",
        "a rollback that does not say where to",
        "a rollback that failed",
        "a fix after a failed rollback",
        "a fix after a rollback",
        "a rollback of what no longer runs",
        "somebody went back by hand",
        "a rollback of the unknown",
    ],
)
def test_where_a_story_ends(
    story: Story, revision: str, status: ReleaseStatus, previous: str | None
) -> None:
    """Events and what is seen lead to one current release and one way back."""
    tracker = ReleaseTracker("web")
    tell(tracker, story)
    assert tracker.current is not None
    assert (tracker.current.revision, tracker.current.status) == (revision, status)
    assert tracker.previous_revision == previous


def test_a_revision_that_was_rolled_back_from_is_no_way_back() -> None:
    """Not even when probes see it again; only an event makes it good."""
    tracker = ReleaseTracker("web")
    tell(tracker, ["a", "b", ("b", ROLLING_BACK), "a", "b", "c"])
    assert tracker.previous_revision == "a"
    tell(tracker, [("b", SUCCEEDED), "b", "d"], first=100)
    assert tracker.previous_revision == "b"


def test_an_event_can_call_the_current_bad_revision_good() -> None:
    """It is stored though revision and status are the same, since it changes the way back."""
    tracker = ReleaseTracker("web")
    tell(tracker, ["a", "b", ("b", ROLLING_BACK), "a", "b"])
    assert len(tell(tracker, [("b", SUCCEEDED), ("b", SUCCEEDED), "c"], first=100)) == 2
    assert tracker.previous_revision == "b"


def test_nothing_new_is_not_stored() -> None:
    """Repeated sights and events leave one row each."""
    stored = tell(
        ReleaseTracker("web"),
        ["a", "a", ("b", IN_PROGRESS), ("b", IN_PROGRESS), "a", "b", ("b", SUCCEEDED), "b"],
    )
    assert [(each.revision, each.status, each.source) for each in stored] == [
        ("a", SUCCEEDED, "probe"),
        ("b", IN_PROGRESS, "api"),
        ("b", SUCCEEDED, "api"),
    ]


def test_the_replaced_revision_is_believed_after_a_while() -> None:
    """Ten minutes after an event, what all probes still see is what runs."""
    tracker = ReleaseTracker("web")
    tell(tracker, ["a", ("b", SUCCEEDED)])
    assert tracker.observe("a", 10 + SETTLE_S - 1, 10 + SETTLE_S - 1) is None
    assert tracker.observe("a", 10 + SETTLE_S, 10 + SETTLE_S) is not None


@pytest.mark.parametrize(("stamp", "stored_at"), [(-50.0, 10.0), (15.0, 15.0), (999.0, 20.0)])
def test_stamps_out_of_order_are_moved_into_it(stamp: float, stored_at: float) -> None:
    """A pipeline's clock cannot put its event before the last one or into the future."""
    tracker = ReleaseTracker("web")
    tracker.observe("a", 10.0, 10.0)
    stored = tracker.accept(release("b", IN_PROGRESS, at=stamp), 20.0)
    assert stored is not None
    assert stored.at == stored_at


revisions = st.sampled_from("abc")
stories = st.lists(revisions | st.tuples(revisions, st.sampled_from(ReleaseStatus)), max_size=20)


@given(stories)
def test_replay_of_the_stored_releases_gives_the_same_state(story: Story) -> None:
    """A restart knows the same release and the same way back, in a stable order of time."""
    tracker, again = ReleaseTracker("web"), ReleaseTracker("web")
    stored = tell(tracker, story)
    again.replay(sorted(stored, key=lambda each: each.at))
    assert again.current == tracker.current
    assert again.previous_revision == tracker.previous_revision


@given(stories)
def test_the_way_back_is_never_the_current_nor_a_bad_revision(story: Story) -> None:
    """Whatever happened, a rollback goes somewhere else, where it was good."""
    tracker = ReleaseTracker("web")
    bad: set[str] = set()
    for index, each in enumerate(story):
        for stored in tell(tracker, [each], first=index * 10):
            if stored.status in {ROLLING_BACK, ROLLBACK_FAILED}:
                bad.add(stored.revision)
            elif stored.status is SUCCEEDED and stored.source != "probe":
                bad.discard(stored.revision)
        way_back = tracker.previous_revision
        if tracker.current is not None and way_back is not None:
            assert way_back != tracker.current.revision
            assert way_back not in bad


@pytest.mark.parametrize(
    ("story", "since"),
    [
        ([], None),
        (["a", "a", "a"], 0),
        (["a", "b", "b"], 10),
        (["a", "b", "a", "a"], 20),
        (["a", ("b", IN_PROGRESS), "b", ("b", SUCCEEDED)], 10),
        (["a", "b", ("b", ROLLING_BACK), ("a", ROLLED_BACK), "a"], 30),
    ],
)
def test_since_is_when_the_revision_came_the_last_time(story: Story, since: float | None) -> None:
    """A new status is no new revision; a revision that comes back is. Replay says the same."""
    tracker, again = ReleaseTracker("web"), ReleaseTracker("web")
    again.replay(tell(tracker, story))
    assert tracker.sighting.since == again.sighting.since == since
