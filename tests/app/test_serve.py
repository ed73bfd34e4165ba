"""What the plan says about signed links and webhooks reaches the served surface."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

import aiohttp
import pytest

from monitor.app.serve import serve_web, signed_links
from monitor.config.plan import ServerPlan
from monitor.fields import Secret
from tests.web.world import INCIDENT, NOW, World

PLAN = ServerPlan(
    host="127.0.0.1",
    port=0,
    token=Secret("a-token"),
    page_url="https://monitor.example.com/at/",
    pagerduty_webhook_secrets=(Secret("a-secret"),),
)


@pytest.mark.parametrize(
    ("changes", "there_are"),
    [
        ({}, True),
        ({"token": None, "link_key": Secret("a-key")}, True),
        ({"token": None}, False),
        ({"page_url": None}, False),
    ],
)
def test_links_need_a_key_and_an_address(changes: dict[str, object], *, there_are: bool) -> None:
    """Either secret will do; an address that nobody knows leads nowhere."""
    assert (signed_links(replace(PLAN, **changes)) is not None) is there_are


def test_a_key_of_their_own_comes_before_the_token() -> None:
    """A new token does not break the links that were sent."""
    kept, other = (
        signed_links(replace(PLAN, token=Secret(token), link_key=key))
        for token, key in (("one", Secret("key")), ("two", Secret("key")))
    )
    assert kept is not None
    assert other is not None
    assert kept.links(INCIDENT, NOW) == other.links(INCIDENT, NOW)


async def test_the_served_surface_knows_the_links_of_messages() -> None:
    """Made by one hand and opened by the other."""
    world = World().have_trouble()
    links = signed_links(PLAN)
    assert links is not None
    async with serve_web(world, PLAN) as address, aiohttp.ClientSession() as session:
        for label, link in links.links(INCIDENT, NOW):
            parts = urlsplit(link)
            assert parts.path.startswith("/at/"), label
            here = f"{address}{parts.path.removeprefix('/at')}?{parts.query}"
            async with session.get(here) as answer:
                assert answer.status == 200
        hook = f"{address}/api/v1/pagerduty/webhook"
        async with session.post(hook, json={}) as answer:
            assert answer.status == 401
