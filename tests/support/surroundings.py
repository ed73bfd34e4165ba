"""Real surroundings without a disk, for an app that is built and not run."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import aiosmtplib
import httpx2

from monitor.app.clock import SystemClock
from monitor.app.surroundings import Surroundings
from monitor.config.plan import Plan
from monitor.notify.base import NotifyIO
from monitor.probes.base import ProbeIO
from monitor.probes.resolver import Resolver
from monitor.rollback.base import HookIO
from tests.support.memory import MemoryStore


@asynccontextmanager
async def surroundings(read: Callable[[], Plan]) -> AsyncIterator[Surroundings]:
    """Yield them; `read` gives the plan of a reload."""
    resolver = Resolver()
    async with httpx2.AsyncClient(trust_env=False) as http:
        with ThreadPoolExecutor(2) as executor:
            notify = NotifyIO(
                http=http, sync_transport=None, executor=executor,
                smtp_send=aiosmtplib.send, console=io.StringIO(),
            )  # fmt: skip
            yield Surroundings(
                clock=SystemClock(),
                rng=random.Random(1),  # noqa: S311 - a test
                store=MemoryStore(),
                probes=ProbeIO(
                    connect=asyncio.get_running_loop().create_connection, resolve=resolver
                ),
                notify=notify,
                hooks=HookIO(http=http, spawn=asyncio.create_subprocess_exec),
                executor=executor,
                load_plan=read,
            )
    resolver.close()
