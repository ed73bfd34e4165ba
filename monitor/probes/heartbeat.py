"""The heartbeat probe: a job that should have reported by now. Reads the board, writes no ping.

Owns the deadline: the last ping plus the period, or the next tick of the schedule after it, plus
the grace.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from monitor.fields import Duration, format_duration
from monitor.model import Deployment, Outcome, Sample, Target
from monitor.probes.base import ProbeConfig, ProbeIO
from monitor.probes.dates import UTC_ZONE, Cron, Zone, next_tick, show_moment, zone_of
from monitor.probes.failure import ProbeError
from monitor.probes.heartbeat_board import Beats, HeartbeatBoard
from monitor.probes.reason import Reason
from monitor.probes.verdict import failed


class HeartbeatProbeConfig(ProbeConfig):
    """Waits for a job or a CronJob to ping us; late is BAD.

    The name to ping is `deployment/probe`. A job may also tell its start (then it must end within
    `max_runtime`) and its failure, which is BAD until it next ends well. A job that never pinged is
    UNKNOWN until its first ping is due, counted from when it was first watched.
    """

    example: ClassVar[str] = (
        "{kind: heartbeat, name: nightly-backup, cron: '0 3 * * *', timezone: Europe/Berlin, "
        "grace: 30m, max_runtime: 2h}"
    )

    kind: Literal["heartbeat"] = "heartbeat"
    period_s: Annotated[Duration, Field(gt=0)] | None = None
    """The longest time from one ping to the next."""
    cron: Cron | None = None
    """Five fields, instead of `period`."""
    timezone: Zone = UTC_ZONE
    """Of `cron`."""
    grace_s: Duration = 60.0
    """How much later a ping may come, and how long a run may take without `max_runtime`."""
    max_runtime_s: Annotated[Duration, Field(gt=0)] | None = None
    """With it a start in time is enough, and its end must follow so long after it."""

    @model_validator(mode="after")
    def _is_one_schedule(self) -> Self:
        if (self.period_s is None) is (self.cron is None):
            msg = "expected one of period, cron"
            raise ValueError(msg)
        if self.cron is None and self.timezone != UTC_ZONE:
            msg = "a period is the same in every time zone; timezone goes with cron"
            raise ValueError(msg)
        return self

    def reach(self, url: str) -> None:
        """Return nothing: the job comes to us."""

    def build(
        self,
        target: Target,
        deployment: Deployment,
        url: str,  # noqa: ARG002 - the signature of every kind
        io: ProbeIO,
    ) -> HeartbeatProbe:
        """Return the probe of `target`, and have the board take pings for it."""
        name = f"{deployment.name}/{target.probe}"
        io.heartbeats.expect(name)
        return HeartbeatProbe(self, target.id, name, io.heartbeats)


class HeartbeatProbe:
    """Compares one job's pings with its schedule."""

    def __init__(
        self, config: HeartbeatProbeConfig, target: str, name: str, board: HeartbeatBoard
    ) -> None:
        """Read the pings of `name` from `board`."""
        self._target = target
        self._name = name
        self._board = board
        self._schedule = _schedule(config)

    async def __call__(self, at: float, deadline_s: float) -> Sample:
        """Judge the pings known at `at`."""
        beats = self._board.watch(self._name, at)
        verdict = self._schedule.judge(beats, at)
        known = (
            ("age_s", None if beats.finished_at is None else at - beats.finished_at),
            ("runtime_s", beats.runtime_s),
            ("overdue_s", max(0.0, at - verdict.down_at)),
        )
        sample = Sample(
            target=self._target,
            at=at,
            outcome=Outcome.GOOD,
            detail=verdict.detail,
            values=tuple((name, value) for name, value in known if value is not None),
        )
        if verdict.failure is None:
            return sample
        return failed(sample, ProbeError(verdict.failure, verdict.detail), deadline_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a job's pings mean at one moment."""

    down_at: float
    """When it becomes, or became, late: UTC seconds."""
    detail: str = ""
    failure: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When pings are due."""

    due: Callable[[float], float]
    """Takes the last ping (UTC s), returns when the next one is expected."""
    grace_s: float
    max_runtime_s: float | None

    def judge(self, beats: Beats, at: float) -> Verdict:
        """Return the verdict at `at`; a job is late from the deadline on, not after it."""
        down_at, owed = self._deadline(beats, at)
        if beats.failed_at is not None:
            text = f"the job failed at {show_moment(beats.failed_at)}"
            return Verdict(down_at=down_at, detail=text, failure=Reason.FAILED)
        if at >= down_at:
            return self._late(beats, at, down_at, owed)
        if beats.finished_at is None and beats.started_at is None:
            text = f"no ping yet, expected by {show_moment(down_at)}"
            return Verdict(down_at=down_at, detail=text, failure=Reason.WAITING)
        is_in_grace = beats.started_at is None and at >= down_at - self.grace_s
        text = f"{owed}; late from {show_moment(down_at)}" if is_in_grace else ""
        return Verdict(down_at=down_at, detail=text)

    def _late(self, beats: Beats, at: float, down_at: float, owed: str) -> Verdict:
        """Blame the job, unless the deadline passed while nobody listened: then wait once more."""
        blind_from, blind_until = beats.blind_from, beats.blind_until
        if blind_from is not None and blind_until is not None:
            second_chance_at = self.due(blind_until) + self.grace_s
            if blind_from < down_at <= blind_until and at < second_chance_at:
                text = f"no pings could come until {show_moment(blind_until)}: {owed}"
                return Verdict(down_at=second_chance_at, detail=text, failure=Reason.WAITING)
        text = f"late since {show_moment(down_at)}: {owed}"
        return Verdict(down_at=down_at, detail=text, failure=Reason.LATE)

    def _deadline(self, beats: Beats, at: float) -> tuple[float, str]:
        """Return when the job becomes late, and what it owes."""
        if beats.finished_at is not None:
            last, said = beats.finished_at, f"the last came at {show_moment(beats.finished_at)}"
        else:
            last, said = at if beats.watched_since is None else beats.watched_since, "none came yet"
        due_at = self.due(last)
        arrival = due_at + self.grace_s, f"a ping was due at {show_moment(due_at)}, {said}"
        if beats.started_at is None:
            return arrival
        limit_s = self.grace_s if self.max_runtime_s is None else self.max_runtime_s
        text = (
            f"started at {show_moment(beats.started_at)} "
            f"and did not end within {format_duration(limit_s)}"
        )
        end = beats.started_at + limit_s, text
        return end if self.max_runtime_s is not None else min(arrival, end)


def _schedule(config: HeartbeatProbeConfig) -> Schedule:
    return Schedule(due=_due(config), grace_s=config.grace_s, max_runtime_s=config.max_runtime_s)


def _due(config: HeartbeatProbeConfig) -> Callable[[float], float]:
    if config.cron is None:
        period_s = config.period_s or 0.0
        return lambda last: last + period_s
    # Runs ask about the same ping again and again until the next one comes.
    return lru_cache(2)(partial(next_tick, config.cron, zone_of(config.timezone)))
