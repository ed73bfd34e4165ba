"""The configuration of an HTTP probe, as it stands in a file."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from monitor.probes.http import HttpProbeConfig
from monitor.probes.http.fields import JsonAssertion


def load(**fields: Any) -> HttpProbeConfig:
    return HttpProbeConfig.model_validate(
        {"kind": "http", **fields},
        by_name=False,
        context={"secrets": lambda _how, name: f"hunter2 {name}"},
    )


def test_defaults() -> None:
    """Nothing but the kind need be said."""
    config = load()
    assert (config.path, config.method, config.status) == ("/", "GET", ((200, 299),))
    assert (config.max_body_bytes, config.follow_redirects, config.insecure) == (65536, True, False)


def test_every_field_by_its_name_in_the_file() -> None:
    """The names of a file are those without units."""
    config = load(
        name="version",
        path="/version.json?full=1",
        method="POST",
        headers={"Authorization": {"env": "TOKEN"}, "Accept": "application/json"},
        body="{}",
        status=[200, "400-404"],
        body_contains="1.",
        body_matches=r"\d+",
        json=[{"path": "$.queue", "less_than": 10, "greater_than": -1}],
        max_latency="250ms",
        follow_redirects=False,
        ca_file="ca.pem",
        max_body="1KiB",
        interval="30s",
        timeout="5s",
        revision="$.version",
    )
    assert config.status == ((200, 200), (400, 404))
    assert (config.interval_s, config.timeout_s, config.max_latency_s) == (30, 5, 0.25)
    assert (config.max_body_bytes, config.revision_json) == (1024, "$.version")
    assert len(config.json_[0].compiled()) == 2


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"path": "health"}, "path"),
        ({"path": "/a\r\nX: y"}, "path"),
        ({"path": "/a b"}, "path"),
        ({"path": "/a#b"}, "path"),
        ({"method": "DELETE"}, "method"),
        ({"headers": {"X": "a\r\nY: b"}}, "headers"),
        ({"headers": {"X": {"env": "A\n"}}}, "headers"),
        ({"headers": {"X Y": "a"}}, "headers"),
        ({"headers": {"X": "a", "x": "b"}}, "headers"),
        ({"status": []}, "status"),
        ({"status": "2xx"}, "status"),
        ({"status": 99}, "status"),
        ({"status": "299-200"}, "status"),
        ({"status": [True]}, "status"),
        ({"body_matches": "("}, "body_matches"),
        ({"body_contains": ""}, "body_contains"),
        ({"json": [{"path": "$..a", "equals": 1}]}, "json.0.path"),
        ({"json": [{"path": "$.a"}]}, "json.0"),
        ({"json": [{"path": "$.a", "matches": "("}]}, "json.0.matches"),
        ({"json": [{"path": "$.a", "equal": 1}]}, "json.0.equal"),
        ({"revision": "$["}, "revision"),
        ({"max_body": "2MiB"}, "max_body"),
        ({"max_body": "0B"}, "max_body"),
        ({"max_latency": "-1s"}, "max_latency"),
        ({"interval_s": "5s"}, "interval_s"),
        ({"body": "x"}, ""),
        ({"method": "HEAD", "revision": "$.version"}, ""),
        ({"status": ["301", "302-308"]}, ""),
    ],
)
def test_load_errors(fields: dict[str, Any], where: str) -> None:
    """A mistake is found when the file is loaded, at its key, and no secret is repeated."""
    with pytest.raises(ValidationError) as caught:
        load(**fields)
    places = {".".join(map(str, error["loc"])) for error in caught.value.errors()}
    assert where in places
    assert "hunter2" not in str(caught.value)


def test_redirect_statuses_need_that_none_is_followed() -> None:
    """Expecting a redirect is fine once it can be seen."""
    assert load(status=301, follow_redirects=False).status == ((301, 301),)


@pytest.mark.parametrize("value", ["a", 1, 1.5, True, None])
def test_null_and_false_can_be_expected(value: object) -> None:
    """`equals` takes every scalar as it is, null included."""
    (check,) = JsonAssertion.model_validate({"path": "a", "equals": value}).compiled()
    assert check.condition.holds(value)
    assert not check.condition.holds("something else")


def test_the_schema_speaks_the_names_of_the_file() -> None:
    """An editor completes what the loader accepts."""
    properties = HttpProbeConfig.model_json_schema()["properties"]
    assert {"json", "max_latency", "revision", "interval", "timeout"} <= set(properties)
    assert {"json_", "max_latency_s", "revision_json", "interval_s"}.isdisjoint(properties)


def test_the_repr_hides_secrets() -> None:
    """A configuration in a log shows where a secret comes from, not what it is."""
    config = load(headers={"X-Key": {"env": "TOKEN"}})
    assert "hunter2" not in repr(config) + config.model_dump_json()
    assert "env TOKEN" in repr(config)


def test_every_further_field_by_its_name_in_the_file() -> None:
    """What goes beyond one plain request."""
    config = load(
        auth={"basic": {"username": "a", "password": {"env": "PASSWORD"}}},
        client_certificate={"cert_file": "c.pem", "key_file": "k.pem"},
        ip=6,
        proxy="http://proxy.test:3128",
        keep_alive=True,
        headers_match={"Content-Type": "^text/"},
        cel="status == 200 && latency_ms < 500",
        revision="version",
        expect_version="1.2.3",
        min_certificate_days=14,
        must_fail=True,
    )
    assert (config.ip, config.keep_alive, config.must_fail) == (6, True, True)
    assert "hunter2" not in repr(config) + config.model_dump_json()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"ip": 5}, "4"),
        ({"proxy": "https://proxy.test"}, "expected a proxy such as"),
        ({"proxy": "http://proxy.test/path"}, "expected a proxy such as"),
        ({"proxy": "http://user:pw@proxy.test"}, "no user name"),
        ({"keep_alive": True, "method": "POST"}, "set method: GET"),
        ({"keep_alive": True, "method": "HEAD"}, "set method: GET"),
        ({"headers_match": {"Content Type": "a"}}, "is not a header name"),
        ({"headers_match": {"Vary": "("}}, "RE2"),
        ({"cel": "statsu == 200"}, "statsu is not known here"),
        ({"cel": "json == null", "method": "HEAD"}, "set method: GET"),
        ({"expect_version": "1"}, "needs revision"),
        ({"min_certificate_days": 0}, "greater than 0"),
        ({"min_certificate_days": 14, "insecure": True}, "remove insecure"),
        ({"client_certificate": {"cert_file": "c.pem"}}, "key_file"),
    ],
)
def test_further_mistakes(fields: dict[str, Any], problem: str) -> None:
    """Each is found at load and says what to write."""
    with pytest.raises(ValidationError, match=problem):
        load(**fields)
