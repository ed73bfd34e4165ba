"""Which revision a deployment runs, how its release went, and where to go back to.

Fed by what probes see and by events (a pipeline's, our own rollback's). The stored releases,
replayed in order, give the same answers. Decides no rollback.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from monitor.model import Release, ReleaseStatus

_UNDECIDED = {ReleaseStatus.IN_PROGRESS, ReleaseStatus.FAILED}
_BACKING_OUT = {ReleaseStatus.ROLLING_BACK, ReleaseStatus.ROLLBACK_FAILED}

REMEMBERED = 20
"""Changes of the revision."""
SETTLE_S = 600
"""How long after an event probes may go on to see the revision that was replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """When a deployment's revisions were seen, UTC seconds; None when not by this process."""

    since: float | None = None
    """First sight of the current revision: it may have been here before."""
    seen_at: float | None = None
    """Last sight of it."""
    before_seen_at: float | None = None
    """Last sight of the revision before it."""


class ReleaseTracker:
    """The releases of one deployment."""

    __slots__ = ("_bad", "_good", "_replaced", "current", "deployment", "revisions", "sighting")

    def __init__(self, deployment: str) -> None:
        """Start knowing nothing."""
        self.deployment = deployment
        self.current: Release | None = None
        self.sighting = Sighting()
        self.revisions: deque[tuple[str, float]] = deque(maxlen=REMEMBERED)
        """(revision, since when), oldest first."""
        self._good: list[str] = []
        """Revisions whose last word was success, oldest first, each once."""
        self._bad: set[str] = set()
        """Rolled back from: never a place to go back to until an event calls it good."""
        self._replaced: str | None = None
        """What an event replaced: probes may go on to see it for a while."""

    @property
    def previous_revision(self) -> str | None:
        """The revision to roll back to: the latest good one other than the current."""
        current = self.current.revision if self.current else None
        good = (each for each in reversed(self._good) if each != current and self._is_good(each))
        return next(good, None)

    def replay(self, releases: Iterable[Release]) -> None:
        """Take over stored releases, in order of time."""
        for release in releases:
            self._apply(release)
        # Whether it still runs, only this process's own probes can tell.
        self.sighting = replace(self.sighting, seen_at=None)

    def accept(self, event: Release, now: float) -> Release | None:
        """Take an event; return the release to store, None when it says nothing new.

        Events count in order of arrival; one that is stamped before the last, or after `now`, is
        moved between them, so that the stored order is the order they were applied in.
        """
        current = self.current
        if current is not None:
            same = event.revision == current.revision
            if event.status in _BACKING_OUT and not same:
                # A rollback of what does not run any more says nothing about what runs.
                return None
            believed = event.status is not ReleaseStatus.SUCCEEDED or self._is_good(event.revision)
            if same and event.status is current.status and believed:
                return None
        return self._apply(replace(event, at=self._in_order(event.at, now)))

    def observe(self, revision: str, at: float, now: float) -> Release | None:
        """Take what the probes agree on; return the release to store when it is a change."""
        current = self.current
        status = ReleaseStatus.SUCCEEDED
        if current is not None:
            if revision == current.revision:
                self.sighting = replace(self.sighting, seen_at=at)
                if current.status not in _UNDECIDED:
                    self._replaced = None
                return None
            if current.status is ReleaseStatus.ROLLING_BACK or (
                current.status is ReleaseStatus.ROLLED_BACK and current.revision in self._bad
            ):
                status = ReleaseStatus.ROLLED_BACK
            elif revision == self._replaced and self._may_lag(current, at):
                return None
        at = self._in_order(at, now)
        return self._apply(
            Release(deployment=self.deployment, revision=revision, status=status, at=at)
        )

    def _may_lag(self, current: Release, at: float) -> bool:
        return current.status in _UNDECIDED or at - current.at < SETTLE_S

    def _is_good(self, revision: str) -> bool:
        return revision not in self._bad

    def _in_order(self, at: float, now: float) -> float:
        return max(min(at, now), self.current.at if self.current else at)

    def _apply(self, release: Release) -> Release:
        before, self.current = self.current, release
        by_event = release.source != "probe"
        if before is None or before.revision != release.revision:
            self.revisions.append((release.revision, release.at))
            self.sighting = Sighting(
                since=release.at, seen_at=release.at, before_seen_at=self.sighting.seen_at
            )
        if before is not None and before.revision != release.revision:
            self._replaced = before.revision if by_event else None
        if release.status in _BACKING_OUT:
            self._distrust(release.revision)
        elif release.status is ReleaseStatus.FAILED:
            self._forget(release.revision)
        elif release.status is ReleaseStatus.SUCCEEDED:
            self._trust(release.revision, by_event=by_event)
        elif release.status is ReleaseStatus.ROLLED_BACK and self._is_good(release.revision):
            self._trust(release.revision, by_event=False)
        return release

    def _trust(self, revision: str, *, by_event: bool) -> None:
        # That probes see a bad revision again does not make it good.
        if by_event:
            self._bad.discard(revision)
        self._forget(revision)
        self._good.append(revision)

    def _distrust(self, revision: str) -> None:
        self._bad.add(revision)
        self._forget(revision)

    def _forget(self, revision: str) -> None:
        if revision in self._good:
            self._good.remove(revision)
