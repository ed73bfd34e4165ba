"""Where a probe of a TCP or TLS service goes, and the way there up to the TLS handshake.

Owns the field types that such kinds share, and the order of looking up, connecting and STARTTLS.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from pydantic import AfterValidator

from monitor.probes.base import ProbeIO
from monitor.probes.dial import connected, find_addresses
from monitor.probes.endpoint import Endpoint, parse_endpoint, parse_host
from monitor.probes.http.url import parse_url
from monitor.probes.run import Run
from monitor.probes.starttls import Protocol, start_tls
from monitor.probes.stream import Stream

STARTTLS = "starttls"
"""The phase from the connection to the server's consent."""


def _check_address(text: str) -> str:
    parse_endpoint(text)
    return text


def _to_host(text: str) -> str:
    return parse_host(text).host


Address = Annotated[str, AfterValidator(_check_address)]
"""`host:port`."""
HostName = Annotated[str, AfterValidator(_to_host)]
"""A host name (lower case, ASCII) or an address."""


def find_endpoint(address: str | None, url: str) -> Endpoint:
    """Return the endpoint of `address`, or without one the host and port of `url`.

    Raises:
        ValueError: when `url` is needed and is none.
    """
    if address is not None:
        return parse_endpoint(address)
    base = parse_url(url)
    return Endpoint(base.host, base.port, base.is_address)


@asynccontextmanager
async def reached(
    endpoint: Endpoint, starttls: Protocol | None, io: ProbeIO, run: Run
) -> AsyncIterator[Stream]:
    """Connect, and with `starttls` go on until the TLS handshake may begin.

    Raises:
        ProbeError: whatever the network or the target did.
    """
    addresses = await find_addresses(endpoint, io, run.watch)
    async with connected(addresses, endpoint.port, io, run.watch) as stream:
        if starttls is not None:
            run.watch.enter(STARTTLS)
            run.notes.append(f"the {starttls} server did not get as far as TLS")
            await start_tls(starttls, stream)
            run.notes.clear()
        yield stream
