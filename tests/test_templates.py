"""Texts with values in them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.templates import TemplateError, fill, names

TEXTS = {"error_rate_5m": "7.25 %", "deployment": "shop", "value": "7.25 %"}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("nothing to fill", "nothing to fill"),
        ("{{ error_rate_5m }} on {{deployment}}", "7.25 % on shop"),
        ("{{ $value }} on {{ $labels.deployment }}", "7.25 % on shop"),
        ("{{ deployment }}{{ deployment }}", "shopshop"),
        ("} alone and { alone", "} alone and { alone"),
    ],
)
def test_names_stand_for_texts(template: str, text: str) -> None:
    """Also as Prometheus writes them."""
    assert fill(template, TEXTS) == text


@pytest.mark.parametrize(
    ("template", "at", "words"),
    [
        ("on {{ region }}", 3, "there is no region"),
        ("{{ $value | humanize }}", 0, "not a name: '$value | humanize'"),
        ("a {{ }}", 2, "not a name: ''"),
        ("a {{ deployment", 2, "{{ without }}"),
    ],
)
def test_what_cannot_be_filled_says_where(template: str, at: int, words: str) -> None:
    """Whoever wrote it finds the place."""
    with pytest.raises(TemplateError) as caught:
        fill(template, TEXTS)
    assert (caught.value.at, str(caught.value)) == (at, words)


def test_what_a_value_holds_is_not_filled_again() -> None:
    """A target cannot write templates."""
    assert fill("{{ deployment }}", {"deployment": "{{ value }}"}) == "{{ value }}"


@given(st.text())
def test_any_text_is_a_template_or_refused(template: str) -> None:
    """No other error, and what has no names is what it was."""
    with contextlib.suppress(TemplateError):
        assert list(names(template)) or fill(template, {}) == template
