"""How a deployment did around the onset of an incident, as one small PNG.

Pure: a course in, bytes out. Draws on its own light ground, so that it reads the same in light and
in dark mail clients; large letters, because it is looked at on a phone.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from PIL import Image, ImageDraw, ImageFont

from monitor.model import Course

WIDTH_PX, HEIGHT_PX = 600, 390
"""As it is meant to be shown; the file has twice as many each way, for fine screens."""
_FILE, _FINE = 2, 4
"""Pixels of the file, and of the drawing that is scaled down to it, for each one shown."""
_COLOURS = 64
_LEFT, _RIGHT, _TOP, _PANEL, _GAP = 88, 18, 40, 124, 62
_SMALL, _LARGE = 18, 20
_GROUND, _INK, _FAINT, _GRID, _UNKNOWN = "#ffffff", "#1f2933", "#52606d", "#e4e7eb", "#eceff2"
_ERROR, _LATENCY, _LIMIT, _ONSET = "#c81e1e", "#1d4ed8", "#b45309", "#1f2933"
_STEPS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
_LEAST = 1e-3
"""A scale ends at least here: 0.1 %, 1 ms."""
_TICKS = 4
_SECOND_MS = 1000

Values = Sequence[float | None]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Panel:
    """One curve over time with its own scale from 0 to `highest`."""

    title: str
    values: Values
    limit: float | None
    colour: str
    said: Callable[[float], str]
    top: float
    highest: float


def draw(course: Course) -> bytes | None:
    """Return the picture as PNG; None when there is nothing to draw a line between."""
    panels = list(_panels(course))
    if not panels or len(course.at) < 2:  # noqa: PLR2004 - two points make a line
        return None
    height = HEIGHT_PX if len(panels) > 1 else HEIGHT_PX - _PANEL - _GAP
    image = Image.new("RGB", (WIDTH_PX * _FINE, height * _FINE), _GROUND)
    canvas = _Canvas(image, course)
    for panel in panels:
        canvas.panel(panel)
    canvas.times(panels[-1].top + _PANEL)
    small = image.reduce(_FINE // _FILE)
    packed = io.BytesIO()
    small.quantize(_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
        packed, "PNG"
    )
    return packed.getvalue()


def _panels(course: Course) -> Iterator[_Panel]:
    top = float(_TOP)
    for title, values, limit, colour, said, most in (
        ("Error rate", course.error_ratio, course.error_limit, _ERROR, _percent, 1.0),
        (
            "Latency, 95th percentile",
            course.latency_s,
            course.latency_limit_s,
            _LATENCY,
            _time,
            math.inf,
        ),
    ):
        known = [value for value in values if value is not None]
        if known:
            yield _Panel(
                title=title,
                values=values,
                limit=limit,
                colour=colour,
                said=said,
                top=top,
                highest=min(most, _round_up(1.05 * max(*known, limit or 0.0, _LEAST))),
            )
            top += _PANEL + _GAP


class _Canvas:
    """Draws in pixels as they are shown."""

    def __init__(self, image: Image.Image, course: Course) -> None:
        self._draw = ImageDraw.Draw(image)
        self._course = course
        self._step_s = course.at[1] - course.at[0]
        self._start, self._end = course.at[0], course.at[-1] + self._step_s
        self._small, self._large = (
            ImageFont.load_default(size * _FINE) for size in (_SMALL, _LARGE)
        )

    def panel(self, panel: _Panel) -> None:
        bottom = panel.top + _PANEL
        self._text((_LEFT, panel.top - 12), panel.title, _INK, "ls", large=True)
        self._latest(panel)
        self._unmeasured(panel)
        for share in (0.0, 0.5, 1.0):
            y = bottom - share * _PANEL
            self._line([(_LEFT, y), (WIDTH_PX - _RIGHT, y)], _GRID, 1)
            self._text((_LEFT - 8, y), panel.said(share * panel.highest), _FAINT, "rm")
        for run in self._runs(panel):
            base = [(run[-1][0], bottom), (run[0][0], bottom)]
            self._fill([*run, *base], _tint(panel.colour))
            self._line(run, panel.colour, 2.5)
        self._limit(panel)
        self._onset(panel.top, bottom, named=panel.top == _TOP)

    def times(self, bottom: float) -> None:
        span = self._end - self._start
        for number in range(_TICKS):
            at = self._start + span * number / (_TICKS - 1)
            anchor = "l" if not number else "r" if number == _TICKS - 1 else "m"
            zone = " UTC" if number == _TICKS - 1 else ""
            self._text((self._x(at), bottom + 8), f"{_clock(at)}{zone}", _FAINT, f"{anchor}t")

    def _latest(self, panel: _Panel) -> None:
        latest = next((value for value in reversed(panel.values) if value is not None), None)
        if latest is not None:
            right = WIDTH_PX - _RIGHT
            said = f"last {panel.said(latest)}"
            self._text((right, panel.top - 12), said, panel.colour, "rs", large=True)

    def _unmeasured(self, panel: _Panel) -> None:
        for at, value in zip(self._course.at, panel.values, strict=True):
            if value is None:
                left, right = self._x(at), self._x(at + self._step_s)
                corners = [(left, panel.top), (right, panel.top)]
                corners += [(right, panel.top + _PANEL), (left, panel.top + _PANEL)]
                self._fill(corners, _UNKNOWN)

    def _runs(self, panel: _Panel) -> Iterator[list[Point]]:
        """Yield the stretches that were measured, each step as high as its value."""
        run: list[Point] = []
        for at, value in zip(self._course.at, panel.values, strict=True):
            if value is None:
                if run:
                    yield run
                run = []
                continue
            y = panel.top + _PANEL * (1 - min(1.0, value / panel.highest))
            run += [(self._x(at), y), (self._x(at + self._step_s), y)]
        if run:
            yield run

    def _limit(self, panel: _Panel) -> None:
        if panel.limit is None:
            return
        y = panel.top + _PANEL * (1 - min(1.0, panel.limit / panel.highest))
        self._dashes((_LEFT, y), (WIDTH_PX - _RIGHT, y), _LIMIT)
        # Below the line where there is no room above it.
        anchor, off = ("ls", -5) if y - panel.top > _SMALL + 6 else ("lt", 5)
        said = f"limit {panel.said(panel.limit)}"
        self._text((_LEFT + 6, y + off), said, _LIMIT, anchor, halo=True)

    def _onset(self, top: float, bottom: float, *, named: bool) -> None:
        onset = self._course.onset_at
        if self._start <= onset <= self._end:
            x = self._x(onset)
            self._dashes((x, top), (x, bottom), _ONSET)
            if named:
                left = x > WIDTH_PX / 2
                place = (x - 6 if left else x + 6, top + 6)
                anchor = "rt" if left else "lt"
                self._text(place, f"began {_clock(onset)}", _ONSET, anchor, halo=True)

    def _x(self, at: float) -> float:
        share = (at - self._start) / (self._end - self._start)
        return _LEFT + share * (WIDTH_PX - _LEFT - _RIGHT)

    def _line(self, points: Sequence[Point], colour: str, width: float) -> None:
        fine = [(x * _FINE, y * _FINE) for x, y in points]
        self._draw.line(fine, colour, round(width * _FINE), joint="curve")

    def _fill(self, points: Sequence[Point], colour: str) -> None:
        self._draw.polygon([(x * _FINE, y * _FINE) for x, y in points], colour)

    def _dashes(self, start: Point, end: Point, colour: str) -> None:
        (x0, y0), (x1, y1) = start, end
        count = max(1, round(math.dist(start, end) / 6))
        for number in range(0, count, 2):
            near, far = number / count, (number + 1) / count
            points = [(x0 + (x1 - x0) * part, y0 + (y1 - y0) * part) for part in (near, far)]
            self._line(points, colour, 1.5)

    def _text(
        self,
        place: Point,
        text: str,
        colour: str,
        anchor: str,
        *,
        large: bool = False,
        halo: bool = False,
    ) -> None:
        """Write `text`; a halo keeps it readable over a curve."""
        x, y = place
        self._draw.text(
            (x * _FINE, y * _FINE),
            text,
            colour,
            self._large if large else self._small,
            anchor,
            stroke_width=3 * _FINE if halo else 0,
            stroke_fill=_GROUND,
        )


def _round_up(value: float) -> float:
    unit = 10.0 ** math.floor(math.log10(value))
    return next((step * unit for step in _STEPS if step * unit >= value), 10 * unit)


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.3g} %"


def _time(seconds: float) -> str:
    return f"{seconds * _SECOND_MS:.3g} ms" if 0 < seconds < 1 else f"{seconds:.3g} s"


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M")


def _tint(colour: str) -> str:
    """Return `colour` as a light ground."""
    parts = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(255 - (255 - part) * 0.16):02x}" for part in parts)
