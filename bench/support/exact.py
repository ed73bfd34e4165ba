"""A server that answers after an exact time, as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCRIPT = Path(__file__).with_name("exact_server.py")


@contextmanager
def exact_server(delay_s: float, *arguments: str) -> Iterator[int]:
    """Run it; yields the port. `arguments`: the path of a PEM file makes it speak TLS."""
    command = (sys.executable, str(SCRIPT), str(delay_s), *arguments)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 - ours
        try:
            if server.stdout is not None:
                yield int(server.stdout.readline())
        finally:
            server.kill()
