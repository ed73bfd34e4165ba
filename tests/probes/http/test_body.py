"""The body's cap holds for decoded bytes, whatever comes over the wire."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.probes.failure import ProbeError
from monitor.probes.http.body import Body

CODINGS = {b"gzip": gzip.compress, b"deflate": zlib.compress, b"identity": bytes}


@given(
    content=st.binary(max_size=300),
    cap=st.integers(1, 300),
    step=st.integers(1, 50),
    coding=st.sampled_from(sorted(CODINGS)),
)
def test_what_is_kept_is_a_prefix_within_the_cap(
    content: bytes, cap: int, step: int, coding: bytes
) -> None:
    """However it is coded and cut, the kept bytes are the body's first ones, up to the cap."""
    body = Body(cap, keep=True)
    body.decode(coding)
    wire = CODINGS[coding](content)
    for start in range(0, len(wire), step):
        if body.full:
            break
        body.add(wire[start : start + step])
    assert content.startswith(body.content)
    assert len(body.content) <= cap
    if not body.full:
        assert body.content == content
    if len(content) > cap:
        assert body.full


def test_a_body_of_exactly_the_cap_is_whole() -> None:
    """The cap itself still fits."""
    body = Body(5, keep=True)
    body.add(b"12345")
    assert not body.full
    body.add(b"6")
    assert body.full
    assert body.content == b"12345"


def test_nothing_is_kept_that_nobody_reads() -> None:
    """Without a body check bytes are counted only, and coded ones are not decoded."""
    body = Body(1000, keep=False)
    body.decode(b"br")
    body.add(b"\x00" * 999)
    assert (body.full, body.content) == (False, b"")
    body.add(b"\x00" * 2)
    assert body.full


@given(content=st.binary(max_size=300), left=st.integers(0, 400))
def test_a_compressed_body_that_breaks_off_is_told(content: bytes, left: int) -> None:
    """What is kept of it may look whole, so the missing end itself is the failure."""
    wire = gzip.compress(content)
    body = Body(1000, keep=True)
    body.decode(b"gzip")
    body.add(wire[:left])
    assert content.startswith(body.content)
    is_short = 0 < left < len(wire)
    assert (body.shortfall is not None) is is_short


def test_a_bomb_stops_at_the_cap() -> None:
    """A kilobyte that stands for a megabyte yields no more than the cap."""
    body = Body(100, keep=True)
    body.decode(b"gzip")
    body.add(gzip.compress(bytes(1024 * 1024)))
    assert body.full
    assert body.content == bytes(100)


def test_compressed_nothing_does_not_go_on_for_ever() -> None:
    """Empty blocks, or bytes after the end of the stream, fill the cap without adding content."""
    body = Body(100, keep=True)
    body.decode(b"gzip")
    body.add(gzip.compress(b"end"))
    while not body.full:
        body.add(b"\x00" * 10)
    assert body.content == b"end"


@pytest.mark.parametrize("coding", [b"br", b"zstd", b"gzip, gzip", b"\xff"])
def test_codings_nobody_asked_for(coding: bytes) -> None:
    """A body check on bytes that we cannot decode would be guesswork."""
    with pytest.raises(ProbeError, match="without being asked"):
        Body(100, keep=True).decode(coding)
