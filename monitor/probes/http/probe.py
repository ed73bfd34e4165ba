"""The HTTP probe: follows redirects within one deadline and turns what happened into a Sample.

Owns the redirect policy and the meaning of a deadline. The wire, the checks and the addresses are
other modules' business.
"""

from __future__ import annotations

import asyncio

from monitor.model import Outcome, Sample
from monitor.probes.base import ProbeIO
from monitor.probes.failure import ProbeError
from monitor.probes.http.assertions import Checks
from monitor.probes.http.client import fetch
from monitor.probes.http.request import Request
from monitor.probes.http.trace import Trace
from monitor.probes.http.url import SchemeError, Url, follow
from monitor.probes.http.wire import REDIRECTS, Exchange, ResponseProtocol
from monitor.probes.reason import Reason

MAX_REDIRECTS = 5
_DETAIL_MAX = 200
_WAITING_FOR = {
    Reason.RESOLVER: "looking up the name",
    Reason.CONNECT_TIMEOUT: "connecting",
    Reason.TLS_TIMEOUT: "shaking hands (TLS)",
    Reason.TIMEOUT_HEADERS: "waiting for the headers",
    Reason.TIMEOUT_BODY: "reading the body",
}


class HttpProbe:
    """Probes one URL; holds no state between runs, so that runs may overlap."""

    def __init__(
        self,
        *,
        target: str,
        url: Url,
        request: Request,
        checks: Checks,
        io: ProbeIO,
        max_body_bytes: int,
        follow_redirects: bool,
        ca_file: str | None,
        insecure: bool,
    ) -> None:
        """`target` is the target's id. Reads the trust roots now, not within a measurement.

        Raises:
            ValueError: when `ca_file` cannot be loaded.
        """
        self._target = target
        self._url = url
        self._request = request
        self._checks = checks
        self._io = io
        self._max_body_bytes = max_body_bytes
        self._follow_redirects = follow_redirects
        self._context = io.tls.get(ca_file, insecure=insecure)
        self._first = self._exchange(url, request)

    async def __call__(self, at: float, deadline_s: float) -> Sample:
        """Measure once; never raises for what the target or the network does."""
        trace = Trace(self._io.monotonic or asyncio.get_running_loop().time)
        try:
            async with asyncio.timeout(deadline_s):
                answer = await self._answer(trace)
            revision = self._checks.judge(
                answer.status, answer.body, trace.elapsed_s, is_capped=answer.is_capped
            )
        except ProbeError as error:
            return self._failed(at, trace, error)
        except TimeoutError:
            return self._overdue(at, trace, deadline_s)
        return Sample(
            target=self._target,
            at=at,
            outcome=Outcome.GOOD,
            latency_s=trace.elapsed_s,
            status=answer.status,
            phases=trace.phases,
            revision=revision,
            certificate_expires_at=trace.certificate_expires_at,
        )

    async def _answer(self, trace: Trace) -> ResponseProtocol:
        """Return the first answer that is no redirect.

        Raises:
            ProbeError: whatever happened on the way.
        """
        url, request, exchange = self._url, self._request, self._first
        for _ in range(MAX_REDIRECTS + 1):
            context = self._context if exchange.secure else None
            answer = await fetch(url, exchange, self._io, context, trace)
            if not exchange.follow_redirects or answer.status not in REDIRECTS:
                return answer
            location = answer.header(b"location")
            if location is None:
                return answer
            url = _next_hop(url, location)
            request = request.redirected(answer.status)
            exchange = self._exchange(url, request)
        raise ProbeError(Reason.REDIRECTS, f"more than {MAX_REDIRECTS} redirects")

    def _exchange(self, url: Url, request: Request) -> Exchange:
        return Exchange(
            request=request.render(url, at_home=url.origin == self._url.origin),
            is_head=request.method == "HEAD",
            keep_body=self._checks.need_body,
            max_body_bytes=self._max_body_bytes,
            follow_redirects=self._follow_redirects,
            secure=url.scheme == "https",
        )

    def _overdue(self, at: float, trace: Trace, deadline_s: float) -> Sample:
        """The deadline ended the run: the true latency is at least the deadline."""
        reason = trace.overdue
        detail = f"timed out after {deadline_s:g} s while {_WAITING_FOR[reason]}"
        return self._failed(at, trace, ProbeError(reason, detail), at_least_s=deadline_s)

    def _failed(
        self, at: float, trace: Trace, error: ProbeError, at_least_s: float = 0.0
    ) -> Sample:
        trace.enter(None)
        reason = error.reason
        measured = reason.is_answer or reason.is_timeout
        return Sample(
            target=self._target,
            at=at,
            outcome=reason.outcome,
            reason=reason.value,
            detail=error.detail[:_DETAIL_MAX],
            latency_s=max(trace.elapsed_s, at_least_s) if measured else None,
            censored=reason.is_timeout,
            status=trace.status,
            phases=trace.phases,
            certificate_expires_at=trace.certificate_expires_at,
        )


def _next_hop(url: Url, location: bytes) -> Url:
    try:
        return follow(url, location)
    except SchemeError:
        detail = "redirect to something else than http and https"
        raise ProbeError(Reason.REDIRECT_SCHEME, detail) from None
    except ValueError:
        raise ProbeError(Reason.REDIRECT_INVALID, "redirect to what is no valid URL") from None
