"""What is owed to whom, and how an attempt settles, as tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.model import (
    Delivery,
    DeliveryResult,
    Incident,
    Owed,
    SendReason,
    Severity,
    Told,
)
from monitor.routing import (
    BACKOFF_CAP_S,
    PARKED_RETRY_S,
    Tempo,
    incident_id,
    incident_key,
    owed_reason,
    settle,
)

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
    after = settle(before, FIRST, Delivery(result=result, detail="no"), incident(), NOW, 0.5)
    assert (after.told, after.uncertain, after.parked, after.intent) == (
        told, uncertain, parked, None,
    )  # fmt: skip


def test_a_retry_after_an_uncertain_send_stays_marked() -> None:
    """A refusal now says nothing about the earlier message that may have arrived."""
    before = row(uncertain=FIRST, intent=FIRST)
    after = settle(before, FIRST, Delivery(result=DeliveryResult.RETRY), incident(), NOW, 0.5)
    assert after.uncertain is FIRST


@given(attempts=st.integers(0, 60), jitter=st.floats(0, 1, exclude_max=True),
       asked=st.none() | st.floats(0, 3600))  # fmt: skip
def test_back_off_is_bounded_and_never_earlier_than_asked(
    attempts: int, jitter: float, asked: float | None
) -> None:
    """However often it failed, the next try comes, and not before the provider's own time."""
    delivery = Delivery(result=DeliveryResult.RETRY, retry_after_s=asked)
    wait = settle(row(attempts=attempts), FIRST, delivery, incident(), NOW, jitter).next_at - NOW
    assert (asked or 0) <= wait + 1e-6
    assert 0 < wait <= max(BACKOFF_CAP_S * 1.25, asked or 0) + 1e-6


def test_a_parked_message_is_tried_again_rarely() -> None:
    """A permanent refusal waits an hour, not two seconds."""
    delivery = Delivery(result=DeliveryResult.PERMANENT, detail="invalid_token")
    assert settle(row(), FIRST, delivery, incident(), NOW, 0).next_at == NOW + PARKED_RETRY_S


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
