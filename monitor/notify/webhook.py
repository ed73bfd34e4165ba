"""Any program by webhook: JSON with a Standard Webhooks signature.

Owns the request and what its statuses mean. The message's id is stable, so a receiver that keeps
ids can drop what it already has.
"""

from __future__ import annotations

import json
from typing import Annotated, ClassVar, Literal

import httpx2
from pydantic import Field, field_validator

from monitor.fields import Duration, Secret
from monitor.model import Delivery, DeliveryResult, Message
from monitor.notify.base import ChannelConfig, Notifier, NotifyIO
from monitor.notify.http import DETAIL_LIMIT, Address, Answer, Endpoint, described, post
from monitor.notify.render import document, fingerprint
from monitor.notify.words import clip
from monitor.signature import sign, signing_key


class WebhookConfig(ChannelConfig):
    """Posts signed JSON to an address of yours."""

    example: ClassVar[str] = """
kind: webhook
url: https://hooks.shop.test/alerts
secrets: [{env: WEBHOOK_SECRET}]
"""

    kind: Literal["webhook"]
    url: Address
    """Where to post; the whole address is treated as a secret."""
    secrets: Annotated[tuple[Secret, ...], Field(strict=False)] = ()
    """Signing secrets (`whsec_...` or any text), several while one is rotated; none: unsigned."""
    timeout_s: Duration = Field(alias="timeout", default=15.0)
    """How long one attempt may take."""

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: Secret) -> Secret:
        Endpoint.parse(url)
        return url

    @field_validator("secrets")
    @classmethod
    def _are_keys(cls, secrets: tuple[Secret, ...]) -> tuple[Secret, ...]:
        for secret in secrets:
            signing_key(secret.reveal())
        return secrets

    def build(self, name: str, io: NotifyIO) -> Notifier:  # noqa: ARG002 - the contract of kinds
        """Return the notifier."""
        return WebhookNotifier(self, io)


class WebhookNotifier:
    """Posts one document for each send."""

    deduplicates = True
    repeats = True
    updates = True
    repeat_s: float | None = None
    rate_per_s = 10.0
    burst = 20

    def __init__(self, config: WebhookConfig, io: NotifyIO) -> None:
        """Use `config` with the client of `io`."""
        self._endpoint = Endpoint.parse(config.url)
        self._keys = tuple(secret.reveal() for secret in config.secrets)
        self._timeout_s = config.timeout_s
        self._http = io.http

    async def send(self, message: Message, deadline_s: float, remote_key: str | None) -> Delivery:  # noqa: ARG002 - the id says it all
        """Post `message` once."""
        name = message_id(message)
        body = json.dumps(document(message, name)).encode()
        headers = {
            "content-type": "application/json",
            "user-agent": "slo-monitor",
            "webhook-id": name,
            "webhook-timestamp": str(int(message.at)),
        }
        if self._keys:
            headers["webhook-signature"] = sign(self._keys, name, message.at, body)
        limit_s = min(self._timeout_s, deadline_s)
        answer = await post(self._http, self._endpoint, body, headers, limit_s)
        return answer if isinstance(answer, Delivery) else self._judge(answer, message.at)

    def _judge(self, answer: Answer, now: float) -> Delivery:
        detail = described(answer, (*self._endpoint.secrets, *self._keys))
        if answer.status == httpx2.codes.CONFLICT:
            detail = f"the receiver had it already: {detail}"
            return Delivery(result=DeliveryResult.DELIVERED, detail=clip(detail, DETAIL_LIMIT))
        if answer.status == httpx2.codes.GONE:
            detail = f"the receiver wants no more messages: {detail}"
            return Delivery(result=DeliveryResult.PERMANENT, detail=clip(detail, DETAIL_LIMIT))
        return answer.delivery(detail, now)


def message_id(message: Message) -> str:
    """Return the `webhook-id`: the same however often this message is tried.

    Reminders and tests are told apart by their time, or a receiver that drops known ids would see
    only the first; one that is sent again after a lost answer therefore counts as another.
    """
    return f"msg_{fingerprint(message, message.reason)}"
