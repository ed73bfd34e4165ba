"""URLs: joining, following and refusing."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.probes.http.url import SchemeError, follow, join, parse_url


@pytest.mark.parametrize(
    ("base", "path", "joined"),
    [
        ("https://shop.test", "/", "https://shop.test/"),
        ("https://shop.test/", "/health", "https://shop.test/health"),
        ("https://shop.test/app", "/", "https://shop.test/app"),
        ("https://shop.test/app/", "/", "https://shop.test/app/"),
        ("https://shop.test/app/", "/health?full=1", "https://shop.test/app/health?full=1"),
        ("HTTP://Shop.Test:80/App", "/", "http://shop.test/App"),
        ("http://shop.test:8080", "//evil.test/", "http://shop.test:8080//evil.test/"),
        ("http://[2001:DB8::1]:81", "/", "http://[2001:db8::1]:81/"),
        ("https://bücher.test", "/ä", "https://xn--bcher-kva.test/%C3%A4"),
        ("http://shop.test.", "/", "http://shop.test/"),
        ("http://shop.test", "/a%20b", "http://shop.test/a%20b"),
    ],
)
def test_join(base: str, path: str, joined: str) -> None:
    """A path goes below the base URL, and never changes its host."""
    assert str(join(base, path)) == joined


@pytest.mark.parametrize(
    "text",
    [
        "shop.test",
        "//shop.test",
        "http://",
        "http://user:pass@shop.test/",
        "http://user@shop.test/",
        "http://shop.test:0/",
        "http://shop.test:65536/",
        "http://shop.test:x/",
        "http://shop test/",
        "http://shop.test/\r\nX: y",
        "http://shop%2etest/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://-shop.test/",
        "http://" + "x" * 64 + ".é.test/",
        "ftp://shop.test/",
        "file:///etc/passwd",
    ],
)
def test_not_a_url(text: str) -> None:
    """What cannot be requested is refused when it is parsed."""
    with pytest.raises(ValueError, match=r"."):
        parse_url(text)


@pytest.mark.parametrize("base", ["http://shop.test?a=b", "http://shop.test#top"])
def test_a_base_url_ends_with_its_path(base: str) -> None:
    """A query cannot be prefixed to a path."""
    with pytest.raises(ValueError, match="no query and no fragment"):
        join(base, "/health")


@pytest.mark.parametrize(
    ("location", "target"),
    [
        (b"/b", "http://shop.test:81/b"),
        (b"b?c=d#e", "http://shop.test:81/a/b?c=d"),
        (b"?c", "http://shop.test:81/a/index?c"),
        (b"//other.test/b", "http://other.test/b"),
        (b"https://other.test", "https://other.test/"),
        ("/ü".encode(), "http://shop.test:81/%C3%BC"),
    ],
)
def test_follow(location: bytes, target: str) -> None:
    """Relative and absolute locations lead where a browser would go."""
    assert str(follow(parse_url("http://shop.test:81/a/index"), location)) == target


@given(
    st.binary(max_size=40) | st.text(alphabet="/:@[]%?#.\\ab1\u0130", max_size=20).map(str.encode)
)
def test_a_location_never_smuggles(location: bytes) -> None:
    """Whatever a server sends as location, the next request line and host header stay clean."""
    with contextlib.suppress(ValueError):
        url = follow(parse_url("http://shop.test/"), location)
        clean = url.target + url.authority
        assert clean.isascii()
        assert clean.isprintable()
        assert " " not in clean
        assert url.target.startswith("/")


def test_a_foreign_scheme_has_its_own_error() -> None:
    """A redirect away from HTTP is told apart from a broken one."""
    with pytest.raises(SchemeError):
        follow(parse_url("http://shop.test/"), b"file:///etc/passwd")


@given(
    st.text(max_size=40)
    | st.text(alphabet="/:@[]%?#.\\ab1\u0130\ud800\r\n\0", max_size=20).map("http://".__add__)
)
def test_no_text_breaks_the_parser(text: str) -> None:
    """Arbitrary text is a URL, which then is clean, or a ValueError."""
    with contextlib.suppress(ValueError):
        url = parse_url(text)
        assert str(url).isascii()
        assert str(url).isprintable()
        assert 0 < url.port < 65536
