"""`monitor test`: play stories on virtual time."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monitor.cli.base import Command, Exit, complain, declare_output, show_json
from monitor.scenario.read import read_story
from monitor.scenario.stage import play


def _declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="story in YAML")
    declare_output(parser)


def _run(arguments: argparse.Namespace) -> int:
    results = []
    for file in arguments.files:
        try:
            results.append(_play(file))
        except OSError as error:
            complain(f"monitor test: {error.filename}: {error.strerror}")
            return Exit.USAGE
        if arguments.output == "text":
            _print(results[-1])
    if arguments.output == "json":
        show_json({"stories": results})
    return Exit.OK if all(each["ok"] for each in results) else Exit.NO


def _play(file: str) -> dict[str, Any]:
    path = Path(file)
    story = read_story(path)
    started = time.monotonic()
    with _silence():
        mismatches = play(story, path.parent)
    return {
        "file": file,
        "story": story.story,
        "ok": not mismatches,
        "mismatches": [str(mismatch) for mismatch in mismatches],
        "took_s": time.monotonic() - started,
    }


def _print(result: dict[str, Any]) -> None:
    word = "ok" if result["ok"] else "FAILED"
    print(f"{word}  {result['file']}: {result['story']} ({result['took_s']:.1f} s)")
    for mismatch in result["mismatches"]:
        complain(f"  {mismatch}")


@contextmanager
def _silence() -> Iterator[None]:
    """The daemon's own log lines belong to a story as little as to its reader."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


COMMAND = Command(
    name="test",
    help="play stories: the whole daemon on virtual time against a scripted world",
    example="monitor test tests/scenarios/outage.yml",
    declare=_declare,
    run=_run,
)
