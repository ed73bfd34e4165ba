"""Our own crashes to Sentry, with everything off that could leak a secret or touch a probe."""

from __future__ import annotations

import logging

import sentry_sdk
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.types import Event

from monitor import __version__
from monitor.fields import Secret

EVENTS_PER_MINUTE = 10


def start_sentry(dsn: Secret) -> None:
    """Report exceptions that were logged; no traces, no local variables, no request bodies."""
    limiter = _Limiter()
    sentry_sdk.init(
        dsn=dsn.reveal(),
        release=f"slo-monitor@{__version__}",
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[LoggingIntegration(level=None, event_level=logging.ERROR)],
        include_local_variables=False,
        include_source_context=False,
        send_default_pii=False,
        traces_sample_rate=None,
        trace_propagation_targets=[],
        max_request_body_size="never",
        before_send=limiter.pass_or_drop,
        shutdown_timeout=2,
    )


class _Limiter:
    """Lets through so many events a minute, by the events' own timestamps."""

    def __init__(self) -> None:
        self._minute = ""
        self._count = 0

    def pass_or_drop(self, event: Event, _hint: object) -> Event | None:
        minute = str(event.get("timestamp", ""))[:16]
        if minute != self._minute:
            self._minute, self._count = minute, 0
        self._count += 1
        return event if self._count <= EVENTS_PER_MINUTE else None
