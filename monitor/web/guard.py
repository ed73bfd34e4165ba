"""What stands before the handlers: headers, deadlines, refusals in words, and the POST guard.

A method that changes something is refused here unless it carries the token (which is looked at
before the body is read) or, on the few paths that have one, the proof that stands in its stead; a
handler cannot forget it.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from monitor.fields import Secret
from monitor.web.respond import Handler, RefusalError

log = logging.getLogger(__name__)

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
HANDLER_DEADLINE_S = 20.0
BODY_DEADLINE_S = 10.0
BODY_LIMIT = 64 * 1024

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "slo-monitor",
}


FORM_HEADERS = {
    **SECURITY_HEADERS,
    "Content-Security-Policy": SECURITY_HEADERS["Content-Security-Policy"].replace(
        "form-action 'none'", "form-action 'self'"
    ),
    # With no-referrer a browser calls the origin of a form "null", which the guard refuses.
    "Referrer-Policy": "same-origin",
}
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


class FormPage(web.Response):
    """A page with a form that comes back to us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What stands in the token's stead on a path: a signature."""

    check: Callable[[web.Request], Awaitable[None]]
    """Raises RefusalError, having logged it, when the request does not prove itself."""
    media: str
    """Type of the bodies that are taken."""
    scheme: Mapping[str, str]
    """How OpenAPI describes it."""


async def add_security_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Put the headers on every answer; an `on_response_prepare` signal handler."""
    response.headers.update(FORM_HEADERS if isinstance(response, FormPage) else SECURITY_HEADERS)


@web.middleware
async def speak_plainly(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every refusal and failure into a short JSON answer that repeats nothing of the input."""
    try:
        async with asyncio.timeout(HANDLER_DEADLINE_S):
            return await handler(request)
    except RefusalError as refusal:
        return refusal.response()
    except web.HTTPException as refusal:
        kept = {"Allow": refusal.headers["Allow"]} if "Allow" in refusal.headers else None
        text = f"{refusal.reason.lower()}; see /api/v1/openapi.json"
        return RefusalError(refusal.status, text, headers=kept).response()
    except TimeoutError:
        log.error("no answer in time", extra={"path": request.path})  # noqa: TRY400 - known cause
        return RefusalError(503, "no answer in time", headers={"Retry-After": "5"}).response()
    except Exception:
        log.exception("request failed", extra={"path": request.path})
        return RefusalError(500, "internal error; the log has the details").response()


def guard_changes(
    token: Secret | None, proofs: Mapping[str, Proof] | None = None, page_url: str | None = None
) -> Middleware:
    """Return the middleware that lets only the holder of `token` change anything.

    `proofs` are by the paths of their routes. `page_url` is what people know us by, should a proxy
    call us by another name.
    """
    home = urlsplit(page_url).netloc if page_url else None

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method not in SAFE_METHODS and request.match_info.http_exception is None:
            _refuse_cross_site(request, home)
            resource = request.match_info.route.resource
            proof = (proofs or {}).get(resource.canonical) if resource is not None else None
            if proof is None:
                _refuse_stranger(request, token)
            else:
                await proof.check(request)
            _refuse_other_media(request, JSON if proof is None else proof.media)
        return await handler(request)

    return guard


def _refuse_cross_site(request: web.Request, home: str | None) -> None:
    origin = request.headers.get("Origin")
    foreign = origin is not None and urlsplit(origin).netloc not in {request.host, home}
    if foreign or request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        raise RefusalError(403, "requests from pages of other sites are refused")


def _refuse_stranger(request: web.Request, token: Secret | None) -> None:
    if token is None:
        text = "changes are off: no token is configured; set server.token: {env: NAME}"
        raise RefusalError(403, text)
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # Octets, since a header may hold what is no text; the time taken tells nothing but the length.
    same = hmac.compare_digest(
        given.strip().encode(errors="surrogateescape"), token.reveal().encode()
    )
    if scheme.lower() != "bearer" or not same:
        raise RefusalError(
            401,
            "send the configured token as `Authorization: Bearer ...`",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _refuse_other_media(request: web.Request, media: str) -> None:
    if request.can_read_body and request.content_type != media:
        raise RefusalError(415, f"send {media}")


async def read_body(request: web.Request) -> bytes:
    """Return the body; another call gets the same again.

    Raises:
        RefusalError: too slow.
        web.HTTPRequestEntityTooLarge: more than BODY_LIMIT.
    """
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            return await request.read()
    except TimeoutError:
        raise RefusalError(408, "the body did not arrive in time") from None


async def read_object(request: web.Request) -> dict[str, Any]:
    """Return the JSON object in the body.

    Raises:
        RefusalError: not JSON, not an object, too slow.
        web.HTTPRequestEntityTooLarge: more than BODY_LIMIT.
    """
    body = await read_body(request)
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusalError(400, "the body is not JSON") from None
    if not isinstance(value, dict):
        raise RefusalError(400, "the body is not a JSON object")
    return value
