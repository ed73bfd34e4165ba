"""Standard Webhooks signatures."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.signature import sign, signing_key, verify

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE, AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_published_vector() -> None:
    """We sign as every other library of the standard does."""
    assert sign([SECRET], MESSAGE, AT, BODY) == SIGNATURE
    assert sign([SECRET], MESSAGE, AT + 0.999, BODY) == SIGNATURE


@given(
    secrets=st.lists(st.text(min_size=1).filter(lambda s: not s.startswith("whsec_")), min_size=1),
    message=st.text(),
    at=st.integers(0, 10**12),
    body=st.binary(),
    skew=st.integers(-300, 300),
)
def test_what_is_signed_verifies(
    secrets: list[str], message: str, at: int, body: bytes, skew: int
) -> None:
    """Any message verifies with any one of its secrets, within the tolerance."""
    signature = sign(secrets, message, at, body)
    assert len(signature.split(" ")) == len(secrets)
    for secret in secrets:
        assert verify([secret], message, str(at), body, signature, at + skew)


@pytest.mark.parametrize(
    ("changed", "value"),
    [
        ("secrets", ["whsec_" + base64.b64encode(b"another").decode()]),
        ("secrets", []),
        ("message_id", "msg_other"),
        ("timestamp", str(AT + 1)),
        ("timestamp", ""),
        ("timestamp", "-1"),
        ("timestamp", "1e9"),
        ("timestamp", "١٦١٤٢٦٥٣٣٠"),
        ("timestamp", "9" * 400),
        ("body", BODY + b" "),
        ("signature", ""),
        ("signature", "v1,"),
        ("signature", SIGNATURE.removeprefix("v1,")),
        ("signature", SIGNATURE.replace("v1,", "v1a,")),
        ("signature", SIGNATURE[:-1]),
        ("signature", "v1,\udce4"),
        ("message_id", "\ud800"),
        ("now", AT + 300.001),
        ("now", AT - 300.001),
    ],
)
def test_anything_else_is_refused(changed: str, value: object) -> None:
    """One wrong part is enough, and nothing that a sender writes raises."""
    parts = {
        "secrets": [SECRET],
        "message_id": MESSAGE,
        "timestamp": str(AT),
        "body": BODY,
        "signature": SIGNATURE,
        "now": AT,
    }
    assert verify(**parts)
    assert not verify(**(parts | {changed: value}))


def test_rotation() -> None:
    """While a secret is rotated both sides may know two, in any order."""
    both = sign(["new", SECRET], MESSAGE, AT, BODY)
    assert both.split(" ")[1] == SIGNATURE
    assert verify([SECRET], MESSAGE, str(AT), BODY, both, AT)
    assert verify(["old", "new"], MESSAGE, str(AT), BODY, both, AT)
    assert not verify(["old"], MESSAGE, str(AT), BODY, both, AT)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64!", "whsec_abc"])
def test_a_secret_without_a_key_is_an_error(secret: str) -> None:
    """A key that would be empty or misread must not sign, and is not in the message."""
    with pytest.raises(ValueError, match="expected a signing secret") as error:
        signing_key(secret)
    assert "not base64!" not in str(error.value)


def test_signing_without_a_secret_is_an_error() -> None:
    """An empty list would sign nothing at all."""
    with pytest.raises(ValueError, match="at least one"):
        sign([], MESSAGE, AT, BODY)
