"""`monitor incidents`, `ack` and `silence` against the real HTTP surface of a small world."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

from monitor.fields import Secret
from monitor.model import Acknowledgement, Note, Silence
from monitor.scenario.provider import Reply, Request
from monitor.web.application import build_web
from tests.cli.conftest import Result, Run, aside
from tests.support.daemon import free_port
from tests.support.serve import serve
from tests.web.world import CLOSED, INCIDENT, NOW, SILENCE, TOKEN, World, part

ADD = ("add", "rule=high_latency", "deployment=~shop-.*", "--for", "2h", "--reason", "moving")
CHANGES = [
    ("ack", "01INCIDENT", "--by", "ada"),
    ("ack", "01INCIDENT", "--undo"),
    ("silence", *ADD, "--owner", "ada"),
    ("silence", "end", "0123456789ab"),
]


@dataclass(frozen=True)
class Place:
    """A served world, and how commands are run against it."""

    world: World
    ask: Callable[..., Awaitable[Result]]


@pytest.fixture
async def place(run: Run, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setenv("MONITOR_TOKEN", TOKEN)
    world = World().have_trouble()
    with ThreadPoolExecutor(1) as executor:
        app = build_web(world, token=Secret(TOKEN), executor=executor)
        async with TestServer(app, host="127.0.0.1") as server:
            url = str(server.make_url("/")).rstrip("/")

            async def ask(*arguments: str) -> Result:
                return await aside(functools.partial(run, *arguments, "--url", url))

            yield Place(world, ask)


async def test_incidents_are_listed(place: Place) -> None:
    """Open and closed, newest first, with who works on them."""
    said = Acknowledgement(by="ada", at=NOW - 10, until=NOW + 3590)
    place.world.open = [replace(INCIDENT, acknowledgement=said), CLOSED]
    result = await place.ask("incidents")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[1].split() == [
        "01INCIDENT", "open", "critical", "P1", "high_error_rate", "checkout-production",
        "2025-11-24T15:55:15Z", "ada",
    ]  # fmt: skip
    assert lines[2].split()[:2] == ["01CLOSED", "resolved"]
    result = await place.ask("incidents", "--limit", "1", "--output", "json")
    assert [each["id"] for each in result.document["incidents"]] == [INCIDENT.id]
    place.world.open, place.world.ledger = [], []
    assert (await place.ask("incidents")).out == "no incidents\n"


async def test_one_incident_is_told_whole(place: Place) -> None:
    """Every attempt with what, when, answer and how long it took; alerts, notes, escalation."""
    place.world.open = [
        replace(
            INCIDENT,
            summary="down \x1b[2Jnow\r\n",
            alerts=(part(1), part(2, resolved_at=NOW - 60)),
            acknowledgement=Acknowledgement(by="ada", at=NOW, until=NOW + 60, source="link"),
            escalated=(Note(at=NOW - 100, text="team lead: sms"),),
            hidden_by="silence 0123",
        )
    ]
    result = await place.ask("incidents", INCIDENT.id)
    assert (result.code, result.err) == (0, "")
    flat = " ".join(result.out.split())
    for words in (
        "01INCIDENT: critical P1, high_error_rate on checkout-production",
        "condition: error_rate_5m > 5",
        "began: 2025-11-24T15:55:00Z",
        "acknowledged: by ada (link) until 2025-11-24T16:01:00Z",
        "hidden: silence 0123",
        "high_error_rate checkout-0002 critical 2025-11-24T15:55:17Z 2025-11-24T15:59:00Z",
        "2025-11-24T15:55:20Z slack first delivered 200ms answer",
        "2025-11-24T15:55:21Z pagerduty first refused for now 200ms answer",
        "2025-11-24T15:58:20Z team lead: sms",
        "rolling back",
        "2.0 1.0 failed hook said",
    ):
        assert words in flat
    document = (await place.ask("incidents", INCIDENT.id, "--output", "json")).document
    assert [each["channel"] for each in document["attempts"]] == ["slack", "pagerduty"]
    closed = await place.ask("incidents", CLOSED.id)
    assert "over: 2025-11-24T13:46:40Z after 16m40s" in closed.out
    for wrong in ("nowhere", "../silences"):
        refused = await place.ask("incidents", wrong)
        assert (refused.code, refused.out) == (2, "")
        assert "no incident" in refused.err


async def test_an_incident_is_acknowledged_and_given_back(place: Place) -> None:
    """By the name given, else by the login; 1 when it is over, 2 when it never was."""
    result = await place.ask("ack", INCIDENT.id, "--by", "ada", "--for", "2h")
    assert (result.code, result.err) == (0, "")
    assert result.out == "01INCIDENT: acknowledged by ada until 2025-11-24T18:00:00Z\n"
    said = Acknowledgement(by="ada", at=NOW, until=NOW + 7200, source="cli")
    assert place.world.asked == [(INCIDENT.id, said)]
    result = await place.ask("ack", INCIDENT.id, "--output", "json")
    assert result.document["acknowledgement"]["until"] == NOW + 3600
    result = await place.ask("ack", INCIDENT.id, "--undo")
    assert (result.code, result.out) == (0, "01INCIDENT: not acknowledged any more\n")
    assert place.world.asked[-1] == (INCIDENT.id, None)
    for incident, code in ((CLOSED.id, 1), ("nowhere", 2)):
        refused = await place.ask("ack", incident)
        assert (refused.code, refused.out) == (code, "")
        assert "incident" in refused.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("ack", "01INCIDENT", "--for", "25h"), "at most 24h"),
        (("ack", "01INCIDENT", "--by", ""), "by is a line"),
        (("ack", "01INCIDENT", "--undo", "--by", "ada"), "--undo goes without"),
        (("silence", "add", "rule", "--for", "2h", "--reason", "x"), "matcher 1 is not a matcher"),
        (("silence", "add", "rule=x", "--for", "91d", "--reason", "x"), "at most 90d"),
        (("silence", "end", "nowhere"), "no such silence"),
    ],
)
async def test_what_cannot_be_is_explained(
    place: Place, arguments: tuple[str, ...], told: str
) -> None:
    """Exit 2, nothing on stdout, nothing changed."""
    result = await place.ask(*arguments)
    assert (result.code, result.out) == (2, "")
    assert told in result.err
    assert place.world.asked == []


async def test_a_silence_is_added_listed_and_ended(place: Place) -> None:
    """With its state in words; those that are over only when asked for."""
    assert (await place.ask("silence", "list")).out == "nothing is silenced\n"
    result = await place.ask("silence", *ADD, "--owner", "ada", "--until-resolved")
    [made] = place.world.silences()
    assert (result.code, result.err) == (0, "")
    assert result.out == f"{made.id}: silenced until 2025-11-24T18:00:00Z\n"
    assert (made.owner, made.reason, made.ends_on_resolve) == ("ada", "moving", True)
    result = await place.ask("silence", "list")
    row = "active rule=high_latency deployment=~shop-.* ada 2025-11-24T18:00:00Z or resolved moving"
    assert " ".join(result.out.splitlines()[1].split()) == f"{made.id} {row}"
    result = await place.ask("silence", "end", made.id)
    assert (result.code, result.out) == (0, f"{made.id}: ended\n")
    assert (await place.ask("silence", "end", made.id)).code == 1
    assert (await place.ask("silence", "list")).out == "nothing is silenced\n"
    assert f"{made.id}  ended" in (await place.ask("silence", "list", "--all")).out
    document = (await place.ask("silence", "list", "--all", "--output", "json")).document
    assert [each["id"] for each in document["silences"]] == [made.id]


@pytest.mark.parametrize(
    ("silence", "state"),
    [
        (SILENCE, "active"),
        (replace(SILENCE, starts_at=NOW + 1), "to come"),
        (replace(SILENCE, ends_at=NOW), "expired"),
        (replace(SILENCE, ended_at=NOW), "ended"),
    ],
)
async def test_the_state_of_a_silence(place: Place, silence: Silence, state: str) -> None:
    """One of four words."""
    place.world.quiet = {silence.id: silence}
    assert f"{silence.id}  {state}" in (await place.ask("silence", "list", "--all")).out


async def test_changes_need_the_token(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the environment or a file; without one, or with a wrong one, exit 2."""
    command = ("ack", INCIDENT.id, "--by", "ada")
    monkeypatch.delenv("MONITOR_TOKEN")
    for arguments, told in (
        (command, "MONITOR_TOKEN is not set"),
        ((*command, "--token-file", str(tmp_path / "none")), "cannot be read"),
    ):
        result = await place.ask(*arguments)
        assert (result.code, result.out, told in result.err) == (2, "", True), result.err
        assert "--token-file" in result.err
    monkeypatch.setenv("MONITOR_TOKEN", "wrong")
    result = await place.ask(*command)
    assert (result.code, "wrong" in result.err) == (2, False)
    assert "the configured token" in result.err
    monkeypatch.setenv("MONITOR_TOKEN", "no\nheader")
    assert (await place.ask(*command)).code == 2
    assert place.world.asked == []
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    result = await place.ask(*command, "--token-file", str(tmp_path / "token"))
    assert (result.code, result.err) == (0, "")


async def test_an_overload_is_no_answer(place: Place) -> None:
    """Exit 3: it may be taken in when it is sent again."""
    place.world.overloaded = True
    for command in CHANGES[:3]:
        result = await place.ask(*command)
        assert (result.code, result.out) == (3, "")
        assert "overloaded" in result.err


class Stranger:
    """Some other server, which answers everything in one way."""

    def __init__(self, status: int, body: bytes) -> None:
        self.reply = Reply(status=status, body=body)

    def handle(self, request: Request) -> Reply:
        return self.reply


@pytest.mark.parametrize("command", CHANGES, ids=" ".join)
async def test_nobody_and_somebody_else(
    run: Run, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 3 with the address."""
    monkeypatch.setenv("MONITOR_TOKEN", TOKEN)
    url = f"http://127.0.0.1:{free_port()}"
    result = await aside(run, *command, "--url", url)
    assert (result.code, result.out, url in result.err) == (3, "", True)
    for status, body in ((200, b"{}"), (200, b"[]"), (404, b"<html>"), (500, b'{"error": "no"}')):
        async with serve(Stranger(status, body)) as url:
            result = await aside(run, *command, "--url", url)
        assert (result.code, result.out, url in result.err) == (3, "", True)
