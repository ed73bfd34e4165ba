"""The two messages of grpc.health.v1 and their framing, by hand: they have one field each. Pure."""

from __future__ import annotations

from enum import IntEnum

_FRAME_BYTES = 5
_SERVICE_TAG = b"\x0a"
"""Field 1, length-delimited."""
_STATUS_TAG = 0x08
"""Field 1, varint."""
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_VARINT_MAX_BYTES = 10


class ServingStatus(IntEnum):
    """What a service says of itself."""

    UNKNOWN = 0
    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3


def encode_request(service: str) -> bytes:
    """Return a framed HealthCheckRequest; no name asks for the server as a whole."""
    name = service.encode()
    message = _SERVICE_TAG + _encode_varint(len(name)) + name if name else b""
    return b"\x00" + len(message).to_bytes(4) + message


def decode_response(data: bytes) -> ServingStatus:
    """Return the status in a framed HealthCheckResponse that is all of `data`.

    Raises:
        ValueError: when it is none, saying why.
    """
    if len(data) < _FRAME_BYTES or len(data) != _FRAME_BYTES + int.from_bytes(data[1:5]):
        msg = "not one whole message"
        raise ValueError(msg)
    if data[0]:
        msg = "compressed without being asked"
        raise ValueError(msg)
    status, at = 0, _FRAME_BYTES
    while at < len(data):
        tag, at = _decode_varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _decode_varint(data, at)
            # The last one counts, as in every protobuf parser.
            status = value if tag == _STATUS_TAG else status
        elif kind == _DELIMITED:
            length, at = _decode_varint(data, at)
            at += length
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            msg = "not a protobuf message"
            raise ValueError(msg)
    if at != len(data) or status not in {each.value for each in ServingStatus}:
        msg = "not a health status"
        raise ValueError(msg)
    return ServingStatus(status)


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits to a byte
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _decode_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at `at` and where it ends."""
    value = 0
    for index, byte in enumerate(data[at : at + _VARINT_MAX_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:  # noqa: PLR2004 - the last byte has no eighth bit
            return value, at + index + 1
    msg = "a number has no end"
    raise ValueError(msg)
