"""Builds probes of any kind from the fields that stand in a file, and serves aiohttp handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from aiohttp import web

from monitor.config.loader import parse
from monitor.config.tree import to_plain
from monitor.model import Deployment, Target
from monitor.probes.base import Probe, ProbeConfig, ProbeIO
from tests.probes.raw_server import make_io

ConfigT = TypeVar("ConfigT", bound=ProbeConfig)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def load(config_type: type[ConfigT], **fields: Any) -> ConfigT:
    """Validate fields as they stand in a file; a secret is worth `<how>-<name>`."""
    return config_type.model_validate(
        fields, by_name=False, context={"secrets": lambda how, name: f"{how}-{name}"}
    )


def load_example(config_type: type[ConfigT]) -> ConfigT:
    """Load the example of a kind with the reader that reads users' files."""
    example: str = config_type.example  # type: ignore[attr-defined]
    document = parse(example.encode(), "example.yml")
    assert document.root is not None
    assert not document.errors
    plain = to_plain(document.root)
    assert isinstance(plain, dict)
    return load(config_type, **plain)


def build(
    config_type: type[ProbeConfig],
    url: str = "http://shop.test",
    io: ProbeIO | None = None,
    **fields: Any,
) -> Probe:
    """Return the probe called `peer` of the deployment `shop` at `url`."""
    deployment = Deployment(name="shop", service="shop", environment="test", url=url)
    target = Target(
        id="shop/peer/here",
        deployment="shop",
        environment="test",
        probe="peer",
        region="here",
        interval_s=15,
        timeout_s=5,
    )
    return load(config_type, **fields).build(target, deployment, url, io or make_io())


@asynccontextmanager
async def site(routes: dict[str, Answer], **listen: Any) -> AsyncIterator[str]:
    """Serve `{"GET /path": handler}` for real; yields the base URL."""
    app = web.Application()
    for place, answer in routes.items():
        method, path = place.split()
        app.router.add_route(method, path, answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, **listen).start()
        scheme = "https" if listen.get("ssl_context") else "http"
        yield f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
