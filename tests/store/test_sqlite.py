"""The store as the application uses it: on a thread, cancelled, killed."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import monitor
from monitor.store.base import Batch, State, Store, StoreError, StoreLockedError
from monitor.store.sqlite import open_store

COMMIT_FOR_EVER = """
import asyncio, itertools, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from monitor.model import AlertState, AlertStatus
from monitor.store.base import Batch
from monitor.store.sqlite import open_store

async def main(directory, first):
    store = await open_store(directory, ThreadPoolExecutor(1), 0.0)
    await store.load(0.0)
    for number in itertools.count(first):
        alert = AlertStatus(rule=str(number), deployment="d", state=AlertState.FIRING)
        await store.commit(Batch(alerts=[alert], born=[(str(number), 0.0)], seen_at=float(number)))
        print(number, flush=True)

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


def names_in(path: Path) -> set[str]:
    return {each.name for each in path.iterdir()}


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.mark.parametrize("where", ["thread", "inline"])
async def test_round_trip(
    tmp_path: Path, make: Any, where: str, request: pytest.FixtureRequest
) -> None:
    """On a thread of its own and at once on ours, the store keeps what it is given."""
    executor: Executor = request.getfixturevalue(where)
    store: Store = await open_store(tmp_path, executor, make.now)
    assert await store.load(make.now) == State()
    await store.commit(Batch())
    await store.commit(make.batch())
    (told,) = await store.history()
    assert told.attempts == make.batch().attempts
    assert await store.history(incident="none") == ()
    assert await store.prune(make.now + 92 * 86400) == 14
    await store.close()
    again = await open_store(tmp_path, executor, make.now)
    assert (await again.load(make.now)).incidents == make.batch().incidents
    await again.close()


async def test_memory_mode_touches_no_disk(
    tmp_path: Path, inline: Executor, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a directory the store works, writes no file and forgets at the end."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        store = await open_store(None, inline, make.now)
        assert await store.load(make.now) == State()
        await store.commit(make.batch())
        assert (await store.load(make.now)).incidents == make.batch().incidents
        await store.close()
    assert names_in(tmp_path) == set()


async def test_directory_is_owned_from_open_to_close(
    tmp_path: Path, inline: Executor, make: Any
) -> None:
    """A second store gets an error and the directory after close; a failed open gives it back."""
    store = await open_store(tmp_path, inline, make.now)
    with pytest.raises(StoreLockedError):
        await open_store(tmp_path, inline, make.now)
    await store.close()
    with pytest.raises(StoreError):
        await open_store(tmp_path, inline, make.now, migrations=())
    await (await open_store(tmp_path, inline, make.now)).close()


async def test_closed_store_refuses(tmp_path: Path, inline: Executor, make: Any) -> None:
    """After close everything but another close is an error."""
    store = await open_store(tmp_path, inline, make.now)
    await store.close()
    await store.close()
    for work in (store.load(make.now), store.commit(make.batch()), store.history()):
        with pytest.raises(StoreError, match="the store is closed"):
            await work


async def test_cancelled_commit_is_committed(
    tmp_path: Path, thread: ThreadPoolExecutor, make: Any
) -> None:
    """Whoever waits for a commit may be cancelled; the commit goes on, before whatever is next."""
    store = await open_store(tmp_path, thread, make.now)
    gate = threading.Event()
    thread.submit(gate.wait)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await store.commit(make.batch())
    gate.set()
    assert (await store.load(make.now)).incidents == make.batch().incidents
    await store.close()


def test_kill_loses_nothing_that_was_acknowledged(tmp_path: Path, open_database: Any) -> None:
    """Five kills at random moments: every acknowledged batch is there, and none is half there."""
    moments = random.Random(20231114)  # noqa: S311 - repeatable, not secret
    acknowledged = -1
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", COMMIT_FOR_EVER, str(tmp_path), str(acknowledged + 1)],
            cwd=Path(monitor.__file__).parents[1],
            stdout=subprocess.PIPE,
        ) as child:
            assert child.stdout is not None
            for _ in range(moments.randrange(1, 150)):
                acknowledged = int(child.stdout.readline())
            child.kill()
            # What it said before it died counts too; a line without its end was not said.
            for line in child.stdout:
                if line.endswith(b"\n"):
                    acknowledged = int(line)
        database = open_database(tmp_path)
        state = database.load(0.0)
        database.close()
        assert state.recovered_from is None
        kept = sorted(int(name) for name, _ in state.born)
        assert kept == list(range(len(kept)))
        assert kept[-1] in {acknowledged, acknowledged + 1}
        assert sorted(int(alert.rule) for alert in state.alerts) == kept
        assert state.seen_at == kept[-1]
