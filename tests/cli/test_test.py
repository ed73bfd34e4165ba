"""`monitor test`."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.cli.conftest import Run

STORY = Path("tests/scenarios/bad_release.yml")


def test_a_story_that_holds(run: Run) -> None:
    """Exit 0 and one line a story; the process's logging is as before."""
    result = run("test", STORY)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"ok  {STORY}: a bad release is paged once")
    assert logging.getLogger("monitor").isEnabledFor(logging.ERROR)


@pytest.fixture
def untrue(tmp_path: Path) -> Path:
    """The same story with a check that does not hold."""
    path = tmp_path / "untrue.yml"
    path.write_text(STORY.read_text().replace("open_incidents: 1", "open_incidents: 7"))
    return path


def test_a_story_that_does_not_hold(run: Run, untrue: Path) -> None:
    """Exit 1; what was expected is on stderr, and in the document for programs."""
    result = run("test", untrue)
    assert result.code == 1
    assert result.out.startswith("FAILED")
    assert "is 1, expected 7" in result.err
    again = run("test", untrue, STORY, "--output", "json")
    assert (again.code, again.err) == (1, "")
    assert [each["ok"] for each in again.document["stories"]] == [False, True]
    assert "expected 7" in again.document["stories"][0]["mismatches"][0]


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "No such file"), ("story: [", ":1:"), ("lasts: 5m\nwhat: 1\n", "what")],
)
def test_what_is_no_story(run: Run, tmp_path: Path, text: str | None, words: str) -> None:
    """Exit 2 and where it is wrong."""
    path = tmp_path / "story.yml"
    if text is not None:
        path.write_text(text)
    result = run("test", path)
    assert (result.code, result.out) == (2, "")
    assert str(path) in result.err
    assert words in result.err
