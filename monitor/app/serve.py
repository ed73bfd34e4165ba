"""The daemon's HTTP surface for as long as the daemon runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from monitor.config.plan import ServerPlan
from monitor.web.application import build_web
from monitor.web.links import AckLinks
from monitor.web.server import CappedSite, make_runner
from monitor.web.view import View


def signed_links(plan: ServerPlan) -> AckLinks | None:
    """Return what makes the links of messages; None without a key, or without an address."""
    key = plan.link_key or plan.token
    if key is None or plan.page_url is None:
        return None
    return AckLinks(key, plan.page_url)


@asynccontextmanager
async def serve_web(view: View, plan: ServerPlan) -> AsyncIterator[str]:
    """Listen as `plan` says; give the address.

    Raises:
        OSError: the address cannot be listened on.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="exposition") as executor:
        app = build_web(
            view,
            token=plan.token,
            executor=executor,
            links=signed_links(plan),
            pagerduty_secrets=plan.pagerduty_webhook_secrets,
            page_url=plan.page_url,
        )
        runner = make_runner(app)
        await runner.setup()
        try:
            site = CappedSite(runner, plan.host, plan.port)
            await site.start()
            yield site.name
        finally:
            await runner.cleanup()
