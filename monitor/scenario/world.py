"""The scripted world: targets that answer HTTP by a script, names that resolve, mail that arrives.

Stands in for sockets at the same seams that the composition root fills with real ones, so the real
wire engine and notifiers run unchanged. Acts strictly: an unknown host does not resolve.
"""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any, Literal

import aiosmtplib

Fault = Literal["none", "refuse", "hang", "reset", "unreachable", "unresolved"]
"""`unreachable`: there is no way there, as when a network is down.
`unresolved`: our own name server does not answer, which says nothing about the target."""


@dataclass(slots=True, kw_only=True)
class ScriptedTarget:
    """A web server whose behaviour the story changes. Mutable: the world is its one owner."""

    version: str = "1.0.0"
    status: int = 200
    latency_s: float = 0.05
    fault: Fault = "none"
    fail_every: int = 0
    """Every n-th request answers 503; 0 = none. 20 makes an error rate of 5 %."""
    bad_versions: set[str] = field(default_factory=set)
    """Releases that answer 503 to everything but /version.json."""
    requests: int = 0

    def answer(self, path: str) -> tuple[int, bytes]:
        """Return (status, body) for a GET of `path`."""
        self.requests += 1
        if path.endswith("/version.json"):
            return 200, json.dumps({"version": self.version}).encode()
        if self.version in self.bad_versions:
            return 503, b"bad release"
        if self.fail_every and self.requests % self.fail_every == 0:
            return 503, b"scripted failure"
        return self.status, b'{"status": "healthy"}'


class _Wire(asyncio.Transport):
    """The client's end of a connection to a scripted target."""

    def __init__(self, protocol: asyncio.BaseProtocol, target: ScriptedTarget) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._protocol: Any = protocol
        self._target = target
        self._request = b""
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self._request += bytes(data)
        if b"\r\n\r\n" in self._request and not self._closing:
            path = self._request.split(b" ", 2)[1].decode("ascii")
            self._request = b""
            self._respond(path)

    def _respond(self, path: str) -> None:
        target = self._target
        if target.fault == "hang":
            return
        if target.fault == "reset":
            self._loop.call_later(target.latency_s, self._lose, ConnectionResetError())
            return
        status, body = target.answer(path)
        head = f"HTTP/1.1 {status} Scripted\r\nContent-Length: {len(body)}\r\n\r\n"
        self._loop.call_later(target.latency_s, self._deliver, head.encode() + body)

    def _deliver(self, data: bytes) -> None:
        if not self._closing:
            self._protocol.data_received(data)

    def _lose(self, error: Exception | None) -> None:
        if not self._closing:
            self._closing = True
            self._protocol.connection_lost(error)

    def close(self) -> None:
        self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ARG002 - asyncio's signature
        return default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered: a request is read as it is written."""

    def pause_reading(self) -> None:
        """Nothing to pause: an answer comes in one piece."""

    def resume_reading(self) -> None:
        """Nothing was paused."""


class World:
    """Targets by host name, each at a private address of its own."""

    def __init__(self, targets: Mapping[str, ScriptedTarget]) -> None:
        """`targets` maps host name to server."""
        self.targets = dict(targets)
        self._addresses = {host: f"10.0.0.{i}" for i, host in enumerate(self.targets, 1)}
        self._by_address = {address: host for host, address in self._addresses.items()}

    async def resolve(self, host: str) -> Sequence[str]:
        """Return the host's address.

        Raises:
            socket.gaierror: no such host in this world, or the script says so.
        """
        if host not in self._addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if self.targets[host].fault == "unresolved":
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [self._addresses[host]]

    async def connect(
        self,
        factory: Any,
        host: str,
        port: int,  # noqa: ARG002 - one server per address listens on every port
        **_tls: Any,
    ) -> tuple[asyncio.Transport, Any]:
        """Connect `factory()` to the target at the address `host`.

        Raises:
            OSError: refused or unreachable, as the script says.
        """
        target = self.targets[self._by_address[host]]
        if target.fault == "unreachable":
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        if target.fault == "refuse":
            raise ConnectionRefusedError(111, "Connection refused")
        protocol = factory()
        wire = _Wire(protocol, target)
        protocol.connection_made(wire)
        return wire, protocol


class MailFake:
    """Takes mail like `aiosmtplib.send`: refuses what has no recipients, records the rest."""

    def __init__(self) -> None:
        """Start with an empty mailbox and a server that is up."""
        self.messages: list[EmailMessage] = []
        self.dead = False

    async def send(self, message: EmailMessage, **_options: Any) -> tuple[dict[str, Any], str]:
        """Accept one message.

        Raises:
            aiosmtplib.SMTPConnectError: the script says that the server is down.
        """
        if self.dead:
            msg = "Connection refused"
            raise aiosmtplib.SMTPConnectError(msg)
        if not message["To"]:
            msg = "no recipients"
            raise ValueError(msg)
        self.messages.append(message)
        return {}, "OK"
