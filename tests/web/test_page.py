"""The live page: what somebody who was just woken must see, and nothing that runs by itself."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from monitor.model import (
    Acknowledgement,
    Note,
    Outcome,
    Owed,
    Priority,
    Sample,
    SendReason,
    Severity,
    Told,
)
from tests.web.world import (
    HOSTILE,
    INCIDENT,
    NOW,
    SILENCE,
    SPECS,
    Connect,
    World,
    make_spec,
    part,
)

VOID = {"meta", "link", "path", "rect", "circle"}


class Reader(HTMLParser):
    """Checks nesting; collects the text and every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.elements.append((tag, dict(attrs)))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in VOID
        self.open.append(tag)
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


async def read(client: TestClient, path: str = "/") -> Reader:
    answer = await client.get(path)
    assert (answer.status, answer.content_type) == (200, "text/html")
    return Reader(await answer.text())


async def test_an_open_incident_is_told_whole(client: TestClient) -> None:
    """How bad, where, since when, why, on which revision, who knows, what was done."""
    page = await read(client)
    for words in (
        "1 critical incident open",
        "high_error_rate",
        "for 5m 0s",
        "error_rate_5m > 5",
        "error_rate_5m 100 %, p95_latency no data",
        "slack: told at 15:55:20",
        "pagerduty: 1 failed attempt, next at 16:00:05",
        "rolling back",
    ):
        assert words in page.text


async def test_an_open_incident_names_its_alerts(client: TestClient, world: World) -> None:
    """At most twenty, the open and severe ones before others, and how many are left out."""
    alerts = tuple(
        part(
            number,
            severity=Severity.WARNING if number < 20 else Severity.CRITICAL,
            resolved_at=NOW - 30 if number == 29 else None,
        )
        for number in range(30)
    )
    world.open = [replace(INCIDENT, alerts=alerts)]
    text = (await read(client)).text
    shown = [number for number in range(30) if f"checkout-{number:04d}" in text]
    assert shown == [*range(11), *range(20, 29)]
    assert text.index("checkout-0028") < text.index("checkout-0000")
    assert "and 10 more, 9 of them open" in text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ("P1", "nobody works on it for 5m 0s")),
        ({"priority": Priority.P3}, ("P3",)),
        (
            {"acknowledgement": Acknowledgement(by=f"ada {HOSTILE}", at=NOW, until=NOW + 60)},
            ("ada", "works on it until 16:01:00"),
        ),
        (
            {"acknowledgement": Acknowledgement(by="ada", at=NOW - 90, until=NOW)},
            ("nobody works on it any more: ada did until 16:00:00",),
        ),
        ({"hidden_by": "maintenance"}, ("nobody is told", "hidden by maintenance")),
        (
            {"escalated": (Note(at=NOW - 60, text="team lead by sms"),)},
            ("15:59:00 1m 0s ago escalated: team lead by sms",),
        ),
    ],
)
async def test_an_open_incident_says_who_works_on_it(
    client: TestClient, world: World, changes: dict[str, Any], told: tuple[str, ...]
) -> None:
    """Until when, who was called, and why nobody is told."""
    world.open = [replace(INCIDENT, **changes)]
    text = (await read(client)).text
    for words in told:
        assert words in text


async def test_silences_are_shown_while_they_matter(client: TestClient, world: World) -> None:
    """In force or to come, with owner, reason and end; hostile text stays text."""
    assert "Silences" not in (await read(client)).text
    silences = (
        SILENCE,
        replace(SILENCE, id="tocome", starts_at=NOW + 60, ends_on_resolve=True),
        replace(SILENCE, id="expired", ends_at=NOW),
        replace(SILENCE, id="ended", ended_at=NOW),
    )
    world.quiet = {each.id: each for each in silences}
    page = await read(client)
    for words in (
        "16:50:00 in 50m 0s in force rule=high_latency",
        f"ada {HOSTILE}",
        f"moving the database {HOSTILE}",
        "or when it is over from 16:01:00",
    ):
        assert " ".join(words.split()) in page.text
    for absent in ("expired", "ended"):
        assert absent not in page.text


async def test_a_deployment_shows_figures_clauses_and_targets(client: TestClient) -> None:
    """Values with units, limits, and kept or violated in words."""
    text = (await read(client)).text
    for words in (
        "checkout-production",
        "unhealthy",
        "error rate 5m 100 %",
        "error rate < 0.1%",
        "violated",
        "uptime >= 99.9%",
        "kept",
        "budget left",
        "high_error_rate firing",
        "http us",
        "not probed yet",
        "revision not known",
        "before: 1.0",
    ):
        assert words in text


async def test_records_are_shown(client: TestClient) -> None:
    """Closed incidents, the ledger with answers, rollbacks with reasons."""
    text = (await read(client)).text
    assert "high_latency shop-production lasted 16m 40s" in text
    assert "opened: high_error_rate on checkout-production refused for now answer" in text
    assert "no answer" in text
    assert "failed high_error_rate; hook said" in text


async def test_the_worst_deployment_comes_first(client: TestClient) -> None:
    """At three in the morning nobody scrolls."""
    text = (await read(client)).text.split("Deployments", 1)[1]
    places = [text.index(name) for name in ("checkout-production", "search-canary", "shop-staging")]
    assert places == sorted(places)


async def test_hostile_text_stays_text(client: TestClient) -> None:
    """Target output, annotations, provider answers: shown as letters, and no tag comes of it."""
    page = await read(client)
    raw = await (await client.get("/")).text()
    assert HOSTILE in "".join(page.words)
    assert "<script>" not in raw
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert scripts == [{"src": "/static/live.js", "defer": ""}]


async def test_nothing_in_the_page_needs_more_than_the_policy_allows(client: TestClient) -> None:
    """No inline style, handler or foreign resource, which the CSP would block anyway."""
    page = await read(client)
    for tag, attributes in page.elements:
        assert tag != "style"
        for name, value in attributes.items():
            assert name != "style"
            assert not name.startswith("on")
            assert name != "src" or str(value).startswith("/static/")
            assert name != "href" or tag == "a" or str(value).startswith("/static/")
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert all(re.match(r"https?://|/", str(link)) for link in links)


async def test_credentials_in_a_url_are_not_shown(client: TestClient) -> None:
    """Neither as text nor as a link."""
    raw = await (await client.get("/")).text()
    assert "https://checkout-production.example.com/" in raw
    assert "hunter2" not in raw


async def test_an_empty_installation_says_what_to_do(connect: Connect, empty_world: World) -> None:
    """Calm, and with a next step."""
    text = (await read(await connect(empty_world))).text
    assert "Nothing is monitored yet" in text
    assert "Add one under deployments:" in text
    assert "Nothing sent yet." in text


async def test_of_many_targets_the_troubled_ones_are_shown(connect: Connect) -> None:
    """A deployment with hundreds of targets stays readable, and its page small."""
    spec = make_spec("big-production", "checkout", "Production")
    targets = tuple(
        replace(spec.targets[0], id=f"big/{number}", region=f"r{number}") for number in range(40)
    )
    world = World([replace(spec, targets=targets)])
    outcomes = [Outcome.BAD if number >= 30 else Outcome.GOOD for number in range(40)]
    samples = [
        Sample(target=target.id, at=NOW - 15, outcome=outcome, latency_s=0.1)
        for target, outcome in zip(targets, outcomes, strict=True)
    ]
    world.engine.step(NOW, samples)
    text = (await read(await connect(world))).text
    assert all(f"http r{number} " in text for number in range(30, 40))
    assert "and 28 more, 0 of them bad" in text


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        (4, "No open incident; 1 of 4 deployments unhealthy"),
        (1, "All quiet: 1 deployment healthy"),
    ],
)
async def test_the_first_sentence_without_incidents(
    connect: Connect, count: int, sentence: str
) -> None:
    """The worst that is the case, or that all is quiet."""
    world = World(SPECS[:count]).run_an_hour()
    assert sentence in (await read(await connect(world))).text


@pytest.mark.parametrize("trouble", ["unready", "stuck"])
async def test_our_own_trouble_comes_first(connect: Connect, world: World, trouble: str) -> None:
    """What a sick monitor says about others is worth little."""
    setattr(world, trouble, "the pipeline stands still")
    text = (await read(await connect(world))).text
    assert "The monitor itself is not well: the pipeline stands still" in text


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (None, "slack: nothing owed"),
        (Owed(incident=INCIDENT.id, channel="slack"), "slack: to be told"),
        (
            Owed(incident=INCIDENT.id, channel="slack", intent=SendReason.FIRST),
            "slack: sending",
        ),
        (
            Owed(incident=INCIDENT.id, channel="slack", told=Told.OPEN, told_at=NOW - 60),
            "slack: told at 15:59:00",
        ),
        (
            Owed(incident=INCIDENT.id, channel="slack", attempts=3, next_at=NOW + 60),
            "slack: 3 failed attempts, next at 16:01:00",
        ),
        (
            Owed(incident=INCIDENT.id, channel="slack", parked="404 no such channel"),
            "slack: given up until the next reload: 404 no such channel",
        ),
    ],
)
async def test_who_knows(connect: Connect, world: World, row: Owed | None, words: str) -> None:
    """For each channel: told when, or why not."""
    world.told = [] if row is None else [row]
    assert words in (await read(await connect(world))).text


async def test_an_unreadable_ledger_hides_nothing_else(client: TestClient, world: World) -> None:
    """The page says so and shows the rest."""
    world.store_error = "disk on fire"
    text = (await read(client)).text
    assert "The ledger cannot be read: disk on fire" in text
    assert "1 critical incident open" in text


async def test_the_live_part_is_what_the_page_contains(client: TestClient) -> None:
    """The script replaces like with like; without scripts the page refreshes itself."""
    whole = await (await client.get("/")).text()
    part = await (await client.get("/live")).text()
    assert part in whole
    assert '<noscript><meta http-equiv="refresh" content="3"/></noscript>' in whole


@pytest.mark.parametrize(
    ("name", "media"),
    [
        ("style.css", "text/css"),
        ("live.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
    ],
)
async def test_static_files_are_served(client: TestClient, name: str, media: str) -> None:
    """From memory, with the type that nosniff demands."""
    answer = await client.get(f"/static/{name}")
    assert (answer.status, answer.content_type) == (200, media)
    assert await answer.read()
