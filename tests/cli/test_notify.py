"""`monitor notify test`."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from docs.channels import ANSWER, EXAMPLE
from monitor.scenario.pagerduty import PagerDutyFake
from monitor.scenario.slack import SlackFake
from tests.cli.conftest import CONFIG, Run, aside
from tests.support.serve import serve

PATH = "/services/T000/B000/canarySlackToken"
KEY = "0123456789abcdef0123456789abcdef"


async def test_a_channel_that_works(
    run: Run, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 0, and one message that says it is only a test."""
    slack, path = SlackFake(path=PATH), write()
    async with serve(slack) as url:
        monkeypatch.setenv("SLACK_WEBHOOK", url + PATH)
        result = await aside(run, "notify", "test", "slack", "--config", path)
        assert (result.code, result.err) == (0, "")
        assert result.out == "slack: delivered 200: ok\n"
        [message] = slack.messages
        assert "Nothing is wrong" in message.text
        again = await aside(run, "notify", "test", "slack", "--config", path, "--output", "json")
        assert again.document == {"channel": "slack", "result": "delivered", "detail": "200: ok"}


async def test_a_channel_that_refuses(
    run: Run, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 1 with the provider's words and without the secret."""
    slack, path = SlackFake(path=PATH), write()
    slack.fail_next(403, body=b"invalid_token")
    async with serve(slack) as url:
        monkeypatch.setenv("SLACK_WEBHOOK", url + PATH)
        result = await aside(run, "notify", "test", "slack", "--config", path)
    assert result.code == 1
    assert "invalid_token" in result.out
    assert "canarySlackToken" not in result.out + result.err


async def test_the_same_authorities_as_the_daemon(
    run: Run, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SSL_CERT_FILE counts for the clients that block as well."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    pagerduty = PagerDutyFake({KEY})
    async with serve(pagerduty, ssl_context=tls) as url:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        monkeypatch.setenv("PD_KEY", KEY)
        channel = {"kind": "pagerduty", "routing_key": {"env": "PD_KEY"}, "base_url": url}
        path = write(channels={**CONFIG["channels"], "pd": channel})
        result = await aside(run, "notify", "test", "pd", "--config", path)
    assert (result.code, result.out) == (0, "pd: delivered 202 accepted\n")
    assert len(pagerduty.incidents) == 1


def test_an_unknown_channel(run: Run, write: Callable[..., Path]) -> None:
    """Exit 2 with the names that exist."""
    result = run("notify", "test", "slak", "--config", write())
    assert (result.code, result.out) == (2, "")
    assert "'slak'" in result.err
    assert "configured: slack" in result.err


def test_the_example_of_the_documentation(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What docs/channels.md shows is what happens."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "monitor.yml"
    path.write_text(EXAMPLE)
    result = run("notify", "test", "inbox", "--config", path)
    assert (result.code, result.err) == (0, "")
    assert result.out.endswith(f"{ANSWER}\n")
    assert "Nothing is wrong" in next(tmp_path.rglob("inbox.jsonl")).read_text()
