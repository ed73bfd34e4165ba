"""What every channel says, in words."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings

from monitor.model import Acknowledgement, Message, Note, SendReason, Severity
from monitor.notify.alerts import NAMED, alerts_in_words
from monitor.notify.render import (
    CAUTION,
    FACTS_LIMIT,
    LINES_LIMIT,
    NOTES_LIMIT,
    document,
    render,
)
from monitor.notify.words import TITLE_LIMIT, VALUE_LIMIT, clip, iso, measured, one_line
from monitor.scenario.heard import heard_in
from tests.notify.samples import (
    HOSTILE,
    NOW,
    alert,
    any_message,
    brief,
    incident,
    message,
    storm,
)

UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


@pytest.mark.parametrize(
    ("reason", "title", "state"),
    [
        (SendReason.FIRST, "[CRITICAL] FIRING: HighErrorRate on api-production (production)", 0),
        (
            SendReason.REPEAT,
            "[CRITICAL] STILL FIRING: HighErrorRate on api-production (production)",
            0,
        ),
        (
            SendReason.RESOLVED,
            "[CRITICAL] RESOLVED: HighErrorRate on api-production (production)",
            1,
        ),
        (SendReason.TEST, "[CRITICAL] TEST: HighErrorRate on api-production (production)", 0),
    ],
)
def test_the_title_says_what_happened_to_what(reason: SendReason, title: str, state: int) -> None:
    """One line is enough to know the rule, the deployment, how bad it is and whether it is over."""
    text = render(message(reason))
    assert text.title == title
    assert ("Lasted" in dict(text.lines)) is bool(state)


def test_a_page_answers_the_first_questions() -> None:
    """Since when, by which condition, measured how, where, which revision: all with units."""
    text = render(message(notes=(Note(at=NOW, text="rolled back to 1.4.1"),)))
    lines = dict(text.lines)
    assert lines["Since"] == "2027-01-15T07:55:00Z (5m ago)"
    assert lines["Condition"] == "error_rate_5m > 5"
    assert lines["Measured"].splitlines() == [
        "error_rate_5m = 7.25 %",
        "p95_latency = 1234 ms",
        "burn_rate_1h = no data",
    ]
    assert (lines["Deployment"], lines["Environment"], lines["Revision"], lines["Severity"]) == (
        "api-production",
        "production",
        "1.4.2",
        "critical",
    )
    assert text.notes == ("2027-01-15T08:00:00Z rolled back to 1.4.1",)
    assert text.links[0] == ("Live page", "https://monitor.example.com/?a=1&b=2")
    assert text.caution == ""


def test_a_resolve_says_how_long_and_why() -> None:
    """The end of an incident names its length, and the reason when the condition was not it."""
    lines = dict(render(message(SendReason.RESOLVED, resolve_reason="config_removed")).lines)
    assert lines["Lasted"] == "5m (until 2027-01-15T08:00:00Z)"
    assert lines["Resolved because"] == "config_removed"


def test_what_is_known_comes_before_how_it_was_found() -> None:
    """The facts of the moment stand right after the time, and no address is said twice."""
    text = render(message(brief=brief()))
    labels = [label for label, _ in text.lines]
    assert labels[:4] == ["Since", "SLA", "Now", "Budget left"]
    assert labels.index("Last failure") < labels.index("Condition")
    assert [label for label, _ in text.links] == [
        "Live page", "Acknowledge", "Silence", "Dashboard", "runbook",
    ]  # fmt: skip
    assert text.plain().count("high-error-rate") == 1


def test_several_alerts_are_counted_and_named() -> None:
    """Criticals first, what ended last, and the title still names rule and deployment."""
    alerts = (
        alert(rule="Slow", severity=Severity.WARNING),
        alert(started_at=NOW - 100),
        alert(rule="Odd", resolved_at=NOW - 10),
    )
    text = render(message(SendReason.NEW_ALERTS, alerts=alerts))
    assert text.title.endswith("HighErrorRate on api-production (production) +1 more")
    assert heard_in(text.plain()).subject == "HighErrorRate on api-production"
    assert dict(text.lines)["Alerts"].splitlines() == [
        "3 on 1 deployment, 2 firing (1 critical, 1 warning), 1 ended",
        "[CRITICAL] HighErrorRate on api-production for 1m40s",
        "[WARNING] Slow on api-production for 5m",
        "ended: Odd on api-production after 4m50s",
    ]


def test_a_storm_is_one_readable_message() -> None:
    """Five thousand alerts: counts, the twenty that matter most, and nothing cut off."""
    text = render(message(alerts=storm()))
    lines = dict(text.lines)["Alerts"].splitlines()
    assert lines[0] == (
        "5,000 on 5,000 deployments, 4,500 firing (500 critical, 4,000 warning), 500 ended"
    )
    assert lines[-1] == "… 4,980 more"
    assert all(line.startswith("[CRITICAL]") for line in lines[1:-1])
    assert len(lines) == NAMED + 2
    assert text.title.endswith("+4,499 more")


def test_the_longest_names_leave_room_for_the_counts() -> None:
    """Names of any length cannot push the number of the rest out of the message."""
    long = tuple(alert(rule="r" * 300, deployment="d" * 300) for _ in range(100))
    words = alerts_in_words(incident(alerts=long), NOW + 86399 * 400)
    assert words.endswith("… 80 more")
    assert len(words) <= VALUE_LIMIT
    assert dict(render(message(alerts=long, at=NOW + 86399 * 400)).lines)["Alerts"] == words


def test_who_works_on_it_is_said() -> None:
    """By whom, how and until when; an acknowledgement that ran out says that it did."""
    given = Acknowledgement(by="ann", at=NOW - 60, until=NOW + 3600, source="cli")
    steps = (Note(at=NOW - 120, text="called lead: nobody acknowledged within 15m"),)
    sent = message(SendReason.ACKNOWLEDGED, acknowledgement=given, escalated=steps)
    lines = dict(render(sent).lines)
    assert lines["Acknowledged"] == (
        "by ann at 2027-01-15T07:59:00Z (cli), until 2027-01-15T09:00:00Z"
    )
    assert lines["Escalated"] == (
        "2027-01-15T07:58:00Z called lead: nobody acknowledged within 15m"
    )
    later = dict(render(message(at=NOW + 3600, acknowledgement=given)).lines)
    assert ", expired 2027" in later["Acknowledged"]


def test_a_possible_repetition_says_so() -> None:
    """Whoever gets it twice can tell that it is not a second incident."""
    text = render(message(may_be_repeated=True))
    assert text.caution == CAUTION
    assert CAUTION in text.plain()


def test_only_the_newest_notes_are_kept() -> None:
    """A long incident stays readable; what was left out is counted."""
    notes = tuple(Note(at=NOW, text=f"note {number}") for number in range(NOTES_LIMIT + 5))
    kept = render(message(notes=notes)).notes
    assert kept[0] == "… 5 more"
    assert kept[-1].endswith(f"note {NOTES_LIMIT + 4}")
    assert len(kept) == NOTES_LIMIT + 1


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("error_rate_5m", 5.2, "5.2 %"),
        ("success_rate_5m", 100.0, "100 %"),
        ("uptime_percentage", 99.995, "99.995 %"),
        ("error_budget_remaining", -12.5, "-12.5 %"),
        ("coverage_1h", 0.0, "0 %"),
        ("p95_latency", 12345.6, "12345.6 ms"),
        ("p99.9_latency_5m", 0.25, "0.25 ms"),
        ("burn_rate_1h", 14.4, "14.4x"),
        ("samples_5m", 20.0, "20"),
        ("certificate_expiry_days", 3.0, "3 days"),
        ("error_rate_5m", 0.00001, "1e-05 %"),
        ("health", "degraded", "degraded"),
        ("error_rate_5m", None, "no data"),
        ("samples_5m", float("inf"), "inf"),
    ],
)
def test_measured_values_carry_their_units(name: str, value: float | str | None, said: str) -> None:
    """A value reads like the condition that it was compared in, and no data is never zero."""
    assert measured(name, value) == said


@pytest.mark.parametrize(
    ("text", "limit", "clipped"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("a", 1, "a"), ("ab", 1, "…"), ("", 1, "")],
)
def test_clipping_keeps_the_limit_and_shows_itself(text: str, limit: int, clipped: str) -> None:
    """What was cut off leaves a mark, within the limit."""
    assert clip(text, limit) == clipped


def test_times_are_utc() -> None:
    """Nobody has to guess a zone at night."""
    assert iso(0.9) == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_one_line_is_one_line(text: str) -> None:
    """Nothing of another system's text can start a second line or hide characters."""
    assert not UNSAFE.search(one_line(text))
    assert "\n" not in one_line(text)


@settings(max_examples=60, deadline=None)
@given(sent=any_message)
def test_any_incident_becomes_clean_bounded_words(sent: Message) -> None:
    """Whatever an incident holds, the words are clean, encodable, bounded and never blank."""
    text = render(sent)
    pieces = [
        text.title,
        text.summary,
        *text.notes,
        *(part for line in text.lines for part in line),
    ]
    assert not any(UNSAFE.search(piece) for piece in [*pieces, text.plain()])
    assert all(label.strip() and value.strip() for label, value in text.lines)
    assert len(text.title) <= TITLE_LIMIT
    assert max(map(len, pieces)) <= VALUE_LIMIT
    assert len(text.lines) <= LINES_LIMIT + FACTS_LIMIT + 20
    text.plain().encode()


@settings(max_examples=60, deadline=None)
@given(sent=any_message)
def test_any_incident_becomes_json(sent: Message) -> None:
    """The document is valid JSON by the letter: no NaN, and UTF-8 without surrogates."""
    told = document(sent, "msg_1")
    encoded = json.dumps(told, allow_nan=False, ensure_ascii=False).encode()
    assert json.loads(encoded) == told
    assert told["type"] == f"incident.{sent.reason}"
