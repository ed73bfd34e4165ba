"""Values to rows and back."""

from __future__ import annotations

import dataclasses
import math
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from enum import Enum
from types import MappingProxyType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.model import (
    AlertStatus,
    Attempt,
    BucketRow,
    Correction,
    HeartbeatRow,
    Incident,
    Owed,
    Release,
    RollbackRecord,
    Severity,
    Silence,
    Transition,
    WindowRow,
)
from monitor.store import rows
from monitor.store.rows import TABLES, Mark
from monitor.store.schema import MIGRATIONS
from monitor.store.table import DamagedRowError, Table

VALUE_OF: dict[str, type] = {
    "transitions": Transition,
    "alerts": AlertStatus,
    "incidents": Incident,
    "owed": Owed,
    "attempts": Attempt,
    "releases": Release,
    "rollbacks": RollbackRecord,
    "buckets": BucketRow,
    "windows": WindowRow,
    "corrections": Correction,
    "silences": Silence,
    "marks": Mark,
    "heartbeats": HeartbeatRow,
}
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=12) | st.sampled_from(
    [
        "\x00",
        "a\x00b",
        "\ud800",
        "x\udfff\x00",
        "<!channel>",
        "é\u2028",
        "\U0001f525",
        Severity.INFO,
    ]
)
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: ANY_TEXT,
    float: st.floats(allow_nan=False),
    int: st.integers(-(2**63), 2**63 - 1),
    bool: st.booleans(),
    bytes: st.binary(max_size=40),
    type(None): st.none(),
}


def any_value(hint: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for a field's type, hostile texts and numbers included."""
    arguments = get_args(hint)
    if hint in PLAIN:
        return PLAIN[hint]
    if get_origin(hint) is UnionType:
        return st.one_of(*map(any_value, arguments))
    if get_origin(hint) is tuple:
        return st.lists(any_value(arguments[0]), max_size=3).map(tuple)
    if get_origin(hint) is Mapping:
        numbers = st.floats() if arguments[1] is not str else st.nothing()
        values = any_value(arguments[1]) | numbers
        return st.dictionaries(ANY_TEXT, values, max_size=4).map(MappingProxyType)
    if issubclass(hint, Enum):
        return st.sampled_from(list(hint))
    return st.builds(hint, **{name: any_value(of) for name, of in get_type_hints(hint).items()})


def as_stored(value: Any) -> Any:
    """Return what is promised to come back: U+FFFD for surrogates, None for NaN in a mapping."""
    if isinstance(value, Enum):
        return value
    if isinstance(value, str):
        return "".join("\ufffd" if 0xD800 <= ord(char) <= 0xDFFF else char for char in value)
    if isinstance(value, Mapping):
        return {
            as_stored(key): None
            if isinstance(each, float) and not math.isfinite(each)
            else as_stored(each)
            for key, each in value.items()
        }
    if isinstance(value, tuple):
        return tuple(map(as_stored, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return type(value)(**{f.name: as_stored(getattr(value, f.name)) for f in fields})
    return value


def stored(table: Table[Any], *values: Any) -> tuple[Any, ...]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for step in MIGRATIONS:
            step(connection)
        for value in values:
            table.write(connection, (value,))
        return table.read(connection)


def test_every_table_is_tried() -> None:
    """A table that is added without a test of its own fails here."""
    assert {table.name for table in TABLES} == set(VALUE_OF)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
@settings(max_examples=40)
@given(data=st.data())
def test_every_value_comes_back(table: Table[Any], data: st.DataObject) -> None:
    """Whatever a field's type allows is stored and read without an error and without a loss."""
    value = data.draw(any_value(VALUE_OF[table.name]))
    assert stored(table, value) == (as_stored(value),)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
@settings(max_examples=10)
@given(data=st.data())
def test_same_identity_replaces(table: Table[Any], data: st.DataObject) -> None:
    """Writing a value twice leaves one row, except in an append-only journal, which keeps both."""
    value = data.draw(any_value(VALUE_OF[table.name]))
    append_only = table.name in {"transitions", "attempts"}
    assert len(stored(table, value, value)) == (2 if append_only else 1)


@settings(max_examples=60)
@given(value=any_value(BucketRow), data=st.data())
def test_one_changed_cell_is_noticed(value: BucketRow, data: st.DataObject) -> None:
    """No column of a row can change without the row being refused."""
    row = list(rows.BUCKETS.encode(value))
    column = data.draw(st.integers(0, len(row) - 1))
    cell = row[column]
    row[column] = cell + b"x" if isinstance(cell, bytes) else f"{cell}x"
    with pytest.raises(DamagedRowError, match="buckets does not match its checksum"):
        rows.BUCKETS.decode(tuple(row))


def test_unknown_word_is_refused() -> None:
    """A state that this program does not know, though soundly stored, is no value."""
    good = rows.ALERTS.encode(AlertStatus(rule="r", deployment="d", state="exploded"))  # type: ignore[arg-type]
    with pytest.raises(DamagedRowError, match="'exploded' is not a valid AlertState"):
        rows.ALERTS.decode(good)
