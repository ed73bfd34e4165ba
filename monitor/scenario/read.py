"""Reads a story through the same hardened loader and error messages as the configuration.

Owns the way from a file to a story in which every name means something. Plays nothing.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from monitor.config.errors import ConfigError, ConfigErrors
from monitor.config.errors import Step as PathStep
from monitor.config.loader import load
from monitor.config.plan import Plan
from monitor.config.tree import Document
from monitor.config.validation import Validator
from monitor.scenario.names import Names, unknown_names
from monitor.scenario.papers import CONFIG, Papers, editions
from monitor.scenario.receivers import Receivers, UnplayableError
from monitor.scenario.story import Story
from monitor.scenario.world import ScriptedTarget, World

_PATH_STEP = re.compile(r"\[(\d+)\]|(\"(?:[^\"\\]|\\.)*\")|([\w-]+)")


def read_story(path: Path) -> Story:
    """Return the story in `path`.

    Raises:
        ConfigErrors: everything that is wrong with it.
    """
    document = load(path)
    if document.errors:
        raise ConfigErrors(document.errors)
    validator = Validator(secrets=_no_secrets)
    story = validator.check(document, (), Story)
    if story is None:
        raise ConfigErrors(validator.errors)
    if errors := list(_errors(document, story, path.parent)):
        raise ConfigErrors(errors)
    return story


def _errors(document: Document, story: Story, folder: Path) -> Iterator[ConfigError]:
    """Yield what is wrong with the configurations of `story`, else with the names in it."""
    plans: list[Plan] = []
    receivers = Receivers(World({host: ScriptedTarget() for host in story.targets}), io.StringIO())
    with TemporaryDirectory(prefix="slo-monitor-") as home:
        papers = Papers(story, folder, Path(home))
        for place, changes in editions(story):
            if changes and isinstance(story.config, str):
                yield document.error(place, "needs a configuration that stands in the story itself")
                return
            papers.change(changes)
            try:
                plans.append(papers.load())
                receivers.add(plans[-1])
            except ConfigErrors as errors:
                yield from (_moved(document, each, papers, place) for each in errors.errors)
                return
            except UnplayableError as error:
                yield document.error(place, str(error))
                return
    yield from unknown_names(document, story, Names.of(story, plans, receivers))


def _moved(
    document: Document, error: ConfigError, papers: Papers, place: Sequence[PathStep]
) -> ConfigError:
    """Return an error in a file that a story holds at its place in the story."""
    name = papers.name_of(error.file)
    if name is None:
        return error
    start = place if name == CONFIG else ("files", name)
    return document.error((*start, *_steps(error.path)), error.message)


def _steps(path: str) -> list[PathStep]:
    """Return the steps of a formatted path; where a key has a dot in it, those up to there."""
    return [
        int(index) if index else json.loads(quoted) if quoted else key
        for index, quoted, key in _PATH_STEP.findall(path)
    ]


def _no_secrets(how: str, name: str) -> str:
    msg = f"a story holds no secrets of its own (got {{{how}: {name}}})"
    raise ValueError(msg)
