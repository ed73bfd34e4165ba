"""Hosts and ports as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.probes.endpoint import Endpoint, parse_endpoint, parse_host


@pytest.mark.parametrize(
    ("text", "default_port", "expected"),
    [
        ("mail.shop.test:25", None, Endpoint("mail.shop.test", 25, is_address=False)),
        ("Mail.shop.test.:25", None, Endpoint("mail.shop.test", 25, is_address=False)),
        ("bücher.test:1", None, Endpoint("xn--bcher-kva.test", 1, is_address=False)),
        ("192.0.2.7:65535", None, Endpoint("192.0.2.7", 65535, is_address=True)),
        ("[2001:DB8::1]:25", None, Endpoint("2001:db8::1", 25, is_address=True)),
        ("shop.test", 53, Endpoint("shop.test", 53, is_address=False)),
        ("shop.test:54", 53, Endpoint("shop.test", 54, is_address=False)),
        ("::1", 53, Endpoint("::1", 53, is_address=True)),
        ("[::1]", 53, Endpoint("::1", 53, is_address=True)),
    ],
)
def test_endpoints(text: str, default_port: int | None, expected: Endpoint) -> None:
    """Names become ASCII, addresses their shortest form, and the text form reads back the same."""
    endpoint = parse_endpoint(text, default_port)
    assert endpoint == expected
    assert parse_endpoint(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":25",
        "shop.test",
        "shop.test:",
        "shop.test:0",
        "shop.test:65536",
        "shop.test:-1",
        "shop.test:http",
        "http://shop.test:80",
        "shop.test:80/x",
        "a@shop.test:80",
        "a b:80",
        "fe80::1%eth0:80",
        "[::1:80",
        "-a:80",
    ],
)
def test_what_is_no_endpoint(text: str) -> None:
    """Each is refused in the same words."""
    with pytest.raises(ValueError, match=r"^expected host:port, such as"):
        parse_endpoint(text)


@given(st.text(max_size=30))
def test_any_text_is_an_endpoint_or_refused(text: str) -> None:
    """No text breaks the parser."""
    for parse in (parse_endpoint, parse_host, lambda bare: parse_endpoint(bare, 53)):
        try:
            endpoint = parse(text)
        except ValueError:
            continue
        assert endpoint.host


@pytest.mark.parametrize("text", ["shop.test:80", "127.0.0.1:80", "[::1]:80", "a:b"])
def test_a_host_has_no_port(text: str) -> None:
    """Where there is no port to connect to, one is a misunderstanding."""
    with pytest.raises(ValueError, match="without a port"):
        parse_host(text)
