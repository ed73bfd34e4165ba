"""The text forms that only configuration files have."""

from __future__ import annotations

import contextlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import values


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("5% of production users", Fraction(1, 20)),
        ("about 12.5 % of users", Fraction(1, 8)),
        ("Internal QA team only", None),
        ("", None),
    ],
)
def test_traffic_is_the_percentage_in_the_text(text: str, share: Fraction | None) -> None:
    """The plan writes prose; no percentage is no figure."""
    assert values.parse_traffic(text) == share


@given(st.decimals(min_value="0.001", max_value="99.999", places=3))
def test_an_objective_is_exactly_its_decimal_text(percent: object) -> None:
    """No float is in between."""
    assert values.parse_objective(f"{percent}% uptime") == Fraction(str(percent)) / 100


@given(st.integers(min_value=1, max_value=10**9))
def test_a_latency_limit_is_exactly_its_decimal_text(milliseconds: int) -> None:
    """Limits are compared with exact fractions."""
    assert values.parse_latency_limit(f"< {milliseconds}ms") == Fraction(milliseconds, 1000)
    assert values.parse_latency_limit(f"<{milliseconds}.5s") == milliseconds + Fraction(1, 2)


def test_the_other_clauses_of_the_plan() -> None:
    """As they stand there."""
    assert values.parse_error_limit("< 0.1%") == Fraction(1, 1000)
    assert values.parse_regions("3+ regions") == 3
    assert values.parse_quantile("p99.9") == Fraction(999, 1000)
    assert values.parse_listen("[::1]:80") == ("::1", 80)
    assert values.parse_network("10.1.2.3") == "10.1.2.3/32"


PARSERS = [
    getattr(values, name)
    for name in dir(values)
    if name.startswith("parse_") and getattr(values, name).__module__ == values.__name__
]
BAD = {
    "parse_url": ["ftp://x", "https://", "x", "https://u:p@x", "https://x:99999", "https://x/?q",
                  "https://a b"],
    "parse_path": ["x", "/a#b", "/\n"],
    "parse_traffic": ["101%", "5%\n"],
    "parse_objective": ["100%", "0%", "99.9", "99.9% availability", "<99%"],
    "parse_latency_limit": ["2500ms", "< 2500", "< 0s", "> 1s", "<"],
    "parse_error_limit": ["0.1%", "< 0.1", "< 0%", "< 101%"],
    "parse_quantile": ["95", "p0", "p100", "p", "p-1", "P95"],
    "parse_regions": ["three", "0+", "3", "3+4"],
    "parse_identifier": ["", "a-b", "1a", "a\n", "é", "x" * 101],
    "parse_text": ["\x1b", "\r\n", "\0"],
    "parse_listen": ["9911", ":80", "h:99999", "h:", "::1:80"],
    "parse_network": ["10.0.0.1/8", "x", ""],
}  # fmt: skip


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
def test_what_is_none_is_refused(parser: object) -> None:
    """With ValueError, whatever the type or the text."""
    assert callable(parser)
    for bad in (None, 5, 0.5, True, [], {}, *BAD[parser.__name__]):
        with pytest.raises(ValueError, match=r"\w"):
            parser(bad)


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
@given(text=st.text())
def test_no_text_raises_anything_else(parser: object, text: str) -> None:
    """Only ValueError is understood by pydantic."""
    assert callable(parser)
    with contextlib.suppress(ValueError):
        parser(text)
