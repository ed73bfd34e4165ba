"""Cookies of one origin during one run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.probes.cookies import MAX_COOKIES, CookieJar

AT = 1_700_000_000.0


def jar(*values: str, path: str = "/login", secure: bool = False) -> CookieJar:
    found = CookieJar(secure=secure)
    found.take([(b"Set-Cookie", value.encode("latin-1")) for value in values], path, AT)
    return found


@pytest.mark.parametrize(
    ("values", "path", "sent"),
    [
        ([], "/", None),
        (["sid=1"], "/any", "sid=1"),
        (["sid=1; Path=/; HttpOnly; SameSite=Lax", "b=2"], "/", "sid=1; b=2"),
        (["sid=1", "sid=2"], "/", "sid=2"),
        (["a=1; Path=/", "b=2; Path=/app"], "/app/x", "b=2; a=1"),
        (["b=2; Path=/app"], "/apple", None),
        (["b=2; Path=/app"], "/app?x=1", "b=2"),
        (["b=2; Path=/app/"], "/app", None),
        (["a=1; Domain=evil.test"], "/", "a=1"),
        (["a=1; Secure"], "/", None),
        (["a=1", "a=; Max-Age=0"], "/", None),
        (["a=1", "a=1; Max-Age=-5"], "/", None),
        (["a=1; Max-Age=60"], "/", "a=1"),
        (["a=1", "a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], "/", None),
        (["a=1; Expires=Fri, 31 Dec 2100 23:59:59 GMT"], "/", "a=1"),
        (["a=1; Expires=soon"], "/", "a=1"),
        (["a=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], "/", "a=1"),
        (["=1", "novalue", "a b=1", "a=\x01"], "/", None),
        (["a=b=c"], "/", "a=b=c"),
        (["a=" + "x" * 5000], "/", None),
    ],
)
def test_what_is_sent(values: list[str], path: str, sent: str | None) -> None:
    """Set-Cookie headers of one answer, and the Cookie header of the next request."""
    assert jar(*values).header(path) == sent


def test_the_default_path_is_the_directory() -> None:
    """A cookie without a path belongs to where it was set, as browsers have it."""
    found = jar("a=1", path="/app/login?next=/x/y")
    assert found.header("/app/home") == "a=1"
    assert found.header("/other") is None


def test_secure_cookies_go_over_tls() -> None:
    """They are kept, and sent when the origin is reached over TLS."""
    assert jar("a=1; Secure", secure=True).header("/") == "a=1"


def test_it_is_bounded() -> None:
    """One cookie too many is ignored, one that is known is replaced."""
    found = jar(*(f"c{number}=x" for number in range(MAX_COOKIES + 5)), "c0=new")
    assert len(found.values) == MAX_COOKIES
    assert "c0=new" in (found.header("/") or "")


@given(st.lists(st.binary(max_size=80), max_size=5), st.text(max_size=20))
def test_nothing_breaks_it_or_gets_out_of_the_header(values: list[bytes], path: str) -> None:
    """Arbitrary bytes never raise, and never make a second line."""
    found = CookieJar(secure=False)
    found.take([(b"set-cookie", value) for value in values], path, AT)
    sent = found.header(path) or ""
    assert not set(sent) & {"\r", "\n", "\0"}
