"""One hop: resolve, check the addresses, connect, shake hands, exchange.

Owns the order of these steps and the turning of their errors into `ProbeError`. Follows no
redirect, judges no answer and has no deadline of its own: whoever awaits it cancels it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import cast

from monitor.probes.base import ProbeIO
from monitor.probes.failure import ProbeError, connect_failure, resolve_failure, tls_failure
from monitor.probes.http.trace import CONNECT, RESOLVE, Trace
from monitor.probes.http.url import Url
from monitor.probes.http.wire import Exchange, ResponseProtocol
from monitor.probes.reason import Reason
from monitor.probes.tls import certificate_expiry

_TRY_NEXT = frozenset({Reason.CONNECT_REFUSED, Reason.CONNECT_UNREACHABLE, Reason.RESET})
_HANDSHAKE_S = 3600.0
"""Beyond any probe's deadline, which is the one that counts."""


async def fetch(
    url: Url, exchange: Exchange, io: ProbeIO, context: ssl.SSLContext | None, trace: Trace
) -> ResponseProtocol:
    """Return the answer of `url` to `exchange`, on a fresh connection that is closed afterwards.

    `context` is there exactly when `exchange.secure`. `trace` shows how far it came.

    Raises:
        ProbeError: whatever the network or the target did.
    """
    addresses = await _addresses(url, io, trace)
    trace.enter(CONNECT)
    trace.body_awaited = False
    answer = ResponseProtocol(exchange, trace, asyncio.get_running_loop().create_future())
    try:
        transport = await _connect(answer, addresses, url.port, io)
        if context is not None:
            await _secure(answer, transport, url.host, context, trace)
        failure = await answer.settled
    finally:
        answer.abort()
    if failure is not None:
        raise failure
    return answer


async def _addresses(url: Url, io: ProbeIO, trace: Trace) -> Sequence[str]:
    """Return the addresses of `url` that may be connected to; never none."""
    if url.is_address:
        found: Sequence[str] = (url.host,)
    else:
        trace.enter(RESOLVE)
        try:
            found = await io.resolve(url.host)
        except OSError as error:
            raise resolve_failure(error, url.host) from error
        if not found:
            raise ProbeError(Reason.DNS, f"no address for {url.host}")
    allowed = [address for address in found if io.addresses.denial(address) is None]
    if not allowed:
        kind = io.addresses.denial(found[0])
        detail = f"{url.host} is {found[0]} ({kind}), which is not in the allowed networks"
        raise ProbeError(Reason.ADDRESS_DENIED, detail)
    return allowed


async def _connect(
    answer: ResponseProtocol, addresses: Sequence[str], port: int, io: ProbeIO
) -> asyncio.BaseTransport:
    """Connect to the first of `addresses` that answers; raise the most telling failure."""
    failures = []
    for address in addresses:
        try:
            transport, _ = await io.connect(lambda: answer, address, port)
        except OSError as error:
            failures.append(connect_failure(error, address, port))
            if failures[-1].reason not in _TRY_NEXT:
                break
        else:
            return transport
    # That there is no route says less than that somebody refused.
    raise max(failures, key=lambda failure: failure.reason is not Reason.CONNECT_UNREACHABLE)


async def _secure(
    answer: ResponseProtocol,
    transport: asyncio.BaseTransport,
    host: str,
    context: ssl.SSLContext,
    trace: Trace,
) -> None:
    """Shake hands and send the request, unless the server spoiled that already."""
    if answer.settled.done():
        return
    try:
        secured = await asyncio.get_running_loop().start_tls(
            cast("asyncio.WriteTransport", transport),
            answer,
            context,
            server_hostname=host,
            ssl_handshake_timeout=_HANDSHAKE_S,
        )
    except OSError as error:
        raise tls_failure(error, host) from error
    if secured is None:
        raise tls_failure(ConnectionResetError(), host)
    trace.saw_certificate(certificate_expiry(secured))
    answer.begin(secured)
