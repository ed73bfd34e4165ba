"""How figures, times and states are written for people on the page."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from fractions import Fraction
from urllib.parse import urlsplit

from monitor.slo.signal import Unit
from monitor.web.html import Markup, join, tag

NO_DATA = "no data"
_AGES = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))

_SHAPES = {
    "ok": "M3.5 8.5l3 3 6-7",
    "bad": "M4 4l8 8M12 4l-8 8",
    "warn": "M8 3.5v5.5M8 11.8v.7",
    "busy": "M8 4v4l3 2",
    "none": "M4.5 8h7",
}
"""Strokes inside a 16x16 outline; the outline differs too, so that no colour is needed."""


def mark(kind: str) -> Markup:
    """Return the sign of a state: ok, warn, bad, busy or none."""
    if kind == "warn":
        outline = tag("path", d="M8 1.2L15 14.5H1z", class_="outline")
    elif kind == "bad":
        outline = tag("rect", x="1", y="1", width="14", height="14", rx="2", class_="outline")
    else:
        outline = tag("circle", cx="8", cy="8", r="7", class_="outline")
    shape = tag("path", d=_SHAPES[kind])
    return tag(
        "svg", outline, shape, class_=f"mark {kind}", viewBox="0 0 16 16", aria_hidden="true"
    )


def state(kind: str, text: str) -> Markup:
    """Return a sign with its word."""
    return tag("span", mark(kind), tag("span", text), class_=f"state {kind}")


def figure(value: float | Fraction | None, unit: Unit) -> Markup:
    """Return a value with its unit; no data in words."""
    if value is None:
        return tag("span", NO_DATA, class_="absent")
    number, suffix = number_text(float(value), unit)
    return join(number, tag("small", suffix) if suffix else None)


def number_text(value: float, unit: Unit) -> tuple[str, str]:
    """Return (number, suffix). A percentage is never rounded to 0 or 100 that is not quite so."""
    if unit is Unit.PERCENT:
        return _percent(value), " %"
    if unit is Unit.MS:
        return (f"{value:.1f}" if abs(value) < 10 else f"{value:,.0f}"), " ms"  # noqa: PLR2004
    if unit is Unit.DAYS:
        return f"{value:.1f}", " d"
    if unit is Unit.RATIO:
        return f"{value:.3g}", ""
    return f"{value:,.0f}", ""


def _percent(value: float) -> str:
    if abs(value) > 100:  # noqa: PLR2004 - more than a whole: an overspent budget
        return f"{value:,.0f}"
    text = f"{value:.3f}".rstrip("0").rstrip(".")
    if text in {"0", "-0"} and value != 0:
        return "<0.001" if value > 0 else ">-0.001"
    if text == "100" and value < 100:  # noqa: PLR2004 - a whole of percent
        return "99.999"
    return text


def duration_text(seconds: float) -> str:
    """Return a duration in its two largest units: `3h 12m`."""
    parts: list[str] = []
    rest = max(0, math.floor(seconds))
    for size, unit in _AGES:
        count, rest = divmod(rest, size)
        if count or parts or unit == "s":
            parts.append(f"{count}{unit}")
        if len(parts) == 2:  # noqa: PLR2004 - the two largest
            break
    return " ".join(parts)


def moment(at: float, now: float) -> Markup:
    """Return a time as its age, with the full time (UTC) in the title."""
    when = datetime.fromtimestamp(at, UTC)
    age = f"{duration_text(now - at)} ago" if at <= now else f"in {duration_text(at - now)}"
    return tag(
        "time",
        clock_text(at, now),
        tag("span", age, class_="age"),
        datetime=when.isoformat(timespec="seconds"),
        title=f"{when:%Y-%m-%d %H:%M:%S} UTC",
    )


def clock_text(at: float, now: float) -> str:
    """Return the time of day in UTC, with the date unless it is today's."""
    when, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC)
    return f"{when:%H:%M:%S}" if when.date() == today.date() else f"{when:%b %d %H:%M}"


def link(url: str) -> Markup:
    """Return a link without the credentials that a URL may carry; only http leads anywhere."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return tag("span", url)
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    if parts.scheme not in {"http", "https"}:
        return tag("span", shown)
    return tag("a", shown, href=shown, rel="noreferrer noopener")
