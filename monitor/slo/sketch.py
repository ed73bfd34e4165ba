"""A latency distribution in little memory that can be merged and subtracted exactly.

Logarithmic buckets, each value known to within 1 %. Owns the buckets and their byte form; knows
neither time nor targets.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

MIN_S = 1e-6
MAX_S = 86400.0
RELATIVE_ERROR = 0.01

# A little finer than promised, so that rounding in the logarithm never breaks the promise.
_ALPHA = 0.0099
_GAMMA = (1 + _ALPHA) / (1 - _ALPHA)
_LOG_GAMMA = math.log(_GAMMA)
_LOWEST = math.ceil(math.log(MIN_S) / _LOG_GAMMA)
_HIGHEST_KEY = math.ceil(math.log(MAX_S) / _LOG_GAMMA) - _LOWEST

_VERSION = 1
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
    clamped = min(max(latency_s, MIN_S), MAX_S)
    return math.ceil(math.log(clamped) / _LOG_GAMMA) - _LOWEST


def _latency_s(key: int) -> float:
    middle: float = 2 * _GAMMA ** (key + _LOWEST) / (_GAMMA + 1)
    return middle


class Sketch:
    """Counts of latencies by bucket. A censored latency counts as the time that was waited."""

    __slots__ = ("_buckets", "censored")

    def __init__(self) -> None:
        """Start empty."""
        self._buckets: dict[int, int] = {}
        self.censored = 0
        """How many of them are lower bounds (timeouts)."""

    @classmethod
    def merged(cls, sketches: Iterable[Sketch]) -> Sketch:
        """Return a new sketch of all that is in `sketches`."""
        total = cls()
        for sketch in sketches:
            total.merge(sketch)
        return total

    @property
    def count(self) -> int:
        """How many latencies are in it."""
        return sum(self._buckets.values())

    def __eq__(self, other: object) -> bool:
        """Two sketches are equal when they hold the same counts."""
        return (
            isinstance(other, Sketch)
            and self._buckets == other._buckets
            and self.censored == other.censored
        )

    __hash__ = None  # type: ignore[assignment] # mutable

    def add(self, latency_s: float, *, censored: bool = False) -> None:
        """Count one latency; one that is not finite or negative is ignored."""
        key = bucket_key(latency_s)
        if key is not None:
            self.add_key(key, censored=censored)

    def add_key(self, key: int, *, censored: bool) -> None:
        """Count one latency of which the bucket is known already."""
        self._buckets[key] = self._buckets.get(key, 0) + 1
        if censored:
            self.censored += 1

    def merge(self, other: Sketch) -> None:
        """Add all of `other`."""
        mine = self._buckets
        if mine:
            for key, count in other._buckets.items():
                mine[key] = mine.get(key, 0) + count
        else:
            self._buckets = other._buckets.copy()
        self.censored += other.censored

    def contains(self, other: Sketch) -> bool:
        """Whether all of `other` may have been merged before."""
        mine = self._buckets
        return self.censored >= other.censored and all(
            mine.get(key, 0) >= count for key, count in other._buckets.items()
        )

    def subtract(self, other: Sketch) -> None:
        """Take away what was merged before.

        Raises:
            ValueError: `other` was never merged; the sketch is of no use any more.
        """
        mine = self._buckets
        for key, count in other._buckets.items():
            left = mine.pop(key, 0) - count
            if left > 0:
                mine[key] = left
            elif left < 0:
                raise ValueError(_NOT_CONTAINED)
        self.censored -= other.censored
        if self.censored < 0:
            raise ValueError(_NOT_CONTAINED)

    def quantile(self, q: Fraction) -> float | None:
        """Return the latency in seconds that a share `q` (0-1) does not exceed, None when empty.

        The nearest rank: the smallest latency with at least `q` of all at or below it.
        """
        rank = max(1, -(-q.numerator * self.count // q.denominator))
        seen = 0
        for key in sorted(self._buckets):
            seen += self._buckets[key]
            if seen >= rank:
                return _latency_s(key)
        return None

    def to_bytes(self) -> bytes:
        """Return the compact form; nothing at all when empty."""
        if not self._buckets:
            return b""
        out = bytearray((_VERSION,))
        _put(out, self.censored)
        previous = 0
        for key in sorted(self._buckets):
            _put(out, key - previous)
            _put(out, self._buckets[key])
            previous = key
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
        if data[0] != _VERSION:
            msg = f"unknown sketch version {data[0]}"
            raise ValueError(msg)
        sketch.censored, *pairs = _numbers(data[1:])
        key = 0
        for step, count in zip(pairs[::2], pairs[1::2], strict=True):
            key += step
            if key in sketch._buckets or key > _HIGHEST_KEY or count == 0:
                raise ValueError(_DAMAGED)
            sketch._buckets[key] = count
        if not pairs or sketch.censored > sketch.count:
            raise ValueError(_DAMAGED)
        return sketch


def _put(out: bytearray, number: int) -> None:
    while number >= _VARINT_MORE:
        out.append(number & 0x7F | _VARINT_MORE)
        number >>= 7
    out.append(number)


def _numbers(data: bytes) -> list[int]:
    numbers, number, shift = [], 0, 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        if byte & _VARINT_MORE:
            shift += 7
            if shift >= _VARINT_BITS:
                raise ValueError(_DAMAGED)
        else:
            numbers.append(number)
            number, shift = 0, 0
    if shift or not numbers:
        raise ValueError(_DAMAGED)
    return numbers
