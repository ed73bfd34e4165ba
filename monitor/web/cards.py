"""The large thing on the page: a deployment."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.fields import format_duration
from monitor.model import (
    AlertState,
    Outcome,
    Release,
    ReleaseStatus,
    Sample,
)
from monitor.slo.engine import Budget, Verdict
from monitor.slo.signal import Unit
from monitor.web.html import Markup, join, tag
from monitor.web.overview import DeploymentPicture, TargetPicture
from monitor.web.words import (
    NO_DATA,
    duration_text,
    figure,
    link,
    mark,
    moment,
    state,
)

HEALTH_KIND = {"healthy": "ok", "degraded": "warn", "unhealthy": "bad", "unknown": "none"}
OUTCOME_KIND = {Outcome.GOOD: "ok", Outcome.BAD: "bad", Outcome.UNKNOWN: "none"}
RELEASE_KIND = {
    ReleaseStatus.UNKNOWN: "none",
    ReleaseStatus.IN_PROGRESS: "busy",
    ReleaseStatus.SUCCEEDED: "ok",
    ReleaseStatus.FAILED: "bad",
    ReleaseStatus.ROLLING_BACK: "busy",
    ReleaseStatus.ROLLED_BACK: "warn",
    ReleaseStatus.ROLLBACK_FAILED: "bad",
}
CLAUSE_NAMES = {"error_rate": "error rate", "regions": "regions up"}
OUTCOME_ORDER = (Outcome.BAD, Outcome.UNKNOWN, Outcome.GOOD)
TARGETS_SHOWN = 12
SHOWN_VALUES = 4
BURN_HOT = 1.0
"""Above it the budget ends before its period does."""


def deployment_card(picture: DeploymentPicture, now: float) -> Markup:
    """Return one deployment: state, release, figures of now, SLA clauses, targets."""
    deployment = picture.deployment
    kind = HEALTH_KIND.get(picture.health, "none")
    side = tag(
        "div",
        tag("h3", mark(kind), tag("span", deployment.name, class_="name")),
        tag(
            "p",
            tag("span", picture.health, class_=f"word {kind}"),
            tag("span", deployment.environment, class_="tag"),
            class_="standing",
        ),
        tag("p", link(deployment.url), class_="url"),
        tag("p", deployment.purpose, class_="quiet") if deployment.purpose else None,
        _release(picture.release, picture.previous_revision, now),
        _alerts(picture),
        class_="identity",
    )
    figures = tag("div", _present(picture), _promises(picture), class_="figures")
    targets = tag("ul", _targets(picture.targets, now), class_="targets")
    return tag("article", side, figures, targets, class_="deployment")


def _release(release: Release | None, previous: str | None, now: float) -> Markup:
    if release is None:
        return tag("p", "revision not known", class_="absent")
    return tag(
        "p",
        tag("code", release.revision),
        state(RELEASE_KIND[release.status], release.status.replace("_", " ")),
        moment(release.at, now),
        tag("span", f"before: {previous}", class_="quiet") if previous else None,
        class_="release",
    )


def _alerts(picture: DeploymentPicture) -> Markup | None:
    lines = []
    for status in picture.alerts:
        word = "frozen: no data" if status.no_data else str(status.state)
        firing = status.state is AlertState.FIRING
        lines.append(tag("li", state("bad" if firing else "none", f"{status.rule} {word}")))
    return tag("ul", lines, class_="alerts") if lines else None


def _present(picture: DeploymentPicture) -> Markup:
    return tag(
        "dl",
        _tile("error rate 5m", figure(picture.error_rate_5m, Unit.PERCENT)),
        _tile("p95 5m", figure(picture.p95_latency_ms, Unit.MS)),
        _tile("uptime 30d", figure(picture.uptime_percentage, Unit.PERCENT)),
        _tile("coverage 5m", figure(picture.coverage_5m, Unit.PERCENT)),
        _burns(picture.burn_rates) if picture.burn_rates else None,
        class_="tiles now",
    )


def _burns(rates: Sequence[tuple[str, float | None]]) -> Markup:
    """Return the burn rates side by side: how they differ tells a spike from a trend."""
    items = [
        tag(
            "span",
            tag("small", window, " "),
            figure(rate, Unit.RATIO),
            class_="hot" if rate is not None and rate > BURN_HOT else None,
        )
        for window, rate in rates
    ]
    return _tile("burn rate", join(items), "wide")


def _tile(name: str | Markup, value: Markup, kind: str = "", extra: Markup | None = None) -> Markup:
    return tag("div", tag("dt", name), tag("dd", value), extra, class_=f"tile {kind}".strip())


def _promises(picture: DeploymentPicture) -> Markup | None:
    tiles = [_clause(verdict) for verdict in picture.clauses]
    if picture.budget is not None and picture.objective is not None:
        tiles.append(_budget(picture.budget))
    elif picture.objective is not None:
        tiles.append(_tile("budget left", figure(None, Unit.PERCENT), "none"))
    tiles += [_other_budget(budget) for budget in picture.more_budgets]
    return tag("dl", tiles, class_="tiles promises") if tiles else None


def _clause(verdict: Verdict) -> Markup:
    name = CLAUSE_NAMES.get(verdict.clause, verdict.clause)
    promise = join(name, tag("b", verdict.limit))
    if verdict.ok is None:
        return _tile(promise, state("none", NO_DATA), "none")
    kind, word = ("ok", "kept") if verdict.ok else ("bad", "violated")
    extra = tag("dd", state(kind, word), class_="judgement")
    return _tile(promise, figure(verdict.value, verdict.unit), kind, extra)


def _other_budget(budget: Budget) -> Markup:
    """Return the budget of another objective, or of another period."""
    period = budget.period.calendar or format_duration(budget.period.length_s)
    name = join(budget.objective.name, tag("b", f"{float(budget.objective.target * 100):.6g}%"))
    kind, bar = _bar(budget)
    words = tag("span", f"budget left of {period}", class_="limit")
    extra = tag("dd", bar, words, class_="judgement")
    return _tile(name, figure(budget.remaining * 100, Unit.PERCENT), kind, extra)


def _bar(budget: Budget) -> tuple[str, Markup]:
    share = max(0.0, min(1.0, budget.remaining))
    kind = "bad" if budget.remaining <= 0 else "warn" if share < 0.25 else "ok"  # noqa: PLR2004
    bar = tag(
        "svg",
        tag("rect", class_="rail", width="100", height="4"),
        tag("rect", class_=f"fill {kind}", width=f"{share * 100:.1f}", height="4"),
        class_="bar",
        viewBox="0 0 100 4",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    return kind, bar


def _budget(budget: Budget) -> Markup:
    kind, bar = _bar(budget)
    # On the first days a share of little known time says little, so the time itself stands there.
    words = (
        f"down {duration_text(budget.down_s)} of {duration_text(budget.known_s)} known; "
        f"{duration_text(budget.allowed_s)} allowed"
    )
    extra = tag("dd", bar, tag("span", words, class_="limit"), class_="judgement")
    return _tile("budget left", figure(budget.remaining * 100, Unit.PERCENT), kind, extra)


def _targets(pictures: Sequence[TargetPicture], now: float) -> list[Markup]:
    """Return the first few, troubled ones before others, and how many are left out."""
    ordered = sorted(pictures, key=lambda each: OUTCOME_ORDER.index(_outcome(each)))
    shown, rest = ordered[:TARGETS_SHOWN], ordered[TARGETS_SHOWN:]
    items = [_target(each, now) for each in shown]
    if rest:
        bad = sum(_outcome(each) is Outcome.BAD for each in rest)
        items.append(tag("li", tag("em", f"and {len(rest)} more, {bad} of them bad")))
    return items


def _outcome(picture: TargetPicture) -> Outcome:
    return picture.last.outcome if picture.last is not None else Outcome.UNKNOWN


def _target(picture: TargetPicture, now: float) -> Markup:
    target, sample = picture.target, picture.last
    if sample is None:
        return tag("li", mark("none"), tag("span", _where(picture)), tag("em", "not probed yet"))
    latency = figure(sample.latency_s * 1000, Unit.MS) if sample.latency_s is not None else None
    why = " ".join(part for part in (sample.reason, sample.detail) if part)
    return tag(
        "li",
        mark(OUTCOME_KIND[sample.outcome]),
        tag("span", _where(picture), title=target.id),
        tag("b", latency) if latency else None,
        tag("em", why) if why else None,
        tag("span", said, class_="said") if (said := _said(sample)) else None,
        tag("span", f"{duration_text(now - sample.at)} ago", class_="age"),
    )


def _said(sample: Sample) -> str:
    """Return what a target reports of itself, and what was measured besides its latency."""
    failing = [name for name, healthy in sample.checks if not healthy]
    # Where the detail is told, it names them already.
    parts = [f"failing: {', '.join(failing)}"] if failing and not sample.detail else []
    parts += [f"{name} {value:.4g}" for name, value in sample.values[:SHOWN_VALUES]]
    return "; ".join(parts)


def _where(picture: TargetPicture) -> str:
    target = picture.target
    return f"{target.probe} {target.region}".strip()
