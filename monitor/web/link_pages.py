"""The pages behind the links in messages: a look changes nothing, the button does.

Whoever scans mails follows every link in them, so a GET only shows a form. The form comes back to
its own address, which carries the signature, and the guard checks it there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial

from aiohttp import web

from monitor.fields import parse_duration
from monitor.model import Acknowledgement, Incident, IncidentAlert, Matcher
from monitor.slo.alerting import instance_name, rule_name
from monitor.web.asking import line, queued
from monitor.web.endpoint import Endpoint
from monitor.web.guard import FORM, FormPage, Proof, read_body
from monitor.web.html import Child, Markup, join, tag
from monitor.web.links import AckLinks, LinkError, Purpose
from monitor.web.people import (
    NAME_LENGTH,
    REASON_LENGTH,
    find_open,
    make_silence,
)
from monitor.web.respond import Handler, RefusalError
from monitor.web.view import View
from monitor.web.words import clock_text

log = logging.getLogger(__name__)

SOURCE = "link"
ACKNOWLEDGE_TIMES = SILENCE_TIMES = ("1h", "4h", "24h")
ALERTS_OF_A_LINK = 20
"""What a pattern must not read as an operator; a hyphen in a name stays readable."""
_CHALLENGE = {"WWW-Authenticate": "Signature"}
_OFF = "signed links are off: set server.page_url, and server.token or server.link_key"
_FORM_SCHEMA = {
    "type": "object",
    "properties": {"by": {"type": "string"}, "for": {"type": "string"}},
}


class LinkPages:
    """The handlers, and the proof that stands before those that change something."""

    def __init__(self, view: View, links: AckLinks | None) -> None:
        """Show and ask through `view`; without `links` there is nothing behind any address."""
        self._view = view
        self._links = links

    async def show(self, purpose: Purpose, request: web.Request) -> web.Response:
        """Show what the button would do; has no effect whatever."""
        try:
            self._check(purpose, request)
            incident = await find_open(self._view, request.match_info["id"])
            return _page(_TITLES[purpose], _FORMS[purpose](incident, self._view.now()))
        except RefusalError as refusal:
            words = tag("p", refusal.text, class_="summary")
            return _page("Nothing was changed", words, refusal.status, refusal.headers)

    async def prove(self, purpose: Purpose, request: web.Request) -> None:
        """Refuse what does not carry the signature of one of our links.

        Raises:
            RefusalError: 401, or 404 when there are no links.
        """
        self._check(purpose, request)

    async def acknowledge(self, request: web.Request) -> web.Response:
        """Say that somebody works on the incident."""
        form, now = await _read_form(request), self._view.now()
        until = now + _chosen(form, ACKNOWLEDGE_TIMES)
        by = line(form["by"], "your name", NAME_LENGTH) if form.get("by", "").strip() else SOURCE
        incident = await find_open(self._view, request.match_info["id"])
        acknowledgement = Acknowledgement(by=by, at=now, until=until, source=SOURCE)
        await queued(self._view.accept_acknowledgement(incident.id, acknowledgement))
        words = f"Nobody else is called before {clock_text(until, now)} UTC."
        return _page("Acknowledged", tag("p", words, class_="summary"))

    async def silence(self, request: web.Request) -> web.Response:
        """Keep quiet about the alerts of the incident."""
        form, now = await _read_form(request), self._view.now()
        ends_at = now + _chosen(form, SILENCE_TIMES)
        incident = await find_open(self._view, request.match_info["id"])
        reason = form.get("reason", "").strip()
        shown = matchers_of(incident)
        if form.get("shown", "") != incident.alerts_state:
            raise RefusalError(409, "meanwhile other alerts belong to it: open the link again")
        for matchers in shown:
            silence = make_silence(
                matchers,
                owner=line(form.get("by"), "your name", NAME_LENGTH),
                reason=line(reason or f"by the link in a message about {incident.id}",
                            "the reason", REASON_LENGTH),
                starts_at=now,
                ends_at=ends_at,
                now=now,
                ends_on_resolve="until_resolved" in form,
            )  # fmt: skip
            await queued(self._view.accept_silence(silence))
        words = f"Nobody is told that these fire before {clock_text(ends_at, now)} UTC."
        return _page("Silenced", join(tag("p", words, class_="summary"), _listed(shown)))

    def _check(self, purpose: Purpose, request: web.Request) -> None:
        if self._links is None:
            raise RefusalError(404, _OFF)
        incident, query = request.match_info["id"], request.query
        until, signature = query.get("until", ""), query.get("sig", "")
        try:
            self._links.check(purpose, incident, until, signature, self._view.now())
        except LinkError as error:
            log.warning("a signed link was refused: %s", error, extra={"purpose": purpose.value})
            raise RefusalError(401, str(error), headers=_CHALLENGE) from None


def endpoints(pages: LinkPages) -> list[Endpoint]:
    """Return what is offered."""
    return [
        *_pair(pages, Purpose.ACKNOWLEDGE, pages.acknowledge, "Acknowledge"),
        *_pair(pages, Purpose.SILENCE, pages.silence, "Silence"),
    ]


def _pair(pages: LinkPages, purpose: Purpose, act: Handler, words: str) -> Sequence[Endpoint]:
    path, scheme = f"/{purpose}/{{id}}", {"type": "apiKey", "in": "query", "name": "sig"}
    proof = Proof(check=partial(pages.prove, purpose), media=FORM, scheme=scheme)
    signed = {"until": "end of validity", "sig": "signature"}
    return (
        Endpoint(
            path=path,
            handler=partial(pages.show, purpose),
            summary=f"{words} by the link in a message: the form",
            media="text/html",
            parameters=signed,
        ),
        Endpoint(
            method="POST",
            path=path,
            handler=act,
            summary=f"{words} by the link in a message",
            media="text/html",
            parameters=signed,
            body=_FORM_SCHEMA,
            proof=proof,
        ),
    )


def matchers_of(incident: Incident) -> list[tuple[Matcher, ...]]:
    """Return, for each open alert of `incident`, what matches that alert and no other.

    Raises:
        RefusalError: 409: there are too many for one link.
    """
    opened = [each for each in incident.alerts if each.is_open] or [incident.lead]
    if len(opened) > ALERTS_OF_A_LINK:
        text = "too many alerts for one link; use `monitor silence add` with a matcher of your own"
        raise RefusalError(409, text)
    return [_matchers(each) for each in opened]


def _matchers(alert: IncidentAlert) -> tuple[Matcher, ...]:
    named = {"rule": rule_name(alert.rule), "deployment": alert.deployment}
    region = alert.labels.get("region", "")
    if alert.rule == instance_name(named["rule"], region):
        named["region"] = region
    return tuple(Matcher(name=name, operator="=", value=it) for name, it in named.items())


async def _read_form(request: web.Request) -> Mapping[str, str]:
    await read_body(request)
    return {name: text for name, text in (await request.post()).items() if isinstance(text, str)}


def _chosen(form: Mapping[str, str], times: Sequence[str]) -> float:
    wanted = form.get("for", times[0])
    if wanted not in times:
        raise RefusalError(400, f"for is one of {', '.join(times)}")
    return parse_duration(wanted)


def _acknowledge_form(incident: Incident, now: float) -> Markup:
    known = incident.acknowledgement
    said = (
        tag("p", f"{known.by} works on it until {clock_text(known.until, now)} UTC.")
        if known is not None and now < known.until
        else None
    )
    return join(
        _about(incident),
        said,
        tag("p", "Nobody else is called while somebody works on it."),
        tag(
            "form",
            _name(required=None),
            _times(ACKNOWLEDGE_TIMES),
            tag("button", "Acknowledge", type="submit"),
            method="post",
        ),
    )


def _silence_form(incident: Incident, _now: float) -> Markup:
    return join(
        _about(incident),
        tag("p", "Nobody is told that these fire; that they are over is told all the same."),
        _listed(matchers_of(incident)),
        tag(
            "form",
            _input("shown", type="hidden", value=incident.alerts_state),
            _name(required=""),
            tag("label", "Why", _input("reason", maxlength=str(REASON_LENGTH))),
            _times(SILENCE_TIMES),
            tag(
                "label",
                _input("until_resolved", type="checkbox", value="yes"),
                "end it when they are over",
                class_="choice",
            ),
            tag("button", "Silence", type="submit"),
            method="post",
        ),
    )


_FORMS = {Purpose.ACKNOWLEDGE: _acknowledge_form, Purpose.SILENCE: _silence_form}
_TITLES = {Purpose.ACKNOWLEDGE: "Acknowledge this incident?", Purpose.SILENCE: "Silence this?"}


def _about(incident: Incident) -> Markup:
    where = f"{incident.rule} on {incident.deployment}"
    return join(tag("p", tag("b", where)), tag("p", incident.summary, class_="summary"))


def _name(required: str | None) -> Markup:
    return tag(
        "label",
        "Your name",
        _input("by", required=required, maxlength=str(NAME_LENGTH), autocomplete="name"),
    )


def _times(times: Sequence[str]) -> Markup:
    choices = [
        tag(
            "label",
            _input("for", type="radio", value=each, checked=None if number else ""),
            each,
            class_="choice",
        )
        for number, each in enumerate(times)
    ]
    return tag("fieldset", tag("legend", "For"), choices)


def _input(name: str, **attributes: str | None) -> Markup:
    return tag("input", name=name, **attributes)


def _listed(silenced: Sequence[Sequence[Matcher]]) -> Markup:
    return join(*(tag("p", [tag("code", str(it), " ") for it in each]) for each in silenced))


def _page(
    title: str, content: Child, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="robots", content="noindex"),
        tag("title", f"{title} - slo-monitor"),
        tag("link", rel="stylesheet", href="../static/style.css"),
    )
    body = tag("body", tag("main", tag("article", tag("h1", title), content), class_="question"))
    text = join(Markup("<!doctype html>\n"), tag("html", head, body, lang="en"))
    return FormPage(text=text, content_type="text/html", status=status, headers=headers)
