"""Discovery of kinds."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import TypeAdapter

from monitor.config.kinds import OfAnyKind, discover
from monitor.fields import Model
from monitor.notify.base import ChannelConfig
from monitor.notify.console import ConsoleConfig
from monitor.probes.base import ProbeConfig
from monitor.rollback.base import HookConfig


@pytest.mark.parametrize(
    ("base", "some"),
    [
        (ChannelConfig, {"console", "email", "pagerduty", "slack", "slack_bot", "webhook"}),
        (HookConfig, {"command", "github", "webhook"}),
        (ProbeConfig, {"http"}),
    ],
)
def test_kinds_are_found_by_being_in_the_package(base: type[Model], some: set[str]) -> None:
    """Nobody lists them."""
    kinds = discover(base)
    assert some <= set(kinds)
    assert list(kinds) == sorted(kinds)
    assert all(issubclass(model, base) and model is not base for model in kinds.values())


def test_a_field_of_any_kind_makes_the_model_that_kind_names() -> None:
    """The union is told apart by `kind`, even while there is only one."""
    adapter = TypeAdapter(Annotated[ChannelConfig, OfAnyKind(ChannelConfig)])
    assert isinstance(adapter.validate_python({"kind": "console"}), ConsoleConfig)
