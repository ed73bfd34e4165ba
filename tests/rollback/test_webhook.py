"""The webhook hook against real servers and a strict receiver."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import ValidationError

from monitor.fields import Secret
from monitor.model import Deployment, RollbackRequest, RollbackState
from monitor.rollback.base import Hook, HookIO
from monitor.rollback.http import REPLY_LIMIT
from monitor.rollback.webhook import WebhookHookConfig
from monitor.scenario.hook import HookFake
from monitor.scenario.provider import Provider, Reply, Request
from tests.support.serve import serve

AT = 1_767_225_600.0
SECRET = "correct horse battery staple"
Maker = Callable[..., RollbackRequest]
Connect = Callable[..., Any]

NOT_NOW = {425, 429, 503}


def expected_state(status: int) -> RollbackState:
    special = {202: RollbackState.ACCEPTED, 409: RollbackState.ACCEPTED}
    special |= dict.fromkeys(NOT_NOW, RollbackState.INTENDED)
    by_class = {
        2: RollbackState.SUCCEEDED,
        3: RollbackState.FAILED,
        4: RollbackState.FAILED,
        5: RollbackState.UNCERTAIN,
    }
    return special.get(status, by_class[status // 100])


class Says:
    """Answers everything with one reply, and keeps what came."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.seen: list[Request] = []

    def handle(self, request: Request) -> Reply:
        self.seen.append(request)
        return self.reply


def config(url: str, *secrets: str, **changes: Any) -> WebhookHookConfig:
    keys = tuple(Secret(each) for each in secrets or (SECRET,))
    return WebhookHookConfig(kind="webhook", url=url, secrets=keys, **changes)


@pytest.fixture
def connect(deployment: Deployment, hook_io: HookIO) -> Connect:
    """Return a maker of (hook, clock) pairs whose server lives as long as the context."""

    @asynccontextmanager
    async def connected(
        provider: Provider, *secrets: str, clock: Iterator[float] | None = None
    ) -> AsyncIterator[Hook]:
        now = (lambda: AT) if clock is None else clock.__next__
        async with serve(provider, now=now) as url:
            yield config(f"{url}/rollback", *secrets).build(deployment, hook_io)

    return connected


async def test_signed_call_is_executed(connect: Connect, request_of: Maker) -> None:
    """A strict receiver obeys the call, and gets all there is to know."""
    fake = HookFake(SECRET)
    async with connect(fake) as hook:
        answer = await hook.call(request_of(), 5.0, AT)
    assert (answer.state, answer.detail) == (RollbackState.SUCCEEDED, "200: rolled back")
    assert fake.executed[0].document == {
        "id": "rb-shop-1-5-0-cafe",
        "deployment": "shop-production",
        "environment": "Production",
        "service": "shop",
        "rule": "high_error_rate",
        "incident": "inc-1",
        "from_revision": "1.5.0",
        "to_revision": "1.4.2",
        "reason": "error rate 50 %",
        "requested_at": "2026-01-01T00:00:00.000Z",
    }


async def test_every_status_has_a_meaning(connect: Connect, request_of: Maker) -> None:
    """All final statuses from 200 to 599 map as the contract says."""
    says = Says(Reply(status=200))
    got, remote = {}, {}
    async with connect(says) as hook:
        for status in range(200, 600):
            says.reply = Reply(status=status, headers={"retry-after": "7", "location": "/x"})
            answer = await hook.call(request_of(), 5.0, AT)
            got[status], remote[status] = answer.state, answer.remote_id
            assert answer.retry_after_s == (7.0 if status in NOT_NOW else None), status
    assert got == {status: expected_state(status) for status in range(200, 600)}
    taken = {RollbackState.SUCCEEDED, RollbackState.ACCEPTED}
    assert all((remote[status] is not None) == (got[status] in taken) for status in got)
    assert len(says.seen) == 400


async def test_work_in_progress_is_followed(connect: Connect, request_of: Maker) -> None:
    """202 is accepted; asking again sees the work and then its end."""
    fake = HookFake(SECRET, work_s=60)
    clock = iter([AT, AT + 59, AT + 60])
    async with connect(fake, clock=clock) as hook:
        called = await hook.call(request_of(), 5.0, AT)
        during = await hook.query(request_of(), called.remote_id, 5.0, AT + 59)
        after = await hook.query(request_of(), called.remote_id, 5.0, AT + 60)
    states = [called.state, during.state, after.state]
    assert states == [RollbackState.ACCEPTED, RollbackState.ACCEPTED, RollbackState.SUCCEEDED]


async def test_failed_work_is_told(connect: Connect, request_of: Maker) -> None:
    """A receiver whose rollback fails answers 500 (which may mean anything) and then says so."""
    fake = HookFake(SECRET)
    fake.failing = True
    async with connect(fake) as hook:
        called = await hook.call(request_of(), 5.0, AT)
        asked = await hook.query(request_of(), called.remote_id, 5.0, AT)
    assert (called.state, asked.state) == (RollbackState.UNCERTAIN, RollbackState.FAILED)
    assert asked.detail == "200: could not roll back"


async def test_lost_answer_is_asked_for_and_never_executed_twice(
    connect: Connect, request_of: Maker
) -> None:
    """The call had its effect but no answer: asking tells, and even a repetition does nothing."""
    rolled_back: list[str] = []
    fake = HookFake(SECRET, on_rollback=lambda document: rolled_back.append(document["id"]))
    fake.lose_next()
    async with connect(fake) as hook:
        called = await hook.call(request_of(), 5.0, AT)
        asked = await hook.query(request_of(), called.remote_id, 5.0, AT)
        again = await hook.call(request_of(), 5.0, AT + 10)
    states = [called.state, asked.state, again.state]
    assert states == [RollbackState.UNCERTAIN, RollbackState.SUCCEEDED, RollbackState.ACCEPTED]
    assert rolled_back == fake.repeated == ["rb-shop-1-5-0-cafe"]


async def test_call_that_never_arrived_may_be_repeated(connect: Connect, request_of: Maker) -> None:
    """The connection broke and the receiver never saw the id: then, and only then, again."""
    fake = HookFake(SECRET)
    async with connect(fake) as hook:
        fake.dead = True
        called = await hook.call(request_of(), 5.0, AT)
        unreachable = await hook.query(request_of(), called.remote_id, 5.0, AT)
        fake.dead = False
        asked = await hook.query(request_of(), called.remote_id, 5.0, AT)
        again = await hook.call(request_of(), 5.0, AT)
    assert [called.state, unreachable.state] == [RollbackState.UNCERTAIN] * 2
    assert [asked.state, again.state] == [RollbackState.INTENDED, RollbackState.SUCCEEDED]
    assert len(fake.executed) == 1


async def test_no_answer_in_time_is_uncertain(connect: Connect, request_of: Maker) -> None:
    """The deadline ends the call, and says that it may have been received."""
    fake = HookFake(SECRET)
    fake.hang_s = 30
    async with connect(fake) as hook:
        called = await hook.call(request_of(), 0.8, AT)
    assert called.state is RollbackState.UNCERTAIN
    assert called.detail == "no answer within 0.8 s; it may have been received"
    assert len(fake.executed) == 1


async def test_refused_connection_is_not_sent(
    closed_port_url: str, deployment: Deployment, hook_io: HookIO, request_of: Maker
) -> None:
    """Nothing listens, so nothing was received; when asking, nothing is learnt."""
    hook = config(closed_port_url).build(deployment, hook_io)
    called = await hook.call(request_of(), 5.0, AT)
    assert (called.state, called.remote_id) == (RollbackState.INTENDED, None)
    assert (await hook.query(request_of(), None, 5.0, AT)).state is RollbackState.UNCERTAIN
    assert (await hook.query(request_of(), "x", 5.0, AT)).state is RollbackState.ACCEPTED


async def test_redirects_are_not_followed(connect: Connect, request_of: Maker) -> None:
    """A signed order goes to the configured address and nowhere else."""
    elsewhere = HookFake(SECRET)
    async with serve(elsewhere) as url:
        says = Says(Reply(status=307, headers={"location": f"{url}/rollback"}))
        async with connect(says) as hook:
            answer = await hook.call(request_of(), 5.0, AT)
    assert (answer.state, answer.detail) == (RollbackState.FAILED, "307 (redirects are refused)")
    assert elsewhere.requests == 0


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("30", 30.0),
        ("0", 0.0),
        ("999999999", 3600.0),
        ("Thu, 01 Jan 2026 00:02:00 GMT", 120.0),
        ("Wed, 31 Dec 2025 23:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("1.5e3", None),
    ],
)
async def test_retry_after(
    connect: Connect, request_of: Maker, header: str, wait_s: float | None
) -> None:
    """Seconds and dates are understood, bounded, and nonsense is no answer."""
    async with connect(Says(Reply(status=429, headers={"retry-after": header}))) as hook:
        answer = await hook.call(request_of(), 5.0, AT)
    assert (answer.state, answer.retry_after_s) == (RollbackState.INTENDED, wait_s)


async def test_rotation_of_secrets(connect: Connect, request_of: Maker) -> None:
    """While both sides know two secrets, either may be the one that they share."""
    for known, sent, state in (
        (["old", "new"], ["new"], RollbackState.SUCCEEDED),
        (["old"], ["old", "new"], RollbackState.SUCCEEDED),
        (["old"], ["new"], RollbackState.FAILED),
    ):
        async with connect(HookFake(*known), *sent) as hook:
            answer = await hook.call(request_of(), 5.0, AT)
        assert answer.state is state


async def test_old_signature_is_refused(connect: Connect, request_of: Maker) -> None:
    """A recorded call cannot be played again six minutes later."""
    fake = HookFake(SECRET)
    async with connect(fake, clock=iter([AT + 360])) as hook:
        answer = await hook.call(request_of(), 5.0, AT)
    assert answer.state is RollbackState.FAILED
    assert fake.executed == []


QUERIES: list[tuple[int, bytes, str | None, RollbackState]] = [
    (200, b'{"state": "accepted"}', None, RollbackState.ACCEPTED),
    (200, b'{"state": "succeeded"}', None, RollbackState.SUCCEEDED),
    (200, b'{"state": "failed"}', "it", RollbackState.FAILED),
    (200, b'{"state": "rolled"}', None, RollbackState.UNCERTAIN),
    (200, b'{"state": ["failed"]}', None, RollbackState.UNCERTAIN),
    (200, b'{"state": "intended"}', None, RollbackState.UNCERTAIN),
    (200, b"[1]", "it", RollbackState.ACCEPTED),
    (200, b"[" * 100_000, "it", RollbackState.ACCEPTED),
    (200, b'{"state": "failed"}' + b" " * REPLY_LIMIT, None, RollbackState.UNCERTAIN),
    (201, b'{"state": "succeeded"}', None, RollbackState.UNCERTAIN),
    (302, b"", "it", RollbackState.ACCEPTED),
    (401, b"", None, RollbackState.UNCERTAIN),
    (404, b"", None, RollbackState.INTENDED),
    (404, b"", "it", RollbackState.ACCEPTED),
    (410, b"", None, RollbackState.UNCERTAIN),
    (500, b"", None, RollbackState.UNCERTAIN),
    (503, b"", "it", RollbackState.ACCEPTED),
]


@pytest.mark.parametrize("case", QUERIES)
async def test_answers_to_a_query(
    connect: Connect, request_of: Maker, case: tuple[int, bytes, str | None, RollbackState]
) -> None:
    """Only a clear word changes the state, and what was once accepted is never called again."""
    status, body, remote_id, state = case
    async with connect(Says(Reply(status=status, body=body))) as hook:
        answer = await hook.query(request_of(), remote_id, 5.0, AT)
    assert answer.state is state
    assert len(answer.detail) <= 200


async def test_query_goes_to_the_status_address(
    deployment: Deployment, hook_io: HookIO, request_of: Maker
) -> None:
    """The status may be told elsewhere than calls are taken."""
    says = Says(Reply(status=200, body=b'{"state": "succeeded"}'))
    async with serve(says) as url:
        hook = config(f"{url}/go", status_url=f"{url}/how/").build(deployment, hook_io)
        await hook.query(request_of(), None, 5.0, AT)
    assert [(each.method, each.path) for each in says.seen] == [("GET", "/how/rb-shop-1-5-0-cafe")]


async def test_repetitions_are_the_same_document(connect: Connect, request_of: Maker) -> None:
    """A repeated call differs in its signature's time only, and nothing odd in it breaks it."""
    says = Says(Reply(status=503))
    odd = request_of(to_revision=None, reason="\ud800\0\r\nx: y ✓")
    async with connect(says) as hook:
        await hook.call(odd, 5.0, AT)
        await hook.call(odd, 5.0, AT + 100)
    first, second = says.seen
    assert first.body == second.body
    assert json.loads(first.body)["to_revision"] is None
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] == odd.id
    assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"]


async def test_secrets_are_shown_nowhere(connect: Connect, request_of: Maker) -> None:
    """Not in a representation, and not when the receiver echoes one."""
    async with connect(Says(Reply(status=400, body=f"bad key {SECRET}".encode()))) as hook:
        answer = await hook.call(request_of(), 5.0, AT)
    shown = repr((config("http://x"), answer, hook))
    assert SECRET not in shown
    assert answer.detail == "400: bad key ***"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "ftp://x"}, "https://"),
        ({"url": "hook.example"}, "https://"),
        ({"url": "https://user:hidden@x/"}, "without user, password"),
        ({"url": "https://x/?token=hidden"}, "without user, password"),
        ({"url": "https://x:99999999/"}, "https://"),
        ({"url": "https://x:0/"}, "https://"),
        ({"url": f"https://{'x' * 64}/"}, "https://"),
        ({"url": "https://"}, "https://"),
        ({"url": "https://x..y/"}, "https://"),
        ({"secrets": ()}, "at least 1 item"),
        ({"secrets": (Secret("whsec_hidden!"),)}, "expected a signing secret"),
    ],
)
def test_configuration_errors(changes: dict[str, Any], message: str) -> None:
    """What cannot work is said at load, without repeating a secret."""
    sound = {"kind": "webhook", "url": "https://x", "secrets": (Secret(SECRET),)}
    with pytest.raises(ValidationError) as error:
        WebhookHookConfig(**(sound | changes))
    assert message in str(error.value)
    assert "hidden" not in str(error.value)


def test_needs_target_is_the_users_choice() -> None:
    """A receiver that finds the previous release itself needs no target."""
    assert not config("https://x").needs_target
    assert config("https://x", require_to_revision=True).needs_target
