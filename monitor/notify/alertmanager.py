"""An existing Alertmanager, by `/api/v2/alerts`: estates that have one keep their routing.

Owns the alerts as Alertmanager takes them and what its statuses mean. An alert there is its
labels, so these stay the same from the first message of an incident to its last; whatever changes
is an annotation. A firing alert is good for four reminders: when we are dead, Alertmanager
resolves it by itself. That compares our time with its own, so both clocks must be right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from monitor.fields import Duration, Secret
from monitor.model import (
    Delivery,
    DeliveryResult,
    Incident,
    IncidentAlert,
    Message,
    SendReason,
)
from monitor.notify.base import ChannelConfig, Notifier, NotifyIO
from monitor.notify.http import Address, Answer, Endpoint, described, post
from monitor.notify.render import render
from monitor.notify.words import fit, fit_line, iso, measured
from monitor.slo.alerting import rule_name

PATH = "/api/v2/alerts"
RESEND_S = 60.0
RESENDS_VALID = 4
"""Reminders that may get lost before Alertmanager takes the alert for resolved."""
ENDED_KEPT_S = 900.0
"""How long an alert that ended is sent along while others of its incident fire."""
LABEL_LIMIT = 1000
ANNOTATION_LIMIT = 2000
NAME_LIMIT = 100
MORE_LIMIT = 40
"""Labels, annotations or values of one alert that come from configuration or measurement."""

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_]")


class AlertmanagerConfig(ChannelConfig):
    """Sends alerts to an Alertmanager (or what takes the same, such as Mimir).

    Alertmanager groups, routes and silences them as it does those of Prometheus. Each alert of an
    incident is one alert there, with the labels `alertname`, `deployment`, `environment`,
    `service`, `severity`, `priority` and those of its rule. While it fires it is sent again every
    minute; four minutes without us, and Alertmanager resolves it.
    """

    example: ClassVar[str] = "{kind: alertmanager, url: 'http://alertmanager.shop.test:9093'}"

    kind: Literal["alertmanager"]
    url: Address
    """Its address, with the prefix of its routes if it has one, without `/api/v2`."""
    username: str | None = None
    """For basic authentication, together with `password`."""
    password: Secret | None = None
    """The password of `username`."""
    token: Secret | None = None
    """Bearer token, instead of a user's name and password."""
    timeout_s: Duration = Field(alias="timeout", default=15.0)
    """How long one attempt may take."""

    @field_validator("url")
    @classmethod
    def _is_base(cls, url: Secret) -> Secret:
        if b"?" in Endpoint.parse(url).target or "#" in url.reveal():
            msg = "expected an address without query and fragment"
            raise ValueError(msg)
        return url

    @model_validator(mode="after")
    def _credentials_are_complete(self) -> AlertmanagerConfig:
        if (self.username is None) != (self.password is None):
            msg = "expected username and password together, or neither"
            raise ValueError(msg)
        ways = (self.username, self.token, Endpoint.parse(self.url).auth)
        if sum(way is not None for way in ways) > 1:
            msg = "expected one way to sign in: username and password, token, or a user in the url"
            raise ValueError(msg)
        return self

    def endpoint(self) -> Endpoint:
        """Return where alerts are posted to, with the user who posts them."""
        whole = Secret(self.url.reveal().strip().rstrip("/") + PATH, self.url.source)
        endpoint = Endpoint.parse(whole)
        if self.password is None:
            return endpoint
        secrets = (self.password.reveal(), *endpoint.secrets)
        return replace(
            endpoint, auth=(self.username or "", self.password.reveal()), secrets=secrets
        )

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
        self._endpoint = config.endpoint()
        self._headers = {"content-type": "application/json", "user-agent": "slo-monitor"}
        self._secrets = self._endpoint.secrets
        if config.token is not None:
            self._headers["authorization"] = f"Bearer {config.token.reveal()}"
            self._secrets = (config.token.reveal(), *self._secrets)
        self._timeout_s = config.timeout_s
        self._http = io.http

    async def send(self, message: Message, deadline_s: float, remote_key: str | None) -> Delivery:  # noqa: ARG002 - labels are the key
        """Post the alerts of `message` once."""
        body = json.dumps(alerts(message)).encode()
        limit_s = min(self._timeout_s, deadline_s)
        answer = await post(self._http, self._endpoint, body, self._headers, limit_s)
        return answer if isinstance(answer, Delivery) else self._judge(answer, message.at)

    def _judge(self, answer: Answer, now: float) -> Delivery:
        detail = described(answer, self._secrets)
        is_page = answer.headers.get("content-type", "").startswith("text/html")
        delivery = answer.delivery(detail, now)
        if delivery.result is DeliveryResult.DELIVERED and is_page:
            # Alertmanager takes alerts without a word: a login page is not its answer.
            return Delivery(result=DeliveryResult.PERMANENT, detail=detail)
        return delivery


def alerts(message: Message) -> list[dict[str, Any]]:
    """Return `message` as the body of the request: one alert for each of its incident's.

    One that ended a while ago is left out until the whole incident is over: Alertmanager has
    resolved it by then, even if it never heard of it.
    """
    incident = message.incident
    every = incident.with_lead().alerts
    recent = tuple(
        alert
        for alert in every
        if alert.resolved_at is None
        or message.at - message.ahead_s - alert.resolved_at < ENDED_KEPT_S
    )
    told = recent or every
    if message.reason is SendReason.REPEAT:
        # Its end was told, and by now it may fire as part of another incident.
        told = tuple(alert for alert in every if alert.is_open) or told
    return [_alert(message, alert) for alert in told]


def label_name(text: str) -> str:
    """Return `text` as a name that Alertmanager takes: `[a-zA-Z_][a-zA-Z0-9_]*`, never empty."""
    name = _NOT_IN_NAMES.sub("_", text[:NAME_LIMIT])
    return f"_{name}" if not name or name[0].isdigit() else name


def _alert(message: Message, alert: IncidentAlert) -> dict[str, Any]:
    ended_at = message.incident.resolved_at if alert.resolved_at is None else alert.resolved_at
    opened_at = alert.opened_at + message.ahead_s
    ends_at = message.at + RESENDS_VALID * RESEND_S
    if ended_at is not None:
        ends_at = ended_at + message.ahead_s
    content: dict[str, Any] = {
        "labels": _labels(message.incident, alert),
        "annotations": _annotations(message, alert),
        "startsAt": iso(opened_at),
        # An end before the beginning is refused.
        "endsAt": iso(max(ends_at, opened_at)),
    }
    page = dict(render(message).links).get("Live page")
    return content if page is None else {**content, "generatorURL": page}


def _labels(incident: Incident, alert: IncidentAlert) -> dict[str, str]:
    own = {
        "alertname": fit_line(rule_name(alert.rule), LABEL_LIMIT) or "unnamed",
        "deployment": alert.deployment,
        # An incident, and all the more a digest, may span deployments.
        "environment": alert.environment or incident.environment,
        "service": alert.service or incident.service,
        "severity": alert.severity.value,
        "priority": alert.priority.value,
    }
    more = list(alert.labels.items())[:MORE_LIMIT]
    return _named([*own.items(), *more], LABEL_LIMIT)


def _annotations(message: Message, alert: IncidentAlert) -> dict[str, str]:
    values = [
        f"{fit_line(name, NAME_LIMIT)} = {measured(name, value)}"
        for name, value in list(alert.values.items())[:MORE_LIMIT]
    ]
    own = [
        ("summary", alert.summary),
        ("condition", alert.condition),
        ("measured", "\n".join(values)),
        ("since", iso(alert.started_at)),
        ("resolved_because", alert.resolve_reason),
        ("incident", message.incident.id),
    ]
    written = list(alert.annotations.items())[:MORE_LIMIT]
    return _named([*own, *written, *_matters(message, alert)], ANNOTATION_LIMIT)


def _matters(message: Message, alert: IncidentAlert) -> Iterator[tuple[str, str]]:
    """Yield what concerns the incident as a whole: the alert that leads it says so."""
    incident = message.incident
    if (alert.rule, alert.deployment) != (incident.rule, incident.deployment):
        return
    yield "revision", incident.revision or ""
    yield "notes", "\n".join(render(message).notes)
    if incident.acknowledgement is not None:
        yield "acknowledged_by", incident.acknowledgement.by
    if message.brief is not None:
        yield from _lower(message.brief.facts[:MORE_LIMIT])
        yield from _lower(message.brief.links[:MORE_LIMIT])


def _lower(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    return ((name.lower(), text) for name, text in pairs)


def _named(pairs: Iterable[tuple[str, str]], limit: int) -> dict[str, str]:
    """Return `pairs` with good names and clean texts, empty ones left out; the first of a name."""
    found: dict[str, str] = {}
    for name, text in pairs:
        if cleaned := fit(text, limit):
            found.setdefault(label_name(name), cleaned)
    return found
