"""Placeholders: closed names, plain values."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from monitor.model import RollbackRequest
from monitor.rollback.template import PLACEHOLDERS, fill, placeholders, values

Maker = Callable[..., RollbackRequest]


def test_every_placeholder_has_a_value(request_of: Maker) -> None:
    """What configuration may name is what a call can fill in."""
    assert set(values(request_of())) == PLACEHOLDERS
    assert values(request_of(to_revision=None))["to_revision"] == ""


def test_filling_happens_once_and_leaves_other_braces() -> None:
    """A value that looks like a placeholder stays text, and so does JSON."""
    by_name = {"id": "{revision}", "revision": "1"}
    assert fill('{id} {revision} {"a": {}} {A}', by_name) == '{revision} 1 {"a": {}} {A}'


def test_unknown_placeholders_are_an_error() -> None:
    """A misspelt name is said with the names that exist."""
    assert placeholders(["{revision}", "x{to_revision}"]) == {"revision", "to_revision"}
    with pytest.raises(ValueError, match=r"unknown placeholder \{version\}.*\{to_revision\}"):
        placeholders(["{version}"])


@pytest.mark.parametrize(
    "revision",
    [
        "--force",
        "-rf",
        "1;reboot",
        "$(id)",
        "`id`",
        "a b",
        "a\nb",
        "a\0b",
        "é",
        "x" * 129,
        "${{ x }}",
    ],
)
@pytest.mark.parametrize("field", ["from_revision", "to_revision"])
def test_a_hostile_revision_is_refused(request_of: Maker, field: str, revision: str) -> None:
    """The monitored service chooses its version text, so it must not reach a shell's syntax."""
    with pytest.raises(ValueError, match="is not a plain name"):
        values(request_of(**{field: revision}))


@pytest.mark.parametrize(
    "revision", ["1.4.2", "v2026.01.01+build.7", "release/3", "a" * 128, "9f3c"]
)
def test_usual_revisions_pass(request_of: Maker, revision: str) -> None:
    """Versions, tags and hashes are plain."""
    assert values(request_of(from_revision=revision))["revision"] == revision
