"""The configuration of an HTTP probe: what may stand in a file, checked before anything runs."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from monitor.fields import Duration, Size
from monitor.model import Deployment, Target
from monitor.probes.base import ProbeConfig, ProbeIO
from monitor.probes.http.assertions import Checks, HeaderCheck, StatusRanges
from monitor.probes.http.auth import Auth
from monitor.probes.http.conditions import compile_regex
from monitor.probes.http.expression import Expression
from monitor.probes.http.fields import (
    Cel,
    HeaderPatterns,
    Headers,
    HttpVersion,
    JsonAssertion,
    JsonPathText,
    ProxyUrl,
    Regex,
    Statuses,
    UrlPath,
)
from monitor.probes.http.identity import ClientCertificate
from monitor.probes.http.jsonpath import parse_path
from monitor.probes.http.kept import KeptConnection
from monitor.probes.http.probe import HttpProbe
from monitor.probes.http.request import Request
from monitor.probes.http.route import Route
from monitor.probes.http.url import join, parse_url

_SUCCESS = ((200, 299),)
_REDIRECTION = (300, 399)
_MAX_BODY_LIMIT = 1024 * 1024
_V6 = 6
_HTTP_2 = "2"


def _are_redirects(statuses: StatusRanges) -> bool:
    lowest, highest = _REDIRECTION
    return all(lowest <= first and last <= highest for first, last in statuses)


class HttpProbeConfig(ProbeConfig):
    """One HTTP or HTTPS request and what its answer must look like.

    Every run connects afresh unless `keep_alive` is on. The phases are resolve, connect, tls, send,
    wait (up to the first byte) and transfer, summed over redirects.
    """

    example: ClassVar[str] = (
        "{kind: http, name: home, path: /, status: 200, body_contains: Shop, "
        "headers_match: {content-type: ^text/html}, max_latency: 3s}"
    )

    kind: Literal["http"] = "http"
    path: UrlPath = "/"
    """Appended to the deployment's URL; `/` stands for that URL as it is written."""
    method: Literal["GET", "HEAD", "POST"] = "GET"
    """What is asked; only POST sends a body."""
    headers: Headers = Field(default_factory=dict)
    """Secrets, Authorization, Cookie and Host are sent to the deployment's own origin only."""
    body: str | None = None
    """Sent with POST."""
    auth: Auth | None = None
    """Goes to the deployment's own origin only."""
    client_certificate: ClientCertificate | None = None
    """Shown to the deployment's own origin only."""
    ip: Literal[4, 6, "any"] = "any"
    """Which addresses to try first; the others remain as a fallback."""
    proxy: ProxyUrl | None = None
    """HTTP proxy that relays http and tunnels https; it looks up the names of targets itself."""
    http_version: HttpVersion = "1.1"
    """`2` demands HTTP/2: over https the server must agree to it (ALPN), over http it must speak it
    from the first byte. A redirect to another origin over plain http gets HTTP/1.1."""
    keep_alive: bool = False
    """Use one connection for all probes as long as the target allows; connecting is then seen
    only when it must be done again."""
    status: Statuses = _SUCCESS
    """Of the answer at the end of all redirects."""
    headers_match: HeaderPatterns = Field(default_factory=dict)
    """Name of a header and what RE2 must find in one of its values."""
    body_contains: Annotated[str, Field(min_length=1)] | None = None
    """A text that must be somewhere in the body."""
    body_matches: Regex | None = None
    """RE2, somewhere in the body."""
    json_: list[JsonAssertion] = Field(default_factory=list, alias="json")
    """What must hold in the body, which must be JSON then."""
    cel: Cel | None = None
    """Must be true; over status, headers (names in lower case), body, json, latency_ms, phases."""
    max_latency_s: Duration | None = None
    """A longer answer is BAD (`slow`)."""
    follow_redirects: bool = True
    """At most 5."""
    ca_file: str | None = None
    """PEM file with the authorities to trust instead of the system's."""
    insecure: bool = False
    """Accept any certificate; its expiry is then not reported."""
    max_body_bytes: Annotated[Size, Field(gt=0, le=_MAX_BODY_LIMIT)] = 64 * 1024
    """Read no more than this; the answer is judged on what was read."""
    revision_json: JsonPathText | None = Field(default=None, alias="revision")
    """JSON path of the text that names the deployed revision."""
    expect_version: Annotated[str, Field(min_length=1)] | None = None
    """The text that must stand where `revision` points."""
    min_certificate_days: Annotated[float, Field(gt=0)] | None = None
    """A certificate that ends sooner is BAD (`expiring`)."""
    must_fail: bool = False
    """Turn BAD into GOOD and GOOD into BAD, for what must not be reachable."""

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        problems = (
            (
                self.body is not None and self.method != "POST",
                f"{self.method} sends no body; set method: POST",
            ),
            (
                self.method == "HEAD" and self._checks().need_body,
                "HEAD gets no body to check; set method: GET",
            ),
            (
                self.follow_redirects and _are_redirects(self.status),
                "redirects are followed, so none is ever seen; set follow_redirects: false",
            ),
            (
                self.keep_alive and self.method != "GET",
                "a kept connection may have to be tried twice; set method: GET",
            ),
            (
                self.keep_alive and self.http_version == _HTTP_2,
                "keep_alive is for HTTP/1.1; remove it, or http_version",
            ),
            (
                self.expect_version is not None and self.revision_json is None,
                "expect_version needs revision, the JSON path where the version stands",
            ),
            (
                self.insecure and self.min_certificate_days is not None,
                "min_certificate_days needs a verified certificate; remove insecure",
            ),
            (
                self.auth is not None and "authorization" in map(str.lower, self.headers),
                "auth sends the header Authorization; remove it from headers",
            ),
        )
        for is_wrong, problem in problems:
            if is_wrong:
                raise ValueError(problem)
        return self

    @property
    def is_inverted(self) -> bool:
        """Whether it must fail."""
        return self.must_fail

    def build(self, target: Target, deployment: Deployment, url: str, io: ProbeIO) -> HttpProbe:  # noqa: ARG002 - the signature of every kind
        """Return the probe of `target` at `url` and the configured path.

        Raises:
            ValueError: when `url` is no base URL, or a file cannot be loaded.
        """
        place = join(url, self.path)
        if self.min_certificate_days is not None and place.scheme != "https":
            msg = f"min_certificate_days needs an https address (got {place})"
            raise ValueError(msg)
        if self.http_version == _HTTP_2 and self.proxy is not None and place.scheme == "http":
            msg = f"a proxy relays {place} as HTTP/1.1; use https, or remove http_version or proxy"
            raise ValueError(msg)
        route = Route(
            prefer_v6=None if self.ip == "any" else self.ip == _V6,
            proxy=None if self.proxy is None else parse_url(self.proxy),
        )
        idle_s = 2 * target.interval_s + target.timeout_s
        return HttpProbe(
            target=target.id,
            url=place,
            request=Request.build(self.method, self.headers, (self.body or "").encode()),
            checks=self._checks(),
            io=io,
            max_body_bytes=self.max_body_bytes,
            follow_redirects=self.follow_redirects,
            ca_file=self.ca_file,
            insecure=self.insecure,
            certificate=self.client_certificate,
            authorization=None if self.auth is None else self.auth.build(io, self.ca_file, route),
            route=route,
            kept=KeptConnection(idle_s) if self.keep_alive else None,
            must_fail=self.must_fail,
            http2=self.http_version == _HTTP_2,
            min_certificate_days=self.min_certificate_days,
        )

    def _checks(self) -> Checks:
        contains, pattern, revision = self.body_contains, self.body_matches, self.revision_json
        return Checks(
            status=self.status,
            headers=tuple(
                HeaderCheck(name.lower(), compile_regex(text))
                for name, text in self.headers_match.items()
            ),
            contains=None if contains is None else contains.encode(),
            matches=None if pattern is None else compile_regex(pattern),
            json=tuple(check for item in self.json_ for check in item.compiled()),
            revision=None if revision is None else parse_path(revision),
            expected_revision=self.expect_version,
            expression=None if self.cel is None else Expression(self.cel),
            max_latency_s=self.max_latency_s,
        )
