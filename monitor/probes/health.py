"""The health probe: what a deployment says of itself (the plan's 7.1).

Owns when that counts as BAD. The document's form is another module's business.
"""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import ClassVar, Literal

from pydantic import Field

from monitor.fields import Duration, Secret
from monitor.model import Deployment, Outcome, Sample, Target
from monitor.probes.base import ProbeConfig, ProbeIO
from monitor.probes.call import Answer, Caller
from monitor.probes.failure import ProbeError
from monitor.probes.health_document import DEGRADED, UNHEALTHY, HealthDocument, read_health
from monitor.probes.http.fields import Headers, UrlPath
from monitor.probes.http.request import Request
from monitor.probes.http.trace import Trace
from monitor.probes.http.url import join
from monitor.probes.reason import Reason
from monitor.probes.verdict import failed, to_detail

_MAX_BODY_BYTES = 256 * 1024
_UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE


class HealthProbeConfig(ProbeConfig):
    """Asks a health endpoint for `{status, timestamp, version, checks: {name: ...}}`.

    The status becomes `health`, every named check its own series, the version the revision. A 503
    with such a document counts as the document says. A status word that is neither healthy (ok,
    pass, up), degraded (warn) nor unhealthy (fail, down, error) counts as unhealthy.
    """

    example: ClassVar[str] = "{kind: health, path: /api/health, degraded_is: bad, max_age: 5m}"

    kind: Literal["health"] = "health"
    path: UrlPath = "/api/health"
    """Appended to the deployment's URL. Redirects are not followed."""
    headers: Headers = Field(default_factory=dict)
    """Sent with the request; to the deployment's own origin only."""
    degraded_is: Literal["good", "bad"] = "good"
    """Whether a degraded deployment counts as up."""
    max_age_s: Duration | None = None
    """A document with an older `timestamp`, or with none, is BAD (`stale`)."""
    ca_file: str | None = None
    """PEM file with the authorities to trust instead of the system's."""
    insecure: bool = False
    """Accept any certificate; its expiry is then not reported."""

    def build(self, target: Target, deployment: Deployment, url: str, io: ProbeIO) -> HealthProbe:  # noqa: ARG002 - the signature of every kind
        """Return the probe of `target`.

        Raises:
            ValueError: when `url` is no base URL or `ca_file` cannot be loaded.
        """
        return HealthProbe(self, target.id, url, io)


class HealthProbe:
    """Asks one health endpoint; holds no state between runs."""

    def __init__(self, config: HealthProbeConfig, target: str, url: str, io: ProbeIO) -> None:
        """Ask at `url` and the configured path."""
        self._config = config
        self._target = target
        self._url = join(url, config.path)
        headers: dict[str, str | Secret] = {**config.headers}
        if "accept" not in {name.lower() for name in headers}:
            headers["Accept"] = "application/json"
        self._request = Request.build("GET", headers, b"")
        self._caller = Caller(io, ca_file=config.ca_file, insecure=config.insecure)

    async def __call__(self, at: float, deadline_s: float) -> Sample:
        """Ask once; never raises for what the target or the network does."""
        trace = self._caller.trace()
        said: HealthDocument | None = None
        failure: ProbeError | None = None
        allowance = self._caller.allow(deadline_s)
        try:
            answer = await self._caller.call(
                self._url, self._request, trace, allowance, _MAX_BODY_BYTES
            )
            said = _read(answer)
            failure = self._objection(said, at)
        except ProbeError as error:
            failure = error
        sample = _described(self._measured(trace, at), said, failure)
        return sample if failure is None else failed(sample, failure, deadline_s)

    def _objection(self, said: HealthDocument, at: float) -> ProbeError | None:
        """Return why what it says of itself is BAD, or None."""
        max_age_s = self._config.max_age_s
        if max_age_s is not None:
            if said.said_at is None:
                return ProbeError(Reason.STALE, "the document has no timestamp in ISO 8601")
            if at - said.said_at > max_age_s:
                age_s = at - said.said_at
                detail = f"the document is {age_s:.0f} s old, expected at most {max_age_s:g} s"
                return ProbeError(Reason.STALE, detail)
        is_bad = said.health == UNHEALTHY or (
            said.health == DEGRADED and self._config.degraded_is == "bad"
        )
        return ProbeError(Reason.UNHEALTHY, _describe(said)) if is_bad else None

    def _measured(self, trace: Trace, at: float) -> Sample:
        return Sample(
            target=self._target,
            at=at,
            outcome=Outcome.GOOD,
            latency_s=trace.elapsed_s,
            status=trace.status,
            phases=trace.phases,
            tainted_s=trace.tainted_s,
            certificate_expires_at=trace.certificate_expires_at,
        )


def _read(answer: Answer) -> HealthDocument:
    is_success = HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES
    if not is_success and answer.status != _UNAVAILABLE:
        raise ProbeError(Reason.STATUS, f"HTTP {answer.status}, expected 200 or 503")
    try:
        return _document(answer)
    except ProbeError:
        if is_success:
            raise
        detail = f"HTTP {answer.status} without a health document"
        raise ProbeError(Reason.STATUS, detail) from None


def _document(answer: Answer) -> HealthDocument:
    if answer.is_capped:
        raise ProbeError(Reason.JSON, f"the document is longer than {_MAX_BODY_BYTES // 1024} KiB")
    return read_health(answer.body)


def _described(sample: Sample, said: HealthDocument | None, failure: ProbeError | None) -> Sample:
    """Return `sample` with what the target says of itself, unless that is out of date."""
    if said is None:
        return sample
    sample = replace(sample, revision=said.version)
    if failure is not None and failure.reason is Reason.STALE:
        return sample
    detail = _describe(said) if said.failing or said.dropped or said.health == DEGRADED else ""
    return replace(sample, health=said.health, checks=said.checks, detail=to_detail(detail))


def _describe(said: HealthDocument) -> str:
    parts = [f"the target says {said.word}"]
    if said.failing:
        parts.append(f"not healthy: {', '.join(said.failing)}")
    if said.dropped:
        parts.append(f"checks left out: {said.dropped}")
    return "; ".join(parts)
