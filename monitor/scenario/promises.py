"""What every receiver may rely on in every story, whatever its checks say.

Compares what a receiver took in with the promises of the product. Knows no story.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from monitor.model import SendReason
from monitor.scenario.heard import Heard
from monitor.scenario.receivers import Receivers

_NAMES = {SendReason.FIRST: "opened", SendReason.RESOLVED: "resolved"}


def broken_promises(receivers: Receivers) -> Iterator[str]:
    """Yield each promise that was broken, in words."""
    for channel in receivers.channels:
        for complaint in _of_channel(receivers.heard(channel)):
            yield f"{channel}: {complaint}"
    for deployment in receivers.hooks:
        for revision, count in Counter(receivers.rolled_back(deployment)).items():
            if count > 1:
                yield f"{deployment}: {revision} was rolled back {count} times"


def _of_channel(heard: Sequence[Heard]) -> Iterator[str]:
    said: Counter[tuple[str, str, SendReason]] = Counter()
    for each in heard:
        episode = f"{each.subject} since {each.since}"
        if each.reason is not SendReason.RESOLVED and said[*_key(each), SendReason.RESOLVED]:
            yield f"{episode} was called open after its end"
        if not each.marked and each.reason in _NAMES and said[*_key(each), each.reason]:
            yield f"{episode} was {_NAMES[each.reason]} twice without a mark"
        said[*_key(each), each.reason] += 1


def _key(heard: Heard) -> tuple[str, str]:
    return heard.subject, heard.since
