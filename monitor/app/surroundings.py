"""The real world: sockets, the disk, threads and the clock, opened for one run of the daemon."""

from __future__ import annotations

import asyncio
import random
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiosmtplib
import httpx2
from sentry_sdk.crons import capture_checkin

from monitor.app.clock import SystemClock
from monitor.app.vitals import Vitals
from monitor.config.plan import Plan
from monitor.last_resort import FILE_NAME, Append, RotatingFile
from monitor.model import Clock
from monitor.notify.base import NotifyIO
from monitor.probes.base import ProbeIO
from monitor.probes.resolver import Resolver
from monitor.probes.sockets import Sockets
from monitor.probes.stall import StallLog
from monitor.rollback.base import HookIO
from monitor.sinks import CheckIn
from monitor.store.base import Store
from monitor.store.sqlite import open_store

BLOCKING_THREADS = 4
"""For libraries with a blocking client (PagerDuty); never shared with the store."""
LAG_INTERVAL_S = 0.25
POOL = httpx2.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """All I/O, time and chance; the daemon gets real ones, a scenario scripted ones."""

    clock: Clock
    rng: random.Random
    store: Store
    probes: ProbeIO
    notify: NotifyIO
    hooks: HookIO
    executor: Executor
    """For blocking work of our own, such as reading configuration files."""
    load_plan: Callable[[], Plan]
    """Reads the configuration again for a reload; raises ConfigErrors."""
    vitals: Vitals | None = None
    """What may be wrong with ourselves; None: nothing ever is."""
    check_in: CheckIn = capture_checkin
    """Tells Sentry that we live."""
    last_resort: Append | None = None
    """Adds a line to the file of last resort; None: the log has the line instead."""
    lag_interval_s: float = 5.0
    """How often the event loop's own delay is measured."""


@asynccontextmanager
async def real_notify_io(executor: Executor) -> AsyncIterator[NotifyIO]:
    """Open what channels send with; `executor` runs the clients that block."""
    # The system's authorities, or those of SSL_CERT_FILE: OpenSSL's own rule, the same for all.
    trust = ssl.create_default_context()
    with httpx2.HTTPTransport(verify=trust) as transport:
        async with httpx2.AsyncClient(
            follow_redirects=False, trust_env=False, limits=POOL, verify=trust
        ) as client:
            yield NotifyIO(
                http=client,
                sync_transport=transport,
                executor=executor,
                smtp_send=aiosmtplib.send,
                console=sys.stdout,
            )


@asynccontextmanager
async def real_surroundings(
    plan: Plan, load_plan: Callable[[], Plan]
) -> AsyncIterator[Surroundings]:
    """Open the real world for `plan`.

    Raises:
        StoreError: the data directory cannot be used.
    """
    clock = SystemClock()
    loop = asyncio.get_running_loop()
    disk = ThreadPoolExecutor(1, thread_name_prefix="store")
    blocking = ThreadPoolExecutor(BLOCKING_THREADS, thread_name_prefix="blocking")
    # A channel that blocks its threads must not keep a reload from happening.
    files = ThreadPoolExecutor(1, thread_name_prefix="files")
    resolver = Resolver()
    sockets = Sockets(time.monotonic) if sys.platform == "linux" else None
    try:
        store = await open_store(plan.storage.path, disk, clock.now())
        async with real_notify_io(blocking) as notify:
            yield Surroundings(
                clock=clock,
                rng=random.Random(),  # noqa: S311 - spreads retries, guards nothing
                store=store,
                probes=ProbeIO(
                    connect=loop.create_connection,
                    sockets=sockets,
                    resolve=resolver,
                    monotonic=time.monotonic,
                    stalls=StallLog(),
                ),
                notify=notify,
                hooks=HookIO(http=notify.http, spawn=asyncio.create_subprocess_exec),
                executor=files,
                load_plan=load_plan,
                vitals=Vitals(),
                last_resort=_last_resort(plan.storage.path),
                lag_interval_s=LAG_INTERVAL_S,
            )
        await store.close()
    finally:
        resolver.close()
        if sockets is not None:
            sockets.close()
        blocking.shutdown(wait=False, cancel_futures=True)
        files.shutdown(wait=False, cancel_futures=True)
        disk.shutdown(wait=True)


def _last_resort(directory: Path | None) -> Append | None:
    return None if directory is None else RotatingFile(directory / FILE_NAME)
