"""PagerDuty's own client, held to a single attempt over a transport that is lent to it.

Owns what must be switched off in the library. Knows no event and judges no answer.
"""

from __future__ import annotations

from typing import Any

import httpx2
from pagerduty import EventsApiV2Client, HttpError

from monitor.fields import Secret
from monitor.notify.http import phases

ACCEPTED = 202


class OneAttempt(EventsApiV2Client):
    """The client with its own retries off: repeating is the outbox's decision.

    Left alone it sleeps and repeats inside the call, after a 429 without limit.
    """

    max_network_attempts = 0
    timeout: Any
    """Annotated as whole seconds by the library, which hands it on to httpx2 as it is."""

    def __init__(
        self,
        base_url: str | None,
        key: Secret,
        transport: httpx2.BaseTransport | None,
        limit_s: float,
    ) -> None:
        """Speak for `key`; every call ends within about `limit_s`."""
        borrowed = None if transport is None else _Borrowed(transport)
        # No proxy and no certificates from the environment: only configuration decides.
        super().__init__(key.reveal(), base_url=base_url, transport=borrowed, trust_env=False)
        self.timeout = phases(limit_s)

    def postprocess(self, response: httpx2.Response) -> None:
        """End the call on every status but the one of success, before any is retried."""
        if response.status_code != ACCEPTED:
            msg = f"status {response.status_code}"
            raise HttpError(msg, response)


class _Borrowed(httpx2.BaseTransport):
    """A shared transport that survives the client it is lent to."""

    def __init__(self, lender: httpx2.BaseTransport) -> None:
        self._lender = lender

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return self._lender.handle_request(request)
