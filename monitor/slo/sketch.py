"""A latency distribution in little memory that can be merged and subtracted exactly.

Logarithmic buckets, each value known to within 1 % (the scheme of DDSketch, Masson, Rim and Lee,
VLDB 2019). The counts stand side by side in one long integer, 32 bits each, so that merging is one
addition and subtracting one subtraction. Owns the buckets and their byte form; knows neither time
nor targets.
"""

from __future__ import annotations

import math
import struct
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import cache
from itertools import accumulate

MIN_S = 1e-6
MAX_S = 86400.0
RELATIVE_ERROR = 0.01

# A little finer than promised, so that rounding in the logarithm never breaks the promise.
_ALPHA = 0.0099
_GAMMA = (1 + _ALPHA) / (1 - _ALPHA)
_LOG_GAMMA = math.log(_GAMMA)
_LOWEST = math.ceil(math.log(MIN_S) / _LOG_GAMMA)
HIGHEST_KEY = math.ceil(math.log(MAX_S) / _LOG_GAMMA) - _LOWEST

_LANE = 32
"""Bits of one count; the highest stays free to notice a borrow."""
_LANE_MASK = (1 << _LANE) - 1
_PAIRS, _BYTES, _SHORTS, _WORDS, _DEFLATED = 1, 2, 3, 4, 5
"""Byte forms: (step, count) pairs, or all counts of the range with 1, 2 or 4 bytes each; and any of
them compressed."""
_WORTH_DEFLATING = 64
_SPARSE = 32
_RAW = -15
"""Deflate without zlib's head and checksum."""
_MAX_BYTES = 1 << 14
_DENSE = {_BYTES: "B", _SHORTS: "H", _WORDS: "I"}
_VARINT_MORE = 0x80
_VARINT_BITS = 63
_DAMAGED = "damaged sketch"
_NOT_CONTAINED = "cannot subtract what was never merged"


def bucket_key(latency_s: float | None) -> int | None:
    """Return the bucket of a latency in seconds, clamped to 1 us..1 day.

    None when there is no latency in it: None, NaN, infinite or negative.
    """
    if latency_s is None or not 0 <= latency_s < math.inf:
        return None
    if latency_s < MIN_S:
        latency_s = MIN_S
    elif latency_s > MAX_S:
        latency_s = MAX_S
    return math.ceil(math.log(latency_s) / _LOG_GAMMA) - _LOWEST


def _latency_s(key: int) -> float:
    middle: float = 2 * _GAMMA ** (key + _LOWEST) / (_GAMMA + 1)
    return middle


class Sketch:
    """Counts of latencies by bucket. A censored latency counts as the time that was waited.

    Up to 2^31 latencies in one bucket.
    """

    __slots__ = ("_base", "_lanes", "censored", "count")

    def __init__(self) -> None:
        """Start empty."""
        self._base = 0
        """Key of the lowest lane."""
        self._lanes = 0
        self.count = 0
        """How many latencies are in it."""
        self.censored = 0
        """How many of them are lower bounds (timeouts)."""

    @classmethod
    def merged(cls, sketches: Iterable[Sketch]) -> Sketch:
        """Return a new sketch of all that is in `sketches`."""
        total = cls()
        for sketch in sketches:
            total.merge(sketch)
        return total

    @classmethod
    def of_key(cls, key: int) -> Sketch:
        """Return a sketch of one latency that is in the bucket `key`."""
        sketch = cls()
        sketch._base, sketch._lanes, sketch.count = key, 1, 1
        return sketch

    @property
    def only_key(self) -> int | None:
        """The bucket of the only latency; None when there are others, or it is a lower bound."""
        if self.count != 1 or self.censored:
            return None
        self._trim()
        return self._base

    def __eq__(self, other: object) -> bool:
        """Two sketches are equal when they hold the same counts."""
        if not isinstance(other, Sketch):
            return False
        mine, theirs = self._aligned(other)
        return mine == theirs and self.censored == other.censored

    __hash__ = None  # type: ignore[assignment] # mutable

    def add(self, latency_s: float, *, censored: bool = False) -> None:
        """Count one latency; one that is not finite or negative is ignored."""
        key = bucket_key(latency_s)
        if key is not None:
            self.add_key(key, censored=censored)

    def add_key(self, key: int, *, censored: bool) -> None:
        """Count one latency of which the bucket is known already."""
        if key >= self._base and self._lanes:
            self._lanes += 1 << (key - self._base) * _LANE
        else:
            if self._lanes:
                self._lanes <<= (self._base - key) * _LANE
            self._base = key
            self._lanes += 1
        self.count += 1
        if censored:
            self.censored += 1

    def drop_key(self, key: int) -> None:
        """Take away one latency that is certainly in it, and not censored."""
        self._lanes -= 1 << (key - self._base) * _LANE
        self.count -= 1

    def merge(self, other: Sketch) -> None:
        """Add all of `other`."""
        if not other._lanes:
            return
        if self._lanes:
            mine, theirs = self._aligned(other)
            self._base = min(self._base, other._base)
            self._lanes = mine + theirs
        else:
            self._base, self._lanes = other._base, other._lanes
        self.count += other.count
        self.censored += other.censored

    def contains(self, other: Sketch) -> bool:
        """Whether all of `other` may have been merged before."""
        if self.censored < other.censored or self.count < other.count:
            return False
        mine, theirs = self._aligned(other)
        guards = _guards(-(-max(mine.bit_length(), theirs.bit_length()) // _LANE))
        # Whatever would borrow takes the guard of its own lane.
        return ((mine | guards) - theirs) & guards == guards

    def subtract(self, other: Sketch) -> None:
        """Take away what was merged before.

        Raises:
            ValueError: `other` was never merged; nothing was changed.
        """
        if not other._lanes:
            return
        if not self.contains(other):
            raise ValueError(_NOT_CONTAINED)
        mine, theirs = self._aligned(other)
        self._base = min(self._base, other._base)
        self._lanes = mine - theirs
        self.count -= other.count
        self.censored -= other.censored
        self._trim()

    def quantile(self, q: Fraction) -> float | None:
        """Return the latency in seconds that a share `q` (0-1) does not exceed, None when empty.

        The nearest rank: the smallest latency with at least `q` of all at or below it.
        """
        if not self.count:
            return None
        rank = max(1, -(-q.numerator * self.count // q.denominator))
        return _latency_s(self._base + bisect_left(list(accumulate(self._counts())), rank))

    def to_bytes(self) -> bytes:
        """Return the compact form; nothing at all when empty."""
        if not self._lanes:
            return b""
        self._trim()
        counts = self._counts()
        filled = len(counts) - counts.count(0)
        form = next(form for form, code in _DENSE.items() if not max(counts) >> 8 * _size(code))
        size = _size(_DENSE[form])
        # Two bytes a pair is the least that the sparse form can take; it is slow to read.
        if filled < _SPARSE and 2 * filled < size * len(counts):
            form = _PAIRS
        out = bytearray((form,))
        _put(out, self.censored)
        if form == _PAIRS:
            previous = -self._base
            for lane, count in enumerate(counts):
                if count:
                    _put(out, lane - previous)
                    _put(out, count)
                    previous = lane
        else:
            _put(out, self._base)
            out += struct.pack(f"<{len(counts)}{_DENSE[form]}", *counts)
        if len(out) > _WORTH_DEFLATING:
            packer = zlib.compressobj(9, zlib.DEFLATED, _RAW)
            packed = bytes((_DEFLATED,)) + packer.compress(out) + packer.flush()
            return min(packed, bytes(out), key=len)
        return bytes(out)

    @classmethod
    def from_bytes(cls, data: bytes) -> Sketch:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: these bytes are something else.
        """
        sketch = cls()
        if not data:
            return sketch
        if data[0] == _DEFLATED:
            data = _inflated(data[1:])
        form = data[0]
        if form == _PAIRS:
            sketch.censored, *pairs = _numbers(data[1:])
            sketch._take_pairs(pairs)
        elif form in _DENSE:
            sketch.censored, at = _number(data, 1)
            sketch._base, at = _number(data, at)
            size = _size(_DENSE[form])
            if (len(data) - at) % size:
                raise ValueError(_DAMAGED)
            sketch._take(struct.unpack(f"<{(len(data) - at) // size}{_DENSE[form]}", data[at:]))
        else:
            msg = f"unknown form of a sketch: {form}"
            raise ValueError(msg)
        if not sketch.count or sketch.censored > sketch.count:
            raise ValueError(_DAMAGED)
        return sketch

    def _take_pairs(self, pairs: Sequence[int]) -> None:
        key, found = 0, {}
        for step, count in zip(pairs[::2], pairs[1::2], strict=True):
            key += step
            if key in found or key > HIGHEST_KEY or not 0 < count < 1 << _LANE - 1:
                raise ValueError(_DAMAGED)
            found[key] = count
        if found:
            self._base = min(found)
            self._take([found.get(key, 0) for key in range(self._base, max(found) + 1)])

    def _take(self, counts: Sequence[int]) -> None:
        if self._base + len(counts) - 1 > HIGHEST_KEY or any(c >> _LANE - 1 for c in counts):
            raise ValueError(_DAMAGED)
        self._lanes = int.from_bytes(struct.pack(f"<{len(counts)}I", *counts), "little")
        self.count = sum(counts)

    def _counts(self) -> tuple[int, ...]:
        """Return the counts of all buckets from the lowest to the highest."""
        lanes = -(-self._lanes.bit_length() // _LANE)
        return struct.unpack(f"<{lanes}I", self._lanes.to_bytes(lanes * 4, "little"))

    def _aligned(self, other: Sketch) -> tuple[int, int]:
        """Return both counts from the same lowest key on."""
        mine, theirs = self._lanes, other._lanes
        shift = (other._base - self._base) * _LANE
        if not mine or not theirs or not shift:
            return mine, theirs
        return (mine, theirs << shift) if shift > 0 else (mine << -shift, theirs)

    def _trim(self) -> None:
        """Forget empty buckets at the lower end."""
        lanes = self._lanes
        if not lanes:
            self._base = 0
        elif not lanes & _LANE_MASK:
            empty = ((lanes & -lanes).bit_length() - 1) // _LANE
            self._lanes >>= empty * _LANE
            self._base += empty


@cache
def _guards(lanes: int) -> int:
    """Return the highest bit of each lane."""
    return sum(1 << (lane + 1) * _LANE - 1 for lane in range(lanes))


def _size(code: str) -> int:
    return struct.calcsize(f"<{code}")


def _inflated(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(_RAW)
    try:
        inflated = unpacker.decompress(data, _MAX_BYTES)
    except zlib.error as error:
        raise ValueError(_DAMAGED) from error
    if not inflated or not unpacker.eof or unpacker.unused_data:
        raise ValueError(_DAMAGED)
    return inflated


def _put(out: bytearray, number: int) -> None:
    while number >= _VARINT_MORE:
        out.append(number & 0x7F | _VARINT_MORE)
        number >>= 7
    out.append(number)


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Return one number and where it ends."""
    number = shift = 0
    while at < len(data) and shift < _VARINT_BITS:
        number |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not data[at - 1] & _VARINT_MORE:
            return number, at
    raise ValueError(_DAMAGED)


def _numbers(data: bytes) -> list[int]:
    numbers, at = [], 0
    while at < len(data):
        number, at = _number(data, at)
        numbers.append(number)
    if not numbers:
        raise ValueError(_DAMAGED)
    return numbers
