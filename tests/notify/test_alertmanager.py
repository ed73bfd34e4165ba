"""Alertmanager: labels that stay, ends that hold, and a real one that groups and resolves."""

from __future__ import annotations

import base64
import itertools
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.fields import Secret
from monitor.model import (
    Acknowledgement,
    Brief,
    Delivery,
    DeliveryResult,
    IncidentAlert,
    Message,
    Priority,
    SendReason,
    Severity,
)
from monitor.notify.alertmanager import AlertmanagerConfig, alerts, label_name
from monitor.notify.base import NotifyIO
from monitor.notify.http import status_result
from monitor.scenario.alertmanager import AlertmanagerFake, Episode
from monitor.scenario.provider import Reply, Request
from tests.notify.samples import HOSTILE, NOW, any_message, hostile, message
from tests.support.alertmanager import Hook, alertmanager
from tests.support.serve import serve


def alert(**changes: Any) -> IncidentAlert:
    """Return an alert of an incident of `samples` with `changes`."""
    fields: dict[str, Any] = {
        "rule": "HighErrorRate",
        "deployment": "api-production",
        "severity": Severity.CRITICAL,
        "channels": ("estate",),
        "condition": "error_rate_5m > 5",
        "summary": "Users get errors",
        "started_at": NOW - 300,
        "opened_at": NOW - 60,
        "values": {"error_rate_5m": 7.25},
        "labels": {"team": "shop"},
    }
    return IncidentAlert(**{**fields, **changes})


async def send(
    notify_io: NotifyIO,
    fake: Any,
    *sent: Message,
    prefix: str = "",
    **fields: Any,
) -> list[Delivery]:
    at = itertools.chain((one.at for one in sent), itertools.repeat(NOW))
    async with serve(fake, now=lambda: next(at)) as url:
        raw = {"kind": "alertmanager", "url": f"{url}{prefix}", "timeout": "5s", **fields}
        notifier = AlertmanagerConfig.model_validate(raw).build("estate", notify_io)
        return [await notifier.send(one, 10, None) for one in sent or (message(),)]


async def test_an_incident_becomes_one_alert_of_it(notify_io: NotifyIO) -> None:
    """An incident without a list of alerts is one alert: itself, with all that is known of it."""
    fake = AlertmanagerFake()
    [delivery] = await send(notify_io, fake)
    assert delivery == Delivery(result=DeliveryResult.DELIVERED, detail="200")
    [episode] = fake.episodes
    [post] = episode.posts
    assert post == {
        "labels": {
            "alertname": "HighErrorRate",
            "deployment": "api-production",
            "environment": "production",
            "service": "api",
            "severity": "critical",
            "priority": "P1",
        },
        "annotations": {
            "summary": "Users get errors",
            "condition": "error_rate_5m > 5",
            "measured": "error_rate_5m = 7.25 %\np95_latency = 1234 ms\nburn_rate_1h = no data",
            "since": "2027-01-15T07:55:00Z",
            "incident": "a1b2c3d4e5",
            "runbook": "https://wiki.example.com/high-error-rate?a=1&b=2",
            "revision": "1.4.2",
        },
        "startsAt": "2027-01-15T07:59:00Z",
        "endsAt": "2027-01-15T08:04:00Z",
        "generatorURL": "https://monitor.example.com/?a=1&b=2",
    }


async def test_every_alert_of_an_incident_is_one_there(notify_io: NotifyIO) -> None:
    """Alerts that joined fire, one that ended is resolved, and reminders open nothing new."""
    fake = AlertmanagerFake()
    both = (alert(), alert(rule="SlowAnswers", severity=Severity.WARNING))
    half = (both[0], replace(both[1], resolved_at=NOW + 30))
    over = tuple(replace(each, resolved_at=NOW + 90) for each in half)
    story = [
        message(alerts=(alert(),)),
        message(SendReason.NEW_ALERTS, alerts=both, at=NOW + 10),
        message(SendReason.NEW_ALERTS, alerts=half, at=NOW + 40),
        message(SendReason.REPEAT, alerts=half, at=NOW + 70),
        message(SendReason.RESOLVED, alerts=over, at=NOW + 90, resolved_at=NOW + 90),
    ]
    deliveries = await send(notify_io, fake, *story)
    assert {each.result for each in deliveries} == {DeliveryResult.DELIVERED}
    ends = {each.labels["alertname"]: each.resolved_at for each in fake.episodes}
    assert ends == {"HighErrorRate": NOW + 90, "SlowAnswers": NOW + 40}


def one(fake: AlertmanagerFake) -> Episode:
    [episode] = fake.episodes
    return episode


async def test_it_outlives_three_lost_reminders_and_not_us(notify_io: NotifyIO) -> None:
    """Reminders come every minute; four minutes after the last, Alertmanager resolves it."""
    fake = AlertmanagerFake()
    await send(notify_io, fake, message(), message(SendReason.REPEAT, at=NOW + 60))
    assert one(fake).is_active(NOW + 60 + 239)
    assert not one(fake).is_active(NOW + 60 + 240)


def test_an_alert_that_ended_long_ago_is_left_out_until_the_end() -> None:
    """A long incident does not say for ever what was resolved; its end says everything."""
    old, new = alert(rule="old", resolved_at=NOW), alert(rule="new")
    names = {
        (reason, after_s): [
            each["labels"]["alertname"]
            for each in alerts(message(reason, alerts=(old, new), at=NOW + after_s))
        ]
        for reason in (SendReason.REPEAT, SendReason.NEW_ALERTS, SendReason.RESOLVED)
        for after_s in (899, 900)
    }
    assert names == {
        (SendReason.REPEAT, 899): ["new"],
        (SendReason.REPEAT, 900): ["new"],
        (SendReason.NEW_ALERTS, 899): ["old", "new"],
        (SendReason.NEW_ALERTS, 900): ["new"],
        (SendReason.RESOLVED, 899): ["old", "new"],
        (SendReason.RESOLVED, 900): ["new"],
    }


async def test_a_priority_that_rises_opens_no_second_alert(notify_io: NotifyIO) -> None:
    """Each alert has its own priority, whatever that of the incident becomes."""
    fake = AlertmanagerFake()
    await send(
        notify_io,
        fake,
        message(alerts=(alert(),), priority=Priority.P1),
        message(SendReason.REPEAT, alerts=(alert(),), priority=Priority.P0),
    )
    assert one(fake).labels["priority"] == "P1"


def test_what_concerns_the_incident_stands_with_the_alert_that_leads() -> None:
    """Facts, links and the acknowledgement are said once, under names that Alertmanager takes."""
    ack = Acknowledgement(by="ada", at=NOW, until=NOW + 60)
    brief = Brief(
        facts=(("Budget left", "12 %"),),
        links=(("Acknowledge", "https://m.example.com/ack?x=1"),),
    )
    joined = alert(rule="SlowAnswers", environment="canary", service="cart")
    sent = replace(message(alerts=(alert(), joined), acknowledgement=ack), brief=brief)
    lead, other = alerts(sent)
    said = {"budget_left", "acknowledge", "acknowledged_by", "revision"}
    assert said <= lead["annotations"].keys()
    assert not said & other["annotations"].keys()
    assert (other["labels"]["environment"], other["labels"]["service"]) == ("canary", "cart")


@pytest.mark.parametrize("field", ["startsAt", "endsAt"])
def test_an_end_before_the_beginning_is_not_said(field: str) -> None:
    """A clock that was set back between opening and end would make Alertmanager refuse it."""
    sent = message(SendReason.RESOLVED, opened_at=NOW, resolved_at=NOW - 30)
    [each] = alerts(sent)
    assert each[field] == "2027-01-15T08:00:00Z"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("team", "team"),
        ("Team 7", "Team_7"),
        ("7th", "_7th"),
        ("", "_"),
        ("a-b.c/d", "a_b_c_d"),
        ("größe", "gr__e"),
        ("x" * 1000, "x" * 100),
    ],
)
def test_names_are_made_to_fit(text: str, name: str) -> None:
    """Every text becomes a name that Alertmanager takes."""
    assert label_name(text) == name


def posted(sent: Message) -> Request:
    return Request(
        method="POST",
        path="/api/v2/alerts",
        headers={"content-type": "application/json"},
        body=json.dumps(alerts(sent)).encode(),
        at=sent.at,
    )


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(sent=any_message, several=st.booleans())
def test_nothing_that_we_send_is_refused(sent: Message, *, several: bool) -> None:
    """Whatever targets and configuration say, the strict receiver takes it."""
    incident = sent.incident
    text = incident.summary
    more = alert(rule=text, deployment=text, summary=text, labels={text[:50]: text})
    changed = replace(incident, alerts=(more, alert())) if several else incident
    reply = AlertmanagerFake().handle(posted(replace(sent, incident=changed)))
    assert (reply.status, reply.body) == (200, b"")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_bounded(text: str) -> None:
    """A megabyte anywhere makes no request of a megabyte."""
    assert len(posted(hostile(text)).body) < 500_000


class Says:
    """Answers everything with one status."""

    def __init__(self, status: int, **reply: Any) -> None:
        self._reply = Reply(status=status, **reply)

    def handle(self, request: Request) -> Reply:
        return self._reply


@pytest.mark.parametrize("status", [*range(200, 227), *range(300, 309), *range(400, 600)])
async def test_every_status_has_its_outcome(notify_io: NotifyIO, status: int) -> None:
    """200 is delivered, 400 is for good, 429 and 5xx are tried again."""
    [delivery] = await send(notify_io, Says(status, headers={"retry-after": "7"}))
    assert delivery.result is status_result(status)
    assert (delivery.retry_after_s == 7) is (delivery.result is DeliveryResult.RETRY)


async def test_a_login_page_is_no_delivery(notify_io: NotifyIO) -> None:
    """A proxy that wants people to sign in answers 200 as well."""
    says = Says(200, body=b"<html>Sign in", headers={"content-type": "text/html; charset=utf-8"})
    [delivery] = await send(notify_io, says)
    assert delivery.result is DeliveryResult.PERMANENT
    assert delivery.detail == "200: <html>Sign in"


async def test_a_lost_answer_is_uncertain_and_harmless(notify_io: NotifyIO) -> None:
    """It arrived, the answer did not: sending again changes nothing there."""
    fake = AlertmanagerFake()
    fake.lose_next()
    lost, again = await send(notify_io, fake, message(), message())
    assert [lost.result, again.result] == [DeliveryResult.UNCERTAIN, DeliveryResult.DELIVERED]
    assert len(fake.episodes) == 1


BASIC = f"Basic {base64.b64encode(b'ada:lovelace').decode()}"


@pytest.mark.parametrize(
    ("fields", "authorization"),
    [
        ({"token": Secret("t0ken")}, "Bearer t0ken"),
        ({"username": "ada", "password": Secret("lovelace")}, BASIC),
    ],
)
async def test_who_signs_in_gets_in(
    notify_io: NotifyIO, fields: dict[str, Any], authorization: str
) -> None:
    """A token or a user opens a guarded Alertmanager behind a prefix; without, it is 401."""
    fake = AlertmanagerFake(path="/am/api/v2/alerts", authorization=authorization)
    [inside] = await send(notify_io, fake, prefix="/am/", **fields)
    [outside] = await send(notify_io, fake, prefix="/am/")
    assert (inside.result, outside.result) == (DeliveryResult.DELIVERED, DeliveryResult.PERMANENT)
    assert outside.detail == "401: Unauthorized"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"url": "alertmanager:9093"}, "https://"),
        ({"url": "http://am/?x=canary"}, "without query"),
        ({"url": "http://am/#canary"}, "without query"),
        ({"username": "ada"}, "username and password together"),
        ({"password": Secret("canary")}, "username and password together"),
        ({"token": Secret("canary"), "username": "a", "password": Secret("b")}, "one way"),
        ({"token": Secret("canary"), "url": "http://a:canary@am"}, "one way"),
    ],
)
def test_mistakes_are_named(fields: dict[str, Any], expected: str) -> None:
    """What cannot work is an error of the configuration, and shows no secret."""
    with pytest.raises(ValidationError, match=expected) as caught:
        AlertmanagerConfig.model_validate({"kind": "alertmanager", "url": "http://am", **fields})
    assert "canary" not in str(caught.value)


GOOD = {"alertname": "x"}
JUDGED: list[tuple[Any, int]] = [
    ([], 200),
    ([{"labels": GOOD}], 200),
    ([{"labels": {**GOOD, "a": ""}}], 200),
    ([{"labels": GOOD, "generatorURL": ""}], 200),
    ([{"labels": GOOD, "startsAt": "2026-01-02T00:00:00+01:00"}], 200),
    ([{"labels": {"alertname": ""}}], 400),
    ([{"labels": {}}], 400),
    ([{"labels": {**GOOD, "a-b": "c"}}], 400),
    ([{"labels": {**GOOD, "7a": "c"}}], 400),
    ([{"labels": {"alertname": 1}}], 400),
    ([{"labels": GOOD, "annotations": {"a b": "c"}}], 400),
    ([{"labels": GOOD, "startsAt": "yesterday"}], 400),
    ([{"labels": GOOD, "startsAt": "2026-01-01"}], 400),
    (
        [{"labels": GOOD, "startsAt": "2026-01-02T00:00:00Z", "endsAt": "2026-01-01T00:00:00Z"}],
        400,
    ),
    ({"labels": GOOD}, 400),
    ("x", 400),
    ([{}], 422),
    ([{"labels": GOOD, "generatorURL": "not a url"}], 422),
]


async def test_the_fake_judges_as_the_real_one(tmp_path: Path) -> None:
    """Debian's Alertmanager and the strict fake answer the same statuses, one by one."""
    async with alertmanager(tmp_path) as real:
        for body, status in JUDGED:
            answer = await real.post("/api/v2/alerts", json=body)
            fake = AlertmanagerFake().handle(
                Request(
                    method="POST",
                    path="/api/v2/alerts",
                    headers={"content-type": "application/json"},
                    body=json.dumps(body).encode(),
                    at=NOW,
                )
            )
            assert (answer.status_code, fake.status) == (status, status), body


async def test_a_real_alertmanager_groups_and_resolves(tmp_path: Path, notify_io: NotifyIO) -> None:
    """Two alerts arrive as one group at its receiver, stay one over reminders, and end."""
    hook = Hook()
    async with serve(hook) as url, alertmanager(tmp_path, notifies=f"{url}/hook") as real:
        raw = {"kind": "alertmanager", "url": str(real.base_url)}
        notifier = AlertmanagerConfig.model_validate(raw).build("estate", notify_io)
        now = time.time()
        begun = {"started_at": now - 60, "opened_at": now}
        both = (alert(**begun), alert(rule="SlowAnswers", **begun))
        firing = {**begun, "alerts": both}
        for reason in (SendReason.FIRST, SendReason.REPEAT):
            sent = message(reason, at=time.time(), **firing)
            assert (await notifier.send(sent, 10, None)).result is DeliveryResult.DELIVERED
        await hook.until(lambda: len(hook.told) >= 1)
        [group] = (await real.get("/api/v2/alerts/groups")).json()
        assert group["labels"] == {"service": "api"}
        assert {each["status"]["state"] for each in group["alerts"]} == {"active"}
        end = time.time()
        ended = tuple(replace(each, resolved_at=end) for each in both)
        over = message(SendReason.RESOLVED, at=end, **{**firing, "alerts": ended}, resolved_at=end)
        assert (await notifier.send(over, 10, None)).result is DeliveryResult.DELIVERED
        assert (await real.get("/api/v2/alerts")).json() == []
        await hook.until(lambda: len(hook.told) >= 2)
    told = [(each["status"], sorted(hook.names(each))) for each in hook.told]
    names = ["HighErrorRate", "SlowAnswers"]
    assert told == [("firing", names), ("resolved", names)]
    assert hook.told[0]["commonAnnotations"]["condition"] == "error_rate_5m > 5"


async def test_a_real_alertmanager_takes_hostile_text(tmp_path: Path, notify_io: NotifyIO) -> None:
    """What a target may say is accepted by the real one as well."""
    async with alertmanager(tmp_path) as real:
        raw = {"kind": "alertmanager", "url": str(real.base_url)}
        notifier = AlertmanagerConfig.model_validate(raw).build("estate", notify_io)
        now = time.time()
        for name, text in HOSTILE.items():
            more = (alert(rule=text, labels={text: text}),)
            sent = hostile(text, at=now, opened_at=now, alerts=more)
            delivery = await notifier.send(sent, 10, None)
            assert (name, delivery.detail) == (name, "200")


def test_times_are_the_receivers_after_the_clock_was_set() -> None:
    """An end that lies ahead would leave the alert firing over there."""
    sent = replace(message(SendReason.RESOLVED, resolved_at=NOW - 30), ahead_s=-3600.0)
    [each] = alerts(sent)
    assert each["endsAt"] == "2027-01-15T06:59:30Z"
