"""PagerDuty by Events API v2, through PagerDuty's own client.

Owns the event and its limits. The dedup key makes a repeated open harmless; whatever follows goes
to the routing key that opened the incident. PagerDuty escalates and reminds: this channel does not.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import httpx2
from pagerduty import Error, EventsApiV2Client
from pydantic import Field, field_validator

from monitor.fields import Duration, Secret
from monitor.model import Delivery, DeliveryResult, Incident, Message, Release, SendReason, Severity
from monitor.notify import blocking
from monitor.notify.base import ChannelConfig, Notifier, NotifyIO
from monitor.notify.http import Answer, described, shown, unanswered
from monitor.notify.pagerduty_client import ACCEPTED, OneAttempt
from monitor.notify.render import Text, render
from monitor.notify.words import clip, fit_line, iso, one_line

DEDUP_KEY_LIMIT = 255
SUMMARY_LIMIT = 1024
DETAILS_LIMIT = 400_000
"""Bytes of custom details; the whole event may have 512 KB."""
DETAIL_LIMIT = 8000
LINKS_LIMIT = 10
RATE_LIMIT_WAIT_S = 30.0
ROUTING_KEY_LENGTH = 32

_ACTION = {SendReason.ACKNOWLEDGED: "acknowledge", SendReason.RESOLVED: "resolve"}
"""Every other reason is a trigger, which merges into the open incident of its key."""
_SEVERITY = {
    Severity.CRITICAL: "critical",
    Severity.WARNING: "warning",
    Severity.INFO: "info",
}


class PagerDutyConfig(ChannelConfig):
    """Opens, acknowledges and resolves PagerDuty incidents through an Events API v2 integration."""

    example: ClassVar[str] = "{kind: pagerduty, routing_key: {env: PAGERDUTY_ROUTING_KEY}}"

    kind: Literal["pagerduty"]
    routing_key: Secret
    """Integration key of the service, 32 characters."""
    previous_routing_keys: Annotated[tuple[Secret, ...], Field(strict=False)] = ()
    """Keys used before a rotation: incidents that they opened are resolved through them."""
    change_events: bool = False
    """Whether releases are told as well: they show beside the incidents of the service."""
    base_url: str | None = None
    """Address of the Events API; the US service region's when left out."""
    timeout_s: Duration = Field(alias="timeout", default=15.0)
    """How long one attempt may take."""

    @field_validator("routing_key")
    @classmethod
    def _is_key(cls, key: Secret) -> Secret:
        if len(key.reveal()) != ROUTING_KEY_LENGTH or not key.reveal().isascii():
            msg = f"expected an Events API v2 integration key of {ROUTING_KEY_LENGTH} characters"
            raise ValueError(msg)
        return key

    @field_validator("base_url")
    @classmethod
    def _is_https(cls, base_url: str | None) -> str | None:
        # The client library takes nothing else.
        if base_url is not None and not re.fullmatch(r"https://[^\s/?#@]+/?", base_url):
            msg = "expected an address such as https://events.eu.pagerduty.com"
            raise ValueError(msg)
        return base_url

    def build(self, name: str, io: NotifyIO) -> Notifier:  # noqa: ARG002 - the contract of kinds
        """Return the notifier."""
        return PagerDutyNotifier(self, io)


class PagerDutyNotifier:
    """Sends one event for each send."""

    deduplicates = True
    repeats = False
    updates = True
    repeat_s: float | None = None
    # 20 + 60 x 1.6 is below the 120 that PagerDuty takes from one key in any minute.
    rate_per_s = 1.6
    burst = 20

    def __init__(self, config: PagerDutyConfig, io: NotifyIO) -> None:
        """Use `config`; calls run on the executor of `io`, over its transport if it has one."""
        self.announces = config.change_events
        self._config = config
        self._io = io
        self._secrets = tuple(
            key.reveal() for key in (config.routing_key, *config.previous_routing_keys)
        )

    async def send(self, message: Message, deadline_s: float, remote_key: str | None) -> Delivery:
        """Trigger, acknowledge or resolve once."""
        action = _ACTION.get(message.reason, "trigger")
        key = self._opener(remote_key)
        if key is None and message.reason in {SendReason.FIRST, SendReason.ESCALATED}:
            # An earlier attempt may have opened it by a key that is gone: better two than none.
            key = self._config.routing_key
        if key is None:
            detail = (
                "the routing key that opened this incident is no longer configured: add it to "
                "previous_routing_keys, or resolve the incident in PagerDuty"
            )
            return Delivery(result=DeliveryResult.PERMANENT, detail=detail)
        limit_s = min(self._config.timeout_s, deadline_s)
        delivery = await self._tell(key, action, message, limit_s)
        if message.reason is SendReason.TEST and delivery.result is DeliveryResult.DELIVERED:
            # Nobody has to close what was only a test.
            delivery = await self._tell(key, "resolve", message, limit_s)
        opened = delivery.result in {DeliveryResult.DELIVERED, DeliveryResult.UNCERTAIN}
        return Delivery(
            result=delivery.result,
            detail=delivery.detail,
            retry_after_s=delivery.retry_after_s,
            remote_key=fingerprint(key) if opened else None,
        )

    async def announce(self, release: Release, at: float, deadline_s: float) -> Delivery:
        """Tell of `release` once, as a change event: it opens nothing and pages nobody."""
        event = change(release)
        limit_s = min(self._config.timeout_s, deadline_s)
        return await self._attempt(
            self._config.routing_key, lambda client: client.send_change_event(event), limit_s, at
        )

    async def _tell(self, key: Secret, action: str, message: Message, limit_s: float) -> Delivery:
        event = trigger(message) if action == "trigger" else {}
        name = dedup_key(message.incident.key)
        return await self._attempt(
            key, lambda client: client.send_event(action, name, **event), limit_s, message.at
        )

    def _opener(self, remote_key: str | None) -> Secret | None:
        keys = (self._config.routing_key, *self._config.previous_routing_keys)
        return next((it for it in keys if remote_key in {None, fingerprint(it)}), None)

    async def _attempt(
        self, key: Secret, tell: Callable[[EventsApiV2Client], object], limit_s: float, now: float
    ) -> Delivery:
        call = partial(self._call, key, tell, limit_s)
        try:
            answer = await blocking.run(self._io.executor, limit_s, call)
        except blocking.NotStartedError as error:
            return Delivery(result=DeliveryResult.RETRY, detail=f"{error}; nothing was sent")
        except TimeoutError as error:
            return unanswered(error, limit_s)
        return answer if isinstance(answer, Delivery) else self._judge(answer, now)

    def _call(
        self, key: Secret, tell: Callable[[EventsApiV2Client], object], limit_s: float
    ) -> Answer | Delivery:
        with OneAttempt(self._config.base_url, key, self._io.sync_transport, limit_s) as client:
            try:
                tell(client)
            except Error as error:
                given = error.response
                if given is not None:
                    return Answer(status=given.status_code, headers=given.headers, body=given.text)
                # The client wraps the transport's error, which knows whether anything was sent.
                cause = error.__cause__
                return unanswered(cause if isinstance(cause, httpx2.HTTPError) else error, limit_s)
            except (httpx2.HTTPError, OSError) as error:
                return unanswered(error, limit_s)
        return Answer(status=ACCEPTED, headers={}, body="")

    def _judge(self, answer: Answer, now: float) -> Delivery:
        if answer.status == ACCEPTED:
            return Delivery(result=DeliveryResult.DELIVERED, detail=f"{ACCEPTED} accepted")
        complaint = _complaint(answer.body or "")
        detail = described(
            Answer(status=answer.status, headers=answer.headers, body=complaint), self._secrets
        )
        delivery = answer.delivery(detail, now)
        if delivery.result is DeliveryResult.DELIVERED:
            # Not PagerDuty's way to accept; sending again with the same key is harmless.
            detail = shown(f"expected {ACCEPTED}, got {detail}", self._secrets)
            return Delivery(result=DeliveryResult.UNCERTAIN, detail=detail)
        if answer.status == httpx2.codes.TOO_MANY_REQUESTS and delivery.retry_after_s is None:
            return Delivery(result=delivery.result, detail=detail, retry_after_s=RATE_LIMIT_WAIT_S)
        return delivery


def fingerprint(key: Secret) -> str:
    """Return what may be stored about a routing key: enough to recognise it, not to use it."""
    return hashlib.sha256(key.reveal().encode()).hexdigest()


def dedup_key(key: str) -> str:
    """Return `key` as PagerDuty takes it: at most 255 characters, a readable prefix and a hash."""
    readable = one_line(key)
    if readable == key and len(key) <= DEDUP_KEY_LIMIT:
        return key
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{readable[: DEDUP_KEY_LIMIT - len(digest) - 1]}#{digest}"


def trigger(message: Message) -> dict[str, Any]:
    """Return the properties of a trigger event, without action and keys."""
    text, incident = render(message), message.incident
    summary = f"{text.title}: {one_line(text.summary)}" if text.summary else text.title
    event: dict[str, Any] = {
        "payload": {
            "summary": clip(summary, SUMMARY_LIMIT),
            "source": fit_line(incident.deployment, SUMMARY_LIMIT) or "unknown",
            "severity": _SEVERITY[incident.severity],
            "timestamp": iso(incident.started_at),
            **_classification(incident),
            "custom_details": _fitting(_details(text)),
        },
        "client": "slo-monitor",
    }
    if text.links:
        event["links"] = [
            {"href": address, "text": label} for label, address in text.links[:LINKS_LIMIT]
        ]
    if message.page_url and text.links:
        event["client_url"] = text.links[0][1]
    return event


def change(release: Release) -> dict[str, Any]:
    """Return the payload of a change event."""
    deployment, revision = (
        fit_line(text, DEDUP_KEY_LIMIT) or "unknown"
        for text in (release.deployment, release.revision)
    )
    status = release.status.replace("_", " ")
    return {
        "summary": f"{deployment}: {revision} {status}",
        "source": deployment,
        "timestamp": iso(release.at),
        "custom_details": {"revision": revision, "status": status, "told by": release.source},
    }


def _classification(incident: Incident) -> dict[str, str]:
    fields = {
        "component": incident.service,
        "group": incident.environment,
        "class": incident.rule,
    }
    return {name: fit_line(value, DEDUP_KEY_LIMIT) for name, value in fields.items()}


def _details(text: Text) -> dict[str, str]:
    notes = {"Notes": "\n".join(text.notes)} if text.notes else {}
    summary = {"Summary": text.summary} if text.summary else {}
    return {**summary, **dict(text.lines), **notes}


def _fitting(details: Mapping[str, str]) -> dict[str, str]:
    kept: dict[str, str] = {}
    used = 0
    for label, value in details.items():
        clipped = clip(value, DETAIL_LIMIT)
        used += len(json.dumps({label: clipped}))
        if used > DETAILS_LIMIT:
            return {**kept, "…": f"{len(details) - len(kept)} more"}
        kept[label] = clipped
    return kept


def _complaint(body: str) -> str:
    try:
        given = json.loads(body)
    except ValueError:
        return body
    if not isinstance(given, dict) or not isinstance(given.get("errors"), list):
        return body
    return "; ".join([str(given.get("message", "refused")), *map(str, given["errors"])])
