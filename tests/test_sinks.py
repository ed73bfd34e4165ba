"""Sinks of the dead man's switch."""

from __future__ import annotations

import inspect
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError
from sentry_sdk import crons

from monitor.fields import Secret
from monitor.scenario.sink import SinkFake
from monitor.sinks import DeadmanConfig, build_sink
from tests.support.serve import serve

PATH = "/ping/canary-0123456789"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, "needs a url"),
        ({"kind": "url"}, "needs a url"),
        ({"kind": "url", "url": "https://a.example/x", "monitor": "m"}, "takes no monitor"),
        ({"kind": "sentry_cron"}, "needs monitor"),
        ({"kind": "sentry_cron", "monitor": "m", "url": "https://a.example"}, "takes no url"),
        ({"kind": "sentry_cron", "monitor": "m", "interval": "90s"}, "whole minutes"),
        ({"url": "ftp://a.example/canary"}, "expected an address"),
        ({"url": "https://a.example", "interval": "1s"}, "expected at least 5s"),
        ({"url": "https://a.example", "kind": "pigeon"}, "healthchecks"),
    ],
)
def test_what_makes_no_sense(keys: dict[str, Any], expected: str) -> None:
    """Each mistake is named, and the address is not repeated."""
    with pytest.raises(ValidationError) as caught:
        DeadmanConfig.model_validate(keys, by_name=False, by_alias=True)
    assert expected in str(caught.value)
    assert "canary" not in str(caught.value)


async def test_over_a_real_socket() -> None:
    """Ping and failure arrive where Healthchecks wants them; an error says no address."""
    sink = SinkFake(PATH)
    async with serve(sink) as url, httpx2.AsyncClient(trust_env=False) as http:
        config = DeadmanConfig(url=Secret(url + PATH))
        teller = build_sink(config, http, lambda **_: None)
        assert await teller.tell(None, 5.0) is None
        assert await teller.tell("nothing can be delivered", 5.0) is None
        sink.fail_next(500)
        assert await teller.tell(None, 5.0) == "it answered 500"
        wrong = build_sink(DeadmanConfig(url=Secret(f"{url}/canary")), http, lambda **_: None)
        assert await wrong.tell(None, 5.0) == "it answered 404"
    trouble = await _after_its_end(teller)
    assert "canary" not in trouble
    assert (len(sink.pings), sink.reasons) == (1, ["nothing can be delivered"])


async def _after_its_end(teller: Any) -> str:
    async with httpx2.AsyncClient(trust_env=False) as http:
        teller._http = http
        return str(await teller.tell(None, 5.0))


async def test_a_check_in_with_sentry() -> None:
    """Status and schedule are those that Sentry's own function takes."""
    heard: list[dict[str, Any]] = []
    async with httpx2.AsyncClient() as http:
        config = DeadmanConfig(kind="sentry_cron", monitor="slo-monitor", interval_s="2m")
        teller = build_sink(config, http, lambda **said: heard.append(said))
        assert await teller.tell(None, 5.0) is None
        assert await teller.tell("stuck", 5.0) is None
    assert [each["status"] for each in heard] == ["ok", "error"]
    assert heard[0]["monitor_config"]["schedule"] == {
        "type": "interval", "value": 2, "unit": "minute",
    }  # fmt: skip
    inspect.signature(crons.capture_checkin).bind(**heard[0])
