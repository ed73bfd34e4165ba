"""A web product with a release that can be bad, served on loopback."""

from __future__ import annotations

import json
from dataclasses import dataclass

from monitor.scenario.provider import Reply, Request


@dataclass(slots=True, kw_only=True)
class Site:
    """Answers every path; a bad release answers 503 to all but /version.json."""

    version: str = "1.4.2"
    bad_version: str = "1.5.0"
    requests: int = 0

    def handle(self, request: Request) -> Reply:
        """Answer one request."""
        self.requests += 1
        if request.path == "/version.json":
            return Reply(status=200, body=json.dumps({"version": self.version}).encode())
        if self.version == self.bad_version:
            return Reply(status=503, body=b"bad release")
        checks = {"database": {"status": "healthy"}}
        return Reply(status=200, body=json.dumps({"status": "healthy", "checks": checks}).encode())
