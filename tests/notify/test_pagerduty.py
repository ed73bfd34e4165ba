"""PagerDuty: one incident for one key, through the key that opened it."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from monitor.fields import Secret
from monitor.model import (
    Delivery,
    DeliveryResult,
    IncidentAlert,
    Message,
    Note,
    Release,
    ReleaseStatus,
    SendReason,
    Severity,
)
from monitor.notify.base import Announcer, NotifyIO
from monitor.notify.http import status_result
from monitor.notify.pagerduty import (
    DEDUP_KEY_LIMIT,
    PagerDutyConfig,
    PagerDutyNotifier,
    dedup_key,
    fingerprint,
    trigger,
)
from monitor.scenario.pagerduty import PagerDutyFake
from monitor.scenario.provider import Reply, Request, SyncProviderTransport
from tests.notify.samples import HOSTILE, NOW, any_message, hostile, message
from tests.support.serve import serve

KEY = "R" * 32
OLD_KEY = "Q" * 32


def notifier(
    notify_io: NotifyIO,
    url: str | None,
    key: str = KEY,
    previous: tuple[str, ...] = (),
    timeout: str = "5s",
) -> PagerDutyNotifier:
    config = PagerDutyConfig.model_validate(
        {
            "kind": "pagerduty",
            "routing_key": Secret(key),
            "previous_routing_keys": [Secret(old) for old in previous],
            "base_url": url,
            "timeout": timeout,
        }
    )
    built = config.build("oncall", notify_io)
    assert isinstance(built, PagerDutyNotifier)
    return built


@pytest.fixture
def fake() -> PagerDutyFake:
    return PagerDutyFake({KEY, OLD_KEY})


@pytest.fixture
def scripted(notify_io: NotifyIO, fake: PagerDutyFake) -> NotifyIO:
    """The same clients, with PagerDuty's host answered by the fake without a socket."""
    transport = SyncProviderTransport({"events.pagerduty.com": fake}, lambda: NOW)
    return replace(notify_io, sync_transport=transport)


async def test_open_merge_resolve(
    notify_io: NotifyIO, fake: PagerDutyFake, server_tls: ssl.SSLContext
) -> None:
    """A repeated open merges, a resolve ends it, and the next open is a new incident."""
    async with serve(fake, ssl_context=server_tls) as url:
        channel = notifier(notify_io, url)
        opened = await channel.send(message(), 10, None)
        await channel.send(message(may_be_repeated=True), 10, None)
        await channel.send(message(SendReason.RESOLVED), 10, opened.remote_key)
        await channel.send(message(), 10, None)
    assert opened == Delivery(
        result=DeliveryResult.DELIVERED, detail="202 accepted", remote_key=fingerprint(Secret(KEY))
    )
    assert [(it.triggers, it.resolved_at is None) for it in fake.incidents] == [
        (2, False),
        (1, True),
    ]
    assert fake.dropped_resolves == []


async def test_an_event_says_everything(scripted: NotifyIO, fake: PagerDutyFake) -> None:
    """Summary, severity, classification, details and links are where PagerDuty shows them."""
    sent = message(severity=Severity.WARNING, notes=(Note(at=NOW, text="rolled back"),))
    await notifier(scripted, None).send(sent, 10, None)
    [event] = fake.incidents[0].events
    assert event["payload"]["summary"].endswith("(production): Users get errors")
    classified = {
        "severity": "warning",
        "source": "api-production",
        "component": "api",
        "group": "production",
        "class": "HighErrorRate",
        "timestamp": "2027-01-15T07:55:00Z",
    }
    assert event["payload"].items() >= classified.items()
    assert "error_rate_5m = 7.25 %" in event["payload"]["custom_details"]["Measured"]
    assert "rolled back" in event["payload"]["custom_details"]["Notes"]
    assert event["client_url"] == "https://monitor.example.com/?a=1&b=2"
    assert event["links"][0] == {"href": event["client_url"], "text": "Live page"}


async def test_a_resolve_goes_through_the_key_that_opened(
    scripted: NotifyIO, fake: PagerDutyFake
) -> None:
    """The routing key was rotated while the incident was open: the old one still closes it."""
    opened = await notifier(scripted, None, key=OLD_KEY).send(message(), 10, None)
    rotated = notifier(scripted, None, key=KEY, previous=(OLD_KEY,))
    resolved = await rotated.send(message(SendReason.RESOLVED), 10, opened.remote_key)
    assert resolved.result is DeliveryResult.DELIVERED
    assert fake.open_incidents == []
    assert fake.dropped_resolves == []


async def test_a_resolve_without_its_key_says_what_to_do(
    scripted: NotifyIO, fake: PagerDutyFake
) -> None:
    """PagerDuty would drop it silently, so it is refused here, with the remedy."""
    opened = await notifier(scripted, None, key=OLD_KEY).send(message(), 10, None)
    resolved = await notifier(scripted, None, key=KEY).send(
        message(SendReason.RESOLVED), 10, opened.remote_key
    )
    assert resolved.result is DeliveryResult.PERMANENT
    assert "previous_routing_keys" in resolved.detail
    assert len(resolved.detail) <= 200
    assert fake.requests == 1


@pytest.mark.parametrize("reason", [SendReason.ACKNOWLEDGED, SendReason.NEW_ALERTS])
async def test_what_follows_goes_through_the_key_that_opened(
    scripted: NotifyIO, fake: PagerDutyFake, reason: SendReason
) -> None:
    """After a rotation neither opens a second incident by the new key, nor is it lost."""
    opened = await notifier(scripted, None, key=OLD_KEY).send(message(), 10, None)
    rotated = notifier(scripted, None, key=KEY, previous=(OLD_KEY,))
    told = await rotated.send(message(reason), 10, opened.remote_key)
    assert (told.result, told.remote_key) == (DeliveryResult.DELIVERED, opened.remote_key)
    [incident] = fake.incidents
    assert len(incident.events) == 2
    lost = await notifier(scripted, None, key=KEY).send(message(reason), 10, opened.remote_key)
    assert lost.result is DeliveryResult.PERMANENT
    assert "previous_routing_keys" in lost.detail


async def test_an_acknowledgement_stops_pagerdutys_escalation(
    scripted: NotifyIO, fake: PagerDutyFake
) -> None:
    """It is an event without payload, under the same key, and opens nothing by itself."""
    channel = notifier(scripted, None)
    opened = await channel.send(message(), 10, None)
    await channel.send(message(SendReason.ACKNOWLEDGED), 10, opened.remote_key)
    [incident] = fake.open_incidents
    assert incident.acknowledged_at == NOW
    assert set(incident.events[1]) == {"routing_key", "event_action", "dedup_key"}
    assert incident.events[1]["event_action"] == "acknowledge"
    await channel.send(message(SendReason.RESOLVED), 10, opened.remote_key)
    await channel.send(message(SendReason.ACKNOWLEDGED), 10, opened.remote_key)
    assert len(fake.dropped_acknowledgements) == len(fake.incidents) == 1


@pytest.mark.parametrize("status", ReleaseStatus)
async def test_a_release_is_a_change_event(
    scripted: NotifyIO, fake: PagerDutyFake, status: ReleaseStatus
) -> None:
    """It shows beside the incidents of the service, and opens none."""
    release = Release(deployment="api-production", revision="1.4.2", status=status, at=NOW)
    told = await notifier(scripted, None).announce(release, NOW, 10)
    assert told == Delivery(result=DeliveryResult.DELIVERED, detail="202 accepted")
    [change] = fake.changes
    assert change["summary"] == f"api-production: 1.4.2 {status.replace('_', ' ')}"
    assert (change["source"], change["timestamp"]) == ("api-production", "2027-01-15T08:00:00Z")
    assert fake.incidents == []


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_release_is_told(
    scripted: NotifyIO, fake: PagerDutyFake, text: str
) -> None:
    """A revision is read from the target, so it may hold anything."""
    release = Release(deployment=text, revision=text, status=ReleaseStatus.FAILED, at=NOW)
    told = await notifier(scripted, None).announce(release, NOW, 10)
    assert told.result is DeliveryResult.DELIVERED
    assert len(fake.changes) == 1


async def test_a_refused_change_event_is_classified_like_any(
    scripted: NotifyIO, fake: PagerDutyFake
) -> None:
    """The same table, in one request."""
    release = Release(deployment="api", revision="1", status=ReleaseStatus.SUCCEEDED, at=NOW)
    fake.fail_next(429)
    busy = await notifier(scripted, None).announce(release, NOW, 10)
    wrong = await notifier(scripted, None, key="Z" * 32).announce(release, NOW, 10)
    assert (busy.result, busy.retry_after_s) == (DeliveryResult.RETRY, 30.0)
    assert (wrong.result, fake.requests) == (DeliveryResult.PERMANENT, 2)


def test_releases_are_told_when_asked(notify_io: NotifyIO) -> None:
    """Off unless the configuration says so; who can do it is known by its protocol."""
    channel = notifier(notify_io, None)
    assert isinstance(channel, Announcer)
    assert channel.announces is False
    raw = {"kind": "pagerduty", "routing_key": Secret(KEY), "change_events": True}
    asked = PagerDutyConfig.model_validate(raw).build("oncall", notify_io)
    assert isinstance(asked, Announcer)
    assert asked.announces


@pytest.mark.parametrize(
    ("event", "complaint"),
    [
        ({"routing_key": KEY, "payload": {}}, "'payload.summary' is missing"),
        ({"routing_key": KEY, "payload": {"summary": "s" * 1025}}, "is too long"),
        ({"routing_key": "x", "payload": {"summary": "s"}}, "Length of 'routing_key'"),
        ({"routing_key": KEY, "payload": {"summary": "s"}, "dedup_key": "k"}, "no key"),
    ],
)
def test_the_fake_is_strict_about_changes(event: dict[str, Any], complaint: str) -> None:
    """A change event has rules of its own."""
    fake = PagerDutyFake({KEY})
    body = json.dumps(event).encode()
    request = Request(method="POST", path="/v2/change/enqueue", headers={}, body=body, at=NOW)
    reply = fake.handle(request)
    assert (reply.status, fake.changes) == (400, [])
    assert complaint in json.dumps(json.loads(reply.body)["errors"])


@pytest.mark.parametrize("reason", [SendReason.NEW_ALERTS, SendReason.ESCALATED])
async def test_changes_and_escalations_merge_into_the_open_incident(
    scripted: NotifyIO, fake: PagerDutyFake, reason: SendReason
) -> None:
    """They are triggers with the same key: the incident gets the news, not a companion."""
    channel = notifier(scripted, None)
    opened = await channel.send(message(), 10, None)
    await channel.send(message(reason, summary="more of it"), 10, opened.remote_key)
    [incident] = fake.incidents
    assert incident.triggers == 2
    assert incident.events[1]["payload"]["summary"].endswith("more of it")


async def test_an_escalation_to_a_service_that_knows_nothing_opens_it(
    scripted: NotifyIO, fake: PagerDutyFake
) -> None:
    """Who is called next may be another service: the first event there opens its incident."""
    told = await notifier(scripted, None).send(message(SendReason.ESCALATED), 10, None)
    assert told.remote_key == fingerprint(Secret(KEY))
    assert len(fake.open_incidents) == 1


async def test_a_first_open_whose_key_is_gone_is_sent_by_the_new_one(
    scripted: NotifyIO, fake: PagerDutyFake
) -> None:
    """It may never have arrived: two incidents are better than nobody paged."""
    lost_key = fingerprint(Secret(OLD_KEY))
    told = await notifier(scripted, None).send(message(), 10, lost_key)
    assert (told.result, told.remote_key) == (DeliveryResult.DELIVERED, fingerprint(Secret(KEY)))


async def test_every_status_has_its_outcome_in_one_request(
    notify_io: NotifyIO, fake: PagerDutyFake, server_tls: ssl.SSLContext
) -> None:
    """Each status from a real server is classified, and the library repeats none of them."""
    results = {}
    async with serve(fake, ssl_context=server_tls) as url, asyncio.timeout(20):
        channel = notifier(notify_io, url)
        for status in range(200, 600):
            fake.fail_next(status)
            results[status] = (await channel.send(message(), 10, None)).result
    expected = {status: status_result(status) for status in range(200, 600)}
    expected |= dict.fromkeys(range(200, 300), DeliveryResult.UNCERTAIN)
    assert results == {**expected, 202: DeliveryResult.DELIVERED}
    assert fake.requests == 400


@pytest.mark.parametrize(("retry_after", "wait_s"), [(None, 30.0), (90, 90.0)])
async def test_the_rate_limit_means_half_a_minute(
    scripted: NotifyIO, fake: PagerDutyFake, retry_after: float | None, wait_s: float
) -> None:
    """PagerDuty's window slides over a minute: it is asked again in 30 s unless it says when."""
    fake.fail_next(429, retry_after=retry_after)
    delivery = await notifier(scripted, None).send(message(), 10, None)
    assert (delivery.result, delivery.retry_after_s) == (DeliveryResult.RETRY, wait_s)
    assert delivery.remote_key is None


async def test_a_refusal_repeats_pagerdutys_reasons(
    scripted: NotifyIO, fake: PagerDutyFake
) -> None:
    """400 is for good; what PagerDuty complains about is what the operator reads."""
    delivery = await notifier(scripted, None, key="Z" * 32).send(message(), 10, None)
    assert delivery == Delivery(
        result=DeliveryResult.PERMANENT,
        detail="400: Event object is invalid; Invalid routing key",
    )
    assert fake.incidents == []


async def test_a_lost_answer_is_uncertain_and_harmless(
    scripted: NotifyIO, fake: PagerDutyFake
) -> None:
    """The event arrived, the answer did not: the same key again makes no second incident."""
    fake.lose_next()
    channel = notifier(scripted, None)
    lost = await channel.send(message(), 10, None)
    again = await channel.send(message(), 10, None)
    assert (lost.result, lost.remote_key) == (DeliveryResult.UNCERTAIN, fingerprint(Secret(KEY)))
    assert again.result is DeliveryResult.DELIVERED
    assert len(fake.incidents) == 1


async def test_a_hanging_pagerduty_ends_in_time(
    notify_io: NotifyIO, fake: PagerDutyFake, server_tls: ssl.SSLContext
) -> None:
    """The thread is given up at the limit, and the loop was free meanwhile."""
    fake.hang_s = 30
    async with serve(fake, ssl_context=server_tls) as url, asyncio.timeout(3):
        delivery = await notifier(notify_io, url, timeout="500ms").send(message(), 10, None)
    assert delivery.result is DeliveryResult.UNCERTAIN
    assert len(fake.incidents) == 1


async def test_an_unreachable_pagerduty_was_not_told(notify_io: NotifyIO) -> None:
    """Nothing listens there: one attempt, nothing sent, safe to repeat."""
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    delivery = await notifier(notify_io, f"https://127.0.0.1:{port}").send(message(), 10, None)
    assert delivery.result is DeliveryResult.RETRY
    assert "refused" in delivery.detail


async def test_an_untrusted_certificate_is_not_spoken_to(
    notify_io: NotifyIO, fake: PagerDutyFake, server_tls: ssl.SSLContext
) -> None:
    """Without a transport the library's own client is used, with the system's authorities."""
    own = replace(notify_io, sync_transport=None)
    async with serve(fake, ssl_context=server_tls) as url:
        delivery = await notifier(own, url).send(message(), 10, None)
    assert delivery.result is DeliveryResult.RETRY
    assert "certificate" in delivery.detail.lower()
    assert fake.requests == 0


async def test_the_shared_transport_stays_open(notify_io: NotifyIO, fake: PagerDutyFake) -> None:
    """Each event has a client of its own, which is closed; the transport belongs to the process."""
    closed: list[bool] = []

    class Watched(SyncProviderTransport):
        def close(self) -> None:
            closed.append(True)

    transport = Watched({"events.pagerduty.com": fake}, lambda: NOW)
    channel = notifier(replace(notify_io, sync_transport=transport), None)
    assert (await channel.send(message(), 10, None)).result is DeliveryResult.DELIVERED
    assert closed == []


async def test_no_free_thread_means_not_sent(scripted: NotifyIO, fake: PagerDutyFake) -> None:
    """The event never left the queue of the executor, so trying again is safe."""
    release = threading.Event()
    with ThreadPoolExecutor(1) as busy:
        busy.submit(release.wait)
        channel = notifier(replace(scripted, executor=busy), None, timeout="100ms")
        try:
            delivery = await channel.send(message(), 10, None)
        finally:
            release.set()
    assert delivery.result is DeliveryResult.RETRY
    assert fake.requests == 0


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_text_opens_and_resolves(
    scripted: NotifyIO, fake: PagerDutyFake, text: str
) -> None:
    """Text of another system never makes PagerDuty refuse, and both ends use the same key."""
    channel = notifier(scripted, None)
    opened = await channel.send(hostile(text), 10, None)
    resolved = await channel.send(hostile(text, SendReason.RESOLVED), 10, opened.remote_key)
    assert {opened.result, resolved.result} == {DeliveryResult.DELIVERED}
    assert (fake.open_incidents, fake.dropped_resolves) == ([], [])


@settings(max_examples=40, deadline=None)
@given(sent=any_message)
def test_any_message_passes_the_strict_fake(sent: Message) -> None:
    """Whatever an incident holds, PagerDuty takes the event."""
    fake = PagerDutyFake({KEY})
    transport = SyncProviderTransport({"events.pagerduty.com": fake}, lambda: NOW)
    event = trigger(sent)
    body = {
        "routing_key": KEY,
        "event_action": "trigger",
        "dedup_key": dedup_key(sent.incident.key),
    }
    with httpx2.Client(transport=transport) as client:
        response = client.post("https://events.pagerduty.com/v2/enqueue", json={**body, **event})
    assert response.status_code == 202, response.text


def test_huge_details_fit() -> None:
    """An event stays under PagerDuty's size however much there is to tell; the rest is counted."""
    text = "\u6f22\U0001f525" * 1000
    sent = message(
        summary=text,
        annotations={f"{n}{text[:150]}": f"{n}{text}" for n in range(200)},
        notes=tuple(Note(at=NOW, text=text) for _ in range(200)),
    )
    event = trigger(sent)
    assert len(json.dumps(event)) < 512 * 1024
    assert event["payload"]["custom_details"]["…"].endswith(" more")


@pytest.mark.parametrize("reason", [SendReason.FIRST, SendReason.NEW_ALERTS])
async def test_a_storm_in_one_incident_fits(
    scripted: NotifyIO, fake: PagerDutyFake, reason: SendReason
) -> None:
    """Five thousand alerts in one incident are one event that PagerDuty takes."""
    alerts = tuple(
        IncidentAlert(
            rule="outage",
            deployment=f"api-{number}",
            severity=Severity.CRITICAL,
            channels=("oncall",),
            condition="error_rate_5m > 5",
            summary="Users get errors " * 20,
            started_at=NOW - 300,
            opened_at=NOW - 60,
        )
        for number in range(5000)
    )
    told = await notifier(scripted, None).send(message(reason, alerts=alerts), 10, None)
    assert told.result is DeliveryResult.DELIVERED
    assert len(fake.open_incidents) == 1


@pytest.mark.parametrize(
    "key", ["k" * 256, "k" * 10_000, "a\nb", "a\x00b", "\ud800", " k", "\u2028" * 300]
)
def test_an_unfit_key_becomes_readable_prefix_and_hash(key: str) -> None:
    """A key that PagerDuty would refuse is mapped to one it takes, the same every time."""
    fit = dedup_key(key)
    assert len(fit) <= DEDUP_KEY_LIMIT
    assert fit == dedup_key(key)
    assert fit not in {dedup_key(key + "x"), dedup_key("x" + key)}
    fit.encode()


def test_a_fit_key_is_left_alone() -> None:
    """People search for the key, so it is sent as it is whenever that is possible."""
    assert dedup_key("k" * 255) == "k" * 255


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("routing_key", Secret("short"), "integration key of 32 characters"),
        ("routing_key", "R" * 32, "expected a reference"),
        ("base_url", "http://events.pagerduty.com", "expected an address such as https://"),
        ("base_url", "https://", "expected an address such as https://"),
        ("timeout", 5, "expected a duration"),
        ("unknown", 1, "Extra inputs"),
    ],
)
def test_wrong_configuration_is_named(field: str, value: object, expected: str) -> None:
    """Mistakes show at load, with what was expected."""
    raw: dict[str, Any] = {"kind": "pagerduty", "routing_key": Secret(KEY), field: value}
    with pytest.raises(ValidationError, match=expected):
        PagerDutyConfig.model_validate(raw)


def test_pagerduty_merges_and_reminds_by_itself(notify_io: NotifyIO) -> None:
    """The outbox learns that a repeat is harmless and that reminders are not wanted."""
    channel = notifier(notify_io, None)
    assert (channel.deduplicates, channel.repeats) == (True, False)


def event_with(**changes: Any) -> dict[str, Any]:
    payload = {"summary": "s", "source": "api", "severity": "critical"}
    return {
        "routing_key": KEY,
        "event_action": "trigger",
        "dedup_key": "k",
        "payload": {**payload, **changes.pop("payload", {})},
        **changes,
    }


@pytest.mark.parametrize(
    ("event", "complaint"),
    [
        (event_with(routing_key="short"), "Length of 'routing_key' is incorrect"),
        (event_with(event_action="open"), "'event_action' is missing"),
        (event_with(dedup_key="k" * 256), "'dedup_key' is too long"),
        (event_with(event_action="resolve", dedup_key=""), "'dedup_key' is missing"),
        (event_with(payload={"severity": "fatal"}), "'payload.severity' is invalid"),
        (event_with(payload={"source": ""}), "'payload.source' is missing"),
        (event_with(payload={"summary": "s" * 1025}), "'payload.summary' is too long"),
        (event_with(payload={"custom_details": "x" * 600_000}), "larger than"),
        (event_with(payload={"summary": "a\x00"}), "cannot be stored"),
        (event_with(payload={"summary": "\ud800"}), "cannot be stored"),
        ([], "'event_action' is missing"),
    ],
)
def test_the_fake_is_as_strict_as_pagerduty(event: object, complaint: str) -> None:
    """A fake that takes everything would prove nothing: it refuses what PagerDuty refuses."""
    fake = PagerDutyFake({KEY})
    reply = answer(fake, json.dumps(event).encode(), NOW)
    assert reply.status == 400
    assert complaint in json.dumps(json.loads(reply.body)["errors"])
    assert fake.incidents == []


def test_the_fake_limits_the_rate_in_a_sliding_minute() -> None:
    """120 calls in any 60 s for one key, as PagerDuty documents."""
    fake = PagerDutyFake({KEY})
    body = json.dumps(event_with()).encode()
    statuses = [answer(fake, body, NOW + second / 4).status for second in range(121)]
    assert (statuses.count(202), statuses[-1]) == (120, 429)
    assert answer(fake, body, NOW + 60).status == 202


def test_the_fake_drops_a_resolve_of_nothing() -> None:
    """PagerDuty says 202 to it, which is why order matters so much."""
    fake = PagerDutyFake({KEY})
    reply = answer(fake, json.dumps(event_with(event_action="resolve")).encode(), NOW)
    assert (reply.status, fake.dropped_resolves, fake.incidents) == (202, ["k"], [])


def test_the_fake_acknowledges_by_the_key_that_opened() -> None:
    """An unknown key and another service's are accepted and dropped, and a trigger undoes none."""
    fake = PagerDutyFake({KEY, OLD_KEY})

    def tell(action: str, **changes: Any) -> int:
        event = event_with(event_action=action, **changes)
        return answer(fake, json.dumps(event).encode(), NOW).status

    statuses = [tell("acknowledge"), tell("trigger"), tell("acknowledge", routing_key=OLD_KEY)]
    [incident] = fake.incidents
    assert (statuses, incident.acknowledged_at) == ([202] * 3, None)
    assert fake.dropped_acknowledgements == ["k", "k"]
    assert [tell("acknowledge"), tell("trigger"), tell("acknowledge", dedup_key="")] == [
        202,
        202,
        400,
    ]
    assert (incident.acknowledged_at, incident.triggers) == (NOW, 2)


def test_a_trigger_without_key_always_opens() -> None:
    """Why the dedup key is derived by us and never left out."""
    fake = PagerDutyFake({KEY})
    event = event_with()
    del event["dedup_key"]
    for _ in range(2):
        answer(fake, json.dumps(event).encode(), NOW)
    assert len(fake.open_incidents) == 2


def answer(fake: PagerDutyFake, body: bytes, at: float) -> Reply:
    return fake.handle(Request(method="POST", path="/v2/enqueue", headers={}, body=body, at=at))
