"""PagerDuty's webhook: believed only when signed, and only about who works on what."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from monitor.model import TAKEN_BACK, Acknowledgement, Note, Owed
from monitor.notify.pagerduty import dedup_key
from monitor.web.guard import BODY_LIMIT
from monitor.web.pagerduty import HEADER, MAX_AGE_S, PATH
from tests.web.world import INCIDENT, NOW, WEBHOOK_SECRETS, World

SECRET = WEBHOOK_SECRETS[0].reveal()
PERSON = {"id": "P1", "type": "user_reference", "summary": "Ada Lovelace"}
INTEGRATION = {"id": "P2", "type": "service_reference", "summary": "slo-monitor"}


def event(kind: str = "incident.acknowledged", at: float = NOW - 5, **changes: object) -> bytes:
    """A delivery with the fields that PagerDuty sends, as far as they matter here."""
    said: dict[str, Any] = {
        "id": "01EVENT",
        "event_type": kind,
        "resource_type": "incident",
        "occurred_at": datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z"),
        "agent": PERSON,
        "client": None,
        "data": {
            "id": "PINCIDENT",
            "type": "incident",
            "number": 7,
            "status": "acknowledged",
            "incident_key": dedup_key(INCIDENT.key),
            "title": "checkout",
        },
    }
    return json.dumps({"event": said | changes}).encode()


def signature(body: bytes, secret: str = SECRET) -> str:
    return "v1=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


async def send(
    client: TestClient, body: bytes, signed: str | None = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    given = {HEADER: signature(body) if signed is None else signed}
    media = {"Content-Type": "application/json"}
    answer = await client.post(PATH, data=body, headers={**media, **given, **headers})
    return answer.status, await answer.json()


def acknowledged(at: float = NOW - 5) -> tuple[str, Acknowledgement]:
    said = Acknowledgement(by="Ada Lovelace", at=at, until=at + 86400, source="pagerduty")
    return INCIDENT.id, said


async def test_an_acknowledgement_arrives(client: TestClient, world: World) -> None:
    """With the name of the person; PagerDuty itself says when it is over."""
    status, body = await send(client, event())
    assert (status, body["outcome"]) == (202, "acknowledged")
    assert world.asked == [acknowledged()]
    status, body = await send(client, event("incident.unacknowledged", NOW - 1, agent=None))
    assert (status, body["outcome"]) == (202, "acknowledgement withdrawn")
    assert world.asked[1:] == [(INCIDENT.id, None)]


BODY = event()
FORGED = {
    "none": "",
    "of another secret": signature(BODY, "guessed"),
    "of another body": signature(event(at=NOW - 6)),
    "without its version": signature(BODY).removeprefix("v1="),
    "of another version": signature(BODY).replace("v1=", "v0="),
    "in capitals": "v1=" + signature(BODY).removeprefix("v1=").upper(),
    "cut": signature(BODY)[:-1],
    "lengthened": signature(BODY) + "0",
    "empty": "v1=",
    "only commas": ",,,",
    "no text": "v1=\u00fc\u00e4",
    "with an empty key": signature(BODY, ""),
    "many wrong ones": ",".join(signature(BODY, str(number)) for number in range(20)),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
async def test_forged_webhooks_change_nothing(
    client: TestClient,
    world: World,
    caplog: pytest.LogCaptureFixture,
    bearer: Mapping[str, str],
    forged: str,
) -> None:
    """401 and a line in the log, with or without the token."""
    for headers in ({}, bearer):
        assert (await send(client, BODY, forged, **headers))[0] == 401
    assert world.asked == []
    assert caplog.text.count("wrong signature") == 2


@pytest.mark.parametrize(
    "signed",
    [
        f"{signature(BODY, 'new')},{signature(BODY)}",
        f"{signature(BODY)}, {signature(BODY, 'new')}",
        signature(BODY, WEBHOOK_SECRETS[1].reveal()),
        f"v2=unknown,{signature(BODY)}",
    ],
)
async def test_secrets_are_rotated_without_a_gap(
    client: TestClient, world: World, signed: str
) -> None:
    """They sign with several and we know several: one pair that fits will do."""
    assert (await send(client, BODY, signed))[0] == 202
    assert world.asked == [acknowledged()]


@pytest.mark.parametrize(
    "body",
    [
        event("incident.resolved"),
        event("incident.triggered"),
        event("pagey.ping", data={"message": "hello", "type": "ping"}),
        event(data={"incident_key": "somebody else's"}),
        event(data={"incident_key": None}),
        event(data=None),
        event(at=INCIDENT.opened_at - 61),
        event(at=NOW - MAX_AGE_S - 1),
        event(at=NOW + 61),
        event("incident.unacknowledged"),
    ],
)
async def test_what_says_nothing_about_who_works_on_it_is_ignored(
    client: TestClient, world: World, body: bytes
) -> None:
    """202, so that it is not told again: other incidents, other events, other times."""
    status, answer = await send(client, body)
    assert status == 202
    assert answer["outcome"].startswith(("ignored: ", "noted: "))
    assert world.asked == []


async def test_a_replay_is_harmless(client: TestClient, world: World) -> None:
    """What was taken back stays taken back, whatever is sent once more."""
    first, back = event(at=NOW - 60), event("incident.unacknowledged", NOW - 30)
    for body in (first, back, first, back, first):
        assert (await send(client, body))[0] == 202
    assert world.asked == [acknowledged(NOW - 60), (INCIDENT.id, None)]


async def test_a_replay_after_a_restart_is_harmless(client: TestClient, world: World) -> None:
    """The incident itself remembers that the acknowledgement was taken back."""
    world.open = [INCIDENT.with_note(Note(at=NOW - 29, text=TAKEN_BACK))]
    outcome = (await send(client, event(at=NOW - 60)))[1]["outcome"]
    assert outcome == "ignored: something later is known"
    assert world.asked == []
    await send(client, event(at=NOW - 10))
    assert world.asked == [acknowledged(NOW - 10)]


async def test_what_came_by_another_way_is_not_undone(client: TestClient, world: World) -> None:
    """Neither an echo of our own message nor PagerDuty's timeout takes it from whoever said so."""
    said = Acknowledgement(by="grace", at=NOW - 100, until=NOW + 900, source="cli")
    world.open = [replace(INCIDENT, acknowledgement=said)]
    for body in (event(agent=INTEGRATION), event("incident.unacknowledged", NOW - 2)):
        assert (await send(client, body))[1]["outcome"].startswith("ignored: ")
    assert (await send(client, event(at=NOW - 101)))[1]["outcome"].startswith("ignored: ")
    assert world.asked == []
    await send(client, event(at=NOW - 1))
    assert world.asked == [acknowledged(NOW - 1)]


async def test_an_overload_is_told_again(client: TestClient, world: World) -> None:
    """What was not taken in is refused, and taken in when it comes again."""
    world.overloaded = True
    assert (await send(client, event()))[0] == 503
    world.overloaded = False
    assert (await send(client, event()))[0] == 202
    assert world.asked == [acknowledged()]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"no json", 400),
        (b"[]", 400),
        (b'{"event": 1}', 400),
        (event(occurred_at="yesterday"), 400),
        (b" " * (BODY_LIMIT + 1), 413),
    ],
)
async def test_bad_bodies_are_refused(
    client: TestClient, world: World, body: bytes, status: int
) -> None:
    """Even with a good signature."""
    assert (await send(client, body))[0] == status
    assert world.asked == []


async def test_hostile_names_are_cut(client: TestClient, world: World) -> None:
    """A name is one line of at most 100 characters."""
    await send(client, event(agent={"type": "user_reference", "summary": "a\r\nb\x00" * 100}))
    [(_, said)] = world.asked  # type: ignore[misc]
    assert said.by == ("ab" * 100)[:100]


async def test_an_incident_under_a_key_of_its_own_is_found_by_that(
    client: TestClient, world: World
) -> None:
    """Its alert's key is that of an earlier episode, which is still open over there."""
    own = f"{INCIDENT.key}/{INCIDENT.id}"
    world.told = [Owed(incident=INCIDENT.id, channel="pagerduty", key=own)]
    assert (await send(client, event()))[1]["outcome"] == "ignored: no open incident has this key"
    body = event(data={"incident_key": own})
    assert (await send(client, body))[1]["outcome"] == "acknowledged"


async def test_a_clock_that_was_set_makes_no_event_old(client: TestClient, world: World) -> None:
    """Their time is the wall's, also when somebody sets it while we run."""
    world.ahead_s = 7200.0
    assert (await send(client, event(at=NOW + 7199)))[1]["outcome"] == "acknowledged"
    assert world.asked == [acknowledged(NOW - 1)]
