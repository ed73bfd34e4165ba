"""The few fields of an X.509 certificate that Python tells only of a peer it has verified. Pure.

`ssl` takes a certificate apart only after it verified the chain, and then the leaf alone; what an
*expired* or untrusted server presents comes as DER. A run-time dependency on `cryptography` for
three fields (the end, the issuer, the names) would be the largest one of this program, so they are
read here: a walk over a handful of nested elements that verifies nothing. Whether a chain can be
trusted is OpenSSL's answer, never this module's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address

_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_SEQUENCE, _OID, _BOOLEAN = 0x30, 0x06, 0x01
_ENCODINGS = {0x14: "latin-1", 0x1E: "utf-16-be"}
"""Of TeletexString, as it is used in practice, and BMPString; all others are UTF-8 or ASCII."""
_VERSION, _EXTENSIONS = 0xA0, 0xA3
_DNS_NAME, _IP_ADDRESS = 0x82, 0x87
_ADDRESS_LENGTHS = frozenset({4, 16})
_LONG_FORM, _MAX_LENGTH_BYTES = 0x80, 4
_MAX_CHILDREN = 5000
"""So that a hostile certificate cannot hold up the loop; real ones name hundreds of hosts."""
_MULTI_BYTE_TAG = 0x1F
_PIVOT_YEAR = 50
"""Two digits below it are of this century (RFC 5280, 4.1.2.5.1)."""
_SUBJECT_ALTERNATIVE_NAME = bytes.fromhex("551d11")
_ATTRIBUTES = {
    bytes.fromhex("550403"): "CN",
    bytes.fromhex("550406"): "C",
    bytes.fromhex("550407"): "L",
    bytes.fromhex("550408"): "ST",
    bytes.fromhex("55040a"): "O",
    bytes.fromhex("55040b"): "OU",
}


@dataclass(frozen=True, slots=True)
class Certificate:
    """What one certificate says of itself."""

    not_after: float
    """UTC seconds."""
    issuer: str
    """`CN=R3, O=Let's Encrypt, C=US`, most specific part first; other attributes are left out."""
    dns_names: tuple[str, ...]
    """Of the subject alternative name, lower case; may begin with `*.`."""
    addresses: tuple[IPv4Address | IPv6Address, ...]

    def covers(self, name: str) -> bool:
        """Return whether it is for `name`: an address, a host name, or a wildcard as it is written.

        A wildcard stands for exactly one label, the first.
        """
        try:
            return ip_address(name) in self.addresses
        except ValueError:
            parent = name.partition(".")[2]
            return name in self.dns_names or (bool(parent) and f"*.{parent}" in self.dns_names)


@dataclass(frozen=True, slots=True)
class _Element:
    tag: int
    content: memoryview
    """A view, so that a hostile nest of elements costs no copies."""

    def children(self) -> Iterator[_Element]:
        rest = self.content
        for _ in range(_MAX_CHILDREN):
            if not rest:
                return
            element, rest = _read(rest)
            yield element
        msg = f"more than {_MAX_CHILDREN} parts in one part of a certificate"
        raise ValueError(msg)


def parse_certificate(der: bytes) -> Certificate:
    """Return what the certificate in `der` says.

    Raises:
        ValueError: when it is no certificate.
    """
    outer, _ = _read(memoryview(der))
    fields = [part for part in _first(outer).children() if part.tag != _VERSION]
    try:
        # serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo, ...
        issuer, validity = fields[2], fields[3]
        _, not_after = validity.children()
    except (IndexError, ValueError) as error:
        msg = "not a certificate"
        raise ValueError(msg) from error
    names = _alternative_names(fields)
    return Certificate(
        not_after=_time(not_after),
        issuer=_name(issuer),
        dns_names=tuple(
            bytes(name.content).decode("ascii", "replace").lower()
            for name in names
            if name.tag == _DNS_NAME
        ),
        addresses=tuple(
            ip_address(bytes(name.content))
            for name in names
            if name.tag == _IP_ADDRESS and len(name.content) in _ADDRESS_LENGTHS
        ),
    )


def _read(data: memoryview) -> tuple[_Element, memoryview]:
    """Return the first element of `data` and what comes after it."""
    if len(data) < 2 or data[0] & _MULTI_BYTE_TAG == _MULTI_BYTE_TAG:  # noqa: PLR2004 - tag and length
        msg = "not DER"
        raise ValueError(msg)
    length, start = data[1], 2
    if length >= _LONG_FORM:
        start += length - _LONG_FORM
        length = int.from_bytes(data[2:start], "big")
    if start - 2 > _MAX_LENGTH_BYTES or start + length > len(data):
        msg = "DER ends early"
        raise ValueError(msg)
    return _Element(data[0], data[start : start + length]), data[start + length :]


def _first(element: _Element) -> _Element:
    inner = next(element.children(), None)
    if element.tag != _SEQUENCE or inner is None or inner.tag != _SEQUENCE:
        msg = "not a certificate"
        raise ValueError(msg)
    return inner


def _time(element: _Element) -> float:
    text = bytes(element.content)
    if element.tag == _UTC_TIME and re.fullmatch(rb"\d{12}Z", text):
        text = (b"20" if int(text[:2]) < _PIVOT_YEAR else b"19") + text
    elif element.tag != _GENERALIZED_TIME or not re.fullmatch(rb"\d{14}Z", text):
        msg = "not a date of a certificate"
        raise ValueError(msg)
    digits = text.decode("ascii")
    year, *others = (int(digits[:4]), *(int(digits[at : at + 2]) for at in range(4, 14, 2)))
    month, day, hour, minute, second = others
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()


def _name(element: _Element) -> str:
    parts = []
    for relative in element.children():
        for attribute in relative.children():
            oid, *value = attribute.children()
            label = _ATTRIBUTES.get(bytes(oid.content))
            if label and value:
                parts.append(f"{label}={_text(value[0])}")
    return ", ".join(reversed(parts))


def _text(element: _Element) -> str:
    encoding = _ENCODINGS.get(element.tag, "utf-8")
    return bytes(element.content).decode(encoding, "replace")


def _alternative_names(fields: list[_Element]) -> tuple[_Element, ...]:
    for holder in (field for field in fields if field.tag == _EXTENSIONS):
        for extension in (item for it in holder.children() for item in it.children()):
            oid, *rest = (part for part in extension.children() if part.tag != _BOOLEAN)
            if oid.tag == _OID and oid.content == _SUBJECT_ALTERNATIVE_NAME and rest:
                names, _ = _read(rest[0].content)
                return tuple(names.children())
    return ()
