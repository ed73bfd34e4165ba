"""Mail by SMTP.

Owns the talk with the server and the meaning of its replies: 4yz is for now and 5yz for good, the
reverse of HTTP, and only the final reply counts. TLS is required unless configuration loudly says
otherwise. What the mail says is `mail`'s business.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import aiosmtplib
from pydantic import Field, field_validator, model_validator

from monitor.fields import Duration, Secret
from monitor.model import Delivery, DeliveryResult, Message
from monitor.notify import blocking, outstanding
from monitor.notify.base import ChannelConfig, Notifier, NotifyIO
from monitor.notify.http import shown
from monitor.notify.mail import compose
from monitor.notify.outstanding import NOBODY, TRIES, Outstanding
from monitor.notify.picture import draw

log = logging.getLogger(__name__)

GREYLIST_WAIT_S = 60.0
"""A server that says `later` means minutes."""

_PORTS = {"starttls": 587, "implicit": 465, "insecure": 25}
_ADDRESS = re.compile(r"[!#-'*+/-9=?A-Z^-~.-]{1,64}@[A-Za-z0-9.-]{1,190}")
_TEMPORARY = range(400, 500)
_PERMANENT = range(500, 600)


class EmailConfig(ChannelConfig):
    """Sends mail through an SMTP server."""

    example: ClassVar[str] = """
kind: email
host: smtp.shop.test
username: monitor
password: {env: SMTP_PASSWORD}
from: monitor@shop.test
to: [oncall@shop.test]
"""

    kind: Literal["email"]
    host: str
    """Name of the server, as its certificate says."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """587 with STARTTLS, 465 with implicit TLS, 25 without, when left out."""
    tls: Literal["starttls", "implicit", "insecure"] = "starttls"
    """`insecure` sends everything, the password included, in the clear."""
    ca_file: str | None = None
    """PEM file of the authorities to trust instead of the system's."""
    username: str | None = None
    """Who signs in, together with `password`."""
    password: Secret | None = None
    """The password of `username`."""
    sender: str = Field(alias="from")
    """The address that mails come from."""
    recipients: Annotated[tuple[str, ...], Field(alias="to", strict=False, min_length=1)]
    """Who gets each mail, one address at least."""
    timeout_s: Duration = Field(alias="timeout", default=30.0)
    """How long one attempt may take."""

    @field_validator("sender")
    @classmethod
    def _is_sender(cls, address: str) -> str:
        return _checked(address)

    @field_validator("recipients")
    @classmethod
    def _are_recipients(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(_checked, addresses))

    @field_validator("ca_file")
    @classmethod
    def _is_bundle(cls, path: str | None) -> str | None:
        try:
            ssl.create_default_context(cafile=path)
        except OSError as error:
            msg = f"expected a PEM file of certificates ({error.strerror})"
            raise ValueError(msg) from error
        return path

    @model_validator(mode="after")
    def _credentials_are_complete(self) -> EmailConfig:
        if (self.username is None) != (self.password is None):
            msg = "expected username and password together, or neither"
            raise ValueError(msg)
        return self

    def build(self, name: str, io: NotifyIO) -> Notifier:  # noqa: ARG002 - the contract of kinds
        """Return the notifier; reads `ca_file`, so that a later change of it needs a reload."""
        return EmailNotifier(self, io)


class EmailNotifier:
    """Sends one mail for each send."""

    deduplicates = False
    repeats = True
    updates = True
    repeat_s: float | None = None
    rate_per_s = 1.0
    burst = 10

    def __init__(self, config: EmailConfig, io: NotifyIO) -> None:
        """Use `config` with the SMTP client of `io`."""
        self._config = config
        self._send = io.smtp_send
        self._executor = io.executor
        self._secrets = () if config.password is None else (config.password.reveal(),)
        self._options: dict[str, Any] = {
            "hostname": config.host,
            "port": config.port or _PORTS[config.tls],
            # Our name in EHLO. Left out, the client would ask DNS, on the loop's own threads.
            "local_hostname": config.sender.rpartition("@")[2],
            "use_tls": config.tls == "implicit",
            "start_tls": config.tls == "starttls",
            "username": config.username,
            "password": config.password and config.password.reveal(),
        }
        if config.tls != "insecure":
            self._options["tls_context"] = ssl.create_default_context(cafile=config.ca_file)

    async def send(self, message: Message, deadline_s: float, remote_key: str | None) -> Delivery:
        """Send `message` once: to all recipients, or to those who alone still wait for it."""
        waiting = outstanding.read(remote_key, message, self._config.recipients)
        addresses = waiting.addresses if waiting else self._config.recipients
        limit_s = min(self._config.timeout_s, deadline_s)
        picture_s = limit_s / 6
        # Thirds: one wait of the client, all of them, and its farewell when it is cut off.
        third_s = (limit_s - picture_s) / 3
        picture = await self._picture(message, picture_s)
        mail = compose(message, self._config.sender, self._config.recipients, picture)
        try:
            async with asyncio.timeout(2 * third_s):
                refused, reply = await self._send(
                    mail, recipients=list(addresses), timeout=third_s, **self._options
                )
        except aiosmtplib.SMTPRecipientsRefused as error:
            refused = {it.recipient: (it.code, it.message) for it in error.recipients}
            if waiting is None:
                return self._judge(error)
            return self._partly(message, refused, waiting, "all the others have it")
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return self._judge(error)
        if refused:
            return self._partly(message, refused, waiting, "accepted for the others")
        return self._delivered(f"accepted: {reply}")

    async def _picture(self, message: Message, limit_s: float) -> bytes | None:
        """Return the picture of a message; it may be missing, the mail may not."""
        course = message.brief.course if message.brief else None
        if course is None:
            return None
        try:
            return await blocking.run(self._executor, limit_s, partial(draw, course))
        except (blocking.NotStartedError, TimeoutError):
            return None
        except Exception:
            log.exception("drawing failed, the mail goes out without a picture")
            return None

    def _partly(
        self,
        message: Message,
        refused: Mapping[str, tuple[int, str]],
        before: Outstanding | None,
        others: str,
    ) -> Delivery:
        """Judge a mail that some have: who was refused for now gets it later, and only they.

        `UNCERTAIN` is the word for it: it has arrived, though not everywhere, so that its end is
        told whatever becomes of the rest.
        """
        tries = 1 + (before.tries if before else 0)
        later = tuple(address for address, (code, _) in refused.items() if code in _TEMPORARY)
        detail = f"refused for {_refusals(refused)}; {others}"
        if not later:
            return self._delivered(detail)
        if tries >= TRIES:
            return self._delivered(f"given up after {tries} tries: {detail}")
        waiting = Outstanding(addresses=later, tries=tries)
        return Delivery(
            result=DeliveryResult.UNCERTAIN,
            detail=shown(detail, self._secrets),
            retry_after_s=GREYLIST_WAIT_S,
            retry_all=False,
            remote_key=outstanding.written(message, waiting),
        )

    def _delivered(self, detail: str) -> Delivery:
        return Delivery(
            result=DeliveryResult.DELIVERED,
            detail=shown(detail, self._secrets),
            remote_key=NOBODY,
        )

    def _judge(self, error: Exception) -> Delivery:
        result, detail = judge(error)
        wait_s = GREYLIST_WAIT_S if result is DeliveryResult.RETRY else None
        return Delivery(
            result=result,
            detail=shown(detail, self._secrets),
            retry_after_s=wait_s,
            retry_all=False,
        )


def judge(error: Exception) -> tuple[DeliveryResult, str]:
    """Return what an exception of the SMTP client means, and how to say it."""
    match error:
        case aiosmtplib.SMTPRecipientsRefused():
            refused = {it.recipient: (it.code, it.message) for it in error.recipients}
            later = any(code in _TEMPORARY for code, _ in refused.values())
            result = DeliveryResult.RETRY if later else DeliveryResult.PERMANENT
            outcome = result, f"refused for {_refusals(refused)}"
        case aiosmtplib.SMTPResponseException():
            outcome = _by_code(error.code), f"{error.code} {error.message}"
        case OSError():
            outcome = _by_connection(error)
        case aiosmtplib.SMTPException() if "STARTTLS extension" in str(error):
            outcome = DeliveryResult.PERMANENT, "server offers no STARTTLS; nothing was sent"
        case _:
            outcome = DeliveryResult.PERMANENT, str(error)
    return outcome


def _by_code(code: int) -> DeliveryResult:
    if code in _TEMPORARY:
        return DeliveryResult.RETRY
    return DeliveryResult.PERMANENT if code in _PERMANENT else DeliveryResult.UNCERTAIN


def _by_connection(error: OSError) -> tuple[DeliveryResult, str]:
    match error:
        case aiosmtplib.SMTPConnectError():
            return DeliveryResult.RETRY, f"{error}; nothing was sent"
        case ssl.SSLError():
            told = (getattr(error, name, "") for name in ("verify_message", "reason"))
            reason = next(filter(None, told), "handshake failed")
            return DeliveryResult.RETRY, f"TLS: {reason}; nothing was sent"
        case TimeoutError():
            return DeliveryResult.UNCERTAIN, "no reply in time; it may have been accepted"
        case _:
            return DeliveryResult.UNCERTAIN, "connection lost; it may have been accepted"


def _refusals(refused: Mapping[str, tuple[int, str]]) -> str:
    return ", ".join(f"{address} ({code} {why})" for address, (code, why) in refused.items())


def _checked(address: str) -> str:
    if not _ADDRESS.fullmatch(address):
        msg = "expected a plain mail address such as oncall@example.com"
        raise ValueError(msg)
    return address
