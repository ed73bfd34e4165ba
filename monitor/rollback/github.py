"""GitHub Actions by `workflow_dispatch`: starts the plan's `rollback.yml` and watches its run.

Owns the dispatch, finding the run that it started, and what GitHub's statuses mean. GitHub keeps no
idempotency key, so a dispatch without an answer is looked for among the runs and never repeated
while one of them might be it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

import httpx2
from pydantic import AfterValidator, Field, field_validator

from monitor.fields import Secret
from monitor.model import Deployment, RollbackRequest, RollbackState
from monitor.rollback.base import Hook, HookAnswer, HookConfig, HookIO
from monitor.rollback.http import Exchange, Received, capped, check_address, exchange, shown
from monitor.rollback.template import fill, placeholders, values

API_VERSION = "2022-11-28"
APPEARS_WITHIN_S = 60.0
"""A dispatch that GitHub took is in the list of runs after this long."""
CLOCK_SLACK_S = 60.0
"""How far GitHub's clock may be behind ours when runs are searched by time."""
TAKEN = "taken"
"""Stands for the run's number while GitHub has taken the dispatch but not named the run."""
EXTENSION = "return_run_details"

_REPOSITORY = re.compile(r"[A-Za-z0-9-]{1,39}/[A-Za-z0-9._-]{1,100}")


class GithubHookConfig(HookConfig):
    """Dispatches a workflow that rolls back."""

    kind: Literal["github"]
    repository: Annotated[str, Field(pattern=f"^{_REPOSITORY.pattern}$")]
    """`owner/name`."""
    token: Secret
    """Needs `actions: write` on the repository."""
    workflow: Annotated[str, Field(min_length=1)] = "rollback.yml"
    ref: Annotated[str, Field(min_length=1)] = "main"
    """Branch or tag whose version of the workflow runs."""
    inputs: Mapping[str, str] = Field(default_factory=dict)
    """The workflow's inputs, with placeholders. `{id}` in one that the workflow shows in its
    `run-name` lets a run be recognised without doubt."""
    api_url: Annotated[str, AfterValidator(check_address)] = "https://api.github.com"

    @field_validator("inputs")
    @classmethod
    def _are_templates(cls, inputs: Mapping[str, str]) -> Mapping[str, str]:
        placeholders(inputs.values())
        return inputs

    @property
    def needs_target(self) -> bool:
        """Whether an input names the target; the plan's workflow finds it by itself."""
        return "to_revision" in placeholders(self.inputs.values())

    def build(self, deployment: Deployment, io: HookIO) -> Hook:  # noqa: ARG002 - requests name it
        """Return the hook."""
        return GithubHook(self, io)


class GithubHook:
    """Dispatches once for each call, and judges by the run that came of it."""

    def __init__(self, config: GithubHookConfig, io: HookIO) -> None:
        """Use `config` with the client of `io`."""
        self._config = config
        self._named = "id" in placeholders(config.inputs.values())
        self._http = io.http
        self._called_at: dict[str, float] = {}
        """Latest moment at which a dispatch of an id may have gone out, until it is settled."""

    async def call(self, request: RollbackRequest, deadline_s: float, now: float) -> HookAnswer:
        """Dispatch the workflow."""
        try:
            by_name = values(request)
        except ValueError as error:
            return HookAnswer(state=RollbackState.FAILED, detail=shown(str(error)))
        filled = {name: fill(text, by_name) for name, text in self._config.inputs.items()}
        limit_s = min(self._config.timeout_s, deadline_s)
        self._called_at[request.id] = now
        body: dict[str, Any] = {"ref": self._config.ref, "inputs": filled, EXTENSION: True}
        received = await self._dispatch(body, limit_s / 2)
        if isinstance(received, Received) and _is_too_old(received):
            del body[EXTENSION]
            received = await self._dispatch(body, limit_s / 2)
        return received if isinstance(received, HookAnswer) else self._taken(received, now)

    async def query(
        self, request: RollbackRequest, remote_id: str | None, deadline_s: float, now: float
    ) -> HookAnswer:
        """Look at the run `remote_id`, or for a run that may be `request`'s."""
        # After a restart nobody knows when the call went out: the wait starts again.
        called_at = self._called_at.setdefault(request.id, now)
        limit_s = min(self._config.timeout_s, deadline_s)
        unchanged = RollbackState.ACCEPTED if remote_id else RollbackState.UNCERTAIN
        number = remote_id if remote_id and remote_id.isdecimal() else None
        path = f"runs/{number}" if number else self._search(request)
        received = await self._send("GET", path, limit_s)
        if isinstance(received, HookAnswer):
            detail = shown(f"cannot ask how it stands: {received.detail}")
            return HookAnswer(state=unchanged, detail=detail)
        found = received.document()
        runs = [found] if number else found.get("workflow_runs")
        if received.status != httpx2.codes.OK or not isinstance(runs, list) or not found:
            detail = shown(f"cannot ask how it stands: {self._described(received)}")
            return HookAnswer(state=unchanged, detail=detail)
        if number is None:
            runs = [run for run in runs if _branch(run) == _short(self._config.ref)]
        return self._judge(
            request, runs, unchanged, identified=number is not None, waited_s=now - called_at
        )

    def _judge(
        self,
        request: RollbackRequest,
        runs: list[Any],
        unchanged: RollbackState,
        *,
        identified: bool,
        waited_s: float,
    ) -> HookAnswer:
        ours = runs if identified or not self._named else _named_after(runs, request.id)
        if ours:
            # The first one after the call: later ones are somebody's own.
            answer = _verdict(min(ours, key=lambda run: str(run.get("created_at"))))
            if answer.state is not RollbackState.ACCEPTED:
                self._called_at.pop(request.id, None)
            return answer
        if runs:
            detail = "there are runs since the call, but none shows the id in its run-name"
            return HookAnswer(state=unchanged, detail=detail)
        if unchanged is RollbackState.UNCERTAIN and waited_s >= APPEARS_WITHIN_S:
            detail = f"GitHub shows no run {APPEARS_WITHIN_S:.0f} s after the call"
            return HookAnswer(state=RollbackState.INTENDED, detail=detail)
        return HookAnswer(state=unchanged, detail="no run to be seen yet")

    def _taken(self, received: Received, now: float) -> HookAnswer:
        detail = self._described(received)
        state, retry_after_s = call_state(received, now)
        if state is not RollbackState.ACCEPTED:
            return HookAnswer(state=state, detail=detail, retry_after_s=retry_after_s)
        number = received.document().get("workflow_run_id")
        return HookAnswer(
            state=state,
            detail="workflow dispatched",
            remote_id=str(number) if isinstance(number, int) else TAKEN,
        )

    async def _dispatch(self, body: Mapping[str, Any], limit_s: float) -> Received | HookAnswer:
        path = f"workflows/{quote(self._config.workflow, safe='')}/dispatches"
        return await self._send("POST", path, limit_s, json.dumps(body).encode())

    def _search(self, request: RollbackRequest) -> str:
        since = datetime.fromtimestamp(request.at - CLOCK_SLACK_S, UTC)
        query = {
            "event": "workflow_dispatch",
            "created": f">={since:%Y-%m-%dT%H:%M:%SZ}",
            "per_page": "50",
        }
        return f"workflows/{quote(self._config.workflow, safe='')}/runs?{urlencode(query)}"

    async def _send(
        self, method: str, path: str, limit_s: float, content: bytes = b""
    ) -> Received | HookAnswer:
        what = Exchange(
            method=method,
            url=f"{self._config.api_url}/repos/{self._config.repository}/actions/{path}",
            content=content,
            headers={
                "accept": "application/vnd.github+json",
                "authorization": f"Bearer {self._config.token.reveal()}",
                "content-type": "application/json",
                "x-github-api-version": API_VERSION,
            },
        )
        return await exchange(self._http, what, limit_s)

    def _described(self, received: Received) -> str:
        said = received.document().get("message")
        text = said if isinstance(said, str) else received.body.decode("utf-8", "replace")
        detail = f"GitHub says {received.status}{': ' if text else ''}{text}"
        return shown(detail, (self._config.token.reveal(),))


def call_state(received: Received, now: float) -> tuple[RollbackState, float | None]:
    """Return what the answer to a dispatch means, and the wait in seconds that it asks for."""
    if received.status < 300:  # noqa: PLR2004 - the class of success
        return RollbackState.ACCEPTED, None
    if received.status >= 500:  # noqa: PLR2004 - server errors
        return RollbackState.UNCERTAIN, None
    spent = received.headers.get("x-ratelimit-remaining") == "0"
    limited = spent or "retry-after" in received.headers
    too_many = received.status == httpx2.codes.TOO_MANY_REQUESTS
    if too_many or (received.status == httpx2.codes.FORBIDDEN and limited):
        return RollbackState.INTENDED, received.retry_after_s(now) or _reset_s(received, now)
    return RollbackState.FAILED, None


def _reset_s(received: Received, now: float) -> float | None:
    reset = received.headers.get("x-ratelimit-reset", "")
    return capped(int(reset) - now) if reset.isdecimal() else None


def _is_too_old(received: Received) -> bool:
    """Whether this server (an older GitHub Enterprise) refuses the request for its extension."""
    refused = received.status in {httpx2.codes.BAD_REQUEST, httpx2.codes.UNPROCESSABLE_CONTENT}
    return refused and EXTENSION.encode() in received.body


def _verdict(run: Mapping[str, Any]) -> HookAnswer:
    number, conclusion = run.get("id"), run.get("conclusion")
    remote_id = str(number) if isinstance(number, int) else TAKEN
    if run.get("status") != "completed":
        detail = f"run {remote_id} is {run.get('status')}"
        return HookAnswer(state=RollbackState.ACCEPTED, detail=shown(detail), remote_id=remote_id)
    state = RollbackState.SUCCEEDED if conclusion == "success" else RollbackState.FAILED
    detail = f"run {remote_id} ended: {conclusion} {run.get('html_url', '')}"
    return HookAnswer(state=state, detail=shown(detail), remote_id=remote_id)


def _named_after(runs: Iterable[Mapping[str, Any]], request_id: str) -> list[Mapping[str, Any]]:
    titles = ((run, f"{run.get('display_title')} {run.get('name')}") for run in runs)
    return [run for run, title in titles if request_id in title]


def _branch(run: object) -> str | None:
    return run.get("head_branch") if isinstance(run, dict) else None


def _short(ref: str) -> str:
    return ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
