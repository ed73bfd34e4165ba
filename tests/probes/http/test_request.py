"""The bytes of a request."""

from __future__ import annotations

import pytest

from monitor.fields import Secret
from monitor.probes.http.request import Request, check_header
from monitor.probes.http.url import parse_url

URL = parse_url("http://shop.test:8080/health?full=1")


def test_a_plain_request() -> None:
    """A fresh connection, no compression, and a name under which we can be found in logs."""
    lines = Request.build("GET", {}, b"").render(URL, at_home=True).split(b"\r\n")
    assert lines[0] == b"GET /health?full=1 HTTP/1.1"
    assert lines[-2:] == [b"", b""]
    headers = dict(line.split(b": ", 1) for line in lines[1:-2])
    assert headers[b"Host"] == b"shop.test:8080"
    assert headers[b"Connection"] == b"close"
    assert headers[b"Accept-Encoding"] == b"identity"
    assert headers[b"User-Agent"].startswith(b"slo-monitor/")
    assert len(headers) == len(lines) - 3


def test_configured_headers_replace_defaults() -> None:
    """A header is sent once, whatever its case."""
    rendered = Request.build("GET", {"user-agent": "me", "HOST": "a"}, b"").render(
        URL, at_home=True
    )
    assert rendered.lower().count(b"user-agent:") == 1
    assert rendered.lower().count(b"host:") == 1


def test_a_post_has_a_length_even_without_body() -> None:
    """A server must not wait for a body that never comes."""
    assert b"Content-Length: 0\r\n" in Request.build("POST", {}, b"").render(URL, at_home=True)
    full = Request.build("POST", {}, b'{"a": 1}').render(URL, at_home=True)
    assert b"Content-Length: 8\r\n" in full
    assert full.endswith(b'\r\n\r\n{"a": 1}')


@pytest.mark.parametrize(
    ("method", "status", "expected"),
    [
        ("POST", 301, "GET"),
        ("POST", 302, "GET"),
        ("POST", 303, "GET"),
        ("POST", 307, "POST"),
        ("POST", 308, "POST"),
        ("GET", 303, "GET"),
        ("HEAD", 301, "HEAD"),
        ("HEAD", 303, "HEAD"),
    ],
)
def test_redirected_methods(method: str, status: int, expected: str) -> None:
    """The method changes as in browsers, and the body goes with it."""
    after = Request.build(method, {}, b"body" if method == "POST" else b"").redirected(status)
    assert after.method == expected
    assert bool(after.body) is (expected == "POST")


def test_a_secret_is_not_in_the_repr() -> None:
    """A request that turns up in a traceback shows nothing."""
    request = Request.build("GET", {"X-Key": Secret("hunter2", "env KEY")}, b"")
    assert b"hunter2" in request.render(URL, at_home=True)
    assert "hunter2" not in repr(request)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Key", "a\r\nBcc: b"),
        ("X-Key", "a\nb"),
        ("X-Key", "a\x00b"),
        ("X-Key", "a\x7fb"),
        ("X-Key", "snow \u2603"),
        ("X-Key", "a\u0085\u2028b"),
        ("X Key", "a"),
        ("X-Key:", "a"),
        ("", "a"),
        ("X\r\nKey", "a"),
        ("Content-Length", "5"),
        ("transfer-encoding", "chunked"),
        ("Connection", "keep-alive"),
    ],
)
def test_impossible_headers(name: str, value: str) -> None:
    """What would break out of its line, or break our framing, is refused without being repeated."""
    with pytest.raises(ValueError, match=r"header|prober|value") as plain:
        check_header(name, value)
    with pytest.raises(ValueError, match=r"header|prober|value") as hidden:
        check_header(name, Secret(value, "env KEY"))
    assert str(plain.value) == str(hidden.value)
    assert "\n" not in str(plain.value)


def test_header_values_may_be_latin1() -> None:
    """Tabs and Latin-1 letters travel as they are."""
    check_header("X-Key", "a\tb \xe9")
    assert b"\xe9" in Request.build("GET", {"X-Key": "\xe9"}, b"").render(URL, at_home=True)
