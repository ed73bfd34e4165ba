"""Processes that a benchmark starts on loopback and ends again, and what they used up.

Every one is ended by its own pid when its `with` block ends, however it ends.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.support.figures import MISSING

START_S = 20.0
STOP_S = 10.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_AFTER_COMMAND = 2
_UTIME, _STIME = 13, 14


def require(program: str, package: str) -> str:
    """Return the path of `program`; end this benchmark when it is missing."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        print(f"{program} is missing: apt-get install {package}", file=sys.stderr)
        raise SystemExit(MISSING)
    return found


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def read(url: str) -> str:
    """Return what a loopback address answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=STOP_S) as answer:
        return str(answer.read().decode())


@dataclass(frozen=True, slots=True)
class Child:
    """A process that runs."""

    pid: int

    def cpu_s(self) -> float:
        """Return the processor time of all its threads so far."""
        after = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        fields = [after[each - _AFTER_COMMAND] for each in (_UTIME, _STIME)]
        return sum(map(int, fields)) / _TICKS_PER_S

    def rss_mib(self) -> float:
        """Return its resident memory."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        [size] = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
        return int(size) / 1024


@contextmanager
def running(
    arguments: Sequence[str], home: Path, ready_url: str, start_s: float = START_S
) -> Iterator[Child]:
    """Start a program, wait until `ready_url` answers, and end it afterwards.

    Raises:
        RuntimeError: it did not come up; the text has the end of its log.
    """
    log_path = home / f"{Path(arguments[0]).name}.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(arguments, cwd=home, stdout=log, stderr=log)  # noqa: S603 - ours
    try:
        give_up = time.monotonic() + start_s
        while not _answers(ready_url):
            if process.poll() is not None or time.monotonic() > give_up:
                msg = f"{arguments[0]} did not come up:\n{log_path.read_text()[-2000:]}"
                raise RuntimeError(msg)
            time.sleep(0.05)
        yield Child(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        read(url)
    except OSError:
        return False
    return True
