"""The latency sketch against exact answers."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.slo.sketch import MAX_S, MIN_S, RELATIVE_ERROR, Sketch, bucket_key

latencies = st.lists(st.floats(MIN_S, MAX_S), max_size=60)
shares = st.integers(1, 999).map(lambda n: Fraction(n, 1000))


def sketch_of(values: list[float], *, censored: bool = False) -> Sketch:
    sketch = Sketch()
    for value in values:
        sketch.add(value, censored=censored)
    return sketch


@given(latencies.filter(bool), shares)
def test_quantiles_are_within_one_percent_of_the_exact_rank(
    values: list[float], q: Fraction
) -> None:
    """A quantile is the nearest rank's value, at most 1 % off."""
    exact = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
    found = sketch_of(values).quantile(q)
    assert found is not None
    assert abs(found - exact) <= RELATIVE_ERROR * exact


@given(latencies, latencies)
def test_merging_is_counting_together_and_subtracting_undoes_it(
    left: list[float], right: list[float]
) -> None:
    """Merge equals counting all in one sketch; subtract leaves no trace."""
    merged = sketch_of(left)
    merged.merge(sketch_of(right, censored=True))
    assert merged.count == len(left) + len(right)
    assert merged.censored == len(right)
    assert merged == Sketch.merged([sketch_of(left), sketch_of(right, censored=True)])
    merged.subtract(sketch_of(right, censored=True))
    assert merged == sketch_of(left)


@given(latencies, latencies)
def test_bytes_bring_back_the_same_sketch(plain: list[float], censored: list[float]) -> None:
    """A stored sketch reads back equal."""
    sketch = sketch_of(plain)
    sketch.merge(sketch_of(censored, censored=True))
    assert Sketch.from_bytes(sketch.to_bytes()) == sketch


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda tail: b"\x01" + tail))
def test_garbage_is_a_value_error_and_nothing_else(data: bytes) -> None:
    """Any bytes either are a sketch or raise ValueError."""
    try:
        sketch = Sketch.from_bytes(data)
    except ValueError:
        return
    assert Sketch.from_bytes(sketch.to_bytes()) == sketch
    sketch.quantile(Fraction(99, 100))


@pytest.mark.parametrize(
    "data",
    [
        b"\x07\x00\x05\x01",
        b"\x01",
        b"\x01\x00",
        b"\x01\x00\x05",
        b"\x01\x00\x05\x00",
        b"\x01\x02\x05\x01",
        b"\x01\x00\x05\x01\x00\x01",
        b"\x01\x00\xff\x7f\x01",
        b"\x01\x00\x05\x81",
        b"\x01" + b"\xff" * 12 + b"\x01",
    ],
    ids=[
        "version",
        "nothing",
        "no pair",
        "half a pair",
        "zero count",
        "more censored than counted",
        "same bucket twice",
        "bucket out of range",
        "cut number",
        "endless number",
    ],
)
def test_each_kind_of_damage_is_refused(data: bytes) -> None:
    """Damage never becomes a distribution."""
    with pytest.raises(ValueError, match=r"sketch|zip"):
        Sketch.from_bytes(data)


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, -1e-9])
def test_what_is_no_latency_has_no_bucket(value: float | None) -> None:
    """NaN, infinite and negative times are ignored, never raised."""
    assert bucket_key(value) is None
    sketch = Sketch()
    if value is not None:
        sketch.add(value)
    assert sketch.count == 0


@pytest.mark.parametrize(
    ("value", "clamped"), [(0.0, MIN_S), (1e-300, MIN_S), (1e9, MAX_S), (-0.0, MIN_S)]
)
def test_latencies_are_clamped_to_the_range(value: float, clamped: float) -> None:
    """Zero and absurd times count at the ends of the range."""
    assert bucket_key(value) == bucket_key(clamped)


def test_an_empty_sketch_has_no_quantile_and_no_bytes() -> None:
    """No data is None."""
    assert Sketch().quantile(Fraction(1, 2)) is None
    assert Sketch().to_bytes() == b""
    assert Sketch.from_bytes(b"") == Sketch()


@pytest.mark.parametrize(("held", "taken"), [([1.0], [2.0]), ([1.0], [1.0, 1.0])])
def test_subtracting_what_is_not_there_is_an_error(held: list[float], taken: list[float]) -> None:
    """Counts never go below zero in silence."""
    with pytest.raises(ValueError, match="never merged"):
        sketch_of(held).subtract(sketch_of(taken))
    with pytest.raises(ValueError, match="never merged"):
        sketch_of(held).subtract(sketch_of(held, censored=True))


def test_a_sketch_of_a_month_stays_small() -> None:
    """Memory depends on the spread of latencies, not on their number."""
    sketch = sketch_of([0.05 * 1.0001**step for step in range(20_000)])
    assert len(sketch.to_bytes()) < 500
