"""Serves a provider on a real loopback socket, so that clients meet real connections."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from monitor.scenario.provider import Provider, Request


@asynccontextmanager
async def serve(
    provider: Provider,
    *,
    ssl_context: ssl.SSLContext | None = None,
    now: Callable[[], float] = time.time,
) -> AsyncIterator[str]:
    """Yield the base URL (`http://127.0.0.1:port`, no slash at the end) that `provider` answers at.

    `Reply.delay_s` is waited for; `Reply.drop` closes the connection without an answer. With an
    `ssl_context` it speaks TLS. `now` gives the time that requests carry.
    """

    async def answer(request: web.BaseRequest) -> web.Response:
        reply = provider.handle(
            Request(
                method=request.method,
                path=request.raw_path,
                headers={name.lower(): value for name, value in request.headers.items()},
                body=await request.read(),
                at=now(),
            )
        )
        await asyncio.sleep(reply.delay_s)
        if reply.drop and request.transport is not None:
            request.transport.close()
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

    server = web.Server(answer, handler_cancellation=True, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=0.05)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context)
        await site.start()
        port = runner.addresses[0][1]
        yield f"http{'s' if ssl_context else ''}://127.0.0.1:{port}"
    finally:
        await runner.cleanup()
