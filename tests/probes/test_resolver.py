"""Name resolution: hanging names must not block others, and nobody asks twice at once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence

import pytest

from monitor.probes.resolver import Resolver, system_lookup


class ScriptedLookup:
    """Names that start with `hang` block until released; `no` does not exist; others answer."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.asked: list[str] = []

    def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        if host.startswith("hang"):
            self.released.wait(10)
        if host.startswith("no"):
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return ("192.0.2.1", "2001:db8::1")


@contextlib.contextmanager
def resolver(lookup: ScriptedLookup, threads: int = 4, slow_s: float = 0.02) -> Iterator[Resolver]:
    made = Resolver(threads, slow_s, lookup)
    try:
        yield made
    finally:
        lookup.released.set()
        made.close()


async def hang(resolve: Resolver, host: str, deadline_s: float = 0.05) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(deadline_s):
            await resolve(host)


async def test_an_answer_keeps_its_order() -> None:
    """The system's order of addresses is the order in which a probe tries them."""
    with resolver(ScriptedLookup()) as resolve:
        assert await resolve("shop.test") == ("192.0.2.1", "2001:db8::1")


async def test_an_error_reaches_everybody_who_asked() -> None:
    """A failed look-up fails for all its waiters, and the next one asks again."""
    lookup = ScriptedLookup()
    with resolver(lookup) as resolve:
        answers = await asyncio.gather(resolve("no"), resolve("no"), return_exceptions=True)
        assert [type(answer) for answer in answers] == [socket.gaierror] * 2
        assert lookup.asked == ["no"]
        with pytest.raises(socket.gaierror):
            await resolve("no")
    assert lookup.asked == ["no", "no"]


async def test_one_name_is_looked_up_once_at_a_time() -> None:
    """However many probes wait for a hanging name, it takes one thread; deadlines end waits."""
    lookup = ScriptedLookup()
    with resolver(lookup) as resolve:
        for _ in range(10):
            await hang(resolve, "hang", 0.005)
        waiting = asyncio.ensure_future(resolve("hang"))
        await asyncio.sleep(0)
        lookup.released.set()
        assert await waiting == ("192.0.2.1", "2001:db8::1")
    assert lookup.asked == ["hang"]


async def test_hanging_names_leave_room_for_others() -> None:
    """With half the threads hanging, others are answered, and a known hanger is refused at once."""
    lookup = ScriptedLookup()
    with resolver(lookup, threads=4) as resolve:
        names = ["hang-1", "hang-2", "hang-3"]
        waiting = [asyncio.ensure_future(resolve(name)) for name in names]
        await hang(resolve, "hang-1")
        assert await resolve("shop.test")
        lookup.released.set()
        await asyncio.gather(*waiting)
        lookup.released.clear()
        await hang(resolve, "hang-1", 0.005)
        await hang(resolve, "hang-2", 0.005)
        with pytest.raises(socket.gaierror) as refused:
            await resolve("hang-3")
        assert refused.value.errno == socket.EAI_AGAIN
        assert await resolve("shop.test")
        assert await resolve("other.test")


async def test_a_quick_answer_restores_good_standing() -> None:
    """A name that hung once is trusted again after one quick answer."""
    lookup = ScriptedLookup()
    with resolver(lookup, threads=2, slow_s=0.01) as resolve:
        await hang(resolve, "hang-1", 0.03)
        assert resolve._hung == {"hang-1"}
        lookup.released.set()
        await resolve("hang-1")
        resolve._slow_s = 5
        await resolve("hang-1")
        assert resolve._hung == set()


async def test_threads_are_bounded() -> None:
    """More names than threads wait their turn."""
    lookup = ScriptedLookup()
    with resolver(lookup, threads=2, slow_s=5) as resolve:
        waiting = [asyncio.ensure_future(resolve(f"hang-{number}")) for number in range(5)]
        await asyncio.sleep(0)
        assert resolve._threads == 2
        lookup.released.set()
        assert len(await asyncio.gather(*waiting)) == 5


async def test_a_bug_in_the_lookup_does_not_lose_the_asker() -> None:
    """Whatever goes wrong in the thread is raised to the probe that waits for it."""

    def broken(host: str) -> Sequence[str]:
        raise KeyError(host)

    resolve = Resolver(lookup=broken)
    with pytest.raises(KeyError):
        await resolve("shop.test")
    resolve.close()


def test_a_closed_loop_is_no_error() -> None:
    """A look-up that outlives its loop ends quietly."""
    lookup = ScriptedLookup()

    async def leave() -> Resolver:
        resolve = Resolver(1, 5, lookup)
        await hang(resolve, "hang", 0.01)
        return resolve

    resolve = asyncio.run(leave())
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "resolver"]
    resolve.close()
    lookup.released.set()
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".test", "."])
def test_an_impossible_name_does_not_exist(host: str) -> None:
    """What cannot be a host name is reported as one that does not exist, without asking anybody."""
    with pytest.raises(socket.gaierror) as failure:
        system_lookup(host)
    assert failure.value.errno == socket.EAI_NONAME


def test_odd_spellings_become_addresses() -> None:
    """The system understands hexadecimal addresses: the policy sees what they really are."""
    assert system_lookup("0x7f000001") == ("127.0.0.1",)
