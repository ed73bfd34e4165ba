"""`kill -9` during an open incident: nothing is lost, nothing said twice, everything closed."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.killing import suffer

SEED = 20261128


async def test_kills_during_open_incidents_lose_and_repeat_nothing(tmp_path: Path) -> None:
    """Six SIGKILLs in two outages; `make bench BENCH=kill9` has fifty."""
    seen = await suffer(tmp_path, SEED, outages=2)
    assert seen.kills == 6
    assert not seen.complaints
