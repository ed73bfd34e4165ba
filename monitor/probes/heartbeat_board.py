"""The last pings of every job that is expected to report. Owns no clock, no file and no verdict.

One object, written by whoever receives pings and read by heartbeat probes. `snapshot` and
`restore` carry it over a restart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum


class PingKind(StrEnum):
    """What a job says of itself."""

    START = "start"
    FINISH = "finish"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Beats:
    """What is known of one job; times are UTC seconds, None when there was none."""

    watched_since: float | None = None
    """When it was first expected to report."""
    started_at: float | None = None
    """Start of the run that is under way; None when none is."""
    finished_at: float | None = None
    """Last end without a failure."""
    failed_at: float | None = None
    """Last end with a failure; None when a good end came after it."""
    watched_until: float | None = None
    """When somebody last looked, and pings could come."""
    blind_from: float | None = None
    """Between this and `blind_until` (a restart) pings may have been lost."""
    blind_until: float | None = None
    runtime_s: float | None = None
    """How long the last run took that told its start and its end."""

    def after(self, kind: PingKind, at: float) -> Beats:
        """Return the state after one more ping, which may arrive late or twice."""
        ended_at = max(self.finished_at or -math.inf, self.failed_at or -math.inf)
        if kind is PingKind.START:
            is_news = at >= ended_at and at >= (self.started_at or -math.inf)
            return replace(self, started_at=at) if is_news else self
        if at < ended_at:
            return self
        ends_run = self.started_at is not None and at >= self.started_at
        known = replace(
            self,
            started_at=None if ends_run else self.started_at,
            runtime_s=at - (self.started_at or 0.0) if ends_run else None,
        )
        if kind is PingKind.FAIL:
            return replace(known, failed_at=at)
        return replace(known, finished_at=at, failed_at=None)


_TIMES = tuple(each.name for each in fields(Beats))


class HeartbeatBoard:
    """Beats by name (`deployment/probe`). Knows only names that somebody expects."""

    def __init__(self) -> None:
        """Start with nothing expected and nothing known."""
        self._beats: dict[str, Beats] = {}
        self._expected: set[str] = set()
        self._restored: set[str] = set()

    @property
    def expected(self) -> frozenset[str]:
        """The names that pings are taken for."""
        return frozenset(self._expected)

    def expect(self, name: str) -> None:
        """Take pings for `name` from now on."""
        self._expected.add(name)

    def watch(self, name: str, at: float) -> Beats:
        """Note that `name` is watched at `at`, and return what is known of it."""
        beats = self._beats.get(name, Beats())
        if beats.watched_since is None:
            beats = replace(beats, watched_since=at)
        if name in self._restored:
            self._restored.discard(name)
            beats = replace(beats, blind_from=beats.watched_until, blind_until=at)
        self._beats[name] = replace(beats, watched_until=at)
        return self._beats[name]

    def ping(self, name: str, kind: PingKind, at: float) -> bool:
        """Note a ping; False, and nothing noted, when nobody expects `name`."""
        if name not in self._expected:
            return False
        self._beats[name] = self._beats.get(name, Beats()).after(kind, at)
        return True

    def last(self, name: str) -> Beats | None:
        """Return what is known of `name`; None when nothing is."""
        return self._beats.get(name)

    def snapshot(self) -> dict[str, dict[str, float | None]]:
        """Return what is known of all expected names, ready for JSON."""
        return {
            name: asdict(self._beats[name]) for name in sorted(self._expected & set(self._beats))
        }

    def restore(self, snapshot: Mapping[str, Mapping[str, float | None]]) -> None:
        """Take over a snapshot; a name that is known already keeps what it has.

        Raises:
            ValueError: when it is no snapshot; nothing is taken over then.
        """
        found = {name: _beats(values) for name, values in snapshot.items()}
        self._restored |= found.keys() - self._beats.keys()
        self._beats = found | self._beats


def _beats(values: Mapping[str, float | None]) -> Beats:
    times = {name: values.get(name) for name in _TIMES}
    if not all(time is None or _is_time(time) for time in times.values()):
        msg = "expected the times of heartbeats as numbers"
        raise ValueError(msg)
    return Beats(**times)


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
