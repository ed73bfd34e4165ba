"""One nginx that answers every path and counts what it is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.support.processes import free_port, read, require, running

_CONFIG = """\
daemon off;
master_process off;
pid {home}/nginx.pid;
error_log {home}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type text/plain; return 200 "shop\\n"; }}
    location = /status {{ stub_status; }}
  }}
}}
"""


@dataclass(slots=True)
class WebServer:
    """A server at `url` that runs."""

    url: str
    asked: int = 0
    """How often we ourselves looked at its counters."""

    def requests(self) -> int:
        """Return how many requests it has served, ours for this figure left out."""
        counters = re.search(r"^ \d+ \d+ (\d+)", read(f"{self.url}/status"), re.MULTILINE)
        if counters is None:
            msg = "nginx shows no counters"
            raise RuntimeError(msg)
        self.asked += 1
        return int(counters[1]) - self.asked


@contextmanager
def webserver(home: Path) -> Iterator[WebServer]:
    """Run nginx with its files in `home`."""
    program, port = require("nginx", "nginx-light"), free_port()
    config = home / "nginx.conf"
    config.write_text(_CONFIG.format(home=home, port=port))
    server = WebServer(f"http://127.0.0.1:{port}")
    arguments = (program, "-p", str(home), "-e", str(home / "error.log"), "-c", str(config))
    with running(arguments, home, f"{server.url}/"):
        yield server
