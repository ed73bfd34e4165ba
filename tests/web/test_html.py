"""Markup that is safe by construction."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.web.html import Markup, join, tag

TEXT = st.text(st.characters(exclude_characters="\r\x00", exclude_categories=("Cs", "Cc")))


class Reader(HTMLParser):
    """Collects text and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []
        self.attributes: dict[str, str | None] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.update(attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


@given(TEXT, TEXT)
def test_whatever_the_text_it_stays_text(text: str, title: str) -> None:
    """A browser reads back exactly what went in, as text and as attribute, and no other tag."""
    read = Reader(tag("p", text, title=title))
    assert (read.text, read.attributes["title"], read.tags) == (text, title, ["p"])


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (tag("p", "a", None, "b"), "<p>ab</p>"),
        (tag("p", [tag("b", "<"), ["&"]]), "<p><b>&lt;</b>&amp;</p>"),
        (tag("p", class_="x", data_name="y", id=None), '<p class="x" data-name="y"></p>'),
        (tag("meta", name="viewport"), '<meta name="viewport"/>'),
        (join("<", Markup("<br/>")), "&lt;<br/>"),
    ],
)
def test_elements(made: Markup, expected: str) -> None:
    """Children nest, nothing is nothing, and only markup is taken as markup."""
    assert made == expected
