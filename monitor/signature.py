"""Standard Webhooks signatures: HMAC-SHA256 over `id.timestamp.body`, several secrets at once.

Owns the signed text and its constant-time comparison. No I/O, no clock (time is an argument), and
no idea of who sends or receives. The headers are called `webhook-id`, `webhook-timestamp` and
`webhook-signature`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence

_PREFIX = "whsec_"
_VERSION = "v1,"
_TIMESTAMP = re.compile(r"[0-9]{1,15}")


def signing_key(secret: str) -> bytes:
    """Return the key bytes of a secret: base64 after `whsec_`, otherwise its UTF-8 bytes.

    Raises:
        ValueError: when the text after `whsec_` is not base64, or when no key is left.
    """
    try:
        key = (
            base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
            if secret.startswith(_PREFIX)
            else secret.encode()
        )
    except binascii.Error:
        # The secret itself must not appear in the message or in its chain.
        key = b""
    if not key:
        msg = "expected a signing secret: whsec_ followed by base64, or any other non-empty text"
        raise ValueError(msg)
    return key


def sign(secrets: Sequence[str], message_id: str, at: float, body: bytes) -> str:
    """Return the `webhook-signature` value: one `v1,<base64>` for each secret, space-separated.

    `at` is UTC seconds; its whole seconds are signed, and are what `webhook-timestamp` must say.

    Raises:
        ValueError: when there is no secret, or one of them holds no key.
    """
    if not secrets:
        msg = "expected at least one signing secret"
        raise ValueError(msg)
    return " ".join(_sign_one(secret, message_id, str(int(at)), body) for secret in secrets)


def verify(  # noqa: PLR0917 - the order of `sign`, then what only the receiver knows
    secrets: Sequence[str],
    message_id: str,
    timestamp: str,
    body: bytes,
    signature: str,
    now: float,
    tolerance_s: float = 300,
) -> bool:
    """Return whether any of `secrets` signed this message within `tolerance_s` of `now`.

    `timestamp` and `signature` are the header values as received. Every pair is compared in
    constant time and none is skipped after a match.

    Raises:
        ValueError: when one of our own secrets holds no key; never for what a sender wrote.
    """
    if not _TIMESTAMP.fullmatch(timestamp) or abs(now - int(timestamp)) > tolerance_s:
        return False
    offered = [_octets(part) for part in signature.split(" ") if part.startswith(_VERSION)]
    expected = [_sign_one(secret, message_id, timestamp, body).encode() for secret in secrets]
    matches = [hmac.compare_digest(ours, theirs) for ours in expected for theirs in offered]
    return any(matches)


def _sign_one(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    signed = b".".join((_octets(message_id), timestamp.encode(), body))
    digest = hmac.new(signing_key(secret), signed, hashlib.sha256).digest()
    return _VERSION + base64.b64encode(digest).decode()


def _octets(text: str) -> bytes:
    # A header may have been decoded with surrogates; that must compare unequal, not raise.
    return text.encode("utf-8", "surrogatepass")
