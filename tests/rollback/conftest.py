"""What every hook is given: a request, a deployment and real I/O on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import httpx2
import pytest

from monitor.model import Deployment, RollbackRequest
from monitor.rollback.base import HookIO

AT = 1_767_225_600.0


@pytest.fixture
def deployment() -> Deployment:
    """The shop in production."""
    return Deployment(
        name="shop-production", service="shop", environment="Production", url="http://shop"
    )


@pytest.fixture
def request_of() -> Callable[..., RollbackRequest]:
    """Return a maker of requests that differ from the usual one as told."""
    usual = RollbackRequest(
        id="rb-shop-1-5-0-cafe",
        incident="inc-1",
        deployment="shop-production",
        environment="Production",
        service="shop",
        rule="high_error_rate",
        from_revision="1.5.0",
        to_revision="1.4.2",
        at=AT,
        reason="error rate 50 %",
    )
    return lambda **changes: replace(usual, **changes)


@pytest.fixture
async def hook_io() -> AsyncIterator[HookIO]:
    """A real client and real processes."""
    async with httpx2.AsyncClient(trust_env=False) as http:
        yield HookIO(http=http, spawn=asyncio.create_subprocess_exec)


@pytest.fixture
def closed_port_url() -> str:
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"
