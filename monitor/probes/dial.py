"""From a host name to a connection: look it up, judge its addresses, connect.

Owns the address policy's place in this order and which of several failures to report. Sends
nothing and has no deadline of its own: whoever awaits it cancels it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ssl import SSLContext

from monitor.probes.base import ProbeIO
from monitor.probes.endpoint import Endpoint
from monitor.probes.failure import ProbeError, connect_failure, resolve_failure
from monitor.probes.reason import Reason
from monitor.probes.run import CONNECT, RESOLVE, TLS
from monitor.probes.stopwatch import Stopwatch
from monitor.probes.stream import Stream

TRY_NEXT = frozenset({Reason.CONNECT_REFUSED, Reason.CONNECT_UNREACHABLE, Reason.RESET})


async def find_addresses(endpoint: Endpoint, io: ProbeIO, watch: Stopwatch) -> Sequence[str]:
    """Return the addresses of `endpoint` that may be connected to, best first; never none.

    Raises:
        ProbeError: (dns, resolver, address_denied).
    """
    host = endpoint.host
    found: Sequence[str] = (host,)
    if not endpoint.is_address:
        watch.enter(RESOLVE)
        try:
            found = await io.resolve(host)
        except OSError as error:
            raise resolve_failure(error, host) from error
        if not found:
            raise ProbeError(Reason.DNS, f"no address for {host}")
    allowed = [address for address in found if io.addresses.denial(address) is None]
    if not allowed:
        kind = io.addresses.denial(found[0])
        detail = f"{host} is {found[0]} ({kind}), which is not in the allowed networks"
        raise ProbeError(Reason.ADDRESS_DENIED, detail)
    return allowed


@asynccontextmanager
async def connected(
    addresses: Sequence[str], port: int, io: ProbeIO, watch: Stopwatch
) -> AsyncIterator[Stream]:
    """Connect to the first of `addresses` that answers; the connection is cut at the end.

    Raises:
        ProbeError: the most telling failure.
    """
    watch.enter(CONNECT)
    stream = Stream()
    try:
        await _connect(lambda: stream, addresses, port, io)
        yield stream
    finally:
        stream.abort()


@asynccontextmanager
async def opened(
    endpoint: Endpoint, io: ProbeIO, watch: Stopwatch, context: SSLContext | None
) -> AsyncIterator[Stream]:
    """Look up, connect and, with a `context`, shake hands.

    Raises:
        ProbeError: whatever the network or the target did.
    """
    addresses = await find_addresses(endpoint, io, watch)
    async with connected(addresses, endpoint.port, io, watch) as stream:
        if context is not None:
            watch.enter(TLS)
            await stream.secure(endpoint.host, context)
        yield stream


async def _connect(
    factory: Callable[[], asyncio.Protocol], addresses: Sequence[str], port: int, io: ProbeIO
) -> None:
    failures = []
    for address in addresses:
        try:
            await io.connect(factory, address, port)
        except OSError as error:
            failures.append(connect_failure(error, address, port))
            if failures[-1].reason not in TRY_NEXT:
                break
        else:
            return
    # That there is no route says less than that somebody refused.
    raise max(failures, key=lambda failure: failure.reason is not Reason.CONNECT_UNREACHABLE)
