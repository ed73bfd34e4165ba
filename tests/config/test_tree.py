"""Places in documents."""

from __future__ import annotations

import pytest

from monitor.config.loader import parse
from monitor.config.tree import Scalar, follow


@pytest.mark.parametrize(
    ("text", "line", "col"),
    [
        ("a: x > bogus", 1, 8),
        ("é: x > bogus", 1, 8),
        ("a: 'x > bogus'", 1, 9),
        ('a: "x > bogus"', 1, 9),
        ("a: x >\n   bogus", 2, 4),
        ("a: |\n  x >\n    bogus", 3, 5),
        ("a: >- # why\n\n  x >\n  bogus", 4, 3),
        ("a: 'x >\r\n  bogus'", 2, 3),
        ('a: "x \\x3e bogus"', 1, 4),
    ],
)
def test_an_offset_in_a_text_is_found_in_the_file(text: str, line: int, col: int) -> None:
    """Quotes, folding and indentation are seen through; escapes fall back to the start."""
    document = parse(text.encode(), "f")
    steps = (text[0],)
    node = follow(document.root, *steps)
    assert isinstance(node, Scalar)
    error = document.error_in(steps, node.text.index("bogus"), "unknown")
    assert (error.line, error.col) == (line, col)


def test_an_offset_past_the_end_is_after_the_last_character() -> None:
    """A condition that stops too early is marked where it should go on."""
    document = parse(b"a: x >", "f")
    error = document.error_in(("a",), 3, "unexpected end")
    assert (error.line, error.col) == (1, 7)


def test_a_missing_thing_is_placed_at_what_should_hold_it() -> None:
    """An error about a key that is not there points at its mapping."""
    error = parse(b"a:\n  b: 1", "f").error(("a", "c"), "missing")
    assert str(error) == "f:2:3: a.c: missing"


def test_numbers_keep_their_text() -> None:
    """99.90 and 99.9 are the same number, but not the same text."""
    node = follow(parse(b"a: 99.90", "f").root, "a")
    assert isinstance(node, Scalar)
    assert (node.text, node.value) == ("99.90", 99.9)
