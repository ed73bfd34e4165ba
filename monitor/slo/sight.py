"""Whether we can see at all: the difference between a target that is down and a blind prober.

A sample proves that we see when something answered, whatever it said. It is *dark* when nothing
came back from the network. We are blind when networks that answered until now fell silent
together: nothing at all has answered since the first dark sample, and every network that should
have been heard of by now is dark, two of them at least. What was silent before accuses nobody.

Owns this judgement and its memory. Pure; must not know windows, alerts or who is told.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from monitor.model import Outcome, Sample, Target

PROBER, PROBER_BLIND = "slo-monitor", "prober_blind"
"""The deployment and the rule that stand for ourselves."""
BLIND = "blind"
"""The reason of a sample that says nothing because we could not see."""
DARK = frozenset(
    {
        "resolver",
        "dns",
        "connect_timeout",
        "connect_unreachable",
        "timeout",
        "loss",
    }
)
"""Reasons that a broken network of our own would give as well; a connection that stands is none."""
_NOT_ASKED = "address_denied"
"""Nothing went out, so nothing is proven."""
PATIENCE_S = 60.0
"""A network that is probed more rarely is not waited for."""
HOLD_S = 10.0
"""While we may be blind, nobody is paged for this long."""
TOGETHER_S = 1.0
"""Samples that start so close to each other are of one moment."""
_FEWEST = 2


@dataclass(frozen=True, slots=True)
class Blindness:
    """We cannot see since `since` (UTC seconds); `why` is for people."""

    since: float
    why: str
    is_own: bool
    """Something of our own is wrong (an ailment), whatever the networks say."""


class Sight:
    """Takes every sample of a step, and then judges once."""

    __slots__ = (
        "_dark",
        "_last_spell",
        "_networks",
        "_proof_at",
        "_targets",
        "blindness",
        "is_doubtful",
        "settles_until",
    )

    def __init__(self) -> None:
        """Begin sighted."""
        self._targets: dict[str, Target] = {}
        self._networks: dict[str, float] = {}
        """For how long each is waited for, seconds."""
        self._dark: dict[str, float] = {}
        """The start of the first dark sample of each network since it answered last."""
        self._proof_at = -math.inf
        self._last_spell = (math.inf, -math.inf)
        self.blindness: Blindness | None = None
        self.is_doubtful = False
        """Whether we may be blind, and do not know yet."""
        self.settles_until = -math.inf
        """Until then not everything was looked at again, so nothing is decided yet."""

    def watch(self, targets: Iterable[Target]) -> None:
        """Learn from exactly these; what is on no network teaches nothing."""
        self._targets = {target.id: target for target in targets if target.network}
        self._networks = {}
        for target in self._targets.values():
            patience_s = min(PATIENCE_S, target.interval_s + target.timeout_s)
            known_s = self._networks.get(target.network, PATIENCE_S)
            self._networks[target.network] = min(known_s, patience_s)
        self._dark = {name: at for name, at in self._dark.items() if name in self._networks}

    def note(self, sample: Sample) -> None:
        """Learn from one sample."""
        target = self._targets.get(sample.target)
        if target is None:
            return
        if sample.reason in DARK:
            self._dark.setdefault(target.network, sample.at)
        elif _is_proof(sample, target):
            if self._dark:
                self._dark.pop(target.network, None)
            self._proof_at = max(self._proof_at, sample.at)

    def resume(self, since: float) -> None:
        """Go on as blind, as an earlier process was."""
        self.blindness = Blindness(since, "blind since before the restart", is_own=False)

    def judge(self, now: float, ailment: str | None) -> None:
        """Decide at `now`; `ailment` is what is wrong with this process or its machine."""
        self.is_doubtful = False
        blind = self.blindness
        if blind is not None:
            if ailment is None and (blind.is_own or self._has_seen_since(blind.since)):
                self._last_spell = (blind.since, now if blind.is_own else self._proof_at)
                self.blindness = None
                self.settles_until = now + max(self._networks.values(), default=0.0)
            return
        if ailment is not None:
            self.blindness = Blindness(now, ailment, is_own=True)
        elif self._dark and len(self._networks) >= _FEWEST:
            self._judge_darkness(now)

    def doubts(self, sample: Sample) -> bool:
        """Whether a sample says nothing, because we could not see when it was taken."""
        since, until = self._last_spell
        if self.blindness is not None and sample.at >= self.blindness.since:
            since, until = self.blindness.since, math.inf
        target = self._targets.get(sample.target)
        return target is not None and since <= sample.at < until and _is_doubtful(sample, target)

    def is_dubious(self, sample: Sample) -> bool:
        """Whether a later judgement may make this a sample that says nothing."""
        target = self._targets.get(sample.target)
        return target is not None and sample.at > self._proof_at and _is_doubtful(sample, target)

    def _judge_darkness(self, now: float) -> None:
        # Who fell silent before the last answer from elsewhere is down, and no evidence.
        before = self._proof_at - TOGETHER_S
        dark = [at for at in self._dark.values() if at > before]
        asked = len(self._networks) - len(self._dark) + len(dark)
        if not dark or asked < _FEWEST:
            return
        since = min(dark)
        waited_for = (s for name, s in self._networks.items() if name not in self._dark)
        is_waiting = any(now < since + patience_s for patience_s in waited_for)
        has_seen = self._proof_at >= since
        if is_waiting or len(dark) < _FEWEST or has_seen:
            self.is_doubtful = is_waiting and not has_seen and now - since <= HOLD_S
        else:
            why = f"nothing answers in any of {len(dark)} networks"
            self.blindness = Blindness(since, why, is_own=False)

    def _has_seen_since(self, since: float) -> bool:
        return self._proof_at > since or len(self._networks) < _FEWEST


def doubted(sample: Sample) -> Sample:
    """Return `sample` as one that says nothing."""
    detail = f"we were blind ({sample.reason or 'good'}: {sample.detail})"[:200]
    return replace(
        sample,
        outcome=Outcome.UNKNOWN,
        reason=BLIND,
        detail=detail,
        latency_s=None,
        censored=False,
    )


def proves_sight(sample: Sample) -> bool:
    """Whether something out there answered, whatever it said."""
    if sample.outcome is Outcome.GOOD:
        return True
    is_silent = sample.reason in DARK or sample.reason == _NOT_ASKED
    return sample.outcome is Outcome.BAD and not is_silent


def _is_doubtful(sample: Sample, target: Target) -> bool:
    """Whether a prober that cannot see would say the same, whatever the target does."""
    if sample.outcome is Outcome.BAD:
        return sample.reason in DARK
    # What must fail is as good as ever when the network is gone.
    return sample.outcome is Outcome.GOOD and target.inverted


def _is_proof(sample: Sample, target: Target) -> bool:
    return proves_sight(sample) and not _is_doubtful(sample, target)
