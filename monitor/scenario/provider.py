"""A provider as a pure function of a request: what the strict fakes of Slack & co. implement.

The same fakes answer on real sockets in tests and inside the virtual world of a scenario.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import httpx2


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request as a provider sees it."""

    method: str
    path: str
    """Path with its query string."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    at: float
    """UTC seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the provider answers."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drop: bool = False
    """Close the connection after the request was taken in, without an answer."""


class Provider(Protocol):
    """Answers requests by the published rules of the real one, and records what it accepted."""

    def handle(self, request: Request) -> Reply:
        """Answer one request."""
        ...


class ProviderTransport(httpx2.AsyncBaseTransport):
    """Routes an httpx2 client's requests to providers by host name; any other host is refused."""

    def __init__(self, providers: Mapping[str, Provider], now: Callable[[], float]) -> None:
        """`providers` maps host to provider; `now` gives UTC seconds."""
        self._providers = providers
        self._now = now

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Hand the request to its provider and act out the reply's delay and fate."""
        provider = self._providers.get(request.url.host)
        if provider is None:
            raise _refused(request)
        reply = provider.handle(_as_seen(request, await request.aread(), self._now()))
        await asyncio.sleep(reply.delay_s)
        return _as_answered(request, reply)


class SyncProviderTransport(httpx2.BaseTransport):
    """The same for libraries with a blocking client; time cannot pass while it is blocked.

    A delay longer than the client's read timeout becomes that timeout at once; a shorter one is
    not waited for.
    """

    def __init__(self, providers: Mapping[str, Provider], now: Callable[[], float]) -> None:
        """`providers` maps host to provider; `now` gives UTC seconds."""
        self._providers = providers
        self._now = now

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Hand the request to its provider and act out the reply's fate."""
        provider = self._providers.get(request.url.host)
        if provider is None:
            raise _refused(request)
        reply = provider.handle(_as_seen(request, request.read(), self._now()))
        patience_s = request.extensions["timeout"]["read"]
        if patience_s is not None and reply.delay_s >= patience_s:
            msg = "no answer in time"
            raise httpx2.ReadTimeout(msg, request=request)
        return _as_answered(request, reply)


def _refused(request: httpx2.Request) -> httpx2.ConnectError:
    return httpx2.ConnectError("connection refused", request=request)


def _as_seen(request: httpx2.Request, body: bytes, at: float) -> Request:
    # Like the real transport: a secret path travels beside the URL, in the `target` extension.
    target: bytes = request.extensions.get("target", request.url.raw_path)
    return Request(
        method=request.method,
        path=target.decode("ascii"),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=body,
        at=at,
    )


def _as_answered(request: httpx2.Request, reply: Reply) -> httpx2.Response:
    if reply.drop:
        msg = "connection closed without an answer"
        raise httpx2.ReadError(msg, request=request)
    # A stream, as a real connection gives one: whoever reads only the beginning may do so.
    return httpx2.Response(
        reply.status,
        headers=dict(reply.headers),
        stream=httpx2.ByteStream(reply.body),
        request=request,
    )
