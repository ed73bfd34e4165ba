"""A story as it is written in YAML: what the world does, and what must be true when.

Owns the form only; `monitor.scenario.stage` plays it. Read through the same hardened loader as the
configuration, so a mistake is reported with its line.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from monitor.fields import Duration, Model
from monitor.scenario.world import Fault

Count = Annotated[int, Field(ge=0)]


class TargetChange(Model):
    """What a scripted web server does from now on; what is not named stays."""

    version: str | None = None
    status: int | None = None
    latency_s: Duration | None = Field(default=None, alias="latency")
    fault: Fault | None = None
    fail_every: Count | None = None
    """Every n-th request answers 503; 0 = none."""
    bad_versions: Annotated[tuple[str, ...] | None, Field(strict=False)] = None
    """Releases that answer 503."""


class Refusal(Model):
    """An answer that a receiver gives instead of its own; nothing is accepted with it."""

    status: Annotated[int, Field(ge=300, le=599)]
    times: Annotated[int, Field(ge=1)] = 1
    """How many requests in a row get it."""
    retry_after_s: Duration | None = Field(default=None, alias="retry_after")


class Step(Model):
    """Something that happens at a moment of the story."""

    at_s: Duration = Field(alias="at")
    until_s: Duration | None = Field(default=None, alias="until")
    every_s: Duration | None = Field(default=None, alias="every")
    """Repeats the step from `at` until `until`."""

    target: str | None = None
    """Host name of the web server that `change`s."""
    change: TargetChange | None = None

    channel: str | None = None
    """Channel whose receiver acts as the keys below say; what is not named stays."""
    hook: str | None = None
    """Deployment whose rollback hook acts so."""
    alive: bool | None = None
    """`false`: takes every request in, accepts nothing, closes without an answer. `true`: is well
    again, whatever it was told by the keys below."""
    hang_s: Duration | None = Field(default=None, alias="hang")
    """Does its work, but answers this much later; `0s`: at once."""
    lose_answers: Count | None = None
    """Does the work of the next n requests, but closes without an answer."""
    refuse: Refusal | None = None
    failing: bool | None = None
    """Whether the rollbacks of a hook end badly."""

    daemon: Literal["kill", "stop", "start", "reload"] | None = None
    config: dict[str, Any] | None = None
    """Replaces keys of the inline configuration before a `reload` or `start`."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        manners = (self.alive, self.hang_s, self.lose_answers, self.refuse, self.failing)
        acts = any(each is not None for each in manners)
        named = (self.channel is not None) + (self.hook is not None)
        problems = (
            ((self.target is None) != (self.change is None), "target and change go together"),
            (acts != (named == 1), "a channel or a hook, and what it does, go together"),
            (self.failing is not None and self.hook is None, "only a hook can be failing"),
            ((self.until_s is None) != (self.every_s is None), "until and every go together"),
            (self.every_s == 0, "a step cannot repeat every 0s"),
            (self.config is not None and self.daemon is None, "config needs a reload or start"),
            (not (acts or self.target or self.daemon), "nothing happens in this step"),
        )
        for is_wrong, message in problems:
            if is_wrong:
                raise ValueError(message)
        return self


class Told(Model):
    """What a receiver took in by then; what is not named is not checked."""

    opened: Count | None = None
    resolved: Count | None = None
    still_open: Count | None = None
    """Incidents open at the receiver (PagerDuty only)."""


class Figure(Model):
    """A figure and how far it may be off."""

    name: str
    deployment: str
    is_: float | str | None = Field(alias="is")
    within: float = 0.0


class Check(Model):
    """What must be true at a moment."""

    at_s: Duration = Field(alias="at")
    open_incidents: Count | None = None
    alerts: dict[str, str] = Field(default_factory=dict)
    """`rule@deployment` -> state."""
    channels: dict[str, Told] = Field(default_factory=dict)
    rollbacks: dict[str, Count] = Field(default_factory=dict)
    """Deployment -> how often its hook rolled back."""
    figures: Annotated[tuple[Figure, ...], Field(strict=False)] = ()


class Story(Model):
    """A whole story."""

    story: str
    start: str = "2026-01-05T00:00:00Z"
    lasts_s: Duration = Field(alias="lasts")
    env: dict[str, str] = Field(default_factory=dict)
    config: dict[str, Any] | str
    """monitor.yml inline, or the path of one beside the story."""
    files: dict[str, Any] = Field(default_factory=dict)
    """Other files that the configuration names, inline."""
    targets: dict[str, TargetChange] = Field(default_factory=dict)
    """Host name -> how its web server begins."""
    steps: Annotated[tuple[Step, ...], Field(strict=False)] = ()
    """Those of a moment come before anything is checked at it."""
    checks: Annotated[tuple[Check, ...], Field(strict=False, min_length=1)]

    @field_validator("start")
    @classmethod
    def _is_a_moment(cls, text: str) -> str:
        if datetime.fromisoformat(text).tzinfo is None:
            msg = "expected a time with its zone, such as 2026-01-05T00:00:00Z"
            raise ValueError(msg)
        return text

    @property
    def starts_at(self) -> float:
        """UTC seconds."""
        return datetime.fromisoformat(self.start).astimezone(UTC).timestamp()
