"""The configuration of a story: its files on disk, its changes, and what they come to.

Owns a private directory's `config/`. Plays nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from monitor.config.load import load_plan
from monitor.config.plan import BoundProbe, Plan
from monitor.probes.http import HttpProbeConfig
from monitor.scenario.story import Story

CONFIG = "monitor.yml"


class Papers:
    """monitor.yml and what it names, as the daemon of a story finds them."""

    def __init__(self, story: Story, folder: Path, home: Path) -> None:
        """Write the files of `story`, whose own file lies in `folder`, below `home`."""
        self._directory = home / "config"
        self._env = story.env
        self._files: dict[str, Any] = dict(story.files)
        if isinstance(story.config, str):
            self._path = folder / story.config
        else:
            self._path = self._directory / CONFIG
            self._files[CONFIG] = story.config
        self._write()

    def change(self, config: Mapping[str, Any]) -> None:
        """Replace keys of the configuration, which must be an inline one if there are any."""
        if config:
            self._files[CONFIG] = {**self._files[CONFIG], **config}
            self._write()

    def load(self) -> Plan:
        """Return the plan as it is now.

        Raises:
            ConfigErrors: what is wrong with it.
        """
        plan = load_plan(self._path, self._env)
        deployments = tuple(
            replace(each, probes=tuple(_plain(bound) for bound in each.probes))
            for each in plan.deployments
        )
        return replace(plan, deployments=deployments)

    def name_of(self, file: str) -> str | None:
        """Return the name in the story of a file on disk; None when it is not of the story."""
        path = Path(file)
        return str(path.relative_to(self._directory)) if self._directory in path.parents else None

    def _write(self) -> None:
        for name, content in self._files.items():
            path = self._directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            text = content if isinstance(content, str) else yaml.safe_dump(content)
            path.write_text(text, encoding="utf-8")


def editions(story: Story) -> list[tuple[tuple[str | int, ...], Mapping[str, Any]]]:
    """Return (place in the story, keys that change) of each configuration, in order of time."""
    changes = [
        (step.at_s, ("steps", number, "config"), step.config)
        for number, step in enumerate(story.steps)
        if step.config is not None
    ]
    changes.sort(key=lambda each: each[0])
    return [(("config",), {}), *((place, config) for _, place, config in changes)]


def _plain(bound: BoundProbe) -> BoundProbe:
    """Return the probe for a world of plain HTTP/1.1: TLS is not what a story is about."""
    config = bound.config
    if isinstance(config, HttpProbeConfig):
        config = config.model_copy(update={"http_version": "1.1", "min_certificate_days": None})
    return replace(bound, config=config, url=bound.url.replace("https://", "http://", 1))
