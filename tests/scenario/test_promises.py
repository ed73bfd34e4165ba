"""The promises to receivers, held against random stories of a few bad hours."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hypothesis import given, note, settings
from hypothesis import strategies as st

from monitor.model import SendReason
from monitor.scenario.heard import Heard
from monitor.scenario.stage import Performance, perform
from monitor.scenario.story import Story

CALM_S = 5400
"""From here on everything is healthy again."""
END_S = CALM_S + 3600
PEOPLE = ["slack", "bot", "email", "webhook", "console"]
"""Channels that hear of an incident even when it is over; the console never fails."""
RULES = {
    "outage": ("error_rate_5m > 30 && samples_5m >= 2", "critical", [*PEOPLE, "pagerduty"]),
    "slow": ("p95_latency_5m > 1000", "warning", PEOPLE),
}


def config(*rules: str) -> dict[str, Any]:
    return {
        "service": "shop",
        "evaluation_interval": "30s",
        "defaults": {"interval": "1m", "timeout": "5s"},
        "storage": {"flush_interval": "1m"},
        "repeat_interval": "45m",
        "fallback": "console",
        "blind_channels": [*PEOPLE, "pagerduty"],
        "rules": f"{'-'.join(rules)}.yml",
        "environments": {"Production": {"url": "http://shop.test", "sla": "99.9% uptime"},
                         "Staging": {"url": "http://stage.test"}},
        "deployments": [{
            "environment": "Production",
            "version": {"path": "/version.json", "json": "version"},
            "rollback": {
                "on": ["outage"] if "outage" in rules else [],
                "cooldown": "5m",
                "min_samples": 3,
                "hook": {"kind": "webhook", "url": "https://hook.test/rollback",
                         "secrets": [{"env": "KEY"}]},
            },
        }],
        "channels": {
            "slack": {"kind": "slack", "url": {"env": "SLACK"}},
            "bot": {"kind": "slack_bot", "token": {"env": "SLACK_BOT"}, "channel": "C0123456",
                    "base_url": "https://slack-bot.test"},
            "pagerduty": {"kind": "pagerduty", "routing_key": {"env": "PD_KEY"}},
            "email": {"kind": "email", "host": "mail.test", "tls": "insecure", "from": "a@b.test",
                      "to": ["c@b.test"]},
            "webhook": {"kind": "webhook", "url": {"env": "SINK"}, "secrets": [{"env": "KEY"}]},
            "console": {"kind": "console"},
        },
    }  # fmt: skip


def rule_files() -> dict[str, Any]:
    alerts = {
        name: {"name": name, "condition": condition, "severity": severity, "channels": channels}
        for name, (condition, severity, channels) in RULES.items()
    }
    return {
        "outage-slow.yml": {"alerts": list(alerts.values())},
        "slow.yml": {"alerts": [alerts["slow"]]},
    }


def seconds(at: float) -> str:
    return f"{at:g}s"


moments = st.integers(60, CALM_S - 60)
spans = st.sampled_from([1, 20, 61, 150, 400, 900, 2400])
healthy = {"status": 200, "fault": "none", "latency": "50ms"}


@st.composite
def outages(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A target goes wrong in one way for a while; a bad release stays until it is replaced."""
    host = draw(st.sampled_from(["shop.test", "shop.test", "stage.test"]))
    change = draw(
        st.sampled_from(
            [{"status": 503}, {"latency": "2s"}, {"version": "2.0"}, {"version": "3.0"}]
            + [{"fault": fault} for fault in ("refuse", "hang", "reset", "unresolved")]
        )
    )
    at = draw(moments)
    begin = {"at": seconds(at), "target": host, "change": change}
    if "version" in change:
        return [begin]
    end = min(CALM_S, at + draw(spans))
    return [begin, {"at": seconds(end), "target": host, "change": healthy}]


@st.composite
def troubles(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A receiver misbehaves once or for a while."""
    at = draw(moments)
    end = min(CALM_S, at + draw(spans))
    channel = draw(st.sampled_from(["slack", "bot", "pagerduty", "webhook", "email", ""]))
    who = {"channel": channel} if channel else {"hook": "shop-production"}
    lasting = [({"alive": False}, {"alive": True})]
    passing: list[dict[str, Any]] = []
    if channel != "email":
        lasting += [({"hang": "40s"}, {"hang": "0s"}), ({"hang": "9s"}, {"hang": "1s"})]
        passing = [{"lose_answers": 1}, {"lose_answers": 3}]
        refusals = [(500, None), (503, "90s"), (429, "30s"), (404, None)]
        passing += [
            {"refuse": {"status": status, "times": 2} | ({"retry_after": wait} if wait else {})}
            for status, wait in refusals
        ]
    if not channel:
        lasting.append(({"failing": True}, {"failing": False}))
    how = draw(st.sampled_from([*lasting, *passing]))
    if isinstance(how, dict):
        return [{"at": seconds(at), **who, **how}]
    return [{"at": seconds(at), **who, **how[0]}, {"at": seconds(end), **who, **how[1]}]


@st.composite
def lives(draw: st.DrawFn, changes: list[float]) -> list[dict[str, Any]]:
    """The daemon is killed, stopped, started and reloaded, one after the other.

    Often a minute or few after something in the world changes at one of `changes`: then messages
    are under way.
    """
    steps: list[dict[str, Any]] = []
    at = 0.0
    for _ in range(draw(st.integers(0, 5))):
        ahead = [change for change in changes if change > at]
        if ahead and draw(st.booleans()):
            at = draw(st.sampled_from(ahead)) + draw(st.sampled_from([60, 240]))
        at += draw(st.integers(5, 1200)) / 10
        what = draw(st.sampled_from(["kill", "kill", "stop", "reload", "without", "with"]))
        if at > CALM_S - 1300:
            break
        if what in {"kill", "stop"}:
            steps.append({"at": seconds(at), "daemon": what})
            at += draw(spans) / 2
            steps.append({"at": seconds(at), "daemon": "start"})
        else:
            rules = ["slow"] if what == "without" else ["outage", "slow"]
            change = {} if what == "reload" else {"config": config(*rules)}
            steps.append({"at": seconds(at), "daemon": "reload", **change})
    return steps


@st.composite
def stories(draw: st.DrawFn) -> dict[str, Any]:
    """Two bad hours, and then more than one in which all is well."""
    bad = [step for steps in draw(st.lists(outages(), min_size=1, max_size=5)) for step in steps]
    changes = sorted(float(step["at"].removesuffix("s")) for step in bad)
    trouble = [step for steps in draw(st.lists(troubles(), max_size=6)) for step in steps]
    # Even receivers that are well take their time, so that a kill may hit a message under way.
    slow = [{"at": "0s", "channel": each, "hang": "9s"} for each in ("slack", "webhook")]
    calm = seconds(CALM_S)
    well: list[dict[str, Any]] = [
        {"at": calm, "target": host, "change": {**healthy, "version": "1.0"}}
        for host in ("shop.test", "stage.test")
    ]
    well += [
        {"at": calm, "channel": channel, "alive": True}
        for channel in ("slack", "bot", "pagerduty", "webhook", "email")
    ]
    well += [
        {"at": calm, "hook": "shop-production", "alive": True, "failing": False},
        {"at": calm, "daemon": "reload", "config": config("outage", "slow")},
    ]
    return {
        "story": "a random one",
        "lasts": seconds(END_S),
        "env": {"SLACK": "https://slack.test/services/T000/B000/XXXX", "PD_KEY": "0" * 32,
                "SLACK_BOT": "xoxb-1", "KEY": "s3cret", "SINK": "https://sink.test/hook"},
        "config": config("outage", "slow"),
        "files": rule_files(),
        "targets": {"shop.test": {"version": "1.0", "bad_versions": ["2.0", "3.0"]},
                    "stage.test": {}},
        "steps": [*slow, *bad, *trouble, *draw(lives(changes)), *well],
        "checks": [{"at": seconds(END_S), "open_incidents": 0,
                    "channels": {"pagerduty": {"still_open": 0}}}],
    }  # fmt: skip


def episodes(heard: Iterable[Heard], *reasons: SendReason) -> set[tuple[str, str]]:
    return {(each.subject, each.since) for each in heard if each.reason in reasons}


def broken(performance: Performance) -> list[str]:
    """Return what is wrong at the end, in words."""
    problems = [str(mismatch) for mismatch in performance.mismatches]
    receivers = performance.receivers
    for channel in receivers.channels:
        heard = receivers.heard(channel)
        opened = episodes(heard, SendReason.FIRST, SendReason.REPEAT)
        ended = episodes(heard, SendReason.RESOLVED)
        problems += [f"{channel} never heard the end of {each}" for each in opened - ended]
    for channel in PEOPLE:
        # The console never fails: what it heard of is what happened.
        missed = episodes(receivers.heard("console"), *SendReason) ^ episodes(
            receivers.heard(channel), *SendReason
        )
        # Nobody is told through a channel that it is broken.
        missed = {each for each in missed if each[0] != f"channel_broken on {channel}"}
        problems += [f"{channel} and the console disagree on {each}" for each in missed]
    return problems


def test_promises_hold_in_every_story() -> None:
    """Whatever fails and whenever we are killed: paged once, told the end, rolled back once."""
    seen: Counter[str] = Counter()

    @settings(max_examples=60)
    @given(stories())
    def play_one(story: dict[str, Any]) -> None:
        note("steps:\n" + "".join(f"  - {json.dumps(step)}\n" for step in story["steps"]))
        performance = perform(Story.model_validate_json(json.dumps(story), by_name=False), Path())
        assert not broken(performance), "\n".join(broken(performance))
        receivers = performance.receivers
        for channel in receivers.channels:
            for heard in receivers.heard(channel):
                seen[f"{channel} {heard.reason}"] += 1
                seen["marked"] += heard.marked
        seen["rollbacks"] += len(receivers.rolled_back("shop-production"))

    play_one()
    # Stories in which nothing happens would prove nothing.
    assert all(seen[f"{channel} first"] >= 30 for channel in (*PEOPLE, "pagerduty")), seen
    assert seen["marked"] >= 5, seen
    assert seen["rollbacks"] >= 5, seen
