"""The data directory: making it, owning it alone, and moving a damaged database out of the way.

Owns the names of the files in there. Never reads what is in the database.
"""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path

from monitor.store.base import StoreError, StoreLockedError

DATABASE = "slo-monitor.db"
LOCK = "slo-monitor.lock"
_ADVICE = "let storage.path name a directory that this user can write to"

_STAMP = "%Y%m%dT%H%M%SZ"


class DataDirectory:
    """A directory that belongs to this process until `release`, or until the process ends."""

    __slots__ = ("_lock", "path")

    def __init__(self, path: Path) -> None:
        """Make `path` when it is missing (for this user only) and take it.

        Raises:
            StoreLockedError: another process has it.
            StoreError: it cannot be made or written to.
        """
        self.path = path.absolute()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            self._own()
            self._create()
        except OSError as error:
            self.release()
            raise self._unusable(error) from error
        except StoreError:
            self.release()
            raise

    @property
    def database(self) -> Path:
        """The database file."""
        return self.path / DATABASE

    def backup(self, version: int) -> Path:
        """Return where the copy goes that is made before version `version` is migrated."""
        return self.path / f"{DATABASE}.v{version}.bak"

    def set_aside(self, now: float) -> Path:
        """Rename the database, with what belongs to it, make an empty one; return its new name.

        Raises:
            StoreError: it cannot be renamed.
        """
        stamp = datetime.fromtimestamp(now, UTC).strftime(_STAMP)
        first = self.path / f"{DATABASE}.corrupt-{stamp}"
        aside, again = first, 1
        while aside.exists():
            again += 1
            aside = first.with_name(f"{first.name}.{again}")
        try:
            # The log goes first: left behind, it would be replayed into the next database.
            for part in ("-wal", "-shm", ""):
                source = Path(f"{self.database}{part}")
                if source.exists():
                    source.rename(f"{aside}{part}")
            self._create()
        except OSError as error:
            raise self._unusable(error) from error
        return aside

    def lost_at(self) -> float | None:
        """Return when a damaged database was renamed last, UTC seconds; None when none is left."""
        stamps = [
            path.name.removeprefix(f"{DATABASE}.corrupt-")[:16]
            for path in self.path.glob(f"{DATABASE}.corrupt-*")
        ]
        moments = [at for at in map(_moment, stamps) if at is not None]
        return max(moments, default=None)

    def release(self) -> None:
        """Give the directory back; the lock's file stays, because others may wait on it."""
        os.close(self._lock)

    def _own(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            msg = (
                f"{self.path} is in use by process {owner}: stop that one, or give this one"
                " a storage.path of its own"
            )
            raise StoreLockedError(msg) from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _create(self) -> None:
        # Made here so that nobody else can read it, and so that one which cannot be written to is
        # told apart from one that is damaged.
        os.close(os.open(self.database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def _unusable(self, error: OSError) -> StoreError:
        where = error.filename or self.path
        return StoreError(
            f"cannot keep state in {self.path}: {where}: {error.strerror or error}; {_ADVICE}"
        )


def _moment(stamp: str) -> float | None:
    try:
        return datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
