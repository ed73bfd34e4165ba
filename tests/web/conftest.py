"""The small world, and a client that talks to it over loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiohttp.test_utils import TestClient, TestServer

from monitor.fields import Secret
from monitor.web.application import build_web
from tests.web.world import LINKS, TOKEN, WEBHOOK_SECRETS, Connect, World


@pytest.fixture
def world() -> World:
    return World().run_an_hour().have_trouble()


@pytest.fixture
def empty_world() -> World:
    return World(specs=())


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
async def connect(executor: ThreadPoolExecutor) -> AsyncIterator[Connect]:
    """Return a function that serves a world on loopback and gives a client of it."""
    clients: list[TestClient] = []

    async def connect_to(
        world: World, token: str | None = TOKEN, *, signed: bool = True
    ) -> TestClient:
        secret = None if token is None else Secret(token)
        app = build_web(
            world,
            token=secret,
            executor=executor,
            links=LINKS if signed else None,
            pagerduty_secrets=WEBHOOK_SECRETS if signed else (),
            page_url="https://monitor.example.com/",
        )
        client = TestClient(TestServer(app, host="127.0.0.1"))
        await client.start_server()
        clients.append(client)
        return client

    yield connect_to
    for client in clients:
        await client.close()


@pytest.fixture
async def client(connect: Connect, world: World) -> TestClient:
    return await connect(world)


@pytest.fixture
def bearer() -> Mapping[str, str]:
    return {"Authorization": f"Bearer {TOKEN}"}
