"""The picture of a page: small, on its own ground, and never an error."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from monitor.model import Course
from monitor.notify.picture import HEIGHT_PX, WIDTH_PX, draw
from tests.notify.samples import course

SIZE_LIMIT = 40_000
ratio = st.none() | st.floats(0, 1)
latency = st.none() | st.floats(0, 1e6)


def opened(picture: bytes | None) -> Image.Image:
    assert picture is not None
    assert len(picture) < SIZE_LIMIT
    return Image.open(io.BytesIO(picture)).convert("RGB")


def test_both_curves_are_drawn_on_a_light_ground() -> None:
    """Twice as fine as it is shown, red and blue above white, whatever the mail client's theme."""
    image = opened(draw(course()))
    assert image.size == (2 * WIDTH_PX, 2 * HEIGHT_PX)
    assert min(image.getpixel((0, 0))) >= 250
    colours = [colour for _, colour in image.getcolors(1 << 20) or []]
    assert any(r > 180 and g < 60 and b < 60 for r, g, b in colours)
    assert any(b > 180 and r < 60 for r, g, b in colours)


def test_the_onset_and_the_limit_are_marked() -> None:
    """A course with a limit and an onset inside differs from the same without either."""
    whole = course()
    bare = replace(whole, onset_at=0.0)
    unlimited = replace(whole, error_limit=None, latency_limit_s=None)
    assert len({draw(whole), draw(bare), draw(unlimited)}) == 3


@pytest.mark.parametrize(
    ("changes", "height"),
    [({"latency_s": (None,) * 60}, 204), ({"error_ratio": (None,) * 60}, 204)],
)
def test_what_was_not_measured_takes_no_room(changes: dict[str, object], height: int) -> None:
    """A refused connection has no latency: one curve is left, in a lower picture."""
    assert opened(draw(replace(course(), **changes))).size[1] == 2 * height


def test_without_data_there_is_no_picture() -> None:
    """Nothing measured, or a single step, draws nothing."""
    empty = replace(course(), error_ratio=(None,) * 60, latency_s=(None,) * 60)
    single = Course(at=(0.0,), error_ratio=(0.5,), latency_s=(0.1,), onset_at=0.0)
    assert (draw(empty), draw(single)) == (None, None)


@settings(max_examples=10, deadline=None)
@given(
    points=st.lists(st.tuples(ratio, latency), min_size=2, max_size=60),
    error_limit=ratio,
    latency_limit=latency,
    onset=st.floats(0, 7200),
)
def test_any_course_is_a_small_picture(
    points: list[tuple[float | None, float | None]],
    error_limit: float | None,
    latency_limit: float | None,
    onset: float,
) -> None:
    """Gaps, zeros, single points and absurd values never raise and never grow the mail."""
    errors, latencies = zip(*points, strict=True)
    picture = draw(
        Course(
            at=tuple(60.0 * number for number in range(len(points))),
            error_ratio=errors,
            latency_s=latencies,
            onset_at=onset,
            error_limit=error_limit,
            latency_limit_s=latency_limit,
        )
    )
    assert picture is None or len(picture) < SIZE_LIMIT
