"""Stories that do not come out, and stories that cannot be played."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.config.errors import ConfigErrors
from monitor.model import SendReason
from monitor.scenario.heard import Heard
from monitor.scenario.promises import _of_channel
from monitor.scenario.read import read_story
from monitor.scenario.stage import play
from monitor.scenario.story import Story

STORY: dict[str, Any] = {
    "story": "a small one",
    "lasts": "20m",
    "env": {"SLACK": "https://slack.test/services/T000/B000/XXXX", "KEY": "s3cret"},
    "config": {
        "service": "shop",
        "evaluation_interval": "15s",
        "defaults": {"interval": "30s", "timeout": "5s"},
        "rules": "alerts.yml",
        "environments": {"Production": {"url": "http://shop.test", "sla": "99.9% uptime"}},
        "deployments": [
            {
                "environment": "Production",
                "version": {"path": "/version.json", "json": "version"},
                "rollback": {
                    "on": ["outage"],
                    "hook": {
                        "kind": "webhook",
                        "url": "https://hook.test/rollback",
                        "secrets": [{"env": "KEY"}],
                    },
                },
            }
        ],
        "channels": {
            "slack": {"kind": "slack", "url": {"env": "SLACK"}},
            "email": {"kind": "email", "host": "mail.test", "from": "a@b.test", "to": ["c@b.test"]},
        },
    },
    "files": {
        "alerts.yml": {
            "alerts": [
                {
                    "name": "outage",
                    "condition": "error_rate_5m > 30",
                    "severity": "critical",
                    "channels": ["slack", "email"],
                }
            ]
        }
    },
    "targets": {"shop.test": {}},
    "steps": [{"at": "5m", "target": "shop.test", "change": {"status": 503}}],
    "checks": [{"at": "19m", "open_incidents": 1}],
}


def story(**changes: Any) -> Story:
    return Story.model_validate_json(json.dumps(STORY | changes), by_name=False)


def check(**what: Any) -> list[dict[str, Any]]:
    return [{"at": "19m", **what}]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"open_incidents": 0}, "at 1140s: open incidents is 1, expected 0"),
        ({"channels": {"slack": {"opened": 2}}}, "slack opened is 1, expected 2"),
        ({"channels": {"email": {"resolved": 1}}}, "email resolved is 0, expected 1"),
        ({"rollbacks": {"shop-production": 0}}, "rollbacks of shop-production is 1, expected 0"),
        (
            {"alerts": {"outage@shop-production": "inactive"}},
            "alert outage@shop-production is 'firing', expected 'inactive'",
        ),
        (
            {"figures": [{"name": "error_rate_5m", "deployment": "shop-production", "is": 99.5,
                          "within": 0.4}]},
            "error_rate_5m of shop-production is 100.0, expected 99.5",
        ),
    ],
)  # fmt: skip
def test_a_check_that_does_not_hold_is_told(what: dict[str, Any], said: str) -> None:
    """Every kind of check can fail, and says what it found and what it expected."""
    [mismatch] = play(story(checks=check(**what)), Path())
    assert said in str(mismatch)


def test_what_only_the_daemon_knows_is_not_there_while_it_is_down() -> None:
    """A check of a daemon that does not run fails instead of passing unseen."""
    steps = [{"at": "10m", "daemon": "kill"}]
    figure = {"name": "error_rate_5m", "deployment": "shop-production", "is": 0}
    what = {
        "open_incidents": 0,
        "alerts": {"outage@shop-production": "inactive"},
        "figures": [figure],
    }
    mismatches = play(story(steps=steps, checks=check(**what)), Path())
    assert [mismatch.got for mismatch in mismatches] == [None, None, None]


@pytest.mark.parametrize(
    ("actions", "problem"),
    [
        (["start"], "running already"),
        (["kill", "stop"], "not running"),
        (["stop", "kill"], "not running"),
        (["kill", "reload"], "not running"),
    ],
)
def test_what_cannot_be_done_to_the_daemon_is_told(actions: list[str], problem: str) -> None:
    """A step that makes no sense at its moment fails the story."""
    steps = [{"at": f"{n}m", "daemon": what} for n, what in enumerate(actions, 1)]
    checks = [{"at": "30s", "open_incidents": 0}]
    [mismatch] = play(story(steps=steps, checks=checks), Path())
    assert mismatch.got == problem


def test_latency_of_a_target_is_felt() -> None:
    """A scripted latency arrives in the percentiles, in milliseconds."""
    steps = [{"at": "1m", "target": "shop.test", "change": {"latency": "1200ms"}}]
    figure = {"name": "p95_latency", "deployment": "shop-production", "is": 1200, "within": 20}
    assert not play(story(steps=steps, checks=check(figures=[figure])), Path())


def written(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / "story.yml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def test_a_sound_story_is_read(tmp_path: Path) -> None:
    """The base of the table below."""
    assert read_story(written(tmp_path, STORY)) == story()


@pytest.mark.parametrize(
    ("way", "value", "path", "said"),
    [
        (("steps", 0), {"at": "1m", "target": "shoop.test", "change": {"status": 1}},
         "steps[0].target", 'unknown target "shoop.test" (did you mean "shop.test"?)'),
        (("steps", 0), {"at": "1m", "channel": "slak", "alive": False},
         "steps[0].channel", 'unknown channel "slak" (did you mean "slack"?)'),
        (("steps", 0), {"at": "1m", "hook": "shop", "alive": False},
         "steps[0].hook", "unknown deployment with a hook"),
        (("steps", 0), {"at": "1m", "channel": "email", "hang": "5s"},
         "steps[0].channel", "knows `alive` only"),
        (("steps", 0), {"at": "1m", "target": "shop.test"}, "steps[0]", "go together"),
        (("steps", 0), {"at": "1m", "channel": "slack"}, "steps[0]", "go together"),
        (("steps", 0), {"at": "1m", "alive": True}, "steps[0]", "go together"),
        (("steps", 0), {"at": "1m"}, "steps[0]", "nothing happens"),
        (("steps", 0), {"at": "1m", "until": "2m", "every": "0s", "daemon": "reload"},
         "steps[0]", "every 0s"),
        (("steps", 0), {"at": "1h", "daemon": "reload"}, "steps[0].at", "after the end"),
        (("steps", 0), {"at": "1m", "daemon": "explode"}, "steps[0].daemon", "expected 'kill'"),
        (("steps", 0), {"at": "1m", "daemon": "reload", "config": {
            "channels": {"slack": {"kind": "slack", "url": {"env": "SLACK"}}}}},
         "files.alerts.yml", "unknown channel"),
        (("checks", 0, "channels"), {"slak": {"opened": 1}},
         "checks[0].channels.slak", 'unknown channel "slak"'),
        (("checks", 0, "rollbacks"), {"shop": 1}, "checks[0].rollbacks.shop", "with a hook"),
        (("checks", 0, "alerts"), {"outag@shop-production": "firing"},
         'checks[0].alerts."outag@shop-production"', 'mean "outage@shop-production"'),
        (("checks", 0, "alerts"), {"outage@shop-production": "fireing"},
         'checks[0].alerts."outage@shop-production"', 'unknown state "fireing"'),
        (("checks", 0, "figures"), [{"name": "error_rat_5m", "deployment": "shop-production",
                                     "is": 1}],
         "checks[0].figures[0].name", 'unknown figure "error_rat_5m"'),
        (("checks", 0, "figures"), [{"name": "samples_5m", "deployment": "shop", "is": 1}],
         "checks[0].figures[0].deployment", 'unknown deployment "shop"'),
        (("checks", 0, "at"), "1h", "checks[0].at", "after the end"),
        (("config", "channels", "slack", "kind"), "pigeon", "config.channels.slack.kind",
         "unknown kind"),
        (("config", "channels", "second"), {"kind": "slack", "url": {"env": "SLACK"}},
         "config", "two receivers at slack.test"),
        (("files", "alerts.yml", "alerts", 0, "condition"), "error_rate > 30",
         "files.alerts.yml", "error_rate"),
        (("start",), "2026-01-05T00:00:00", "start", "with its zone"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(
    tmp_path: Path, way: tuple[Any, ...], value: Any, path: str, said: str
) -> None:
    """Form, names and the configurations inside: each mistake has its line in the story's file."""
    document = copy.deepcopy(STORY)
    *above, last = way
    at = document
    for step in above:
        at = at[step]
    at[last] = value
    file = written(tmp_path, document)
    with pytest.raises(ConfigErrors) as caught:
        read_story(file)
    [error] = caught.value.errors
    assert error.file == str(file)
    assert error.path.startswith(path)
    assert said in error.message
    assert 1 < error.line <= len(file.read_text().splitlines())


def test_what_is_no_yaml_is_told_with_its_place(tmp_path: Path) -> None:
    """A story that cannot be parsed says where."""
    path = tmp_path / "story.yml"
    path.write_text("story: a story: within a story\n")
    with pytest.raises(ConfigErrors, match=r"story\.yml:1:\d+"):
        read_story(path)


FIRST, REPEAT, RESOLVED = SendReason.FIRST, SendReason.REPEAT, SendReason.RESOLVED


@pytest.mark.parametrize(
    ("told", "broken"),
    [
        ([(FIRST, False), (REPEAT, False), (REPEAT, False), (RESOLVED, False)], None),
        ([(FIRST, False), (FIRST, True), (RESOLVED, False), (RESOLVED, True)], None),
        ([(RESOLVED, False)], None),
        ([(FIRST, False), (FIRST, False)], "opened twice"),
        ([(FIRST, False), (RESOLVED, False), (RESOLVED, False)], "resolved twice"),
        ([(FIRST, False), (RESOLVED, False), (FIRST, True)], "after its end"),
        ([(FIRST, False), (RESOLVED, False), (REPEAT, False)], "after its end"),
    ],
)
def test_a_broken_promise_is_noticed(
    told: list[tuple[SendReason, bool]], broken: str | None
) -> None:
    """Each way to tell a receiver the wrong thing is found, and no right one is."""
    heard = [
        Heard(subject="r on d", since="2026-01-05T00:00:00Z", reason=reason, marked=marked)
        for reason, marked in told
    ]
    complaints = list(_of_channel(heard))
    assert len(complaints) == (broken is not None)
    assert (broken or "") in "".join(complaints)


def test_a_receiver_that_is_well_again_has_forgotten_what_it_was_told_to_do() -> None:
    """`alive: true` ends refusals, lost answers and hanging, so that a story can end in peace."""
    steps = [
        *STORY["steps"],
        {"at": "1m", "channel": "slack", "hang": "40s", "lose_answers": 50},
        {"at": "1m", "channel": "slack", "refuse": {"status": 500, "times": 50}},
        {"at": "10m", "channel": "slack", "alive": True},
    ]
    checks = [
        {"at": "9m", "channels": {"slack": {"opened": 0}, "email": {"opened": 1}}},
        {"at": "19m", "channels": {"slack": {"opened": 1}}},
    ]
    assert not play(story(steps=steps, checks=checks), Path())
