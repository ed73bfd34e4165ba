"""One table: how values become rows and rows become values again.

Every row carries a seal, a checksum over its columns: SQLite notices a broken page, not a flipped
bit inside a number. Texts come back as they went in, except that a lone surrogate, which has no
UTF-8 form, becomes U+FFFD; a number that is not finite inside a mapping becomes None. Knows no
file and no transaction.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Generic, TypeVar
from zlib import crc32

from monitor.model import Note

Cell = str | int | float | bytes | None
T = TypeVar("T")

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class DamagedRowError(Exception):
    """A row is not what was once written."""


@dataclass(frozen=True, slots=True)
class Codec:
    """One column's way in and out; `decode` None means as it is. None stays NULL."""

    encode: Callable[[Any], Cell]
    decode: Callable[[Any], Any] | None = None


def clean(text: str) -> str:
    """Return the text, as a plain string, with each lone surrogate replaced by U+FFFD."""
    return _LONE_SURROGATE.sub("\ufffd", text)


def enum(kind: type[StrEnum]) -> Codec:
    """Return the codec of an enumeration."""
    return Codec(str, kind)


def _real(value: float) -> float | None:
    # SQLite stores NaN as NULL and -0.0 as 0: neither would match the seal.
    return None if math.isnan(value) else float(value) + 0.0


def finite(value: object) -> object:
    """Return `value`, or None for a number that JSON has no form for."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def dump(value: object) -> str:
    """Return `value` as short JSON with clean texts."""
    return clean(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


TEXT = Codec(clean)
NAME = Codec(clean, sys.intern)
"""A text that a great many rows share: one object for all of them."""
REAL = Codec(_real)
WHOLE = Codec(int)
FLAG = Codec(int, bool)
BLOB = Codec(bytes)
TUPLE = Codec(lambda values: dump(list(values)), lambda cell: tuple(json.loads(cell)))
"""Of texts or of numbers."""
MAPPING = Codec(
    lambda mapping: dump({key: finite(value) for key, value in mapping.items()}),
    lambda cell: MappingProxyType(dict(json.loads(cell))),
)
NOTES = Codec(
    lambda notes: dump([[note.at, note.text] for note in notes]),
    lambda cell: tuple(Note(at=at, text=text) for at, text in json.loads(cell)),
)


class Table(Generic[T]):
    """A table's columns in order, each from an attribute path of the value.

    Args:
        name: the table.
        make: builds a value from the decoded columns, given by keyword.
        codecs: attribute path -> codec; a column is named like its path's last part.
        key: the columns that are a row's identity; none: append-only.
    """

    __slots__ = ("_columns", "_decoders", "_encoders", "_make", "_take", "name", "upsert")

    def __init__(
        self,
        name: str,
        make: Callable[..., T],
        codecs: Mapping[str, Codec],
        key: Sequence[str] = (),
    ) -> None:
        """Derive the statements once."""
        self.name = name
        self._make = make
        self._encoders = tuple(codec.encode for codec in codecs.values())
        self._take = attrgetter(*codecs)
        self._columns = tuple(path.rpartition(".")[2] for path in codecs)
        self._decoders = tuple(
            (column, codec.decode)
            for column, codec in zip(self._columns, codecs.values(), strict=True)
            if codec.decode is not None
        )
        self.upsert = _upsert(name, (*self._columns, "seal"), key)

    @property
    def width(self) -> int:
        """Columns of a row, its seal included."""
        return len(self._columns) + 1

    def encode(self, value: T) -> tuple[Cell, ...]:
        """Return the row of a value, its seal last."""
        cells = [
            None if each is None else encode(each)
            for each, encode in zip(self._take(value), self._encoders, strict=True)
        ]
        return (*cells, seal(tuple(cells)))

    def decode(self, row: tuple[Cell, ...]) -> T:
        """Return the value of a row.

        Raises:
            DamagedRowError: the row does not match its seal or means nothing.
        """
        if seal(row[:-1]) != row[-1]:
            msg = f"a row of {self.name} does not match its checksum"
            raise DamagedRowError(msg)
        columns: dict[str, Any] = dict(zip(self._columns, row, strict=False))
        try:
            for column, decode in self._decoders:
                if columns[column] is not None:
                    columns[column] = decode(columns[column])
            return self._make(**columns)
        except (ValueError, TypeError) as error:
            msg = f"a row of {self.name} cannot be read: {error}"
            raise DamagedRowError(msg) from error

    def scan(
        self, connection: sqlite3.Connection, tail: str = "", parameters: Sequence[Cell] = ()
    ) -> Iterator[T]:
        """Yield the values of `SELECT ... FROM table {tail}`.

        Raises:
            DamagedRowError: a row cannot be read.
            sqlite3.Error: the table cannot be read.
        """
        columns = ", ".join(map(_quote, (*self._columns, "seal")))
        statement = f"SELECT {columns} FROM {self.name} {tail}"  # noqa: S608 - constants only
        return map(self.decode, connection.execute(statement, parameters))

    def read(
        self, connection: sqlite3.Connection, tail: str = "", parameters: Sequence[Cell] = ()
    ) -> tuple[T, ...]:
        """Return all that `scan` yields."""
        return tuple(self.scan(connection, tail, parameters))

    def write(self, connection: sqlite3.Connection, values: Sequence[T]) -> None:
        """Insert the values; a row of the same identity is replaced."""
        if values:
            connection.executemany(self.upsert, map(self.encode, values))


def seal(cells: Sequence[Cell]) -> int:
    """Return the checksum of a row's columns."""
    # A blob, which is always the last column, is long: it is not spelled out first.
    blob = cells[-1] if isinstance(cells[-1], bytes) else b""
    return crc32(blob, crc32(ascii(cells[:-1] if blob else cells).encode("ascii")))


def _quote(name: str) -> str:
    return f'"{name}"'


def _upsert(table: str, columns: Sequence[str], key: Sequence[str]) -> str:
    names = ", ".join(map(_quote, columns))
    holes = ", ".join("?" * len(columns))
    statement = f"INSERT INTO {table} ({names}) VALUES ({holes})"  # noqa: S608 - constants only
    if not key:
        return statement
    rest = ", ".join(f"{_quote(name)} = excluded.{_quote(name)}" for name in columns)
    return f"{statement} ON CONFLICT ({', '.join(map(_quote, key))}) DO UPDATE SET {rest}"
