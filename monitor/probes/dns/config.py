"""The configuration of a DNS probe: what may stand in a file, checked before anything runs."""

from __future__ import annotations

import contextlib
from typing import Annotated, ClassVar, Literal, Self

import dns.exception
import dns.name
import dns.reversename
from pydantic import Field, model_validator

from monitor.fields import Line
from monitor.model import Deployment, Target
from monitor.probes.base import ProbeConfig, ProbeIO, Reach
from monitor.probes.dns.answer import NOERROR, AnswerChecks, record_key
from monitor.probes.dns.probe import PORT, DnsProbe
from monitor.probes.endpoint import parse_endpoint
from monitor.probes.http.conditions import compile_regex
from monitor.probes.http.fields import Regex
from monitor.probes.http.url import parse_url

RecordType = Literal[
    "A", "AAAA", "CAA", "CNAME", "DNAME", "DNSKEY", "DS", "HTTPS", "MX", "NAPTR", "NS", "PTR",
    "SOA", "SRV", "SSHFP", "SVCB", "TLSA", "TXT", "URI",
]  # fmt: skip
ResponseCode = Literal[
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "NOTAUTH", "NOTZONE"
]


class DnsProbeConfig(ProbeConfig):
    """Asks a DNS server for the records of a name and judges its answer.

    A truncated answer is asked for again over TCP.
    """

    example: ClassVar[str] = (
        "{kind: dns, name: mail-route, query: shop.test, type: MX, server: ns1.shop.test,"
        " answers_include: [10 mail.shop.test]}"
    )

    kind: Literal["dns"] = "dns"
    query: Line | None = None
    """The name to ask for; the host of the deployment's URL by default. For `type: PTR` an address
    will do."""
    record_type: RecordType = Field(default="A", alias="type")
    """What is asked for."""
    server: Line | None = None
    """`host:port` (port 53 by default); the machine's first name server when it is not given."""
    transport: Literal["udp", "tcp"] = "udp"
    """How the question is sent."""
    rcode: ResponseCode = "NOERROR"
    """The response code to expect."""
    answers_match: Regex | None = None
    """RE2 that is found in one answer at least, written as in a zone file (TXT without quotes)."""
    all_answers_match: Regex | None = None
    """RE2 that is found in every answer."""
    answers_include: list[Line] = Field(default_factory=list)
    """Records that must be among the answers, written as in a zone file (TXT without quotes)."""
    min_answers: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Records of this type, at the end of any CNAMEs; 1 by default where NOERROR is expected."""
    recursion: bool = True
    """Ask the server to look further than its own zones."""
    authoritative: bool = False
    """The answer must come from the zone itself, not out of a cache."""

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.query is not None:
            _name(self.query, self.record_type)
        if self.server is not None:
            parse_endpoint(self.server, PORT)
        for text in self.answers_include:
            record_key(text, self.record_type)
        asks = self.answers_match or self.all_answers_match or self.answers_include
        if self.rcode != NOERROR and (asks or self.min_answers):
            msg = f"an answer with {self.rcode} holds no records to check"
            raise ValueError(msg)
        return self

    def reach(self, url: str) -> Reach | None:  # noqa: ARG002 - the signature of every kind
        """Return the server; that of the machine itself may be anywhere."""
        if self.server is None:
            return None
        return Reach(parse_endpoint(self.server, PORT).host, 0, secure=False)

    def build(self, target: Target, deployment: Deployment, url: str, io: ProbeIO) -> DnsProbe:  # noqa: ARG002 - the signature of every kind
        """Return the probe of `target`.

        Raises:
            ValueError: when there is no server to ask, or the URL's host is no name to ask for.
        """
        patterns = (self.answers_match, self.all_answers_match)
        any_match, all_match = (text and compile_regex(text) for text in patterns)
        least = self.min_answers
        return DnsProbe(
            target=target.id,
            name=_name(self.query or parse_url(url).host, self.record_type),
            is_recursive=self.recursion,
            server=None if self.server is None else parse_endpoint(self.server, PORT),
            over_tcp=self.transport == "tcp",
            checks=AnswerChecks(
                record_type=self.record_type,
                rcode=self.rcode,
                authoritative=self.authoritative,
                least=int(self.rcode == NOERROR) if least is None else least,
                any_match=any_match,
                all_match=all_match,
                include=tuple(
                    (text, record_key(text, self.record_type)) for text in self.answers_include
                ),
            ),
            io=io,
        )


def _name(text: str, record_type: str) -> dns.name.Name:
    if record_type == "PTR":
        with contextlib.suppress(dns.exception.SyntaxError):
            return dns.reversename.from_address(text)
    try:
        return dns.name.from_text(text)
    except (dns.exception.DNSException, ValueError) as error:
        msg = f"{text!r} is no name to ask for: {error}"
        raise ValueError(msg) from error
