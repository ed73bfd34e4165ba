"""Scrapes an address again and again as Prometheus does, in a process of its own.

    python -m bench.support.scraper URL SECONDS [EVERY_SECONDS]

Prints one JSON object when it is done: how many scrapes, how long they took, how big they were.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
import urllib.request

ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"


def main(url: str, lasts_s: float, every_s: float) -> None:
    """Scrape until `lasts_s` have passed; a scrape that takes longer delays the next one."""
    headers = {"Accept": ACCEPT, "Accept-Encoding": "gzip"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    took, body = [], b""
    begin = time.monotonic()
    while (started := time.monotonic()) - begin < lasts_s:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=20) as answer:  # noqa: S310 - loopback
            body = answer.read()
        took.append(time.monotonic() - started)
        time.sleep(max(0.0, every_s - took[-1]))
    lines = gzip.decompress(body).count(b"\n")
    json.dump({"took_s": took, "lines": lines, "bytes": len(body)}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]) if sys.argv[3:] else 1.0)
