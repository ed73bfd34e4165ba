"""`monitor version`."""

from __future__ import annotations

import argparse
import platform

from monitor import __version__
from monitor.cli.base import Command, Exit


def _run(_arguments: argparse.Namespace) -> int:
    print(f"slo-monitor {__version__} (Python {platform.python_version()})")
    return Exit.OK


COMMAND = Command(
    name="version",
    help="print the version",
    example="monitor version",
    declare=lambda _parser: None,
    run=_run,
)
