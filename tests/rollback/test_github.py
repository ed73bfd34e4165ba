"""The GitHub hook against a strict GitHub, on real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from monitor.fields import Secret
from monitor.model import Deployment, RollbackRequest, RollbackState
from monitor.rollback.base import Hook, HookIO
from monitor.rollback.github import TAKEN, GithubHookConfig
from monitor.scenario.github import FIRST_RUN, GitHubFake
from monitor.scenario.provider import Provider, Reply, Request
from tests.support.serve import serve

AT = 1_767_225_600.0
TOKEN = "github_pat_hidden"
REPOSITORY = "acme/shop"
NAMED = {"version": "{to_revision}", "request": "{id}"}
Maker = Callable[..., RollbackRequest]


class World:
    """A GitHub on loopback whose clock the test turns."""

    def __init__(self, deployment: Deployment, io: HookIO) -> None:
        self.now = AT
        self._deployment = deployment
        self._io = io

    @asynccontextmanager
    async def hook(self, provider: Provider, **changes: Any) -> AsyncIterator[Hook]:
        async with serve(provider, now=lambda: self.now) as url:
            yield config(api_url=url, **changes).build(self._deployment, self._io)


class Says:
    """Answers everything with one reply, and keeps what came."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.seen: list[Request] = []

    def handle(self, request: Request) -> Reply:
        self.seen.append(request)
        return self.reply


def config(**changes: Any) -> GithubHookConfig:
    usual = {"kind": "github", "repository": REPOSITORY, "token": Secret(TOKEN)}
    return GithubHookConfig(**(usual | changes))


def named_github() -> GitHubFake:
    """A repository whose workflow shows the request in its run-name."""
    return GitHubFake(REPOSITORY, TOKEN, inputs=NAMED, title_input="request")


@pytest.fixture
def world(deployment: Deployment, hook_io: HookIO) -> World:
    """Return the world at the time of the request."""
    return World(deployment, hook_io)


async def test_plan_workflow_is_dispatched(world: World, request_of: Maker) -> None:
    """The plan's `rollback.yml` on `main` is started with nothing else configured."""
    fake = GitHubFake(REPOSITORY, TOKEN)
    async with world.hook(fake) as hook:
        answer = await hook.call(request_of(to_revision=None), 5.0, AT)
    assert (answer.state, answer.remote_id) == (RollbackState.ACCEPTED, str(FIRST_RUN))
    assert [run.inputs for run in fake.runs] == [{}]


@pytest.mark.parametrize(
    ("conclusion", "state"),
    [
        ("success", RollbackState.SUCCEEDED),
        ("failure", RollbackState.FAILED),
        ("cancelled", RollbackState.FAILED),
        ("timed_out", RollbackState.FAILED),
        ("skipped", RollbackState.FAILED),
    ],
)
async def test_run_is_followed_to_its_end(
    world: World, request_of: Maker, conclusion: str, state: RollbackState
) -> None:
    """Queued and in progress are accepted; only the conclusion `success` is a success."""
    fake = named_github()
    fake.conclusion = conclusion
    states = []
    async with world.hook(fake, inputs=NAMED) as hook:
        called = await hook.call(request_of(), 5.0, AT)
        for later in (1, 10, 35):
            world.now = AT + later
            answer = await hook.query(request_of(), called.remote_id, 5.0, world.now)
            states.append(answer.state)
    assert states == [RollbackState.ACCEPTED, RollbackState.ACCEPTED, state]
    assert conclusion in answer.detail
    assert fake.runs[0].inputs == {"version": "1.4.2", "request": "rb-shop-1-5-0-cafe"}


@pytest.mark.parametrize("inputs", [NAMED, {}])
async def test_lost_answer_is_found_among_the_runs(
    world: World, request_of: Maker, inputs: dict[str, str]
) -> None:
    """The dispatch worked but its answer was lost: the run is found, and there is only one."""
    fake = named_github()
    fake.lose_next()
    async with world.hook(fake, inputs=inputs) as hook:
        called = await hook.call(request_of(), 5.0, AT)
        found = await hook.query(request_of(), called.remote_id, 5.0, AT + 5)
        world.now = AT + 100
        ended = await hook.query(request_of(), found.remote_id, 5.0, AT + 100)
    states = [called.state, found.state, ended.state]
    assert states == [RollbackState.UNCERTAIN, RollbackState.ACCEPTED, RollbackState.SUCCEEDED]
    assert found.remote_id == str(FIRST_RUN)
    assert len(fake.runs) == 1


async def test_dispatch_that_never_arrived_is_repeated_after_a_minute(
    world: World, request_of: Maker
) -> None:
    """Only when GitHub shows no run for 60 s after the call is another call safe."""
    fake = named_github()
    fake.dead = True
    async with world.hook(fake, inputs=NAMED) as hook:
        called = await hook.call(request_of(), 5.0, AT)
        unreachable = await hook.query(request_of(), None, 5.0, AT + 61)
        fake.dead = False
        early = await hook.query(request_of(), None, 5.0, AT + 59.9)
        late = await hook.query(request_of(), None, 5.0, AT + 60)
        again = await hook.call(request_of(), 5.0, AT + 60)
    before = [called.state, unreachable.state, early.state]
    assert before == [RollbackState.UNCERTAIN] * 3
    assert [late.state, again.state] == [RollbackState.INTENDED, RollbackState.ACCEPTED]
    assert len(fake.runs) == 1


async def test_the_minute_counts_from_the_last_call(world: World, request_of: Maker) -> None:
    """A repetition of an old request gets its own minute, or it could be called a third time."""
    fake = named_github()
    async with world.hook(fake, inputs=NAMED) as hook:
        fake.dead = True
        await hook.call(request_of(), 5.0, AT)
        await hook.call(request_of(), 5.0, AT + 600)
        fake.dead = False
        early = await hook.query(request_of(), None, 5.0, AT + 659)
        late = await hook.query(request_of(), None, 5.0, AT + 660)
    assert [early.state, late.state] == [RollbackState.UNCERTAIN, RollbackState.INTENDED]


async def test_the_minute_starts_again_after_a_restart(world: World, request_of: Maker) -> None:
    """A new process cannot know when the last call went out, so it waits a whole minute."""
    async with world.hook(named_github(), inputs=NAMED) as hook:
        early = await hook.query(request_of(), None, 5.0, AT + 3600)
        late = await hook.query(request_of(), None, 5.0, AT + 3660)
    assert [early.state, late.state] == [RollbackState.UNCERTAIN, RollbackState.INTENDED]


async def test_runs_that_show_no_id_forbid_a_repetition(world: World, request_of: Maker) -> None:
    """A workflow without the id in its run-name may have run for us: that is for a person."""
    fake = GitHubFake(REPOSITORY, TOKEN, inputs=NAMED)
    fake.lose_next()
    async with world.hook(fake, inputs=NAMED) as hook:
        await hook.call(request_of(), 5.0, AT)
        answer = await hook.query(request_of(), None, 5.0, AT + 600)
    assert answer.state is RollbackState.UNCERTAIN
    assert "run-name" in answer.detail


async def test_other_runs_are_not_ours(world: World, request_of: Maker) -> None:
    """A run before the request, on another branch or for another request is not taken as ours."""
    fake = named_github()
    async with world.hook(fake, inputs=NAMED) as hook:
        await hook.call(request_of(id="rb-other"), 5.0, AT)
        run = fake.runs[0]
        ours = "rb-shop-1-5-0-cafe"
        states = []
        for other in (
            replace(run, title=ours, at=AT - 61),
            replace(run, title=ours, ref="hotfix"),
            run,
        ):
            fake.runs = [other]
            await hook.query(request_of(), None, 5.0, AT)
            states.append((await hook.query(request_of(), None, 5.0, AT + 60)).state)
    assert states == [RollbackState.INTENDED, RollbackState.INTENDED, RollbackState.UNCERTAIN]


async def test_first_run_after_the_call_is_ours(world: World, request_of: Maker) -> None:
    """Without ids, a run that somebody starts later does not replace ours."""
    fake = GitHubFake(REPOSITORY, TOKEN)
    fake.lose_next()
    async with world.hook(fake) as hook:
        await hook.call(request_of(), 5.0, AT)
        world.now = AT + 40
        fake.runs.append(replace(fake.runs[0], number=FIRST_RUN + 1, at=AT + 40))
        answer = await hook.query(request_of(), None, 5.0, AT + 40)
    assert (answer.state, answer.remote_id) == (RollbackState.SUCCEEDED, str(FIRST_RUN))


async def test_older_server_without_run_details(world: World, request_of: Maker) -> None:
    """A server that refuses the extension is asked again without it, and its 204 is believed."""
    fake = named_github()
    fake.names_runs = False
    async with world.hook(fake, inputs=NAMED) as hook:
        called = await hook.call(request_of(), 5.0, AT)
        runs, fake.runs = fake.runs, []
        unseen = await hook.query(request_of(), called.remote_id, 5.0, AT + 600)
        fake.runs = runs
        seen = await hook.query(request_of(), called.remote_id, 5.0, AT + 601)
    assert (called.state, called.remote_id) == (RollbackState.ACCEPTED, TAKEN)
    assert (unseen.state, seen.state) == (RollbackState.ACCEPTED, RollbackState.ACCEPTED)
    assert (len(runs), seen.remote_id) == (1, str(FIRST_RUN))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token": Secret("wrong")}, "GitHub says 401: Bad credentials"),
        ({"repository": "acme/other"}, "GitHub says 404: Not Found"),
        ({"workflow": "deploy/../x.yml"}, "GitHub says 404: Not Found"),
        ({"ref": "gone"}, "GitHub says 422: No ref found for: gone"),
        ({"inputs": {"vesion": "1"}}, 'GitHub says 422: Unexpected inputs provided: ["vesion"]'),
    ],
)
async def test_refusals_carry_githubs_words(
    world: World, request_of: Maker, changes: dict[str, Any], message: str
) -> None:
    """A wrong set-up fails for good, with GitHub's own message."""
    async with world.hook(named_github(), **changes) as hook:
        answer = await hook.call(request_of(), 5.0, AT)
    assert (answer.state, answer.detail) == (RollbackState.FAILED, message)


async def test_every_status_has_a_meaning(world: World, request_of: Maker) -> None:
    """All final statuses from 200 to 599 map as the contract says, with and without a limit."""
    by_class = {
        2: RollbackState.ACCEPTED,
        3: RollbackState.FAILED,
        4: RollbackState.FAILED,
        5: RollbackState.UNCERTAIN,
    }
    expected = {status: by_class[status // 100] for status in range(200, 600)}
    says = Says(Reply(status=200))
    for headers, not_executed in (
        ({}, {429}),
        ({"retry-after": "9"}, {403, 429}),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{AT + 9:.0f}"}, {403, 429}),
        ({"x-ratelimit-remaining": "7"}, {429}),
    ):
        got, waits = {}, set()
        async with world.hook(says) as hook:
            for status in [*range(200, 600)] if not headers else [*range(400, 450), 503]:
                says.reply = Reply(status=status, headers=headers)
                answer = await hook.call(request_of(), 5.0, AT)
                got[status] = answer.state
                waits |= {answer.retry_after_s} - {None}
        exceptions = dict.fromkeys(not_executed, RollbackState.INTENDED)
        assert got == {status: (expected | exceptions)[status] for status in got}
        assert waits == ({9.0} if 403 in not_executed else set())


async def test_rate_limit_is_waited_for(world: World, request_of: Maker) -> None:
    """A spent hourly allowance means: not executed, again when it is renewed."""
    fake = named_github()
    fake.hourly_limit = 1
    async with world.hook(fake, inputs=NAMED) as hook:
        await hook.query(request_of(), None, 5.0, AT)
        world.now = AT + 600
        limited = await hook.call(request_of(), 5.0, AT + 600)
        asked = await hook.query(request_of(), "1", 5.0, AT + 600)
        world.now = AT + 3600
        again = await hook.call(request_of(), 5.0, AT + 3600)
    assert (limited.state, limited.retry_after_s) == (RollbackState.INTENDED, 3000.0)
    assert (asked.state, again.state) == (RollbackState.ACCEPTED, RollbackState.ACCEPTED)
    assert len(fake.runs) == 1


async def test_no_answer_in_time_is_uncertain(world: World, request_of: Maker) -> None:
    """The deadline ends a dispatch that hangs, and its run is found afterwards."""
    fake = named_github()
    fake.hang_s = 30
    async with world.hook(fake, inputs=NAMED) as hook:
        called = await hook.call(request_of(), 1.6, AT)
        fake.hang_s = 0
        found = await hook.query(request_of(), None, 5.0, AT)
    assert (called.state, found.state) == (RollbackState.UNCERTAIN, RollbackState.ACCEPTED)
    assert len(fake.runs) == 1


async def test_refused_connection_is_not_sent(
    closed_port_url: str, deployment: Deployment, hook_io: HookIO, request_of: Maker
) -> None:
    """Nothing listens, so nothing was received."""
    hook = config(api_url=closed_port_url).build(deployment, hook_io)
    assert (await hook.call(request_of(), 5.0, AT)).state is RollbackState.INTENDED


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"{}"),
        (200, b"[]"),
        (200, b"not json"),
        (200, b'{"workflow_runs": null}'),
        (401, b'{"message": "Bad credentials"}'),
        (404, b'{"message": "Not Found"}'),
        (500, b""),
        (302, b""),
    ],
)
async def test_unclear_answers_change_nothing(
    world: World, request_of: Maker, status: int, body: bytes
) -> None:
    """When GitHub does not say how it stands, nothing is concluded, however late it is."""
    async with world.hook(Says(Reply(status=status, body=body))) as hook:
        for at in (AT, AT + 3600):
            for remote_id, state in (
                (None, RollbackState.UNCERTAIN),
                (TAKEN, RollbackState.ACCEPTED),
                (str(FIRST_RUN), RollbackState.ACCEPTED),
            ):
                answer = await hook.query(request_of(), remote_id, 5.0, at)
                assert answer.state is state, (at, remote_id)


@pytest.mark.parametrize(
    "run", [1, None, {"head_branch": "main"}, {"head_branch": "main", "id": []}]
)
async def test_odd_runs_do_not_raise(world: World, request_of: Maker, run: object) -> None:
    """A list with something else in it is survived, and nothing is repeated because of it."""
    body = json.dumps({"workflow_runs": [run, {"head_branch": "main", "status": 7}]}).encode()
    async with world.hook(Says(Reply(status=200, body=body))) as hook:
        answer = await hook.query(request_of(), None, 5.0, AT)
    assert answer.state is RollbackState.ACCEPTED


async def test_hostile_revision_is_never_sent(world: World, request_of: Maker) -> None:
    """Workflows paste inputs into shells, so only plain names are sent."""
    fake = named_github()
    async with world.hook(fake, inputs=NAMED) as hook:
        answer = await hook.call(request_of(to_revision="$(reboot)"), 5.0, AT)
    assert answer.state is RollbackState.FAILED
    assert fake.requests == 0


async def test_token_is_shown_nowhere(world: World, request_of: Maker) -> None:
    """Not in a representation, and not when the server echoes it."""
    body = json.dumps({"message": f"bad token {TOKEN}"}).encode()
    async with world.hook(Says(Reply(status=403, body=body))) as hook:
        answer = await hook.call(request_of(), 5.0, AT)
    assert TOKEN not in repr((config(), answer, hook))
    assert answer.detail == "GitHub says 403: bad token ***"


def test_needs_target_when_an_input_names_it() -> None:
    """The plan's workflow finds the previous release itself; one with a version input cannot."""
    assert not config().needs_target
    assert not config(inputs={"request": "{id}"}).needs_target
    assert config(inputs=NAMED).needs_target


@pytest.mark.parametrize(
    "changes",
    [
        {"repository": "shop"},
        {"repository": "acme/shop/x"},
        {"repository": "acme/../x"},
        {"inputs": {"v": "{version}"}},
        {"api_url": "api.github.com"},
        {"workflow": ""},
        {"ref": ""},
    ],
)
def test_configuration_errors(changes: dict[str, Any]) -> None:
    """What cannot work is said at load."""
    with pytest.raises(ValidationError):
        config(**changes)
