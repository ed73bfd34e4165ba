"""Name resolution on its own few threads, so that one hanging name cannot block another.

Owns single flight (a name is looked up once at a time, however many probes ask) and the bound on
hanging look-ups. It caches nothing: getaddrinfo tells no TTL. It sets no deadline of its own: the
asking probe's deadline ends its wait, while the look-up itself goes on for the next one who asks.

The bound: a thread cannot be taken back from getaddrinfo, so a name whose look-up has hung before
may use one of half the threads only. The other half stays free for names that behave, and a hung
name gets its good standing back with the first quick answer, be it an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

Lookup = Callable[[str], Sequence[str]]


def system_lookup(host: str) -> Sequence[str]:
    """Return the addresses of `host` in the system's order of preference; blocks.

    Raises:
        OSError: socket.gaierror with the resolver's code; EAI_NONAME for an impossible name.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True, slots=True)
class _Job:
    host: str
    answer: asyncio.Future[Sequence[str]]
    loop: asyncio.AbstractEventLoop


class Resolver:
    """A `Resolve` for one event loop; call `close` when the loop's work is done."""

    def __init__(
        self, threads: int = 32, slow_s: float = 1.0, lookup: Lookup = system_lookup
    ) -> None:
        """Use at most `threads` threads; a look-up longer than `slow_s` counts as hung."""
        self._threads_max = threads
        self._slow_s = slow_s
        self._lookup = lookup
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads = 0
        self._flights: dict[str, asyncio.Future[Sequence[str]]] = {}
        self._hung: set[str] = set()

    async def __call__(self, host: str) -> Sequence[str]:
        """Return the addresses of `host`, best first.

        Raises:
            OSError: socket.gaierror, as the look-up raised it; EAI_AGAIN when this name hung before
                and too many such names hang now.
        """
        flight = self._flights.get(host) or self._start(host)
        # One waiter's deadline must not end the look-up that others wait for.
        return await asyncio.shield(flight)

    def close(self) -> None:
        """Let the threads end when their look-ups do; they never hold up the process's exit."""
        for _ in range(self._threads):
            self._jobs.put(None)
        self._threads = 0

    def _start(self, host: str) -> asyncio.Future[Sequence[str]]:
        hanging = sum(name in self._hung for name in self._flights)
        if host in self._hung and hanging >= self._threads_max // 2:
            raise socket.gaierror(socket.EAI_AGAIN, "too many look-ups hang")
        loop = asyncio.get_running_loop()
        flight: asyncio.Future[Sequence[str]] = loop.create_future()
        self._flights[host] = flight
        watch = loop.call_later(self._slow_s, self._hung.add, host)
        slow_at = loop.time() + self._slow_s
        flight.add_done_callback(lambda _: self._landed(host, watch, quick=loop.time() < slow_at))
        self._jobs.put(_Job(host, flight, loop))
        if self._threads < min(len(self._flights), self._threads_max):
            self._threads += 1
            threading.Thread(target=self._work, name="resolver", daemon=True).start()
        return flight

    def _landed(self, host: str, watch: asyncio.TimerHandle, *, quick: bool) -> None:
        watch.cancel()
        del self._flights[host]
        if quick:
            self._hung.discard(host)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                addresses = self._lookup(job.host)
            except Exception as error:  # noqa: BLE001 - whatever it is, the asking probe must hear it
                _hand_over(job, job.answer.set_exception, error)
            else:
                _hand_over(job, job.answer.set_result, addresses)


def _hand_over(job: _Job, settle: Callable[[Any], None], value: object) -> None:
    # A loop that was closed during the look-up has nobody left to tell.
    with contextlib.suppress(RuntimeError):
        job.loop.call_soon_threadsafe(settle, value)
