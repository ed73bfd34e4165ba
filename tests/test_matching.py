"""Matchers mean what Alertmanager's do."""

from __future__ import annotations

import pytest

from monitor.matching import labels_of, matches, parse_matcher
from monitor.model import IncidentAlert, Priority, Severity

LABELS = {"rule": "slow", "team": "web", "empty": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rule=slow", True),
        ('rule="slow"', True),
        ("rule = slow", True),
        ("rule!=slow", False),
        ("rule=~s.*", True),
        ("rule=~low", False),
        ("rule!~s.*", False),
        ("missing=", True),
        ("missing!=x", True),
        ("empty=", True),
        ("missing=~.+", False),
        ("rule=Slow", False),
    ],
)
def test_a_matcher_agrees_or_not(text: str, expected: bool) -> None:  # noqa: FBT001 - a table
    """Whole texts are compared; a missing label is the empty text."""
    assert matches([parse_matcher(text)], LABELS) is expected
    assert matches([parse_matcher("team=web"), parse_matcher(text)], LABELS) is expected


@pytest.mark.parametrize(
    "text", ["", "rule", "=x", "1a=b", "rule==~", "rule=~(", "rule=~(?<=a)b", "a" * 2000 + "=b"]
)
def test_what_is_no_matcher_is_refused_with_what_was_expected(text: str) -> None:
    """A silence that would hide something else than was meant is not made."""
    if text == "rule==~":
        assert parse_matcher(text).value == "=~"
        return
    with pytest.raises(ValueError, match=r"not a (matcher|pattern)"):
        parse_matcher(text)


def test_a_pattern_takes_linear_time() -> None:
    """The bomb of backtracking engines is answered at once."""
    assert not matches([parse_matcher("x=~(a+)+$")], {"x": "a" * 5000 + "!"})


def test_what_an_alert_is_about_cannot_be_renamed_by_its_labels() -> None:
    """The deployment of an alert is the deployment, whatever its author labelled it with."""
    alert = IncidentAlert(
        rule="slow", deployment="web", severity=Severity.WARNING, channels=(), condition="",
        summary="", started_at=0, opened_at=0, environment="Production", service="shop",
        priority=Priority.P2, labels={"deployment": "other", "team": "a"},
    )  # fmt: skip
    labels = labels_of(alert)
    assert (labels["deployment"], labels["team"], labels["priority"]) == ("web", "a", "P2")
