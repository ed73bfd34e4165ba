"""The real process against real servers: a failing product, a page, a rollback, the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

from tests.e2e.cast import CAUTION, Cast, cast


async def until(holds: Callable[[], bool], cast: Cast, within_s: float = 30.0) -> None:
    """Wait until `holds()`; fail with the daemon's log."""
    try:
        async with asyncio.timeout(within_s):
            while not holds():  # noqa: ASYNC110 - the world outside sets no events
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(cast.daemon.log()[-6000:]) from None


async def test_everybody_hears_once_that_it_broke_and_once_that_it_is_over(tmp_path: Path) -> None:
    """A bad release yields one open and one resolve at each receiver and exactly one hook call."""
    async with cast(tmp_path) as story:
        await story.daemon.start()
        await story.daemon.wait_for(
            "/metrics?query=samples_1m", lambda answer: (answer.json()["value"] or 0) >= 2
        )
        story.site.version = story.site.bad_version
        await until(lambda: story.everybody_knows("FIRING"), story)
        await until(lambda: story.everybody_knows("RESOLVED"), story)
        assert await story.daemon.stop() == 0
        assert len(story.slack_texts("FIRING")) == len(story.slack_texts("RESOLVED")) == 1
        # What the look after the failure found is in the message.
        assert "diagnosis (app): 127.0.0.1 accepts connections" in story.slack_texts("RESOLVED")[0]
        assert len(story.mails("FIRING")) == len(story.mails("RESOLVED")) == 1
        assert all(mail.over_tls and mail.authenticated for mail in story.mailbox.mails)
        [incident] = story.pagerduty.incidents
        assert (incident.triggers, incident.resolved_at is None) == (1, False)
        assert len(story.github.runs) == 1
        assert not story.slack.mentions
        for canary in ("canarySlackToken", "canary-github-token", "canary-Smtp-Passw0rd"):
            assert canary not in story.daemon.log()


async def test_twenty_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    """SIGKILL at 20 random moments, each followed by a restart: one incident, one rollback."""
    chance = random.Random(20261123)  # noqa: S311 - the moments must be repeatable
    async with cast(tmp_path, hang_s=0.3, heals_after_s=12.0) as story:
        await story.daemon.start()
        await story.daemon.wait_for(
            "/metrics?query=samples_1m", lambda answer: (answer.json()["value"] or 0) >= 2
        )
        story.site.version = story.site.bad_version
        for _ in range(20):
            await asyncio.sleep(chance.uniform(0.1, 1.8))
            story.daemon.kill()
            await story.daemon.ended()
            await story.daemon.spawn()
        await story.daemon.wait_for("/readyz", lambda answer: answer.status_code == 200)
        await until(lambda: story.everybody_knows("RESOLVED"), story, 60.0)
        assert await story.daemon.stop() == 0
        [incident] = story.pagerduty.incidents
        assert incident.resolved_at is not None
        assert len(story.github.runs) == 1
        for word in ("FIRING", "RESOLVED"):
            for texts in (story.slack_texts(word), story.mails(word)):
                assert sum(CAUTION not in text for text in texts) <= 1, texts
                assert texts
