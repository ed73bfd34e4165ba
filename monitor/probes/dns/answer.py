"""What a DNS answer is and what it must hold. No I/O; the wire format is dnspython's.

Bytes come from whoever sends them: nothing in here raises for them but `ProbeError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from monitor.probes.failure import ProbeError
from monitor.probes.http.conditions import is_found, show
from monitor.probes.reason import Reason

NOERROR = "NOERROR"
_HEADER_BYTES = 12
_TRUNCATED = 0x02


def read_answer(
    query: dns.message.Message, wire: bytes, *, is_datagram: bool = False
) -> dns.message.Message | None:
    """Return the message in `wire`, or None when it does not answer `query`.

    Of a truncated datagram only the question is read: the rest is asked for over TCP.

    Raises:
        ProbeError: (protocol) when it has the right id but is no DNS message.
    """
    if wire[:2] != query.id.to_bytes(2):
        return None
    is_cut = is_datagram and len(wire) >= _HEADER_BYTES and bool(wire[2] & _TRUNCATED)
    try:
        # The question first: what answers another one is not worth the whole work.
        head = dns.message.from_wire(wire, question_only=True, ignore_trailing=True)
        if not query.is_response(head):
            return None
        return head if is_cut else dns.message.from_wire(wire)
    except Exception as error:  # whatever a library says of hostile bytes
        raise ProbeError(Reason.PROTOCOL, "the answer is not a DNS message") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerChecks:
    """Everything that is asked of an answer."""

    record_type: str
    rcode: str = NOERROR
    authoritative: bool = False
    least: int = 1
    any_match: Any = None
    all_match: Any = None
    include: tuple[tuple[str, bytes], ...] = ()
    """(text, canonical bytes)."""

    def judge(self, answer: dns.message.Message) -> int:
        """Return the number of records that were asked for.

        Raises:
            ProbeError: (status, body) for the first check that fails; (protocol) for an answer
                that makes no sense.
        """
        rcode = dns.rcode.to_text(answer.rcode())
        if rcode != self.rcode:
            raise ProbeError(Reason.STATUS, f"the server answers {rcode}, expected {self.rcode}")
        if self.authoritative and not answer.flags & dns.flags.AA:
            raise ProbeError(Reason.STATUS, "the answer is not authoritative")
        if self.rcode != NOERROR:
            return 0
        try:
            records = _records(answer)
        except Exception as error:  # whatever a library says of hostile bytes
            raise ProbeError(Reason.PROTOCOL, "the answer makes no sense") from error
        self._judge_records(records)
        return len(records)

    def _judge_records(self, records: Sequence[tuple[str, bytes]]) -> None:
        texts = [text for text, _ in records]
        if len(texts) < self.least:
            detail = f"{len(texts)} {self.record_type} records, expected at least {self.least}"
            raise ProbeError(Reason.BODY, detail)
        found = [_is_match(self.any_match, text) for text in texts]
        if self.any_match is not None and not any(found):
            raise ProbeError(Reason.BODY, f"no answer matches the pattern{_got(texts)}")
        odd = [text for text in texts if not _is_match(self.all_match, text)]
        if odd:
            raise ProbeError(Reason.BODY, f"an answer does not match the pattern{_got(odd)}")
        keys = {key for _, key in records}
        for text, key in self.include:
            if key not in keys:
                detail = f"{show(text)} is not among the answers{_got(texts)}"
                raise ProbeError(Reason.BODY, detail)


def record_key(text: str, record_type: str) -> bytes:
    """Return what the record written as `text` is compared by.

    Raises:
        ValueError: when it is no record of this type.
    """
    if record_type == "TXT":
        return text.encode()
    try:
        record = dns.rdata.from_text(
            dns.rdataclass.IN,
            dns.rdatatype.from_text(record_type),
            text,
            origin=dns.name.root,
            relativize=False,
        )
    except (dns.exception.DNSException, ValueError) as error:
        msg = f"{text!r} is no {record_type} record: {error}"
        raise ValueError(msg) from error
    return _key(record)


def _records(answer: dns.message.Message) -> list[tuple[str, bytes]]:
    """Return (text, canonical bytes) of the records at the end of the chain of CNAMEs."""
    if not isinstance(answer, dns.message.QueryMessage):
        return []
    found = answer.resolve_chaining().answer
    return [(_text(record), _key(record)) for record in found or ()]


def _text(record: Any) -> str:
    if record.rdtype == dns.rdatatype.TXT:
        return b"".join(record.strings).decode("utf-8", "backslashreplace")
    return str(record.to_text())


def _key(record: Any) -> bytes:
    """Return bytes that are the same for the same record, however it is written."""
    if record.rdtype == dns.rdatatype.TXT:
        return b"".join(record.strings)
    return bytes(record.to_digestable())


def _is_match(regex: Any, text: str) -> bool:
    return regex is None or is_found(regex, text.encode("utf-8", "replace"))


def _got(texts: Sequence[str]) -> str:
    return f" (got {', '.join(show(text) for text in sorted(texts)[:3])})"
