"""`monitor test`: play stories on virtual time."""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

from monitor.cli.base import Command, Exit, complain
from monitor.scenario.read import read_story
from monitor.scenario.stage import play


def _declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="story in YAML")


def _run(arguments: argparse.Namespace) -> int:
    # The daemon's own log lines belong to a story as little as to its reader.
    logging.disable(logging.CRITICAL)
    failed = 0
    for file in arguments.files:
        path = Path(file)
        story = read_story(path)
        started = time.monotonic()
        mismatches = play(story, path.parent)
        took_s = time.monotonic() - started
        failed += bool(mismatches)
        print(f"{'FAILED' if mismatches else 'ok'}  {file}: {story.story} ({took_s:.1f} s)")
        for mismatch in mismatches:
            complain(f"  {mismatch}")
    return Exit.NO if failed else Exit.OK


COMMAND = Command(
    name="test",
    help="play stories: the whole daemon on virtual time against a scripted world",
    example="monitor test tests/scenarios/outage.yml",
    declare=_declare,
    run=_run,
)
