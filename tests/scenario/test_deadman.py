"""The dead man's switch and self-tests within the whole daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monitor.model import SendReason
from monitor.scenario.stage import perform
from monitor.scenario.story import Story

START = 1_767_571_200.0
"""2026-01-05T00:00:00Z, when a story starts."""


def told(channels: list[str], slack: dict[str, Any]) -> Story:
    """An outage from minute 5 to 50, with Slack dead from minute 5 to 60."""
    return Story.model_validate(
        {
            "story": "nobody can be told",
            "lasts": "90m",
            "env": {
                "SLACK": "https://slack.test/services/T000/B000/XXXX",
                "PD_KEY": "0123456789abcdef0123456789abcdef",
                "SINK": "https://sink.test/ping/canary",
            },
            "config": {
                "service": "shop",
                "evaluation_interval": "15s",
                "defaults": {"interval": "30s", "timeout": "5s"},
                "rules": "alerts.yml",
                "burn_alerts": {"enabled": False},
                "environments": {"Production": {"url": "http://shop.test"}},
                "deadman": {"url": {"env": "SINK"}},
                "channels": {
                    "slack": {"kind": "slack", "url": {"env": "SLACK"}, **slack},
                    "pagerduty": {"kind": "pagerduty", "routing_key": {"env": "PD_KEY"}},
                },
            },
            "files": {
                "alerts.yml": {
                    "alerts": [
                        {
                            "name": "outage",
                            "condition": "error_rate_5m > 30 && samples_5m >= 4",
                            "severity": "critical",
                            "channels": channels,
                        }
                    ]
                }
            },
            "targets": {"shop.test": {}},
            "steps": [
                {"at": "5m", "channel": "slack", "alive": False},
                {"at": "5m", "target": "shop.test", "change": {"status": 503}},
                {"at": "50m", "target": "shop.test", "change": {"status": 200}},
                {"at": "60m", "channel": "slack", "alive": True},
            ],
            "checks": [{"at": "90m", "open_incidents": 0}],
        },
        by_name=False,
        by_alias=True,
    )


@pytest.mark.parametrize(
    ("channels", "alarmed"), [(["slack"], True), (["slack", "pagerduty"], False)]
)
def test_the_sink_alarms_when_nobody_can_be_told(
    channels: list[str], tmp_path: Path, *, alarmed: bool
) -> None:
    """A dead channel stops the beat, unless another one told somebody; it comes back with it."""
    performance = perform(told(channels, {}), tmp_path)
    assert performance.mismatches == []
    sink = performance.receivers.sink
    assert sink is not None
    assert bool(sink.reasons) is alarmed
    assert all("slack" in reason for reason in sink.reasons)
    assert (sink.longest_gap_s() > 40 * 60) is alarmed
    assert sink.down_since(START + 90 * 60) is None


def test_a_self_test_goes_through_the_daemon(tmp_path: Path) -> None:
    """One an hour, and no receiver takes it for a page."""
    story = told(["pagerduty"], {"self_test": "1h"})
    well = [step for step in story.steps if step.channel is None]
    performance = perform(story.model_copy(update={"steps": tuple(well)}), tmp_path)
    assert performance.mismatches == []
    heard = performance.receivers.heard("slack")
    assert [each.reason for each in heard] == [SendReason.TEST]
