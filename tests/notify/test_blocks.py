"""Block Kit: whatever there is to say fits, what matters most is there, and the rest is counted."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.model import IncidentAlert, Message, SendReason, Severity
from monitor.notify.blocks import MESSAGE_LIMIT, REPLY_LIMIT, escape, payload
from monitor.notify.render import CAUTION, Text, render
from monitor.scenario.slack_blocks import complaint, live_markup, texts
from tests.notify.samples import NOW, any_message, message

STORM = 5000


def sized(sent: dict[str, Any]) -> int:
    return len(json.dumps(sent["blocks"], ensure_ascii=False))


def lines_of(sent: dict[str, Any]) -> list[str]:
    return [line for text in texts(sent["blocks"]) for line in text.split("\n")]


def alert(number: int) -> IncidentAlert:
    return IncidentAlert(
        rule="HighErrorRate",
        deployment=f"api-{number}",
        severity=Severity.CRITICAL if number % 7 == 0 else Severity.WARNING,
        channels=("oncall",),
        condition="error_rate_5m > 5",
        summary="<Users> get errors & more",
        started_at=NOW - 300,
        opened_at=NOW - 60,
        annotations={"runbook": "https://wiki.example.com/high-error-rate"},
    )


storm = tuple(alert(number) for number in range(STORM))


@pytest.mark.parametrize("limit", [MESSAGE_LIMIT, REPLY_LIMIT])
@settings(max_examples=40, deadline=None)
@given(sent=any_message)
def test_any_message_fits(limit: int, sent: Message) -> None:
    """Whatever an incident holds, Slack's limits hold and no markup in it is live."""
    said = payload(render(sent), limit)
    assert complaint(said, 4000) == ""
    assert live_markup(said) == []


@settings(max_examples=40, deadline=None)
@given(
    text=st.builds(
        Text,
        title=st.text(st.characters(exclude_categories=("C",)), min_size=1, max_size=200),
        state=st.sampled_from(["firing", "changed", "resolved"]),
        summary=st.sampled_from(["", "&" * 2000, '"' * 2000, "\\" * 2000]),
        lines=st.lists(
            st.tuples(
                st.sampled_from(["Alerts", "<" * 200]),
                st.sampled_from(["1", "&" * 300, "x" * 301, "a\n" * 1000, '"' * 2000]),
            ),
            max_size=200,
        ).map(tuple),
        notes=st.lists(st.sampled_from(["n", "&" * 2000, '"' * 2000]), max_size=60).map(tuple),
        caution=st.sampled_from(["", CAUTION]),
        links=st.lists(
            st.tuples(st.just("&" * 200), st.just("https://a.example/" + "x" * 900)), max_size=50
        ).map(tuple),
    )
)
def test_any_text_fits(text: Text) -> None:
    """However the words grow, the sum of the blocks stays below what Slack takes."""
    for limit in (MESSAGE_LIMIT, REPLY_LIMIT):
        said = payload(text, limit)
        assert complaint(said, 4000) == ""
        assert sized(said) <= MESSAGE_LIMIT


@pytest.mark.parametrize("reason", SendReason)
def test_a_storm_in_one_incident_fits(reason: SendReason) -> None:
    """Five thousand alerts in one incident are one message, for every reason to send it."""
    sent = message(reason, alerts=storm, summary="x" * 5000, may_be_repeated=True)
    for limit in (MESSAGE_LIMIT, REPLY_LIMIT):
        said = payload(render(sent), limit)
        assert complaint(said, 4000) == ""
        assert sized(said) <= limit + 200


def test_the_first_lines_stay_and_the_rest_is_counted() -> None:
    """Words come most important first, so the first survive; what is left out has its number."""
    lines = tuple((f"L{number}", "v" * 100) for number in range(STORM))
    said = payload(replace(render(message()), lines=lines, links=()))
    labels = [line for line in lines_of(said) if line.startswith("*L")]
    assert labels == [f"*L{number}*" for number in range(len(labels))]
    assert lines_of(said)[-1] == f"… {STORM - len(labels)} more"
    assert len(labels) > 40


def test_a_long_value_is_whole_in_its_own_block() -> None:
    """A list of alerts with its count is not cut in the middle: it gets the whole width."""
    listed = "\n".join([*(f"CRITICAL HighErrorRate on api-{n}" for n in range(40)), "… 4960 more"])
    lines = (("Since", "today"), ("Alerts", listed), ("Service", "api"))
    said = payload(replace(render(message()), lines=lines))
    assert f"*Alerts*\n{listed}" in texts(said["blocks"])
    shown = lines_of(said)
    assert shown.index("*Since*") < shown.index("*Alerts*") < shown.index("*Service*")


def test_a_value_that_does_not_fit_makes_no_other_go() -> None:
    """Twenty huge values leave room for the small ones that follow, and are counted."""
    lines = (*[("Huge", "x" * 2000)] * 20, ("Small", "here"))
    said = payload(replace(render(message()), lines=lines))
    assert "*Small*" in lines_of(said)
    huge = lines_of(said).count("*Huge*")
    assert f"… {20 - huge} more" in lines_of(said)


def test_the_newest_notes_and_the_links_are_always_there() -> None:
    """A rollback's result is the last note, and links are what a person acts on."""
    lines = tuple((f"L{number}", "x" * 2000) for number in range(100))
    notes = (*["old " * 400] * 30, "rolled back")
    shown = lines_of(payload(replace(render(message()), lines=lines, notes=notes)))
    assert "rolled back" in shown
    assert any(line.startswith("… ") for line in shown)
    assert any("|Live page>" in line for line in shown)


def test_one_huge_note_is_cut() -> None:
    """The newest note is shown as far as it fits, never left out."""
    shown = lines_of(payload(replace(render(message()), notes=("older", "n" * 2000))))
    assert any(line.startswith("nnn") and line.endswith("…") for line in shown)
    assert "… 1 more" in shown


@pytest.mark.parametrize(
    ("text", "limit", "sent"),
    [
        ("a < b & c > d", 100, "a &lt; b &amp; c &gt; d"),
        ("<!channel>", 100, "&lt;!channel&gt;"),
        ("@Channel @bob", 100, "@\u200bChannel @bob"),
        ("&&&", 15, "&amp;&amp;&amp;"),
        ("&&&", 14, "&amp;&amp;…"),
        ("abcdef", 4, "abc…"),
        ("<<<<", 3, "…"),
    ],
)
def test_escaping_fits_whole_entities(text: str, limit: int, sent: str) -> None:
    """The limit counts what is sent, and never cuts an entity in two."""
    assert escape(text, limit) == sent
