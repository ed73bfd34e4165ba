"""The part of GitHub's REST API that rolls back: dispatches of one workflow, and its runs.

Refuses what GitHub refuses, in its words. A run is queued, in progress and completed by the time
that requests carry.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from monitor.scenario.provider import Reply, Request
from monitor.scenario.receiver import Receiver

FIRST_RUN = 9_000_000_001
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the workflow."""

    number: int
    at: float
    ref: str
    title: str
    inputs: Mapping[str, str]


class GitHubFake(Receiver):
    """One repository with one workflow."""

    def __init__(
        self,
        repository: str,
        token: str,
        workflow: str = "rollback.yml",
        ref: str = "main",
        *,
        inputs: Collection[str] = (),
        title_input: str | None = None,
        on_rollback: Callable[[Mapping[str, str]], None] | None = None,
    ) -> None:
        """Declare the workflow's `inputs`; its `run-name` shows the one called `title_input`."""
        super().__init__()
        self.runs: list[Run] = []
        self.queued_s = 5.0
        self.working_s = 30.0
        self.conclusion = "success"
        self.hourly_limit = 5000
        self.names_runs = True
        """Whether it knows `return_run_details`, as older GitHub Enterprise does not."""
        self._base = f"/repos/{repository}/actions"
        self._token = token
        self._workflow = workflow
        self._ref = ref
        self._declared = frozenset(inputs)
        self._title_input = title_input
        self._on_rollback = on_rollback
        self._hour_from = float("-inf")
        self._spent = 0

    def _answer(self, request: Request) -> Reply:
        if refusal := self._refusal(request):
            return refusal
        url = urlsplit(request.path)
        workflow = f"{self._base}/workflows/{self._workflow}"
        if (request.method, url.path) == ("POST", f"{workflow}/dispatches"):
            return self._dispatch(request)
        if (request.method, url.path) == ("GET", f"{workflow}/runs"):
            return self._list(parse_qs(url.query), request.at)
        for run in self.runs:
            if (request.method, url.path) == ("GET", f"{self._base}/runs/{run.number}"):
                return _said(200, self._document(run, request.at))
        return _said(404, {"message": "Not Found"})

    def _refusal(self, request: Request) -> Reply | None:
        if not request.headers.get("user-agent"):
            return _said(403, {"message": "Request forbidden by administrative rules."})
        if request.headers.get("authorization") != f"Bearer {self._token}":
            return _said(401, {"message": "Bad credentials"})
        if request.headers.get("accept") != "application/vnd.github+json":
            return _said(415, {"message": "Unsupported 'Accept' header"})
        if request.headers.get("x-github-api-version") != "2022-11-28":
            return _said(400, {"message": "The API version is not supported"})
        if request.at >= self._hour_from + HOUR_S:
            self._hour_from, self._spent = request.at, 0
        self._spent += 1
        if self._spent <= self.hourly_limit:
            return None
        reset = str(int(self._hour_from + HOUR_S))
        headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}
        return _said(403, {"message": "API rate limit exceeded"}, headers)

    def _dispatch(self, request: Request) -> Reply:
        try:
            asked = json.loads(request.body)
        except ValueError:
            return _said(400, {"message": "Problems parsing JSON"})
        if complaint := self._complaint(asked):
            return _said(422, {"message": complaint})
        inputs = asked.get("inputs", {})
        run = Run(
            number=FIRST_RUN + len(self.runs),
            at=request.at,
            ref=self._ref,
            title=inputs.get(self._title_input) or "Rollback",
            inputs=inputs,
        )
        self.runs.append(run)
        if self._on_rollback is not None:
            self._on_rollback(inputs)
        if not asked.get("return_run_details"):
            return Reply(status=204)
        return _said(200, {"workflow_run_id": run.number, "run_url": "", "html_url": ""})

    def _complaint(self, asked: Any) -> str:
        if not isinstance(asked, dict) or not isinstance(asked.get("ref"), str):
            return 'Invalid request. "ref" wasn\'t supplied.'
        permitted = {"ref", "inputs"} | ({"return_run_details"} if self.names_runs else set())
        if extra := sorted(set(asked) - permitted):
            return f'Invalid request. "{extra[0]}" is not a permitted key.'
        if asked["ref"] not in {self._ref, f"refs/heads/{self._ref}"}:
            return f"No ref found for: {asked['ref']}"
        if unexpected := sorted(set(asked.get("inputs", {})) - self._declared):
            return f"Unexpected inputs provided: {json.dumps(unexpected)}"
        texts = asked.get("inputs", {}).values()
        return "" if all(isinstance(text, str) for text in texts) else "Inputs must be strings"

    def _list(self, query: Mapping[str, list[str]], now: float) -> Reply:
        if set(query) - {"event", "created", "per_page"} or query.get("event") == ["push"]:
            return _said(422, {"message": "this fake does not know such a filter"})
        since = query.get("created", [">=1970-01-01T00:00:00Z"])[0]
        if not since.startswith(">="):
            return _said(422, {"message": "this fake does not know such a date"})
        at = datetime.fromisoformat(since[2:]).timestamp()
        found = [self._document(run, now) for run in reversed(self.runs) if run.at >= at]
        page = found[: int(query.get("per_page", ["30"])[0])]
        return _said(200, {"total_count": len(found), "workflow_runs": page})

    def _document(self, run: Run, now: float) -> dict[str, Any]:
        age_s = now - run.at
        done = age_s >= self.queued_s + self.working_s
        working = "in_progress" if age_s >= self.queued_s else "queued"
        return {
            "id": run.number,
            "name": "Rollback",
            "display_title": run.title,
            "event": "workflow_dispatch",
            "head_branch": run.ref,
            "status": "completed" if done else working,
            "conclusion": self.conclusion if done else None,
            "created_at": f"{datetime.fromtimestamp(run.at, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "html_url": f"https://github.com{self._base}/runs/{run.number}",
        }


def _said(
    status: int, document: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Reply:
    return Reply(
        status=status,
        body=json.dumps(document).encode(),
        headers={"content-type": "application/json", **(headers or {})},
    )
