"""Runs the benchmarks, each in a process of its own.

    make bench                      all of them
    make bench BENCH=probe_cost     one of them

Exit code: 0 when every bar is kept, 1 when one is not, 2 when something is missing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIMIT_S = 330.0
GRACE_S = 20.0
"""For ending what a benchmark that overran has started."""
USAGE = 2
BUSY = 1.0
"""Load average from which others take what a benchmark needs."""


def benches() -> list[str]:
    """Return the names of all benchmarks."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.name != Path(__file__).name)


def run(name: str) -> int:
    """Run one benchmark; return its exit code."""
    print(f"# make bench BENCH={name}", flush=True)
    process = subprocess.Popen([sys.executable, "-m", f"bench.{name}"], cwd=HERE.parent)  # noqa: S603 - ours
    try:
        return process.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        print(f"{name}: not done after {LIMIT_S:.0f} s FAILED", file=sys.stderr)
    finally:
        if process.poll() is None:
            # Interrupted, so that it ends its own processes.
            process.send_signal(signal.SIGINT)
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    return 1


def main(arguments: Sequence[str]) -> int:
    """Run the benchmarks named in `arguments`, all without; return the exit code."""
    known = benches()
    strange = [name for name in arguments if name not in known]
    if strange:
        print(f"no benchmark called {', '.join(strange)}; there are {', '.join(known)}")
        return USAGE
    load = os.getloadavg()[0]
    if load > BUSY:
        print(f"# the machine is busy (load {load:.1f}): figures by the clock will be worse")
    return max([run(name) for name in arguments or known])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
