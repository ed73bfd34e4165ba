"""Latencies over time: closed buckets of one width, and the windows that are made of them.

Like counts, but each bucket is a sketch, packed when it closes. A window's running total is made
when it is first asked for and kept from then on. Knows no sample.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence

from monitor.slo.counting import DamagedError
from monitor.slo.sketch import HIGHEST_KEY, Sketch

_VERSION = 1
_HEADER = struct.Struct("<BIqI")
"""Version, number of slots, index of the open bucket, number of filled buckets."""
_BUCKET = struct.Struct("<IH")
"""Slot; key of a single latency, or the flag and the length of a packed sketch that follows."""
_PACKED = 0x8000
_OFTEN_S = 60
_MANY = 100

Packed = int | bytes | None
"""A closed bucket: the key of its only latency, a sketch's bytes, or nothing."""


class _Sparse:
    """Many buckets of which most hold one latency or none, in two bytes each."""

    __slots__ = ("_keys", "_others")

    def __init__(self, size: int) -> None:
        self._keys = array("H", bytes(2 * size))
        """One more than the key; 0 for nothing, the flag alone for what is in the others."""
        self._others: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, slot: int) -> Packed:
        key = self._keys[slot]
        return None if not key else self._others[slot] if key == _PACKED else key - 1

    def __setitem__(self, slot: int, packed: Packed) -> None:
        self._others.pop(slot, None)
        if isinstance(packed, bytes):
            self._keys[slot] = _PACKED
            self._others[slot] = packed
        else:
            self._keys[slot] = 0 if packed is None else packed + 1

    def __iter__(self) -> Iterator[Packed]:
        return (self[slot] for slot in range(len(self)))


def _slots(size: int) -> list[Packed] | _Sparse:
    return _Sparse(size) if size > _MANY else [None] * size


class LatencyLevel:
    """The buckets of one width. A window covers its last buckets, the open one included."""

    __slots__ = ("_closed", "_current", "_served", "_totals", "dirty", "open", "width_s")

    def __init__(self, width_s: int, longest_s: int, now: float) -> None:
        """Start empty at `now`; what is older than `longest_s` is forgotten."""
        self.width_s = width_s
        self._closed = _slots(max(1, -(-longest_s // width_s)))
        self._current = int(now // width_s)
        self.open: Sketch | None = None
        """What has come into the current bucket from the next narrower level, or directly."""
        self._served: Sequence[int] = ()
        self._totals: dict[int, Packed | Sketch] = {}
        """Of windows that were asked for, what their closed buckets are together. Only narrow
        buckets close so often that unpacking each time would be dear."""
        self.dirty = False
        """Whether a closed bucket has changed since it was written."""

    @property
    def current(self) -> int:
        """Number of the open bucket: its start divided by the width."""
        return self._current

    def serve(self, windows: Iterable[int]) -> None:
        """Keep running totals of these windows from when they are first asked for."""
        self._served = tuple(windows)
        self._totals = {w: total for w, total in self._totals.items() if w in self._served}
        longest = max(map(self._length, self._served), default=0)
        if longest > len(self._closed):
            kept = dict(self._buckets(self._current - len(self._closed) + 1, self._current))
            self._closed = _slots(longest)
            for index, packed in kept.items():
                self._closed[index % longest] = packed

    def advance(self, now: float) -> Sketch | None:
        """Close what has ended by `now`; return the content of the bucket that was open."""
        before, current = self._current, int(now // self.width_s)
        if current <= before:
            return None
        closing, self.open = self.open, None
        size = len(self._closed)
        if current == before + 1:
            self._step(closing)
        else:
            self._jump(current, closing)
        for index in range(max(before + 1, current - size + 1), current):
            self._closed[index % size] = None
        if before > current - size:
            self._closed[before % size] = _packed(closing)
        self._current = current
        self.dirty = True
        return closing

    def file(self, at: float, latencies: Sketch) -> bool:
        """Add to the bucket of the moment `at`; return whether that is still the open one."""
        index = min(int(at // self.width_s), self._current)
        if index == self._current:
            if self.open is None:
                self.open = Sketch()
            self.open.merge(latencies)
            return True
        if index > self._current - len(self._closed):
            sketch = self._read(index)
            sketch.merge(latencies)
            self._replace(index, sketch)
            for window_s in self._totals:
                if index > self._current - self._length(window_s):
                    total = self._total(window_s)
                    total.merge(latencies)
                    self._keep(window_s, total)
        return False

    def take_back(self, at: float, latencies: Sketch) -> bool:
        """Take away what was filed; return whether it was in the open bucket."""
        index = min(int(at // self.width_s), self._current)
        if index == self._current and self.open is not None and self.open.contains(latencies):
            self.open.subtract(latencies)
            return True
        if self._current - len(self._closed) < index < self._current:
            sketch = self._read(index)
            if sketch.contains(latencies):
                sketch.subtract(latencies)
                self._replace(index, sketch)
                for window_s in self._totals:
                    if index > self._current - self._length(window_s):
                        total = self._total(window_s)
                        total.subtract(latencies)
                        self._keep(window_s, total)
        return False

    def closed(self, window_s: int) -> Sketch:
        """Return what the closed buckets of a window are together; do not change it."""
        if window_s in self._totals:
            return self._total(window_s)
        total = self._since(self._current - self._length(window_s) + 1)
        if window_s in self._served:
            self._keep(window_s, total)
        return total

    def _step(self, closing: Sketch | None) -> None:
        """Do what `_jump` does when one bucket closes: nearly always."""
        current, size, width_s = self._current + 1, len(self._closed), self.width_s
        key = None if closing is None else closing.only_key
        for window_s in self._totals:
            length = -(-window_s // width_s)
            left = self._closed[(current - length) % size] if length > 1 else None
            if left is None and (closing is None or length == 1):
                continue
            total = self._total(window_s)
            if isinstance(left, int):
                total.drop_key(left)
            elif left is not None:
                total.subtract(_unpacked(left))
            if key is not None:
                total.add_key(key, censored=False)
            elif closing is not None:
                total.merge(closing)
            if width_s > _OFTEN_S:
                self._keep(window_s, total)

    def _jump(self, current: int, closing: Sketch | None) -> None:
        """Move all windows on to the bucket `current`."""
        before = self._current
        for window_s in self._totals:
            length = self._length(window_s)
            oldest = current - length + 1
            total = self._total(window_s) if oldest <= before else Sketch()
            if oldest <= before:
                for _, packed in self._buckets(before - length + 1, oldest):
                    total.subtract(_unpacked(packed))
                if closing is not None:
                    total.merge(closing)
            self._keep(window_s, total)

    def _length(self, window_s: int) -> int:
        return -(-window_s // self.width_s)

    def _total(self, window_s: int) -> Sketch:
        total = self._totals[window_s]
        return total if isinstance(total, Sketch) else _unpacked(total)

    def _keep(self, window_s: int, total: Sketch) -> None:
        self._totals[window_s] = _packed(total) if self.width_s > _OFTEN_S else total

    def _since(self, first: int) -> Sketch:
        return Sketch.merged(_unpacked(packed) for _, packed in self._buckets(first, self._current))

    def packed(self, start: float) -> Iterator[tuple[int, int | bytes]]:
        """Yield (start, only key or packed latencies) of all buckets from `start` on, for `put`."""
        for index, packed in self._buckets(int(start // self.width_s), self._current):
            yield index * self.width_s, packed
        now = _packed(self.open)
        if now is not None:
            yield self._current * self.width_s, now

    def buckets(self, start: int) -> Iterator[tuple[int, Sketch]]:
        """Yield (start, latencies) of the closed buckets from `start` on that hold some."""
        for index, packed in self._buckets(start // self.width_s, self._current):
            yield index * self.width_s, _unpacked(packed)

    def between(self, start: float, end: float) -> Iterator[Sketch]:
        """Yield the latencies of the buckets that begin in [start, end); do not change them."""
        first, last = math.ceil(start / self.width_s), math.ceil(end / self.width_s)
        for _, packed in self._buckets(first, last):
            yield _unpacked(packed)
        if self.open is not None and first <= self._current < last:
            yield self.open

    def to_bytes(self) -> bytes:
        """Return all closed buckets."""
        parts, filled = [], 0
        for slot, packed in enumerate(self._closed):
            if isinstance(packed, int):
                parts.append(_BUCKET.pack(slot, packed))
            elif packed is not None:
                parts += (_BUCKET.pack(slot, _PACKED | len(packed)), packed)
            filled += packed is not None
        return b"".join((_HEADER.pack(_VERSION, len(self._closed), self._current, filled), *parts))

    def put(self, start: int, latencies: Sketch) -> None:
        """Replace the bucket that begins at `start`, unless that is in the future."""
        index = start // self.width_s
        if index == self._current:
            self.open = latencies
        elif self._current - len(self._closed) < index < self._current:
            self._replace(index, latencies)
            self._totals.clear()

    def load(self, data: bytes) -> int:
        """Take over the closed buckets that `to_bytes` wrote, as far as they are not too old.

        Those ahead of now are dropped. Return the start of the bucket that was open then, of which
        nothing is in `data`.

        Raises:
            DamagedError: these bytes are something else; nothing was changed.
        """
        size, current, slots = _read(data)
        own = len(self._closed)
        closed = _slots(own)
        for slot, packed in slots:
            # The latest bucket before the open one that has this slot.
            index = current - 1 - (current - 1 - slot) % size
            if self._current - own < index < self._current:
                closed[index % own] = packed
        self._closed = closed
        self._totals.clear()
        self.dirty = False
        return current * self.width_s

    def _buckets(self, first: int, end: int) -> Iterator[tuple[int, int | bytes]]:
        size = len(self._closed)
        for index in range(max(first, self._current - size + 1), min(end, self._current)):
            packed = self._closed[index % size]
            if packed is not None:
                yield index, packed

    def _read(self, index: int) -> Sketch:
        return _unpacked(self._closed[index % len(self._closed)])

    def _replace(self, index: int, sketch: Sketch) -> None:
        self._closed[index % len(self._closed)] = _packed(sketch)
        self.dirty = True


def _packed(sketch: Sketch | None) -> Packed:
    if sketch is None or not sketch.count:
        return None
    key = sketch.only_key
    return sketch.to_bytes() if key is None else key


def _unpacked(packed: Packed) -> Sketch:
    if packed is None:
        return Sketch()
    return Sketch.of_key(packed) if isinstance(packed, int) else Sketch.from_bytes(packed)


def _read(data: bytes) -> tuple[int, int, list[tuple[int, int | bytes]]]:
    """Return the number of slots, the open bucket and (slot, bucket) of stored bytes."""
    try:
        version, size, current, filled = _HEADER.unpack_from(data)
        at = _HEADER.size
        slots: list[tuple[int, int | bytes]] = []
        if version != _VERSION or not size:
            raise DamagedError
        for _ in range(filled):
            slot, key = _BUCKET.unpack_from(data, at)
            at += _BUCKET.size
            if slot >= size or (not key & _PACKED and key > HIGHEST_KEY):
                raise DamagedError
            if key & _PACKED:
                at += key ^ _PACKED
                slots.append((slot, data[at - (key ^ _PACKED) : at]))
            else:
                slots.append((slot, key))
        if at != len(data):
            raise DamagedError
    except (struct.error, IndexError, ValueError) as error:
        msg = "damaged latencies"
        raise DamagedError(msg) from error
    return size, current, slots
