"""docs/channels.md: what it shows is what the kinds are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from docs.channels import (
    PAGE,
    SECRETS,
    config_of,
    example_of,
    legend,
    notifier_of,
    outcomes,
    page,
    ranges,
)
from monitor.config.kinds import discover
from monitor.config.load import load_plan
from monitor.model import DeliveryResult
from monitor.notify.base import ChannelConfig

KINDS = discover(ChannelConfig)


def test_the_page_is_what_the_kinds_say() -> None:
    """Run `make docs` when this fails."""
    assert PAGE.read_text() == page()


def test_nothing_is_left_undescribed() -> None:
    """Every kind, field and trait says what it is."""
    assert "not described" not in page()
    assert all(model.__doc__ and model.example for model in KINDS.values())


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_of_every_kind_loads(kind: str, tmp_path: Path) -> None:
    """Pasted into a monitor.yml, with its secrets in the environment, it is a channel."""
    config = {
        "service": "shop",
        "environments": {"Production": {"url": "https://shop.test"}},
        "channels": {"example": example_of(KINDS[kind])},
    }
    path = tmp_path / "monitor.yml"
    path.write_text(yaml.safe_dump(config))
    loaded = load_plan(path, SECRETS).channels["example"]
    assert type(loaded) is KINDS[kind]
    assert type(config_of(KINDS[kind])) is KINDS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_every_notifier_has_every_trait(kind: str) -> None:
    """The outbox relies on them, and the page shows them."""
    notifier = notifier_of(KINDS[kind], 200, b"")
    assert legend().keys() <= {*vars(type(notifier)), *vars(notifier)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_when_it_is_delivered_and_when_it_is_tried_again(kind: str) -> None:
    """No table of outcomes is empty by accident."""
    results = {result for result, _ in outcomes(kind, KINDS[kind])}
    assert {DeliveryResult.DELIVERED, DeliveryResult.RETRY, DeliveryResult.UNCERTAIN} <= results


def test_ranges() -> None:
    """Rising numbers are shown as few words as possible."""
    assert ranges([200, 201, 202, 204, 429]) == "200-202, 204, 429"
    assert ranges([]) == ""
