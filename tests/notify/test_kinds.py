"""What every kind of channel keeps, whatever happens: its secret, its deadline, its silence.

A new kind that speaks HTTP gets one entry in `HTTP_KINDS`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monitor.fields import Secret
from monitor.model import DeliveryResult
from monitor.notify.alertmanager import AlertmanagerConfig
from monitor.notify.apprise import AppriseConfig
from monitor.notify.base import ChannelConfig, NotifyIO
from monitor.notify.console import ConsoleConfig
from monitor.notify.email import EmailConfig
from monitor.notify.pagerduty import PagerDutyConfig
from monitor.notify.slack import SlackConfig
from monitor.notify.slack_bot import SlackBotConfig
from monitor.notify.webhook import WebhookConfig
from monitor.scenario.provider import Reply, Request
from tests.notify.samples import CANARY, message
from tests.support.serve import serve
from tests.support.smtp import PASSWORD, USERNAME, smtp_server

Raw = dict[str, Any]


def slack(url: str) -> Raw:
    return {"kind": "slack", "url": Secret(f"{url}/services/T000/B000/{CANARY}", "env SLACK")}


def slack_bot(url: str) -> Raw:
    token = Secret(f"xoxb-{CANARY}", "env SLACK_BOT")
    return {"kind": "slack_bot", "token": token, "channel": "C0123456", "base_url": url}


def pagerduty(url: str) -> Raw:
    key = Secret(CANARY, "env PD")
    return {
        "kind": "pagerduty",
        "routing_key": key,
        "previous_routing_keys": [key],
        "base_url": url,
    }


def webhook(url: str) -> Raw:
    secrets = [Secret(CANARY, "file key")]
    return {"kind": "webhook", "url": f"{url}/hook?token={CANARY}", "secrets": secrets}


def alertmanager(url: str) -> Raw:
    return {"kind": "alertmanager", "url": url, "token": Secret(CANARY, "env AM")}


HTTP_KINDS: dict[type[ChannelConfig], Callable[[str], Raw]] = {
    SlackConfig: slack,
    SlackBotConfig: slack_bot,
    PagerDutyConfig: pagerduty,
    WebhookConfig: webhook,
    AlertmanagerConfig: alertmanager,
}


class Echo:
    """Says everything back that it was told, the secret included, after `delay_s`."""

    def __init__(self, status: int, *, delay_s: float = 0, drop: bool = False) -> None:
        self.status, self.delay_s, self.drop = status, delay_s, drop

    def handle(self, request: Request) -> Reply:
        body = f"{request.path} {request.headers} ".encode() + request.body + CANARY.encode()
        headers = {"location": request.path, "x-echo": CANARY}
        return Reply(
            status=self.status, body=body, headers=headers, delay_s=self.delay_s, drop=self.drop
        )


@pytest.mark.parametrize("config", HTTP_KINDS, ids=lambda config: config.__name__)
@pytest.mark.parametrize(
    "echo",
    [
        *(Echo(status) for status in (200, 202, 302, 400, 401, 403, 404, 409, 410, 429, 500)),
        Echo(200, delay_s=30),
        Echo(200, drop=True),
    ],
    ids=lambda echo: f"{echo.status}-{echo.delay_s}-{echo.drop}",
)
async def test_no_secret_in_what_is_told_or_logged(
    config: type[ChannelConfig],
    echo: Echo,
    notify_io: NotifyIO,
    server_tls: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A provider that echoes the secret does not get it into the ledger, and no log has it."""
    # httpcore2 shows response headers at DEBUG, which is the echo's own doing.
    caplog.set_level(logging.INFO)
    async with serve(echo, ssl_context=server_tls) as url:
        channel = config.model_validate({**HTTP_KINDS[config](url), "timeout": "400ms"})
        notifier = channel.build("channel", notify_io)
        delivery = await notifier.send(message(), 0.3, None)
    told = f"{delivery!r} {caplog.text} {channel!r} {channel.model_dump_json()} {notifier!r}"
    assert CANARY not in told
    assert len(delivery.detail) <= 200


@pytest.mark.parametrize("config", HTTP_KINDS, ids=lambda config: config.__name__)
async def test_the_callers_deadline_ends_a_hang(
    config: type[ChannelConfig], notify_io: NotifyIO, server_tls: ssl.SSLContext
) -> None:
    """However long the channel's own timeout, the deadline wins, and the outcome is unknown."""
    async with serve(Echo(200, delay_s=30), ssl_context=server_tls) as url, asyncio.timeout(3):
        notifier = config.model_validate(HTTP_KINDS[config](url)).build("channel", notify_io)
        delivery = await notifier.send(message(), 0.4, None)
    assert delivery.result is DeliveryResult.UNCERTAIN


@pytest.mark.parametrize("config", HTTP_KINDS, ids=lambda config: config.__name__)
async def test_refused_connections_are_retried(
    config: type[ChannelConfig], notify_io: NotifyIO, server_tls: ssl.SSLContext
) -> None:
    """Nothing was sent, whatever the kind; the detail says so without the address."""
    async with serve(Echo(200), ssl_context=server_tls) as url:
        pass
    notifier = config.model_validate(HTTP_KINDS[config](url)).build("channel", notify_io)
    delivery = await notifier.send(message(), 2, None)
    assert delivery.result is DeliveryResult.RETRY
    assert delivery.detail.endswith("nothing was sent")
    assert CANARY not in delivery.detail


async def test_a_server_that_repeats_the_mail_password(
    notify_io: NotifyIO, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What a mail server says is shown with the password taken out."""
    caplog.set_level(logging.DEBUG, "aiosmtplib")
    async with smtp_server(tmp_path) as mailbox:
        mailbox.data_reply = f"554 your password is {PASSWORD}"
        config = EmailConfig.model_validate(
            {
                "kind": "email",
                "host": mailbox.host,
                "port": mailbox.port,
                "ca_file": mailbox.ca_file,
                "username": USERNAME,
                "password": Secret(PASSWORD, "env MAIL"),
                "from": "m@example.com",
                "to": ["a@example.com"],
            }
        )
        notifier = config.build("mail", notify_io)
        delivery = await notifier.send(message(), 5, None)
    assert (delivery.result, delivery.detail) == (
        DeliveryResult.PERMANENT,
        "554 your password is ***",
    )
    assert PASSWORD not in f"{config!r} {config.model_dump_json()} {notifier!r} {caplog.text}"


@pytest.mark.parametrize(
    "config",
    [AppriseConfig, ConsoleConfig, EmailConfig, *HTTP_KINDS],
    ids=lambda config: config.__name__,
)
def test_schemas_are_whole(config: type[ChannelConfig]) -> None:
    """Editors complete every kind: its name is fixed, durations are text, no key is unknown."""
    schema = config.model_json_schema(by_alias=True)
    assert schema["properties"]["kind"]["const"]
    assert schema["properties"]["timeout"]["type"] == "string"
    assert schema["additionalProperties"] is False
