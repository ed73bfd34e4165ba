"""`monitor schema`: the JSON Schema of monitor.yml, for editors."""

from __future__ import annotations

import argparse

from monitor.cli.base import Command, Exit, show_json
from monitor.config.schema import json_schema


def _run(_arguments: argparse.Namespace) -> int:
    show_json(json_schema())
    return Exit.OK


COMMAND = Command(
    name="schema",
    help="print the JSON Schema of monitor.yml",
    example="monitor schema > monitor.schema.json",
    declare=lambda _parser: None,
    run=_run,
)
