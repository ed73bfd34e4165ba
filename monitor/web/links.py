"""Signed links: what a message lets its reader do without the token, for a while.

Owns what is signed and its comparison in constant time. Pure: no I/O, and the time is an argument.
A link names one purpose and one incident; nothing of it can be used for another.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from enum import StrEnum
from urllib.parse import quote, urlencode

from monitor.fields import Secret
from monitor.model import Incident

LINK_LIFE_S = 86400.0
"""As long as the longest acknowledgement: every later message brings new links."""
_CONTEXT = b"slo-monitor signed links, version 1"
_UNTIL = re.compile(r"[0-9]{1,15}")


class Purpose(StrEnum):
    """What a link is for; its value is the first part of the path."""

    ACKNOWLEDGE = "ack"
    SILENCE = "silence"


LABELS = {Purpose.ACKNOWLEDGE: "Acknowledge", Purpose.SILENCE: "Silence"}


class LinkError(Exception):
    """A link that opens nothing; the text is for the person who followed it."""


class AckLinks:
    """Makes links and knows its own again."""

    def __init__(self, key: Secret, page_url: str) -> None:
        """Sign with what is derived from `key`; links begin with `page_url`."""
        # HKDF (RFC 5869) with one block: who learns this key does not learn the secret, which may
        # be the token.
        pseudorandom = hmac.digest(bytes(32), key.reveal().encode(), "sha256")
        self._key = hmac.digest(pseudorandom, _CONTEXT + b"\x01", "sha256")
        self._root = page_url.rstrip("/")

    def links(self, incident: Incident, now: float) -> tuple[tuple[str, str], ...]:
        """Return (label, address) of everything that the reader of a message may do."""
        if not incident.is_open:
            return ()
        return tuple((LABELS[each], self.address(each, incident.id, now)) for each in Purpose)

    def address(self, purpose: Purpose, incident: str, now: float) -> str:
        """Return the address of one link; it is good for `LINK_LIFE_S` from `now`."""
        until = str(int(now + LINK_LIFE_S))
        query = urlencode({"until": until, "sig": self._sign(purpose, incident, until)})
        return f"{self._root}/{purpose}/{quote(incident, safe='')}?{query}"

    def check(
        self, purpose: Purpose, incident: str, until: str, signature: str, now: float
    ) -> None:
        """Return when this is a link of ours that is still good.

        Raises:
            LinkError: it is not.
        """
        ours = self._sign(purpose, incident, until)
        # Octets, since a query may hold what is no text.
        same = hmac.compare_digest(ours.encode(), signature.encode(errors="surrogatepass"))
        if not (same and _UNTIL.fullmatch(until)):
            msg = "this link is not one of ours, or it was altered on the way"
            raise LinkError(msg)
        if int(until) < now:
            msg = "this link has expired; the latest message or the page has more"
            raise LinkError(msg)

    def _sign(self, purpose: Purpose, incident: str, until: str) -> str:
        # Lengths first, so that no two links share what is signed.
        signed = b"".join(
            len(part).to_bytes(4, "big") + part
            for part in (text.encode(errors="surrogatepass") for text in (purpose, incident, until))
        )
        return hmac.new(self._key, signed, hashlib.sha256).hexdigest()
