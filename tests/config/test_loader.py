"""The hardened YAML reader."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from monitor.config.errors import ConfigError
from monitor.config.loader import MAX_BYTES, MAX_DEPTH, MAX_ERRORS, load, parse
from monitor.config.tree import to_plain

PARSERS = [pytest.param(yaml.CSafeLoader, id="libyaml"), pytest.param(yaml.SafeLoader, id="python")]
DEEP = f"nested deeper than {MAX_DEPTH} levels"
MANY = "more than 100000 values once aliases are expanded"


def messages(text: str | bytes, parser: object = yaml.CSafeLoader) -> list[str]:
    data = text.encode() if isinstance(text, str) else text
    return [str(error) for error in parse(data, "f", parser).errors]


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "f:1:1: the file is empty"),
        ("# nothing\n---\n", "f:1:1: the file is empty"),
        ("\ufeffa: 1", "f:1:1: starts with a byte order mark: save it as plain UTF-8"),
        (b"\xff\xfea\0", "f:1:1: starts with a byte order mark: save it as plain UTF-8"),
        (b"a: \xc3\xa9\nb: \xff", "f:2:4: not UTF-8 (got byte 0xff)"),
        ("a: b\n  \0", "f:2:3: character U+0000 is not allowed"),
        ("a: x\ufeff", "f:1:5: character U+FEFF is not allowed"),
        ("a: \x1b[31m", "f:1:4: character U+001B is not allowed"),
        ("a: 1\n---\nb: 1\n", "f:2:1: a second document: one file holds one document"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "f:4:3: b.c: duplicate key (first at 3:3)"),
        ("'a': 1\n\"a\": 2\n", "f:2:1: a: duplicate key (first at 1:1)"),
        ("? [a, b]\n: 1\n", "f:1:3: keys must be text (got a collection, expected it in quotes)"),
        ("1: x", "f:1:1: keys must be text (got 1, expected it in quotes)"),
        ("a: {true: x}", "f:1:5: a: keys must be text (got true, expected it in quotes)"),
        ("~: x", "f:1:1: keys must be text (got nothing, expected it in quotes)"),
        ("a: !foo b", 'f:1:4: a: tags are not supported (got "!foo")'),
        ("- !!str 5", 'f:1:3: [0]: tags are not supported (got "tag:yaml.org,2002:str")'),
        ("a: *b", 'f:1:4: a: alias of an anchor that does not exist (got "b")'),
        ("a: &a [1, *a]", 'f:1:11: a[1]: alias "a" contains itself'),
        ("a: &a\n  b: *a", 'f:2:6: a.b: alias "a" contains itself'),
        (
            "a: {<<: 5}",
            'f:1:9: a."<<": wrong merge (expected an alias of a mapping, or a list of them)',
        ),
        ("a: {<<: {}, <<: {}}", 'f:1:13: a."<<": duplicate key (first at 1:5)'),
        ('a: "\\0"', "f:1:4: a: a text with a NUL or half a character in it"),
    ],
)
def test_what_is_not_allowed_is_named_with_its_place(
    text: str | bytes, expected: str, parser: object
) -> None:
    """Every refusal says file, line, column, path and reason, whichever parser is installed."""
    assert messages(text, parser) == [expected]


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("[" * 1_000_000, DEEP, id="brackets"),
        pytest.param("{a: " * 250_000, DEEP, id="braces"),
        pytest.param("- " * 500_000, DEEP, id="dashes"),
        pytest.param("a: " + "x" * 1_000_000, "a text of more than 65536 characters", id="text"),
        pytest.param(
            "x" * (MAX_BYTES + 1), "larger than 1024 KiB, which is all that is read", id="file"
        ),
        pytest.param(
            "a0: &a0 [x]\n"
            + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)),
            MANY,
            id="aliases",
        ),
        pytest.param(
            "m0: &m0 {"
            + ",".join(f"k{n}: 1" for n in range(5000))
            + "}\n"
            + "".join(
                f"m{n}: &m{n} {{<<: [{','.join([f'*m{n - 1}'] * 1000)}]}}\n" for n in range(1, 50)
            ),
            MANY,
            id="merges",
        ),
        pytest.param(
            f"a: &a '{'x' * 60_000}'\nb: [{','.join(['*a'] * 90_000)}]", MANY, id="one text often"
        ),
        pytest.param(
            "- &a0 []\n"
            + "".join(f"- &a{n} {'[' * 60}*a{n - 1}{']' * 60}\n" for n in range(1, 50)),
            DEEP,
            id="depth by aliases",
        ),
        pytest.param("a: 1\n" * 2_000, "too many errors to go on", id="errors"),
    ],
)
def test_bombs_are_defused_while_they_are_read(text: str, expected: str, parser: object) -> None:
    """Size, depth and expansion are limited before anything is composed."""
    document = parse(text.encode(), "f", parser)
    assert document.root is None
    assert document.errors[-1].message == expected
    assert len(document.errors) <= MAX_ERRORS + 1


SURPRISES = ["y", "No", "ON", "017", "0o17", "08", "-01.5", "0x1F", "0b1", "1:30", "1:30.5", ".nan",
             "-.INF", "1_000", "1_0.5", "1e400", "9" * 19]  # fmt: skip


@pytest.mark.parametrize("text", SURPRISES)
def test_texts_that_readers_see_differently_are_refused_as_values_only(text: str) -> None:
    """A plain value must be quoted when YAML readers disagree; a key or a quoted text is text."""
    (message,) = messages(f"a: {text}")
    assert message.startswith(f'f:1:4: a: "{text}" is ')
    assert "write it in quotes, or " in message
    assert to_plain(parse(f'"{text}": "{text}"'.encode(), "f").root) == {text: text}


def test_on_is_a_fine_key() -> None:
    """YAML 1.1 would read this key as true."""
    assert to_plain(parse(b"on: [a]", "f").root) == {"on": ["a"]}


def test_a_value_under_a_secret_sounding_key_is_not_repeated() -> None:
    """An error must not print what may be a password."""
    (message,) = messages("password: 017")
    assert "017" not in message
    assert message.startswith("f:1:11: password: this value is octal")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("FALSE", False), ("~", None), ("null", None), ("", None), ("0", 0),
        ("-5", -5), ("+5", 5), ("99.9", 99.9), ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0),
        ("1.2.3", "1.2.3"), ("127.0.0.1:80", "127.0.0.1:80"), ("2026-01-01", "2026-01-01"),
        ("15s", "15s"), ("< 1000ms", "< 1000ms"), ("99.9%", "99.9%"), ("nan", "nan"),
    ],
)  # fmt: skip
def test_plain_values_mean_what_json_would_say(text: str, value: object) -> None:
    """Only true, false, null and decimal numbers are not text."""
    plain = to_plain(parse(f"a: {text}".encode(), "f").root)
    assert plain == {"a": value}
    assert isinstance(plain, dict)
    assert type(plain["a"]) is type(value)


def test_explicit_keys_win_over_merged_ones_and_earlier_sources_over_later() -> None:
    """Merge keys follow YAML's rules."""
    text = b"a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {z: 3, <<: [*a, *b]}\nd: {<<: *b, y: 4}\n"
    plain = to_plain(parse(text, "f").root)
    assert isinstance(plain, dict)
    assert plain["c"] == {"z": 3, "x": 1, "y": 1}
    assert plain["d"] == {"y": 4, "z": 2}


def test_all_harmless_mistakes_of_a_file_are_told_at_once() -> None:
    """Reading goes on after what does not endanger it."""
    assert len(messages("a: 1\na: 2\nb: yes\n1: x\nc: !x z\n")) == 4


def test_bad_syntax_is_told_with_its_place() -> None:
    """The parser's own words follow ours."""
    (message,) = messages("a: [1,\nb: {2\n")
    assert message.startswith("f:3:1: not valid YAML: while parsing a flow mapping")


def test_a_file_is_not_read_past_the_limit(tmp_path: Path) -> None:
    """A sparse file of 100 MB is refused as soon as 1 MiB was seen."""
    path = tmp_path / "big.yml"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    (error,) = load(path).errors
    assert error.message == "larger than 1024 KiB, which is all that is read"


YAMLISH = st.text(alphabet="ab:-[]{}&*!<>|'\"#,?%@ \n\t01.\\~", max_size=80)


@pytest.mark.parametrize("parser", PARSERS)
@given(
    data=st.one_of(
        st.binary(max_size=200),
        st.text().map(lambda t: t.encode("utf-8", "replace")),
        YAMLISH.map(str.encode),
    )
)
def test_no_input_raises(data: bytes, parser: object) -> None:
    """Whatever the bytes are, the answer is a document or errors at a place in the file."""
    document = parse(data, "f", parser)
    assert document.root is not None or document.errors
    assert all(isinstance(each, ConfigError) for each in document.errors)
    assert all(each.line >= 1 and each.col >= 1 for each in document.errors)
    if document.root is not None:
        to_plain(document.root)
