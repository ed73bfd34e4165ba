"""What the certificates of a TLS server say together, and what they must say. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from monitor.probes.failure import ProbeError
from monitor.probes.http.conditions import is_found
from monitor.probes.reason import Reason
from monitor.probes.witness import VERSIONS
from monitor.probes.x509 import Certificate, parse_certificate

_DAY_S = 86400.0
_SHOWN = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a handshake has shown, dates as UTC seconds."""

    leaf: Certificate | None
    presented_until: float | None
    """The earliest end of everything presented."""
    verified_until: float | None
    """The earliest end in the chain that was verified; None when none was."""

    @property
    def until(self) -> float | None:
        """When clients will begin to refuse, as far as it is known."""
        if self.verified_until is not None or self.leaf is None:
            return self.verified_until
        return self.leaf.not_after

    def values(self, at: float) -> tuple[tuple[str, float], ...]:
        """Return the days that are left at `at`, negative when they have passed."""
        ends = (
            ("certificate_days_left", self.until),
            ("presented_chain_days_left", self.presented_until),
            ("verified_chain_days_left", self.verified_until),
        )
        return tuple((name, (end - at) / _DAY_S) for name, end in ends if end is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainChecks:
    """What a finished handshake must have shown."""

    min_days_left: float | None
    names: Sequence[str]
    issuer: Any
    """A compiled RE2 pattern, or None."""
    min_version: str | None
    max_latency_s: float | None

    def judge(self, seen: Seen, version: str, at: float, latency_s: float) -> None:
        """Return when everything is as it must be.

        Raises:
            ProbeError: for the first that is not.
        """
        if self.min_version is not None and VERSIONS[version] < VERSIONS[self.min_version]:
            text = f"the server settled for {version}, expected {self.min_version} or newer"
            raise ProbeError(Reason.TLS_PROTOCOL, text)
        self._judge_certificate(seen, at)
        if self.max_latency_s is not None and latency_s > self.max_latency_s:
            text = f"took {latency_s * 1000:.0f} ms, allowed {self.max_latency_s * 1000:g} ms"
            raise ProbeError(Reason.SLOW, text)

    def _judge_certificate(self, seen: Seen, at: float) -> None:
        if self.min_days_left is None and not self.names and self.issuer is None:
            return
        leaf, until = seen.leaf, seen.until
        if leaf is None or until is None:
            # OpenSSL could read it, or there would be no handshake to judge.
            raise ProbeError(Reason.PROBER_ERROR, "we cannot read this certificate")
        missing = [name for name in self.names if not leaf.covers(name)]
        if missing:
            raise ProbeError(Reason.TLS_NAME, f"the certificate is not for {', '.join(missing)}")
        if self.issuer is not None and not is_found(self.issuer, leaf.issuer.encode()):
            text = f"the certificate was issued by {ascii(leaf.issuer)[:_SHOWN]}"
            raise ProbeError(Reason.BODY, text)
        days = (until - at) / _DAY_S
        if self.min_days_left is not None and days < self.min_days_left:
            text = f"certificate_days_left is {days:.1f}, expected {self.min_days_left:g} or more"
            raise ProbeError(Reason.EXPIRING, text)


def look(presented: Sequence[bytes], verified: Sequence[bytes]) -> Seen:
    """Return what two chains (DER, leaf first) say; what is no certificate says nothing."""
    shown = [_read(der) for der in presented]
    return Seen(
        leaf=shown[0] if shown else None,
        presented_until=_earliest(shown),
        verified_until=_earliest([_read(der) for der in verified]),
    )


def _read(der: bytes) -> Certificate | None:
    try:
        return parse_certificate(der)
    except ValueError:
        return None


def _earliest(certificates: Sequence[Certificate | None]) -> float | None:
    ends = [certificate.not_after for certificate in certificates if certificate is not None]
    return min(ends, default=None)
