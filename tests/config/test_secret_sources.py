"""References to secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config.secret_sources import resolver, secret_file_reader


def test_a_variable_gives_its_value(tmp_path: Path) -> None:
    """The environment is whatever mapping is passed in."""
    resolve = resolver({"TOKEN": " t "}, secret_file_reader(tmp_path))
    assert resolve("env", "TOKEN") == " t "


@pytest.mark.parametrize(
    ("content", "value"), [(b"t", "t"), (b"t\n", "t"), (b"t\r\n", "t"), (b"t\n\n", "t\n")]
)
def test_one_line_break_at_the_end_of_a_file_is_dropped(
    tmp_path: Path, content: bytes, value: str
) -> None:
    """Editors add one; more than one is somebody's intention."""
    (tmp_path / "s").write_bytes(content)
    assert resolver({}, secret_file_reader(tmp_path))("file", "s") == value
    assert resolver({}, secret_file_reader(Path("/")))("file", str(tmp_path / "s")) == value


@pytest.mark.parametrize(
    ("how", "name", "reason"),
    [
        ("env", "NOPE", "environment variable NOPE is not set"),
        ("env", "EMPTY", "environment variable EMPTY is empty"),
        ("env", "xoxb-pasted", "expected the name of an environment variable"),
        ("file", "nope", "secret file nope cannot be read: No such file or directory"),
        ("file", ".", "secret file . cannot be read: Is a directory"),
        ("file", "empty", "secret file empty is empty"),
        ("file", "blank", "secret file blank is empty"),
        ("file", "binary", "secret file binary is not UTF-8 text"),
        ("file", "big", "secret file big is larger than 64 KiB"),
    ],
)
def test_what_gives_no_secret_is_told(tmp_path: Path, how: str, name: str, reason: str) -> None:
    """The reason names the reference and never a value."""
    for file, content in (
        ("empty", b""), ("blank", b"\n"), ("binary", b"\xff"), ("big", b"x" * 70_000)
    ):  # fmt: skip
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=r".") as caught:
        resolver({"EMPTY": ""}, secret_file_reader(tmp_path))(how, name)
    assert str(caught.value) == reason
