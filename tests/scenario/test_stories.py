"""Every story in `tests/scenarios` comes out as it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.scenario.read import read_story
from monitor.scenario.stage import play

STORIES = sorted((Path(__file__).parents[1] / "scenarios").glob("*.yml"))


def test_there_are_stories() -> None:
    """The table below is not empty by accident."""
    assert len(STORIES) > 10


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_story(path: Path) -> None:
    """Played in virtual time, every check of the story holds."""
    mismatches = play(read_story(path), path.parent)
    assert not mismatches, "\n".join(map(str, mismatches))
