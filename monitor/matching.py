"""Matchers: which alerts a route, a silence or an inhibition is about.

Pure. The syntax and meaning are Alertmanager's: `name=value`, `!=`, `=~`, `!~`; patterns match the
whole text; a label that an alert does not have is the empty text. Patterns are RE2: linear time.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

import re2  # type: ignore[import-untyped]  # google-re2 ships no types

from monitor.model import IncidentAlert, Matcher
from monitor.slo.alerting import rule_name

_WRITTEN = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(=~|!~|!=|=)\s*(.*?)\s*", re.DOTALL)
_LONGEST = 1000


def parse_matcher(text: str) -> Matcher:
    """Return the matcher that `text` spells; quotes around the value may be left out.

    Raises:
        ValueError: it spells none; the message says what was expected.
    """
    found = _WRITTEN.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None:
        msg = (
            f"not a matcher (got {text[:80]!r}, expected name=value, name!=value or name=~pattern)"
        )
        raise ValueError(msg)
    name, operator, value = found.groups()
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1]
    if operator.endswith("~"):
        _pattern(value)
    return Matcher(name=name, operator=operator, value=value)


def matches(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Return whether all of `matchers` agree with `labels`."""
    return all(_agrees(each, labels.get(each.name, "")) for each in matchers)


ABOUT_ALERTS = (
    "alertname",
    "rule",
    "deployment",
    "environment",
    "service",
    "severity",
    "priority",
)
"""Labels that every alert has."""


def labels_of(alert: IncidentAlert) -> dict[str, str]:
    """Return what matchers see of an alert: its own labels, and the names of what it is about."""
    return {
        **alert.labels,
        "alertname": rule_name(alert.rule),
        "rule": rule_name(alert.rule),
        "deployment": alert.deployment,
        "environment": alert.environment,
        "service": alert.service,
        "severity": alert.severity.value,
        "priority": alert.priority.value,
    }


def _agrees(matcher: Matcher, value: str) -> bool:
    if matcher.operator.endswith("~"):
        found = _pattern(matcher.value).fullmatch(value) is not None
    else:
        found = value == matcher.value
    return found is not matcher.operator.startswith("!")


@functools.lru_cache(maxsize=1024)
def _pattern(text: str) -> Any:
    try:
        return re2.compile(text)
    except re2.error as error:
        msg = f"not a pattern (got {text[:80]!r}: {error})"
        raise ValueError(msg) from None
