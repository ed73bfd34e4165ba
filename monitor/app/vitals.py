"""What may be wrong with this process or its machine, so that no target is blamed for it (Linux).

Reads what the kernel tells of our descriptors, our cgroup and the machine's sleep. Decides nothing
about targets: it only says what is wrong, in words for people. Where a source is missing, nothing
is wrong there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

PROCESS, CGROUP = Path("/proc/self"), Path("/sys/fs/cgroup")
DESCRIPTORS_MAX = 0.95
"""Share of the descriptors that may be in use."""
THROTTLED_MAX = 0.5
"""Share of the time that the CPU quota may keep us waiting."""
MEMORY_STALLED_MAX = 20.0
"""Percent of the last 10 s that all of us may wait for memory (PSI)."""
SLEPT_S = 2.0
SETTLE_S = 20.0
"""After the machine slept, connections and name servers need a moment."""
CONFIRM = 2
"""So many looks in a row must find the same, or it is a passing load."""


def boot_time() -> float:
    """Return seconds since boot, sleep included; where nobody knows, without."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Vitals:
    """Looks at us now and then; `ailment` is what the latest looks found."""

    def __init__(
        self,
        *,
        process: Path = PROCESS,
        cgroup: Path = CGROUP,
        monotonic: Callable[[], float] = time.monotonic,
        boottime: Callable[[], float] = boot_time,
    ) -> None:
        """`process` and `cgroup` are where the kernel shows them."""
        self._process = process
        self._cgroup = cgroup
        self._monotonic = monotonic
        self._boottime = boottime
        self._looked_at = monotonic()
        self._asleep_s = boottime() - self._looked_at
        self._throttled_us = self._throttled()
        self._seen = 0
        self._slept: tuple[float, str] | None = None
        self.ailment: str | None = None
        """For people; None when all is well."""

    def look(self) -> None:
        """Look once; reads a few small files, and so may block for a moment."""
        now = self._monotonic()
        found = self._descriptors() or self._throttling(now) or self._memory()
        self._seen = self._seen + 1 if found else 0
        slept = self._sleep(now)
        self._looked_at = now
        self.ailment = slept or (found if self._seen >= CONFIRM else None)

    def _descriptors(self) -> str | None:
        limits = _read(self._process / "limits")
        line = next((each for each in limits.splitlines() if "open files" in each), "")
        soft = line.removeprefix("Max open files").split()[:1]
        if not soft or not soft[0].isdecimal():
            return None
        try:
            used = sum(1 for _ in (self._process / "fd").iterdir())
        except OSError:
            return None
        limit = int(soft[0])
        if used < limit * DESCRIPTORS_MAX:
            return None
        return f"file descriptors run out: {used} of {limit} are in use"

    def _throttling(self, now: float) -> str | None:
        before, self._throttled_us = self._throttled_us, self._throttled()
        elapsed_s = now - self._looked_at
        if before is None or self._throttled_us is None or elapsed_s <= 0:
            return None
        share = (self._throttled_us - before) / 1e6 / elapsed_s
        if share <= THROTTLED_MAX:
            return None
        return f"the CPU quota kept us waiting for {share:.0%} of the last {elapsed_s:.0f} s"

    def _throttled(self) -> int | None:
        for line in _read(self._cgroup / "cpu.stat").splitlines():
            name, _, value = line.partition(" ")
            if name == "throttled_usec" and value.isdecimal():
                return int(value)
        return None

    def _memory(self) -> str | None:
        for line in _read(self._cgroup / "memory.pressure").splitlines():
            if line.startswith("full avg10="):
                text = line.removeprefix("full avg10=").partition(" ")[0]
                share = float(text) if text.replace(".", "", 1).isdecimal() else 0.0
                if share > MEMORY_STALLED_MAX:
                    return f"memory is short: everything waited for it {share:.0f} % of the time"
        return None

    def _sleep(self, now: float) -> str | None:
        before, self._asleep_s = self._asleep_s, self._boottime() - now
        if self._asleep_s - before > SLEPT_S:
            words = f"the machine slept for {self._asleep_s - before:.0f} s"
            self._slept = (now + SETTLE_S, words)
        if self._slept is not None and now < self._slept[0]:
            return self._slept[1]
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
