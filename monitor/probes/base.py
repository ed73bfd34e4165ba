"""What a probe is. Knows no kind by name; scheduling and SLIs are not its business."""

from __future__ import annotations

import asyncio
import asyncio.subprocess
import os
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable
from urllib.parse import urlsplit

from monitor.fields import Duration, Model, Name
from monitor.model import Deployment, Sample, Target
from monitor.probes.address import AddressPolicy
from monitor.probes.datagram import OpenDatagram, open_datagram, system_nameservers
from monitor.probes.deadline import Deadlines
from monitor.probes.echo import OpenEcho, open_echo
from monitor.probes.heartbeat_board import HeartbeatBoard
from monitor.probes.sockets import Sockets
from monitor.probes.stall import StallLog
from monitor.probes.tls import TlsContexts

Connect = Callable[..., Awaitable[tuple[asyncio.BaseTransport, Any]]]
"""`loop.create_connection(factory, host, port)`; host is an address. TLS is started afterwards."""
Spawn = Callable[..., Awaitable[asyncio.subprocess.Process]]
"""`asyncio.create_subprocess_exec`; a virtual world gives one that raises OSError."""
ModifiedAt = Callable[[str], Awaitable[float]]
"""Path of a file -> when it last changed, UTC seconds; raises `OSError` when it cannot tell."""
Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""Host name -> IP addresses, best first; raises `OSError` (socket.gaierror) when it cannot."""


_PORTS = {False: 80, True: 443}


async def file_modified_at(path: str) -> float:
    """Look at the disk without holding up the loop, even when the disk is far away."""
    return (await asyncio.to_thread(os.stat, path)).st_mtime


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeIO:
    """All the outside world that a probe may touch, given by the composition root."""

    connect: Connect
    resolve: Resolve
    allowed_networks: Sequence[str] = ()
    """CIDRs excepted from the policy that denies loopback, link-local, metadata and multicast."""
    tls: TlsContexts = field(default_factory=TlsContexts)
    """Shared by every probe that is built from this, so that trust roots are read once."""
    deadlines: Deadlines = field(default_factory=Deadlines)
    """Shared by every probe that is built from this, so that hardly any needs a timer."""
    sockets: Sockets | None = None
    """Instead of `connect` for plain HTTP, where there is one: cheaper, and exact about times."""
    monotonic: Callable[[], float] | None = None
    """Seconds for phases; None means the running loop's `time()`.

    uvloop's `time()` counts whole milliseconds and stands still within one iteration, so a real
    daemon passes `time.monotonic`; virtual time passes nothing.
    """
    stalls: StallLog | None = None
    """Our own event loop's stalls, kept by a `monitor.probes.stall.Pulse` on the same loop and in
    the seconds of `monotonic`. None: nobody watches, and no latency is tainted."""
    datagram: OpenDatagram = open_datagram
    nameservers: Callable[[], Sequence[str]] = system_nameservers
    """The addresses of the machine's own name servers, asked for when a probe is built."""
    echo: OpenEcho = open_echo
    spawn: Spawn = asyncio.create_subprocess_exec
    modified_at: ModifiedAt = file_modified_at
    heartbeats: HeartbeatBoard = field(default_factory=HeartbeatBoard)
    """The pings that have come; whoever receives them writes on the same board."""
    addresses: AddressPolicy = field(init=False)
    """The policy with `allowed_networks`."""

    def clock(self) -> Callable[[], float]:
        """Return what gives the seconds of phases, deadlines and stalls on the running loop."""
        return self.monotonic or asyncio.get_running_loop().time

    def __post_init__(self) -> None:
        """Build the policy once for all probes; ValueError when a CIDR is not one."""
        object.__setattr__(self, "addresses", AddressPolicy(self.allowed_networks))


class Probe(Protocol):
    """Measures one target once."""

    async def __call__(self, at: float, deadline_s: float) -> Sample:
        """Return the result of a probe that starts at `at` (UTC s) and ends within `deadline_s`.

        May raise: the scheduler turns an exception into an UNKNOWN sample with the reason
        `prober_error`.
        """
        ...


class Run(Protocol):
    """A measurement that is under way."""

    def cancel(self) -> object:
        """End it: what comes of it is not wanted any more."""
        ...


@runtime_checkable
class QuickProbe(Protocol):
    """A probe that can often do without a task, which costs as much as a plain probe itself."""

    def begin(self, at: float, deadline_s: float, done: Callable[[Sample], None]) -> Run | None:
        """Begin what calling the probe does, and call `done` once with the result.

        None, with nothing begun, when this probe needs a task. `done` may be called before this
        returns, and is not called after `Run.cancel`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Reach:
    """The place that a probe connects to."""

    host: str
    port: int
    """0: it is no TCP port."""
    secure: bool
    """Whether TLS is spoken from the first byte on."""


@runtime_checkable
class Closing(Protocol):
    """A probe that keeps something open between its runs."""

    def close(self) -> None:
        """Give it up for good: the probe is not called again."""
        ...


class ProbeConfig(Model):
    """Configuration of one probe; each kind adds `kind: Literal[...]` and its own fields."""

    example: ClassVar[str]
    """One probe in YAML, as users would write it: it stands in the documentation, and runs."""

    kind: str
    """Which kind of probe it is."""
    name: Name | None = None
    """Its name within the deployment, part of the target's id; the kind by default."""
    interval_s: Duration | None = None
    """How often it starts, whether or not earlier ones have ended; `defaults.interval` (15s)."""
    timeout_s: Duration | None = None
    """How long it may take, at most the interval; `defaults.timeout` (10s)."""

    @property
    def is_inverted(self) -> bool:
        """Whether GOOD means that the target did not answer."""
        return False

    def reach(self, url: str) -> Reach | None:
        """Return where the probe of a deployment at `url` connects to, None when it does not."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        port = parts.port or _PORTS[secure]
        return Reach(parts.hostname or "", port, secure=secure)

    @abstractmethod
    def build(self, target: Target, deployment: Deployment, url: str, io: ProbeIO) -> Probe:
        """Return the probe of `target`; `url` is the base URL of the deployment in its region."""
