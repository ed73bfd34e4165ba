"""Mail: the final reply decides, TLS is required, and no header can be smuggled in."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from monitor.fields import Secret
from monitor.model import (
    Acknowledgement,
    Brief,
    Delivery,
    DeliveryResult,
    Message,
    Note,
    SendReason,
)
from monitor.notify.base import NotifyIO
from monitor.notify.email import EmailConfig, judge
from monitor.notify.mail import compose
from monitor.notify.outstanding import TRIES
from monitor.notify.render import CAUTION
from tests.notify.samples import HOSTILE, NOW, any_message, brief, course, hostile, message, storm
from tests.support.smtp import PASSWORD, USERNAME, Mailbox, smtp_server

TEAM = ("a@example.com", "b@example.com")


def config(mailbox: Mailbox, **changes: Any) -> EmailConfig:
    raw: dict[str, Any] = {
        "kind": "email",
        "host": mailbox.host,
        "port": mailbox.port,
        "ca_file": mailbox.ca_file,
        "username": USERNAME,
        "password": Secret(PASSWORD),
        "from": "monitor@example.com",
        "to": list(TEAM),
        "timeout": "6s",
    }
    return EmailConfig.model_validate({**raw, **changes})


async def send(
    notify_io: NotifyIO, mailbox: Mailbox, sent: Message | None = None, **changes: Any
) -> Delivery:
    notifier = config(mailbox, **changes).build("mail", notify_io)
    return await notifier.send(sent or message(), 10, None)


async def test_a_mail_arrives_over_starttls_with_login(notify_io: NotifyIO, tmp_path: Path) -> None:
    """Encrypted, authenticated, to everyone, as text and as HTML."""
    async with smtp_server(tmp_path) as mailbox:
        delivery = await send(notify_io, mailbox, message(may_be_repeated=True))
    assert delivery.result is DeliveryResult.DELIVERED
    assert delivery.detail == "accepted: OK queued"
    [mail] = mailbox.mails
    assert (mail.over_tls, mail.authenticated, mail.recipients) == (True, True, TEAM)
    subject = "[CRITICAL] FIRING: HighErrorRate on api-production (production)"
    assert mail.message["Subject"] == subject
    text, page = mail.message.get_body(("plain",)), mail.message.get_body(("html",))
    assert text is not None
    assert page is not None
    assert "Measured: error_rate_5m = 7.25 %" in text.get_content()
    assert CAUTION in text.get_content()
    assert 'href="https://monitor.example.com/?a=1&amp;b=2"' in page.get_content()


async def test_implicit_tls(notify_io: NotifyIO, tmp_path: Path) -> None:
    """A server that speaks TLS from the first byte."""
    async with smtp_server(tmp_path, implicit_tls=True) as mailbox:
        delivery = await send(notify_io, mailbox, tls="implicit")
    assert delivery.result is DeliveryResult.DELIVERED
    assert mailbox.mails[0].over_tls


@pytest.mark.parametrize("login", [{}, {"username": None, "password": None}])
async def test_stripped_starttls_is_refused(
    notify_io: NotifyIO, tmp_path: Path, login: dict[str, None]
) -> None:
    """Somebody in the middle removed STARTTLS: nothing goes out in the clear, password included."""
    async with smtp_server(tmp_path, starttls=False) as mailbox:
        delivery = await send(notify_io, mailbox, **login)
    assert delivery.result is DeliveryResult.PERMANENT
    assert delivery.detail.startswith("server offers no STARTTLS")
    assert mailbox.mails == []


async def test_a_login_that_is_not_offered_is_named(notify_io: NotifyIO, tmp_path: Path) -> None:
    """A server without AUTH is another mistake than one without STARTTLS."""
    async with smtp_server(tmp_path, starttls=False) as mailbox:
        delivery = await send(notify_io, mailbox, tls="insecure")
    assert delivery.result is DeliveryResult.PERMANENT
    assert "AUTH" in delivery.detail


async def test_clear_text_only_by_its_loud_name(notify_io: NotifyIO, tmp_path: Path) -> None:
    """`tls: insecure` is the only way to send without encryption."""
    async with smtp_server(tmp_path, starttls=False) as mailbox:
        delivery = await send(notify_io, mailbox, tls="insecure", username=None, password=None)
    assert delivery.result is DeliveryResult.DELIVERED
    assert not mailbox.mails[0].over_tls


async def test_an_untrusted_certificate_is_refused(notify_io: NotifyIO, tmp_path: Path) -> None:
    """Without its authority the server is not believed; it may be repaired, so it is retried."""
    async with smtp_server(tmp_path) as mailbox:
        delivery = await send(notify_io, mailbox, ca_file=None)
    assert delivery.result is DeliveryResult.RETRY
    assert "TLS: " in delivery.detail
    assert mailbox.mails == []


@pytest.mark.parametrize(
    ("rcpt", "data", "result", "told"),
    [
        ({"*": "550 no such user"}, "", DeliveryResult.PERMANENT, "a@example.com (550"),
        ({"*": "451 greylisted"}, "", DeliveryResult.RETRY, "451 greylisted"),
        ({TEAM[0]: "550 gone", TEAM[1]: "450 later"}, "", DeliveryResult.RETRY, "550 gone"),
        (
            {TEAM[0]: "550 gone"},
            "",
            DeliveryResult.DELIVERED,
            "refused for a@example.com (550 gone)",
        ),
        ({}, "554 spam", DeliveryResult.PERMANENT, "554 spam"),
        ({}, "451 try later", DeliveryResult.RETRY, "451 try later"),
        ({}, "421 shutting down", DeliveryResult.RETRY, "421 shutting down"),
        ({TEAM[0]: "550 gone"}, "554 spam", DeliveryResult.PERMANENT, "554 spam"),
    ],
)
async def test_the_final_reply_decides(
    notify_io: NotifyIO,
    tmp_path: Path,
    *,
    rcpt: dict[str, str],
    data: str,
    result: DeliveryResult,
    told: str,
) -> None:
    """4yz is for now and 5yz for good, also at the final dot; refused recipients are named."""
    async with smtp_server(tmp_path) as mailbox:
        mailbox.rcpt_replies, mailbox.data_reply = rcpt, data
        delivery = await send(notify_io, mailbox)
    assert delivery.result is result
    assert told in delivery.detail
    assert delivery.retry_after_s == (60.0 if result is DeliveryResult.RETRY else None)
    assert len(mailbox.mails) == (result is DeliveryResult.DELIVERED)


async def test_who_was_greylisted_gets_the_mail_later_and_alone(
    notify_io: NotifyIO, tmp_path: Path
) -> None:
    """A server takes the mail for one and says `later` for the other: nobody gets it twice."""
    async with smtp_server(tmp_path) as mailbox:
        notifier = config(mailbox).build("mail", notify_io)
        mailbox.rcpt_replies = {TEAM[1]: "451 greylisted"}
        partly = await notifier.send(message(), 10, None)
        again = await notifier.send(message(), 10, partly.remote_key)
        mailbox.rcpt_replies = {}
        complete = await notifier.send(message(), 10, again.remote_key)
        reminder = await notifier.send(message(SendReason.REPEAT), 10, complete.remote_key)
    for waiting in (partly, again):
        assert (waiting.result, waiting.retry_after_s) == (DeliveryResult.UNCERTAIN, 60.0)
        assert "refused for b@example.com (451 greylisted)" in waiting.detail
    assert complete.result is reminder.result is DeliveryResult.DELIVERED
    assert [mail.recipients for mail in mailbox.mails] == [TEAM[:1], TEAM[1:], TEAM]


async def test_a_recipient_that_is_never_taken_does_not_hold_up_the_rest(
    notify_io: NotifyIO, tmp_path: Path
) -> None:
    """After five refusals the mail counts as delivered, and who has not got it is named."""
    async with smtp_server(tmp_path) as mailbox:
        notifier = config(mailbox).build("mail", notify_io)
        mailbox.rcpt_replies = {TEAM[1]: "452 mailbox full"}
        key, results = None, []
        for _ in range(TRIES):
            delivery = await notifier.send(message(), 10, key)
            key = delivery.remote_key
            results.append(delivery.result)
    assert results == [DeliveryResult.UNCERTAIN] * (TRIES - 1) + [DeliveryResult.DELIVERED]
    assert delivery.detail.startswith("given up after 5 tries: refused for b@example.com (452")
    assert len(mailbox.mails) == 1


async def test_a_late_refusal_for_good_ends_the_wait(notify_io: NotifyIO, tmp_path: Path) -> None:
    """Greylisted first, unknown then: the others have it, so it is delivered, and it is said."""
    async with smtp_server(tmp_path) as mailbox:
        notifier = config(mailbox).build("mail", notify_io)
        mailbox.rcpt_replies = {TEAM[1]: "451 greylisted"}
        partly = await notifier.send(message(), 10, None)
        mailbox.rcpt_replies = {TEAM[1]: "550 no such user"}
        delivery = await notifier.send(message(), 10, partly.remote_key)
    assert delivery.result is DeliveryResult.DELIVERED
    assert "refused for b@example.com (550 no such user); all the others" in delivery.detail


async def test_what_comes_next_goes_to_everybody(notify_io: NotifyIO, tmp_path: Path) -> None:
    """Somebody still waits for the first mail when the incident ends: the end is told to all."""
    async with smtp_server(tmp_path) as mailbox:
        notifier = config(mailbox).build("mail", notify_io)
        mailbox.rcpt_replies = {TEAM[1]: "451 greylisted"}
        partly = await notifier.send(message(), 10, None)
        mailbox.rcpt_replies = {}
        await notifier.send(message(SendReason.RESOLVED), 10, partly.remote_key)
        await notifier.send(message(alerts=storm(3)), 10, partly.remote_key)
    assert [mail.recipients for mail in mailbox.mails] == [TEAM[:1], TEAM, TEAM]


async def test_a_greylisting_server_is_satisfied_by_waiting(
    notify_io: NotifyIO, tmp_path: Path
) -> None:
    """The first try of anybody is refused for now; the second, a minute later, arrives."""
    async with smtp_server(tmp_path) as mailbox:
        mailbox.greylists = True
        first = await send(notify_io, mailbox)
        second = await send(notify_io, mailbox)
    assert (first.result, first.retry_after_s) == (DeliveryResult.RETRY, 60.0)
    assert "451" in first.detail
    assert second.result is DeliveryResult.DELIVERED
    assert [mail.recipients for mail in mailbox.mails] == [TEAM]


async def test_the_picture_travels_in_the_mail(notify_io: NotifyIO, tmp_path: Path) -> None:
    """The HTML shows a part of the same mail, and nothing is loaded from anywhere."""
    async with smtp_server(tmp_path) as mailbox:
        await send(notify_io, mailbox, message(brief=brief()), timeout="30s")
    parts = list(mailbox.mails[0].message.walk())
    assert [part.get_content_type() for part in parts] == [
        "multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png",
    ]  # fmt: skip
    html = parts[3].get_content()
    assert f"cid:{parts[4]['Content-ID'][1:-1]}" in html
    assert parts[4].get_content_disposition() == "inline"
    assert parts[4].get_content().startswith(b"\x89PNG")
    assert not re.search(r"(src|background)=\"?http|url\(", html)


async def test_without_a_picture_the_mail_goes_out(notify_io: NotifyIO, tmp_path: Path) -> None:
    """A course that cannot be drawn costs the picture, not the page."""
    absurd = replace(course(), at=(float("nan"),) * 60)
    async with smtp_server(tmp_path) as mailbox:
        delivery = await send(notify_io, mailbox, message(brief=Brief(course=absurd)))
    assert delivery.result is DeliveryResult.DELIVERED
    assert [part.get_content_type() for part in mailbox.mails[0].message.walk()] == [
        "multipart/alternative", "text/plain", "text/html",
    ]  # fmt: skip


@pytest.mark.parametrize("fault", ["hang_at_dot", "drop_at_dot", "drop_in_data"])
async def test_silence_at_the_final_dot_is_uncertain(
    notify_io: NotifyIO, tmp_path: Path, fault: str
) -> None:
    """The mail was sent, or partly, and no reply came in time: it may have been accepted."""
    async with smtp_server(tmp_path) as mailbox, asyncio.timeout(3):
        setattr(mailbox, fault, True)
        sent = message(summary="x" * 2000, notes=(Note(at=NOW, text="y" * 2000),) * 20)
        delivery = await send(notify_io, mailbox, sent, timeout="900ms")
    assert delivery.result is DeliveryResult.UNCERTAIN
    assert mailbox.mails == []


async def test_a_wrong_password_is_permanent(notify_io: NotifyIO, tmp_path: Path) -> None:
    """Trying the same again cannot help, and the password is not in the detail."""
    async with smtp_server(tmp_path) as mailbox:
        delivery = await send(notify_io, mailbox, password=Secret("canary-wrong-password"))
    assert delivery.result is DeliveryResult.PERMANENT
    assert "535" in delivery.detail
    assert "canary" not in delivery.detail


async def test_an_unreachable_server_was_not_told(notify_io: NotifyIO, tmp_path: Path) -> None:
    """Nothing listens there: nothing was sent, and it is tried again in minutes."""
    async with smtp_server(tmp_path) as mailbox:
        pass
    delivery = await send(notify_io, mailbox)
    assert (delivery.result, delivery.retry_after_s) == (DeliveryResult.RETRY, 60.0)
    assert delivery.detail.endswith("nothing was sent")


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _mute(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def _busy(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"421 too busy\r\n")


async def _closed(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"554 no mail from you\r\n")


async def _drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 hello\r\n")
    while True:
        writer.write(b"250-more\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 hello\r\n")
    while command := await reader.readline():
        await asyncio.sleep(0.2)
        if command.startswith(b"DATA"):
            writer.write(b"354 go on\r\n")
            await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 fine\r\n")


@pytest.mark.parametrize(
    ("talk", "result"),
    [
        (_slow, DeliveryResult.UNCERTAIN),
        (_mute, DeliveryResult.RETRY),
        (_busy, DeliveryResult.RETRY),
        (_closed, DeliveryResult.PERMANENT),
        (_drip, DeliveryResult.UNCERTAIN),
    ],
)
async def test_a_bad_conversation_ends_in_time(
    notify_io: NotifyIO, talk: Talk, result: DeliveryResult
) -> None:
    """Silence, refusals, endless replies and a slow talk all end within the limit."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    mailbox = Mailbox(port=server.sockets[0].getsockname()[1])
    async with asyncio.timeout(3):
        delivery = await send(
            notify_io,
            mailbox,
            tls="insecure",
            ca_file=None,
            username=None,
            password=None,
            timeout="900ms",
        )
    server.close()
    assert delivery.result is result


def test_mails_of_an_incident_form_a_thread() -> None:
    """Every mail refers to the first one, and a retry is the same mail, which clients can merge."""
    first, again = (compose(message(at=at), "m@example.com", TEAM) for at in (1.0, 2.0))
    reminder, later = (
        compose(message(SendReason.REPEAT, at=at), "m@example.com", TEAM) for at in (1.0, 2.0)
    )
    resolved = compose(message(SendReason.RESOLVED), "m@example.com", TEAM)
    assert first["Message-ID"] == again["Message-ID"]
    assert len({str(it["Message-ID"]) for it in (first, reminder, later, resolved)}) == 4
    others = [
        compose(message(reason), "m@example.com", TEAM)
        for reason in (SendReason.NEW_ALERTS, SendReason.ESCALATED, SendReason.ACKNOWLEDGED)
    ]
    assert len({str(it["Message-ID"]) for it in (first, *others)}) == 4
    for follower in (reminder, later, resolved, *others):
        assert follower["In-Reply-To"] == follower["References"] == first["Message-ID"]
    assert first["In-Reply-To"] is None


def test_each_change_is_a_mail_of_its_own() -> None:
    """More alerts and another acknowledgement are not the mail of before."""
    given = Acknowledgement(by="ann", at=NOW, until=NOW + 60)
    sent = [
        message(SendReason.NEW_ALERTS, alerts=storm(2)),
        message(SendReason.NEW_ALERTS, alerts=storm(3)),
        message(SendReason.ACKNOWLEDGED, acknowledgement=given),
        message(SendReason.ACKNOWLEDGED, acknowledgement=replace(given, until=NOW + 120)),
    ]
    ids = [str(compose(it, "m@example.com", TEAM)["Message-ID"]) for it in sent]
    again = [str(compose(replace(it, at=1.0), "m@example.com", TEAM)["Message-ID"]) for it in sent]
    assert ids == again
    assert len(set(ids)) == len(ids)


@settings(max_examples=40, deadline=None)
@given(sent=any_message)
def test_no_incident_can_add_a_header(sent: Message) -> None:
    """Whatever an incident holds, the headers are ours, each on its own line, and HTML is inert."""
    mail = compose(sent, "m@example.com", TEAM)
    head = bytes(mail).partition(b"\r\n\r\n")[0].decode("ascii")
    names = {line.partition(":")[0] for line in head.split("\r\n") if line[:1] not in {" ", "\t"}}
    assert names <= {
        "From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References",
        "Auto-Submitted", "MIME-Version", "Content-Type",
    }  # fmt: skip
    page = mail.get_body(("html",))
    assert page is not None
    assert "<script" not in page.get_content()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_text_is_mailed(notify_io: NotifyIO, tmp_path: Path, text: str) -> None:
    """Text of another system reaches nobody but the team, and makes no server refuse."""
    async with smtp_server(tmp_path) as mailbox:
        delivery = await send(notify_io, mailbox, hostile(text))
    assert delivery.result is DeliveryResult.DELIVERED
    assert mailbox.mails[0].recipients == TEAM
    assert mailbox.mails[0].message["Bcc"] is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"from": "x@y\r\nBcc: z@y"}, "plain mail address"),
        ({"to": ["Team <a@example.com>"]}, "plain mail address"),
        ({"to": ["a@example.com, b@example.com"]}, "plain mail address"),
        ({"to": []}, "at least 1 item"),
        ({"password": None}, "username and password together"),
        ({"username": None}, "username and password together"),
        ({"tls": "none"}, "'starttls', 'implicit' or 'insecure'"),
        ({"port": 0}, "greater than or equal to 1"),
        ({"ca_file": "/nonexistent.pem"}, "expected a PEM file"),
        ({"ca_file": __file__}, "expected a PEM file"),
    ],
)
def test_wrong_configuration_is_named(changes: dict[str, Any], expected: str) -> None:
    """Mistakes show at load, with what was expected."""
    with pytest.raises(ValidationError, match=expected):
        config(Mailbox(port=25, ca_file=""), **{"ca_file": None, **changes})


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (aiosmtplib.SMTPAuthenticationError(454, "later"), DeliveryResult.RETRY),
        (aiosmtplib.SMTPAuthenticationError(535, "no"), DeliveryResult.PERMANENT),
        (aiosmtplib.SMTPSenderRefused(550, "no", "m"), DeliveryResult.PERMANENT),
        (aiosmtplib.SMTPDataError(-1, "garbled"), DeliveryResult.UNCERTAIN),
        (aiosmtplib.SMTPNotSupported("SMTPUTF8"), DeliveryResult.PERMANENT),
        (aiosmtplib.SMTPConnectTimeoutError("slow"), DeliveryResult.RETRY),
        (aiosmtplib.SMTPReadTimeoutError("slow"), DeliveryResult.UNCERTAIN),
        (aiosmtplib.SMTPServerDisconnected("gone"), DeliveryResult.UNCERTAIN),
        (TimeoutError(), DeliveryResult.UNCERTAIN),
        (ConnectionResetError(), DeliveryResult.UNCERTAIN),
        (ssl.SSLError(1, "bad"), DeliveryResult.RETRY),
    ],
)
def test_every_exception_has_its_outcome(error: Exception, result: DeliveryResult) -> None:
    """What the client raises is classified by what it says about the mail's fate."""
    assert judge(error)[0] is result


def test_mail_shows_repeats(notify_io: NotifyIO) -> None:
    """The outbox learns that repeats show up twice, and that reminders make sense."""
    notifier = config(Mailbox(port=25), ca_file=None).build("mail", notify_io)
    assert (notifier.deduplicates, notifier.repeats) == (False, True)
