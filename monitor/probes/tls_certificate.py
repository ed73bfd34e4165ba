"""The `tls` kind: a handshake, and what the certificates say that were shown in it.

Owns the configuration and what a refusal is. How the presented chain is read before it is verified
is `witness`'s business, and what a chain must be like `chain`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from ssl import SSLContext
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from monitor.fields import Duration
from monitor.model import Deployment, Sample, Target
from monitor.probes.base import ProbeConfig, ProbeIO, Reach
from monitor.probes.chain import ChainChecks, look
from monitor.probes.endpoint import Endpoint, parse_host
from monitor.probes.failure import ProbeError
from monitor.probes.http.conditions import compile_regex
from monitor.probes.http.fields import Regex
from monitor.probes.peer import Address, HostName, find_endpoint, reached
from monitor.probes.reason import Reason
from monitor.probes.run import TLS, Run, measure
from monitor.probes.starttls import Protocol
from monitor.probes.witness import Handshake, Witness

_REFUSALS = frozenset({Reason.TLS_EXPIRED, Reason.TLS_NAME, Reason.TLS_UNTRUSTED, Reason.RESET})
_JUDGEMENTS = frozenset({"min_days_left", "names", "issuer_matches", "min_version"})


def _to_covered_name(text: str) -> str:
    label = "*." if text.startswith("*.") else ""
    return label + parse_host(text.removeprefix(label)).host


CoveredName = Annotated[str, AfterValidator(_to_covered_name)]
"""A host name, a wildcard or an address, as a certificate may name it."""


class TlsProbeConfig(ProbeConfig):
    """Shakes hands with a TLS server and judges its certificates, also those that have expired.

    Its values are `certificate_days_left` (negative after expiry: the earliest of the verified
    chain, or the server's own certificate when no chain could be verified),
    `verified_chain_days_left`, and `presented_chain_days_left` (the earliest of all that was shown,
    needed or not).
    """

    example: ClassVar[str] = "{kind: tls, address: shop.test:443, min_days_left: 14}"

    kind: Literal["tls"] = "tls"
    address: Address | None = None
    """`host:port`, such as shop.test:443; the deployment's URL says it when this does not."""
    starttls: Protocol | None = None
    """The protocol in which to ask for TLS first: smtp, imap, pop3, ftp or postgresql."""
    server_name: HostName | None = None
    """The name to ask for (SNI) and to find in the certificate, when it is not the address's."""
    ca_file: str | None = None
    """PEM file with the authorities to trust instead of the system's."""
    insecure: bool = False
    """Verify nothing; what was presented is still read and judged."""
    version: Literal["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"] | None = None
    """Offer this version only; with `must_fail`, one that the server must refuse."""
    min_days_left: Annotated[float, Field(ge=0)] | None = None
    """Fewer `certificate_days_left` are BAD (`expiring`)."""
    names: list[CoveredName] = Field(default_factory=list)
    """Each must be covered by the certificate, besides the name that was asked for."""
    issuer_matches: Regex | None = None
    """RE2, somewhere in the certificate's issuer, such as CN=R3, O=Let's Encrypt, C=US."""
    min_version: Literal["TLSv1.2", "TLSv1.3"] | None = None
    """Settling for an older version is BAD (`tls_protocol`)."""
    must_fail: bool = False
    """GOOD when the handshake is refused, and only then: by the server, or by us (its certificate).

    Together with `version` the certificate does not matter, only what the server does.
    """
    max_latency_s: Duration | None = None
    """A longer run, from the look-up of the name to the handshake's end, is BAD (`slow`)."""

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        useless = sorted(self.model_fields_set & _JUDGEMENTS)
        if self.must_fail and useless:
            msg = f"{useless[0]} is never judged where must_fail: true is all that counts"
            raise ValueError(msg)
        if self.version and self.min_version and self.version < self.min_version:
            msg = f"offers {self.version} only, which is below min_version"
            raise ValueError(msg)
        return self

    @property
    def is_inverted(self) -> bool:
        """Whether it must fail."""
        return self.must_fail

    def reach(self, url: str) -> Reach:
        """Return `address`, or the place of `url`."""
        endpoint = find_endpoint(self.address, url)
        return Reach(endpoint.host, endpoint.port, secure=self.starttls is None)

    def build(self, target: Target, deployment: Deployment, url: str, io: ProbeIO) -> TlsProbe:  # noqa: ARG002 - the signature of every kind
        """Return the probe of `target`.

        Raises:
            ValueError: when `ca_file` cannot be loaded, or there is neither address nor URL.
        """
        endpoint = find_endpoint(self.address, url)
        # Or a certificate that we refuse would hide that the version was accepted.
        insecure = self.insecure or (self.must_fail and self.version is not None)
        return TlsProbe(
            target=target.id,
            endpoint=endpoint,
            io=io,
            starttls=self.starttls,
            context=io.tls.get(self.ca_file, insecure=insecure, prepare=Witness(self.version)),
            server_name=self.server_name or endpoint.host,
            is_verifying=not insecure,
            must_fail=self.must_fail,
            checks=ChainChecks(
                min_days_left=self.min_days_left,
                names=tuple(self.names),
                issuer=None if self.issuer_matches is None else compile_regex(self.issuer_matches),
                min_version=self.min_version,
                max_latency_s=self.max_latency_s,
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsProbe:
    """Probes one TLS server; holds no state between runs, so that runs may overlap."""

    target: str
    """The target's id."""
    endpoint: Endpoint
    io: ProbeIO
    starttls: Protocol | None
    context: SSLContext
    """Prepared by a `Witness`."""
    server_name: str
    is_verifying: bool
    must_fail: bool
    checks: ChainChecks

    async def __call__(self, at: float, deadline_s: float) -> Sample:
        """Measure once; never raises for what the target or the network does."""

        async def attempt(run: Run) -> None:
            await self._attempt(run, at)

        return await measure(attempt, target=self.target, at=at, deadline_s=deadline_s, io=self.io)

    async def _attempt(self, run: Run, at: float) -> None:
        async with reached(self.endpoint, self.starttls, self.io, run) as stream:
            run.watch.enter(TLS)
            handshake = Handshake(stream, self.server_name, self.context)
            try:
                await handshake.run()
            except ProbeError as error:
                failure: ProbeError | None = error
            else:
                failure = None
            run.watch.enter(None)
        tls = handshake.tls
        seen = look(tls.presented, tls.verified() if self.is_verifying and not failure else ())
        run.certificate_expires_at = seen.until
        run.values = seen.values(at)
        if self.must_fail:
            _judge_refusal(failure, is_refused=tls.is_refused)
        elif failure is not None:
            raise failure
        else:
            self.checks.judge(seen, tls.version() or "", at, run.watch.elapsed_s)


def _judge_refusal(failure: ProbeError | None, *, is_refused: bool) -> None:
    """Return when the handshake ended in a refusal, theirs or ours; raise for anything else."""
    if failure is None:
        raise ProbeError(Reason.NOT_REFUSED, "the handshake succeeded, but has to be refused")
    if not (is_refused or failure.reason in _REFUSALS):
        raise failure
