"""What happened to one target: sliding windows of counts and of latencies.

Latencies are in coarser buckets than counts, which are at most 1/12 of their window. A window
covers its last buckets, the one of now included.

Owns how samples become counts and latencies. Must not know what a signal or an alert is.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from monitor.model import BucketRow, Outcome, Sample, WindowRow
from monitor.slo import levels
from monitor.slo.counting import Counts, DamagedError
from monitor.slo.latencies import LatencyLevel
from monitor.slo.levels import HEAD, NARROW_S, CountLevels, level_of, span_s
from monitor.slo.past import Past, merged
from monitor.slo.signal import WINDOWS
from monitor.slo.sketch import HIGHEST_KEY, Sketch, bucket_key
from monitor.slo.tally import COLUMNS, Tally

_LATENCY_WIDTHS = (
    (10, WINDOWS["1h"]),
    (300, WINDOWS["2h"]),
    (900, WINDOWS["6h"]),
    (3600, WINDOWS["1d"]),
    (6 * 3600, WINDOWS["7d"]),
    (2 * 86400, WINDOWS["30d"]),
    (6 * 86400, WINDOWS["90d"]),
)
"""(bucket width, longest window served from buckets of this width), seconds; each width is a
multiple of the one before."""
_HEAD = struct.Struct("<H")
"""Length of the head of the counts; buckets of latencies follow."""
_HEAD_BUCKET = struct.Struct("<BH")
"""Number within the head; key of its only latency, or the flag and the length of the sketch."""
_PACKED = 0x8000


class TargetWindow:
    """All sliding windows of one target.

    A sample stands for one probe interval. Two samples of one interval both count: they add, in
    samples and in time. Time is kept as what it is more than the unit for each sample: mostly
    nothing.
    """

    __slots__ = ("_counts", "_latencies", "_target", "_unit_ms", "_windows")

    def __init__(self, target: str, now: float, extra: Iterable[int] = ()) -> None:
        """Start empty at `now`; `extra` are windows in seconds beyond the named ones."""
        self._target = target
        self._unit_ms = 0
        self._windows = frozenset((*WINDOWS.values(), *extra))
        self._counts = CountLevels(COLUMNS, now, self._windows)
        self._latencies = self._empty(now)

    def advance(self, now: float) -> None:
        """Move on to `now`, however far; going back is ignored."""
        edge = self._counts.next_edge
        if not self._counts.advance(now):
            return
        if now < edge + NARROW_S:
            self._advance(now)
            return
        # What is open closes at its own end, so that a gap is no different from its steps.
        self._advance(edge)
        self._advance(now)

    def _advance(self, now: float) -> None:
        handed_up: Sketch | None = None
        for level in self._latencies:
            # What a narrower bucket held belongs to the wider one that is still open.
            if handed_up is not None:
                _open(level).merge(handed_up)
            before = level.current
            handed_up = level.advance(now)
            if level.current == before:
                break

    def add(self, sample: Sample, interval_s: float) -> None:
        """File a sample in its own bucket, late as it may be, as long as that is kept.

        One from the future counts as one of now; a latency that is none is ignored.
        """
        # What may be our own delay is no latency of the target; its outcome counts all the same.
        key = None if sample.tainted_s else bucket_key(sample.latency_s)
        counts, interval_ms, outcome = self._counts, round(interval_s * 1000), sample.outcome
        if interval_ms != self._unit_ms:
            self._measure_in(interval_ms)
        if sample.at < counts.next_edge - NARROW_S:
            self._file(sample.at, *self._numbers(sample, interval_ms, key))
            return
        if outcome is Outcome.UNKNOWN:
            counts.add(2, 1)
            return
        which = 1 if outcome is Outcome.BAD else 0
        counts.add(which, 1)
        if interval_ms != self._unit_ms:
            counts.add(which + 3, interval_ms - self._unit_ms)
        if key is not None:
            _open(self._latencies[0]).add_key(key, censored=sample.censored)

    def take_back(self, sample: Sample, interval_s: float) -> None:
        """Let a sample that was added count as UNKNOWN, as long as it is kept."""
        if sample.outcome is Outcome.UNKNOWN:
            return
        key = None if sample.tainted_s else bucket_key(sample.latency_s)
        counts, latency = self._numbers(sample, round(interval_s * 1000), key)
        change = [-count for count in counts]
        change[2] = 1
        self._counts.file(sample.at, change)
        if latency is not None:
            for level in self._latencies:
                if level.take_back(sample.at, latency):
                    break

    def counts(self, window_s: int) -> Tally:
        """Return the counts of the last `window_s` seconds.

        Windows that were not announced are added up bucket by bucket.
        """
        good, bad, unknown, up_ms, down_ms = self._counts.counts(window_s)
        unit_ms = self._unit_ms
        return Tally(good, bad, unknown, good * unit_ms + up_ms, bad * unit_ms + down_ms)

    def latencies(self, window_s: int) -> Iterator[Sketch]:
        """Yield sketches that together are the last `window_s` seconds; do not change them."""
        number = level_of(window_s, _LATENCY_WIDTHS)
        yield self._latencies[number].closed(window_s)
        for level in self._latencies[: number + 1]:
            if level.open is not None:
                yield level.open

    def counts_between(self, start: float, end: float) -> Tally:
        """Return the buckets that begin in [start, end), as fine as they are kept."""
        good, bad, unknown, up_ms, down_ms = self._counts.between(start, end)
        unit_ms = self._unit_ms
        return Tally(good, bad, unknown, good * unit_ms + up_ms, bad * unit_ms + down_ms)

    def latencies_between(self, start: float, end: float) -> Iterator[Sketch]:
        """Yield sketches that together are [start, end), as fine as they are kept."""
        age_s = self._counts.next_edge - start
        kept = zip(self._latencies, _LATENCY_WIDTHS, strict=True)
        fine = (level for level, (_, kept_s) in kept if age_s <= kept_s)
        yield from next(fine, self._latencies[-1]).between(start, end)

    def history(self) -> Iterator[tuple[int, int, Tally]]:
        """Yield (number of the level, start, counts) of all buckets that hold something."""
        for number, level in enumerate(self._counts.levels):
            end = level.current * level.width_s
            for start, counts in (*level.buckets(-math.inf, end), (end, level.open)):
                good, bad, unknown, up_ms, down_ms = counts
                unit_ms = self._unit_ms
                yield (
                    number,
                    start,
                    Tally(good, bad, unknown, good * unit_ms + up_ms, bad * unit_ms + down_ms),
                )

    def serve(self, extra: Iterable[int]) -> None:
        """Change the extra windows; what is in the buckets is kept."""
        windows = frozenset((*WINDOWS.values(), *extra))
        if windows != self._windows:
            self._windows = windows
            self._counts.serve(windows)
            self._serve_latencies()

    # --- storage ------------------------------------------------------------------------------

    def flush(self) -> Iterator[WindowRow]:
        """Return the rows that have changed since the last call."""
        return levels.flush(self._target, self._counts, tuple(self._parts()), self._head)

    def restore(self, rows: Iterable[WindowRow], now: float) -> int:
        """Take over what an earlier process wrote; return how many rows were damaged."""
        found = {row.part: row for row in rows}
        if not found:
            return 0
        damaged = self._counts.load(found, lambda data: _split(data)[0])
        self._latencies = self._empty(levels.written_at(found, now))
        since = {}
        for part, level in self._parts():
            try:
                since[level] = level.load(found[part].data) if part in found else 0
            except DamagedError:
                damaged += 1
                since[level] = 0
        try:
            if HEAD in found:
                self._load_head(found[HEAD].data)
        except (ValueError, struct.error):
            damaged += 1
        for below, above in pairwise(self._latencies):
            _fill(below, above, since[above])
        self._settle_units()
        self.advance(now)
        return damaged

    def restore_buckets(self, rows: Iterable[BucketRow]) -> int:
        """Take over rows of schema version 2; return how many were damaged and left out."""
        past = Past()
        damaged = sum(not past.take(row) for row in rows)
        past.complete()
        for counts in self._counts.levels:
            for start, found in past.counts[counts.width_s].items():
                counts.put(start, found)
            counts.dirty = True
        self._counts.recount()
        for level in self._latencies:
            for start, sketch in merged(past.finest(level.width_s), level.width_s).items():
                if start // level.width_s < level.current:
                    level.put(start, sketch)
        for below, above in pairwise(self._latencies):
            _fill(below, above, above.current * above.width_s)
        return damaged

    def _empty(self, now: float) -> tuple[LatencyLevel, ...]:
        self._latencies = tuple(
            LatencyLevel(width_s, longest_s, now) for width_s, longest_s in _LATENCY_WIDTHS
        )
        self._serve_latencies()
        return self._latencies

    def _serve_latencies(self) -> None:
        for number, level in enumerate(self._latencies):
            level.serve(w for w in self._windows if level_of(w, _LATENCY_WIDTHS) == number)

    def _parts(self) -> Iterator[tuple[str, LatencyLevel]]:
        return ((f"latencies/{level.width_s}", level) for level in self._latencies)

    def _head(self) -> bytes:
        """Return the narrow buckets of the current 5 min."""
        start = self._counts.head_start
        counts = self._counts.head()
        parts = [_HEAD.pack(len(counts)), counts]
        for at, packed in self._latencies[0].packed(start):
            number = (at - start) // NARROW_S
            if isinstance(packed, int):
                parts.append(_HEAD_BUCKET.pack(number, packed))
            else:
                parts += (_HEAD_BUCKET.pack(number, _PACKED | len(packed)), packed)
        return b"".join(parts)

    def _load_head(self, head: bytes) -> None:
        _, data = _split(head)
        start, at = self._counts.head_start, 0
        while at < len(data):
            number, key = _HEAD_BUCKET.unpack_from(data, at)
            at += _HEAD_BUCKET.size
            sketch = Sketch.of_key(key)
            if key & _PACKED:
                at += key ^ _PACKED
                sketch = Sketch.from_bytes(data[at - (key ^ _PACKED) : at])
            elif key > HIGHEST_KEY:
                raise DamagedError
            self._latencies[0].put(start + number * NARROW_S, sketch)

    def _measure_in(self, interval_ms: int) -> None:
        """Choose the unit of time: the shortest interval that a sample ever stood for."""
        if not self._unit_ms and self._counts.is_empty:
            self._unit_ms = interval_ms
            self._counts.measure_in(interval_ms)
        elif interval_ms < self._unit_ms:
            self._unit_ms = interval_ms
            self._settle_units()

    def _settle_units(self) -> None:
        """Bring levels that were written at different times to one unit."""
        units = {level.unit for level in self._counts.levels}
        self._unit_ms = min(*units, self._unit_ms) if self._unit_ms else min(units)
        if units != {self._unit_ms}:
            self._counts.convert(lambda unit: _converter(unit - self._unit_ms), self._unit_ms)

    def _numbers(
        self, sample: Sample, interval_ms: int, key: int | None
    ) -> tuple[Counts, Sketch | None]:
        """Return what one sample is in counts, and its latency."""
        if sample.outcome is Outcome.UNKNOWN:
            return [0, 0, 1, 0, 0], None
        latency = None
        if key is not None:
            latency = Sketch()
            latency.add_key(key, censored=sample.censored)
        more_ms = interval_ms - self._unit_ms
        if sample.outcome is Outcome.GOOD:
            return [1, 0, 0, more_ms, 0], latency
        return [0, 1, 0, 0, more_ms], latency

    def _file(self, at: float, counts: Counts, latency: Sketch | None) -> None:
        self._counts.file(at, counts)
        if latency is not None:
            for level in self._latencies:
                if level.file(at, latency):
                    # The wider buckets get it from this one, when it closes.
                    break


def window_span_s(window_s: int, now: float) -> float:
    """Return how far back the buckets reach that together are the counts of this window."""
    return span_s(window_s, levels.WIDTHS, now)


def latency_span_s(window_s: int, now: float) -> float:
    """Return how far back the buckets reach that together are the latencies of this window."""
    return span_s(window_s, _LATENCY_WIDTHS, now)


def _open(level: LatencyLevel) -> Sketch:
    if level.open is None:
        level.open = Sketch()
    return level.open


def _converter(more_ms: int) -> Callable[[Counts], Counts]:
    def convert(counts: Counts) -> Counts:
        good, bad, unknown, up_ms, down_ms = counts
        return [good, bad, unknown, up_ms + good * more_ms, down_ms + bad * more_ms]

    return convert


def _split(head: bytes) -> tuple[bytes, bytes]:
    """Return the head of the counts, and that of the latencies."""
    (length,) = _HEAD.unpack_from(head)
    middle = _HEAD.size + length
    return head[_HEAD.size : middle], head[middle:]


def _fill(narrow: LatencyLevel, wide: LatencyLevel, since: int) -> None:
    """Put together what `wide` lacks from `since` on from the closed narrower buckets."""
    for start, latencies in merged(dict(narrow.buckets(since)), wide.width_s).items():
        if start >= since:
            wide.put(start, latencies)
