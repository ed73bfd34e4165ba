"""Silences and acknowledgements over HTTP: what is taken in, and what is refused in which words."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from tests.web.world import INCIDENT, NOW, TOKEN, World

GOOD = {"matchers": ["deployment=shop-staging"], "owner": "ana", "reason": "load", "duration": "2h"}
BEARER = {"authorization": f"Bearer {TOKEN}"}


async def post(client: TestClient, path: str, body: object) -> tuple[int, dict[str, Any]]:
    answer = await client.post(path, json=body, headers=BEARER)
    return answer.status, await answer.json()


async def test_a_silence_is_made_listed_and_ended(client: TestClient) -> None:
    """Whoever looks sees what is hidden, by whom, why and until when."""
    status, body = await post(client, "/api/v1/silences", GOOD)
    assert status == 202
    [known] = (await (await client.get("/api/v1/silences")).json())["silences"]
    assert known == {
        "id": body["accepted"]["id"], "matchers": ["deployment=shop-staging"], "owner": "ana",
        "reason": "load", "starts_at": NOW, "ends_at": NOW + 7200, "ends_on_resolve": False,
        "active": True,
    }  # fmt: skip
    assert (await post(client, f"/api/v1/silences/{known['id']}/end", {}))[0] == 202
    assert (await post(client, f"/api/v1/silences/{known['id']}/end", {}))[0] == 404


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"matchers": []}, "matchers is a list"),
        ({"matchers": "rule=x"}, "matchers is a list"),
        ({"matchers": ["nonsense"]}, "expected name=value"),
        ({"matchers": ["rule=~("]}, "not a pattern"),
        ({"duration": "91d"}, "at most 90d"),
        ({"duration": "-1h"}, "such as 2h"),
        ({"duration": 7}, "such as 2h"),
        ({"owner": ""}, "owner is a text"),
        ({"reason": "a\nb"}, "reason is a text"),
        ({"ends_on_resolve": "yes"}, "true or false"),
        ({"more": 1}, "are known keys"),
    ],
)
async def test_a_silence_that_is_not_meant_so_is_refused(
    change: dict[str, object], words: str, client: TestClient, world: World
) -> None:
    """The answer says what was expected, and nothing is hidden."""
    status, body = await post(client, "/api/v1/silences", GOOD | change)
    assert status == 400
    assert words in body["error"]
    assert not world.silenced


async def test_an_incident_is_acknowledged_and_that_is_taken_back(
    client: TestClient, world: World
) -> None:
    """By whom and until when; only while it is open."""
    path = f"/api/v1/incidents/{INCIDENT.id}"
    assert (await post(client, f"{path}/unacknowledge", {}))[0] == 409
    status, body = await post(client, f"{path}/acknowledge", {"by": "ana", "duration": "30m"})
    assert (status, body["until"]) == (202, NOW + 1800)
    assert world.open[0].acknowledgement is not None
    assert (await post(client, f"{path}/unacknowledge", {}))[0] == 202
    closed = world.open[1].id
    wrong = [
        (f"/api/v1/incidents/{closed}/acknowledge", {"by": "ana"}, 409),
        ("/api/v1/incidents/nothing/acknowledge", {"by": "ana"}, 404),
        (f"{path}/acknowledge", {}, 400),
        (f"{path}/acknowledge", {"by": "ana", "duration": "25h"}, 400),
    ]
    for where, said, expected in wrong:
        assert (await post(client, where, said))[0] == expected
    world.overloaded = True
    assert (await post(client, f"{path}/acknowledge", {"by": "ana"}))[0] == 503


async def test_without_the_token_nothing_changes(client: TestClient, world: World) -> None:
    """A forged request is refused before it is read."""
    for path in ("/api/v1/silences", f"/api/v1/incidents/{INCIDENT.id}/acknowledge"):
        answer = await client.post(path, json=GOOD, headers={"authorization": "Bearer forged"})
        assert answer.status == 401
    assert not world.silenced
    assert world.open[0].acknowledgement is None
