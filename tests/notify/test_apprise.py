"""Apprise: whatever it knows is a channel, its yes is a delivery and its no is none."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from monitor.fields import Secret
from monitor.model import Delivery, DeliveryResult, Message, SendReason, Severity
from monitor.notify.apprise import AppriseConfig, harmless, kind_of
from monitor.notify.base import Notifier, NotifyIO
from monitor.scenario.provider import Reply, Request
from tests.notify.samples import CANARY, HOSTILE, hostile, message
from tests.support.serve import serve


class Service:
    """Answers everything with one status and keeps what it was sent."""

    def __init__(self, status: int = 200, **reply: Any) -> None:
        self.requests: list[Request] = []
        self._reply = Reply(status=status, body=b"{}", **reply)

    def handle(self, request: Request) -> Reply:
        self.requests.append(request)
        return self._reply

    @property
    def documents(self) -> list[dict[str, Any]]:
        """What arrived, as JSON."""
        return [json.loads(request.body) for request in self.requests]


def as_json(url: str) -> str:
    return f"{url.replace('http://', 'json://')}/inbox/{CANARY}"


def as_ntfy(url: str) -> str:
    return f"{url.replace('http://', 'ntfy://')}/{CANARY}?mode=private"


def notifier_for(url: str, io: NotifyIO, timeout: str = "5s") -> Notifier:
    raw = {"kind": "apprise", "url": Secret(url, "env APPRISE_URL"), "timeout": timeout}
    return AppriseConfig.model_validate(raw).build("chat", io)


async def send(
    notify_io: NotifyIO,
    service: Service,
    *sent: Message,
    address: Callable[[str], str] = as_json,
) -> list[Delivery]:
    async with serve(service) as url:
        notifier = notifier_for(address(url), notify_io)
        return [await notifier.send(one, 10, None) for one in sent or (message(),)]


async def test_a_message_arrives_in_words(notify_io: NotifyIO) -> None:
    """The service gets title, text and type; nothing of us is left out."""
    service = Service()
    [delivery] = await send(notify_io, service)
    assert delivery == Delivery(result=DeliveryResult.DELIVERED, detail="accepted by JSON")
    [document] = service.documents
    assert document["title"].startswith("[CRITICAL] FIRING: HighErrorRate on api-production")
    assert document["message"].startswith("Users get errors\nSince: ")
    assert "error_rate_5m = 7.25 %" in document["message"]
    assert document["title"] not in document["message"]
    assert document["type"] == "failure"


async def test_ntfy_is_one_of_them(notify_io: NotifyIO) -> None:
    """A service with its own protocol works the same."""
    service = Service()
    [delivery] = await send(notify_io, service, address=as_ntfy)
    assert delivery == Delivery(result=DeliveryResult.DELIVERED, detail="accepted by ntfy")
    [document] = service.documents
    assert document["topic"] == CANARY
    assert document["title"].startswith("[CRITICAL] FIRING")


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 410, 429, 500, 503])
async def test_a_no_is_uncertain(notify_io: NotifyIO, status: int) -> None:
    """Apprise does not say why, so the message goes out again, marked; nothing is given up."""
    [delivery] = await send(notify_io, Service(status))
    assert delivery.result is DeliveryResult.UNCERTAIN
    assert delivery.detail == "JSON refused it or did not answer; it may have arrived"


async def test_a_lost_answer_is_uncertain(notify_io: NotifyIO) -> None:
    """It arrived, the answer did not."""
    service = Service(drop=True)
    [delivery] = await send(notify_io, service)
    assert delivery.result is DeliveryResult.UNCERTAIN
    assert len(service.requests) == 1


async def test_a_hang_ends_and_costs_one_thread(notify_io: NotifyIO) -> None:
    """The deadline wins; while one message hangs, the next waits for no thread of its own."""
    async with serve(Service(delay_s=30)) as url, asyncio.timeout(8):
        notifier = notifier_for(as_json(url), notify_io, "6s")
        first, second = await asyncio.gather(
            notifier.send(message(), 0.3, None), notifier.send(message(), 5, None)
        )
    assert first.result is DeliveryResult.UNCERTAIN
    assert first.detail == "no answer within 0.3 s; it may have arrived"
    assert second.result is DeliveryResult.RETRY
    assert second.detail == "an earlier message is still being sent; nothing was sent"


async def test_no_free_thread_is_a_retry(notify_io: NotifyIO) -> None:
    """What was never begun did not arrive."""
    with ThreadPoolExecutor(1) as busy:
        release = asyncio.Event()
        loop = asyncio.get_running_loop()
        blocker = busy.submit(
            lambda: asyncio.run_coroutine_threadsafe(release.wait(), loop).result(5)
        )
        notifier = notifier_for("json://127.0.0.1:1/", replace(notify_io, executor=busy))
        delivery = await notifier.send(message(), 0.2, None)
        release.set()
        await asyncio.wrap_future(blocker)
    assert delivery.result is DeliveryResult.RETRY
    assert delivery.detail.endswith("nothing was sent")


@pytest.mark.parametrize(
    "service",
    [Service(), Service(403, headers={"x-echo": CANARY}), Service(drop=True)],
    ids=["taken", "refused", "dropped"],
)
@pytest.mark.parametrize("address", [as_json, as_ntfy])
async def test_the_address_is_shown_nowhere(
    notify_io: NotifyIO,
    service: Service,
    address: Callable[[str], str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither Apprise nor its HTTP client logs the token, however much is logged."""
    caplog.set_level(logging.DEBUG)
    async with serve(service) as url:
        raw = {"kind": "apprise", "url": Secret(address(url), "env APPRISE_URL")}
        channel = AppriseConfig.model_validate(raw)
        notifier = channel.build("chat", notify_io)
        delivery = await notifier.send(message(), 10, None)
    told = f"{delivery!r} {caplog.text} {channel!r} {channel.model_dump_json()} {notifier!r}"
    assert CANARY not in told
    assert service.requests


@pytest.mark.parametrize(
    "url", ["", "nonsense", f"foo://{CANARY}", f"discord://{CANARY}", f"https://x/{CANARY}"]
)
def test_an_address_that_apprise_cannot_use(url: str) -> None:
    """It is an error of the configuration, which does not show it."""
    with pytest.raises(ValidationError, match="an address that Apprise can use") as caught:
        AppriseConfig.model_validate({"kind": "apprise", "url": url})
    assert CANARY not in str(caught.value)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing library is an error of the configuration with its remedy."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ValidationError, match=r"pip install 'slo-monitor\[apprise\]'"):
        AppriseConfig.model_validate({"kind": "apprise", "url": f"json://host/{CANARY}"})


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (message(), "failure"),
        (message(severity=Severity.WARNING), "warning"),
        (message(severity=Severity.INFO), "info"),
        (message(SendReason.REPEAT), "failure"),
        (message(SendReason.RESOLVED), "success"),
        (message(SendReason.TEST), "info"),
    ],
)
def test_services_show_how_bad_it_is(sent: Message, kind: str) -> None:
    """Severity and reason become Apprise's own types."""
    assert kind_of(sent) == kind


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
async def test_hostile_text_arrives_and_wakes_nobody(notify_io: NotifyIO, text: str) -> None:
    """Whatever targets say is delivered, bounded, and mentions no one."""
    service = Service()
    [delivery] = await send(notify_io, service, hostile(text))
    assert delivery.result is DeliveryResult.DELIVERED
    [document] = service.documents
    assert len(service.requests[0].body) < 200_000
    for word in ("@channel", "@HERE", "<!channel", "<@U123"):
        assert word not in document["message"] + document["title"]


def test_what_is_no_mention_stays() -> None:
    """Mail addresses, tags and comparisons are left alone."""
    assert harmless("a@example.com <b> 1 < 2") == "a@example.com <b> 1 < 2"


async def test_a_long_message_is_cut_rather_than_refused(notify_io: NotifyIO) -> None:
    """A service with a limit gets as much as it takes."""
    service = Service()
    notes = {f"note {number}": "x" * 1900 for number in range(30)}
    [delivery] = await send(notify_io, service, message(annotations=notes), address=as_ntfy)
    assert delivery.result is DeliveryResult.DELIVERED
    [document] = service.documents
    assert 1000 < len(document["message"]) <= 7800
