"""HTTP as channels need it: one POST whose outcome is known, or known to be unknown.

Owns secret addresses, the mapping of transport errors and statuses to `Delivery`, `Retry-After`
and what may be shown of an answer. Knows no provider and never retries.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Annotated
from urllib.parse import unquote, urlsplit

import httpx2
from pydantic import BeforeValidator, WithJsonSchema

from monitor.fields import Secret
from monitor.model import Delivery, DeliveryResult
from monitor.notify.words import clip, one_line

DETAIL_LIMIT = 200
ANSWER_LIMIT = 2048
"""Bytes of an answer that are read unless a kind needs more; the rest is left unread."""
RETRY_AFTER_CAP_S = 3600.0

_TRY_AGAIN = frozenset({408, 425, 429})
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
_NEVER = (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol)
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]+)?")
_PORTS = frozenset({None, *range(1, 65536)})
_TELLING_LENGTH = 8
"""Parts of a secret address this long are hidden wherever they turn up."""

Address = Annotated[
    Secret,
    BeforeValidator(lambda given: Secret(given, "inline") if isinstance(given, str) else given),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "uri"},
                {
                    "type": "object",
                    "properties": {"env": {"type": "string"}, "file": {"type": "string"}},
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
"""An address that may hold a token: the text itself, or a reference like any secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A secret address, split so that the secret part never enters a URL object.

    httpx2 logs the URL of each request and puts it into its exceptions. The path and the query
    therefore travel beside it, as the request's `target`.
    """

    origin: str
    target: bytes = field(repr=False)
    auth: tuple[str, str] | None = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    """What must not be shown, longest first."""

    @classmethod
    def parse(cls, address: Secret) -> Endpoint:
        """Split `address`.

        Raises:
            ValueError: when it is no http or https address; the address is not in the message.
        """
        try:
            url = httpx2.URL(address.reveal().strip())
            names_host = bool(url.host) and url.port in _PORTS
            usable = url.scheme in {"http", "https"} and names_host
        except (httpx2.InvalidURL, UnicodeError):
            usable = False
        if not usable:
            msg = "expected an address that starts with https:// (or http://) and names a host"
            raise ValueError(msg)
        port = "" if url.port is None else f":{url.port}"
        host = f"[{url.host}]" if ":" in url.host else url.host
        user = (url.username, url.password)
        return cls(
            origin=f"{url.scheme}://{host}{port}/",
            target=url.raw_path,
            auth=user if any(user) else None,
            secrets=_telling(address.reveal(), url.raw_path.decode("ascii"), user),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back: at most the first bytes of the body, `None` when it broke off."""

    status: int
    headers: Mapping[str, str]
    body: str | None

    def delivery(self, detail: str, now: float) -> Delivery:
        """Return the outcome that the status alone implies; `now` is UTC seconds."""
        result = status_result(self.status)
        waits = result is DeliveryResult.RETRY
        return Delivery(
            result=result,
            detail=detail,
            retry_after_s=retry_after(self.headers.get("retry-after"), now) if waits else None,
        )


async def post(
    http: httpx2.AsyncClient,
    endpoint: Endpoint,
    content: bytes,
    headers: Mapping[str, str],
    limit_s: float,
    *,
    answer_limit: int = ANSWER_LIMIT,
) -> Answer | Delivery:
    """POST once within `limit_s`; return the answer, or the outcome when there is none."""
    seen: list[httpx2.Response] = []
    try:
        async with (
            asyncio.timeout(limit_s),
            http.stream(
                "POST",
                endpoint.origin,
                content=content,
                headers={"accept-encoding": "identity", **headers},
                auth=endpoint.auth,
                timeout=phases(limit_s),
                follow_redirects=False,
                extensions={"target": endpoint.target},
            ) as response,
        ):
            seen.append(response)
            body = await _beginning(response, answer_limit)
            return Answer(status=response.status_code, headers=response.headers, body=body)
    except (httpx2.HTTPError, OSError) as error:
        if not seen:
            return unanswered(error, limit_s)
    # The status had arrived: only the body broke off.
    return Answer(status=seen[0].status_code, headers=seen[0].headers, body=None)


def phases(limit_s: float) -> httpx2.Timeout:
    """Return time-outs under which waiting for a connection ends well before `limit_s`.

    Waiting for the pool, TCP and TLS get a quarter each. So when the whole limit passes, the
    request was under way, and the outcome is unknown.
    """
    return httpx2.Timeout(limit_s, connect=limit_s / 4, pool=limit_s / 4)


def unanswered(error: Exception, limit_s: float) -> Delivery:
    """Return the outcome of a request that got no answer because of `error`.

    Exceptions carry addresses, so only their kind is told.
    """
    if isinstance(error, _NOT_SENT):
        return Delivery(
            result=DeliveryResult.RETRY, detail=f"cannot connect ({_root(error)}); nothing was sent"
        )
    if isinstance(error, _NEVER):
        return Delivery(result=DeliveryResult.PERMANENT, detail="the request could not be formed")
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        detail = f"no answer within {limit_s:g} s; it may have arrived"
    else:
        detail = f"connection lost ({type(error).__name__}); it may have arrived"
    return Delivery(result=DeliveryResult.UNCERTAIN, detail=detail)


def status_result(status: int) -> DeliveryResult:
    """Return what a status means to a sender; redirects are refused, so they are permanent."""
    if 200 <= status < 300:  # noqa: PLR2004 - the class of success has no shorter name
        return DeliveryResult.DELIVERED
    if status >= 500 or status in _TRY_AGAIN:  # noqa: PLR2004 - the class of server errors
        return DeliveryResult.RETRY
    return DeliveryResult.PERMANENT


def retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds that a `Retry-After` header asks for (0 to the cap), None without one.

    Takes seconds or an HTTP date, which is read against `now` (UTC seconds).
    """
    if value is None:
        return None
    if _SECONDS.fullmatch(value.strip()):
        wait_s = float(value)
    else:
        try:
            wait_s = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return min(max(wait_s, 0.0), RETRY_AFTER_CAP_S)


def shown(text: str, secrets: Iterable[str]) -> str:
    """Return `text` fit for a ledger: one line, short, with every one of `secrets` hidden."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return clip(one_line(text), DETAIL_LIMIT)


def described(answer: Answer, secrets: Sequence[str]) -> str:
    """Return the status and the beginning of the body, fit for a ledger."""
    redirect = " (redirects are refused)" if answer.status // 100 == 3 else ""  # noqa: PLR2004 - 3xx
    body = shown(answer.body or "", secrets)
    return clip(f"{answer.status}{redirect}{': ' if body else ''}{body}", DETAIL_LIMIT)


def _root(error: Exception) -> str:
    deepest: BaseException = error
    while (inner := deepest.__cause__ or deepest.__context__) is not None:
        deepest = inner
    strerror = deepest.strerror if isinstance(deepest, OSError) else ""
    return clip(one_line(": ".join(filter(None, (type(deepest).__name__, strerror)))), 100)


async def _beginning(response: httpx2.Response, limit: int) -> str:
    taken = b""
    async for chunk in response.aiter_raw():
        taken += chunk
        if len(taken) >= limit:
            break
    return taken[:limit].decode("utf-8", "replace")


def _telling(address: str, target: str, user: tuple[str, str]) -> tuple[str, ...]:
    query = urlsplit(target).query
    parts = re.split(r"[/?&=#]", target)
    candidates = {address, target, query, *parts, *map(unquote, parts), *user}
    telling = (it for it in candidates if len(it) >= _TELLING_LENGTH)
    return tuple(sorted(telling, key=lambda it: (-len(it), it)))
