"""HTTP as hooks need it: one exchange whose fate is known, or known to be unknown.

Owns addresses, the mapping of transport errors to answers, `Retry-After` and what may be shown of
a reply. Knows no hook, gives no status a meaning and never repeats anything.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from monitor.model import RollbackState
from monitor.rollback.base import HookAnswer

DETAIL_LIMIT = 200
REPLY_LIMIT = 2 * 2**20
"""Bytes of a reply that are read; a longer one counts as one that cannot be understood."""
RETRY_AFTER_CAP_S = 3600.0

_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
_SECONDS = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request, without its host's manners."""

    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What came back; `body` is empty when it broke off or was too long."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def document(self) -> Mapping[str, Any]:
        """Return the body's JSON object; empty when it is none."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}

    def retry_after_s(self, now: float) -> float | None:
        """Return the seconds that `Retry-After` asks for, against `now` (UTC seconds)."""
        value = self.headers.get("retry-after", "").strip()
        if _SECONDS.fullmatch(value):
            return capped(float(value))
        try:
            return capped(parsedate_to_datetime(value).timestamp() - now)
        except (ValueError, OverflowError):
            return None


async def exchange(
    http: httpx2.AsyncClient, what: Exchange, limit_s: float
) -> Received | HookAnswer:
    """Send once within `limit_s`; return what came back, or the answer when nothing did."""
    # Pool, TCP and TLS end well before the limit, so a limit that passes means: it was under way.
    timeout = httpx2.Timeout(limit_s, connect=limit_s / 4, pool=limit_s / 4)
    seen: list[httpx2.Response] = []
    try:
        async with (
            asyncio.timeout(limit_s),
            http.stream(
                what.method,
                what.url,
                content=what.content,
                headers={"user-agent": "slo-monitor", **what.headers},
                timeout=timeout,
                follow_redirects=False,
            ) as response,
        ):
            seen.append(response)
            body = await _bounded(response)
    except (httpx2.HTTPError, OSError) as error:
        if not seen:
            return _unanswered(error, limit_s)
        # The status had arrived: only the body broke off.
        body = b""
    return Received(status=seen[0].status_code, headers=seen[0].headers, body=body)


def shown(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` fit for a record: one line, at most 200 characters, `secrets` hidden."""
    for secret in secrets:
        text = text.replace(secret, "***")
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return line if len(line) <= DETAIL_LIMIT else f"{line[: DETAIL_LIMIT - 1]}…"


def capped(wait_s: float) -> float:
    """Return a wait that somebody else asked for, within what we are willing to wait."""
    return min(max(wait_s, 0.0), RETRY_AFTER_CAP_S)


def check_address(url: str) -> str:
    """Return `url` when a hook may use it.

    Raises:
        ValueError: when it is no http(s) address, or holds a password (addresses are logged).
    """
    try:
        parsed = httpx2.URL(url)
        # A name or port that only the resolver would choke on is found here.
        named = bool(parsed.host.encode("idna")) and (
            parsed.port is None or 0 < parsed.port < 2**16
        )
        usable = named and parsed.scheme in {"http", "https"}
        extra = parsed.userinfo or parsed.query or parsed.fragment
    except (httpx2.InvalidURL, UnicodeError):
        usable, extra = False, b""
    if not usable or extra:
        msg = (
            "expected an address that starts with https:// (or http://) and names a host, "
            "without user, password, query or fragment"
        )
        raise ValueError(msg)
    return url.rstrip("/")


def _unanswered(error: Exception, limit_s: float) -> HookAnswer:
    if isinstance(error, _NOT_SENT):
        return HookAnswer(
            state=RollbackState.INTENDED,
            detail=shown(f"cannot connect ({type(error).__name__}); nothing was sent"),
        )
    if isinstance(error, httpx2.LocalProtocolError | httpx2.UnsupportedProtocol):
        return HookAnswer(state=RollbackState.FAILED, detail="the request could not be formed")
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        detail = f"no answer within {limit_s:g} s; it may have been received"
    else:
        detail = f"connection lost ({type(error).__name__}); it may have been received"
    return HookAnswer(state=RollbackState.UNCERTAIN, detail=detail)


async def _bounded(response: httpx2.Response) -> bytes:
    taken = bytearray()
    async for chunk in response.aiter_bytes():
        taken += chunk
        if len(taken) > REPLY_LIMIT:
            return b""
    return bytes(taken)
