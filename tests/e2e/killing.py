"""The real daemon is killed again and again while an incident is open: what its receivers saw.

Each outage has three kills, at random moments: soon after the product broke (before, during or
after the first sends), soon after the restart, and soon after the product was repaired. Shared by
the short test and the long benchmark.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from tests.e2e.cast import CAUTION, Cast, cast
from tests.e2e.test_main_line import until

HANG_S = 0.8
"""How long providers take to answer, after they took the message."""
INTERVAL_S = 2.0
KILLS_AN_OUTAGE = 3
PATIENCE_S = 45.0
LATEST_S = (INTERVAL_S + 1.5, 3.0, INTERVAL_S + 1.5)
"""The latest moment of each kill: after the break, after the restart, after the repair."""
WORDS = ("FIRING", "RESOLVED")
Where = tuple[str, str]
"""A receiver that knows no key, and what it is told."""
WHERE: tuple[Where, ...] = tuple(itertools.product(("slack", "mail"), WORDS))
Known = tuple[Mapping[Where, frozenset[str]], int]
_BEGAN = re.compile(r"Since\W+(\d\S+Z)")
"""When an incident began, which tells it from all others: outages are seconds apart."""


@dataclass(slots=True)
class Seen:
    """What receivers saw of all outages together."""

    outages: int = 0
    kills: int = 0
    lost: list[str] = field(default_factory=list)
    """Receivers that were not told that it broke, or that it is over, with the word."""
    second: list[str] = field(default_factory=list)
    """Incidents beyond one an outage, and repetitions that do not say so."""
    unclosed: list[str] = field(default_factory=list)
    repetitions: int = 0
    """Messages that were sent again, each marked as a possible repetition."""
    merged: int = 0
    """Events that PagerDuty took twice and merged by their key, or dropped."""
    during_sends: int = 0
    """Kills while a provider had taken a message and not answered yet."""

    def add(self, more: Seen) -> None:
        """Add what was seen elsewhere."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(more, each.name))

    @property
    def complaints(self) -> list[str]:
        """Everything that must not be."""
        return [*self.lost, *self.second, *self.unclosed]


class Outages:
    """Breaks and repairs the product of one story, and kills its daemon meanwhile."""

    def __init__(self, story: Cast, chance: random.Random) -> None:
        """Take `story` as `restless` yields it, with its daemon running."""
        self.seen = Seen()
        self._story = story
        self._chance = chance
        self._good = story.site.version

    async def one(self) -> None:
        """Play one outage with its kills."""
        story, before = self._story, self._known()
        story.site.version = story.site.bad_version
        await self._kill(LATEST_S[0])
        await self._kill(LATEST_S[1])
        await self._told("FIRING", before)
        story.site.version = self._good
        await self._kill(LATEST_S[2])
        await self._told("RESOLVED", before)
        self.seen.lost += [f"outage {self.seen.outages}: {it}" for it in self._silent(*before)]
        self.seen.outages += 1

    def look(self) -> None:
        """Compare what everybody was told of all outages with what they should have been told."""
        seen, pagerduty = self.seen, self._story.pagerduty
        for where in WHERE:
            told = self._told_of(*where)
            again = [text for texts in told.values() for text in texts[1:]]
            seen.repetitions += len(again)
            seen.second += [f"{where}: not marked: {text}" for text in again if CAUTION not in text]
            seen.second += [f"{where}: {len(again)} times again"] * (len(again) > seen.kills)
            seen.second += [f"{where}: of {len(told)} incidents"] * (len(told) > seen.outages)
        paged = pagerduty.incidents
        seen.second += [f"PagerDuty: {len(paged)} incidents"] * (len(paged) > seen.outages)
        seen.unclosed += [f"PagerDuty: {each.key}" for each in pagerduty.open_incidents]
        seen.merged += sum(each.triggers - 1 for each in paged) + len(pagerduty.dropped_resolves)

    async def _kill(self, latest_s: float) -> None:
        daemon = self._story.daemon
        await asyncio.sleep(self._chance.uniform(0.0, latest_s))
        self.seen.kills += 1
        self.seen.during_sends += self._is_sending()
        daemon.kill()
        await daemon.ended()
        await daemon.spawn()

    def _is_sending(self) -> bool:
        story = self._story
        latest = [message.at for message in story.slack.messages[-1:]]
        return any(time.time() - at < HANG_S for at in latest)

    async def _told(self, word: str, before: Known) -> None:
        """Wait until everybody was told `word` since; who was not is found afterwards."""
        with contextlib.suppress(AssertionError):
            await until(lambda: not list(self._silent(*before, word)), self._story, PATIENCE_S)

    def _known(self) -> Known:
        """Return which incidents each receiver was told what of, and how many PagerDuty has."""
        told = {where: frozenset(self._told_of(*where)) for where in WHERE}
        return told, len(self._story.pagerduty.incidents)

    def _told_of(self, receiver: str, word: str) -> dict[str, list[str]]:
        """Return the messages with this word by the incident that they are about."""
        story = self._story
        found: dict[str, list[str]] = {}
        for text in story.slack_texts(word) if receiver == "slack" else story.mails(word):
            began = _BEGAN.search(text)
            found.setdefault(began[1] if began else "", []).append(text)
        return found

    def _silent(
        self, told: Mapping[Where, frozenset[str]], paged: int, *words: str
    ) -> Iterator[str]:
        """Yield who was not told one of `words` (by default all) of anything new."""
        for receiver, word in WHERE:
            known = told[receiver, word]
            if word in (words or WORDS) and not self._told_of(receiver, word).keys() - known:
                yield f"{receiver}: {word}"
        fresh = self._story.pagerduty.incidents[paged:]
        if not fresh:
            yield "pagerduty: FIRING"
        elif "RESOLVED" in (words or WORDS) and fresh[0].resolved_at is None:
            yield "pagerduty: RESOLVED"


async def suffer(home: Path, seed: int, outages: int) -> Seen:
    """Play so many outages in `home` with moments from `seed`; return what was seen."""
    chance = random.Random(seed)  # noqa: S311 - the moments must be repeatable
    async with cast(home, hang_s=HANG_S) as story:
        # One alert, and nothing else that could open an incident: no objectives, no rollback.
        del story.config["deployments"][0]["rollback"], story.config["sla"]
        del story.config["environments"]["Production"]["sla"]
        # A busy machine must not look like an outage.
        story.config["defaults"] = {"interval": f"{INTERVAL_S}s", "timeout": f"{INTERVAL_S}s"}
        story.write()
        await story.daemon.start()
        await story.daemon.wait_for(
            "/metrics?query=samples_1m", lambda answer: (answer.json()["value"] or 0) >= 1
        )
        play = Outages(story, chance)
        for _ in range(outages):
            await play.one()
        seen = play.seen
        answer = await story.daemon.wait_for(
            "/api/v1/incidents", lambda answer: answer.status_code == 200
        )
        ours = answer.json()["incidents"]
        seen.second += [f"we have {len(ours)} incidents"] * (len(ours) != outages)
        seen.unclosed += [f"ours: {each['id']}" for each in ours if not each["resolved_at"]]
        seen.second += [f"live markup: {text}" for text in story.slack.mentions]
        if await story.daemon.stop() != 0:
            seen.unclosed.append("the daemon did not end well")
        # What was still under way then has been delivered now.
        play.look()
        return seen
