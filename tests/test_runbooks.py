"""Runbooks: one for each alert that we ship, short, and with commands that exist."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from monitor.cli.main import commands
from monitor.incidents import CHANNEL_BROKEN
from monitor.slo.burn import default_tiers, plain
from monitor.slo.objective import DAY_S
from monitor.slo.sight import PROBER_BLIND
from monitor.slo.signal import parse_signal

HOME = Path("docs/runbooks")
PAGES = {path.stem: path.read_text() for path in sorted(HOME.glob("*"))}
RULES = {
    rule["name"]: rule for rule in yaml.safe_load(Path("rules/alerts.yml").read_text())["alerts"]
}
TIERS = {f"burn_{tier.name}": tier for tier in default_tiers(Fraction("0.999"), 30 * DAY_S)}
ABOUT_OURSELVES = {PROBER_BLIND, CHANNEL_BROKEN}
COMMANDS = {command.name for command in commands()}
PARTS = ["What it means", "Look first", "What to do", "When it ends"]


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    """Whoever is woken finds a page, and no page outlives its alert."""
    assert PAGES.keys() == RULES.keys() | TIERS.keys() | ABOUT_OURSELVES


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_short_and_built_like_the_others(name: str) -> None:
    """At 3 a.m. one screen is read, and it is always read the same way."""
    lines = PAGES[name].splitlines()
    assert lines[0] == f"# {name}"
    assert 15 <= len(lines) <= 40
    assert [line.removeprefix("## ") for line in lines if line.startswith("## ")] == PARTS


@pytest.mark.parametrize("name", PAGES)
def test_its_commands_exist(name: str) -> None:
    """What a page tells to type is a command of ours, and asks for a figure that there is."""
    used = re.findall(r"(?:\$ |`)monitor (\w+)(?: (\w+))?", PAGES[name])
    assert used
    assert {command for command, _ in used} <= COMMANDS
    asked = {figure for command, figure in used if command == "query"}
    assert all(parse_signal(figure) for figure in asked), asked


@pytest.mark.parametrize("name", PAGES)
def test_its_links_lead_somewhere(name: str) -> None:
    """A page is no dead end."""
    assert all((HOME / link).is_file() for link in re.findall(r"\]\(([^)]+)\)", PAGES[name]))


@pytest.mark.parametrize("name", RULES)
def test_a_rules_page_says_its_condition(name: str) -> None:
    """When the rule changes, so does its page."""
    rule = RULES[name]
    assert f"`{rule['condition']}`, {rule['severity']}." in PAGES[name]


@pytest.mark.parametrize("name", TIERS)
def test_a_tiers_page_says_its_factor_and_windows(name: str) -> None:
    """The figures are those of the tiers that everybody has."""
    tier = TIERS[name]
    assert f"goes {plain(tier.factor)} times as fast" in PAGES[name]
    assert f"`<objective>_{name}`" in PAGES[name]
