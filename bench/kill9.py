"""Fifty times `kill -9` during open incidents: nothing lost, nothing opened twice, all closed.

    make bench BENCH=kill9

The real `monitor run` with its store on disk against strict fakes on loopback: a Slack webhook and
a mail server, which know no key, and PagerDuty, which merges by key. Six daemons, three at a time,
with three outages each (a fourth would be flapping, whose end is held back) and three kills in
each at random moments: soon after the break, soon after the restart, soon after the repair.
A repetition that Slack or mail sees must say that it may be one, and there is at most one a kill.

`make bench BENCH=kill9` prints its seed; `python -m bench.kill9 SEED` uses that one.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.support.figures import Figure, conclude
from tests.e2e.killing import KILLS_AN_OUTAGE, Seen, suffer

SEED = 20261127
KILLS = 50
OUTAGES = 3
STORIES = -(-KILLS // (KILLS_AN_OUTAGE * OUTAGES))
AT_A_TIME = 3


async def suffer_all(home: Path, seed: int) -> Seen:
    """Play every story in `home` with moments from `seed`; return what was seen in all of them."""
    turn, whole = asyncio.Semaphore(AT_A_TIME), Seen()

    async def one(number: int) -> None:
        async with turn:
            place = home / str(number)
            place.mkdir()
            whole.add(await suffer(place, seed + number, OUTAGES))

    await asyncio.gather(*map(one, range(STORIES)))
    return whole


def main(arguments: Sequence[str] = ()) -> int:
    """Play all outages and print the figures; the first argument is a seed."""
    seed = int(arguments[0]) if arguments else SEED
    print(f"# seed {seed}", flush=True)
    # The mail server of the story warns of its own library at every login.
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    began = time.monotonic()
    with TemporaryDirectory(prefix="kill9-") as home:
        seen = asyncio.run(suffer_all(Path(home), seed))
    for complaint in seen.complaints:
        print(f"# {complaint}")
    return conclude(
        [
            Figure(name="kills", value=seen.kills, unit="times", at_least=KILLS),
            Figure(
                name="kills_during_sends",
                value=seen.during_sends,
                unit="times",
                note="Slack had the message and had not answered",
            ),
            Figure(name="outages", value=seen.outages, unit="incidents"),
            Figure(name="lost", value=len(seen.lost), unit="messages", at_most=0),
            Figure(name="second", value=len(seen.second), unit="incidents", at_most=0),
            Figure(name="unclosed", value=len(seen.unclosed), unit="incidents", at_most=0),
            Figure(
                name="marked_repetitions",
                value=seen.repetitions,
                unit="messages",
                note="at Slack and in mail; each says that it may be one",
            ),
            Figure(
                name="merged",
                value=seen.merged,
                unit="events",
                note="at PagerDuty, by their key",
            ),
            Figure(name="took", value=time.monotonic() - began, unit="s"),
        ]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
