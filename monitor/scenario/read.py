"""Reads a story through the same hardened loader and error messages as the configuration."""

from __future__ import annotations

from pathlib import Path

from monitor.config.errors import ConfigErrors
from monitor.config.loader import load
from monitor.config.validation import Validator
from monitor.scenario.story import Story


def read_story(path: Path) -> Story:
    """Return the story in `path`.

    Raises:
        ConfigErrors: everything that is wrong with it.
    """
    validator = Validator(secrets=_no_secrets)
    story = validator.check(load(path), (), Story)
    if story is None:
        raise ConfigErrors(validator.errors)
    return story


def _no_secrets(how: str, name: str) -> str:
    msg = f"a story holds no secrets of its own (got {{{how}: {name}}})"
    raise ValueError(msg)
