"""How errors read."""

from __future__ import annotations

from monitor.config.errors import ConfigError, ConfigErrors, format_path, may_show, quote, suggest


def error(file: str, line: int, col: int, path: str = "") -> ConfigError:
    return ConfigError(file=file, line=line, col=col, path=path, message="wrong")


def test_errors_are_told_in_the_order_of_the_file_and_once() -> None:
    """A person goes through a file from the top."""
    errors = ConfigErrors(
        [error("b", 1, 1), error("a", 10, 1), error("a", 2, 3, "x.y"), error("b", 1, 1)]
    )
    assert str(errors) == "a:2:3: x.y: wrong\na:10:1: wrong\nb:1:1: wrong"


def test_paths_are_short_and_on_one_line() -> None:
    """A key may be anything; a path is always readable."""
    assert (
        format_path(["deployments", 0, "us-east-1", "a\nb"]) == 'deployments[0].us-east-1."a\\nb"'
    )
    assert len(format_path(["x" * 50] * 50)) < 200


def test_values_are_shown_short_and_escaped() -> None:
    """A value from a file must not break the line or the terminal."""
    assert quote("a\x1b\nb") == '"a\\u001b\\nb"'
    assert quote("a\u2066b") == '"a\\u2066b"'
    assert len(quote("x" * 1000)) == 60
    assert [quote(value) for value in (True, None, 5)] == ["true", "nothing", "5"]


def test_values_that_may_be_secret_are_not_shown() -> None:
    """By the name of a key or by the form of an address."""
    assert may_show("15s", ["timeout"])
    assert not may_show("x", ["server", "Token"])
    assert not may_show("https://user:pw@host", ["url"])


def test_a_close_word_is_suggested_and_all_words_otherwise() -> None:
    """The most helpful list is the shortest one."""
    assert suggest("trafic", ["url", "traffic"]) == ' (did you mean "traffic"?)'
    assert suggest("zzz", ["url", "sla"]) == " (expected one of sla, url)"
    assert suggest("zzz", []) == ""
