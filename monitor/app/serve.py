"""The daemon's HTTP surface for as long as the daemon runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from monitor.config.plan import ServerPlan
from monitor.web.application import build_web
from monitor.web.server import CappedSite, make_runner
from monitor.web.view import View


@asynccontextmanager
async def serve_web(view: View, plan: ServerPlan) -> AsyncIterator[str]:
    """Listen as `plan` says; give the address.

    Raises:
        OSError: the address cannot be listened on.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="exposition") as executor:
        runner = make_runner(build_web(view, token=plan.token, executor=executor))
        await runner.setup()
        try:
            site = CappedSite(runner, plan.host, plan.port)
            await site.start()
            yield site.name
        finally:
            await runner.cleanup()
