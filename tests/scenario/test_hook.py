"""The strict rollback receiver refuses what a careful one would refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest

from monitor.scenario.hook import FIELDS, HookFake
from monitor.scenario.provider import Request
from monitor.signature import sign

AT = 1_767_225_600.0
DOCUMENT = dict.fromkeys(FIELDS, "x") | {"id": "rb-1"}


def call(changes: dict[str, Any], document: Any = DOCUMENT) -> tuple[int, HookFake]:
    """Return the status of a sound call with `changes`, and the fake that answered."""
    fake = HookFake("secret")
    body = json.dumps(document).encode()
    headers = {
        "idempotency-key": "rb-1",
        "webhook-id": "rb-1",
        "webhook-timestamp": str(int(AT)),
        "webhook-signature": sign(["secret"], "rb-1", AT, body),
    }
    sound = {"method": "POST", "path": "/rollback", "headers": headers, "body": body, "at": AT}
    return fake.handle(Request(**(sound | changes))).status, fake


def test_sound_call_is_executed() -> None:
    """The base of the table below."""
    status, fake = call({})
    assert (status, len(fake.executed)) == (200, 1)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"method": "PUT"}, 405),
        ({"path": "/other"}, 405),
        ({"headers": {}}, 401),
        ({"body": b"{}"}, 401),
        ({"at": AT + 301}, 401),
    ],
)
def test_unsound_calls_are_refused(changes: dict[str, Any], status: int) -> None:
    """A wrong method, path, signature or time executes nothing."""
    got, fake = call(changes)
    assert (got, fake.executed) == (status, [])


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        DOCUMENT | {"extra": 1},
        {name: it for name, it in DOCUMENT.items() if name != "rule"},
        DOCUMENT | {"id": "rb-2"},
    ],
)
def test_unsound_documents_are_refused(document: Any) -> None:
    """All fields must be there, no other, and the key must be the id."""
    got, fake = call({}, document)
    assert (got, fake.executed) == (422, [])
