"""Paths into a JSON document."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.probes.http.jsonpath import MISSING, look_up, parse_path

DOCUMENT = {"a": {"b": [{"c": 1}, None]}, "0": "text", "x.y": True, "it's": 2}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$", DOCUMENT),
        ("$.a.b[0].c", 1),
        ("$.a.b[0]['c']", 1),
        ("a.b[0].c", 1),
        ('["a"].b[1]', None),
        ("$['x.y']", True),
        ('$["it\'s"]', 2),
        ("$['0']", "text"),
        ("$.a.b[2]", MISSING),
        ("$.a.b.c", MISSING),
        ("$.a[0]", MISSING),
        ("$[0]", MISSING),
        ("nope.deeper", MISSING),
        ("$.a.b[1].c", MISSING),
    ],
)
def test_look_up(path: str, value: object) -> None:
    """A path names one place; null is a value, and what is not there is missing."""
    assert (
        look_up(DOCUMENT, parse_path(path)) is value or look_up(DOCUMENT, parse_path(path)) == value
    )


@pytest.mark.parametrize(
    "path",
    ["", "$.", "$..a", "$.a[", "$.a[-1]", "$.*", "$.a[?(@.b)]", "$.a b", "a.", ".a", "$a", "$['a]"],
)
def test_not_a_path(path: str) -> None:
    """Anything beyond names and indexes is an error when it is loaded."""
    with pytest.raises(ValueError, match="expected a JSON path"):
        parse_path(path)


@given(st.lists(st.text().filter(lambda name: "'" not in name) | st.integers(0, 999), max_size=4))
def test_every_name_can_be_written(steps: list[str | int]) -> None:
    """Brackets reach every member whose name holds no single quote."""
    path = "$" + "".join(f"['{step}']" if isinstance(step, str) else f"[{step}]" for step in steps)
    assert parse_path(path) == tuple(steps)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=10,
)


@given(st.text(max_size=30) | st.text(alphabet="$.[]'\"ab01-_", max_size=20), JSON)
def test_no_text_breaks_the_parser_and_no_document_the_look_up(text: str, document: object) -> None:
    """Arbitrary text is a path or a ValueError, and a path leads somewhere in any document."""
    with contextlib.suppress(ValueError):
        look_up(document, parse_path(text))
