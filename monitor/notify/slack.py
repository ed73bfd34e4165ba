"""Slack by incoming webhook (and what speaks the same, such as Mattermost).

Owns the request and what its answers mean. Slack keeps no key, so a repetition is a second
message: it says of itself that it may be one.
"""

from __future__ import annotations

import json
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from monitor.fields import Duration, Secret
from monitor.model import Delivery, DeliveryResult, Message
from monitor.notify.base import ChannelConfig, Notifier, NotifyIO
from monitor.notify.blocks import payload
from monitor.notify.http import Answer, Endpoint, described, post
from monitor.notify.render import render

_QUIET = {"link_names": False, "unfurl_links": False, "unfurl_media": False}
"""Nothing in a message is looked up or previewed."""


class SlackConfig(ChannelConfig):
    """Posts to one Slack channel through an incoming webhook."""

    example: ClassVar[str] = "{kind: slack, url: {env: SLACK_WEBHOOK}}"

    kind: Literal["slack"]
    url: Secret
    """Address of the webhook; whoever knows it can post."""
    timeout_s: Duration = Field(alias="timeout", default=15.0)
    """How long one attempt may take."""

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: Secret) -> Secret:
        Endpoint.parse(url)
        return url

    def build(self, name: str, io: NotifyIO) -> Notifier:  # noqa: ARG002 - the contract of kinds
        """Return the notifier."""
        return SlackNotifier(self, io)


class SlackNotifier:
    """Posts one message for each send."""

    deduplicates = False
    repeats = True
    updates = True
    repeat_s: float | None = None
    rate_per_s = 1.0
    burst = 3

    def __init__(self, config: SlackConfig, io: NotifyIO) -> None:
        """Use `config` with the client of `io`."""
        self._endpoint = Endpoint.parse(config.url)
        self._timeout_s = config.timeout_s
        self._http = io.http

    async def send(self, message: Message, deadline_s: float, remote_key: str | None) -> Delivery:  # noqa: ARG002 - Slack keeps no key
        """Post `message` once."""
        answer = await post(
            self._http,
            self._endpoint,
            json.dumps({**payload(render(message)), **_QUIET}).encode(),
            {"content-type": "application/json"},
            min(self._timeout_s, deadline_s),
        )
        return answer if isinstance(answer, Delivery) else self._judge(answer, message.at)

    def _judge(self, answer: Answer, now: float) -> Delivery:
        delivery = answer.delivery(described(answer, self._endpoint.secrets), now)
        if delivery.result is not DeliveryResult.DELIVERED:
            return delivery
        if answer.body is None:
            detail = f"{answer.status}, but the answer broke off; it may have arrived"
            return Delivery(result=DeliveryResult.UNCERTAIN, detail=detail)
        # A proxy's login page is a 200 as well: only Slack's own word counts.
        if answer.body.strip() != "ok":
            return Delivery(result=DeliveryResult.PERMANENT, detail=delivery.detail)
        return delivery
