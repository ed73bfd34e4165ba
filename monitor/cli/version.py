"""`monitor version`."""

from __future__ import annotations

import argparse
import platform

from monitor import __version__
from monitor.cli.base import Command, Exit, declare_output, show_json


def _run(arguments: argparse.Namespace) -> int:
    python = platform.python_version()
    if arguments.output == "json":
        show_json({"version": __version__, "python_version": python})
    else:
        print(f"slo-monitor {__version__} (Python {python})")
    return Exit.OK


COMMAND = Command(
    name="version",
    help="print the version",
    example="monitor version",
    declare=declare_output,
    run=_run,
)
