"""A message as a mail: its headers, its parts, and the thread that it belongs to.

Pure. Every header is a line of ours; what other systems wrote goes through the library's encoding.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from monitor.model import Message, SendReason
from monitor.notify.page import page
from monitor.notify.render import fingerprint, render

_STARTS = frozenset({SendReason.FIRST, SendReason.TEST})


def compose(
    message: Message, sender: str, recipients: tuple[str, ...], picture: bytes | None = None
) -> EmailMessage:
    """Return the mail: text and HTML, in one thread with the other mails of its incident.

    `picture` is a PNG that the HTML shows; it travels in the mail.
    """
    text, domain = render(message), sender.rpartition("@")[2]
    own = fingerprint(message, message.reason)
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = text.title
    mail["Date"] = format_datetime(datetime.fromtimestamp(message.at, UTC))
    mail["Message-ID"] = f"<{own}@{domain}>"
    if message.reason not in _STARTS:
        first = f"<{fingerprint(message, SendReason.FIRST)}@{domain}>"
        mail["In-Reply-To"] = first
        mail["References"] = first
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(text.plain() + "\n")
    content_id = None if picture is None else f"course.{own}@{domain}"
    mail.add_alternative(page(message, text, content_id), subtype="html")
    if picture is not None:
        _, shown = mail.iter_parts()
        shown.add_related(
            picture, "image", "png", cid=f"<{content_id}>", filename="course.png",
            disposition="inline",
        )  # fmt: skip
    return mail
