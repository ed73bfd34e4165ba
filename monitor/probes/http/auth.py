"""How a probe shows who it is: basic, bearer, or a token from an OAuth 2.0 identity provider.

Owns the text of the Authorization header and the life of a token. The provider is asked outside
the measurement, and its failure is not the target's: the probe then knows nothing (`auth`).
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Callable
from typing import Annotated, Protocol, Self, cast
from urllib.parse import quote_plus, urlencode

from pydantic import AfterValidator, model_validator

from monitor.fields import Model, Secret
from monitor.probes.base import ProbeIO
from monitor.probes.failure import ProbeError
from monitor.probes.http.client import fetch
from monitor.probes.http.request import Request, check_header
from monitor.probes.http.route import Route
from monitor.probes.http.trace import Trace
from monitor.probes.http.url import Url, parse_url
from monitor.probes.http.wire import Exchange
from monitor.probes.reason import Reason

PROVIDER_DEADLINE_S = 10.0
_WAYS = 3
_ANSWER_MAX = 64 * 1024
_OK = 200
_LIFETIME_S = 300.0
"""Of a token whose provider does not say."""
_EARLY_S = 30.0
_EARLY_SHARE = 0.1
"""A token is renewed this long before it ends, or this share of its life when that is less."""


def _check_token_url(text: str) -> str:
    parse_url(text)
    return text


class BasicAuth(Model):
    """User name and password."""

    username: str
    """Printable, without a colon."""
    password: Secret
    """A reference: `{env: NAME}` or `{file: PATH}`."""

    @model_validator(mode="after")
    def _check_username(self) -> Self:
        if ":" in self.username or not self.username.isprintable():
            msg = "a user name holds no colon and no control characters"
            raise ValueError(msg)
        return self


class OAuth2(Model):
    """Client credentials (RFC 6749, section 4.4)."""

    token_url: Annotated[str, AfterValidator(_check_token_url)]
    """Where tokens are to be had."""
    client_id: str
    """Who asks for a token."""
    client_secret: Secret
    """A reference: `{env: NAME}` or `{file: PATH}`."""
    scope: str | None = None
    """Scopes to ask for, separated by spaces."""


class Auth(Model):
    """One way to authenticate with the deployment's own origin; a redirect elsewhere gets none."""

    basic: BasicAuth | None = None
    """A user and a password."""
    bearer: Secret | None = None
    """A token: `{env: NAME}` or `{file: PATH}`."""
    oauth2: OAuth2 | None = None
    """Client credentials: a token is fetched, kept as long as it lasts, and sent."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.basic, self.bearer, self.oauth2).count(None) != _WAYS - 1:
            msg = "expected one of basic, bearer, oauth2"
            raise ValueError(msg)
        if self.bearer is not None:
            check_header("Authorization", self.bearer)
        return self

    def build(self, io: ProbeIO, ca_file: str | None, route: Route) -> Authorization:
        """Return what gives the header; a provider is reached by `route`, trusting `ca_file`.

        Raises:
            ValueError: when `ca_file` cannot be loaded.
        """
        if self.basic is not None:
            return Fixed(_basic(self.basic.username, self.basic.password.reveal()))
        if self.bearer is not None:
            return Fixed(f"Bearer {self.bearer.reveal()}")
        context = io.tls.get(ca_file, insecure=False)
        return TokenSource(cast("OAuth2", self.oauth2), io, context, route)


class Authorization(Protocol):
    """Gives the header for the next request."""

    async def header(self) -> bytes:
        """Return the header's whole line.

        Raises:
            ProbeError: (auth) when there is none to be had.
        """
        ...

    def refused(self) -> None:
        """Hear that the target did not accept it."""
        ...


class Fixed:
    """Always the same header."""

    __slots__ = ("_line",)

    def __init__(self, value: str) -> None:
        """`value` is that of the header."""
        self._line = f"Authorization: {value}\r\n".encode("latin-1")

    async def header(self) -> bytes:
        """Return it."""
        return self._line

    def refused(self) -> None:
        """Nothing can be done about it."""


class TokenSource:
    """A token that is fetched when it is needed, once for all who wait, and kept while it lasts."""

    def __init__(
        self, provider: OAuth2, io: ProbeIO, context: ssl.SSLContext, route: Route
    ) -> None:
        """Ask nobody yet."""
        self._io = io
        self._context = context
        self._route = route
        self._url: Url = parse_url(provider.token_url)
        self._exchange = _token_exchange(provider, self._url)
        self._line: bytes | None = None
        self._until = 0.0
        self._flight: asyncio.Task[bytes] | None = None

    async def header(self) -> bytes:
        """Return the header with a token that is still good for a while."""
        now = self._io.clock()
        if self._line is not None and now() < self._until:
            return self._line
        if self._flight is None:
            self._flight = asyncio.create_task(self._fetch(now), name="token")
            self._flight.add_done_callback(self._landed)
        # One probe's deadline must not end what others wait for.
        return await asyncio.shield(self._flight)

    def refused(self) -> None:
        """Forget the token: it may have been revoked."""
        self._line = None

    def _landed(self, flight: asyncio.Task[bytes]) -> None:
        self._flight = None
        if not flight.cancelled():
            # Whoever waited may be gone; the failure is not lost, the next probe meets it again.
            flight.exception()

    async def _fetch(self, now: Callable[[], float]) -> bytes:
        trace = Trace(now)
        context = self._context if self._exchange.secure else None
        try:
            async with asyncio.timeout(PROVIDER_DEADLINE_S):
                answer = await fetch(
                    self._url, self._exchange, self._io, context, trace, route=self._route
                )
        except ProbeError as error:
            raise ProbeError(Reason.AUTH, f"no token: {error.detail}") from None
        except TimeoutError:
            detail = f"no token: {self._url.host} did not answer in {PROVIDER_DEADLINE_S:g} s"
            raise ProbeError(Reason.AUTH, detail) from None
        if answer.status != _OK:
            detail = f"no token: {self._url.host} answered HTTP {answer.status}"
            raise ProbeError(Reason.AUTH, detail)
        token, lifetime_s = _token(answer.body, self._url.host)
        self._line = b"Authorization: Bearer " + token + b"\r\n"
        self._until = now() + lifetime_s - min(_EARLY_S, lifetime_s * _EARLY_SHARE)
        return self._line


def _basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode("ascii")


def _token_exchange(provider: OAuth2, url: Url) -> Exchange:
    form = {"grant_type": "client_credentials"}
    if provider.scope is not None:
        form["scope"] = provider.scope
    identity = quote_plus(provider.client_id), quote_plus(provider.client_secret.reveal())
    headers: dict[str, str | Secret] = {
        "Authorization": Secret(_basic(*identity)),
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "application/json",
    }
    return Exchange(
        request=Request.build("POST", headers, urlencode(form).encode()).render(url, at_home=True),
        is_head=False,
        keep_body=True,
        max_body_bytes=_ANSWER_MAX,
        follow_redirects=False,
        secure=url.scheme == "https",
    )


def _token(body: bytes, host: str) -> tuple[bytes, float]:
    """Return the token in a provider's answer and for how many seconds it is good."""
    try:
        answer = json.loads(body)
        token, lifetime_s = answer["access_token"], answer.get("expires_in", _LIFETIME_S)
        check_header("Authorization", Secret(token))
        return token.encode("latin-1"), max(0.0, float(lifetime_s))
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):
        # What the parser says may quote the token.
        raise ProbeError(Reason.AUTH, f"no token in the answer of {host}") from None
