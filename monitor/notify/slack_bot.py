"""Slack by bot token: one message for each incident, edited in place, with a thread below it.

Owns the calls of the Web API and what their answers mean. Slack merges nothing by a key: a first
post without an answer is posted again, marked. An edit may be repeated without harm.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from monitor.fields import Duration, Secret
from monitor.model import Delivery, DeliveryResult, Message, SendReason
from monitor.notify import blocking
from monitor.notify.base import ChannelConfig, Notifier, NotifyIO
from monitor.notify.blocks import REPLY_LIMIT, payload
from monitor.notify.http import Answer, Endpoint, described, post, retry_after, shown
from monitor.notify.picture import draw
from monitor.notify.render import render
from monitor.notify.slack_files import upload

log = logging.getLogger(__name__)

POST, UPDATE = "chat.postMessage", "chat.update"
ANSWER_BYTES = 256 * 1024
"""Slack says the whole message back."""

_LATER = frozenset(
    {
        "external_channel_migrating",
        "message_limit_exceeded",
        "org_login_required",
        "rate_limited",
        "ratelimited",
        "request_timeout",
        "service_unavailable",
        "team_added_to_org",
        "update_failed",
    }
)
_PERHAPS = frozenset({"fatal_error", "internal_error"})
"""Slack says that a part of the operation may have succeeded."""
_NO_EDIT = frozenset({"cant_update_message", "edit_window_closed", "message_not_found"})
_NO_REPLY = frozenset(
    {"cannot_reply_to_message", "restricted_action_thread_locked", "thread_not_found"}
)
_NO_FILES = frozenset(
    {"file_uploads_disabled", "missing_scope", "not_allowed_token_type", "no_permission"}
)
_LOUD = frozenset({SendReason.ESCALATED, SendReason.REPEAT})
"""Answers in the thread that the channel sees too: an edit calls nobody."""
_TOKEN = re.compile(r"(xoxe\.)?xoxb-[A-Za-z0-9-]+")
_BASE = re.compile(r"https?://[^\s/?#@]+/?")
_CHANNEL = re.compile(r"[CDGUW][A-Z0-9]{2,20}")
_KEY = re.compile(r"(?P<channel>[A-Z0-9]{3,21}):(?P<ts>[0-9]{1,20}\.[0-9]{1,10})")


class SlackBotConfig(ChannelConfig):
    """Posts to one Slack channel as a bot: one message an incident, kept up to date."""

    example: ClassVar[str] = (
        "{kind: slack_bot, token: {env: SLACK_BOT_TOKEN}, channel: C0123456789}"
    )

    kind: Literal["slack_bot"]
    token: Secret
    """Bot token (`xoxb-...`) with the scope `chat:write`; the bot is a member of the channel."""
    channel: str
    """Id of the channel (`C0123456789`), from the end of its link."""
    pictures: bool = True
    """Whether the course of error rate and latency goes into the thread as a picture. That needs
    the scope `files:write` too; without it, messages have no picture."""
    base_url: str = "https://slack.com"
    """Where the Web API is, for what speaks the same."""
    timeout_s: Duration = Field(alias="timeout", default=15.0)
    """How long one attempt may take."""

    @field_validator("token")
    @classmethod
    def _is_token(cls, token: Secret) -> Secret:
        if not _TOKEN.fullmatch(token.reveal()):
            msg = "expected a bot token that starts with xoxb-"
            raise ValueError(msg)
        return token

    @field_validator("channel")
    @classmethod
    def _is_id(cls, channel: str) -> str:
        if not _CHANNEL.fullmatch(channel):
            msg = "expected the id of a channel such as C0123456789, not its name"
            raise ValueError(msg)
        return channel

    @field_validator("base_url")
    @classmethod
    def _is_address(cls, base_url: str) -> str:
        if not _BASE.fullmatch(base_url):
            msg = "expected an address such as https://slack.com"
            raise ValueError(msg)
        return base_url

    def build(self, name: str, io: NotifyIO) -> Notifier:  # noqa: ARG002 - the contract of kinds
        """Return the notifier."""
        return SlackBotNotifier(self, io)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Posted:
    """Where a message stands."""

    channel: str
    ts: str

    @classmethod
    def parse(cls, remote_key: str | None) -> _Posted | None:
        match = _KEY.fullmatch(remote_key or "")
        return match and cls(channel=match["channel"], ts=match["ts"])

    @property
    def key(self) -> str:
        return f"{self.channel}:{self.ts}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """The outcome of one call, and Slack's own word when it refused."""

    delivery: Delivery
    error: str = ""


class SlackBotNotifier:
    """Posts once; or edits and answers in the thread, and posts anew where that cannot be."""

    deduplicates = False
    repeats = True
    updates = True
    repeat_s: float | None = None
    # Editing is the scarcer call: about 50 a minute, against a post a second in a channel.
    rate_per_s = 0.75
    burst = 3

    def __init__(self, config: SlackBotConfig, io: NotifyIO) -> None:
        """Use `config` with the client of `io`."""
        base = config.base_url.rstrip("/")
        self._endpoints = {
            method: Endpoint.parse(Secret(f"{base}/api/{method}")) for method in (POST, UPDATE)
        }
        self._token = config.token.reveal()
        self._channel = config.channel
        self._timeout_s = config.timeout_s
        self._http = io.http
        self._executor = io.executor
        self._base = base
        self._draws = config.pictures

    async def send(self, message: Message, deadline_s: float, remote_key: str | None) -> Delivery:
        """Post `message`, or bring the one at `remote_key` up to date and say so below it."""
        limit_s = min(self._timeout_s, deadline_s)
        posted = _Posted.parse(remote_key)
        if posted is None:
            return await self._post(message, limit_s)
        return await self._update(message, posted, asyncio.get_running_loop().time() + limit_s)

    async def illustrate(self, message: Message, remote_key: str | None, deadline_s: float) -> None:
        """Put the picture of a new message into its thread; nothing is tried twice."""
        course = message.brief.course if message.brief else None
        posted = _Posted.parse(remote_key)
        if not self._draws or course is None or posted is None:
            return
        each_s = deadline_s / 4
        try:
            picture = await blocking.run(self._executor, each_s, partial(draw, course))
        except (blocking.NotStartedError, TimeoutError):
            return
        if picture is None:
            return
        error = await upload(
            self._http, self._base, self._token, picture,
            channel=posted.channel, thread_ts=posted.ts, limit_s=each_s,
        )  # fmt: skip
        if error:
            log.warning("no picture in Slack: %s", shown(error, (self._token,)))
        if error in _NO_FILES:
            # It will not be otherwise before the next reload, and each try holds up a message.
            self._draws = False

    async def _post(self, message: Message, limit_s: float) -> Delivery:
        arguments = {
            "channel": self._channel,
            "unfurl_links": False,
            "unfurl_media": False,
            **payload(render(message)),
        }
        return (await self._call(POST, arguments, message.at, limit_s)).delivery

    async def _update(self, message: Message, posted: _Posted, ends_at: float) -> Delivery:
        # The edited message is one however often it is edited: only the answer may be a repetition.
        once = replace(message, may_be_repeated=False)
        arguments = {
            "channel": posted.channel,
            "ts": posted.ts,
            "parse": "none",
            **payload(render(once)),
        }
        # One that hangs ends the attempt; one that is refused leaves time for a new message.
        edited = await self._call(UPDATE, arguments, message.at, _left_s(ends_at) / 2)
        if edited.error in _NO_EDIT or (
            # The channel of the configuration is another one now, and the old one is closed.
            edited.delivery.result is DeliveryResult.PERMANENT and posted.channel != self._channel
        ):
            return await self._post(message, _left_s(ends_at))
        if edited.delivery.result is DeliveryResult.UNCERTAIN:
            detail = shown(f"edit: {edited.delivery.detail}", (self._token,))
            return replace(edited.delivery, result=DeliveryResult.RETRY, detail=detail)
        if edited.delivery.result is not DeliveryResult.DELIVERED:
            return edited.delivery
        return await self._reply(message, posted, ends_at)

    async def _reply(self, message: Message, posted: _Posted, ends_at: float) -> Delivery:
        arguments = {
            "channel": posted.channel,
            "thread_ts": posted.ts,
            "reply_broadcast": message.reason in _LOUD,
            "unfurl_links": False,
            "unfurl_media": False,
            **payload(render(message), REPLY_LIMIT),
        }
        replied = await self._call(POST, arguments, message.at, _left_s(ends_at))
        if replied.error in _NO_REPLY:
            return await self._post(message, _left_s(ends_at))
        return replace(replied.delivery, remote_key=posted.key)

    async def _call(
        self, method: str, arguments: dict[str, Any], now: float, limit_s: float
    ) -> _Said:
        answer = await post(
            self._http,
            self._endpoints[method],
            json.dumps(arguments).encode(),
            {
                "content-type": "application/json; charset=utf-8",
                "authorization": f"Bearer {self._token}",
            },
            limit_s,
            answer_limit=ANSWER_BYTES,
        )
        return _Said(delivery=answer) if isinstance(answer, Delivery) else self._judge(answer, now)

    def _judge(self, answer: Answer, now: float) -> _Said:
        by_status = answer.delivery(described(answer, (self._token,)), now)
        if by_status.result is not DeliveryResult.DELIVERED:
            return _Said(delivery=by_status)
        said = _parsed(answer.body)
        if said is None:
            # Broken off, it may be a receipt; a proxy's login page is none.
            is_whole = answer.body is not None and not answer.body.lstrip().startswith("{")
            result = DeliveryResult.PERMANENT if is_whole else DeliveryResult.UNCERTAIN
            return _Said(delivery=replace(by_status, result=result))
        if said.get("ok") is True:
            posted = _Posted.parse(f"{said.get('channel')}:{said.get('ts')}")
            key = None if posted is None else posted.key
            return _Said(delivery=replace(by_status, detail=f"{answer.status}: ok", remote_key=key))
        return self._refused(answer, said, now)

    def _refused(self, answer: Answer, said: dict[str, Any], now: float) -> _Said:
        error = str(said.get("error") or "no reason given")
        needed = f" (needed: {said['needed']})" if "needed" in said else ""
        result = error_result(error)
        waits = result is DeliveryResult.RETRY
        return _Said(
            error=error,
            delivery=Delivery(
                result=result,
                detail=shown(f"{answer.status}: {error}{needed}", (self._token,)),
                retry_after_s=retry_after(answer.headers.get("retry-after"), now)
                if waits
                else None,
            ),
        )


def _left_s(ends_at: float) -> float:
    return ends_at - asyncio.get_running_loop().time()


def error_result(error: str) -> DeliveryResult:
    """Return what Slack's word for a refusal means to a sender; an unknown one is for good."""
    if error in _LATER:
        return DeliveryResult.RETRY
    return DeliveryResult.UNCERTAIN if error in _PERHAPS else DeliveryResult.PERMANENT


def _parsed(body: str | None) -> dict[str, Any] | None:
    try:
        said = json.loads(body or "")
    except ValueError:
        return None
    return said if isinstance(said, dict) else None
