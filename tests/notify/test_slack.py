"""Slack: what counts as posted, and that nothing of ours is refused or acted on."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from monitor.fields import Secret
from monitor.model import Delivery, DeliveryResult, Message, SendReason
from monitor.notify.base import Notifier, NotifyIO
from monitor.notify.blocks import payload
from monitor.notify.http import status_result
from monitor.notify.render import CAUTION, render
from monitor.notify.slack import SlackConfig
from monitor.scenario.provider import ProviderTransport, Reply, Request
from monitor.scenario.slack import SlackFake
from tests.notify.samples import HOSTILE, NOW, any_message, hostile, message
from tests.support.serve import serve

PATH = "/services/T000/B000/XXXX"


def config(url: str, timeout: str = "5s") -> SlackConfig:
    return SlackConfig.model_validate({"kind": "slack", "url": Secret(url), "timeout": timeout})


async def send(
    notify_io: NotifyIO, fake: SlackFake, sent: Message | None = None, patience: str = "5s"
) -> Delivery:
    async with serve(fake, now=lambda: NOW) as url:
        notifier = config(url + PATH, patience).build("team", notify_io)
        return await notifier.send(sent or message(), 10, None)


async def test_a_page_is_posted(notify_io: NotifyIO) -> None:
    """Slack's own `ok` is what counts, and the words arrive."""
    fake = SlackFake()
    delivery = await send(notify_io, fake)
    assert delivery == Delivery(result=DeliveryResult.DELIVERED, detail="200: ok")
    [posted] = fake.messages
    assert "FIRING: HighErrorRate on api-production" in posted.payload["text"]
    assert posted.payload["blocks"][0]["type"] == "header"
    assert "error_rate_5m = 7.25 %" in posted.text
    assert "<https://monitor.example.com/?a=1&amp;b=2|Live page>" in posted.text
    assert CAUTION not in posted.text


async def test_a_possible_repetition_is_visible(notify_io: NotifyIO) -> None:
    """Slack cannot merge repeats, so the message itself says that it may be one."""
    fake = SlackFake()
    await send(notify_io, fake, message(may_be_repeated=True))
    assert CAUTION in fake.messages[0].payload["text"]
    assert any(CAUTION in str(block) for block in fake.messages[0].payload["blocks"])


def test_slack_neither_merges_nor_reminds(notify_io: NotifyIO) -> None:
    """The outbox learns that repeats show up twice, and that reminders make sense."""
    notifier: Notifier = config("https://hooks.slack.com/x").build("team", notify_io)
    assert (notifier.deduplicates, notifier.repeats) == (False, True)


async def test_every_status_has_its_outcome(notify_io: NotifyIO) -> None:
    """Each status from a real server is classified; no other success than `ok` counts."""
    fake = SlackFake()
    async with serve(fake) as url:
        notifier = config(url + PATH).build("team", notify_io)
        results = {}
        for status in range(200, 600):
            fake.fail_next(status)
            results[status] = (await notifier.send(message(), 10, None)).result
    expected = {status: status_result(status) for status in range(200, 600)}
    assert results == {**expected, **dict.fromkeys(range(200, 300), DeliveryResult.PERMANENT)}


@pytest.mark.parametrize(
    ("status", "body", "result", "wait_s"),
    [
        (200, b"invalid_token", DeliveryResult.PERMANENT, None),
        (200, b"<html>please log in</html>", DeliveryResult.PERMANENT, None),
        (200, b"", DeliveryResult.PERMANENT, None),
        (403, b"invalid_token", DeliveryResult.PERMANENT, None),
        (404, b"no_service", DeliveryResult.PERMANENT, None),
        (410, b"channel_is_archived", DeliveryResult.PERMANENT, None),
        (429, b"rate_limited", DeliveryResult.RETRY, 30.0),
        (503, b"", DeliveryResult.RETRY, 30.0),
    ],
)
async def test_slacks_own_words_are_told(
    notify_io: NotifyIO, status: int, body: bytes, result: DeliveryResult, wait_s: float | None
) -> None:
    """The person who must fix the channel reads Slack's word for it, and 429 says how long."""
    fake = SlackFake()
    fake.fail_next(status, retry_after=30, body=body)
    delivery = await send(notify_io, fake)
    assert (delivery.result, delivery.retry_after_s) == (result, wait_s)
    assert delivery.detail.startswith(str(status))
    assert body.decode() in delivery.detail


async def test_retry_after_may_be_a_date(notify_io: NotifyIO) -> None:
    """A date is read against the time of the attempt."""
    fake = SlackFake()
    fake.fail_next(429, retry_after="Fri, 15 Jan 2027 08:00:42 GMT")
    assert (await send(notify_io, fake)).retry_after_s == 42.0


async def test_an_ok_that_breaks_off_is_uncertain(notify_io: NotifyIO) -> None:
    """A 200 without its body is neither a refusal nor a receipt."""

    async def halt(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        writer.close()

    server = await asyncio.start_server(halt, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    delivery = await config(url).build("team", notify_io).send(message(), 10, None)
    server.close()
    assert delivery.result is DeliveryResult.UNCERTAIN


async def test_a_lost_answer_is_uncertain_and_was_posted(notify_io: NotifyIO) -> None:
    """Slack took the message and the answer was lost: only `uncertain` tells the truth."""
    fake = SlackFake()
    fake.lose_next()
    assert (await send(notify_io, fake)).result is DeliveryResult.UNCERTAIN
    assert len(fake.messages) == 1


async def test_a_hanging_slack_ends_in_time(notify_io: NotifyIO) -> None:
    """The shorter of the channel's timeout and the caller's deadline ends the attempt."""
    fake = SlackFake()
    fake.hang_s = 30
    async with asyncio.timeout(2):
        assert (await send(notify_io, fake, patience="300ms")).result is DeliveryResult.UNCERTAIN


async def test_the_rate_limit_is_obeyed_by_waiting(notify_io: NotifyIO) -> None:
    """Beyond the burst Slack says when to come back, and the delivery passes it on."""
    fake = SlackFake(burst=1)
    async with serve(fake, now=lambda: NOW) as url:
        notifier = config(url + PATH).build("team", notify_io)
        first = await notifier.send(message(), 10, None)
        second = await notifier.send(message(SendReason.RESOLVED), 10, None)
    assert first.result is DeliveryResult.DELIVERED
    assert (second.result, second.retry_after_s) == (DeliveryResult.RETRY, 2.0)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_text_is_posted_harmlessly(notify_io: NotifyIO, text: str) -> None:
    """Text of another system neither mentions anyone nor makes Slack refuse the page."""
    fake = SlackFake()
    delivery = await send(notify_io, fake, hostile(text, may_be_repeated=True))
    assert (delivery.result, fake.mentions) == (DeliveryResult.DELIVERED, [])


@settings(max_examples=40, deadline=None)
@given(sent=any_message)
def test_any_message_passes_the_strict_fake(sent: Message) -> None:
    """Whatever an incident holds, Slack takes it, and no markup in it is live."""
    fake = SlackFake()

    async def run() -> Delivery:
        transport = ProviderTransport({"hooks.slack.com": fake}, lambda: NOW)
        async with httpx2.AsyncClient(transport=transport) as http:
            body = payload(render(sent))
            url = f"https://hooks.slack.com{PATH}"
            response = await http.post(url, json=body)
        return Delivery(result=DeliveryResult.DELIVERED, detail=response.text)

    assert (asyncio.run(run()).detail, fake.mentions) == ("ok", [])


@pytest.mark.parametrize("url", ["", "not an address", "file:///etc/passwd"])
def test_a_wrong_address_is_a_configuration_error(url: str) -> None:
    """A typo shows at load, not at three in the morning, and the value is not repeated."""
    with pytest.raises(ValidationError, match="expected an address that starts with https"):
        config(url)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"{}", b"no_text"),
        (b"not json", b"invalid_payload"),
        (b'{"text": "<!channel> down"}', b"invalid_payload"),
        (b'{"text": "@here down"}', b"invalid_payload"),
        (b'{"text": "a & b"}', b"invalid_payload"),
        (b'{"text": "' + b"x" * 40_001 + b'"}', b"msg_too_long"),
        (b'{"text": "x", "blocks": [{"type": "header"}]}', b"invalid_blocks"),
        (b'{"text": "x", "blocks": [' + b",".join([b'{"type": "divider"}'] * 51) + b"]}",
         b"invalid_blocks"),
        (b'{"blocks": [{"type": "header", "text": {"type": "plain_text", "text": "'
         + b"x" * 151 + b'"}}]}', b"invalid_blocks"),
        (b'{"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": ""}}]}',
         b"invalid_blocks"),
        (b'{"blocks": [{"type": "section", "fields": []}]}', b"invalid_blocks"),
    ],
)  # fmt: skip
def test_the_fake_is_as_strict_as_slack(body: bytes, word: bytes) -> None:
    """A fake that takes everything would prove nothing: it refuses what Slack refuses."""
    fake = SlackFake()
    assert answer(fake, body) == Reply(status=400, body=word)
    assert fake.messages == []


def test_the_fake_knows_its_path_and_type() -> None:
    """A wrong webhook and a form post are refused in Slack's words."""
    fake = SlackFake(path="/services/other")
    assert answer(fake, b'{"text": "x"}').body == b"no_service"
    assert answer(SlackFake(), b'{"text": "x"}', kind="text/plain").body == b"invalid_payload"


def answer(fake: SlackFake, body: bytes, kind: str = "application/json") -> Reply:
    headers = {"content-type": kind}
    return fake.handle(Request(method="POST", path=PATH, headers=headers, body=body, at=NOW))
