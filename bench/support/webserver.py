"""One nginx that answers every path and counts what it is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

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
    keepalive_requests 1000000000;
    location / {{ default_type text/plain; return 200 "shop\\n"; }}
    location = /status {{ stub_status; }}
  }}
{secure}}}
"""


@dataclass(slots=True)
class WebServer:
    """A server at `url` that runs."""

    url: str
    secure_url: str
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


_SECURE = """\
  server {{
    listen 127.0.0.1:{port} ssl backlog=4096;
    ssl_certificate {home}/server.pem;
    ssl_certificate_key {home}/server.pem;
    ssl_session_cache off;
    ssl_session_tickets off;
    location / {{ default_type text/plain; return 200 "shop\\n"; }}
  }}
"""


@contextmanager
def webserver(home: Path) -> Iterator[WebServer]:
    """Run nginx with its files in `home`, also with an ECDSA certificate from `ca.pem` there."""
    program, port, secure_port = require("nginx", "nginx-light"), free_port(), free_port()
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(home / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
    certificate.private_key_and_cert_chain_pem.write_to_path(home / "server.pem")
    config = home / "nginx.conf"
    secure = _SECURE.format(home=home, port=secure_port)
    config.write_text(_CONFIG.format(home=home, port=port, secure=secure))
    server = WebServer(f"http://127.0.0.1:{port}", f"https://127.0.0.1:{secure_port}")
    arguments = (program, "-p", str(home), "-e", str(home / "error.log"), "-c", str(config))
    with running(arguments, home, f"{server.url}/"):
        yield server
