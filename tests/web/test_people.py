"""Silences and acknowledgements over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from monitor.model import Acknowledgement, Matcher
from monitor.web.people import ACKNOWLEDGE_SCHEMA, SILENCE_SCHEMA
from tests.web.world import CLOSED, INCIDENT, NOW, SILENCE, World

DAY = 86400
GOOD: Mapping[str, object] = {
    "matchers": ["rule=high_latency", 'deployment=~"shop-.*"'],
    "owner": "ada",
    "reason": "moving the database",
    "duration": "2h",
}


def text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


async def post(
    client: TestClient, bearer: Mapping[str, str], path: str, body: object = None
) -> tuple[int, dict[str, Any]]:
    answer = await client.post(f"/api/v1/{path}", json=body, headers=dict(bearer))
    return answer.status, await answer.json()


async def listed(client: TestClient) -> list[dict[str, Any]]:
    answer = await client.get("/api/v1/silences")
    found: list[dict[str, Any]] = (await answer.json())["silences"]
    return found


async def test_a_silence_is_made_listed_and_ended(
    client: TestClient, world: World, bearer: Mapping[str, str]
) -> None:
    """Matchers come back as they are written; an ended one stays in the list."""
    status, body = await post(client, bearer, "silences", GOOD)
    assert status == 202
    [made] = world.silences()
    assert made.matchers == (
        Matcher(name="rule", operator="=", value="high_latency"),
        Matcher(name="deployment", operator="=~", value="shop-.*"),
    )
    assert (made.starts_at, made.ends_at, made.ends_on_resolve) == (NOW, NOW + 7200, False)
    [shown] = await listed(client)
    assert shown == body["accepted"]
    assert (shown["id"], shown["active"]) == (made.id, True)
    assert shown["matchers"] == ["rule=high_latency", "deployment=~shop-.*"]

    assert (await post(client, bearer, f"silences/{made.id}/end"))[0] == 202
    [shown] = await listed(client)
    assert (shown["active"], shown["ended_at"]) == (False, NOW)
    assert (await post(client, bearer, f"silences/{made.id}/end"))[0] == 409
    assert (await post(client, bearer, "silences/nowhere/end"))[0] == 404


async def test_what_is_listed_can_be_asked_for_again(
    client: TestClient, world: World, bearer: Mapping[str, str]
) -> None:
    """The list's matchers are those of the request: a silence can be copied."""
    world.quiet = {SILENCE.id: SILENCE}
    [shown] = await listed(client)
    body = {key: shown[key] for key in ("matchers", "owner", "reason")} | {"duration": "1h"}
    assert (await post(client, bearer, "silences", body))[0] == 202
    assert world.silences()[0].matchers == SILENCE.matchers


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"duration": "90d"}, (NOW, NOW + 90 * DAY, False)),
        ({"ends_at": text(NOW + 60)}, (NOW, NOW + 60, False)),
        (
            {"starts_at": text(NOW + 600), "duration": "10m", "ends_on_resolve": True},
            (NOW + 600, NOW + 1200, True),
        ),
        ({"starts_at": text(NOW - 60), "ends_at": text(NOW + 60)}, (NOW - 60, NOW + 60, False)),
    ],
)
async def test_when_a_silence_begins_and_ends(
    client: TestClient,
    world: World,
    bearer: Mapping[str, str],
    given: dict[str, object],
    expected: tuple[float, float, bool],
) -> None:
    """Now or later, by a duration or by a time."""
    body = {key: value for key, value in GOOD.items() if key != "duration"} | given
    assert (await post(client, bearer, "silences", body))[0] == 202
    [made] = world.silences()
    assert (made.starts_at, made.ends_at, made.ends_on_resolve) == expected


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"matchers": []}, "matchers is a list of 1 to 20 texts"),
        ({"matchers": "rule=x"}, "matchers is a list of 1 to 20 texts"),
        ({"matchers": ["rule=x", 5]}, "matchers is a list of 1 to 20 texts"),
        ({"matchers": ["rule=x"] * 21}, "matchers is a list of 1 to 20 texts"),
        ({"matchers": ["rule=x", "rule"]}, "matcher 2 is not a matcher"),
        ({"matchers": ["rule=~("]}, "matcher 1 is not a pattern"),
        ({"matchers": ["rule=~.*"]}, "must name a value"),
        ({"matchers": ["rule!=x"]}, "must name a value"),
        ({"owner": " "}, "owner is a line of 1 to 100"),
        ({"owner": "a\nb"}, "owner is a line of 1 to 100"),
        ({"owner": 5}, "owner is a line of 1 to 100"),
        ({"reason": "x" * 501}, "reason is a line of 1 to 500"),
        ({"duration": "2 hours"}, "duration is a duration such as 30m or 2h, at most 90d"),
        ({"duration": "0s"}, "duration is a duration"),
        ({"duration": "91d"}, "at most 90d"),
        ({"ends_at": text(NOW + 60)}, "give duration (such as 2h) or ends_at"),
        ({"starts_at": "tomorrow"}, "starts_at is a time with an offset"),
        ({"starts_at": "2025-11-24T16:00:00"}, "starts_at is a time with an offset"),
        ({"starts_at": text(NOW - 7200)}, "not in the past"),
        ({"starts_at": text(NOW + 91 * DAY)}, "starts_at is within 90 days"),
        ({"ends_on_resolve": "yes"}, "ends_on_resolve is true or false"),
        ({"who": "me"}, "the known keys are matchers, owner"),
    ],
)
async def test_what_is_no_silence_changes_nothing(
    client: TestClient,
    world: World,
    bearer: Mapping[str, str],
    changes: dict[str, object],
    told: str,
) -> None:
    """400, and what to mend."""
    status, body = await post(client, bearer, "silences", {**GOOD, **changes})
    assert (status, told in body["error"]) == (400, True), body
    assert world.asked == []


@pytest.mark.parametrize(
    ("ends_at", "told"),
    [
        (NOW - 60, "not in the past"),
        (NOW, "not in the past"),
        (NOW + 90 * DAY + 1, "90 days at most"),
    ],
)
async def test_a_silence_has_an_end_in_sight(
    client: TestClient, world: World, bearer: Mapping[str, str], ends_at: float, told: str
) -> None:
    """Later than now, and not for ever."""
    body = {key: value for key, value in GOOD.items() if key != "duration"}
    status, answer = await post(client, bearer, "silences", body | {"ends_at": text(ends_at)})
    assert (status, told in answer["error"]) == (400, True), answer
    assert world.asked == []


@pytest.mark.parametrize(
    ("body", "until", "source"),
    [
        ({"by": "ada"}, NOW + 3600, "api"),
        ({"by": " ada ", "duration": "24h"}, NOW + DAY, "api"),
        ({"by": "ada", "duration": "90s", "source": "cli"}, NOW + 90, "cli"),
    ],
)
async def test_an_incident_is_acknowledged_and_given_back(  # noqa: PLR0917 - a table's columns
    client: TestClient,
    world: World,
    bearer: Mapping[str, str],
    body: dict[str, object],
    until: float,
    source: str,
) -> None:
    """For an hour by default; giving back twice is harmless."""
    path = f"incidents/{INCIDENT.id}"
    said = Acknowledgement(by="ada", at=NOW, until=until, source=source)
    status, answer = await post(client, bearer, f"{path}/acknowledge", body)
    assert (status, answer["acknowledgement"]["until"]) == (202, until)
    for _ in range(2):
        assert (await post(client, bearer, f"{path}/unacknowledge"))[0] == 202
    assert world.asked == [(INCIDENT.id, said), (INCIDENT.id, None), (INCIDENT.id, None)]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "by is a line"),
        ({"by": ""}, "by is a line"),
        ({"by": "x" * 101}, "by is a line"),
        ({"by": "ada", "duration": "25h"}, "at most 24h"),
        ({"by": "ada", "duration": 3600}, "duration is a duration"),
        ({"by": "ada", "source": "pagerduty"}, "source is one of api, cli"),
        ({"by": "ada", "until": NOW}, "the known keys are by, duration, source"),
    ],
)
async def test_what_is_no_acknowledgement_changes_nothing(
    client: TestClient,
    world: World,
    bearer: Mapping[str, str],
    body: dict[str, object],
    told: str,
) -> None:
    """400, and what to mend."""
    path = f"incidents/{INCIDENT.id}/acknowledge"
    status, answer = await post(client, bearer, path, body)
    assert (status, told in answer["error"]) == (400, True), answer
    assert world.asked == []


@pytest.mark.parametrize("action", ["acknowledge", "unacknowledge"])
async def test_only_open_incidents_are_acknowledged(
    client: TestClient, world: World, bearer: Mapping[str, str], action: str
) -> None:
    """404 for one that never was, 409 for one that is over, 503 when nobody can tell."""

    async def ask(incident: str) -> int:
        return (await post(client, bearer, f"incidents/{incident}/{action}", {"by": "ada"}))[0]

    assert await ask("nowhere") == 404
    assert await ask(CLOSED.id) == 409
    world.open = [INCIDENT]
    assert await ask(CLOSED.id) == 409
    world.store_error = "disk on fire"
    assert await ask(CLOSED.id) == 503
    assert world.asked == []
    world.overloaded = True
    assert await ask(INCIDENT.id) == 503


async def test_the_contract_names_what_is_read(client: TestClient) -> None:
    """Bodies, and that these need the token."""
    contract = await (await client.get("/api/v1/openapi.json")).json()
    for path, schema in (
        ("/api/v1/silences", SILENCE_SCHEMA),
        ("/api/v1/incidents/{id}/acknowledge", ACKNOWLEDGE_SCHEMA),
    ):
        operation = contract["paths"][path]["post"]
        assert operation["requestBody"]["content"]["application/json"]["schema"] == schema
        assert operation["security"] == [{"token": []}]
