"""Rollbacks, in virtual time, with a hook that counts what it really did."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.metrics import Telemetry
from monitor.model import Incident, RollbackRecord, RollbackRequest, RollbackState, Severity
from monitor.recovery import (
    NEVER_RAN_KEPT,
    RECHECK_S,
    RESULT_DEADLINE_S,
    Lever,
    Recovery,
)
from monitor.rollback.base import HookAnswer
from monitor.rollback.guard import Evidence, Reason, RollbackPolicy
from monitor.scenario.loop import VirtualClock
from monitor.store.base import Batch
from tests.support.memory import MemoryStore
from tests.support.virtual import run

START = 1_000_000.0
BLOCKED, DRY_RUN, INTENDED = RollbackState.BLOCKED, RollbackState.DRY_RUN, RollbackState.INTENDED
UNCERTAIN, ACCEPTED = RollbackState.UNCERTAIN, RollbackState.ACCEPTED
SUCCEEDED, FAILED = RollbackState.SUCCEEDED, RollbackState.FAILED
SOUND = Evidence(
    revision="B", previous_revision="A", status=None, revision_at_transition="B",
    revision_since=START - 600, revision_seen_at=START + 1, before_seen_at=None, announced=False,
    wanted=True, started_at=START, fired_at=START, blames_samples=True, bad_samples=20,
    valid_samples=20, unknown_samples=0, coverage=1.0, no_data=False, blind=False, durable=True,
    firing=True, needs_target=True,
)  # fmt: skip
POLICY = RollbackPolicy(cooldown_s=1800.0, min_samples=5, dry_run=False)


def incident(number: int = 1, deployment: str = "web", **changes: Any) -> Incident:
    base = Incident(
        id=f"i{number}", key=f"k{number}", rule=f"r{number}", deployment=deployment, service="s",
        environment="e", severity=Severity.CRITICAL, channels=(), condition="true", summary="",
        started_at=START, opened_at=START + number, rollback=True,
    )  # fmt: skip
    return replace(base, **changes)


class ScriptedHook:
    """Executes every call that reaches it; what it answers to each call and query is scripted.

    A call's script is (executes it, answer); None lets the answer follow from the truth.
    """

    def __init__(
        self, *calls: tuple[bool, HookAnswer | None], works_s: float = 10.0, fails: bool = False,
        takes_s: float = 1.0,
    ) -> None:  # fmt: skip
        self.called: list[tuple[float, str]] = []
        self.queried: list[str] = []
        self.executed: dict[str, float] = {}
        """Request -> when it was first begun."""
        self.executions = 0
        """How often anything was really begun: it drops no repetition by itself."""
        self.answers: list[HookAnswer | Exception] = []
        """What the next queries say instead of the truth."""
        self._calls, self._works_s, self._fails = list(calls), works_s, fails
        self._takes_s = takes_s

    async def call(self, request: RollbackRequest, deadline_s: float, now: float) -> HookAnswer:
        executes, answer = self._calls.pop(0) if self._calls else (True, None)
        self.called.append((now, request.id))
        if executes:
            self.executions += 1
            self.executed.setdefault(request.id, now)
        await asyncio.sleep(self._takes_s)
        return answer or HookAnswer(state=ACCEPTED, remote_id="7")

    async def query(
        self, request: RollbackRequest, remote_id: str | None, deadline_s: float, now: float
    ) -> HookAnswer:
        self.queried.append(request.id)
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        at = self.executed.get(request.id)
        if at is None:
            return HookAnswer(state=INTENDED, detail="never seen")
        if now < at + self._works_s:
            return HookAnswer(state=ACCEPTED, detail="working")
        return HookAnswer(state=FAILED if self._fails else SUCCEEDED)


class Bench:
    """Recovery with its workers running, and evidence that a test may change."""

    def __init__(
        self, store: MemoryStore | None = None, policy: RollbackPolicy = POLICY,
        **hooks: ScriptedHook,
    ) -> None:  # fmt: skip
        self.store = store or MemoryStore()
        self.evidence = SOUND
        self.reports: list[RollbackRecord] = []
        self.clock = VirtualClock(asyncio.get_running_loop(), START)
        self.levers = {
            name: Lever(policy=policy, hook=hook, call_timeout_s=15.0)
            for name, hook in hooks.items()
        }
        self.recovery = Recovery(
            self.clock, self.store, self.levers, Telemetry(),
            gather=self._gather, report=self.reports.append,
        )  # fmt: skip
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        for name in self.levers:
            self._tasks.append(asyncio.create_task(self.recovery.work(name)))

    async def stop(self) -> None:
        """End the workers as a crash does."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def pass_by(self, seconds: float) -> None:
        """Let time pass with the workers running; an exception in one of them is the test's."""
        await asyncio.sleep(seconds)
        for task in self._tasks:
            if task.done():
                task.result()

    @property
    def states(self) -> list[RollbackState]:
        return [record.state for record in self.reports]

    def _gather(self, about: Incident, history: Sequence[RollbackRecord]) -> Evidence:
        return replace(self.evidence, firing=about.is_open, history=tuple(history))


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run(story())


def answer(state: RollbackState, **changes: Any) -> HookAnswer:
    return HookAnswer(state=state, **changes)


@pytest.mark.parametrize(
    ("hook", "states", "executions"),
    [
        (ScriptedHook(), [INTENDED, ACCEPTED, SUCCEEDED], 1),
        (ScriptedHook(fails=True), [INTENDED, ACCEPTED, FAILED], 1),
        (ScriptedHook((True, answer(SUCCEEDED))), [INTENDED, SUCCEEDED], 1),
        (ScriptedHook((False, answer(FAILED))), [INTENDED, FAILED], 0),
        # No answer, but it was received: asked, and not called again.
        (ScriptedHook((True, answer(UNCERTAIN))), [INTENDED, UNCERTAIN, ACCEPTED, SUCCEEDED], 1),
        # No answer, and it was not received: asked, and only then called again.
        (
            ScriptedHook((False, answer(UNCERTAIN))),
            [INTENDED, UNCERTAIN, INTENDED, ACCEPTED, SUCCEEDED],
            1,
        ),
        # Certainly not received: called again without asking.
        (ScriptedHook((False, answer(INTENDED))), [INTENDED, ACCEPTED, SUCCEEDED], 1),
        (ScriptedHook(takes_s=60.0), [INTENDED, UNCERTAIN, SUCCEEDED], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_every_path_ends(hook: ScriptedHook, states: list[RollbackState], executions: int) -> None:
    """Each story of a call comes to its end, with at most one execution, under one id."""

    async def story() -> None:
        bench = Bench(web=hook)
        bench.start()
        bench.recovery.notice([incident()])
        await bench.pass_by(300)
        await bench.stop()
        assert bench.states == states
        assert hook.executions == executions
        assert len({name for _, name in hook.called}) == 1
        stored = [record for batch in bench.store.batches for record in batch.rollbacks]
        assert stored[-1].state is states[-1]

    play(story)


def test_the_intent_is_committed_before_the_call() -> None:
    """At the moment of the call the store knows of it."""

    async def story() -> None:
        seen: list[RollbackState] = []

        class Looking(ScriptedHook):
            async def call(
                self, request: RollbackRequest, deadline_s: float, now: float
            ) -> HookAnswer:
                seen.extend(row.state for batch in bench.store.batches for row in batch.rollbacks)
                return await super().call(request, deadline_s, now)

        bench = Bench(web=Looking())
        bench.start()
        bench.recovery.notice([incident()])
        await bench.pass_by(60)
        await bench.stop()
        assert seen == [INTENDED]

    play(story)


def test_a_store_that_refuses_keeps_every_call_back() -> None:
    """Fail closed: what cannot be noted down is not done, and is done when it can be."""

    async def story() -> None:
        hook = ScriptedHook()
        bench = Bench(web=hook)
        bench.store.full = True
        bench.start()
        bench.recovery.notice([incident()])
        await bench.pass_by(600)
        assert not hook.called
        assert not bench.reports
        bench.store.full = False
        await bench.pass_by(60)
        await bench.stop()
        assert bench.states == [INTENDED, ACCEPTED, SUCCEEDED]
        assert hook.executions == 1

    play(story)


def test_a_repetition_is_not_called_either_while_the_store_refuses() -> None:
    """The second call of an id needs its note as much as the first."""

    async def story() -> None:
        hook = ScriptedHook((False, answer(INTENDED)))
        bench = Bench(web=hook)
        bench.start()
        bench.recovery.notice([incident()])
        await bench.pass_by(2)
        bench.store.full = True
        await bench.pass_by(120)
        assert len(hook.called) == 1
        bench.store.full = False
        await bench.pass_by(60)
        await bench.stop()
        assert hook.executions == 1

    play(story)


@pytest.mark.parametrize("over", [True, False])
def test_a_call_that_was_never_seen_is_repeated_only_while_it_is_wanted(
    over: bool,  # noqa: FBT001 - a table
) -> None:
    """The incident is over, or another release is live: then nothing is called again."""

    async def story() -> None:
        hook = ScriptedHook((False, answer(UNCERTAIN)))
        bench = Bench(web=hook)
        bench.start()
        bench.recovery.notice([incident()])
        await bench.pass_by(2)
        if over:
            bench.recovery.notice([incident(resolved_at=START + 2)])
        else:
            bench.evidence = replace(SOUND, revision="C")
        await bench.pass_by(60)
        await bench.stop()
        assert len(hook.called) == 1
        assert bench.states[:4] == [INTENDED, UNCERTAIN, INTENDED, BLOCKED]
        reason = "the incident is over" if over else Reason.REVISION_CHANGED
        assert bench.reports[3].detail == reason
        assert bench.reports[3].attempts == 1

    play(story)


def test_a_call_found_after_a_restart_is_asked_about_first() -> None:
    """An intent without an answer may have been received."""

    async def story() -> None:
        hook = ScriptedHook()
        bench = Bench(web=hook)
        [found] = await _intent()
        hook.executed[found.request.id] = START
        bench.recovery.restore([found], [incident()])
        bench.start()
        await bench.pass_by(60)
        await bench.stop()
        assert not hook.called
        assert hook.queried
        assert bench.states[-1] is SUCCEEDED

    play(story)


async def _intent() -> list[RollbackRecord]:
    """Return what the store holds when a process dies during the call."""
    bench = Bench(web=ScriptedHook(takes_s=14.0))
    bench.start()
    bench.recovery.notice([incident()])
    await asyncio.sleep(1)
    await bench.stop()
    return [record for batch in bench.store.batches for record in batch.rollbacks]


class Dying(MemoryStore):
    """A store whose process dies at one commit: before it, or right after it."""

    def __init__(self, at: int, *, saved: bool, die: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self._at, self._saved, self._die = at, saved, die

    async def commit(self, batch: Batch) -> None:
        dies = len(self.batches) == self._at
        if not dies or self._saved:
            await super().commit(batch)
        if dies:
            await self._die()


@given(
    at=st.integers(0, 5),
    saved=st.booleans(),
    calls=st.lists(
        st.sampled_from(
            [
                (True, None),
                (True, answer(UNCERTAIN)),
                (False, answer(UNCERTAIN)),
                (False, answer(INTENDED)),
            ]
        ),
        max_size=3,
    ),
    during_call=st.booleans(),
    ends=st.booleans(),
)  # fmt: skip
def test_a_crash_at_any_moment_makes_no_second_execution(
    at: int,
    saved: bool,  # noqa: FBT001 - drawn
    calls: list[tuple[bool, HookAnswer | None]],
    during_call: bool,  # noqa: FBT001 - drawn
    ends: bool,  # noqa: FBT001 - drawn
) -> None:
    """Wherever it dies and whatever was received: executed once, or not at all if it is over."""

    async def story() -> None:
        hook = ScriptedHook(*calls, takes_s=3.0)
        gone = asyncio.Event()

        async def die() -> None:
            gone.set()
            await asyncio.Event().wait()

        store = Dying(99 if during_call else at, saved=saved, die=die)
        bench = Bench(store, web=hook)
        bench.start()
        bench.recovery.notice([incident()])
        await bench.pass_by(at * 2.0 if during_call else 100.0)
        await bench.stop()
        left = {row.request.id: row for batch in store.batches for row in batch.rollbacks}
        again = Bench(web=hook)
        still = incident(resolved_at=START + 50) if ends else incident()
        again.recovery.restore(list(left.values()), [still])
        again.start()
        await again.pass_by(300)
        await again.stop()
        assert hook.executions <= 1
        if not ends:
            assert hook.executions == 1
            assert [row.state for row in again.recovery.records()] == [SUCCEEDED]

    play(story)


def test_a_block_is_told_once_for_each_reason_and_decided_anew() -> None:
    """Evidence that comes and goes is not told each time, and when it suffices, it is called."""

    async def story() -> None:
        hook = ScriptedHook()
        bench = Bench(web=hook)
        bench.start()
        bench.recovery.notice([incident()])
        flaws: list[dict[str, Any]] = [{"valid_samples": 0}, {"coverage": 0.1}]
        bench.evidence = replace(SOUND, **flaws[0])
        for flaw in itertools.islice(itertools.cycle(flaws), 20):
            bench.evidence = replace(SOUND, **flaw)
            await bench.pass_by(2 * RECHECK_S)
        assert [(row.state, row.detail) for row in bench.reports] == [
            (BLOCKED, Reason.FEW_SAMPLES),
            (BLOCKED, Reason.LOW_COVERAGE),
        ]
        assert not hook.called
        bench.evidence = SOUND
        await bench.pass_by(60)
        await bench.stop()
        assert bench.states[2:] == [INTENDED, ACCEPTED, SUCCEEDED]

    play(story)


def test_a_dry_run_is_told_once_and_calls_nothing() -> None:
    """Everything but the call."""

    async def story() -> None:
        hook = ScriptedHook()
        bench = Bench(policy=replace(POLICY, dry_run=True), web=hook)
        bench.start()
        bench.recovery.notice([incident()])
        await bench.pass_by(600)
        await bench.stop()
        assert bench.states == [DRY_RUN]
        assert not hook.called

    play(story)


def test_the_wait_that_a_hook_asks_for_is_honoured() -> None:
    """A hook that says "later" is called then, not sooner and not never."""

    async def story() -> None:
        hook = ScriptedHook((False, answer(INTENDED, retry_after_s=120.0)))
        bench = Bench(web=hook)
        bench.start()
        bench.recovery.notice([incident()])
        await bench.pass_by(300)
        await bench.stop()
        first, second = (at for at, _ in hook.called)
        assert 120.0 <= second - first <= 120.0 + 2 * RECHECK_S
        assert bench.states[-1] is SUCCEEDED

    play(story)


def test_a_hook_that_gets_nowhere_has_failed() -> None:
    """After a quarter of an hour without a result a person must look."""

    async def story() -> None:
        hook = ScriptedHook(works_s=1e9)
        bench = Bench(web=hook)
        bench.start()
        bench.recovery.notice([incident()])
        await bench.pass_by(RESULT_DEADLINE_S - 30)
        assert bench.states == [INTENDED, ACCEPTED]
        await bench.pass_by(60)
        await bench.stop()
        assert bench.states == [INTENDED, ACCEPTED, FAILED]
        assert "15 minutes" in bench.reports[-1].detail

    play(story)


def test_a_late_call_has_its_full_time() -> None:
    """The quarter of an hour counts from the call that was received, not from the first one."""

    async def story() -> None:
        hook = ScriptedHook((False, answer(INTENDED, retry_after_s=RESULT_DEADLINE_S + 60)))
        bench = Bench(web=hook)
        bench.start()
        bench.recovery.notice([incident()])
        await bench.pass_by(RESULT_DEADLINE_S + 300)
        await bench.stop()
        assert bench.states[-1] is SUCCEEDED

    play(story)


def test_a_hook_that_raises_is_asked_again() -> None:
    """An exception out of a query changes nothing; the next one is believed."""

    async def story() -> None:
        hook = ScriptedHook()
        hook.answers = [RuntimeError("bug"), answer(UNCERTAIN)]
        bench = Bench(web=hook)
        bench.start()
        bench.recovery.notice([incident()])
        await bench.pass_by(60)
        await bench.stop()
        assert bench.states == [INTENDED, ACCEPTED, UNCERTAIN, SUCCEEDED]
        assert hook.executions == 1

    play(story)


def test_deployments_do_not_delay_each_other() -> None:
    """While the hook of one hangs, the other is rolled back."""

    async def story() -> None:
        slow, quick = ScriptedHook(takes_s=1e9), ScriptedHook()
        bench = Bench(slow=slow, quick=quick)
        bench.start()
        bench.recovery.notice([incident(1, "slow"), incident(2, "quick")])
        await bench.pass_by(15)
        await bench.stop()
        assert len(slow.called) == 1
        assert [row.state for row in bench.reports if row.request.deployment == "quick"] == [
            INTENDED, ACCEPTED, SUCCEEDED,
        ]  # fmt: skip

    play(story)


def test_one_release_that_breaks_two_rules_is_rolled_back_once() -> None:
    """The second incident of a deployment waits, and then finds the revision dealt with."""

    async def story() -> None:
        hook = ScriptedHook()
        bench = Bench(web=hook)
        bench.start()
        bench.recovery.notice([incident(1), incident(2)])
        await bench.pass_by(3600)
        await bench.stop()
        assert hook.executions == 1
        assert bench.reports[-1].detail == Reason.ONCE_PER_REVISION

    play(story)


def test_an_incident_that_ends_while_another_is_thought_about_is_left_alone() -> None:
    """Of two incidents the second may be over by the time that it is looked at."""

    async def story() -> None:
        hook = ScriptedHook()
        bench = Bench(web=hook)
        first, second = incident(1), incident(2)

        class Slow(MemoryStore):
            async def commit(self, batch: Batch) -> None:
                bench.recovery.notice([replace(second, resolved_at=START + 1)])
                bench.evidence = SOUND
                await super().commit(batch)

        bench = Bench(Slow(), web=hook)
        bench.evidence = replace(SOUND, valid_samples=0)
        bench.recovery.notice([first, second])
        bench.start()
        await bench.pass_by(1)
        await bench.stop()
        assert {row.request.incident for row in bench.reports} == {"i1"}

    play(story)


def test_a_removed_deployment_is_let_go_and_taken_up_again() -> None:
    """A reload that takes the hook away stops asking; one that brings it back goes on."""

    async def story() -> None:
        hook = ScriptedHook()
        bench = Bench(web=hook)
        bench.start()
        bench.recovery.notice([incident()])
        await bench.pass_by(2)
        bench.recovery.reconfigure({})
        asked = len(hook.queried)
        await bench.pass_by(120)
        assert len(hook.queried) == asked
        bench.recovery.reconfigure(bench.levers)
        await bench.pass_by(30)
        await bench.stop()
        assert bench.states == [INTENDED, ACCEPTED, SUCCEEDED]

    play(story)


def test_an_incident_that_asks_for_no_rollback_gets_none() -> None:
    """Only rules that say so roll back."""

    async def story() -> None:
        hook = ScriptedHook()
        bench = Bench(web=hook)
        bench.start()
        bench.recovery.notice([incident(rollback=False)])
        await bench.pass_by(600)
        await bench.stop()
        assert not hook.called
        assert not bench.reports

    play(story)


def test_what_came_to_nothing_is_kept_for_a_while_only() -> None:
    """Memory holds the latest blocked requests, and all that were called."""

    async def story() -> None:
        bench = Bench(web=ScriptedHook())
        bench.start()
        bench.recovery.notice([incident()])
        await bench.pass_by(60)
        bench.evidence = replace(SOUND, valid_samples=0)
        for number in range(2, NEVER_RAN_KEPT + 50):
            bench.recovery.notice([incident(number)])
            await bench.pass_by(1)
            bench.recovery.notice([incident(number, resolved_at=START)])
        await bench.stop()
        states = [record.state for record in bench.recovery.records()]
        assert states.count(BLOCKED) == NEVER_RAN_KEPT
        assert states.count(SUCCEEDED) == 1

    play(story)
