"""Webhooks: signed, with a stable id, and every status understood."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from monitor.fields import Secret
from monitor.model import Delivery, DeliveryResult, Message, SendReason
from monitor.notify.base import NotifyIO
from monitor.notify.http import status_result
from monitor.notify.webhook import WebhookConfig, message_id
from monitor.scenario.provider import Request
from monitor.scenario.receiver import WebhookFake
from monitor.signature import sign
from tests.notify.samples import HOSTILE, NOW, hostile, message
from tests.support.serve import serve

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"


async def send(
    notify_io: NotifyIO,
    fake: WebhookFake,
    *sent: Message,
    secrets: tuple[str, ...] = (SECRET,),
    patience: str = "5s",
) -> list[Delivery]:
    async with serve(fake, now=lambda: NOW) as url:
        raw = {
            "kind": "webhook",
            "url": f"{url}/hook",
            "secrets": [Secret(secret) for secret in secrets],
            "timeout": patience,
        }
        notifier = WebhookConfig.model_validate(raw).build("hook", notify_io)
        return [await notifier.send(one, 10, None) for one in sent or (message(),)]


async def test_a_document_arrives_signed(notify_io: NotifyIO) -> None:
    """The receiver verifies the signature and finds the incident as data."""
    fake = WebhookFake(SECRET)
    [delivery] = await send(notify_io, fake)
    assert delivery == Delivery(result=DeliveryResult.DELIVERED, detail="204")
    [received] = fake.received
    assert received.document["type"] == "incident.first"
    assert received.document["id"] == received.id
    assert received.document["data"]["values"]["error_rate_5m"] == 7.25
    assert received.document["data"]["state"] == "open"


async def test_a_repeated_attempt_is_recognised(notify_io: NotifyIO) -> None:
    """The same message has the same id at any time; `already received` counts as delivered."""
    fake = WebhookFake(SECRET)
    first, again = await send(notify_io, fake, message(), message(at=NOW + 60))
    assert [first.result, again.result] == [DeliveryResult.DELIVERED] * 2
    assert again.detail.startswith("the receiver had it already: 409")
    assert (len(fake.received), fake.repeated) == (1, 1)


async def test_a_lost_answer_is_uncertain_and_harmless(notify_io: NotifyIO) -> None:
    """It arrived, the answer did not: sending again changes nothing at the receiver."""
    fake = WebhookFake(SECRET)
    fake.lose_next()
    lost, again = await send(notify_io, fake, message(), message())
    assert [lost.result, again.result] == [DeliveryResult.UNCERTAIN, DeliveryResult.DELIVERED]
    assert len(fake.received) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (message(), message(at=NOW + 1), True),
        (message(), message(SendReason.RESOLVED), False),
        (message(), message(id="other"), False),
        (message(SendReason.RESOLVED), message(SendReason.RESOLVED, at=NOW + 9), True),
        (message(SendReason.REPEAT), message(SendReason.REPEAT, at=NOW + 3600), False),
        (message(SendReason.TEST), message(SendReason.TEST, at=NOW + 60), False),
    ],
)
def test_ids_tell_messages_apart(one: Message, other: Message, *, same: bool) -> None:
    """A retry keeps its id; another episode, the end of it and each reminder get their own."""
    assert (message_id(one) == message_id(other)) is same


async def test_two_secrets_serve_during_rotation(notify_io: NotifyIO) -> None:
    """Receivers that know only the old or only the new secret both verify."""
    for known in ("old secret", "new secret"):
        fake = WebhookFake(known)
        [delivery] = await send(notify_io, fake, secrets=("new secret", "old secret"))
        assert delivery.result is DeliveryResult.DELIVERED


async def test_without_secrets_nothing_is_signed(notify_io: NotifyIO) -> None:
    """A receiver that asks for no signature gets none, and a strict one refuses."""
    [taken] = await send(notify_io, WebhookFake(), secrets=())
    [refused] = await send(notify_io, WebhookFake(SECRET), secrets=())
    assert taken.result is DeliveryResult.DELIVERED
    assert refused.result is DeliveryResult.PERMANENT


async def test_every_status_has_its_outcome(notify_io: NotifyIO) -> None:
    """Each status from a real server is classified; redirects are refused and 409 is success."""
    fake = WebhookFake()
    statuses = range(200, 600)
    for status in statuses:
        fake.fail_next(status)
    deliveries = await send(notify_io, fake, *[message() for _ in statuses])
    results = {status: it.result for status, it in zip(statuses, deliveries, strict=True)}
    expected = {status: status_result(status) for status in statuses}
    assert results == {**expected, 409: DeliveryResult.DELIVERED}
    assert "redirects are refused" in deliveries[307 - 200].detail
    assert "wants no more messages" in deliveries[410 - 200].detail


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
async def test_the_receivers_pace_is_kept(notify_io: NotifyIO, status: int) -> None:
    """Retry-After is passed on with every temporary refusal."""
    fake = WebhookFake()
    fake.fail_next(status, retry_after=45)
    [delivery] = await send(notify_io, fake)
    assert (delivery.result, delivery.retry_after_s) == (DeliveryResult.RETRY, 45.0)


async def test_silence_is_uncertain(notify_io: NotifyIO) -> None:
    """A receiver that hangs is cut off in time; one that dies without a word may have it."""
    fake = WebhookFake()
    fake.hang_s = 30
    [hanging] = await send(notify_io, fake, patience="1s")
    fake.hang_s, fake.dead = 0, True
    [dead] = await send(notify_io, fake)
    assert [hanging.result, dead.result] == [DeliveryResult.UNCERTAIN] * 2


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_text_is_data(notify_io: NotifyIO, text: str) -> None:
    """Text of another system stays inside JSON strings and breaks neither header nor signature."""
    fake = WebhookFake(SECRET)
    [delivery] = await send(notify_io, fake, hostile(text))
    assert delivery.result is DeliveryResult.DELIVERED
    assert "\x00" not in fake.received[0].document["data"]["title"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"url": "example.com/hook"}, "expected an address"),
        ({"secrets": [Secret("whsec_not base64")]}, "expected a signing secret"),
        ({"secrets": [Secret("")]}, "expected a signing secret"),
        ({"secrets": ["inline"]}, "expected a reference"),
    ],
)
def test_wrong_configuration_is_named(changes: dict[str, Any], expected: str) -> None:
    """Mistakes show at load, with what was expected."""
    with pytest.raises(ValidationError, match=expected):
        WebhookConfig.model_validate({"kind": "webhook", "url": "https://example.com/", **changes})


def test_an_address_may_be_plain_or_a_reference() -> None:
    """Most receivers have no token in their address; one that has is given by reference."""
    plain = WebhookConfig.model_validate({"kind": "webhook", "url": "https://example.com/"})
    context = {"secrets": lambda _how, _name: "https://example.com/"}
    referred = WebhookConfig.model_validate(
        {"kind": "webhook", "url": {"env": "HOOK_URL"}}, context=context
    )
    assert plain.url == referred.url
    assert repr(referred.url) == "Secret(env HOOK_URL)"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 204),
        ({"webhook-signature": "v1,bm8="}, 401),
        ({"webhook-timestamp": str(int(NOW) - 301)}, 401),
        ({"webhook-id": "msg_2"}, 401),
        ({"webhook-id": ""}, 401),
        ({"content-type": "text/plain"}, 415),
    ],
)
def test_the_fake_is_strict(changes: dict[str, str], status: int) -> None:
    """A fake that takes everything would prove nothing: forged and stale requests are refused."""
    headers = {
        "content-type": "application/json",
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(NOW)),
        "webhook-signature": sign([SECRET], "msg_1", NOW, b"{}"),
        **changes,
    }
    fake = WebhookFake(SECRET)
    request = Request(method="POST", path="/hook", headers=headers, body=b"{}", at=NOW)
    assert fake.handle(request).status == status
    assert len(fake.received) == (status == 204)
