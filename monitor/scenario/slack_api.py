"""A strict Slack Web API for one bot: posting, threads and edits in the channels that it is in.

Answers 200 with `ok` and an error word, as Slack does; only its rate limits have a status of their
own. What it accepted is kept as it was posted and as it stands now.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from monitor.rate import Bucket
from monitor.scenario.provider import Reply, Request
from monitor.scenario.receiver import Receiver
from monitor.scenario.slack_blocks import complaint, live_markup, parsed, texts

POSTS_PER_S = 1.0
"""Messages a second into one channel, with a small burst."""
EDITS_LIMIT = 50
EDITS_WINDOW_S = 60.0
_POST_TEXT_LIMIT = 40_000
_EDIT_TEXT_LIMIT = 4000
_UPLOADS = "/upload/v1/"
_METHODS = {
    "chat.postMessage",
    "chat.update",
    "files.getUploadURLExternal",
    "files.completeUploadExternal",
}
_WORDS = {"channel", "text", "blocks"}
_POST_ARGUMENTS = _WORDS | {"thread_ts", "reply_broadcast", "unfurl_links", "unfurl_media"}
_EDIT_ARGUMENTS = _WORDS | {"ts", "parse"}


@dataclass(slots=True, kw_only=True)
class SlackPost:
    """One accepted message."""

    at: float
    channel: str
    ts: str
    thread_ts: str | None
    said: dict[str, Any]
    """Its arguments when it was posted."""
    stands: dict[str, Any]
    """Its arguments as of the latest edit."""
    edits: int = 0

    @property
    def text(self) -> str:
        """All its words when it was posted, the fallback first."""
        return "\n".join(texts(self.said))


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackPicture:
    """One file in a thread."""

    channel: str
    thread_ts: str
    content: bytes


class SlackApiFake(Receiver):
    """`chat.postMessage` and `chat.update` for the bot with `token`."""

    def __init__(self, token: str, channels: Collection[str], burst: int = 5) -> None:
        """Be a member of `channels`; no other is known."""
        super().__init__()
        self.messages: list[SlackPost] = []
        """What was posted, answers in threads too, oldest first."""
        self.mentions: list[str] = []
        """Texts with live markup in them: each is a defect of the sender."""
        self.archived: set[str] = set()
        self.locked: set[str] = set()
        """Messages (by `ts`) whose threads take no more answers."""
        self.editable_s: float | None = None
        """Seconds for which a message may be edited; None: for ever."""
        self.scopes = {"chat:write", "files:write"}
        self.pictures: list[SlackPicture] = []
        """What was shared, oldest first."""
        self._promised: dict[str, int] = {}
        """File id -> its length, of uploads that were announced."""
        self._uploaded: dict[str, bytes] = {}
        self._token = token
        self._posts = {channel: Bucket(capacity=burst, per_s=POSTS_PER_S) for channel in channels}
        self._edits: deque[float] = deque()

    def delete(self, ts: str) -> None:
        """Let somebody delete a message; what was said in its thread stays."""
        self.messages = [message for message in self.messages if message.ts != ts]

    def _answer(self, request: Request) -> Reply:
        if request.path.startswith(_UPLOADS):
            return self._take(request)
        method = request.path.removeprefix("/api/")
        error = self._unauthorized(request, method)
        if error:
            return _refused(error)
        if method == "files.getUploadURLExternal":
            return self._place(request)
        arguments = parsed(request)
        if arguments is None:
            return _refused("invalid_json")
        if method == "files.completeUploadExternal":
            return self._share(arguments)
        does = self._update if method == "chat.update" else self._post
        return does(arguments, request.at)

    def _unauthorized(self, request: Request, method: str) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        checks = (
            (request.method != "POST" or method not in _METHODS, "unknown_method"),
            (scheme != "Bearer" or not token, "not_authed"),
            (token != self._token, "invalid_auth"),
            (method.startswith("files.") and "files:write" not in self.scopes, "missing_scope"),
        )
        return next((error for wrong, error in checks if wrong), "")

    def _place(self, request: Request) -> Reply:
        asked = dict(parse_qsl(request.body.decode()))
        if request.headers.get("content-type") != "application/x-www-form-urlencoded":
            return _refused("invalid_form_data")
        if not asked.get("filename") or not asked.get("length", "").isdecimal():
            return _refused("invalid_arguments")
        file = f"F{len(self._promised) + 1:08d}"
        self._promised[file] = int(asked["length"])
        host = request.headers.get("host", "slack.com")
        scheme = "http" if host.startswith("127.") else "https"
        return _json(ok=True, upload_url=f"{scheme}://{host}{_UPLOADS}{file}", file_id=file)

    def _take(self, request: Request) -> Reply:
        file = request.path.removeprefix(_UPLOADS)
        # The address is the permission: a token does not belong here.
        if "authorization" in request.headers or self._promised.get(file) != len(request.body):
            return Reply(status=400)
        self._uploaded[file] = request.body
        return Reply(status=200, body=b"OK")

    def _share(self, arguments: dict[str, Any]) -> Reply:
        files = arguments.get("files")
        ids = [each.get("id") for each in files] if isinstance(files, list) else []
        channel, thread_ts = str(arguments.get("channel_id")), str(arguments.get("thread_ts"))
        if len(ids) != 1 or ids[0] not in self._uploaded:
            return _refused("invalid_arguments")
        if self._find(channel, thread_ts) is None:
            return _refused("thread_not_found")
        content = self._uploaded.pop(ids[0])
        self.pictures.append(SlackPicture(channel=channel, thread_ts=thread_ts, content=content))
        return _json(ok=True, files=[{"id": ids[0]}])

    def _post(self, arguments: dict[str, Any], now: float) -> Reply:
        channel, thread_ts = arguments.get("channel"), arguments.get("thread_ts")
        error = self._complaint(arguments, _POST_ARGUMENTS, _POST_TEXT_LIMIT)
        if error or not isinstance(channel, str):
            return _refused(error or "channel_not_found")
        if thread_ts is not None and self._find(channel, thread_ts) is None:
            return _refused("thread_not_found")
        if thread_ts in self.locked:
            return _refused("restricted_action_thread_locked")
        if wait_s := self._posts[channel].wait_s(now):
            return _throttled(wait_s)
        self._posts[channel] = self._posts[channel].take(now)
        ts = f"{int(now)}.{len(self.messages) + 1:06d}"
        self.messages.append(
            SlackPost(
                at=now,
                channel=channel,
                ts=ts,
                thread_ts=thread_ts,
                said=arguments,
                stands=arguments,
            )
        )
        return _json(ok=True, channel=channel, ts=ts, message={**arguments, "type": "message"})

    def _update(self, arguments: dict[str, Any], now: float) -> Reply:
        error = self._complaint(arguments, _EDIT_ARGUMENTS, _EDIT_TEXT_LIMIT)
        if error:
            return _refused(error)
        known = self._find(arguments["channel"], arguments.get("ts"))
        if known is None:
            return _refused("message_not_found")
        if self.editable_s is not None and now > known.at + self.editable_s:
            return _refused("edit_window_closed")
        while self._edits and self._edits[0] <= now - EDITS_WINDOW_S:
            self._edits.popleft()
        if len(self._edits) >= EDITS_LIMIT:
            return _throttled(self._edits[0] + EDITS_WINDOW_S - now)
        self._edits.append(now)
        known.stands = arguments
        known.edits += 1
        return _json(ok=True, channel=known.channel, ts=known.ts, text=arguments.get("text", ""))

    def _complaint(self, arguments: dict[str, Any], known: set[str], text_limit: int) -> str:
        live = live_markup(arguments)
        self.mentions += live
        if live or not set(arguments) <= known:
            return "invalid_arguments"
        if arguments.get("channel") not in self._posts:
            return "channel_not_found"
        if arguments["channel"] in self.archived:
            return "is_archived"
        return complaint(arguments, text_limit)

    def _find(self, channel: str, ts: object) -> SlackPost | None:
        return next((it for it in self.messages if (it.channel, it.ts) == (channel, ts)), None)


def _refused(error: str) -> Reply:
    return _json(ok=False, error=error)


def _throttled(wait_s: float) -> Reply:
    reply = _refused("ratelimited")
    headers = {**reply.headers, "retry-after": str(int(wait_s) + 1)}
    return Reply(status=429, body=reply.body, headers=headers)


def _json(**content: Any) -> Reply:
    headers = {"content-type": "application/json; charset=utf-8"}
    return Reply(status=200, body=json.dumps(content).encode(), headers=headers)
