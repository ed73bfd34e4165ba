"""Integer counts over time: closed buckets of one width, and the windows that are made of them.

The columns of a level are plain arrays as narrow as their numbers allow, so that ninety days of
hours take a few kilobytes. Each window keeps a running total, so that a question does not depend on
its length; adding and taking away integers leaves no residue. Knows no sample and no outcome.
"""

from __future__ import annotations

import math
import struct
import sys
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence

_CODES = "BHIQ"
_HEADER = struct.Struct("<BIqIB")
"""Version, number of slots, index of the open bucket, unit, number of columns."""
_VERSION = 1
_COLUMN = struct.Struct("<cI")
"""Type code (a space where all is 0), and length of what follows."""
_MAX_SLOTS = 1 << 20

Counts = list[int]
"""One number for each column."""


class DamagedError(ValueError):
    """Stored bytes are not what was once written."""


class Span:
    """A window: how many buckets it is long, and what its closed ones are together."""

    __slots__ = ("length", "total")

    def __init__(self, length: int, columns: int) -> None:
        """Start empty."""
        self.length = length
        self.total: Counts = [0] * columns


class CountLevel:
    """The buckets of one width.

    A window of `w` seconds covers the last `w / width` buckets, the open one included.
    """

    __slots__ = (
        "_ahead",
        "_columns",
        "_current",
        "_size",
        "dirty",
        "open",
        "spans",
        "unit",
        "width_s",
    )

    def __init__(self, width_s: int, longest_s: int, columns: int, now: float) -> None:
        """Start empty at `now`; what is older than `longest_s` is forgotten."""
        self.width_s = width_s
        self._size = max(1, -(-longest_s // width_s))
        self._current = int(now // width_s)
        self._columns: list[array[int] | None] = [None] * columns
        self.open: Counts = [0] * columns
        """What the current bucket holds so far."""
        self.spans: dict[int, Span] = {}
        self.unit = 0
        """What the owner's numbers are measured in; stored with them."""
        self.dirty = False
        """Whether a closed bucket has changed since it was written."""
        self._ahead: dict[int, Counts] = {}
        """Stored buckets of the future (the wall clock was set back between two processes)."""

    @property
    def current(self) -> int:
        """Number of the open bucket: its start divided by the width."""
        return self._current

    def serve(self, windows: Iterable[int]) -> None:
        """Keep running totals of exactly these windows."""
        kept, self.spans = self.spans, {}
        for window_s in windows:
            span = kept.get(window_s)
            if span is None:
                span = Span(-(-window_s // self.width_s), len(self._columns))
                self._grow(span.length)
                span.total = self._sum(self._current - span.length + 1, self._current)
            self.spans[window_s] = span

    def advance(self, now: float) -> bool:
        """Close what has ended by `now`; return whether anything was."""
        before, current = self._current, int(now // self.width_s)
        if current <= before:
            return False
        closing, self.open = self.open, [0] * len(self.open)
        if current == before + 1:
            self._step(current, closing)
        else:
            for span in self.spans.values():
                self._jump(span, before, current, closing)
        if before > current - self._size:
            self._write(before, closing)
        for index in range(max(before + 1, current - self._size + 1), current):
            self._write(index, ())
        self._current = current
        self.dirty = True
        if self._ahead:
            for index in [index for index in self._ahead if index <= current]:
                self.file(index * self.width_s, self._ahead.pop(index))
        return True

    def _step(self, current: int, closing: Counts) -> None:
        """Do what `_jump` does for every window, when one bucket closes: nearly always."""
        size, spans = self._size, self.spans.values()
        for number, column in enumerate(self._columns):
            more = closing[number]
            if column is not None:
                for span in spans:
                    left = column[(current - span.length) % size] if span.length > 1 else more
                    if left != more:
                        span.total[number] += more - left
            elif more:
                for span in spans:
                    if span.length > 1:
                        span.total[number] += more

    def _jump(self, span: Span, before: int, current: int, closing: Counts) -> None:
        """Take what leaves a window out of its total, and what is closed into it."""
        oldest = current - span.length + 1
        if oldest > before:
            span.total = [0] * len(closing)
            return
        total = span.total
        for column, numbers in enumerate(self._columns):
            if numbers is not None:
                for index in range(before - span.length + 1, oldest):
                    total[column] -= numbers[index % self._size]
            total[column] += closing[column]

    def file(self, at: float, counts: Sequence[int]) -> bool:
        """Add counts (negative ones take away) to the bucket of the moment `at`.

        False, and nothing happens, when that is not kept any more or would be below zero. The
        future counts as now.
        """
        index = min(int(at // self.width_s), self._current)
        if index == self._current:
            changed = [mine + more for mine, more in zip(self.open, counts, strict=True)]
            if min(changed) < 0:
                return False
            self.open = changed
            return True
        if index <= self._current - self._size:
            return False
        changed = [mine + more for mine, more in zip(self._read(index), counts, strict=True)]
        if min(changed) < 0:
            return False
        self._write(index, changed)
        self.dirty = True
        for span in self.spans.values():
            if index > self._current - span.length:
                for column, count in enumerate(counts):
                    span.total[column] += count
        return True

    def counts(self, window_s: int) -> Counts:
        """Return what the last `window_s` seconds hold; one that is not served is added up."""
        span = self.spans.get(window_s)
        if span is None:
            length = -(-window_s // self.width_s)
            total = self._sum(self._current - length + 1, self._current)
        else:
            total = span.total
        return [closed + new for closed, new in zip(total, self.open, strict=True)]

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all was counted."""
        return not any(self.open) and all(column is None for column in self._columns)

    def between(self, start: float, end: float) -> Counts:
        """Return what the buckets that begin in [start, end) hold."""
        first, last = math.ceil(start / self.width_s), math.ceil(end / self.width_s)
        total = self._sum(first, last)
        if first <= self._current < last:
            total = [closed + new for closed, new in zip(total, self.open, strict=True)]
        return total

    def keeps(self, at: float) -> bool:
        """Whether the bucket of the moment `at` is kept."""
        return int(at // self.width_s) > self._current - self._size

    def buckets(self, start: float, end: float) -> Iterator[tuple[int, Counts]]:
        """Yield (start, counts) of the closed buckets that begin in [start, end) and hold some."""
        first = self._current - self._size + 1
        if start > first * self.width_s:
            first = math.ceil(start / self.width_s)
        for index in range(first, min(math.ceil(end / self.width_s), self._current)):
            counts = self._read(index)
            if any(counts):
                yield index * self.width_s, counts

    def put(self, start: int, counts: Sequence[int]) -> None:
        """Replace the bucket that begins at `start`; `recount` must follow."""
        index = start // self.width_s
        if index == self._current:
            self.open = list(counts)
        elif index > self._current:
            self._ahead[index] = list(counts)
        elif index > self._current - self._size:
            self._write(index, counts)
            self.dirty = True

    def change(self, convert: Callable[[Counts], Counts], unit: int) -> None:
        """Replace every bucket by what `convert` makes of it, in another unit."""
        for index in range(self._current - self._size + 1, self._current):
            counts = self._read(index)
            if any(counts):
                self._write(index, convert(counts))
        self._ahead = {index: convert(counts) for index, counts in self._ahead.items()}
        self.open = convert(self.open)
        self.unit, self.dirty = unit, True
        self.recount()

    def recount(self) -> None:
        """Add up all windows anew."""
        for span in self.spans.values():
            span.total = self._sum(self._current - span.length + 1, self._current)

    def to_bytes(self) -> bytes:
        """Return all closed buckets."""
        head = (_VERSION, self._size, self._current, self.unit, len(self._columns))
        parts = [_HEADER.pack(*head)]
        for column in self._columns:
            if column is None:
                parts.append(_COLUMN.pack(b" ", 0))
            else:
                data = zlib.compress(_little(column).tobytes(), 1)
                parts += (_COLUMN.pack(column.typecode.encode(), len(data)), data)
        return b"".join(parts)

    def load(self, data: bytes) -> int:
        """Take over the closed buckets that `to_bytes` wrote; `recount` must follow.

        Those too old are left out; those ahead of now wait for their time. Return the start of the
        bucket that was open then, of which nothing is in `data`.

        Raises:
            DamagedError: these bytes are something else; nothing was changed.
        """
        size, current, self.unit, columns = _read_columns(data, len(self._columns))
        if size == self._size and current <= self._current:
            self._columns = columns
            for index in range(max(current, self._current - size + 1), self._current + 1):
                self._write(index, ())
        else:
            self._refile(size, current, columns)
        self.dirty = False
        return current * self.width_s

    def _refile(self, size: int, current: int, columns: list[array[int] | None]) -> None:
        self._columns = [None] * len(columns)
        for index in range(current - size + 1, current):
            counts = [0 if column is None else column[index % size] for column in columns]
            if any(counts):
                self.put(index * self.width_s, counts)

    def _grow(self, size: int) -> None:
        if size > self._size:
            before, self._size = self._size, size
            self._refile(before, self._current, self._columns)

    def _sum(self, first: int, end: int) -> Counts:
        """Return what the closed buckets in [first, end) hold."""
        first, end = max(first, self._current - self._size + 1), min(end, self._current)
        if first >= end:
            return [0] * len(self._columns)
        low, high = first % self._size, end % self._size
        totals = []
        for column in self._columns:
            if column is None:
                totals.append(0)
            elif low < high:
                totals.append(sum(column[low:high]))
            else:
                totals.append(sum(column[low:]) + sum(column[:high]))
        return totals

    def _read(self, index: int) -> Counts:
        slot = index % self._size
        return [0 if column is None else column[slot] for column in self._columns]

    def _write(self, index: int, counts: Sequence[int]) -> None:
        """Set a bucket; no counts at all mean zeros."""
        slot = index % self._size
        if not counts:
            for column in self._columns:
                if column is not None:
                    column[slot] = 0
            return
        for number, count in enumerate(counts):
            column = self._columns[number]
            if column is None:
                if not count:
                    continue
                column = self._columns[number] = array("B", bytes(self._size))
            try:
                column[slot] = count
            except OverflowError:
                column = _widened(column, count)
                column[slot] = count
                self._columns[number] = column


def _widened(column: array[int], count: int) -> array[int]:
    for code in _CODES[_CODES.index(column.typecode) + 1 :]:
        wider = array(code, column)
        if not count >> 8 * wider.itemsize:
            return wider
    msg = f"{count} is more than can be counted"
    raise OverflowError(msg)


def _little(column: array[int]) -> array[int]:
    """Return the column as it is stored, least significant byte first."""
    if sys.byteorder == "big":
        column = array(column.typecode, column)
        column.byteswap()
    return column


def _read_columns(data: bytes, expected: int) -> tuple[int, int, int, list[array[int] | None]]:
    """Return the number of slots, the open bucket, the unit and the columns of stored bytes."""
    try:
        version, size, current, unit, count = _HEADER.unpack_from(data)
        if version != _VERSION or count != expected or not 0 < size <= _MAX_SLOTS:
            raise DamagedError
        at, columns = _HEADER.size, []
        for _ in range(count):
            code, length = _COLUMN.unpack_from(data, at)
            at += _COLUMN.size + length
            columns.append(_read_column(code.decode(), data[at - length : at], size))
        if at != len(data):
            raise DamagedError
    except (struct.error, zlib.error, ValueError) as error:
        msg = "damaged buckets"
        raise DamagedError(msg) from error
    return size, current, unit, columns


def _read_column(code: str, data: bytes, size: int) -> array[int] | None:
    if code == " " and not data:
        return None
    if code not in _CODES:
        raise DamagedError
    column = array(code)
    unpacker = zlib.decompressobj()
    column.frombytes(unpacker.decompress(data, size * column.itemsize + 1))
    if len(column) != size or not unpacker.eof:
        raise DamagedError
    return _little(column)
