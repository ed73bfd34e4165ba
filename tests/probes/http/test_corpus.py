"""Malformed and hostile answers (corpus.yml) over real connections, whole and in pieces."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.model import Outcome, Sample
from monitor.probes.reason import Reason
from tests.probes.raw_server import Handler, run_probe, serve

Run = Callable[..., Any]
Case = dict[str, Any]
DEADLINE_S = 5.0
HELD_DEADLINE_S = 0.25
"""Where nothing more comes and the probe has to wait for it."""
CORPUS: list[Case] = yaml.safe_load(Path(__file__).with_name("corpus.yml").read_text())
BRIEF = [case for case in CORPUS if not case["ends"].startswith("timeout")]


def deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "deflate": deflate,
}


def part(said: str | dict[str, Any]) -> bytes:
    if isinstance(said, str):
        return said.encode("latin-1")
    if "repeat" in said:
        return str(said["repeat"]).encode("latin-1") * int(said["times"])
    (name,) = set(said) & set(PACKERS)
    return PACKERS[name](said[name].encode())[: said.get("keep")]


def wire(case: Case) -> bytes:
    return b"".join(part(said) for said in case["say"])


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[first:last] for first, last in itertools.pairwise(edges)]


def says(parts: list[bytes], *, hold: bool) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for each in parts:
            writer.write(each)
            await writer.drain()
            # The probe, on the same loop, takes in this piece before it gets the next one.
            await asyncio.sleep(0)
        # An end with bytes of ours unread would be a reset; a probe that has enough hangs up.
        if hold:
            await reader.read()

    return handler


async def probe(case: Case, parts: list[bytes]) -> Sample:
    waits = case["ends"].startswith("timeout")
    fields = {"body_contains": "well", **case.get("probe", {})}
    async with serve(says(parts, hold=case.get("hold", False))) as port:
        deadline_s = HELD_DEADLINE_S if waits else DEADLINE_S
        return await run_probe(f"http://127.0.0.1:{port}", deadline_s, **fields)


def check(case: Case, sample: Sample) -> None:
    assert (sample.reason or "good") == case["ends"], sample.detail
    assert sample.outcome is (Outcome.BAD if sample.reason else Outcome.GOOD)
    assert sample.reason == "" or Reason(sample.reason).outcome is Outcome.BAD
    assert bool(sample.detail) is bool(sample.reason)
    assert len(sample.detail) <= 200
    assert sample.detail.isprintable()
    sample.detail.encode()


def test_the_corpus_names_reasons_that_exist() -> None:
    """Every case says what it is, once, and ends in known reasons that blame the target."""
    assert len({case["what"] for case in CORPUS}) == len(CORPUS) > 130
    for case in CORPUS:
        assert case["ends"] == "good" or Reason(case["ends"]).outcome is Outcome.BAD


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case["what"].replace(" ", "-"))
def test_each_ends_as_it_must(run: Run, case: Case) -> None:
    """A hostile answer, sent at once, ends within the deadline in a sample that blames it."""
    check(case, run(probe(case, [wire(case)])))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=st.sampled_from(BRIEF), cuts=st.lists(st.integers(0, 1 << 20), max_size=6))
def test_how_it_is_cut_does_not_matter(case: Case, cuts: list[int]) -> None:
    """The same answer in pieces ends alike: what is read depends on the bytes only."""
    data = wire(case)
    check(case, asyncio.run(probe(case, pieces(data, cuts))))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    case=st.sampled_from(BRIEF),
    changes=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=4),
    dropped=st.integers(0, 20),
)
def test_no_damage_breaks_the_probe(
    case: Case, changes: list[tuple[int, int]], dropped: int
) -> None:
    """With bytes changed and the end cut off each is still judged, and the target is to blame."""
    data = bytearray(wire(case))
    for at, byte in changes:
        if at < len(data):
            data[at] = byte
    sample = asyncio.run(probe({**case, "hold": False}, [bytes(data[: len(data) - dropped])]))
    assert sample.outcome is not Outcome.UNKNOWN, sample.detail
    assert sample.detail.isprintable()
    assert not sample.censored
