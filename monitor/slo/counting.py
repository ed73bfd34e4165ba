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

Columns = dict[int, "array[int]"]
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
        "_served",
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
        self._columns: Columns = {}
        """By number, those in which anything was ever counted."""
        self.open: Counts = [0] * columns
        """What the current bucket holds so far."""
        self._served: frozenset[int] = frozenset()
        self.spans: dict[int, Span] = {}
        """Of the windows that were asked for."""
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
        """Keep running totals of these windows from when they are first asked for."""
        self._served = frozenset(windows)
        self.spans = {w: span for w, span in self.spans.items() if w in self._served}
        self._grow(max(map(self._length, self._served), default=1))

    def _length(self, window_s: int) -> int:
        return -(-window_s // self.width_s)

    def _span(self, window_s: int) -> Span:
        """Return a window that is served, or one that is put together for this once."""
        span = Span(self._length(window_s), len(self.open))
        span.total = self._sum(self._current - span.length + 1, self._current)
        if window_s in self._served:
            self.spans[window_s] = span
        return span

    def advance(self, now: float) -> bool:
        """Close what has ended by `now`; return whether anything was."""
        before, current = self._current, int(now // self.width_s)
        if current <= before:
            return False
        closing, self.open = self.open, [0] * len(self.open)
        if current == before + 1:
            self._write(before, closing)
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
        size, columns = self._size, self._columns.items()
        for span in self.spans.values():
            length = span.length
            if length > 1:
                slot = (current - length) % size
                for number, column in columns:
                    more = closing[number] - column[slot]
                    if more:
                        span.total[number] += more

    def _jump(self, span: Span, before: int, current: int, closing: Counts) -> None:
        """Take what leaves a window out of its total, and what is closed into it."""
        oldest = current - span.length + 1
        if oldest > before:
            span.total = [0] * len(closing)
            return
        total = span.total
        for column, more in enumerate(closing):
            numbers = self._columns.get(column)
            if numbers is not None:
                for index in range(before - span.length + 1, oldest):
                    total[column] -= numbers[index % self._size]
            total[column] += more

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
        span = self.spans.get(window_s) or self._span(window_s)
        return [closed + new for closed, new in zip(span.total, self.open, strict=True)]

    def first_three(self, window_s: int) -> tuple[int, int, int]:
        """Return the first three columns of `counts`, which is asked for much more often."""
        span = self.spans.get(window_s) or self._span(window_s)
        total, new = span.total, self.open
        return total[0] + new[0], total[1] + new[1], total[2] + new[2]

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all was counted."""
        return not self.holds(0)

    def between(self, start: float, end: float) -> Counts:
        """Return what the buckets that begin in [start, end) hold."""
        first, last = math.ceil(start / self.width_s), math.ceil(end / self.width_s)
        total = self._sum(first, last)
        if first <= self._current < last:
            total = [closed + new for closed, new in zip(total, self.open, strict=True)]
        return total

    def holds(self, first: int) -> bool:
        """Whether anything is in the columns from number `first` on."""
        return any(self.open[first:]) or any(number >= first for number in self._columns)

    def bucket(self, start: float) -> Counts:
        """Return the bucket that begins at `start`, which must be kept."""
        index = int(start // self.width_s)
        return list(self.open) if index == self._current else self._read(index)

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

    def cut(self, start: int) -> bytes:
        """Return the closed buckets from `start` on, in as few bytes as their columns need."""
        first = start // self.width_s
        low, count = first % self._size, self._current - first
        parts = [bytes((count, len(self._columns)))]
        for number, column in self._columns.items():
            found = column[low : low + count] + column[: max(0, low + count - self._size)]
            parts += (bytes((number,)), column.typecode.encode(), _little(found).tobytes())
        return b"".join(parts)

    def paste(self, start: int, data: bytes) -> None:
        """Replace buckets by those that `cut` returned; `recount` must follow.

        Raises:
            DamagedError: these bytes are something else.
        """
        found, at = {}, 2
        try:
            count, columns = data[0], data[1]
            for _ in range(columns):
                number, column = data[at], array(chr(data[at + 1]))
                end = at + 2 + count * column.itemsize
                column.frombytes(data[at + 2 : end])
                if len(column) != count or number >= len(self.open):
                    raise DamagedError
                found[number], at = _little(column), end
        except (IndexError, ValueError) as error:
            msg = "damaged buckets"
            raise DamagedError(msg) from error
        if at != len(data):
            msg = "damaged buckets"
            raise DamagedError(msg)
        for place in range(count):
            counts = [0] * len(self.open)
            for number, column in found.items():
                counts[number] = column[place]
            self.put(start + place * self.width_s, counts)

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
        head = (_VERSION, self._size, self._current, self.unit, len(self.open))
        parts = [_HEADER.pack(*head)]
        for number in range(len(self.open)):
            column = self._columns.get(number)
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
        size, current, self.unit, columns = _read_columns(data, len(self.open))
        if size == self._size and current <= self._current:
            self._columns = columns
            for index in range(max(current, self._current - size + 1), self._current + 1):
                self._write(index, ())
        else:
            self._refile(size, current, columns)
        self.dirty = False
        return current * self.width_s

    def _refile(self, size: int, current: int, columns: Columns) -> None:
        self._columns = {}
        for index in range(current - size + 1, current):
            counts = [0] * len(self.open)
            for number, column in columns.items():
                counts[number] = column[index % size]
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
            return [0] * len(self.open)
        low, high = first % self._size, end % self._size
        totals = [0] * len(self.open)
        for number, column in self._columns.items():
            if low < high:
                totals[number] = sum(column[low:high])
            else:
                totals[number] = sum(column[low:]) + sum(column[:high])
        return totals

    def _read(self, index: int) -> Counts:
        slot, counts = index % self._size, [0] * len(self.open)
        for number, column in self._columns.items():
            counts[number] = column[slot]
        return counts

    def _write(self, index: int, counts: Sequence[int]) -> None:
        """Set a bucket; no counts at all mean zeros."""
        slot = index % self._size
        for column in self._columns.values():
            column[slot] = 0
        if any(counts):
            for number, count in enumerate(counts):
                if count:
                    self._set(number, slot, count)

    def _set(self, number: int, slot: int, count: int) -> None:
        column = self._columns.get(number)
        if column is None:
            column = self._columns[number] = array("B", bytes(self._size))
        try:
            column[slot] = count
        except OverflowError:
            column = self._columns[number] = _widened(column, count)
            column[slot] = count


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


def _read_columns(data: bytes, expected: int) -> tuple[int, int, int, Columns]:
    """Return the number of slots, the open bucket, the unit and the columns of stored bytes."""
    try:
        version, size, current, unit, count = _HEADER.unpack_from(data)
        if version != _VERSION or count != expected or not 0 < size <= _MAX_SLOTS:
            raise DamagedError
        at, columns = _HEADER.size, {}
        for number in range(count):
            code, length = _COLUMN.unpack_from(data, at)
            at += _COLUMN.size + length
            column = _read_column(code.decode(), data[at - length : at], size)
            if column is not None:
                columns[number] = column
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
