"""A real SMTP server on loopback: STARTTLS with a private authority, AUTH, refusals on demand."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USERNAME = "monitor"
PASSWORD = "canary-Smtp-Passw0rd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One mail that the server took responsibility for."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage
    over_tls: bool
    authenticated: bool


@dataclass(slots=True, kw_only=True)
class Mailbox:
    """What the server accepted, and how it is told to behave."""

    host: str = "127.0.0.1"
    port: int = 0
    ca_file: str = ""
    mails: list[Mail] = field(default_factory=list)
    rcpt_replies: dict[str, str] = field(default_factory=dict)
    """Reply (`550 no such user`) for a recipient instead of accepting it; `*` is every one."""
    data_reply: str = ""
    """Reply after the final dot instead of accepting the mail."""
    greylists: bool = False
    """Refuse whoever it sees for the first time, and take the next try."""
    met: set[str] = field(default_factory=set)
    """Recipients that the greylist knows."""
    drop_in_data: bool = False
    """Close the connection in the middle of the mail."""
    hang_at_dot: bool = False
    """Never reply after the final dot."""
    drop_at_dot: bool = False
    """Close the connection after the final dot."""

    async def handle_RCPT(  # noqa: N802 - aiosmtpd finds its hooks by these names
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        reply = self.rcpt_replies.get(address) or self.rcpt_replies.get("*")
        if reply:
            return reply
        if self.greylists and address not in self.met:
            self.met.add(address)
            return "451 4.7.1 greylisted, come back later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - see above
        if self.hang_at_dot:
            await asyncio.Event().wait()
        assert server.transport is not None
        if self.drop_at_dot:
            server.transport.abort()
            return "250 lost"
        if self.data_reply:
            return self.data_reply
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.mails.append(
            Mail(
                sender=envelope.mail_from or "",
                recipients=tuple(envelope.rcpt_tos),
                message=message,
                over_tls=server.transport.get_extra_info("sslcontext") is not None,
                authenticated=bool(session.authenticated),
            )
        )
        return "250 OK queued"


class _Session(SMTP):
    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - aiosmtpd finds commands by these names
        mailbox = self.event_handler
        if not mailbox.drop_in_data:
            await super().smtp_DATA(arg)
            return
        await self.push("354 go on")
        await self._reader.readexactly(500)
        assert self.transport is not None
        self.transport.abort()


@asynccontextmanager
async def smtp_server(
    directory: Path,
    *,
    starttls: bool = True,
    implicit_tls: bool = False,
    hostname: str = "127.0.0.1",
    authority: trustme.CA | None = None,
) -> AsyncIterator[Mailbox]:
    """Yield the mailbox of a running server; the authority's certificate is written to `directory`.

    After STARTTLS AUTH is required; with implicit TLS it is offered; without TLS there is none.
    """
    authority = authority or trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(hostname).configure_cert(context)
    mailbox = Mailbox(ca_file=str(directory / "ca.pem"))
    authority.cert_pem.write_to_path(mailbox.ca_file)
    loop = asyncio.get_running_loop()
    sessions: list[SMTP] = []

    def connected() -> SMTP:
        session = _Session(
            mailbox,
            hostname="mail.test",
            tls_context=context if starttls and not implicit_tls else None,
            require_starttls=starttls and not implicit_tls,
            # aiosmtpd counts only STARTTLS as TLS, and warns where AUTH is required without it.
            auth_required=starttls and not implicit_tls,
            auth_require_tls=not implicit_tls,
            authenticator=_authenticate,
            loop=loop,
        )
        sessions.append(session)
        return session

    server = await loop.create_server(
        connected, mailbox.host, 0, ssl=context if implicit_tls else None
    )
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()
        for session in sessions:
            if session.transport is not None:
                session.transport.abort()
        await server.wait_closed()


def _authenticate(
    _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: object
) -> AuthResult:
    assert isinstance(data, LoginPassword)
    right = (data.login, data.password) == (USERNAME.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=False)
