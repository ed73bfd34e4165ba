"""Status -> outcome, for every status that HTTP has and every kind that speaks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import httpx2
import pytest

from monitor.fields import Secret
from monitor.model import DeliveryResult, Message, SendReason
from monitor.notify.base import ChannelConfig, NotifyIO
from monitor.notify.pagerduty import PagerDutyConfig
from monitor.notify.slack import SlackConfig
from monitor.notify.slack_bot import SlackBotConfig
from monitor.notify.webhook import WebhookConfig
from monitor.scenario.provider import ProviderTransport, Reply, Request, SyncProviderTransport
from tests.notify.samples import NOW, message

HOST = "provider.example"
ALL = range(100, 600)
TRY_AGAIN = frozenset({408, 425, 429, *range(500, 600)})
DELIVERED, RETRY, PERMANENT, UNCERTAIN = (
    DeliveryResult.DELIVERED,
    DeliveryResult.RETRY,
    DeliveryResult.PERMANENT,
    DeliveryResult.UNCERTAIN,
)


def slack() -> ChannelConfig:
    return SlackConfig.model_validate({"kind": "slack", "url": Secret(f"https://{HOST}/x")})


def slack_bot() -> ChannelConfig:
    raw = {"kind": "slack_bot", "token": Secret("xoxb-1"), "channel": "C0123456"}
    return SlackBotConfig.model_validate({**raw, "base_url": f"https://{HOST}"})


def pagerduty() -> ChannelConfig:
    raw = {"kind": "pagerduty", "routing_key": Secret("R" * 32)}
    return PagerDutyConfig.model_validate({**raw, "base_url": f"https://{HOST}"})


def webhook() -> ChannelConfig:
    return WebhookConfig.model_validate({"kind": "webhook", "url": f"https://{HOST}/x"})


def table(success: DeliveryResult, **others: DeliveryResult) -> Mapping[int, DeliveryResult]:
    """Return the outcome of every status: `success` for 2xx, and `others` as `s404=...`."""
    return {
        **dict.fromkeys(ALL, PERMANENT),
        **dict.fromkeys(TRY_AGAIN, RETRY),
        **dict.fromkeys(range(200, 300), success),
        **{int(status.removeprefix("s")): result for status, result in others.items()},
    }


class Always:
    """Answers everything with one status and one body."""

    def __init__(self, body: bytes) -> None:
        self.body, self.status = body, 0
        self.requests = 0

    def handle(self, request: Request) -> Reply:
        self.requests += 1
        return Reply(status=self.status, body=self.body, headers={"retry-after": "7"})


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        (slack, b"ok", table(DELIVERED)),
        (slack, b"", table(PERMANENT)),
        (slack_bot, b'{"ok": true, "channel": "C0123456", "ts": "1.2"}', table(DELIVERED)),
        (slack_bot, b'{"ok": false, "error": "ratelimited"}', table(RETRY)),
        (slack_bot, b'{"ok": false, "error": "invalid_auth"}', table(PERMANENT)),
        (slack_bot, b"", table(PERMANENT)),
        (pagerduty, b'{"dedup_key": "k"}', table(UNCERTAIN, s202=DELIVERED)),
        (webhook, b"", table(DELIVERED, s409=DELIVERED, s410=PERMANENT)),
    ],
    ids=lambda it: it.decode() if isinstance(it, bytes) else getattr(it, "__name__", ""),
)
@pytest.mark.parametrize("reason", [SendReason.FIRST, SendReason.ACKNOWLEDGED, SendReason.RESOLVED])
async def test_every_status_has_its_outcome_in_one_request(
    notify_io: NotifyIO,
    kind: Callable[[], ChannelConfig],
    body: bytes,
    expected: Mapping[int, DeliveryResult],
    reason: SendReason,
) -> None:
    """From 100 to 599: accepted, to be tried again, refused for good or unknown; asked once."""
    results, waits = await outcomes(notify_io, kind(), Always(body), message(reason))
    assert results == expected
    assert {status for status, wait_s in waits.items() if wait_s == 7.0} == {
        status for status, result in expected.items() if result is RETRY
    }


async def outcomes(
    notify_io: NotifyIO, config: ChannelConfig, provider: Always, sent: Message
) -> tuple[dict[int, DeliveryResult], dict[int, float | None]]:
    results, waits = {}, {}
    async with httpx2.AsyncClient(
        transport=ProviderTransport({HOST: provider}, lambda: NOW)
    ) as http:
        blocking = SyncProviderTransport({HOST: provider}, lambda: NOW)
        notifier = config.build("channel", replace(notify_io, http=http, sync_transport=blocking))
        for status in ALL:
            provider.status = status
            delivery = await notifier.send(sent, 10, None)
            results[status], waits[status] = delivery.result, delivery.retry_after_s
    assert provider.requests == len(ALL)
    return results, waits
