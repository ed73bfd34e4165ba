"""The strict fake of a dead man's sink: a ping address that alerts when it hears nothing.

Owns the sink's own clockwork, after the published rules of Healthchecks: down when `/fail` is
called, or when period and grace have passed since the last ping; up with the next ping.
"""

from __future__ import annotations

from monitor.scenario.provider import Reply, Request
from monitor.scenario.receiver import Receiver


class SinkFake(Receiver):
    """Takes pings at `path` and failures at `path`/fail; anything else is not found."""

    def __init__(self, path: str = "/ping", period_s: float = 60.0, grace_s: float = 120.0) -> None:
        """Start as a new check, which cannot be down before its first ping."""
        super().__init__()
        self.pings: list[float] = []
        """When each ping came, UTC seconds."""
        self.reasons: list[str] = []
        """What was said with each failure."""
        self._path = path
        self._patience_s = period_s + grace_s
        self._failures: list[float] = []

    def down_since(self, now: float) -> float | None:
        """Return since when its owner is alarmed, None when all is well at `now`."""
        if not self.pings and not self._failures:
            return None
        last = self.pings[-1] if self.pings else float("-inf")
        failures = [at for at in self._failures if at > last]
        if failures:
            return failures[0]
        return last + self._patience_s if now > last + self._patience_s else None

    def longest_gap_s(self) -> float:
        """Return the longest time between two pings."""
        return max(
            (after - before for before, after in zip(self.pings, self.pings[1:], strict=False)),
            default=0.0,
        )

    def _answer(self, request: Request) -> Reply:
        if request.path == self._path and request.method in {"GET", "HEAD", "POST"}:
            self.pings.append(request.at)
        elif request.path == f"{self._path}/fail" and request.method in {"GET", "HEAD", "POST"}:
            self._failures.append(request.at)
            self.reasons.append(request.body.decode())
        else:
            return Reply(status=404, body=b"not found")
        return Reply(status=200, body=b"OK")
