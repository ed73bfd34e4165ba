"""The flow probe: steps in a row within one deadline, with what they hand on to each other.

Owns the state of one run: captured values, cookies, how long each step took. What a value looks
like where it is used, and what an answer must look like, are other modules' business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from monitor.fields import Secret
from monitor.model import Outcome, Sample
from monitor.probes.call import Allowance, Caller, earliest
from monitor.probes.cookies import CookieJar
from monitor.probes.failure import ProbeError
from monitor.probes.flow.capture import Capture, Expectations
from monitor.probes.flow.template import fill_body, fill_header, fill_path
from monitor.probes.http.request import Request
from monitor.probes.http.trace import Trace
from monitor.probes.http.url import join
from monitor.probes.reason import Reason
from monitor.probes.verdict import failed

_LEAST_SECRET = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request of a flow, ready to be filled in."""

    method: str
    path: str
    headers: Mapping[str, str | Secret]
    body: str | Secret | None
    expects: Expectations
    captures: Sequence[Capture]

    def request(self, captured: Mapping[str, str], cookies: str | None) -> Request:
        """Return what to send; a `Cookie` header of the step's own replaces `cookies`.

        Raises:
            ProbeError: (capture) when a captured value cannot stand where it is used.
        """
        headers: dict[str, str | Secret] = {
            name: text if isinstance(text, Secret) else fill_header(name, text, captured)
            for name, text in self.headers.items()
        }
        names = {name.lower(): text for name, text in headers.items()}
        if cookies is not None and "cookie" not in names:
            headers["Cookie"] = Secret(cookies)
        if isinstance(self.body, Secret):
            body = self.body.reveal().encode()
        else:
            content_type = names.get("content-type", "")
            plain = content_type.reveal() if isinstance(content_type, Secret) else content_type
            body = fill_body(self.body or "", captured, plain)
        return Request.build(self.method, headers, body)


@dataclass(slots=True, repr=False)
class _Session:
    """What one run has learnt so far. Holds secrets, so it has no repr."""

    jar: CookieJar
    captured: dict[str, str] = field(default_factory=dict)
    traces: list[Trace] = field(default_factory=list)

    def hide(self, text: str) -> str:
        """Return `text` without captured values; a few characters are no secret but hide much."""
        values = (*self.captured.values(), *self.jar.values)
        for value in sorted(values, key=len, reverse=True):
            text = text.replace(value, "***") if len(value) >= _LEAST_SECRET else text
        return text


class FlowProbe:
    """Goes through all steps once a run; holds no state between runs."""

    def __init__(
        self, *, target: str, base: str, steps: Sequence[Step], max_body_bytes: int, caller: Caller
    ) -> None:
        """Run `steps` below the URL `base`."""
        self._target = target
        self._base = base
        self._steps = steps
        self._max_body_bytes = max_body_bytes
        self._caller = caller
        self._secure = join(base, "/").scheme == "https"

    async def __call__(self, at: float, deadline_s: float) -> Sample:
        """Run once; never raises for what the target or the network does."""
        session = _Session(CookieJar(secure=self._secure))
        failure: ProbeError | None = None
        allowance = self._caller.allow(deadline_s)
        try:
            for step in self._steps:
                await self._take(step, session, allowance, at)
        except ProbeError as error:
            failure = error
        sample = self._measured(session, at)
        if failure is None:
            return sample
        return failed(sample, self._located(failure, session), deadline_s)

    async def _take(self, step: Step, session: _Session, allowance: Allowance, at: float) -> None:
        trace = self._caller.trace()
        session.traces.append(trace)
        try:
            url = join(self._base, fill_path(step.path, session.captured))
        except ValueError:
            raise ProbeError(Reason.CAPTURE, "a captured value makes no valid path") from None
        request = step.request(session.captured, session.jar.header(url.target))
        answer = await self._caller.call(url, request, trace, allowance, self._max_body_bytes)
        session.jar.take(answer.headers, url.target, at)
        step.expects.judge(answer)
        for capture in step.captures:
            session.captured[capture.name] = capture.take(answer)

    def _located(self, failure: ProbeError, session: _Session) -> ProbeError:
        """Return `failure` with the step it happened in, and without captured values."""
        number = len(session.traces)
        step = self._steps[number - 1]
        text = session.hide(failure.detail)
        return ProbeError(failure.reason, f"step {number} ({step.method} {step.path}): {text}")

    def _measured(self, session: _Session, at: float) -> Sample:
        traces = session.traces
        phases: dict[str, float] = {}
        for trace in traces:
            for name, seconds in trace.phases:
                phases[name] = phases.get(name, 0.0) + seconds
        return Sample(
            target=self._target,
            at=at,
            outcome=Outcome.GOOD,
            latency_s=sum(trace.elapsed_s for trace in traces),
            status=traces[-1].status if traces else None,
            phases=tuple(phases.items()),
            tainted_s=sum(trace.tainted_s for trace in traces),
            certificate_expires_at=earliest(traces),
            values=tuple(
                (f"step{number}_ms", trace.elapsed_s * 1000)
                for number, trace in enumerate(traces, 1)
                if trace.phases
            ),
        )
