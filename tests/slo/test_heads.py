"""The heads of a deployment in one row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.model import WindowRow
from monitor.slo.heads import PART, Heads, owner_of
from monitor.slo.levels import HEAD


def head(owner: str, data: bytes, at: float = 10.0) -> WindowRow:
    return WindowRow(owner=owner, part=HEAD, at=at, data=data)


@given(st.dictionaries(st.text(max_size=20), st.binary(max_size=50), min_size=1, max_size=5))
def test_what_is_gathered_is_what_is_spread(found: dict[str, bytes]) -> None:
    """Whatever owners are called and their heads hold."""
    rows = [head(owner, data) for owner, data in found.items()]
    [row] = Heads().gather("web", rows)
    assert (row.owner, row.part, row.at) == (owner_of("web"), PART, 10.0)
    assert list(Heads().spread("web", row)) == rows


def test_heads_that_did_not_change_stay_in_the_row() -> None:
    """Also those that an earlier process wrote: the row replaces the one of before."""
    first = Heads()
    [stored] = first.gather("web", [head("a", b"1"), head("b", b"2")])
    second = Heads()
    assert len(list(second.spread("web", stored))) == 2
    other = WindowRow(owner="a", part="counts/10", at=20.0, data=b"x")
    found = list(second.gather("web", [head("b", b"3", 20.0), other]))
    assert found[0] == other
    assert list(Heads().spread("web", found[1])) == [head("a", b"1"), head("b", b"3", 20.0)]
    assert list(second.gather("web", [other])) == [other]


def test_what_is_gone_leaves_the_row() -> None:
    """A target that a reload removed is not written for ever."""
    subject = Heads()
    list(subject.gather("web", [head("a", b"1"), head("b", b"2")]))
    subject.keep({"web": {"b"}})
    [row] = subject.gather("web", [head("b", b"3")])
    assert [each.owner for each in Heads().spread("web", row)] == ["b"]


@pytest.mark.parametrize("data", [b"\x01", b"\x05\x00\x00\x00" + b"\x00" * 8 + b"\xff\xfe"])
def test_garbage_is_a_value_error(data: bytes) -> None:
    """A damaged row costs the last minutes of a deployment, not the start of the process."""
    row = WindowRow(owner=owner_of("web"), part=PART, at=1.0, data=data)
    with pytest.raises(ValueError, match=r"damaged|decode"):
        list(Heads().spread("web", row))
