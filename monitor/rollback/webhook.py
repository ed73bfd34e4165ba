"""Any program by webhook: a signed POST that starts a rollback, a signed GET that asks about it.

Owns the document, its Standard Webhooks signature and what each status means. The other side is
`examples/receiver.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal

import httpx2
from pydantic import AfterValidator, Field, field_validator

from monitor.fields import Secret
from monitor.model import Deployment, RollbackRequest, RollbackState
from monitor.rollback.base import Hook, HookAnswer, HookConfig, HookIO
from monitor.rollback.http import Exchange, Received, check_address, exchange, shown
from monitor.signature import sign, signing_key

Address = Annotated[str, AfterValidator(check_address)]

_NOT_NOW = frozenset({425, 429, 503})
_STATES = {
    "accepted": RollbackState.ACCEPTED,
    "succeeded": RollbackState.SUCCEEDED,
    "failed": RollbackState.FAILED,
}


class WebhookHookConfig(HookConfig):
    """Asks a program of yours to roll back."""

    kind: Literal["webhook"]
    url: Address
    """Takes `POST url`."""
    secrets: Annotated[tuple[Secret, ...], Field(strict=False, min_length=1)]
    """Signing secrets (`whsec_...` or any text), several while one is rotated."""
    status_url: Address | None = None
    """Takes `GET status_url/ID`; without it `url/ID`."""
    require_to_revision: bool = False
    """Block while the previous revision is unknown, because the receiver cannot find it itself."""

    @field_validator("secrets")
    @classmethod
    def _are_keys(cls, secrets: tuple[Secret, ...]) -> tuple[Secret, ...]:
        for secret in secrets:
            signing_key(secret.reveal())
        return secrets

    @property
    def needs_target(self) -> bool:
        """What `require_to_revision` says."""
        return self.require_to_revision

    def build(self, deployment: Deployment, io: HookIO) -> Hook:  # noqa: ARG002 - requests name it
        """Return the hook."""
        return WebhookHook(self, io)


class WebhookHook:
    """Posts one document for each call."""

    def __init__(self, config: WebhookHookConfig, io: HookIO) -> None:
        """Use `config` with the client of `io`."""
        self._url = config.url
        self._status_url = config.status_url or config.url
        self._keys = tuple(secret.reveal() for secret in config.secrets)
        self._timeout_s = config.timeout_s
        self._http = io.http

    async def call(self, request: RollbackRequest, deadline_s: float, now: float) -> HookAnswer:
        """Post `request` once."""
        body = json.dumps(document(request)).encode()
        what = Exchange(
            method="POST",
            url=self._url,
            content=body,
            headers={
                **self._signed(request.id, now, body),
                "content-type": "application/json",
                "idempotency-key": request.id,
            },
        )
        received = await exchange(self._http, what, min(self._timeout_s, deadline_s))
        if isinstance(received, HookAnswer):
            return received
        return HookAnswer(
            state=call_state(received.status),
            detail=self._described(received),
            remote_id=request.id if _is_known(received.status) else None,
            retry_after_s=received.retry_after_s(now) if received.status in _NOT_NOW else None,
        )

    async def query(
        self, request: RollbackRequest, remote_id: str | None, deadline_s: float, now: float
    ) -> HookAnswer:
        """Ask for the state of `request`; `remote_id` is set once the receiver has taken it."""
        what = Exchange(
            method="GET",
            url=f"{self._status_url}/{request.id}",
            headers=self._signed(request.id, now, b""),
        )
        received = await exchange(self._http, what, min(self._timeout_s, deadline_s))
        unchanged = RollbackState.ACCEPTED if remote_id else RollbackState.UNCERTAIN
        if isinstance(received, HookAnswer):
            detail = f"cannot ask how it stands: {received.detail}"
            return HookAnswer(state=unchanged, detail=shown(detail))
        if received.status == httpx2.codes.NOT_FOUND and remote_id is None:
            return HookAnswer(state=RollbackState.INTENDED, detail="the receiver never saw it")
        said = received.document().get("state") if received.status == httpx2.codes.OK else None
        state = _STATES.get(said, unchanged) if isinstance(said, str) else unchanged
        detail = self._described(received)
        if state is RollbackState.UNCERTAIN:
            return HookAnswer(state=state, detail=shown(f"the receiver cannot tell: {detail}"))
        return HookAnswer(state=state, detail=detail, remote_id=request.id)

    def _signed(self, message_id: str, now: float, body: bytes) -> Mapping[str, str]:
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now)),
            "webhook-signature": sign(self._keys, message_id, now, body),
        }

    def _described(self, received: Received) -> str:
        said = received.document().get("detail")
        text = said if isinstance(said, str) else received.body.decode("utf-8", "replace")
        refused = " (redirects are refused)" if 300 <= received.status < 400 else ""  # noqa: PLR2004 - the class of redirects
        detail = f"{received.status}{refused}{': ' if text else ''}{text}"
        return shown(detail, self._keys)


def document(request: RollbackRequest) -> dict[str, str | None]:
    """Return what is posted: the same for every repetition of the same request."""
    at = datetime.fromtimestamp(request.at, UTC)
    return {
        "id": request.id,
        "deployment": request.deployment,
        "environment": request.environment,
        "service": request.service,
        "rule": request.rule,
        "incident": request.incident,
        "from_revision": request.from_revision,
        "to_revision": request.to_revision,
        "reason": request.reason,
        "requested_at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def call_state(status: int) -> RollbackState:
    """Return what the status of a POST means; redirects are refused, so they are final."""
    if status in {httpx2.codes.ACCEPTED, httpx2.codes.CONFLICT}:
        return RollbackState.ACCEPTED
    if status < 300:  # noqa: PLR2004 - the class of success
        return RollbackState.SUCCEEDED
    if status in _NOT_NOW:
        return RollbackState.INTENDED
    return RollbackState.FAILED if status < 500 else RollbackState.UNCERTAIN  # noqa: PLR2004 - server errors


def _is_known(status: int) -> bool:
    return call_state(status) in {RollbackState.ACCEPTED, RollbackState.SUCCEEDED}
