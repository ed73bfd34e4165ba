"""Our own crashes to Sentry, with everything off that could leak a secret or touch a probe."""

from __future__ import annotations

import logging

import sentry_sdk
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.types import Event, Hint
from sentry_sdk.utils import BadDsn

from monitor import __version__
from monitor.fields import Secret

EVENTS_PER_MINUTE = 10
FLUSH_S = 0.5


class SentryError(Exception):
    """Sentry cannot be used as configured; the text says why."""


def start_sentry(dsn: Secret) -> None:
    """Report exceptions that were logged; no traces, no local variables, no request bodies.

    Raises:
        SentryError: the DSN is not one.
    """
    limiter = _Limiter()
    try:
        sentry_sdk.init(
            dsn=dsn.reveal(),
            release=f"slo-monitor@{__version__}",
            default_integrations=False,
            auto_enabling_integrations=False,
            integrations=[LoggingIntegration(level=None, event_level=logging.ERROR)],
            include_local_variables=False,
            include_source_context=False,
            traces_sample_rate=None,
            trace_propagation_targets=[],
            max_request_body_size="never",
            before_send=limiter.pass_or_drop,
            shutdown_timeout=FLUSH_S,
        )
    except BadDsn as error:
        msg = f"sentry.dsn ({dsn!r}) is not a Sentry DSN such as https://KEY@HOST/PROJECT"
        raise SentryError(msg) from error


def flush_sentry() -> None:
    """Give what was reported last a moment to leave."""
    sentry_sdk.flush(timeout=FLUSH_S)


class _Limiter:
    """Lets through so many crashes a minute, by the events' own timestamps."""

    def __init__(self) -> None:
        self._minute = ""
        self._count = 0

    def pass_or_drop(self, event: Event, hint: Hint) -> Event | None:
        if event.get("type") == "check_in":
            return event
        if "exc_info" not in hint:
            # An error that we can explain (a refused reload, a full disk) is for the operator.
            return None
        minute = str(event.get("timestamp", ""))[:16]
        if minute != self._minute:
            self._minute, self._count = minute, 0
        self._count += 1
        return event if self._count <= EVENTS_PER_MINUTE else None
