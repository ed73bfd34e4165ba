"""An Alertmanager that is there already, by its API v2: existing estates keep their routing.

Owns the request and what its statuses mean. Alerts are sent again while they fire, as Prometheus
does; each has an end of its own, so that those of a monitor that died end by themselves.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any, Literal

import httpx2
from pydantic import field_validator

from monitor.fields import Duration, Secret
from monitor.model import Delivery, DeliveryResult, IncidentAlert, Message
from monitor.notify.base import ChannelConfig, Notifier, NotifyIO
from monitor.notify.http import Address, Answer, Endpoint, described, post
from monitor.notify.render import render
from monitor.notify.words import fit, fit_line, iso, measured, one_line

RESEND_S = 60.0
VALID_S = 4 * RESEND_S
"""An alert that is not sent again for so long is over, as far as Alertmanager knows."""
PATH = "/api/v2/alerts"
VALUE_LIMIT = 1024

_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_]")


class AlertmanagerConfig(ChannelConfig):
    """Hands alerts to an Alertmanager, which routes, groups and silences them."""

    kind: Literal["alertmanager"]
    url: Address
    """Where it is, with its path prefix if it has one; user:password@ is sent as basic auth."""
    timeout_s: Duration = 15.0

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: Secret) -> Secret:
        Endpoint.parse(url)
        return url

    def build(self, name: str, io: NotifyIO) -> Notifier:  # noqa: ARG002 - the contract of kinds
        """Return the notifier."""
        return AlertmanagerNotifier(self, io)


class AlertmanagerNotifier:
    """Posts all alerts of an incident for each send."""

    deduplicates = True
    repeats = True
    updates = True
    repeat_s: float | None = RESEND_S
    rate_per_s = 10.0
    burst = 20

    def __init__(self, config: AlertmanagerConfig, io: NotifyIO) -> None:
        """Use `config` with the client of `io`."""
        endpoint = Endpoint.parse(config.url)
        target = endpoint.target.partition(b"?")[0].rstrip(b"/") + PATH.encode()
        self._endpoint = replace(endpoint, target=target)
        self._timeout_s = config.timeout_s
        self._http = io.http

    async def send(self, message: Message, deadline_s: float, remote_key: str | None) -> Delivery:  # noqa: ARG002 - labels are the key
        """Post the alerts once."""
        answer = await post(
            self._http,
            self._endpoint,
            json.dumps(payload(message)).encode(),
            {"content-type": "application/json"},
            min(self._timeout_s, deadline_s),
        )
        return answer if isinstance(answer, Delivery) else self._judge(answer, message.at)

    def _judge(self, answer: Answer, now: float) -> Delivery:
        delivery = answer.delivery(described(answer, self._endpoint.secrets), now)
        if delivery.result is DeliveryResult.DELIVERED and answer.status != httpx2.codes.OK:
            detail = f"expected 200 of an Alertmanager, got {delivery.detail}"
            return Delivery(result=DeliveryResult.PERMANENT, detail=detail)
        return delivery


def payload(message: Message) -> list[dict[str, Any]]:
    """Return the alerts of the message's incident as Alertmanager takes them."""
    incident = message.incident
    alerts = incident.alerts or (incident.lead,)
    links = render(replace(message, incident=replace(incident, alerts=()))).links
    return [_alert(each, message, links[0][1] if links else "") for each in alerts]


def _alert(alert: IncidentAlert, message: Message, link: str) -> dict[str, Any]:
    incident = message.incident
    labels = {
        **{_label_name(name): fit_line(value, VALUE_LIMIT) for name, value in alert.labels.items()},
        "alertname": fit_line(alert.rule, VALUE_LIMIT) or "unnamed",
        "deployment": fit_line(alert.deployment, VALUE_LIMIT),
        "environment": fit_line(incident.environment, VALUE_LIMIT),
        "service": fit_line(incident.service, VALUE_LIMIT),
        "severity": alert.severity.value,
    }
    values = "\n".join(f"{name} = {measured(name, it)}" for name, it in alert.values.items())
    annotations = {
        **{_label_name(name): fit(value, VALUE_LIMIT) for name, value in alert.annotations.items()},
        "summary": fit(alert.summary, VALUE_LIMIT),
        "condition": fit(alert.condition, VALUE_LIMIT),
        "measured": fit(values, VALUE_LIMIT),
        "incident": one_line(incident.id),
    }
    ends_at = message.at + VALID_S if alert.resolved_at is None else alert.resolved_at
    document: dict[str, Any] = {
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": {name: value for name, value in annotations.items() if value},
        "startsAt": iso(min(alert.started_at, ends_at)),
        "endsAt": iso(ends_at),
    }
    return document | ({"generatorURL": link} if link else {})


def _label_name(name: str) -> str:
    cleaned = _NOT_IN_A_NAME.sub("_", name)[:VALUE_LIMIT]
    return cleaned if cleaned and not cleaned[0].isdigit() else f"_{cleaned}"
