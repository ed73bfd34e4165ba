"""Sinks of the dead man's switch: who outside can be told that we live, and how.

Owns one call to each kind of sink. Decides nothing, keeps no state and never retries. The address
of a sink is a secret: neither the log nor an error shows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Literal, Self

import httpx2
from pydantic import AfterValidator, Field, model_validator

from monitor.fields import Duration, Model, Name, format_duration
from monitor.model import DeliveryResult
from monitor.notify.http import Address, Endpoint, phases, status_result, unanswered

REASON_LIMIT = 1000
SHORTEST_INTERVAL_S = 5.0
MINUTE_S = 60.0

CheckIn = Callable[..., object]
"""`sentry_sdk.crons.capture_checkin`: queues a check-in and returns at once."""


def _is_long_enough(interval_s: float) -> float:
    if interval_s < SHORTEST_INTERVAL_S:
        msg = f"expected at least {format_duration(SHORTEST_INTERVAL_S)}"
        raise ValueError(msg)
    return interval_s


class DeadmanConfig(Model):
    """Who outside hears that we can deliver, and how often."""

    kind: Literal["healthchecks", "url", "sentry_cron"] = "healthchecks"
    """`healthchecks`: a ping address, `/fail` below it says that nothing can be delivered. `url`:
    any heartbeat that is a plain GET. `sentry_cron`: a check-in with the DSN under `sentry`."""
    url: Address | None = None
    monitor: Name | None = None
    """Slug of the Sentry cron monitor; it is made with the first check-in."""
    interval_s: Annotated[Duration, AfterValidator(_is_long_enough)] = 60.0
    limit_s: Duration = Field(default=600.0, alias="limit")
    """How long nothing may be delivered, or saved, before the beat stops."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        is_sentry = self.kind == "sentry_cron"
        problems = (
            (is_sentry and self.monitor is None, "kind sentry_cron needs monitor, its slug"),
            (is_sentry and self.url is not None, "kind sentry_cron takes no url"),
            (is_sentry and self.interval_s % MINUTE_S, "Sentry counts in whole minutes"),
            (not is_sentry and self.url is None, f"kind {self.kind} needs a url"),
            (not is_sentry and self.monitor is not None, f"kind {self.kind} takes no monitor"),
        )
        for is_wrong, message in problems:
            if is_wrong:
                raise ValueError(message)
        if self.url is not None:
            Endpoint.parse(self.url)
        return self


class UrlSink:
    """A heartbeat address; with `says_failure` the address knows `/fail` as Healthchecks does."""

    def __init__(self, http: httpx2.AsyncClient, endpoint: Endpoint, *, says_failure: bool) -> None:
        """Use `endpoint` with `http`."""
        self._http = http
        self._endpoint = endpoint
        self._says_failure = says_failure

    async def tell(self, why_silent: str | None, limit_s: float) -> str | None:
        """Beat, or say why there is no beat; return None when it was taken, else why not."""
        if why_silent is None:
            return await self._call("GET", self._endpoint.target, b"", limit_s)
        if not self._says_failure:
            return None
        path, mark, query = self._endpoint.target.partition(b"?")
        target = path.rstrip(b"/") + b"/fail" + mark + query
        return await self._call("POST", target, why_silent[:REASON_LIMIT].encode(), limit_s)

    async def _call(self, method: str, target: bytes, content: bytes, limit_s: float) -> str | None:
        try:
            async with (
                asyncio.timeout(limit_s),
                self._http.stream(
                    method,
                    self._endpoint.origin,
                    content=content or None,
                    headers={"user-agent": "slo-monitor"},
                    auth=self._endpoint.auth,
                    timeout=phases(limit_s),
                    follow_redirects=False,
                    # The secret path must not be in the URL, which is logged.
                    extensions={"target": target},
                ) as response,
            ):
                taken = status_result(response.status_code) is DeliveryResult.DELIVERED
                return None if taken else f"it answered {response.status_code}"
        except (httpx2.HTTPError, OSError) as error:
            return unanswered(error, limit_s).detail


class SentrySink:
    """A Sentry cron monitor. The SDK sends on a thread of its own, so we never hear of failures."""

    def __init__(self, check_in: CheckIn, config: DeadmanConfig) -> None:
        """Check in as `config.monitor`."""
        self._check_in = check_in
        self._slug = config.monitor
        minutes = int(config.interval_s / MINUTE_S)
        self._schedule = {
            "schedule": {"type": "interval", "value": minutes, "unit": "minute"},
            "checkin_margin": max(2, 2 * minutes),
            "failure_issue_threshold": 1,
            "recovery_threshold": 1,
        }

    async def tell(self, why_silent: str | None, limit_s: float) -> str | None:  # noqa: ARG002 - nothing is waited for
        """Check in with `ok`, or with `error`."""
        status = "ok" if why_silent is None else "error"
        self._check_in(monitor_slug=self._slug, status=status, monitor_config=self._schedule)
        return None


Sink = UrlSink | SentrySink


def build_sink(config: DeadmanConfig, http: httpx2.AsyncClient, check_in: CheckIn) -> Sink:
    """Return the sink of `config`."""
    if config.url is None:
        return SentrySink(check_in, config)
    endpoint = Endpoint.parse(config.url)
    return UrlSink(http, endpoint, says_failure=config.kind == "healthchecks")
