"""Asks an address again and again on one connection, in a process of its own.

    python -m bench.support.poller HOST:PORT PATH SECONDS

What it waits for is what an event loop makes others wait for. Prints the waits (s) as a JSON list.
"""

from __future__ import annotations

import http.client
import json
import sys
import time

EVERY_S = 0.01


def main(address: str, path: str, lasts_s: float) -> None:
    """Ask every 10 ms, as long as answers do not take longer."""
    connection, waits = http.client.HTTPConnection(address, timeout=10), []
    begin = time.monotonic()
    while (started := time.monotonic()) - begin < lasts_s:
        connection.request("GET", path)
        connection.getresponse().read()
        waits.append(time.monotonic() - started)
        time.sleep(max(0.0, EVERY_S - waits[-1]))
    json.dump(waits, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
