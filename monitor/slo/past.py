"""What schema version 2 kept: single buckets of 10 s, 5 min and 1 h."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise

from monitor.model import BucketRow
from monitor.slo.levels import summed
from monitor.slo.sketch import Sketch

_WIDTHS = (10, 300, 3600)


class Past:
    """Stored buckets by width and start."""

    def __init__(self) -> None:
        """Start empty."""
        self.counts: dict[int, dict[int, list[int]]] = {width_s: {} for width_s in _WIDTHS}
        self._latencies: dict[int, dict[int, Sketch]] = {width_s: {} for width_s in _WIDTHS}

    def take(self, row: BucketRow) -> bool:
        """Take a row; return whether it was of use."""
        try:
            self._latencies[row.width_s][row.start] = Sketch.from_bytes(row.sketch)
        except (KeyError, ValueError):
            return False
        counts = [row.good, row.bad, row.unknown, row.up_ms, row.down_ms]
        self.counts[row.width_s][row.start] = counts
        return True

    def complete(self) -> None:
        """Put wide buckets together from narrow ones.

        Of a bucket that was never completed, or only by half, the narrow ones know more.
        """
        for narrow_s, wide_s in pairwise(_WIDTHS):
            counts, latencies = self.counts[wide_s], self._latencies[wide_s]
            together = merged(self._latencies[narrow_s], wide_s)
            for start, known in summed(self.counts[narrow_s], wide_s).items():
                if sum(known[:3]) > sum(counts.get(start, ())[:3]):
                    counts[start] = known
                    latencies[start] = together.get(start, Sketch())

    def finest(self, width_s: int) -> Mapping[int, Sketch]:
        """Return the latencies that buckets of `width_s` are made of: the widest that fit."""
        return self._latencies[max(each for each in _WIDTHS if each <= width_s)]


def merged(buckets: Mapping[int, Sketch], width_s: int) -> dict[int, Sketch]:
    """Return what `buckets`, by start, are together in buckets of `width_s`."""
    sums: dict[int, Sketch] = defaultdict(Sketch)
    for start, sketch in buckets.items():
        sums[start // width_s * width_s].merge(sketch)
    return sums
