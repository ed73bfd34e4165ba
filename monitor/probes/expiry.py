"""The expiry probe: whatever has a date, such as a secret that is rotated (the plan's 6.2).

Owns what a date means today. Certificates that a server presents are other kinds' business.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from monitor.fields import Duration, format_duration
from monitor.model import Deployment, Outcome, Sample, Target
from monitor.probes.base import ProbeConfig, ProbeIO
from monitor.probes.dates import UTC_ZONE, Date, Zone, moment_of, show_moment, zone_of
from monitor.probes.failure import ProbeError, local_failure
from monitor.probes.reason import Reason
from monitor.probes.verdict import failed

DAY_S = 86400.0
_MOMENTS = ("expires", "last_rotated", "file")


class ExpiryProbeConfig(ProbeConfig):
    """Watches a date: a licence, a domain, a secret that must be rotated every 90 days.

    Give `expires`, or `last_rotated` with `every`, or `file` with `every` (the file's last change
    counts). BAD `expiring` within the notice before the date, BAD `expired` from then on.
    """

    example: ClassVar[str] = (
        "{kind: expiry, name: api-key, last_rotated: 2025-12-01, every: 90d, notice: 14d}"
    )

    kind: Literal["expiry"] = "expiry"
    expires: Date | None = None
    """The first moment at which it is no longer valid; a date alone means its midnight."""
    last_rotated: Date | None = None
    """The day from which `every` counts."""
    file: Annotated[str, Field(min_length=1)] | None = None
    """Looked at anew in every run; a file that cannot be looked at is UNKNOWN."""
    every_s: Annotated[Duration, Field(gt=0)] | None = None
    """How long it is valid after its last rotation."""
    notice_s: Duration = 14 * DAY_S
    """How long before the date it becomes BAD (`expiring`)."""
    timezone: Zone = UTC_ZONE
    """Of dates that name none."""

    @model_validator(mode="after")
    def _is_one_date(self) -> Self:
        given = [name for name in _MOMENTS if getattr(self, name) is not None]
        if len(given) != 1:
            msg = "expected one of expires, last_rotated, file"
            raise ValueError(msg)
        if (self.every_s is None) is (given != ["expires"]):
            msg = "expected every together with last_rotated or file, and not with expires"
            raise ValueError(msg)
        return self

    def reach(self, url: str) -> None:
        """Return nothing: a date needs no network."""

    def build(self, target: Target, deployment: Deployment, url: str, io: ProbeIO) -> ExpiryProbe:  # noqa: ARG002 - the signature of every kind
        """Return the probe of `target`."""
        return ExpiryProbe(self, target.id, io)


class ExpiryProbe:
    """Compares one date with the time of the run."""

    def __init__(self, config: ExpiryProbeConfig, target: str, io: ProbeIO) -> None:
        """Look at files with `io`."""
        self._target = target
        self._file = config.file
        self._notice_s = config.notice_s
        self._every_s = config.every_s or 0.0
        self._modified_at = io.modified_at
        text = config.expires or config.last_rotated
        self._since = None if text is None else moment_of(text, zone_of(config.timezone))

    async def __call__(self, at: float, deadline_s: float) -> Sample:
        """Compare once; a file is looked at within `deadline_s`."""
        sample = Sample(target=self._target, at=at, outcome=Outcome.GOOD)
        try:
            expires_at = await self._since_when(deadline_s) + self._every_s
        except ProbeError as error:
            return failed(sample, error, deadline_s)
        left_s = expires_at - at
        sample = Sample(
            target=self._target,
            at=at,
            outcome=Outcome.GOOD,
            values=(("days_left", left_s / DAY_S),),
        )
        if left_s > self._notice_s:
            return sample
        if left_s > 0:
            detail = f"expires at {show_moment(expires_at)}, in {_roughly(left_s)}"
            return failed(sample, ProbeError(Reason.EXPIRING, detail), deadline_s)
        detail = f"expired at {show_moment(expires_at)}, {_roughly(-left_s)} ago"
        return failed(sample, ProbeError(Reason.EXPIRED, detail), deadline_s)

    async def _since_when(self, deadline_s: float) -> float:
        """Return the date that was given, or the file's.

        Raises:
            ProbeError: (prober_error, local_resource) when the file cannot be looked at.
        """
        if self._since is not None:
            return self._since
        file = self._file or ""
        try:
            async with asyncio.timeout(deadline_s):
                return await self._modified_at(file)
        except TimeoutError:
            detail = f"cannot look at {file}: the disk did not answer within {deadline_s:g} s"
            raise ProbeError(Reason.PROBER_ERROR, detail) from None
        except OSError as error:
            raise local_failure(error, f"look at {file}") from error


def _roughly(seconds: float) -> str:
    return f"{seconds / DAY_S:.1f} days" if seconds >= DAY_S else format_duration(int(seconds))
