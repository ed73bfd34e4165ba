"""The strict GitHub refuses what GitHub refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from monitor.scenario.github import GitHubFake
from monitor.scenario.provider import Request

AT = 1_767_225_600.0
WORKFLOW = "/repos/acme/shop/actions/workflows/rollback.yml"
HEADERS = {
    "accept": "application/vnd.github+json",
    "authorization": "Bearer token",
    "user-agent": "test",
    "x-github-api-version": "2022-11-28",
}


def ask(**changes: Any) -> tuple[int, Any, GitHubFake]:
    """Return the status and the document of a sound dispatch with `changes`, and the fake."""
    fake = GitHubFake("acme/shop", "token", inputs=["version"])
    sound = {
        "method": "POST",
        "path": f"{WORKFLOW}/dispatches",
        "headers": HEADERS,
        "body": b'{"ref": "main"}',
        "at": AT,
    }
    reply = fake.handle(Request(**(sound | changes)))
    return reply.status, json.loads(reply.body or b"null"), fake


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"ref": "main"}, 204),
        ({"ref": "refs/heads/main", "inputs": {"version": "1"}}, 204),
        ({"ref": "main", "return_run_details": True}, 200),
    ],
)
def test_sound_dispatches_make_a_run(body: dict[str, Any], status: int) -> None:
    """The run's number is told only to those who ask for it."""
    got, document, fake = ask(body=json.dumps(body).encode())
    assert (got, len(fake.runs)) == (status, 1)
    assert document is None or document["workflow_run_id"] == fake.runs[0].number


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"headers": HEADERS | {"authorization": "Bearer other"}}, 401),
        ({"headers": HEADERS | {"user-agent": ""}}, 403),
        ({"headers": HEADERS | {"accept": "text/html"}}, 415),
        ({"headers": HEADERS | {"x-github-api-version": "1999-01-01"}}, 400),
        ({"method": "PUT"}, 404),
        ({"path": "/repos/acme/other/actions/workflows/rollback.yml/dispatches"}, 404),
        ({"body": b"ref=main"}, 400),
        ({"body": b"[]"}, 422),
        ({"body": b'{"inputs": {}}'}, 422),
        ({"body": b'{"ref": "gone"}'}, 422),
        ({"body": b'{"ref": "main", "more": 1}'}, 422),
        ({"body": b'{"ref": "main", "inputs": {"other": "1"}}'}, 422),
        ({"body": b'{"ref": "main", "inputs": {"version": 1}}'}, 422),
    ],
)
def test_unsound_dispatches_make_none(changes: dict[str, Any], status: int) -> None:
    """Each refusal carries a message, as GitHub's do."""
    got, document, fake = ask(**changes)
    assert (got, fake.runs) == (status, [])
    assert document["message"]


@pytest.mark.parametrize("query", ["branch=main", "event=push", "created=2026-01-01"])
def test_unknown_filters_are_refused(query: str) -> None:
    """A filter that the fake would ignore must not make a test pass."""
    status, _, _ = ask(method="GET", path=f"{WORKFLOW}/runs?{query}")
    assert status == 422
