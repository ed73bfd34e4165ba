"""What happened to one target: sliding windows over rings of buckets.

Three rings of buckets: 10 s wide for windows up to 2 h, 5 min up to 3 d, 1 h beyond. A window of
`w` covers the last `w / width` buckets, the current one included. Each window keeps a running
total of its closed buckets, so that a question does not depend on the window's length. A sample
costs one update: what comes in the current 10 s is gathered apart and joins the buckets of every
width when they are over. All counts are integers: adding and taking away leaves no residue.

Buckets of 10 s are written as they grow, wider ones when they are complete; until then they can
be put together from the narrow ones, which are kept for longer than an hour.

Owns counting and expiry. Must not know what a signal or an alert is.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache

from monitor.model import BucketRow, Sample
from monitor.slo.signal import WINDOWS
from monitor.slo.sketch import Sketch, bucket_key
from monitor.slo.tally import Tally

_WIDTHS = ((10, WINDOWS["2h"]), (300, WINDOWS["3d"]), (3600, WINDOWS["90d"]))
"""(bucket width, longest window served from buckets of this width), seconds."""


class _Span:
    """The running total of a window's closed buckets."""

    __slots__ = ("length", "total")

    def __init__(self, length: int) -> None:
        self.length = length
        self.total = Tally()


class _Ring:
    """The non-empty buckets of one width, and the windows that are made of them."""

    __slots__ = ("_buckets", "_current", "_dirty", "_keep", "_order", "spans", "width_s")

    def __init__(self, width_s: int, windows: Iterable[int], longest_s: int, now: float) -> None:
        self.width_s = width_s
        self.spans = {window_s: _Span(-(-window_s // width_s)) for window_s in windows}
        lengths = (span.length for span in self.spans.values())
        self._keep = max(longest_s // width_s, *lengths, 0)
        self._current = int(now // width_s)
        self._buckets: dict[int, Tally] = {}
        self._order: list[int] = []
        self._dirty: set[int] = set()

    def advance(self, now: float) -> None:
        """Close the buckets that have ended and let the oldest expire."""
        before, current = self._current, int(now // self.width_s)
        if current <= before:
            return
        self._current = current
        for span in self.spans.values():
            start = current - span.length + 1
            if start >= before:
                # Nothing that was in the total is left.
                span.total = Tally()
            else:
                for index in self._between(before - span.length + 1, start):
                    span.total.subtract(self._buckets[index])
            for index in self._between(max(before, start), current):
                span.total.merge(self._buckets[index])
        self._prune()

    def file(self, at: float, counts: Tally) -> None:
        """Add `counts` of the moment `at`, unless that is too long ago."""
        index = min(int(at // self.width_s), self._current)
        if index <= self._current - self._keep:
            return
        self._dirty.add(index)
        self._bucket(index).merge(counts)
        if index < self._current:
            for span in self.spans.values():
                if index > self._current - span.length:
                    span.total.merge(counts)

    def take_back(self, at: float, said: Tally, instead: Tally) -> None:
        """Put `instead` in the place of `said`, which was filed at `at`."""
        index = int(at // self.width_s)
        bucket = self._buckets.get(index)
        if bucket is None or not _swap(bucket, said, instead):
            return
        self._dirty.add(index)
        for span in self.spans.values():
            if self._current - span.length < index < self._current:
                _swap(span.total, said, instead)

    def tallies(self, window_s: int) -> list[Tally]:
        """Return the tallies that make up the last `window_s` seconds."""
        span = self.spans.get(window_s)
        if span is None:
            length = -(-window_s // self.width_s)
            indexes = self._between(self._current - length + 1, self._current + 1)
            return [self._buckets[index] for index in indexes]
        open_bucket = self._buckets.get(self._current)
        return [span.total] if open_bucket is None else [span.total, open_bucket]

    def complete(self) -> Iterator[tuple[int, Tally]]:
        """Return (start, tally) of closed buckets that have changed since the last call."""
        for index in sorted(index for index in self._dirty if index < self._current):
            self._dirty.discard(index)
            if index in self._buckets:
                yield index * self.width_s, self._buckets[index]

    def open_bucket(self) -> Tally | None:
        """Return what is known of the current bucket, None when that is nothing."""
        return self._buckets.get(self._current)

    def load(self, buckets: Mapping[int, Tally], unsaved: Collection[int] = ()) -> None:
        """Take over tallies by start from storage, in place of buckets of the same start.

        A bucket ahead of now (the wall clock was set back between two processes) waits until
        its time comes. Those that start at `unsaved` are still to be written.
        """
        for start, tally in buckets.items():
            index = start // self.width_s
            if abs(index - self._current) < self._keep:
                self._bucket(index)
                self._buckets[index] = tally
                if start in unsaved:
                    self._dirty.add(index)
        self.serve(self.spans)

    def serve(self, windows: Iterable[int]) -> None:
        """Keep running totals of exactly these windows."""
        self.spans = {window_s: _Span(-(-window_s // self.width_s)) for window_s in windows}
        for span in self.spans.values():
            self._keep = max(self._keep, span.length)
            for index in self._between(self._current - span.length + 1, self._current):
                span.total.merge(self._buckets[index])

    def _bucket(self, index: int) -> Tally:
        bucket = self._buckets.get(index)
        if bucket is None:
            bucket = self._buckets[index] = Tally()
            insort(self._order, index)
        return bucket

    def _between(self, start: int, end: int) -> Sequence[int]:
        """Return the indexes of non-empty buckets in [start, end)."""
        order = self._order
        return order[bisect_left(order, start) : bisect_left(order, end)]

    def _prune(self) -> None:
        old = bisect_left(self._order, self._current - self._keep + 1)
        for index in self._order[:old]:
            del self._buckets[index]
            self._dirty.discard(index)
        del self._order[:old]


class TargetWindow:
    """All sliding windows of one target.

    A sample stands for one probe interval. Two samples of one interval both count: they add, in
    samples and in time.
    """

    __slots__ = ("_next_edge", "_recent", "_rings", "_target", "_unsaved", "_windows")

    def __init__(self, target: str, now: float, extra: Iterable[int] = ()) -> None:
        """Start empty at `now`; `extra` are windows in seconds beyond the named ones."""
        self._target = target
        self._windows = frozenset((*WINDOWS.values(), *extra))
        self._rings = tuple(
            _Ring(width_s, [w for w in self._windows if _width(w) == width_s], longest_s, now)
            for width_s, longest_s in _WIDTHS
        )
        self._next_edge = _edge_after(now)
        self._recent = Tally()
        """What came in the current narrow bucket's time; in no ring yet."""
        self._unsaved = False
        """Whether the current narrow bucket has changed since it was written."""

    def advance(self, now: float) -> None:
        """Move on to `now`, however far; going back is ignored."""
        if now >= self._next_edge:
            if not self._recent.is_empty:
                self._file(self._next_edge - _WIDTHS[0][0], self._recent)
                self._recent = Tally()
            self._unsaved = False
            self._next_edge = _edge_after(now)
            for ring in self._rings:
                ring.advance(now)

    def add(self, sample: Sample, interval_s: float) -> None:
        """File a sample in its own bucket, late as it may be, as long as that is kept.

        One from the future counts as one of now; a latency that is none is ignored.
        """
        # What may be our own delay is no latency of the target; its outcome counts all the same.
        key = None if sample.tainted_s else bucket_key(sample.latency_s)
        interval_ms = round(interval_s * 1000)
        if sample.at >= self._next_edge - _WIDTHS[0][0]:
            self._recent.count(sample.outcome, interval_ms, key, censored=sample.censored)
            self._unsaved = True
        else:
            late = Tally()
            late.count(sample.outcome, interval_ms, key, censored=sample.censored)
            self._file(sample.at, late)

    def take_back(self, sample: Sample, interval_s: float) -> None:
        """Let a sample that was added count as UNKNOWN, as long as it is kept."""
        said, unknown = Tally(), Tally()
        key = None if sample.tainted_s else bucket_key(sample.latency_s)
        said.count(sample.outcome, round(interval_s * 1000), key, censored=sample.censored)
        unknown.unknown = 1
        if sample.at >= self._next_edge - _WIDTHS[0][0]:
            self._unsaved |= _swap(self._recent, said, unknown)
        else:
            for ring in self._rings:
                ring.take_back(sample.at, said, unknown)

    def tallies(self, window_s: int) -> list[Tally]:
        """Return live tallies that together are the last `window_s` seconds; do not change them.

        Windows that were not announced are added up bucket by bucket.
        """
        return [*self._rings[_ring_number(window_s)].tallies(window_s), self._recent]

    def serve(self, extra: Iterable[int]) -> None:
        """Change the extra windows; what is in the buckets is kept."""
        windows = frozenset((*WINDOWS.values(), *extra))
        if windows != self._windows:
            self._windows = windows
            for ring in self._rings:
                ring.serve([w for w in windows if _width(w) == ring.width_s])

    def flush(self) -> Iterator[BucketRow]:
        """Return the rows of buckets that have changed since the last call.

        Wide buckets appear when they are over: `restore` does not need them sooner.
        """
        for ring in self._rings:
            for start, tally in ring.complete():
                yield self._row(ring.width_s, start, tally)
        if self._unsaved:
            self._unsaved = False
            narrow = self._rings[0]
            known, recent = narrow.open_bucket(), self._recent
            if known is not None:
                recent = Tally()
                recent.merge(known)
                recent.merge(self._recent)
            yield self._row(narrow.width_s, round(self._next_edge) - narrow.width_s, recent)

    def restore(self, rows: Iterable[BucketRow]) -> int:
        """Take over the rows of an earlier process; return how many were damaged and left out."""
        loaded: dict[int, dict[int, Tally]] = {ring.width_s: {} for ring in self._rings}
        damaged = 0
        for row in rows:
            try:
                loaded[row.width_s][row.start] = _tally_of(row)
            except (KeyError, ValueError):
                damaged += 1
        narrow, *wide = self._rings
        narrow.load(loaded[narrow.width_s])
        for ring in wide:
            sums = _sums(loaded[narrow.width_s], ring.width_s)
            stored = loaded[ring.width_s]
            # Of a bucket that was never completed, or only by half, the narrow ones know more.
            better = {
                start: tally
                for start, tally in sums.items()
                if start not in stored or tally.samples > stored[start].samples
            }
            ring.load(stored | better, unsaved=better)
        return damaged

    def _file(self, at: float, counts: Tally) -> None:
        for ring in self._rings:
            ring.file(at, counts)

    def _row(self, width_s: int, start: int, tally: Tally) -> BucketRow:
        return BucketRow(
            target=self._target,
            width_s=width_s,
            start=start,
            good=tally.good,
            bad=tally.bad,
            unknown=tally.unknown,
            up_ms=tally.up_ms,
            down_ms=tally.down_ms,
            sketch=tally.sketch.to_bytes() if tally.sketch else b"",
        )


def _swap(tally: Tally, said: Tally, instead: Tally) -> bool:
    """Put `instead` in the place of `said`; False when that is not in there."""
    if not tally.contains(said):
        return False
    tally.subtract(said)
    tally.merge(instead)
    return True


def window_span_s(window_s: int, now: float) -> float:
    """Return how far back the buckets reach that together are this window at `now`."""
    width_s = _width(window_s)
    first = int(now // width_s) - -(-window_s // width_s) + 1
    return now - first * width_s


@cache
def _ring_number(window_s: int) -> int:
    fine_enough = (n for n, (_, longest_s) in enumerate(_WIDTHS) if window_s <= longest_s)
    return next(fine_enough, len(_WIDTHS) - 1)


def _width(window_s: int) -> int:
    return _WIDTHS[_ring_number(window_s)][0]


def _edge_after(now: float) -> float:
    width_s = _WIDTHS[0][0]
    return (now // width_s + 1) * width_s


def _sums(buckets: Mapping[int, Tally], width_s: int) -> dict[int, Tally]:
    """Return what `buckets`, by start, are together in buckets of `width_s`."""
    sums: dict[int, Tally] = defaultdict(Tally)
    for start, tally in buckets.items():
        sums[start // width_s * width_s].merge(tally)
    return sums


def _tally_of(row: BucketRow) -> Tally:
    tally = Tally()
    tally.good, tally.bad, tally.unknown = row.good, row.bad, row.unknown
    tally.up_ms, tally.down_ms = row.up_ms, row.down_ms
    tally.sketch = Sketch.from_bytes(row.sketch) if row.sketch else None
    return tally
