"""The HTTP probe: follows redirects within one deadline and turns what happened into a Sample.

Owns the redirect policy and the meaning of a deadline. The wire, the checks and the addresses are
other modules' business.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from monitor.model import Outcome, Sample
from monitor.probes.base import ProbeIO
from monitor.probes.deadline import Deadline
from monitor.probes.failure import ProbeError
from monitor.probes.http.assertions import Checks
from monitor.probes.http.auth import Authorization
from monitor.probes.http.client import fetch, refetch
from monitor.probes.http.direct import DirectRun
from monitor.probes.http.http2 import ALPN
from monitor.probes.http.identity import ClientCertificate
from monitor.probes.http.kept import KeptConnection
from monitor.probes.http.proxy import AUTHENTICATION_REQUIRED
from monitor.probes.http.redirects import MAX_REDIRECTS, REDIRECTS, next_hop
from monitor.probes.http.request import Request
from monitor.probes.http.route import DIRECT, Route
from monitor.probes.http.trace import Trace
from monitor.probes.http.url import Url
from monitor.probes.http.wire import Exchange, ResponseProtocol
from monitor.probes.reason import Reason
from monitor.probes.verdict import inverted, raised, to_detail

_UNAUTHORIZED = 401
_DAY_S = 86400
_WAITING_FOR = {
    Reason.AUTH: "waiting for a token",
    Reason.PROXY: "connecting to the proxy",
    Reason.RESOLVER: "looking up the name",
    Reason.CONNECT_TIMEOUT: "connecting",
    Reason.TLS_TIMEOUT: "shaking hands (TLS)",
    Reason.TIMEOUT_HEADERS: "waiting for the headers",
    Reason.TIMEOUT_BODY: "reading the body",
}


class HttpProbe:
    """Probes one URL; runs may overlap: between them it keeps a connection and a token at most."""

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
        certificate: ClientCertificate | None = None,
        authorization: Authorization | None = None,
        route: Route = DIRECT,
        kept: KeptConnection | None = None,
        must_fail: bool = False,
        http2: bool = False,
        min_certificate_days: float | None = None,
    ) -> None:
        """`target` is the target's id. Reads the trust roots now, not within a measurement.

        `certificate` and `authorization` are for the origin of `url` only. `kept` makes runs use
        one connection; it must not be shared.

        Raises:
            ValueError: when `ca_file` or `certificate` cannot be loaded.
        """
        self._target = target
        self._url = url
        self._request = request
        self._checks = checks
        self._io = io
        self._max_body_bytes = max_body_bytes
        self._follow_redirects = follow_redirects
        self._http2 = http2
        alpn = ALPN if http2 else ()
        self._away = io.tls.get(ca_file, insecure=insecure, alpn=alpn)
        self._home = io.tls.get(ca_file, insecure=insecure, alpn=alpn, prepare=certificate)
        self._authorization = authorization
        self._route = route
        self._kept = kept
        self._must_fail = must_fail
        self._min_certificate_days = min_certificate_days
        self._header = b""
        self._first = self._exchange(url, request, keep=kept is not None)
        is_plain = not (self._first.secure or route.proxy or authorization or kept)
        may_be_asked = url.is_address and io.addresses.denial(url.host) is None
        self._sockets = io.sockets if is_plain and may_be_asked else None

    def begin(
        self, at: float, deadline_s: float, done: Callable[[Sample], None]
    ) -> DirectRun | None:
        """Measure once without a task, where that is possible; see `QuickProbe`."""
        sockets, io = self._sockets, self._io
        if sockets is None:
            return None
        now = io.clock()
        run = DirectRun(
            self._first,
            Trace(now, io.stalls),
            io.deadlines.line(deadline_s, now),
            partial(self._conclude, at, deadline_s, done),
        )
        run.start(sockets, self._url.host, self._url.port)
        return run

    async def __call__(self, at: float, deadline_s: float) -> Sample:
        """Measure once; never raises for what the target or the network does."""
        io = self._io
        now = io.clock()
        trace = Trace(now, io.stalls)
        deadline = io.deadlines.after(deadline_s, now)
        return await self._measured(at, deadline_s, trace, deadline, self._answer(trace))

    def close(self) -> None:
        """Give up what is kept between runs, also what a run under way would keep."""
        if self._kept is not None:
            self._kept.close()

    # --- one run ------------------------------------------------------------------------------

    async def _measured(
        self,
        at: float,
        deadline_s: float,
        trace: Trace,
        deadline: Deadline,
        answering: Awaitable[ResponseProtocol],
    ) -> Sample:
        """Return the sample of a run that `deadline` ends."""
        answer: ResponseProtocol | None = None
        failure: ProbeError | None = None
        try:
            with deadline:
                answer = await answering
        except ProbeError as error:
            failure = error
        except TimeoutError:
            pass
        return self._sample(at, deadline_s, trace, failure or answer)

    def _conclude(
        self, at: float, deadline_s: float, done: Callable[[Sample], None], run: DirectRun
    ) -> None:
        """Hand over the sample of a run without a task, or let a task follow the redirect."""
        answer: ResponseProtocol | None = None if run.is_overdue else run.answer
        try:
            if answer is not None and run.failure is None and self._leads_to(answer) is not None:
                run.go_on(self._go_on(at, deadline_s, done, run))
                return
            sample = self._sample(at, deadline_s, run.trace, run.failure or answer)
        except Exception as error:  # noqa: BLE001 - nobody else would hear of it
            sample = raised(self._target, at, error)
        done(sample)

    async def _go_on(
        self, at: float, deadline_s: float, done: Callable[[Sample], None], run: DirectRun
    ) -> None:
        """Follow the redirect that a run without a task has met."""
        now = self._io.clock()
        deadline = Deadline(run.at - now())
        rest = self._follow(run.answer, run.trace)
        try:
            sample = await self._measured(at, deadline_s, run.trace, deadline, rest)
        except Exception as error:  # noqa: BLE001 - nobody else would hear of it
            sample = raised(self._target, at, error)
        done(sample)

    def _sample(
        self,
        at: float,
        deadline_s: float,
        trace: Trace,
        outcome: ResponseProtocol | ProbeError | None,
    ) -> Sample:
        """Return the sample of an answer, a failure, or (None) of a passed deadline."""
        if trace.elapsed_s > deadline_s and isinstance(outcome, ResponseProtocol):
            # A loop that stood still may read an answer before it sees that the time was up.
            outcome = None
        try:
            if outcome is None:
                sample = self._overdue(at, trace, deadline_s)
            elif isinstance(outcome, ProbeError):
                sample = self._failed(at, trace, outcome)
            else:
                sample = self._judged(at, trace, outcome)
        except ProbeError as error:
            sample = self._failed(at, trace, error)
        return inverted(sample) if self._must_fail else sample

    # --- asking -------------------------------------------------------------------------------

    async def _answer(self, trace: Trace) -> ResponseProtocol:
        """Return the first answer that is no redirect.

        Raises:
            ProbeError: whatever happened on the way.
        """
        if self._authorization is not None:
            await self._authorize(self._authorization, trace)
        if self._kept is not None:
            answer = await self._ask_again(self._kept, trace)
        else:
            answer = await self._ask_home(trace)
        return await self._follow(answer, trace)

    async def _follow(self, answer: ResponseProtocol, trace: Trace) -> ResponseProtocol:
        """Return the first answer from `answer` on that is no redirect.

        Raises:
            ProbeError: whatever happened on the way.
        """
        url, request = self._url, self._request
        for _ in range(MAX_REDIRECTS):
            location = self._leads_to(answer)
            if location is None:
                return answer
            url = next_hop(url, location)
            request = request.redirected(answer.status)
            trace.hop()
            exchange = self._exchange(url, request)
            context = None
            if exchange.secure:
                context = self._home if url.origin == self._url.origin else self._away
            answer = await fetch(url, exchange, self._io, context, trace, route=self._route)
        if self._leads_to(answer) is None:
            return answer
        raise ProbeError(Reason.REDIRECTS, f"more than {MAX_REDIRECTS} redirects")

    async def _authorize(self, authorization: Authorization, trace: Trace) -> None:
        """Prepare the first request with the header of the moment."""
        trace.waiting_for = Reason.AUTH
        header = await authorization.header()
        trace.waiting_for = None
        if header != self._header:
            self._header = header
            self._first = self._exchange(self._url, self._request, keep=self._kept is not None)

    def _ask_home(self, trace: Trace) -> Awaitable[ResponseProtocol]:
        """Ask the configured URL on a fresh connection."""
        context = self._home if self._first.secure else None
        return fetch(self._url, self._first, self._io, context, trace, route=self._route)

    async def _ask_again(self, kept: KeptConnection, trace: Trace) -> ResponseProtocol:
        """Ask the configured URL on the connection that was kept, or on one to be kept."""
        answer = None
        idle = kept.take(trace)
        if idle is not None:
            answer = await refetch(idle, self._first, trace)
        if answer is None:
            trace.restart()
            answer = await self._ask_home(trace)
        kept.put(answer, trace)
        return answer

    def _leads_to(self, answer: ResponseProtocol) -> bytes | None:
        """Return where a redirect leads, None when the answer is not to be followed."""
        if not self._follow_redirects or answer.status not in REDIRECTS:
            return None
        return answer.header(b"location")

    def _exchange(self, url: Url, request: Request, *, keep: bool = False) -> Exchange:
        secure, at_home = url.scheme == "https", url.origin == self._url.origin
        http2, sent = None, request.body
        if self._http2 and (secure or at_home):
            http2 = request.fields(url, at_home=at_home, authorization=self._header)
        else:
            sent = request.render(
                url,
                at_home=at_home,
                authorization=self._header,
                keep_alive=keep,
                absolute=self._route.proxy is not None and not secure,
            )
        return Exchange(
            request=sent,
            http2=http2,
            is_head=request.method == "HEAD",
            keep_body=self._checks.need_body,
            max_body_bytes=self._max_body_bytes,
            follow_redirects=self._follow_redirects,
            secure=secure,
            keep=keep,
        )

    # --- judging ------------------------------------------------------------------------------

    def _judged(self, at: float, trace: Trace, answer: ResponseProtocol) -> Sample:
        """Return the sample of a whole answer.

        Raises:
            ProbeError: it is not what it must be.
        """
        status, phases, latency_s = answer.status, trace.phases, trace.elapsed_s
        if status == AUTHENTICATION_REQUIRED and self._route.proxy is not None:
            raise ProbeError(Reason.PROXY, "the proxy wants to know who we are (HTTP 407)")
        if status == _UNAUTHORIZED and self._authorization is not None:
            self._authorization.refused()
        revision = self._checks.judge(
            status,
            answer.body,
            latency_s,
            is_capped=answer.is_capped,
            headers=answer.headers,
            phases=phases,
            tainted_s=trace.tainted_s,
        )
        if self._min_certificate_days is not None:
            self._judge_certificate(self._min_certificate_days, at, trace.certificate_expires_at)
        return Sample(
            target=self._target,
            at=at,
            outcome=Outcome.GOOD,
            latency_s=latency_s,
            status=status,
            phases=phases,
            hops=trace.hops,
            tainted_s=trace.tainted_s,
            revision=revision,
            certificate_expires_at=trace.certificate_expires_at,
        )

    def _judge_certificate(self, days: float, at: float, expires_at: float | None) -> None:
        if expires_at is None:
            raise ProbeError(Reason.PROBER_ERROR, "the date of the certificate cannot be read")
        left = (expires_at - at) / _DAY_S
        if left < days:
            detail = f"the certificate expires in {left:.1f} days, expected at least {days:g}"
            raise ProbeError(Reason.EXPIRING, detail)

    def _overdue(self, at: float, trace: Trace, deadline_s: float) -> Sample:
        """The deadline ended the run: the true latency is at least the deadline."""
        reason = trace.overdue
        detail = f"timed out after {deadline_s:g} s while {_WAITING_FOR[reason]}"
        if trace.phase is None:
            # An answer that came too late: what was kept out of its latency has no part in that.
            is_ours = trace.elapsed_s - trace.tainted_s <= deadline_s
        else:
            trace.give_up()
            is_ours = trace.is_short_changed(deadline_s)
        if is_ours and reason.outcome is Outcome.BAD:
            detail += ", some of which our own loop stood still"
            reason = Reason.STALLED
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
            detail=to_detail(error.detail),
            latency_s=max(trace.elapsed_s, at_least_s) if measured else None,
            censored=reason.is_timeout,
            status=trace.status,
            phases=trace.phases,
            hops=trace.hops,
            tainted_s=trace.tainted_s,
            certificate_expires_at=trace.certificate_expires_at,
        )
