"""The resources probe: the files that a page cannot do without (the plan's 3.2).

Owns how many are fetched at once and how their results become one sample.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from monitor.fields import Model, Size
from monitor.model import Deployment, Outcome, Sample, Target
from monitor.probes.base import ProbeConfig, ProbeIO
from monitor.probes.call import Allowance, Answer, Caller, earliest
from monitor.probes.failure import ProbeError
from monitor.probes.http.assertions import StatusRanges, format_statuses
from monitor.probes.http.fields import Headers, Statuses, UrlPath
from monitor.probes.http.request import Request
from monitor.probes.http.trace import Trace
from monitor.probes.http.url import Url, join
from monitor.probes.reason import Reason
from monitor.probes.verdict import failed

AT_ONCE = 4
MAX_PATHS = 64
_OK = ((200, 200),)
_MAX_SIZE = 1024 * 1024
_GLANCE_BYTES = 16 * 1024
"""Enough of a body to see that it comes."""
_PAGES = frozenset({"", ".html", ".htm", ".xhtml", ".php", ".asp", ".aspx", ".jsp"})
_HTML = "text/html"


class Resource(Model):
    """One file, with what is asked of it beyond its status."""

    path: UrlPath
    """Of the resource, below the deployment's URL."""
    content_type: Annotated[str, Field(min_length=1)] | None = None
    """Such as `text/javascript`; what follows a semicolon is not looked at."""
    min_size_bytes: Annotated[Size, Field(le=_MAX_SIZE)] | None = None
    """A shorter body is BAD (`body`); at most 1 MiB."""


class ResourcesProbeConfig(ProbeConfig):
    """Fetches critical resources; all of them must be there.

    They are fetched four at a time within one timeout; the latency is that of the slowest, and the
    detail names those that are missing. A script or an image that comes as HTML is missing: single-
    page applications answer 200 with their start page for whatever they do not have.
    """

    example: ClassVar[str] = (
        "{kind: resources, paths: [/assets/index.js, /assets/vendor-react.js, "
        "{path: /manifest.json, content_type: application/json}]}"
    )

    kind: Literal["resources"] = "resources"
    paths: Annotated[list[UrlPath | Resource], Field(min_length=1, max_length=MAX_PATHS)]
    """Appended to the deployment's URL: a path, or `{path, content_type, min_size}`."""
    status: Statuses = _OK
    """Redirects are not followed."""
    headers: Headers = Field(default_factory=dict)
    """Sent with every request; to the deployment's own origin only."""
    ca_file: str | None = None
    """PEM file with the authorities to trust instead of the system's."""
    insecure: bool = False
    """Accept any certificate; its expiry is then not reported."""

    @model_validator(mode="after")
    def _are_different(self) -> Self:
        paths = [resource.path for resource in self.resources]
        if len(set(paths)) < len(paths):
            msg = "a path is given twice"
            raise ValueError(msg)
        return self

    @property
    def resources(self) -> tuple[Resource, ...]:
        """All of them in their long form."""
        return tuple(Resource(path=item) if isinstance(item, str) else item for item in self.paths)

    def build(
        self,
        target: Target,
        deployment: Deployment,  # noqa: ARG002 - the signature of every kind
        url: str,
        io: ProbeIO,
    ) -> ResourcesProbe:
        """Return the probe of `target`.

        Raises:
            ValueError: when `url` is no base URL or `ca_file` cannot be loaded.
        """
        return ResourcesProbe(self, target.id, url, io)


@dataclass(slots=True)
class _Visit:
    """One resource in one run; `failure` is None when it is there."""

    resource: Resource
    url: Url
    trace: Trace
    failure: ProbeError | None = None


class ResourcesProbe:
    """Fetches all resources once a run; holds no state between runs."""

    def __init__(self, config: ResourcesProbeConfig, target: str, url: str, io: ProbeIO) -> None:
        """Fetch below `url`."""
        self._target = target
        self._status: StatusRanges = config.status
        self._resources = [(each, join(url, each.path)) for each in config.resources]
        self._request = Request.build("GET", config.headers, b"")
        self._caller = Caller(io, ca_file=config.ca_file, insecure=config.insecure)

    async def __call__(self, at: float, deadline_s: float) -> Sample:
        """Fetch once; never raises for what the target or the network does."""
        visits = [_Visit(each, url, self._caller.trace()) for each, url in self._resources]
        allowance = self._caller.allow(deadline_s)
        room = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for visit in visits:
                group.create_task(self._visit(visit, allowance, room))
        return self._sample(visits, at, deadline_s)

    async def _visit(self, visit: _Visit, allowance: Allowance, room: asyncio.Semaphore) -> None:
        cap = visit.resource.min_size_bytes or _GLANCE_BYTES
        async with room:
            try:
                answer = await self._caller.call(
                    visit.url, self._request, visit.trace, allowance, cap
                )
                self._judge(visit.resource, answer)
            except ProbeError as error:
                visit.failure = error

    def _judge(self, resource: Resource, answer: Answer) -> None:
        if not any(first <= answer.status <= last for first, last in self._status):
            detail = f"HTTP {answer.status}, expected {format_statuses(self._status)}"
            raise ProbeError(Reason.STATUS, detail)
        sent = (answer.header(b"content-type") or b"").decode("latin-1")
        content_type = sent.partition(";")[0].strip().lower()
        wanted = resource.content_type
        if wanted is not None and content_type != wanted.strip().lower():
            detail = f"comes as {content_type[:40] or 'no type'}, expected {wanted}"
            raise ProbeError(Reason.BODY, detail)
        if wanted is None and content_type == _HTML and not _may_be_page(resource.path):
            raise ProbeError(Reason.BODY, "comes as an HTML page")
        least = resource.min_size_bytes or 0
        if not answer.is_capped and len(answer.body) < least:
            detail = f"has {len(answer.body)} bytes, expected at least {least}"
            raise ProbeError(Reason.BODY, detail)

    def _sample(self, visits: Sequence[_Visit], at: float, deadline_s: float) -> Sample:
        answered = [
            each for each in visits if each.failure is None or each.failure.reason.is_answer
        ]
        slowest = max(answered, key=lambda each: each.trace.elapsed_s, default=None)
        bad = [each for each in visits if each.failure is not None]
        shown = bad[0] if bad else slowest
        sample = Sample(
            target=self._target,
            at=at,
            outcome=Outcome.GOOD,
            latency_s=None if slowest is None else slowest.trace.elapsed_s,
            status=None if shown is None else shown.trace.status,
            phases=() if slowest is None else slowest.trace.phases,
            tainted_s=0.0 if slowest is None else slowest.trace.tainted_s,
            certificate_expires_at=earliest(each.trace for each in visits),
            values=(("missing", float(len(bad))),),
        )
        failure = _summary(bad, len(visits))
        return sample if failure is None else failed(sample, failure, deadline_s)


def _summary(bad: Sequence[_Visit], total: int) -> ProbeError | None:
    """Return one failure for all: what the target did counts before what we could not do."""
    failures = [(each.resource.path, each.failure) for each in bad if each.failure is not None]
    if not failures:
        return None
    ranked = sorted(failures, key=lambda item: item[1].reason.outcome is not Outcome.BAD)
    names = ", ".join(path for path, _ in ranked)
    path, first = ranked[0]
    detail = f"{path}: {first.detail}"
    if len(ranked) > 1:
        detail += f" ({len(ranked)} of {total} are missing: {names})"
    return ProbeError(first.reason, detail)


def _may_be_page(path: str) -> bool:
    return PurePosixPath(path.partition("?")[0]).suffix.lower() in _PAGES
