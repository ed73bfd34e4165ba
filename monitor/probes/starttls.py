"""How five protocols agree, in the clear, to go on with TLS on the same connection.

Owns their dialogues up to the moment when the handshake may begin. Trusts nothing that was said in
the clear: bytes that came along with the server's consent are refused, because they would be
taken for part of the secured conversation (CVE-2011-0411, CVE-2021-23222).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Literal, NoReturn

from monitor.probes.conversation import MAX_INPUT_BYTES, Conversation, show_bytes
from monitor.probes.failure import ProbeError
from monitor.probes.reason import Reason
from monitor.probes.stream import Stream

Protocol = Literal["smtp", "imap", "pop3", "ftp", "postgresql"]

_EHLO = b"EHLO monitor.invalid\r\n"
_CODE = rb"\d{3}[ \r\n-]"
_OFFERS_STARTTLS = re.compile(rb"250[- ]STARTTLS\s*", re.IGNORECASE)
_TAG = b"m1 "
_SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
"""PostgreSQL's message of this name: its length and a version number that does not exist."""


async def start_tls(protocol: Protocol, stream: Stream) -> None:
    """Speak `protocol` on a fresh connection until the server waits for the TLS handshake.

    Raises:
        ProbeError: (starttls) when the server does not want to, (protocol, truncated, reset) when
            it does not speak `protocol`.
    """
    server = Conversation(stream)
    await _DIALOGUES[protocol](server)
    if server.heard:
        text = f"the server spoke on after it agreed to TLS: {show_bytes(server.heard)}"
        raise ProbeError(Reason.PROTOCOL, text)


async def _smtp(server: Conversation) -> None:
    _expect(b"220", await _reply(server))
    server.say(_EHLO)
    offer = await _reply(server)
    _expect(b"250", offer)
    if not any(_OFFERS_STARTTLS.fullmatch(line) for line in offer):
        raise ProbeError(Reason.STARTTLS, "the server does not offer STARTTLS")
    server.say(b"STARTTLS\r\n")
    _expect(b"220", await _reply(server))


async def _imap(server: Conversation) -> None:
    _expect(b"* OK", [await _line(server, rb"\* ")])
    server.say(_TAG + b"STARTTLS\r\n")
    while (line := await _line(server, rb"\* |m1 ")).startswith(b"*"):
        pass
    _expect(_TAG + b"OK", [line])


async def _pop3(server: Conversation) -> None:
    _expect(b"+OK", [await _line(server, rb"[+-]")])
    server.say(b"STLS\r\n")
    _expect(b"+OK", [await _line(server, rb"[+-]")])


async def _ftp(server: Conversation) -> None:
    _expect(b"220", await _reply(server))
    server.say(b"AUTH TLS\r\n")
    _expect(b"234", await _reply(server))


async def _postgresql(server: Conversation) -> None:
    server.say(_SSL_REQUEST)
    answer = await _hear(server, lambda heard: 1 if heard else None)
    if answer == b"N":
        raise ProbeError(Reason.STARTTLS, "the server does not offer TLS (it answered N)")
    if answer != b"S":
        _refuse_garbage(answer + server.heard)


_DIALOGUES: dict[Protocol, Callable[[Conversation], Awaitable[None]]] = {
    "smtp": _smtp,
    "imap": _imap,
    "pop3": _pop3,
    "ftp": _ftp,
    "postgresql": _postgresql,
}


async def _reply(server: Conversation) -> list[bytes]:
    """Return the lines of one reply of SMTP (RFC 5321, 4.2.1) or FTP (RFC 959, 4.2).

    A first line with `-` after its code goes on until one that begins with that code and no `-`;
    what stands between is SMTP's repeated code, or anything at all in FTP.
    """
    lines = [await _line(server, _CODE)]
    code = lines[0][:3]
    while lines[0][3:4] == b"-" and not (lines[-1][:3] == code and lines[-1][3:4] != b"-"):
        lines.append(await _line(server, b""))
    return lines


async def _line(server: Conversation, beginning: bytes) -> bytes:
    """Return the next line, whose beginning must match the pattern `beginning`."""
    line = await _hear(server, lambda heard: heard.find(b"\n") + 1 or None)
    if not re.match(beginning, line):
        _refuse_garbage(line)
    return line


async def _hear(server: Conversation, find: Callable[[bytes], int | None]) -> bytes:
    taken = await server.take(find)
    if taken is None and server.is_full:
        text = f"the server did not agree to TLS within {MAX_INPUT_BYTES} bytes"
        raise ProbeError(Reason.PROTOCOL, text)
    if taken is None and not server.heard:
        text = "the connection was closed before the server agreed to TLS"
        raise ProbeError(Reason.TRUNCATED, text)
    if taken is None:
        _refuse_garbage(server.heard)
    return taken


def _expect(beginning: bytes, reply: list[bytes]) -> None:
    """Refuse a reply whose last line does not begin like this, in any case."""
    line = reply[-1]
    if line[: len(beginning)].upper() != beginning.upper():
        text = f"expected {beginning.decode()}, got {show_bytes(line)}"
        raise ProbeError(Reason.STARTTLS, text)


def _refuse_garbage(heard: bytes) -> NoReturn:
    raise ProbeError(Reason.PROTOCOL, f"not what such a server says: {show_bytes(heard)}")
