"""The data directory and its one owner."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import monitor
from monitor.store.base import StoreError, StoreLockedError
from monitor.store.lock import DataDirectory

HOLD = """
import sys
from pathlib import Path
from monitor.store.lock import DataDirectory
DataDirectory(Path(sys.argv[1]))
print("mine", flush=True)
sys.stdin.read()
"""
NOBODY = 65534


@contextmanager
def without_privileges() -> Iterator[None]:
    """Permissions do not stop root: act as nobody meanwhile."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def read_only_directory() -> Iterator[Path]:
    """Yield a directory that others may enter and nobody may write to."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o555)
        try:
            yield path
        finally:
            path.chmod(0o700)


def test_makes_the_directory_for_this_user_only(tmp_path: Path) -> None:
    """Incidents name hosts and people: neither the directory nor a file in it is for others."""
    directory = DataDirectory(tmp_path / "var" / "slo-monitor")
    directory.release()
    assert directory.path.stat().st_mode & 0o777 == 0o700
    assert {file.name for file in directory.path.iterdir()} == {
        "slo-monitor.db",
        "slo-monitor.lock",
    }
    assert {file.stat().st_mode & 0o077 for file in directory.path.iterdir()} == {0}


def test_second_process_is_told_who_is_there_and_kill_gives_it_back(tmp_path: Path) -> None:
    """Two processes on one directory: the second stops with the first one's pid; -9 frees it."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=Path(monitor.__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"mine\n"
        with pytest.raises(StoreLockedError) as caught:
            DataDirectory(tmp_path)
        assert f"{tmp_path} is in use by process {owner.pid}" in str(caught.value)
        owner.kill()
        owner.wait()
        DataDirectory(tmp_path).release()


def test_release_gives_it_back(tmp_path: Path) -> None:
    """The same process may take it again, and not twice at once."""
    first = DataDirectory(tmp_path)
    with pytest.raises(StoreLockedError, match=f"process {os.getpid()}"):
        DataDirectory(tmp_path)
    first.release()
    DataDirectory(tmp_path).release()


def test_cannot_be_made(tmp_path: Path) -> None:
    """A path below a file names what is in the way and which setting to change."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"Not a directory; let storage\.path name"):
        DataDirectory(tmp_path / "file" / "data")


def test_read_only_directory() -> None:
    """A directory without write permission names itself and which setting to change."""
    with read_only_directory() as path, without_privileges():
        with pytest.raises(StoreError, match=r"Permission denied; let storage\.path name") as e:
            DataDirectory(path)
        assert str(path) in str(e.value)


def test_set_aside_keeps_the_log_with_its_database_and_overwrites_nothing(tmp_path: Path) -> None:
    """Two damaged databases within one second are both kept, with the files that go with them."""
    directory = DataDirectory(tmp_path)
    names = []
    for content in ("first", "second"):
        directory.database.write_text(content)
        Path(f"{directory.database}-wal").write_text(f"log of {content}")
        names.append(directory.set_aside(1_700_000_000.9))
    directory.release()
    assert [name.name for name in names] == [
        "slo-monitor.db.corrupt-20231114T221320Z",
        "slo-monitor.db.corrupt-20231114T221320Z.2",
    ]
    assert [name.read_text() for name in names] == ["first", "second"]
    assert [Path(f"{name}-wal").read_text() for name in names] == ["log of first", "log of second"]
    assert directory.database.read_bytes() == b""
    assert not Path(f"{directory.database}-wal").exists()
