"""Counts of one thing over ninety days: three levels of buckets, and what is stored of them.

Buckets of 10 s serve windows up to 2 h, of 5 min up to 3 d, of 1 h beyond. What the current 5 min
hold so far is the head, a short row that is written at every flush; a level is written when one of
its buckets closes. All else follows from these.

Owns when which row is written. Knows no sample and no latency.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Protocol

from monitor.model import WindowRow
from monitor.slo.counting import CountLevel, Counts, DamagedError
from monitor.slo.signal import WINDOWS

WIDTHS = ((10, WINDOWS["2h"]), (300, WINDOWS["3d"]), (3600, WINDOWS["90d"]))
"""(bucket width, longest window served from buckets of this width), seconds."""
NARROW_S = WIDTHS[0][0]
HEAD_S = WIDTHS[1][0]
HEAD = "head"
_FEW_S = 40
_VERSION = 1
_HEAD = struct.Struct("<BqI")
"""Version, start of the head, unit; the open bucket and then the closed ones follow."""


class Level(Protocol):
    """What is stored as a row of its own."""

    dirty: bool

    def to_bytes(self) -> bytes:
        """Return all closed buckets."""
        ...


class CountLevels:
    """The levels of one thing that is counted."""

    __slots__ = ("_by_window", "_columns", "_windows", "levels", "next_edge", "unsaved")

    def __init__(self, columns: int, now: float, windows: Iterable[int]) -> None:
        """Start empty at `now`, with running totals for `windows`, in seconds."""
        self._columns = columns
        self.unsaved = False
        """Whether the head has changed since it was written."""
        self._windows: frozenset[int] = frozenset()
        self._by_window: dict[int, CountLevel] = {}
        self.levels: tuple[CountLevel, ...] = ()
        self.next_edge = 0.0
        self._start(now, frozenset(windows))

    def advance(self, now: float) -> bool:
        """Move on to `now`, however far; return whether a bucket was closed."""
        if now < self.next_edge:
            return False
        if now - self.next_edge < _FEW_S:
            # Bucket by bucket is cheaper than all at once, as long as they are few.
            while now >= self.next_edge + NARROW_S:
                self._advance(self.next_edge)
        self._advance(now)
        return True

    def _advance(self, now: float) -> None:
        self.next_edge = edge_after(now)
        for level in self.levels:
            if not level.advance(now):
                break

    def add(self, column: int, number: int) -> None:
        """Count in the bucket of now."""
        self.unsaved = True
        narrow, middle, wide = self.levels
        narrow.open[column] += number
        middle.open[column] += number
        wide.open[column] += number

    def file(self, at: float, counts: Sequence[int]) -> None:
        """Add `counts` (negative ones take away) of the moment `at`, where that is kept."""
        for level in self.levels:
            level.file(at, counts)
        self.unsaved = True

    def counts(self, window_s: int) -> Counts:
        """Return the last `window_s` seconds; one that is not served is added up."""
        return self.level(window_s).counts(window_s)

    def level(self, window_s: int) -> CountLevel:
        """Return the level that serves a window."""
        return self._by_window.get(window_s) or self.levels[level_of(window_s, WIDTHS)]

    def between(self, start: float, end: float) -> Counts:
        """Return the buckets that begin in [start, end), as fine as they are kept since `start`."""
        return self.finest(start).between(start, end)

    def finest(self, since: float) -> CountLevel:
        """Return the finest level that is kept since then."""
        kept = zip(self.levels, WIDTHS, strict=True)
        fine = (level for level, (_, kept_s) in kept if self.next_edge - since <= kept_s)
        return next(fine, self.levels[-1])

    def serve(self, windows: Iterable[int]) -> None:
        """Keep running totals of exactly these windows."""
        wanted = frozenset(windows)
        if wanted == self._windows:
            return
        self._windows = wanted
        for number, level in enumerate(self.levels):
            level.serve(w for w in wanted if level_of(w, WIDTHS) == number)
        self._by_window = {w: self.levels[level_of(w, WIDTHS)] for w in wanted}

    @property
    def unit(self) -> int:
        """The unit in which the numbers are."""
        return self.levels[0].unit

    @property
    def is_empty(self) -> bool:
        """Whether nothing was counted."""
        return all(level.is_empty for level in self.levels)

    def measure_in(self, unit: int) -> None:
        """Say what the unit is, as long as nothing was counted."""
        for level in self.levels:
            level.unit = unit

    def convert(self, converter: Callable[[int], Callable[[Counts], Counts]], unit: int) -> None:
        """Bring everything to another unit; `converter` makes the conversion from a unit."""
        for level in self.levels:
            level.change(converter(level.unit), unit)

    # --- storage ------------------------------------------------------------------------------

    @property
    def is_head_full(self) -> bool:
        """Whether 5 min ended since the last flush, so that what the head held moves on."""
        return self.levels[1].dirty

    def parts(self) -> Iterator[tuple[str, CountLevel]]:
        """Yield (part, level)."""
        return ((f"counts/{level.width_s}", level) for level in self.levels)

    @property
    def head_start(self) -> int:
        """Where the current 5 min begin."""
        return int((self.next_edge - NARROW_S) // HEAD_S) * HEAD_S

    def head(self) -> bytes:
        """Return the narrow buckets of the current 5 min."""
        narrow, start = self.levels[0], self.head_start
        return (
            _HEAD.pack(_VERSION, start, self.unit)
            + self._row.pack(*narrow.open)
            + narrow.cut(start)
        )

    def load(self, rows: Mapping[str, WindowRow], read_head: Callable[[bytes], bytes]) -> int:
        """Take over the rows, as of when they were written; return how many were damaged.

        `read_head` returns our part of the head. `complete` must follow.
        """
        self._start(written_at(rows, self.next_edge - NARROW_S), self._windows)
        damaged, since = 0, []
        for part, level in self.parts():
            try:
                since.append(level.load(rows[part].data) if part in rows else 0)
            except DamagedError:
                damaged += 1
                since.append(0)
        try:
            if HEAD in rows:
                self._load_head(read_head(rows[HEAD].data))
        except (ValueError, struct.error):
            damaged += 1
        for (narrow, wide), start in zip(pairwise(self.levels), since[1:], strict=True):
            _fill(narrow, wide, start)
        self.recount()
        self.unsaved = False
        return damaged

    def recount(self) -> None:
        """Add up all windows anew."""
        for level in self.levels:
            level.recount()

    def _load_head(self, data: bytes) -> None:
        version, start, unit = _HEAD.unpack_from(data)
        narrow, row = self.levels[0], self._row
        if version != _VERSION or start % HEAD_S:
            raise DamagedError
        for level in self.levels:
            if level.is_empty:
                # It never closed a bucket, so it was not written yet.
                level.unit = unit
        counts = row.unpack_from(data, _HEAD.size)
        closed = data[_HEAD.size + row.size :]
        narrow.paste(start, closed)
        narrow.put(start + closed[0] * NARROW_S, counts)

    @property
    def _row(self) -> struct.Struct:
        return struct.Struct(f"<{self._columns}I")

    def _start(self, now: float, windows: frozenset[int]) -> None:
        self.levels = tuple(
            CountLevel(width_s, longest_s, self._columns, now) for width_s, longest_s in WIDTHS
        )
        self.next_edge = edge_after(now)
        self._windows = frozenset()
        self.serve(windows)


def flush(
    owner: str,
    counts: CountLevels,
    others: Sequence[tuple[str, Level]],
    head: Callable[[], bytes],
) -> Iterator[WindowRow]:
    """Yield the rows that have changed since the last call.

    `others` are levels stored beside `counts`, the narrowest first. The narrowest levels are in
    the head until that is full.
    """
    at, full = counts.next_edge, counts.is_head_full
    if full or counts.unsaved:
        counts.unsaved = False
        yield WindowRow(owner=owner, part=HEAD, at=at, data=head())
    for levels in (tuple(counts.parts()), others):
        for number, (part, level) in enumerate(levels):
            if level.dirty and (full or number):
                level.dirty = False
                yield WindowRow(owner=owner, part=part, at=at, data=level.to_bytes())


def written_at(rows: Mapping[str, WindowRow], now: float) -> float:
    """Return a moment of the last bucket that was open when the rows were written."""
    return min(now, max(row.at for row in rows.values()) - NARROW_S)


def span_s(window_s: int, widths: tuple[tuple[int, int], ...], now: float) -> float:
    """Return how far back the buckets reach that together are this window."""
    width_s = widths[level_of(window_s, widths)][0]
    first = int(now // width_s) - -(-window_s // width_s) + 1
    return now - first * width_s


@cache
def level_of(window_s: int, widths: tuple[tuple[int, int], ...]) -> int:
    """Return the number of the level that serves a window."""
    fine_enough = (n for n, (_, longest_s) in enumerate(widths) if window_s <= longest_s)
    return next(fine_enough, len(widths) - 1)


def edge_after(now: float) -> float:
    """Return when the narrow bucket of `now` ends."""
    return (now // NARROW_S + 1) * NARROW_S


def summed(buckets: Mapping[int, Counts], width_s: int) -> dict[int, Counts]:
    """Return what `buckets`, by start, are together in buckets of `width_s`."""
    sums: dict[int, Counts] = {}
    for start, counts in buckets.items():
        wider = start // width_s * width_s
        before = sums.get(wider, [0] * len(counts))
        sums[wider] = [mine + more for mine, more in zip(before, counts, strict=True)]
    return sums


def _fill(narrow: CountLevel, wide: CountLevel, since: int) -> None:
    """Put together what `wide` lacks from `since` on from the narrower buckets."""
    now = narrow.current * narrow.width_s
    found = dict(narrow.buckets(since, now))
    found[now] = narrow.open
    for start, counts in summed(found, wide.width_s).items():
        if start >= since:
            wide.put(start, counts)
