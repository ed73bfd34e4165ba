"""What people get is what somebody looked at: golden files of every message in every form."""

from __future__ import annotations

import pytest

from tests.notify.golden import DIRECTORY, texts

WRITTEN = dict(texts())
AGAIN = "look at it, then run `python -m tests.notify.refresh_golden`"


@pytest.mark.parametrize("name", WRITTEN)
def test_a_message_is_as_it_was_approved(name: str) -> None:
    """Any change of words, order or markup shows in review."""
    approved = (DIRECTORY / name).read_text(encoding="utf-8")
    assert WRITTEN[name] == approved, AGAIN


def test_no_golden_file_is_left_over() -> None:
    """A message that is no more leaves no file."""
    assert {path.name for path in DIRECTORY.iterdir()} == set(WRITTEN)
