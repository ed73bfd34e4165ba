"""The heads of all windows and records of a deployment in one stored row.

They change at every flush, and a row costs more than what is in it. Knows no head's content.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from monitor.model import WindowRow
from monitor.slo.levels import HEAD

PART = "heads"
_ENTRY = struct.Struct("<HHd")
"""Length of the owner's name, length of the head, when it was made."""


class Heads:
    """The latest head of everything that has one, by deployment."""

    __slots__ = ("_by_deployment",)

    def __init__(self) -> None:
        """Start empty."""
        self._by_deployment: dict[str, dict[str, WindowRow]] = {}

    def gather(self, deployment: str, rows: Iterable[WindowRow]) -> Iterator[WindowRow]:
        """Yield the rows of a deployment as they are stored: its heads, all of them, in one."""
        known = self._by_deployment.setdefault(deployment, {})
        at = None
        for row in rows:
            if row.part == HEAD:
                known[row.owner] = row
                at = row.at if at is None else max(at, row.at)
            else:
                yield row
        if at is not None:
            yield WindowRow(owner=owner_of(deployment), part=PART, at=at, data=_pack(known))

    def keep(self, owners: dict[str, set[str]]) -> None:
        """Forget the heads of whatever is not among `owners`, by deployment."""
        self._by_deployment = {
            deployment: {owner: row for owner, row in known.items() if owner in wanted}
            for deployment, known in self._by_deployment.items()
            if (wanted := owners.get(deployment))
        }

    def spread(self, deployment: str, row: WindowRow) -> Iterator[WindowRow]:
        """Yield the heads that a stored row holds, and remember them.

        Raises:
            ValueError: the row is damaged.
        """
        known = self._by_deployment.setdefault(deployment, {})
        at = 0
        try:
            while at < len(row.data):
                length, size, written_at = _ENTRY.unpack_from(row.data, at)
                middle = at + _ENTRY.size + length
                owner = row.data[at + _ENTRY.size : middle].decode()
                at = middle + size
                head = WindowRow(owner=owner, part=HEAD, at=written_at, data=row.data[middle:at])
                known[owner] = head
                yield head
        except struct.error as error:
            msg = "damaged heads"
            raise ValueError(msg) from error


def owner_of(deployment: str) -> str:
    """Return the name under which a deployment's heads are stored."""
    return f"heads:{deployment}"


def _pack(heads: dict[str, WindowRow]) -> bytes:
    parts: list[bytes] = []
    for owner, row in heads.items():
        name = owner.encode()
        parts += (_ENTRY.pack(len(name), len(row.data), row.at), name, row.data)
    return b"".join(parts)
