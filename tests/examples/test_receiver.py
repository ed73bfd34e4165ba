"""The example receiver: obeys signed calls once, and our webhook hook understands it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from aiohttp import web

from examples.receiver import BODY_LIMIT_BYTES, Receiver
from monitor.fields import Secret
from monitor.model import Deployment, RollbackRequest, RollbackState
from monitor.rollback.base import HookIO
from monitor.rollback.webhook import WebhookHookConfig
from monitor.signature import sign

AT = 1_767_225_600.0
OLD, NEW = "whsec_b2xkIGFuZCB0aXJlZA==", "new and fresh"
DOCUMENT = {"id": "rb-1", "deployment": "shop", "requested_at": "2026-01-01T00:00:00.000Z"}


class Work:
    """A rollback that ends when the test says so."""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []
        self.may_end = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, document: dict[str, Any]) -> str:
        self.documents.append(document)
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return "1.4.2 is live"


@asynccontextmanager
async def serving(receiver: Receiver) -> AsyncIterator[tuple[httpx2.AsyncClient, str]]:
    runner = web.AppRunner(receiver.app(), access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with httpx2.AsyncClient(trust_env=False) as http:
            yield http, url
    finally:
        await runner.cleanup()


async def post(
    http: httpx2.AsyncClient,
    url: str,
    document: Any = None,
    *,
    secrets: tuple[str, ...] = (NEW,),
    at: float = AT,
    **headers: str,
) -> int:
    content = json.dumps(DOCUMENT if document is None else document).encode()
    key = document["id"] if isinstance(document, dict) and "id" in document else "rb-1"
    signed = {
        "idempotency-key": str(key),
        "webhook-id": str(key),
        "webhook-timestamp": str(int(at)),
        "webhook-signature": sign(secrets, str(key), at, content),
    }
    response = await http.post(f"{url}/rollback", content=content, headers=signed | headers)
    return response.status_code


async def get(http: httpx2.AsyncClient, url: str, key: str, signed_for: str) -> httpx2.Response:
    headers = {
        "webhook-id": signed_for,
        "webhook-timestamp": str(int(AT)),
        "webhook-signature": sign([NEW], signed_for, AT, b""),
    }
    return await http.get(f"{url}/rollback/{key}", headers=headers)


async def test_our_hook_and_the_example_understand_each_other() -> None:
    """Call, ask while it works, ask when it is done, call again: one rollback."""
    work = Work()
    request = RollbackRequest(
        id="rb-shop-1",
        incident="i",
        deployment="shop",
        environment="Production",
        service="shop",
        rule="r",
        from_revision="1.5.0",
        to_revision="1.4.2",
        at=AT,
    )
    deployment = Deployment(name="shop", service="shop", environment="Production", url="http://x")
    async with serving(Receiver([OLD, NEW], work, now=lambda: AT)) as (http, url):
        config = WebhookHookConfig(
            kind="webhook", url=f"{url}/rollback", secrets=(Secret("unknown yet"), Secret(OLD))
        )
        io = HookIO(http=http, spawn=asyncio.create_subprocess_exec)
        hook = config.build(deployment, io)
        unseen = await hook.query(request, None, 5.0, AT)
        called = await hook.call(request, 5.0, AT)
        during = await hook.query(request, called.remote_id, 5.0, AT)
        work.may_end.set()
        after = await hook.query(request, called.remote_id, 5.0, AT)
        again = await hook.call(request, 5.0, AT)
    states = [answer.state for answer in (unseen, called, during, after, again)]
    assert states == [
        RollbackState.INTENDED,
        RollbackState.ACCEPTED,
        RollbackState.ACCEPTED,
        RollbackState.SUCCEEDED,
        RollbackState.ACCEPTED,
    ]
    assert after.detail == "200: 1.4.2 is live"
    assert [document["to_revision"] for document in work.documents] == ["1.4.2"]


async def test_parallel_repetitions_run_once() -> None:
    """Twenty copies of one call at the same time make one rollback."""
    work = Work()
    async with serving(Receiver([NEW], work, now=lambda: AT)) as (http, url):
        statuses = await asyncio.gather(*(post(http, url) for _ in range(20)))
    assert sorted(statuses) == [202] + [409] * 19
    assert len(work.documents) == 1


async def test_overtaken_call_is_refused() -> None:
    """A paused monitor that wakes up with an older request cannot undo what came after it."""
    work = Work()
    older = DOCUMENT | {"id": "rb-0", "requested_at": "2025-12-31T23:59:59.999Z"}
    async with serving(Receiver([NEW], work, now=lambda: AT)) as (http, url):
        statuses = [
            await post(http, url),
            await post(http, url, older),
            await post(http, url, older | {"deployment": "other"}),
        ]
    assert statuses == [202, 412, 202]


@pytest.mark.parametrize(
    "how",
    [
        {"secrets": ("forged",)},
        {"at": AT - 301},
        {"at": AT + 301},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": ""},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-id": "rb-2"},
    ],
)
async def test_forged_or_old_calls_are_refused(how: dict[str, Any]) -> None:
    """Without a fresh signature over id, time and body nothing happens."""
    work = Work()
    async with serving(Receiver([OLD, NEW], work, now=lambda: AT)) as (http, url):
        assert await post(http, url, **how) == 401
    assert work.documents == []


@pytest.mark.parametrize(
    "document",
    [[], 1, {}, {"id": "rb-1"}, DOCUMENT | {"requested_at": 5}, DOCUMENT | {"id": None}],
)
async def test_signed_nonsense_is_refused(document: Any) -> None:
    """A document without its parts is a bad request, not a crash."""
    work = Work()
    async with serving(Receiver([NEW], work, now=lambda: AT)) as (http, url):
        assert await post(http, url, document) == 400
    assert work.documents == []


async def test_key_must_be_the_signed_id() -> None:
    """The idempotency key is not signed itself, so it must repeat the id that is."""
    work = Work()
    async with serving(Receiver([NEW], work, now=lambda: AT)) as (http, url):
        assert await post(http, url, **{"idempotency-key": "rb-2"}) == 400
    assert work.documents == []


async def test_large_bodies_are_refused() -> None:
    """Nobody fills the receiver's memory."""
    work = Work()
    async with serving(Receiver([NEW], work, now=lambda: AT)) as (http, url):
        assert await post(http, url, DOCUMENT | {"reason": "x" * BODY_LIMIT_BYTES}) == 413


async def test_failure_is_told() -> None:
    """A rollback that raises is `failed`, with its message."""
    work = Work()
    work.error = RuntimeError("version 1.4.2 not found")
    work.may_end.set()
    async with serving(Receiver([NEW], work, now=lambda: AT)) as (http, url):
        await post(http, url)
        answer = await get(http, url, "rb-1", "rb-1")
    assert answer.json() == {"state": "failed", "detail": "version 1.4.2 not found"}


async def test_status_needs_a_signature_for_its_id() -> None:
    """How a rollback stands is told to the monitor only."""
    work = Work()
    async with serving(Receiver([NEW], work, now=lambda: AT)) as (http, url):
        await post(http, url)
        statuses = [
            (await get(http, url, key, signed_for)).status_code
            for key, signed_for in (("rb-1", "rb-1"), ("rb-1", "rb-2"), ("rb-9", "rb-9"))
        ]
        unsigned = (await http.get(f"{url}/rollback/rb-1")).status_code
    assert (statuses, unsigned) == ([200, 401, 404], 401)


async def test_shutdown_ends_the_work() -> None:
    """A receiver that stops does not leave a task behind."""
    work = Work()
    async with serving(Receiver([NEW], work, now=lambda: AT)) as (http, url):
        await post(http, url)
        before = len(asyncio.all_tasks())
    assert len(asyncio.all_tasks()) < before


@pytest.mark.parametrize("secrets", [[], [""], [NEW, ""]])
def test_no_secret_is_an_error(secrets: list[str]) -> None:
    """A receiver without a secret would obey anybody."""
    with pytest.raises(ValueError, match="would obey anybody"):
        Receiver(secrets, Work())
