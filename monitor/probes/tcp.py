"""The `tcp` kind: a connection, TLS when asked for, and a dialogue.

Owns the configuration and the course of the dialogue. How to connect, STARTTLS and what a passed
deadline means are other modules' business.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from ssl import SSLContext
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from monitor.fields import Duration, Model, Secret
from monitor.model import Deployment, Sample, Target
from monitor.probes.base import ProbeConfig, ProbeIO, Reach
from monitor.probes.conversation import MAX_INPUT_BYTES, Conversation, show_bytes
from monitor.probes.endpoint import Endpoint
from monitor.probes.failure import ProbeError
from monitor.probes.http.conditions import compile_regex
from monitor.probes.http.fields import Regex
from monitor.probes.peer import Address, HostName, find_endpoint, reached
from monitor.probes.reason import Reason
from monitor.probes.run import TLS, Run, measure
from monitor.probes.starttls import Protocol
from monitor.probes.stream import Stream
from monitor.probes.tls import certificate_expiry

DIALOGUE = "dialogue"
_MAX_STEPS = 50
_SHOWN = 60


class Step(Model):
    """One move of the dialogue: say something, or wait for something."""

    send: Annotated[str, Field(min_length=1)] | Secret | None = None
    """Sent as it is written, in UTF-8; a line needs its own "\\r\\n"."""
    expect: Regex | None = None
    """RE2; waits until it is found in what came since the last match."""

    @model_validator(mode="after")
    def _is_one_move(self) -> Self:
        if (self.send is None) is (self.expect is None):
            msg = "expected either send or expect; make two steps of both"
            raise ValueError(msg)
        return self


class TcpProbeConfig(ProbeConfig):
    """Connects to a TCP service; checks its TLS and what it says, when asked to.

    Without `tls`, `starttls` and `steps`, being connected is all there is to it.
    """

    example: ClassVar[str] = "{kind: tcp, name: smtp, address: mail.shop.test:25, starttls: smtp}"

    kind: Literal["tcp"] = "tcp"
    address: Address | None = None
    """`host:port`, such as mail.shop.test:25; the deployment's URL says it when this does not."""
    tls: bool = False
    """Speak TLS from the first byte on."""
    starttls: Protocol | None = None
    """The protocol in which to ask for TLS first: smtp, imap, pop3, ftp or postgresql."""
    server_name: HostName | None = None
    """The name to ask for (SNI) and to find in the certificate, when it is not the address's."""
    ca_file: str | None = None
    """PEM file with the authorities to trust instead of the system's."""
    insecure: bool = False
    """Accept any certificate; its expiry is then not reported."""
    steps: Annotated[list[Step], Field(max_length=_MAX_STEPS)] = Field(default_factory=list)
    """What is said and what must come back, in this order; at most 64 KiB are listened to."""
    max_latency_s: Duration | None = None
    """A longer run, from the look-up of the name to the last step, is BAD (`slow`)."""

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.tls and self.starttls:
            msg = "tls and starttls exclude each other: TLS begins at once or after asking"
            raise ValueError(msg)
        if not (self.tls or self.starttls):
            given = self.model_fields_set & {"server_name", "ca_file", "insecure"}
            if given:
                msg = f"{min(given)} has no effect without tls or starttls"
                raise ValueError(msg)
        return self

    def reach(self, url: str) -> Reach:
        """Return `address`, or the place of `url`."""
        endpoint = find_endpoint(self.address, url)
        return Reach(endpoint.host, endpoint.port, secure=self.tls)

    def build(self, target: Target, deployment: Deployment, url: str, io: ProbeIO) -> TcpProbe:  # noqa: ARG002 - the signature of every kind
        """Return the probe of `target`.

        Raises:
            ValueError: when `ca_file` cannot be loaded, or there is neither address nor URL.
        """
        endpoint = find_endpoint(self.address, url)
        is_secure = self.tls or self.starttls is not None
        return TcpProbe(
            target=target.id,
            endpoint=endpoint,
            io=io,
            starttls=self.starttls,
            context=io.tls.get(self.ca_file, insecure=self.insecure) if is_secure else None,
            server_name=self.server_name or endpoint.host,
            moves=tuple(_compile(step) for step in self.steps),
            is_quoting=not any(isinstance(step.send, Secret) for step in self.steps),
            max_latency_s=self.max_latency_s,
        )


@dataclass(frozen=True, slots=True)
class _Say:
    data: bytes


@dataclass(frozen=True, slots=True)
class _Await:
    pattern: str
    regex: Any

    def find(self, heard: bytes) -> int | None:
        match = self.regex.search(heard)
        return None if match is None else match.end()


def _compile(step: Step) -> _Say | _Await:
    if step.expect is not None:
        return _Await(ascii(step.expect)[:_SHOWN], compile_regex(step.expect))
    text = step.send.reveal() if isinstance(step.send, Secret) else step.send or ""
    return _Say(text.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpProbe:
    """Probes one TCP service; holds no state between runs, so that runs may overlap."""

    target: str
    """The target's id."""
    endpoint: Endpoint
    io: ProbeIO
    starttls: Protocol | None
    context: SSLContext | None
    """None for a conversation in the clear."""
    server_name: str
    moves: tuple[_Say | _Await, ...]
    is_quoting: bool
    """Whether details may quote the server: one that was told a secret may echo it."""
    max_latency_s: float | None

    async def __call__(self, at: float, deadline_s: float) -> Sample:
        """Measure once; never raises for what the target or the network does."""
        return await measure(
            self._attempt, target=self.target, at=at, deadline_s=deadline_s, io=self.io
        )

    async def _attempt(self, run: Run) -> None:
        async with reached(self.endpoint, self.starttls, self.io, run) as stream:
            if self.context is not None:
                run.watch.enter(TLS)
                await stream.secure(self.server_name, self.context)
                run.certificate_expires_at = certificate_expiry(stream.transport)
            if self.moves:
                run.watch.enter(DIALOGUE)
                await self._converse(stream, run)
            run.watch.enter(None)
        latency_s = run.watch.elapsed_s
        if self.max_latency_s is not None and latency_s > self.max_latency_s:
            text = f"took {latency_s * 1000:.0f} ms, allowed {self.max_latency_s * 1000:g} ms"
            raise ProbeError(Reason.SLOW, text)

    async def _converse(self, stream: Stream, run: Run) -> None:
        server = Conversation(stream)
        for move in self.moves:
            if isinstance(move, _Say):
                server.say(move.data)
                continue
            try:
                taken = await server.take(move.find)
            except asyncio.CancelledError:
                # The deadline: what was said instead is the first thing that people ask for.
                run.notes.append(self._missed(move, server))
                raise
            if taken is None:
                raise self._unmatched(move, server)

    def _unmatched(self, move: _Await, server: Conversation) -> ProbeError:
        if server.is_full:
            text = f"nothing in {MAX_INPUT_BYTES} bytes: {self._missed(move, server)}"
            return ProbeError(Reason.BODY, text)
        reason = Reason.BODY if server.heard else Reason.TRUNCATED
        return ProbeError(reason, f"the connection was closed: {self._missed(move, server)}")

    def _missed(self, move: _Await, server: Conversation) -> str:
        if not server.heard:
            got = "nothing"
        else:
            got = show_bytes(server.heard) if self.is_quoting else f"{len(server.heard)} bytes"
        return f"expected {move.pattern}, got {got}"
