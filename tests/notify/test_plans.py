"""Whoever keeps to a kind's own plan is never told by the provider that it is too fast."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from monitor.fields import Secret
from monitor.model import Delivery, DeliveryResult, SendReason
from monitor.notify.base import ChannelConfig, NotifyIO
from monitor.notify.pagerduty import PagerDutyConfig
from monitor.notify.slack import SlackConfig
from monitor.notify.slack_bot import SlackBotConfig
from monitor.rate import Bucket
from monitor.scenario.pagerduty import PagerDutyFake
from monitor.scenario.provider import ProviderTransport, SyncProviderTransport
from monitor.scenario.slack import SlackFake
from monitor.scenario.slack_api import SlackApiFake
from tests.notify.samples import NOW, message

HOST = "provider.example"
KEY = "R" * 32
SENDS = 300


def slack() -> tuple[ChannelConfig, Any]:
    url = Secret(f"https://{HOST}/services/T000/B000/XXXX")
    return SlackConfig.model_validate({"kind": "slack", "url": url}), SlackFake()


def slack_bot() -> tuple[ChannelConfig, Any]:
    raw = {"kind": "slack_bot", "token": Secret("xoxb-1"), "channel": "C0123456"}
    config = SlackBotConfig.model_validate({**raw, "base_url": f"https://{HOST}"})
    return config, SlackApiFake("xoxb-1", {"C0123456"})


def pagerduty() -> tuple[ChannelConfig, Any]:
    raw = {"kind": "pagerduty", "routing_key": Secret(KEY), "base_url": f"https://{HOST}"}
    return PagerDutyConfig.model_validate(raw), PagerDutyFake({KEY})


@pytest.mark.parametrize("kind", [slack, slack_bot, pagerduty])
@pytest.mark.parametrize("reasons", [["first"], ["first", "new_alerts"]], ids=len)
async def test_the_plan_is_one_that_the_provider_takes(
    notify_io: NotifyIO, kind: Callable[[], tuple[ChannelConfig, Any]], reasons: list[str]
) -> None:
    """A storm through one channel, as fast as its plan allows: nothing is refused."""
    config, fake = kind()
    now = NOW
    transport = ProviderTransport({HOST: fake}, lambda: now)
    blocking = SyncProviderTransport({HOST: fake}, lambda: now)
    async with httpx2.AsyncClient(transport=transport) as http:
        notifier = config.build("channel", replace(notify_io, http=http, sync_transport=blocking))
        bucket = Bucket(capacity=notifier.burst, per_s=notifier.rate_per_s)
        told = Delivery(result=DeliveryResult.DELIVERED)
        for number in range(SENDS):
            now += bucket.wait_s(now)
            bucket = bucket.take(now)
            reason = SendReason(reasons[number % len(reasons)])
            key = None if reason is SendReason.FIRST else told.remote_key
            told = await notifier.send(message(reason, key=f"k{number}"), 10, key)
            assert told.result is DeliveryResult.DELIVERED, told
    assert now - NOW > SENDS / notifier.rate_per_s / 2
