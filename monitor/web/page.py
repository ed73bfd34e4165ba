"""The live page: one document, and the part of it that refreshes itself."""

from __future__ import annotations

from collections.abc import Sequence

from monitor import __version__
from monitor.model import Severity
from monitor.pace import Pace
from monitor.web.cards import deployment_card
from monitor.web.html import Markup, join, tag
from monitor.web.incidents import incident_card
from monitor.web.overview import DeploymentPicture, Overview
from monitor.web.tables import closed_table, ledger_table, rollback_table, silence_table
from monitor.web.words import clock_text, mark

REFRESH_S = 3
HEALTH_ORDER = ("unhealthy", "degraded", "unknown", "healthy")
DOCTYPE = Markup("<!doctype html>\n")


def document(live: Markup) -> str:
    """Return the whole page around its live part."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", "slo-monitor"),
        tag("link", rel="icon", href="/static/icon.svg", type="image/svg+xml"),
        tag("link", rel="stylesheet", href="/static/style.css"),
        tag("noscript", tag("meta", http_equiv="refresh", content=str(REFRESH_S))),
        tag("script", src="/static/live.js", defer=""),
    )
    header = tag(
        "header",
        tag("h1", "slo-monitor", tag("small", __version__)),
        tag(
            "nav",
            tag("a", "metrics", href="/metrics"),
            tag("a", "API", href="/api/v1/openapi.json"),
        ),
        tag("p", "", id="connection", role="status", hidden=""),
    )
    main = tag("main", live, id="live", data_refresh=str(REFRESH_S))
    return join(DOCTYPE, tag("html", head, tag("body", header, main), lang="en"))


async def live_part(overview: Overview, pace: Pace) -> Markup:
    """Return what changes. Sections carry ids, so that only what differs is replaced."""
    deployments = []
    for picture in sorted(overview.deployments, key=_urgency):
        deployments.append(deployment_card(picture, overview.at))
        await pace.breathe()
    incidents = [incident_card(each, overview) for each in overview.open_incidents]
    await pace.breathe()
    silences = silence_table(overview)
    return join(
        _verdict(overview),
        _section("open", "Open incidents", incidents, None) if incidents else None,
        _section("silences", "Silences", silences, None) if silences else None,
        _section("deployments", "Deployments", deployments, _NO_DEPLOYMENTS),
        _section("closed", "Recently closed", closed_table(overview), "Nothing closed lately."),
        _section("ledger", "What was sent to whom", ledger_table(overview), "Nothing sent yet."),
        _section("rollbacks", "Rollbacks", rollback_table(overview), "No rollback was decided."),
    )


_NO_DEPLOYMENTS = "No deployment is configured. Add one under deployments: and reload."


def _urgency(picture: DeploymentPicture) -> int:
    return HEALTH_ORDER.index(picture.health) if picture.health in HEALTH_ORDER else 0


def _section(name: str, title: str, content: Sequence[Markup], if_empty: str | None) -> Markup:
    body = content or tag("p", if_empty, class_="empty")
    return tag(
        "section",
        tag("h2", title, id=f"{name}-title"),
        body,
        id=name,
        aria_labelledby=f"{name}-title",
    )


def _verdict(overview: Overview) -> Markup:
    """Return the one sentence that somebody who was just woken needs."""
    kind, text = _sentence(overview)
    return tag(
        "section",
        tag("p", mark(kind), tag("strong", text), class_=f"verdict {kind}"),
        tag("p", f"as of {clock_text(overview.at, overview.at)} UTC", class_="as-of"),
        id="verdict",
    )


def _sentence(overview: Overview) -> tuple[str, str]:
    trouble = _trouble(overview)
    if trouble:
        return "warn", f"The monitor itself is not well: {trouble}"
    if overview.open_incidents:
        total = len(overview.open_incidents)
        critical = sum(i.severity is Severity.CRITICAL for i in overview.open_incidents)
        if not critical:
            return "warn", f"{_count(total, 'incident')} open"
        rest = f", {total - critical} less urgent" if critical < total else ""
        return "bad", f"{_count(critical, 'critical incident')} open{rest}"
    if not overview.deployments:
        return "none", "Nothing is monitored yet"
    states = [each.health for each in overview.deployments]
    of = f" of {_count(len(states), 'deployment')}"
    for health, kind in (("unhealthy", "bad"), ("degraded", "warn"), ("unknown", "none")):
        if health in states:
            return kind, f"No open incident; {states.count(health)}{of} {health}"
    return "ok", f"All quiet: {_count(len(states), 'deployment')} healthy"


def _trouble(overview: Overview) -> str | None:
    blind = overview.blindness
    if blind is None:
        return overview.live or overview.ready
    return f"blind since {clock_text(blind.since, overview.at)} UTC, {blind.why}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
