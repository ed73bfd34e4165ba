"""The SLO engine: samples and releases in, alert transitions and figures out.

Owns all SLO and alert state of a process and steps it deterministically: the same inputs at the
same times give the same answers, whatever happened in between to the process. No I/O, no clock.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

from monitor.model import (
    AlertState,
    AlertStatus,
    BucketRow,
    Correction,
    Release,
    Sample,
    Target,
    Transition,
    WindowRow,
)
from monitor.slo import heads
from monitor.slo.alerting import (
    AlertRule,
    advance,
    durable_part,
    inactive,
    instance_name,
    restore_status,
)
from monitor.slo.budget import Budget
from monitor.slo.burning import BurnCondition, tier_rules
from monitor.slo.condition import Condition
from monitor.slo.levels import NARROW_S
from monitor.slo.record import SloRecord, owner_of
from monitor.slo.releases import ReleaseTracker, Sighting
from monitor.slo.sight import PROBER, PROBER_BLIND, Blindness, Sight, doubted
from monitor.slo.signal import Signal
from monitor.slo.spec import DeploymentSpec, Step
from monitor.slo.tally import WindowStats, stats_of
from monitor.slo.targets import TargetState, agreed_revision, available_regions, latencies
from monitor.slo.transitions import config_removed, sight_changed, transitions_between
from monitor.slo.values import Situation
from monitor.slo.verdict import Verdict, verdicts_of
from monitor.slo.watches import BurnWatch, Look, Values, Watch

__all__ = ["Budget", "DeploymentSpec", "Engine", "Step", "Verdict", "WindowStats"]

_Key = tuple[str, str]
T = TypeVar("T")
Work = Generator[None, None, T]
"""Something long in small pieces; what it returns is the result."""

Flushed = tuple[tuple[WindowRow, ...], tuple[tuple[str, float], ...]]
"""Rows of windows; (target, when it was first watched)."""

RETIRED = 500
"""Targets and objectives that are remembered though they are not configured any more."""
SLICE = 20
"""Samples in one piece of work."""


def finish(work: Work[T]) -> T:
    """Do all of `work` at once and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result


class Engine:
    """All SLO and alert state. One task owns it; every call is synchronous."""

    def __init__(
        self,
        specs: Sequence[DeploymentSpec],
        rules: Sequence[AlertRule],
        now: float,
        witnesses: Sequence[Target] = (),
    ) -> None:
        """Start empty at `now`, UTC seconds; samples of `witnesses` only tell whether we see."""
        self.strays = 0
        """Samples and stored rows that could not be used (an unknown target, a damaged row)."""
        self._now = now
        self._targets: dict[str, TargetState] = {}
        self._retired: dict[str, TargetState] = {}
        """Targets that are not configured any more, the latest last."""
        self._retired_records: dict[str, SloRecord] = {}
        """The same of objectives, by owner."""
        self._records: dict[str, tuple[SloRecord, ...]] = {}
        self._heads = heads.Heads()
        self._releases: dict[str, ReleaseTracker] = {}
        self._watches: dict[str, list[Watch | BurnWatch]] = {}
        self._born: set[str] = set()
        self._orphans: list[AlertStatus] = []
        self._moved: set[_Key] = set()
        """Alerts of which a restart moved the timers, which is not stored yet."""
        self._moment: tuple[float, bool, bool] | None = None
        """When everything was evaluated last, and how well we saw then."""
        self._touched: set[str] = set()
        """Deployments of which something new is known since they were evaluated."""
        self._resting: set[str] = set()
        """Those of which no alert is under way, and no rule asks what time it is."""
        self._sight = Sight()
        self._dubious: list[Sample] = []
        """Filed already, and to be taken back when it turns out that we were blind."""
        self._configure(specs, rules, witnesses)

    def restore(
        self,
        *,
        alerts: Iterable[AlertStatus],
        releases: Iterable[Release],
        windows: Iterable[WindowRow],
        buckets: Iterable[BucketRow] = (),
        born: Iterable[tuple[str, float]],
        seen_at: float | None,
        now: float,
    ) -> None:
        """Take over the state that an earlier process stored at `seen_at`.

        Releases come in order of time. What is not configured any more is dropped; alerts among
        it end in the next step.
        """
        now = self._tick(now)
        for target, at in born:
            if target in self._targets:
                self._targets[target].born = at
                self._born.discard(target)
        rows = self._by_owner(windows)
        earlier: dict[str, list[BucketRow]] = defaultdict(list)
        for bucket in buckets:
            earlier[bucket.target].append(bucket)
        for target, state in self._targets.items():
            self.strays += state.window.restore(rows[target], now)
            if target in earlier:
                self.strays += state.window.restore_buckets(earlier[target])
        for record in self._every_record():
            self.strays += record.restore(rows[record.owner], now)
        for release in releases:
            if release.deployment in self._releases:
                self._releases[release.deployment].replay([release])
        self._moment = None
        self._restore_alerts(alerts, now if seen_at is None else seen_at, now)

    def _by_owner(self, windows: Iterable[WindowRow]) -> dict[str, list[WindowRow]]:
        """Return stored rows by what they are of; a damaged one counts as a stray."""
        rows: dict[str, list[WindowRow]] = defaultdict(list)
        deployments = {heads.owner_of(name): name for name in self.specs}
        for row in windows:
            if row.part != heads.PART:
                rows[row.owner].append(row)
            elif row.owner in deployments:
                try:
                    for head in self._heads.spread(deployments[row.owner], row):
                        rows[head.owner].append(head)
                except ValueError:
                    self.strays += 1
        return rows

    @property
    def blindness(self) -> Blindness | None:
        """Why we cannot see, None when we can."""
        return self._sight.blindness

    def stands_still(self, now: float) -> bool:
        """Whether nothing is decided on what was measured: we cannot see, or only just again."""
        return self._sight.blindness is not None or now < self._sight.settles_until

    def step(
        self,
        now: float,
        samples: Sequence[Sample] = (),
        releases: Sequence[Release] = (),
        ailment: str | None = None,
    ) -> Step:
        """Take in what has arrived, move to `now` and evaluate every rule on every deployment.

        Time that goes back stands still instead. `ailment` is what is wrong with ourselves.
        """
        return finish(self.stepping(now, samples, releases, ailment))

    def stepping(
        self,
        now: float,
        samples: Sequence[Sample] = (),
        releases: Sequence[Release] = (),
        ailment: str | None = None,
    ) -> Work[Step]:
        """Do what `step` does, with a pause after each small piece of work.

        It must be gone through to its end, and nothing else may change the engine meanwhile.
        """
        now = self._tick(now)
        stored = list(self._accept(releases, now))
        transitions, alerts = yield from self._seeing(samples, now, ailment)
        for at in range(0, len(samples), SLICE):
            stored += self._file(samples[at : at + SLICE], now)
            yield
        forgotten = tuple(self._orphans)
        self._orphans = []
        transitions += [end for status in forgotten for end in config_removed(status, now)]
        for name in self._to_evaluate(now):
            for before, after, values in self._evaluate(name, now):
                alerts.append(after)
                transitions += transitions_between(before, after, now, values)
            yield
        return Step(
            transitions=tuple(transitions),
            alerts=tuple(alerts),
            forgotten=tuple((status.rule, status.deployment) for status in forgotten),
            releases=tuple(stored),
        )

    def reconfigure(
        self,
        specs: Sequence[DeploymentSpec],
        rules: Sequence[AlertRule],
        now: float,
        witnesses: Sequence[Target] = (),
    ) -> Step:
        """Use another configuration; what is in both keeps its state.

        Targets are the same by id, alerts by the names of rule and deployment. Alerts that are
        gone end here, for the reason `config_removed`.
        """
        now = self._tick(now)
        before = self._statuses()
        self._configure(specs, rules, witnesses)
        after = self._statuses()
        gone = [*self._orphans, *(before[key] for key in before if key not in after)]
        self._orphans = []
        return Step(
            transitions=tuple(end for status in gone for end in config_removed(status, now)),
            alerts=(),
            forgotten=tuple((status.rule, status.deployment) for status in gone),
            releases=(),
        )

    def flush(self) -> Flushed:
        """Return the rows that changed, and the (target, time) born, since the last flush."""
        return finish(self.flushing())

    def flushing(self) -> Work[Flushed]:
        """Do what `flush` does, with a pause after each target."""
        rows: list[WindowRow] = []
        for name in tuple(self.specs):
            fresh: list[WindowRow] = []
            for state in self._states.get(name, ()):
                state.window.advance(self._now)
                fresh += state.window.flush()
                yield
            for record in self._records.get(name, ()):
                record.step(self._now)
                fresh += record.flush()
            rows += self._heads.gather(name, fresh)
            yield
        born = tuple((target, self._targets[target].born) for target in sorted(self._born))
        self._born.clear()
        return tuple(rows), born

    def value(self, signal: Signal, deployment: str, now: float) -> float | str | None:
        """Return a signal's value in its unit, None without data. KeyError: no such deployment."""
        return self._situation(deployment, self._tick(now)).look(signal)

    def window(self, deployment: str, window_s: int, now: float) -> WindowStats:
        """Return all SLI targets of a deployment together. KeyError: no such deployment."""
        return self._stats(self._slis[deployment], window_s, now)

    def target_window(self, target: str, window_s: int, now: float) -> WindowStats:
        """Return the window of one target. KeyError: no such target."""
        return self._stats((self._targets[target],), window_s, now)

    def merged_window(self, targets: Sequence[str], window_s: int, now: float) -> WindowStats:
        """Return the window of several targets together. KeyError: no such target."""
        return self._stats([self._targets[target] for target in targets], window_s, now)

    def between(self, deployment: str, start: float, end: float, now: float) -> WindowStats:
        """Return the buckets of all SLI targets that begin in [start, end), UTC seconds.

        Nothing is said of how much should be known. KeyError: no such deployment.
        """
        now = self._tick(now)
        windows = [state.window for state in self._slis[deployment]]
        for window in windows:
            window.advance(now)
        sketches = (it for window in windows for it in window.latencies_between(start, end))
        return stats_of((each.counts_between(start, end) for each in windows), sketches, 0)

    def budget(self, deployment: str, now: float) -> Budget | None:
        """Return the rolling error budget of the first objective, None without one or data."""
        records = self.records(deployment, now)
        return next(iter(records[0].budgets(self._now)), None) if records else None

    def records(self, deployment: str, now: float) -> tuple[SloRecord, ...]:
        """Return the records of a deployment's objectives as of `now`; do not change them."""
        now = self._tick(now)
        records = self._records[deployment]
        for record in records:
            record.step(now)
        return records

    def rule(self, name: str, deployment: str) -> AlertRule | None:
        """Return the rule of an alert: a user's, or a tier's."""
        watches = self._watches.get(deployment, ())
        return next((watch.rule for watch in watches if watch.rule.name == name), None)

    def rank(self, name: str, deployment: str) -> int:
        """Return where a rule stands among those of its deployment; tiers come last."""
        return [watch.rule.name for watch in self._watches[deployment]].index(name)

    def values(self, name: str, deployment: str, now: float) -> Values:
        """Return what a message about an alert would show now. KeyError: no such alert."""
        now = self._tick(now)
        situation = self._situation(deployment, now)
        for watch in self._watches[deployment]:
            if watch.rule.name == name:
                return watch.values(_within(situation, watch.rule.region), now)
        raise KeyError(name)

    def correct(self, correction: Correction) -> None:
        """Leave out, in every budget that it is about, what was measured then; or undo that."""
        self._touched.add(correction.deployment)
        for record in self._records.get(correction.deployment, ()):
            if correction.slo in {"", record.objective.name}:
                record.correct(correction.start, correction.end, undo=correction.is_undone)

    def verdicts(self, deployment: str, now: float) -> tuple[Verdict, ...]:
        """Return one verdict per clause of the deployment's SLA."""
        sla = self.specs[deployment].sla
        if sla is None:
            return ()
        stats = self.window(deployment, sla.period_s, now)
        return verdicts_of(sla, stats, available_regions(self._slis[deployment], self._now))

    def alerts(self) -> tuple[AlertStatus, ...]:
        """Return the status of every rule on every deployment."""
        return tuple(self._statuses().values())

    def release(self, deployment: str) -> Release | None:
        """Return the current release."""
        return self._releases[deployment].current

    def revisions(self, deployment: str) -> tuple[tuple[str, float], ...]:
        """Return the latest (revision, since when, UTC seconds), oldest first."""
        return tuple(self._releases[deployment].revisions)

    def sighting(self, deployment: str) -> Sighting:
        """Return when the deployment's revisions were seen."""
        return self._releases[deployment].sighting

    def previous_revision(self, deployment: str) -> str | None:
        """Return the revision to roll back to."""
        return self._releases[deployment].previous_revision

    def last_sample(self, target: str) -> Sample | None:
        """Return the latest sample of a target, None when there is none yet."""
        state = self._targets.get(target)
        return state.last if state else None

    def last_failure(self, target: str) -> Sample | None:
        """Return the latest bad sample of a target since the start, None when there is none."""
        state = self._targets.get(target)
        return state.bad if state else None

    def _configure(
        self,
        specs: Sequence[DeploymentSpec],
        rules: Sequence[AlertRule],
        witnesses: Sequence[Target],
    ) -> None:
        self.specs: Mapping[str, DeploymentSpec] = MappingProxyType(
            {spec.deployment.name: spec for spec in specs}
        )
        self.rules = tuple(rules)
        # A name that a reload drops and the next one brings back finds its history.
        kept, self._targets = {**self._retired, **self._targets}, {}
        for spec in specs:
            for target in spec.targets:
                self._targets[target.id] = self._adopt(kept.get(target.id), target, spec.periods)
        self._born &= self._targets.keys()
        gone = [(id_, state) for id_, state in kept.items() if id_ not in self._targets]
        self._retired = dict(gone[-RETIRED:])
        self._witnesses = frozenset(target.id for target in witnesses)
        self._sight.watch((*witnesses, *(state.target for state in self._targets.values())))
        self._states = {
            name: tuple(self._targets[target.id] for target in spec.targets)
            for name, spec in self.specs.items()
        }
        self._slis = {
            name: tuple(state for state in states if state.target.sli)
            for name, states in self._states.items()
        }
        self._releases = {
            name: self._releases.get(name) or ReleaseTracker(name) for name in self.specs
        }
        statuses = self._statuses()
        known = self._retired_records | {each.owner: each for each in self._every_record()}
        self._records = {name: self._records_of(spec, known) for name, spec in self.specs.items()}
        used = {each.owner for each in self._every_record()}
        dropped = [(owner, each) for owner, each in known.items() if owner not in used]
        self._retired_records = dict(dropped[-RETIRED:])
        self._heads.keep(
            {
                name: {target.id for target in spec.targets}
                | {record.owner for record in self._records[name]}
                for name, spec in self.specs.items()
            }
        )
        self._watches = {name: self._watches_of(name) for name in self.specs}
        self._moment = None
        for watches in self._watches.values():
            for watch in watches:
                watch.status = statuses.get(watch.key) or inactive(*watch.key, self._now)

    def _statuses(self) -> dict[_Key, AlertStatus]:
        return {w.key: w.status for watches in self._watches.values() for w in watches}

    def _records_of(
        self, spec: DeploymentSpec, known: Mapping[str, SloRecord]
    ) -> tuple[SloRecord, ...]:
        name, states = spec.deployment.name, self._slis[spec.deployment.name]
        maintained = spec.is_maintained if spec.maintenance else None
        records = []
        for objective in spec.objectives:
            record = known.get(owner_of(name, objective))
            if record is None:
                record = SloRecord(name, objective, states, self._now, maintained)
            else:
                record.configure(objective, states, maintained)
            records.append(record)
        return tuple(records)

    def _every_record(self) -> Iterator[SloRecord]:
        return (record for records in self._records.values() for record in records)

    def _watches_of(self, deployment: str) -> list[Watch | BurnWatch]:
        """Return the watches of users' rules, then those of tiers that no such rule replaces."""
        regions = sorted({state.target.region for state in self._slis[deployment]})
        watches: list[Watch | BurnWatch] = [
            Watch(each, rule.condition, deployment)
            for rule in self.rules
            if isinstance(rule.condition, Condition)
            for each in (_by_region(rule, regions) if rule.by_region else (rule,))
        ]
        names = {rule.name for rule in self.rules}
        for record in self._records[deployment]:
            watches += [
                BurnWatch(rule, rule.condition, record)
                for rule in tier_rules(record.objective, deployment)
                if isinstance(rule.condition, BurnCondition) and rule.name not in names
            ]
        return watches

    def _restore_alerts(self, alerts: Iterable[AlertStatus], seen_at: float, now: float) -> None:
        watches = {watch.key: watch for name in self.specs for watch in self._watches[name]}
        for status in alerts:
            key = (status.rule, status.deployment)
            if key == (PROBER_BLIND, PROBER):
                if status.state is AlertState.FIRING:
                    self._sight.resume(now if status.active_at is None else status.active_at)
            elif key in watches:
                self._moved.add(key)
                watches[key].status = restore_status(
                    watches[key].rule,
                    status,
                    seen_at,
                    now,
                    grace_s=self._grace_s(status.deployment),
                )
            else:
                self._orphans.append(status)

    def _adopt(
        self, state: TargetState | None, target: Target, periods: frozenset[int]
    ) -> TargetState:
        if state is None:
            self._born.add(target.id)
            return TargetState(target, self._now, periods)
        state.target = target
        state.window.serve(periods)
        return state

    def _tick(self, now: float) -> float:
        # Each window follows when somebody asks it: all at once they would take long.
        self._now = max(self._now, now)
        return self._now

    def _accept(self, events: Sequence[Release], now: float) -> Iterator[Release]:
        for event in events:
            tracker = self._releases.get(event.deployment)
            stored = tracker.accept(event, now) if tracker else None
            self._touched.add(event.deployment)
            if stored is not None:
                yield stored

    def _seeing(
        self, samples: Sequence[Sample], now: float, ailment: str | None
    ) -> Work[tuple[list[Transition], list[AlertStatus]]]:
        """Judge whether we can see; return what that changes for our own alert."""
        sight = self._sight
        before = sight.blindness
        for number, sample in enumerate(samples, 1):
            sight.note(sample)
            if not number % (10 * SLICE):
                yield
        sight.judge(now, ailment)
        after = sight.blindness
        for sample in self._dubious:
            state = self._targets.get(sample.target)
            if state is not None and sight.doubts(sample):
                state.take_back(sample, doubted(sample))
                self._touched.add(state.target.deployment)
                for record in self._records[state.target.deployment]:
                    record.take_back(sample, now)
        self._dubious = [sample for sample in self._dubious if sight.is_dubious(sample)]
        if (before is None) is (after is None):
            return [], []
        status, transition = sight_changed(before, after, now)
        return [transition], [status]

    def _file(self, samples: Sequence[Sample], now: float) -> Iterator[Release]:
        speaking: dict[str, float] = {}
        sight = self._sight
        for sample in samples:
            state = self._targets.get(sample.target)
            if state is None or not math.isfinite(sample.at):
                self.strays += sample.target not in self._witnesses
                continue
            if sample.reason or state.target.inverted:
                if sight.doubts(sample):
                    sample = doubted(sample)  # noqa: PLW2901 - what is filed
                elif sight.is_dubious(sample):
                    self._dubious.append(sample)
            # Not further than it has to: what came before an edge is cheapest to file before it.
            state.window.advance(min(sample.at, now))
            state.file(sample, now)
            self._touched.add(state.target.deployment)
            for record in self._records[state.target.deployment]:
                record.take(sample, now)
            if sample.revision is not None:
                speaking[state.target.deployment] = sample.at
        for deployment, at in speaking.items():
            revision = agreed_revision(self._states[deployment], now)
            stored = self._releases[deployment].observe(revision, at, now) if revision else None
            if stored is not None:
                yield stored

    def _to_evaluate(self, now: float) -> list[str]:
        """Return the deployments of which an answer can be another one than last time.

        Where no sample came in, no bucket was closed and nothing is under way, it cannot, unless
        time itself is asked about.
        """
        moment = (now // NARROW_S, self.stands_still(now), self._sight.is_doubtful)
        before, self._moment = self._moment, moment
        touched, self._touched = self._touched, set()
        if moment != before:
            return list(self.specs)
        return [name for name in self.specs if name in touched or name not in self._resting]

    def _evaluate(
        self, deployment: str, now: float
    ) -> Iterator[tuple[AlertStatus, AlertStatus, Values]]:
        """Evaluate all rules; yield (before, after, inputs) of durable changes."""
        situation = self._situation(deployment, now)
        is_still, is_doubtful = self.stands_still(now), self._sight.is_doubtful
        for watch in self._watches[deployment]:
            if is_doubtful and watch.needs_sight:
                continue
            before = watch.status
            verdict = watch.judge(_within(situation, watch.rule.region), now)
            if is_still and watch.needs_sight:
                verdict = None
            if verdict is False and before.is_at_rest and watch.key not in self._moved:
                # Nearly always: nothing matched before, and nothing matches now.
                continue
            after = advance(watch.rule, before, verdict, now)
            watch.status = after
            if durable_part(before) != durable_part(after) or watch.key in self._moved:
                self._moved.discard(watch.key)
                look = _within(situation, watch.rule.region)
                yield before, after, MappingProxyType(watch.values(look, now))
        if all(watch.rests for watch in self._watches[deployment]):
            self._resting.add(deployment)
        else:
            self._resting.discard(deployment)

    def _situation(self, deployment: str, now: float) -> Situation:
        spec = self.specs[deployment]
        for state in self._states[deployment]:
            state.window.advance(now)
        records = self._records[deployment]
        for record in records:
            record.step(now)
        return Situation(
            deployment=spec.deployment,
            objective=spec.objective,
            record=records[0] if spec.objective else None,
            states=self._states[deployment],
            slis=self._slis[deployment],
            release=self._releases[deployment].current,
            now=now,
        )

    def _stats(self, states: Sequence[TargetState], window_s: int, now: float) -> WindowStats:
        now = self._tick(now)
        for state in states:
            state.window.advance(now)
        expected_ms = sum(state.expected_ms(window_s, now) for state in states)
        counts = [state.window.counts(window_s) for state in states]
        return stats_of(counts, latencies(states, window_s), expected_ms)

    def _grace_s(self, deployment: str) -> float:
        targets = self.specs[deployment].targets
        return 2 * max((target.interval_s for target in targets), default=0)


def _by_region(rule: AlertRule, regions: Sequence[str]) -> Iterator[AlertRule]:
    """Yield the rule of each region: its alert has the region in its name and among its labels."""
    for region in regions:
        yield replace(
            rule,
            name=instance_name(rule.name, region),
            labels=MappingProxyType({**rule.labels, "region": region}),
            region=region,
        )


def _within(situation: Situation, region: str) -> Look:
    return (situation.within(region) if region else situation).look
