"""One HTTP probe inside this process, with the sockets and the clock of the daemon."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from monitor.model import Deployment, Sample, Target
from monitor.probes.base import Probe, ProbeIO, QuickProbe, Resolve
from monitor.probes.http.config import HttpProbeConfig
from monitor.probes.sockets import Sockets
from monitor.probes.stall import StallLog


async def no_names(host: str) -> Sequence[str]:
    """Refuse every look-up.

    Raises:
        OSError: always.
    """
    msg = f"unexpected look-up of {host}"
    raise OSError(msg)


@asynccontextmanager
async def probe_io(
    stalls: StallLog | None = None, resolve: Resolve = no_names
) -> AsyncIterator[ProbeIO]:
    """Open what probes need on the running loop."""
    sockets = Sockets(time.monotonic)
    try:
        yield ProbeIO(
            connect=asyncio.get_running_loop().create_connection,
            sockets=sockets,
            resolve=resolve,
            allowed_networks=("127.0.0.0/8",),
            monotonic=time.monotonic,
            stalls=stalls,
        )
    finally:
        sockets.close()


def http_probe(url: str, io: ProbeIO, timeout_s: float, **fields: Any) -> Probe:
    """Return the probe of `url` with these fields of the configuration."""
    target = Target(
        id="shop/home/here",
        deployment="shop",
        environment="test",
        probe="home",
        region="here",
        interval_s=max(1.0, timeout_s),
        timeout_s=timeout_s,
    )
    deployment = Deployment(name="shop", service="shop", environment="test", url=url)
    config = HttpProbeConfig.model_validate(fields, by_name=False)
    return config.build(target, deployment, url, io)


async def run_once(probe: Probe, timeout_s: float) -> Sample:
    """Run a probe as the scheduler does."""
    if isinstance(probe, QuickProbe):
        done: asyncio.Future[Sample] = asyncio.get_running_loop().create_future()
        if probe.begin(time.time(), timeout_s, done.set_result) is not None:
            return await done
    return await probe(time.time(), timeout_s)
