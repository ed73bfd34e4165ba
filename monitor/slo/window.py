"""What happened to one target: sliding windows of counts and of latencies.

Counts are in buckets of 10 s for windows up to 2 h, of 5 min up to 3 d and of 1 h beyond; latencies
in coarser ones, which are at most 1/12 of their window. A window covers its last buckets, the one
of now included.

A level of buckets is written when one of them closes; what the current 5 min hold so far is a row
of its own, written at every flush. All else follows from these.

Owns how samples become counts, and what is written. Must not know what a signal or an alert is.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import pairwise

from monitor.model import BucketRow, Outcome, Sample, WindowRow
from monitor.slo.counting import CountLevel, DamagedError
from monitor.slo.latencies import LatencyLevel
from monitor.slo.past import Past, merged, summed
from monitor.slo.signal import WINDOWS
from monitor.slo.sketch import Sketch, bucket_key
from monitor.slo.tally import COLUMNS, Tally

_COUNT_WIDTHS = ((10, WINDOWS["2h"]), (300, WINDOWS["3d"]), (3600, WINDOWS["90d"]))
"""(bucket width, longest window served from buckets of this width), seconds."""
_LATENCY_WIDTHS = (
    (10, WINDOWS["1h"]),
    (300, WINDOWS["2h"]),
    (900, WINDOWS["6h"]),
    (3600, WINDOWS["1d"]),
    (6 * 3600, WINDOWS["7d"]),
    (2 * 86400, WINDOWS["30d"]),
    (6 * 86400, WINDOWS["90d"]),
)
"""The same for latencies; each width is a multiple of the one before."""
_NARROW_S = 10
_FEW_S = 40
HEAD_S = 300
"""How much is in the row that is written at every flush."""
HEAD = "head"
_HEAD_VERSION = 1
_HEAD_BUCKET = struct.Struct("<BHHHIIH")
"""Number within the head, good, bad, unknown, up ms, down ms, length of the sketch that follows."""
_HEAD = struct.Struct("<BqIB")
"""Version, start of the head, unit of time, number of buckets."""


class TargetWindow:
    """All sliding windows of one target.

    A sample stands for one probe interval. Two samples of one interval both count: they add, in
    samples and in time.
    """

    __slots__ = (
        "_counts", "_latencies", "_next_edge", "_target", "_unit_ms", "_unsaved", "_windows",
    )  # fmt: skip

    def __init__(self, target: str, now: float, extra: Iterable[int] = ()) -> None:
        """Start empty at `now`; `extra` are windows in seconds beyond the named ones."""
        self._target = target
        self._unit_ms = 0
        """Time is kept as what it is more than this for each sample: mostly nothing."""
        self._unsaved = False
        """Whether the head has changed since it was written."""
        self._next_edge = 0.0
        self._counts: tuple[CountLevel, ...] = ()
        self._latencies: tuple[LatencyLevel, ...] = ()
        self._windows: frozenset[int] = frozenset()
        self._start(now, frozenset((*WINDOWS.values(), *extra)))

    def advance(self, now: float) -> None:
        """Move on to `now`, however far; going back is ignored."""
        if now < self._next_edge:
            return
        if now - self._next_edge < _FEW_S:
            # Bucket by bucket is cheaper than all at once, as long as they are few.
            while now >= self._next_edge + _NARROW_S:
                self._advance(self._next_edge)
        self._advance(now)

    def _advance(self, now: float) -> None:
        self._next_edge = _edge_after(now)
        for counts in self._counts:
            if not counts.advance(now):
                break
        handed_up: Sketch | None = None
        for latencies in self._latencies:
            # What a narrower bucket held belongs to the wider one that is still open.
            if handed_up is not None:
                _open(latencies).merge(handed_up)
            before = latencies.current
            handed_up = latencies.advance(now)
            if latencies.current == before:
                break

    def add(self, sample: Sample, interval_s: float) -> None:
        """File a sample in its own bucket, late as it may be, as long as that is kept.

        One from the future counts as one of now; a latency that is none is ignored.
        """
        # What may be our own delay is no latency of the target; its outcome counts all the same.
        key = None if sample.tainted_s else bucket_key(sample.latency_s)
        interval_ms = round(interval_s * 1000)
        if interval_ms != self._unit_ms:
            self._measure_in(interval_ms)
        if sample.at < self._next_edge - _NARROW_S:
            self._file(sample.at, *self._numbers(sample, interval_ms, key))
            return
        self._unsaved = True
        if sample.outcome is Outcome.UNKNOWN:
            for level in self._counts:
                level.open[2] += 1
            return
        which, more_ms = sample.outcome is Outcome.BAD, interval_ms - self._unit_ms
        for level in self._counts:
            level.open[which] += 1
            if more_ms:
                level.open[which + 3] += more_ms
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
        for level in self._counts:
            self._unsaved |= level.file(sample.at, change)
        if latency is not None:
            for latencies in self._latencies:
                if latencies.take_back(sample.at, latency):
                    break

    def counts(self, window_s: int) -> Tally:
        """Return the counts of the last `window_s` seconds.

        Windows that were not announced are added up bucket by bucket.
        """
        good, bad, unknown, up_ms, down_ms = self._counts[
            _level_of(window_s, _COUNT_WIDTHS)
        ].counts(window_s)
        unit_ms = self._unit_ms
        return Tally(good, bad, unknown, good * unit_ms + up_ms, bad * unit_ms + down_ms)

    def latencies(self, window_s: int) -> Iterator[Sketch]:
        """Yield sketches that together are the last `window_s` seconds; do not change them."""
        number = _level_of(window_s, _LATENCY_WIDTHS)
        yield self._latencies[number].closed(window_s)
        for level in self._latencies[: number + 1]:
            if level.open is not None:
                yield level.open

    def serve(self, extra: Iterable[int]) -> None:
        """Change the extra windows; what is in the buckets is kept."""
        self._serve(frozenset((*WINDOWS.values(), *extra)))

    def _serve(self, windows: frozenset[int]) -> None:
        if windows == self._windows:
            return
        self._windows = windows
        for number, counts in enumerate(self._counts):
            counts.serve(w for w in windows if _level_of(w, _COUNT_WIDTHS) == number)
        for number, latencies in enumerate(self._latencies):
            latencies.serve(w for w in windows if _level_of(w, _LATENCY_WIDTHS) == number)

    # --- storage ------------------------------------------------------------------------------

    def flush(self) -> Iterator[WindowRow]:
        """Return the rows that have changed since the last call."""
        narrow = (self._counts[0], self._latencies[0])
        # Until the head is full, the narrow buckets that closed are in it.
        full = any(level.dirty for level in (self._counts[1], self._latencies[1]))
        if full or self._unsaved:
            self._unsaved = False
            yield self._row(HEAD, self._head())
        for part, level in self._parts():
            if level.dirty and (full or level not in narrow):
                level.dirty = False
                yield self._row(part, level.to_bytes())

    def restore(self, rows: Iterable[WindowRow], now: float) -> int:
        """Take over what an earlier process wrote; return how many rows were damaged."""
        found = {row.part: row for row in rows}
        if not found:
            return 0
        # As of the time of writing, so that what was open then is closed like any other.
        self._start(min(now, max(row.at for row in found.values()) - _NARROW_S), self._windows)
        damaged, since = 0, {}
        for part, level in self._parts():
            try:
                since[part] = level.load(found[part].data) if part in found else 0
            except DamagedError:
                damaged += 1
                since[part] = 0
        try:
            if HEAD in found:
                self._load_head(found[HEAD].data)
        except (ValueError, struct.error):
            damaged += 1
        self._settle_units()
        for narrow, wide in pairwise(self._counts):
            _fill_counts(narrow, wide, since[_part(wide)])
        for level in self._counts:
            level.recount()
        for below, above in pairwise(self._latencies):
            _fill_latencies(below, above, since[_part(above)])
        self.advance(now)
        return damaged

    def restore_buckets(self, rows: Iterable[BucketRow]) -> int:
        """Take over rows of schema version 2; return how many were damaged and left out."""
        past = Past()
        damaged = sum(not past.take(row) for row in rows)
        past.complete()
        for level in self._counts:
            for start, counts in past.counts[level.width_s].items():
                level.put(start, counts)
            level.recount()
            level.dirty = True
        for latencies in self._latencies:
            for start, sketch in merged(past.finest(latencies.width_s), latencies.width_s).items():
                if start // latencies.width_s < latencies.current:
                    latencies.put(start, sketch)
        for below, above in pairwise(self._latencies):
            _fill_latencies(below, above, above.current * above.width_s)
        return damaged

    def _start(self, now: float, windows: frozenset[int]) -> None:
        self._counts = tuple(
            CountLevel(width_s, longest_s, COLUMNS, now) for width_s, longest_s in _COUNT_WIDTHS
        )
        self._latencies = tuple(
            LatencyLevel(width_s, longest_s, now) for width_s, longest_s in _LATENCY_WIDTHS
        )
        self._next_edge = _edge_after(now)
        self._windows = frozenset()
        self._serve(windows)

    def _parts(self) -> Iterator[tuple[str, CountLevel | LatencyLevel]]:
        yield from ((_part(level), level) for level in self._counts)
        yield from ((_part(level), level) for level in self._latencies)

    def _measure_in(self, interval_ms: int) -> None:
        """Choose the unit of time: the shortest interval that a sample ever stood for."""
        unit_ms = self._unit_ms
        if not unit_ms and all(level.is_empty for level in self._counts):
            self._unit_ms = interval_ms
            for level in self._counts:
                level.unit = interval_ms
        elif interval_ms < unit_ms:
            self._convert(interval_ms)

    def _convert(self, unit_ms: int) -> None:
        for level in self._counts:
            level.change(_converter(level.unit - unit_ms), unit_ms)
        self._unit_ms = unit_ms

    def _settle_units(self) -> None:
        """Bring levels that were written at different times to one unit."""
        units = {level.unit for level in self._counts}
        self._unit_ms = min(units)
        if len(units) > 1:
            self._convert(self._unit_ms)

    def _row(self, part: str, data: bytes) -> WindowRow:
        return WindowRow(owner=self._target, part=part, at=self._next_edge, data=data)

    def _numbers(
        self, sample: Sample, interval_ms: int, key: int | None
    ) -> tuple[list[int], Sketch | None]:
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

    def _head(self) -> bytes:
        """Return the narrow buckets of the current 5 min."""
        counts, latencies = self._counts[0], self._latencies[0]
        now = self._next_edge - _NARROW_S
        start = int(now // HEAD_S) * HEAD_S
        buckets = dict(counts.buckets(start, now))
        buckets[round(now)] = counts.open
        sketches = dict(latencies.buckets(start))
        if latencies.open is not None:
            sketches[round(now)] = latencies.open
        parts = [_HEAD.pack(_HEAD_VERSION, start, self._unit_ms, len(buckets))]
        for at, found in buckets.items():
            sketch = sketches[at].to_bytes() if at in sketches else b""
            number = (at - start) // _NARROW_S
            parts += (_HEAD_BUCKET.pack(number, *found, len(sketch)), sketch)
        return b"".join(parts)

    def _load_head(self, data: bytes) -> None:
        version, start, unit_ms, count = _HEAD.unpack_from(data)
        if version != _HEAD_VERSION or start % HEAD_S:
            raise DamagedError
        for level in self._counts:
            if level.is_empty:
                # It never closed a bucket, so it was not written yet.
                level.unit = unit_ms
        at = _HEAD.size
        for _ in range(count):
            number, *counts, length = _HEAD_BUCKET.unpack_from(data, at)
            at += _HEAD_BUCKET.size + length
            begins = start + number * _NARROW_S
            self._counts[0].put(begins, counts)
            self._latencies[0].put(begins, Sketch.from_bytes(data[at - length : at]))

    def _file(self, at: float, counts: list[int], latency: Sketch | None) -> None:
        for level in self._counts:
            level.file(at, counts)
        if self._next_edge - _NARROW_S - at < HEAD_S:
            self._unsaved = True
        if latency is not None:
            for latencies in self._latencies:
                if latencies.file(at, latency):
                    # The wider buckets get it from this one, when it closes.
                    break


def window_span_s(window_s: int, now: float) -> float:
    """Return how far back the buckets reach that together are the counts of this window."""
    return _span_s(window_s, _COUNT_WIDTHS, now)


def latency_span_s(window_s: int, now: float) -> float:
    """Return how far back the buckets reach that together are the latencies of this window."""
    return _span_s(window_s, _LATENCY_WIDTHS, now)


def _span_s(window_s: int, widths: tuple[tuple[int, int], ...], now: float) -> float:
    width_s = widths[_level_of(window_s, widths)][0]
    first = int(now // width_s) - -(-window_s // width_s) + 1
    return now - first * width_s


@cache
def _level_of(window_s: int, widths: tuple[tuple[int, int], ...]) -> int:
    fine_enough = (n for n, (_, longest_s) in enumerate(widths) if window_s <= longest_s)
    return next(fine_enough, len(widths) - 1)


def _edge_after(now: float) -> float:
    return (now // _NARROW_S + 1) * _NARROW_S


def _open(level: LatencyLevel) -> Sketch:
    if level.open is None:
        level.open = Sketch()
    return level.open


def _converter(more_ms: int) -> Callable[[list[int]], list[int]]:
    def convert(counts: list[int]) -> list[int]:
        good, bad, unknown, up_ms, down_ms = counts
        return [good, bad, unknown, up_ms + good * more_ms, down_ms + bad * more_ms]

    return convert


def _part(level: CountLevel | LatencyLevel) -> str:
    kind = "counts" if isinstance(level, CountLevel) else "latencies"
    return f"{kind}/{level.width_s}"


def _fill_counts(narrow: CountLevel, wide: CountLevel, since: int) -> None:
    """Put together what `wide` lacks from `since` on from the narrower buckets."""
    now = narrow.current * narrow.width_s
    found = dict(narrow.buckets(since, now))
    found[now] = narrow.open
    for start, counts in summed(found, wide.width_s).items():
        if start >= since:
            wide.put(start, counts)


def _fill_latencies(narrow: LatencyLevel, wide: LatencyLevel, since: int) -> None:
    """Put together what `wide` lacks from `since` on from the closed narrower buckets."""
    for start, latencies in merged(dict(narrow.buckets(since)), wide.width_s).items():
        if start >= since:
            wide.put(start, latencies)
