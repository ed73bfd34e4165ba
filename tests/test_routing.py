"""What is owed to whom, and how an attempt settles, as tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.digests import digest_of
from monitor.escalation import LATE_S, EscalationStep, escalate
from monitor.grouping import (
    JOIN_S,
    end_alert,
    incident_id,
    incident_key,
    join,
    joinable,
    open_incident,
    part,
)
from monitor.matching import parse_matcher
from monitor.model import (
    Acknowledgement,
    AlertState,
    Delivery,
    DeliveryResult,
    Incident,
    IncidentAlert,
    Owed,
    SendReason,
    Severity,
    Told,
    Transition,
)
from monitor.owing import BACKOFF_CAP_S, PARKED_RETRY_S, owed_reason, settle
from monitor.routing import Route, Tempo, routed, tempo_of

NOW = 1_000_000.0


def incident(resolved_at: float | None = None) -> Incident:
    return Incident(
        id="i", key="k", rule="r", deployment="d", service="s", environment="e",
        severity=Severity.CRITICAL, channels=("c",), condition="true", summary="", started_at=1,
        opened_at=2, resolved_at=resolved_at,
    )  # fmt: skip


def row(**changes: object) -> Owed:
    return Owed(incident="i", channel="c", **changes)  # type: ignore[arg-type]


FIRST, REPEAT, RESOLVED = SendReason.FIRST, SendReason.REPEAT, SendReason.RESOLVED


@pytest.mark.parametrize(
    ("resolved", "told", "uncertain", "repeats", "reason"),
    [
        (False, Told.NOTHING, None, True, FIRST),
        (False, Told.NOTHING, FIRST, False, FIRST),
        (False, Told.OPEN, None, True, REPEAT),
        (False, Told.OPEN, None, False, None),
        (True, Told.OPEN, None, True, RESOLVED),
        (True, Told.OPEN, None, False, RESOLVED),
        (True, Told.OPEN, RESOLVED, False, RESOLVED),
        (True, Told.RESOLVED, None, True, None),
        # Nobody is woken for what is over, but who may have been told must hear the end.
        (True, Told.NOTHING, None, False, None),
        (True, Told.NOTHING, FIRST, False, RESOLVED),
        (True, Told.NOTHING, None, True, RESOLVED),
    ],
)
def test_what_is_owed_follows_from_what_was_told(
    resolved: bool,  # noqa: FBT001 - a table
    told: Told,
    uncertain: SendReason | None,
    repeats: bool,  # noqa: FBT001 - a table
    reason: SendReason | None,
) -> None:
    """Each line of the decision table."""
    owed = owed_reason(
        incident(3.0 if resolved else None),
        row(told=told, told_at=NOW if told is not Told.NOTHING else None, uncertain=uncertain),
        repeats=repeats,
        updates=False,
        tempo=Tempo(),
    )
    assert (owed and owed[0]) == reason


def test_a_repeat_is_due_one_interval_after_the_last_word() -> None:
    """The reminder's time counts from the last successful message."""
    told = row(told=Told.OPEN, told_at=NOW)
    tempo = Tempo(repeat_s=60)
    owed = owed_reason(incident(), told, repeats=True, updates=False, tempo=tempo)
    assert owed == (REPEAT, NOW + 60)


@pytest.mark.parametrize(
    ("result", "told", "uncertain", "parked"),
    [
        (DeliveryResult.DELIVERED, Told.OPEN, None, ""),
        (DeliveryResult.RETRY, Told.NOTHING, None, ""),
        (DeliveryResult.UNCERTAIN, Told.NOTHING, FIRST, ""),
        (DeliveryResult.PERMANENT, Told.NOTHING, None, "no"),
    ],
)
def test_each_outcome_settles_in_its_own_way(
    result: DeliveryResult, told: Told, uncertain: SendReason | None, parked: str
) -> None:
    """Only a delivery counts as told; only a lost answer is uncertain; a refusal is parked."""
    before = row(intent=FIRST)
    after = settle(
        before, FIRST, Delivery(result=result, detail="no"), incident(), now=NOW, jitter=0.5
    )
    assert (after.told, after.uncertain, after.parked, after.intent) == (
        told, uncertain, parked, None,
    )  # fmt: skip


def test_a_retry_after_an_uncertain_send_stays_marked() -> None:
    """A refusal now says nothing about the earlier message that may have arrived."""
    before = row(uncertain=FIRST, intent=FIRST)
    after = settle(
        before, FIRST, Delivery(result=DeliveryResult.RETRY), incident(), now=NOW, jitter=0.5
    )
    assert after.uncertain is FIRST


@given(attempts=st.integers(0, 60), jitter=st.floats(0, 1, exclude_max=True),
       asked=st.none() | st.floats(0, 3600))  # fmt: skip
def test_back_off_is_bounded_and_never_earlier_than_asked(
    attempts: int, jitter: float, asked: float | None
) -> None:
    """However often it failed, the next try comes, and not before the provider's own time."""
    delivery = Delivery(result=DeliveryResult.RETRY, retry_after_s=asked)
    wait = (
        settle(row(attempts=attempts), FIRST, delivery, incident(), now=NOW, jitter=jitter).next_at
        - NOW
    )
    assert (asked or 0) <= wait + 1e-6
    assert 0 < wait <= max(BACKOFF_CAP_S * 1.25, asked or 0) + 1e-6


def test_a_parked_message_is_tried_again_rarely() -> None:
    """A permanent refusal waits an hour, not two seconds."""
    delivery = Delivery(result=DeliveryResult.PERMANENT, detail="invalid_token")
    assert (
        settle(row(), FIRST, delivery, incident(), now=NOW, jitter=0).next_at
        == NOW + PARKED_RETRY_S
    )


@given(st.text(max_size=300), st.text(max_size=300))
def test_keys_are_stable_distinct_and_fit_pagerduty(rule: str, deployment: str) -> None:
    """A dedup key has at most 255 characters and differs when rule and deployment trade places."""
    key = incident_key(rule, deployment)
    assert key == incident_key(rule, deployment)
    assert len(key) <= 255
    assert rule == deployment or key != incident_key(deployment, rule)


def test_an_episode_has_its_own_name() -> None:
    """The same rule fires again: same key, another id."""
    assert incident_id("k", 1.0) == incident_id("k", 1.0) != incident_id("k", 2.0)


# --- groups, with Alertmanager's published timings ---------------------------------------------


def alert(
    name: str, opened_at: float, resolved_at: float | None = None, **changes: Any
) -> IncidentAlert:
    fields: dict[str, Any] = {
        "rule": name, "deployment": "d", "severity": Severity.CRITICAL, "channels": ("c",),
        "condition": "true", "summary": "", "started_at": opened_at, "opened_at": opened_at,
        "resolved_at": resolved_at, "service": "s", "environment": "e",
    }  # fmt: skip
    return IncidentAlert(**(fields | changes))


def messages(
    tempo: Tempo, alerts: list[tuple[float, float | None]], until: float
) -> list[tuple[float, int]]:
    """Return (when, alerts that fire) of every message about alerts that open and end in time."""
    told, found = row(), []
    for step in range(int(until * 10) + 1):
        now = step / 10
        known = [alert(f"r{n}", at, end) for n, (at, end) in enumerate(alerts) if at <= now]
        if not known:
            continue
        seen = [replace(a, resolved_at=None) if (a.resolved_at or 0) > now else a for a in known]
        group = replace(open_incident(seen[0], revision=None), alerts=tuple(seen))
        owed = owed_reason(group, told, repeats=True, updates=True, tempo=tempo)
        if owed is not None and owed[1] <= now + 1e-9:
            delivery = Delivery(result=DeliveryResult.DELIVERED)
            told = settle(told, owed[0], delivery, group, now=now, jitter=0)
            found.append((now, sum(each.is_open for each in seen)))
    return found


@pytest.mark.parametrize(
    ("tempo", "alerts", "until", "expected"),
    [
        ((1, 2, 3), [(1, None)], 7, [(2, 1), (6, 1)]),
        ((1, 1, 4.9), [(1.1, None), (1.7, None), (3.3, None), (3.3, None), (3.3, None)], 9.5,
         [(2.1, 2), (4.1, 5), (9.1, 5)]),
        ((1, 5, 60), [(1, 4), (1, 11), (3, None)], 13, [(2, 2), (7, 2), (12, 1)]),
    ],
    ids=["repeats on ticks only", "joined later", "some end"],
)  # fmt: skip
def test_a_group_is_told_at_alertmanagers_times(
    tempo: tuple[float, float, float],
    alerts: list[tuple[float, float | None]],
    until: float,
    expected: list[tuple[float, int]],
) -> None:
    """group_wait, group_interval and repeat_interval mean what Alertmanager's own tests say."""
    wait, interval, repeat = tempo
    found = messages(Tempo(wait_s=wait, interval_s=interval, repeat_s=repeat), alerts, until)
    assert found == [(pytest.approx(at), count) for at, count in expected]


def test_what_began_long_ago_does_not_wait() -> None:
    """An alert that is older than group_wait when it fires is told at once."""
    old = open_incident(alert("r", NOW, started_at=NOW - 30), revision=None)
    tempo = Tempo(wait_s=30)
    assert owed_reason(old, row(), repeats=True, updates=True, tempo=tempo) == (FIRST, 0.0)


@pytest.mark.parametrize(
    ("hidden", "told", "uncertain", "resolved", "reason"),
    [
        (True, Told.NOTHING, None, False, None),
        (True, Told.OPEN, None, False, None),
        (True, Told.OPEN, None, True, RESOLVED),
        (True, Told.NOTHING, FIRST, True, RESOLVED),
        (True, Told.NOTHING, None, True, None),
        (False, Told.NOTHING, None, False, FIRST),
    ],
)
def test_hiding_stops_the_opening_and_never_the_end(
    hidden: bool,  # noqa: FBT001 - a table
    told: Told,
    uncertain: SendReason | None,
    resolved: bool,  # noqa: FBT001 - a table
    reason: SendReason | None,
) -> None:
    """Whoever was told, or may have been, hears of the end through any silence."""
    seen = replace(incident(NOW if resolved else None), hidden_by="a silence" if hidden else "")
    known = row(told=told, told_at=NOW if told is Told.OPEN else None, uncertain=uncertain)
    owed = owed_reason(seen, known, repeats=True, updates=True, tempo=Tempo(repeat_s=0))
    assert (owed and owed[0]) == reason


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"severity": "critical"}, (("pager",), ("deployment", "severity"))),
        ({"severity": "critical", "environment": "Staging"}, (("chat",), ("service",))),
        ({"severity": "info"}, (("rule",), ("deployment", "severity"))),
        ({"team": "web"}, (("web", "rule"), ("deployment", "severity"))),
    ],
    ids=["a branch", "the first leaf", "none matches", "goes on to the next"],
)
def test_the_route_tree_is_walked_like_alertmanagers(
    labels: dict[str, str], expected: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    """The deepest match of the first branch decides; `continue` looks at the next one too."""
    root = Route(
        routes=(
            Route(matchers=(parse_matcher("team=web"),), channels=("web",), continues=True),
            Route(matchers=(parse_matcher("team=web"),)),
            Route(
                matchers=(parse_matcher("severity=critical"),),
                channels=("pager",),
                routes=(
                    Route(
                        matchers=(parse_matcher("environment=~Stag.*"),),
                        channels=("chat",),
                        group_by=("service",),
                    ),
                ),
            ),
        )
    )
    assert routed(root, labels, ("rule",)) == expected


@pytest.mark.parametrize(
    ("first", "second", "revision", "joins"),
    [
        (alert("a", NOW), alert("b", NOW + 60), None, True),
        (alert("a", NOW), alert("b", NOW + JOIN_S + 1), None, False),
        (alert("a", NOW), alert("b", NOW + 60), "2", False),
        (alert("a", NOW), alert("a", NOW + 60), None, False),
    ],
    ids=["the same trouble", "hours later", "another release", "fires already"],
)
def test_what_joins_an_incident(
    first: IncidentAlert,
    second: IncidentAlert,
    revision: str | None,
    joins: bool,  # noqa: FBT001
) -> None:
    """What is not the same trouble is another incident, so that it calls somebody."""
    known = open_incident(first, revision="1", group="g")
    assert joinable(known, second, "g", revision, second.opened_at) is joins
    assert not joinable(known, second, "another group", revision, second.opened_at)


def test_a_receiver_that_heard_the_end_of_its_part_hears_of_another_incident() -> None:
    """No second opening of one incident: what comes after its end is a new one."""
    both = join(open_incident(alert("a", NOW, channels=("pager",)), revision=None, group="g"),
                alert("b", NOW + 1, channels=("chat",)))  # fmt: skip
    half = end_alert(both, Transition(at=NOW + 5, rule="a", deployment="d",
                     before=AlertState.FIRING, after=AlertState.RESOLVED, since=NOW))  # fmt: skip
    assert half.is_open
    assert not part(half, "pager").is_open
    assert part(half, "chat").is_open
    assert part(half, "fallback") is half
    third = alert("c", NOW + 9, channels=("pager",))
    assert not joinable(half, third, "g", None, NOW + 9)
    assert joinable(half, replace(third, channels=("chat",)), "g", None, NOW + 9)


STEPS = (
    EscalationStep(after_s=300, channels=("lead",)),
    EscalationStep(after_s=3600, channels=("boss", "c")),
)


@pytest.mark.parametrize(
    ("after_s", "changes", "called", "late"),
    [
        (299, {}, (), False),
        (300, {}, ("lead",), False),
        (3600, {}, ("lead", "boss", "c"), True),
        (301 + LATE_S, {}, ("lead",), True),
        (3600, {"hidden_by": "a silence"}, (), False),
        (3600, {"resolved_at": NOW + 10}, (), False),
        (3600, {"acknowledgement": Acknowledgement(by="ana", at=NOW + 1, until=NOW + 9999)}, (),
         False),
        (4000, {"acknowledgement": Acknowledgement(by="ana", at=NOW + 1, until=NOW + 4000)},
         ("lead", "boss", "c"), False),
    ],
    ids=["not yet", "first step", "all steps", "late", "hidden", "over", "acknowledged",
         "the acknowledgement expired"],
)  # fmt: skip
def test_who_is_called_when_nobody_answers(
    after_s: float,
    changes: dict[str, Any],
    called: tuple[str, ...],
    late: bool,  # noqa: FBT001
) -> None:
    """Steps are taken at their times, unless somebody works on it; a late one says so."""
    opened = replace(open_incident(alert("a", NOW), revision=None), **changes)
    found, is_late = escalate(opened, STEPS, NOW + after_s)
    assert (found.called, is_late) == (called, late)
    assert [note.text.split(" (")[0] for note in found.escalated] == [
        f"escalated to {', '.join(step.channels)}" for step in STEPS[: len(found.escalated)]
    ]
    assert escalate(found, STEPS, NOW + after_s) == (found, False)


def test_a_digest_counts_what_it_speaks_for_with_the_worst_first() -> None:
    """5,000 alerts are one message with their numbers; it ends with the last of them."""
    every = [
        open_incident(
            alert("r", NOW + n, deployment=f"d{n}",
                  severity=Severity.CRITICAL if n % 2 else Severity.INFO),
            revision=None,
        )
        for n in range(5000)
    ]  # fmt: skip
    digest = digest_of(every, "c", NOW)
    assert digest.alerts[0].severity is Severity.CRITICAL
    assert digest.summary == "5000 of 5000 alerts fire (2500 critical, 2500 info)"
    assert digest.covers == tuple(each.id for each in every)
    over = [replace(each, alerts=tuple(replace(a, resolved_at=NOW + 9) for a in each.alerts))
            for each in every]  # fmt: skip
    ended = digest_of(over, "c", NOW + 9, digest)
    assert (ended.id, ended.resolved_at) == (digest.id, NOW + 9)
    assert digest_of([*over[1:], every[0]], "c", NOW + 9, digest).is_open


def test_a_route_has_a_tempo_of_its_own() -> None:
    """What it does not say comes from above, as with channels; the first that matches decides."""
    slow = Route(
        matchers=(parse_matcher("severity=info"),),
        wait_s=30.0,
        routes=(Route(matchers=(parse_matcher("deployment=d"),), repeat_s=60.0),),
    )
    root = Route(wait_s=0.0, interval_s=300.0, repeat_s=3600.0, routes=(slow,))
    found = [
        tempo_of(root, open_incident(alert("r", NOW, severity=severity), revision=None))
        for severity in (Severity.CRITICAL, Severity.INFO)
    ]
    assert found == [
        Tempo(wait_s=0.0, interval_s=300.0, repeat_s=3600.0),
        Tempo(wait_s=30.0, interval_s=300.0, repeat_s=60.0),
    ]
