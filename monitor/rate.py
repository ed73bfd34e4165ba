"""A token bucket: how often something may be done, as a frozen value.

Owns the arithmetic only. Time is an argument (UTC seconds, never going back); whoever waits does
so outside.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

ROUNDING_S = 1e-4
"""A wait this short is none: times of today are rounded by as much in a few hundred sums."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """`capacity` at once, and `per_s` a second for long.

    In any interval of t seconds at most `capacity + per_s * t` are taken.
    """

    capacity: int
    """At least 1."""
    per_s: float
    """More than 0."""
    full_at: float = 0.0
    """When nothing will be missing from it any more, UTC seconds; it starts full."""

    def wait_s(self, now: float) -> float:
        """Return the seconds from `now` until one may be taken; 0 when it may be at once."""
        wait_s = self.full_at - now - (self.capacity - 1) / self.per_s
        return wait_s if wait_s > ROUNDING_S else 0.0

    def take(self, now: float) -> Bucket:
        """Return the bucket after one was taken at `now`.

        Raises:
            ValueError: there is none to take yet.
        """
        if self.wait_s(now):
            msg = f"nothing to take for another {self.wait_s(now):g} s"
            raise ValueError(msg)
        return replace(self, full_at=max(self.full_at, now) + 1 / self.per_s)
