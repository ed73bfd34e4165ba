"""One hop: resolve, check the addresses, connect, shake hands, exchange.

Owns the order of these steps and the turning of their errors into `ProbeError`. Follows no
redirect, judges no answer and has no deadline of its own: whoever awaits it cancels it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import cast

from monitor.probes.base import ProbeIO
from monitor.probes.failure import ProbeError, connect_failure, resolve_failure
from monitor.probes.http.http2 import protocol_of
from monitor.probes.http.proxy import Tunnel
from monitor.probes.http.route import DIRECT, Route
from monitor.probes.http.trace import CONNECT, RESOLVE, Trace
from monitor.probes.http.url import Url
from monitor.probes.http.wire import Exchange, ResponseProtocol
from monitor.probes.reason import Reason
from monitor.probes.sockets import Sockets
from monitor.probes.tls import certificate_expiry, shake_hands

_TRY_NEXT = frozenset({Reason.CONNECT_REFUSED, Reason.CONNECT_UNREACHABLE, Reason.RESET})


async def fetch(
    url: Url,
    exchange: Exchange,
    io: ProbeIO,
    context: ssl.SSLContext | None,
    trace: Trace,
    *,
    route: Route = DIRECT,
) -> ResponseProtocol:
    """Return the answer of `url` to `exchange`, on a fresh connection.

    The connection is closed afterwards, unless `exchange.keep` and the answer `is_idle`.
    `context` is there exactly when `exchange.secure`. `trace` shows how far it came.

    Raises:
        ProbeError: whatever the network or the target did.
    """
    trace.body_awaited = False
    if io.sockets is not None and context is None and route.proxy is None:
        addresses = await _addresses(url, io, trace, route)
        return await _fetch_plain(addresses, url.port, exchange, trace, io.sockets)
    settled: asyncio.Future[ProbeError | None] = asyncio.get_running_loop().create_future()
    answer = protocol_of(exchange)(exchange, trace, settled)
    try:
        if route.proxy is None:
            transport = await _reach(url, lambda: answer, io, trace, route)
        else:
            transport = await _reach_through(route, route.proxy, url, answer, io)
        if context is not None:
            await _secure(answer, transport, url.host, context, trace)
        failure = await settled
    except BaseException:
        answer.abort()
        raise
    if failure is not None:
        raise failure
    return answer


async def _fetch_plain(
    addresses: Sequence[str], port: int, exchange: Exchange, trace: Trace, sockets: Sockets
) -> ResponseProtocol:
    """Do what `fetch` does where neither TLS nor a proxy comes in between."""
    loop = asyncio.get_running_loop()
    failures: list[ProbeError] = []
    for address in addresses:
        trace.enter(CONNECT)
        settled: asyncio.Future[ProbeError | None] = loop.create_future()
        answer = protocol_of(exchange)(exchange, trace, settled)
        try:
            transport = sockets.open(answer, address, port)
        except OSError as error:
            failure = connect_failure(error, address, port)
        else:
            try:
                outcome = await settled
            except BaseException:
                transport.abort()
                raise
            if answer.connect_error is None:
                if outcome is None:
                    return answer
                raise outcome
            failure = connect_failure(answer.connect_error, address, port)
        failures.append(failure)
        if failure.reason not in _TRY_NEXT:
            break
    raise _most_telling(failures)


async def refetch(
    answer: ResponseProtocol, exchange: Exchange, trace: Trace
) -> ResponseProtocol | None:
    """Return the answer to `exchange` on the open connection of an earlier one.

    None when the server had given that connection up, which says nothing about the target.

    Raises:
        ProbeError: whatever the network or the target did.
    """
    settled: asyncio.Future[ProbeError | None] = asyncio.get_running_loop().create_future()
    answer.renew(exchange, trace, settled)
    try:
        failure = await settled
    except BaseException:
        answer.abort()
        raise
    if failure is None:
        return answer
    if not answer.has_begun and failure.reason in {Reason.RESET, Reason.TRUNCATED}:
        return None
    raise failure


async def _reach(
    url: Url,
    factory: Callable[[], asyncio.Protocol],
    io: ProbeIO,
    trace: Trace,
    route: Route,
) -> asyncio.BaseTransport:
    """Resolve and connect to the host and port of `url`."""
    addresses = await _addresses(url, io, trace, route)
    return await _connect(factory, addresses, url.port, io, trace)


async def _addresses(url: Url, io: ProbeIO, trace: Trace, route: Route) -> Sequence[str]:
    """Return the addresses of `url` that may be connected to, in order; never none."""
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
    return route.order(_permitted(url, found, io))


def _permitted(url: Url, found: Sequence[str], io: ProbeIO) -> Sequence[str]:
    """Return those of the addresses of `url` that may be connected to; never none."""
    allowed = [address for address in found if io.addresses.denial(address) is None]
    if not allowed:
        kind = io.addresses.denial(found[0])
        detail = f"{url.host} is {found[0]} ({kind}), which is not in the allowed networks"
        raise ProbeError(Reason.ADDRESS_DENIED, detail)
    return allowed


async def _reach_through(
    route: Route, proxy: Url, url: Url, answer: ResponseProtocol, io: ProbeIO
) -> asyncio.BaseTransport:
    """Connect to `proxy`, and for a secure `url` through it; its failure is not the target's.

    A name is looked up by the proxy, which therefore has to keep a policy of addresses itself.
    """
    if url.is_address:
        _permitted(url, (url.host,), io)
    trace = answer.trace
    tunnel = Tunnel(url, trace, asyncio.get_running_loop().create_future())
    secure = url.scheme == "https"
    trace.waiting_for = Reason.PROXY
    try:
        transport = await _reach(proxy, lambda: tunnel if secure else answer, io, trace, route)
    except ProbeError as error:
        raise ProbeError(Reason.PROXY, f"the proxy cannot be reached: {error.detail}") from error
    if not secure:
        return transport
    try:
        failure = await tunnel.settled
    except BaseException:
        tunnel.abort()
        raise
    if failure is not None:
        tunnel.abort()
        raise failure
    cast("asyncio.Transport", transport).set_protocol(answer)
    answer.attach(transport)
    return transport


async def _connect(
    factory: Callable[[], asyncio.Protocol],
    addresses: Sequence[str],
    port: int,
    io: ProbeIO,
    trace: Trace,
) -> asyncio.BaseTransport:
    """Connect to the first of `addresses` that answers; raise the most telling failure."""
    failures: list[ProbeError] = []
    for address in addresses:
        trace.enter(CONNECT)
        try:
            transport, _ = await io.connect(factory, address, port)
        except OSError as error:
            failures.append(connect_failure(error, address, port))
            if failures[-1].reason not in _TRY_NEXT:
                break
        else:
            return transport
    raise _most_telling(failures)


def _most_telling(failures: Sequence[ProbeError]) -> ProbeError:
    # That there is no route says less than that somebody refused.
    return max(failures, key=lambda failure: failure.reason is not Reason.CONNECT_UNREACHABLE)


async def _secure(
    answer: ResponseProtocol,
    transport: asyncio.BaseTransport,
    host: str,
    context: ssl.SSLContext,
    trace: Trace,
) -> None:
    """Shake hands and send the request, unless the server spoiled that already."""
    if answer.is_settled:
        return
    secured = await shake_hands(cast("asyncio.WriteTransport", transport), answer, context, host)
    trace.saw_certificate(certificate_expiry(secured))
    answer.begin(secured)
