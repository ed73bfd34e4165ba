"""From the bytes of a file to text that YAML may see. Owns what no file may contain at all."""

from __future__ import annotations

import codecs
import re

from monitor.config.tree import place_of

_BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


class UndecodableError(Exception):
    """The bytes are no text that may be read; `line` and `col` count from 1."""

    def __init__(self, message: str, line: int = 1, col: int = 1) -> None:
        """Say what is wrong, and where."""
        super().__init__(message)
        self.line = line
        self.col = col


def decode(data: bytes, limit: int) -> str:
    """Return the text of `data`.

    Raises:
        UndecodableError: it is longer than `limit` bytes, no UTF-8, or holds control characters.
    """
    if len(data) > limit:
        msg = f"larger than {limit // 1024} KiB, which is all that is read"
        raise UndecodableError(msg)
    if data.startswith(_BYTE_ORDER_MARKS):
        msg = "starts with a byte order mark: save it as plain UTF-8"
        raise UndecodableError(msg)
    try:
        source = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        msg = f"not UTF-8 (got byte 0x{data[error.start]:02x})"
        raise UndecodableError(msg, *place_of(before, len(before))) from None
    match = _UNPRINTABLE.search(source)
    if match:
        msg = f"character U+{ord(match[0]):04X} is not allowed"
        raise UndecodableError(msg, *place_of(source, match.start()))
    return source
