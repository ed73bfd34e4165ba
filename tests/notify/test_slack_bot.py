"""Slack by bot token: one message an incident, kept true, and what each answer of Slack means."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from monitor.fields import Secret
from monitor.model import Delivery, DeliveryResult, Message, SendReason
from monitor.notify.base import Illustrator, Notifier, NotifyIO
from monitor.notify.render import CAUTION
from monitor.notify.slack_bot import SlackBotConfig, error_result
from monitor.scenario.provider import ProviderTransport, Reply, Request
from monitor.scenario.slack_api import SlackApiFake
from tests.notify.samples import HOSTILE, NOW, brief, hostile, message
from tests.support.serve import serve

TOKEN = "xoxb-1-2-abc"
CHANNEL = "C0123456"
OTHER = "C0999999"
HOST = "https://slack.com"
UPDATES = [
    SendReason.NEW_ALERTS,
    SendReason.ESCALATED,
    SendReason.ACKNOWLEDGED,
    SendReason.REPEAT,
    SendReason.RESOLVED,
]
DELIVERED, RETRY, PERMANENT, UNCERTAIN = (
    DeliveryResult.DELIVERED,
    DeliveryResult.RETRY,
    DeliveryResult.PERMANENT,
    DeliveryResult.UNCERTAIN,
)


def config(**changes: Any) -> SlackBotConfig:
    raw = {"kind": "slack_bot", "token": Secret(TOKEN), "channel": CHANNEL, "timeout": "5s"}
    return SlackBotConfig.model_validate({**raw, **changes})


@pytest.fixture
def fake() -> SlackApiFake:
    return SlackApiFake(TOKEN, {CHANNEL, OTHER})


@asynccontextmanager
async def bot(notify_io: NotifyIO, fake: Any, **changes: Any) -> AsyncIterator[Notifier]:
    """Yield a notifier whose Slack is `fake`, without a socket."""
    transport = ProviderTransport({"slack.com": fake}, lambda: NOW)
    async with httpx2.AsyncClient(transport=transport) as http:
        yield config(**changes).build("team", replace(notify_io, http=http))


async def tell(
    notify_io: NotifyIO, fake: Any, sent: Message, key: str | None, **changes: Any
) -> Delivery:
    async with bot(notify_io, fake, **changes) as notifier:
        return await notifier.send(sent, 10, key)


def headline(arguments: dict[str, Any]) -> str:
    return str(arguments["blocks"][0]["text"]["text"])


class Script:
    """The strict fake, with a word of Slack's in place of the answer to one method."""

    def __init__(self, fake: SlackApiFake, method: str, error: str) -> None:
        self.fake, self.method, self.error = fake, method, error
        self.calls: list[str] = []

    def handle(self, request: Request) -> Reply:
        method = request.path.removeprefix("/api/")
        self.calls.append(method)
        if method == self.method:
            return Reply(status=200, body=json.dumps({"ok": False, "error": self.error}).encode())
        return self.fake.handle(request)


async def test_the_first_message_is_posted(notify_io: NotifyIO, fake: SlackApiFake) -> None:
    """Over a real socket: the words arrive, and the delivery says where the message stands."""
    async with serve(fake, now=lambda: NOW) as url:
        notifier = config(base_url=url).build("team", notify_io)
        delivery = await notifier.send(message(), 10, None)
    [posted] = fake.messages
    assert delivery == Delivery(
        result=DELIVERED, detail="200: ok", remote_key=f"{CHANNEL}:{posted.ts}"
    )
    assert "FIRING: HighErrorRate on api-production" in headline(posted.said)
    assert (posted.thread_ts, posted.edits, CAUTION in posted.text) == (None, 0, False)


@pytest.mark.parametrize("reason", UPDATES)
async def test_what_follows_edits_the_message_and_answers_below_it(
    notify_io: NotifyIO, fake: SlackApiFake, reason: SendReason
) -> None:
    """The channel holds one message an incident that tells how it stands; the thread tells when."""
    opened = await tell(notify_io, fake, message(), None)
    followed = await tell(notify_io, fake, message(reason), opened.remote_key)
    first, reply = fake.messages
    assert (followed.result, followed.remote_key) == (DELIVERED, opened.remote_key)
    assert (first.edits, first.thread_ts, reply.thread_ts) == (1, None, first.ts)
    assert headline(first.stands) == headline(reply.said)
    assert reply.said["reply_broadcast"] is (reason in {SendReason.ESCALATED, SendReason.REPEAT})


async def test_a_whole_story_is_one_message(notify_io: NotifyIO, fake: SlackApiFake) -> None:
    """However much happens, the channel shows one message, and its last words are the truth."""
    key = None
    for reason in [SendReason.FIRST, *UPDATES[:3]]:
        key = (await tell(notify_io, fake, message(reason), key)).remote_key
    await tell(notify_io, fake, message(SendReason.RESOLVED), key)
    top = [posted for posted in fake.messages if posted.thread_ts is None]
    assert len(top) == 1
    assert "RESOLVED" in headline(top[0].stands)
    assert len(fake.messages) == 5


@pytest.mark.parametrize(
    "error", ["message_not_found", "cant_update_message", "edit_window_closed"]
)
async def test_a_message_that_cannot_be_edited_is_posted_anew(
    notify_io: NotifyIO, fake: SlackApiFake, error: str
) -> None:
    """Somebody deleted it, or the workspace forbids edits: the end is told all the same."""
    opened = await tell(notify_io, fake, message(), None)
    script = Script(fake, "chat.update", error)
    resolved = await tell(notify_io, script, message(SendReason.RESOLVED), opened.remote_key)
    assert resolved.result is DELIVERED
    assert resolved.remote_key == f"{CHANNEL}:{fake.messages[-1].ts}" != opened.remote_key
    assert "RESOLVED" in headline(fake.messages[-1].said)
    assert fake.messages[-1].thread_ts is None


@pytest.mark.parametrize("fate", ["deleted", "too old", "locked"])
async def test_the_strict_fake_lets_messages_go(
    notify_io: NotifyIO, fake: SlackApiFake, fate: str
) -> None:
    """The same with the fake's own rules: a deleted, an old and a locked message."""
    opened = await tell(notify_io, fake, message(), None)
    ts = fake.messages[0].ts
    if fate == "deleted":
        fake.delete(ts)
    elif fate == "too old":
        fake.editable_s = -1.0
    else:
        fake.locked.add(ts)
    resolved = await tell(notify_io, fake, message(SendReason.RESOLVED), opened.remote_key)
    assert resolved.result is DELIVERED
    assert "RESOLVED" in headline(fake.messages[-1].said)
    assert fake.messages[-1].thread_ts is None


@pytest.mark.parametrize(
    "error", ["thread_not_found", "cannot_reply_to_message", "restricted_action_thread_locked"]
)
async def test_a_thread_that_takes_no_answer_means_a_new_message(
    notify_io: NotifyIO, fake: SlackApiFake, error: str
) -> None:
    """An edit alone calls nobody, so who is escalated to still gets a message to notice."""
    opened = await tell(notify_io, fake, message(), None)

    class Locked(Script):
        def handle(self, request: Request) -> Reply:
            if "thread_ts" in json.loads(request.body):
                return super().handle(request)
            return self.fake.handle(request)

    locked = Locked(fake, "chat.postMessage", error)
    told = await tell(notify_io, locked, message(SendReason.ESCALATED), opened.remote_key)
    assert told.result is DELIVERED
    assert [posted.thread_ts for posted in fake.messages] == [None, None]
    assert fake.messages[0].edits == 1


async def test_an_open_message_in_an_old_channel_is_ended_there(
    notify_io: NotifyIO, fake: SlackApiFake
) -> None:
    """The channel was changed by a reload: whoever saw it open sees it end, where they saw it."""
    opened = await tell(notify_io, fake, message(), None)
    resolved = message(SendReason.RESOLVED)
    told = await tell(notify_io, fake, resolved, opened.remote_key, channel=OTHER)
    assert (told.result, told.remote_key) == (DELIVERED, opened.remote_key)
    assert {posted.channel for posted in fake.messages} == {CHANNEL}


async def test_an_old_channel_that_is_closed_hands_over_to_the_new_one(
    notify_io: NotifyIO, fake: SlackApiFake
) -> None:
    """Nobody can be told in an archived channel; without a new one that is a refusal for good."""
    opened = await tell(notify_io, fake, message(), None)
    fake.archived.add(CHANNEL)
    resolved = message(SendReason.RESOLVED)
    refused = await tell(notify_io, fake, resolved, opened.remote_key)
    told = await tell(notify_io, fake, resolved, opened.remote_key, channel=OTHER)
    assert (refused.result, refused.detail) == (PERMANENT, "200: is_archived")
    assert (told.result, fake.messages[-1].channel) == (DELIVERED, OTHER)


@pytest.mark.parametrize("key", ["", "f" * 64, "C1:2", "c1:1.2", "C0123456:1.2\n", ":1.2"])
async def test_a_key_of_another_kind_means_a_new_message(
    notify_io: NotifyIO, fake: SlackApiFake, key: str
) -> None:
    """The channel was of another kind when it opened: what it kept means nothing to Slack."""
    assert (await tell(notify_io, fake, message(SendReason.RESOLVED), key)).result is DELIVERED
    assert len(fake.messages) == 1


async def test_a_lost_first_answer_is_uncertain_and_the_next_says_so(
    notify_io: NotifyIO, fake: SlackApiFake
) -> None:
    """Slack has no key to merge by: the second message says that it may be a repetition."""
    fake.lose_next()
    lost = await tell(notify_io, fake, message(), None)
    assert (lost.result, lost.remote_key) == (UNCERTAIN, None)
    again = await tell(notify_io, fake, message(may_be_repeated=True), None)
    assert again.result is DELIVERED
    assert [CAUTION in posted.text for posted in fake.messages] == [False, True]


async def test_a_lost_answer_to_an_edit_is_simply_tried_again(
    notify_io: NotifyIO, fake: SlackApiFake
) -> None:
    """Editing twice shows nothing twice, and no answer was given below it yet."""
    opened = await tell(notify_io, fake, message(), None)
    fake.lose_next()
    lost = await tell(notify_io, fake, message(SendReason.RESOLVED), opened.remote_key)
    assert (lost.result, len(fake.messages)) == (RETRY, 1)
    assert lost.detail.startswith("edit: connection lost")


async def test_a_lost_answer_to_a_reply_is_uncertain(
    notify_io: NotifyIO, fake: SlackApiFake
) -> None:
    """The edit stands; the answer below it may be there twice, so only that one is marked."""
    opened = await tell(notify_io, fake, message(), None)

    class Lossy:
        def handle(self, request: Request) -> Reply:
            if request.path.endswith("postMessage"):
                fake.lose_next()
            return fake.handle(request)

    lost = await tell(notify_io, Lossy(), message(SendReason.RESOLVED), opened.remote_key)
    assert (lost.result, lost.remote_key) == (UNCERTAIN, opened.remote_key)
    marked = message(SendReason.RESOLVED, may_be_repeated=True)
    again = await tell(notify_io, fake, marked, lost.remote_key)
    assert again.result is DELIVERED
    first, reply, repeated = fake.messages
    assert [CAUTION in part.text for part in (reply, repeated)] == [False, True]
    assert CAUTION not in str(first.stands)


async def test_a_reply_that_is_refused_for_now_is_tried_again_with_the_edit(
    notify_io: NotifyIO, fake: SlackApiFake
) -> None:
    """The repeated edit is harmless, and the answer below it comes once."""
    opened = await tell(notify_io, fake, message(), None)
    busy = Script(fake, "chat.postMessage", "service_unavailable")
    refused = await tell(notify_io, busy, message(SendReason.RESOLVED), opened.remote_key)
    assert refused.result is RETRY
    again = await tell(notify_io, fake, message(SendReason.RESOLVED), opened.remote_key)
    assert (again.result, len(fake.messages), fake.messages[0].edits) == (DELIVERED, 2, 2)


@pytest.mark.parametrize(
    ("error", "result"),
    [
        *[(word, RETRY) for word in (
            "ratelimited", "rate_limited", "service_unavailable", "request_timeout",
            "team_added_to_org", "org_login_required", "external_channel_migrating",
            "message_limit_exceeded", "update_failed",
        )],
        *[(word, UNCERTAIN) for word in ("internal_error", "fatal_error")],
        *[(word, PERMANENT) for word in (
            "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired",
            "channel_not_found", "not_in_channel", "is_archived", "missing_scope", "no_permission",
            "restricted_action", "ekm_access_denied", "access_denied", "msg_too_long", "no_text",
            "invalid_blocks", "msg_blocks_too_long", "invalid_arguments", "as_user_not_supported",
            "a_word_of_tomorrow", "",
        )],
    ],
)  # fmt: skip
async def test_every_word_of_slack_has_its_outcome(
    notify_io: NotifyIO, fake: SlackApiFake, error: str, result: DeliveryResult
) -> None:
    """Slack refuses with 200: only its word tells whether to wait, to mark or to give up."""
    assert error_result(error) is result
    delivery = await tell(notify_io, Script(fake, "chat.postMessage", error), message(), None)
    assert (delivery.result, delivery.remote_key) == (result, None)
    assert delivery.detail == f"200: {error or 'no reason given'}"


@pytest.mark.parametrize("error", ["internal_error", "ratelimited", "invalid_auth"])
async def test_a_refused_edit_is_not_followed_by_an_answer(
    notify_io: NotifyIO, fake: SlackApiFake, error: str
) -> None:
    """The thread never says what the message above it does not; an edit is never uncertain."""
    opened = await tell(notify_io, fake, message(), None)
    script = Script(fake, "chat.update", error)
    told = await tell(notify_io, script, message(SendReason.RESOLVED), opened.remote_key)
    assert told.result is (PERMANENT if error == "invalid_auth" else RETRY)
    assert script.calls == ["chat.update"]


async def test_the_rate_limit_says_how_long(notify_io: NotifyIO, fake: SlackApiFake) -> None:
    """A 429 carries Retry-After, and so does the word alone; both reach the outbox."""
    fake.fail_next(429, retry_after=30, body=b'{"ok": false, "error": "ratelimited"}')
    by_status = await tell(notify_io, fake, message(), None)
    fake.fail_next(200, retry_after=40, body=b'{"ok": false, "error": "ratelimited"}')
    by_word = await tell(notify_io, fake, message(), None)
    assert (by_status.result, by_status.retry_after_s) == (RETRY, 30.0)
    assert (by_word.result, by_word.retry_after_s) == (RETRY, 40.0)


async def test_a_missing_scope_is_named(notify_io: NotifyIO, fake: SlackApiFake) -> None:
    """Who must repair the bot reads what it lacks."""
    fake.fail_next(200, body=b'{"ok": false, "error": "missing_scope", "needed": "chat:write"}')
    told = await tell(notify_io, fake, message(), None)
    assert told == Delivery(result=PERMANENT, detail="200: missing_scope (needed: chat:write)")


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (b"<html>please log in</html>", PERMANENT),
        (b"ok", PERMANENT),
        (b"", PERMANENT),
        (b"[]", PERMANENT),
        (b'{"ok": tru', UNCERTAIN),
        (b'{"ok": "yes"}', PERMANENT),
        (b'{"ok": true}', DELIVERED),
        (b'{"ok": true, "channel": 1, "ts": []}', DELIVERED),
    ],
)
async def test_only_slacks_own_word_counts(
    notify_io: NotifyIO, fake: SlackApiFake, body: bytes, result: DeliveryResult
) -> None:
    """A proxy's page is no receipt, half a receipt is none either, and no key is made up."""
    fake.fail_next(200, body=body)
    told = await tell(notify_io, fake, message(), None)
    assert (told.result, told.remote_key) == (result, None)


async def test_a_long_receipt_is_read_to_its_end(notify_io: NotifyIO, fake: SlackApiFake) -> None:
    """Slack says the whole message back, and may put the key behind it."""
    said = {"ok": True, "message": "x" * 100_000, "channel": CHANNEL, "ts": "1.2"}
    fake.fail_next(200, body=json.dumps(said).encode())
    assert (await tell(notify_io, fake, message(), None)).remote_key == f"{CHANNEL}:1.2"


async def test_a_hang_ends_in_time(notify_io: NotifyIO, fake: SlackApiFake) -> None:
    """The first post may use the whole time, an update shares it between its calls."""
    opened = await tell(notify_io, fake, message(), None)
    fake.hang_s = 30
    async with serve(fake, now=lambda: NOW) as url, asyncio.timeout(5):
        notifier = config(base_url=url, timeout="1500ms").build("team", notify_io)
        first = await notifier.send(message(), 10, None)
        edit = await notifier.send(message(SendReason.RESOLVED), 10, opened.remote_key)
    assert (first.result, edit.result) == (UNCERTAIN, RETRY)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_text_is_posted_harmlessly(
    notify_io: NotifyIO, fake: SlackApiFake, text: str
) -> None:
    """Text of another system mentions nobody, in the message, its edit and its thread."""
    opened = await tell(notify_io, fake, hostile(text), None)
    resolved = hostile(text, SendReason.RESOLVED, may_be_repeated=True)
    ended = await tell(notify_io, fake, resolved, opened.remote_key)
    assert (opened.result, ended.result, fake.mentions) == (DELIVERED, DELIVERED, [])


def test_the_outbox_learns_what_slack_cannot(notify_io: NotifyIO) -> None:
    """Repeats show up twice, reminders and changes are welcome."""
    kind = config().build("team", notify_io)
    assert (kind.deduplicates, kind.repeats, kind.updates) == (False, True, True)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("token", Secret("xoxp-1"), "expected a bot token that starts with xoxb-"),
        ("token", Secret("xoxb-a\r\nx: y"), "expected a bot token that starts with xoxb-"),
        ("token", TOKEN, "expected a reference"),
        ("channel", "#alerts", "expected the id of a channel"),
        ("base_url", "slack.com", "expected an address such as https://slack.com"),
        ("base_url", "https://slack.com/api", "expected an address such as https://slack.com"),
    ],
)
def test_wrong_configuration_is_named(field: str, value: object, expected: str) -> None:
    """Mistakes show at load, with what was expected and without the token."""
    with pytest.raises(ValidationError, match=expected) as caught:
        config(**{field: value})
    assert "xoxp-1" not in str(caught.value)


def ask(
    fake: SlackApiFake,
    method: str = "chat.postMessage",
    token: str = TOKEN,
    kind: str = "application/json",
    at: float = NOW,
    **arguments: Any,
) -> Reply:
    headers = {"content-type": kind, "authorization": f"Bearer {token}"}
    body = json.dumps({"channel": CHANNEL, "text": "x", **arguments}).encode()
    return fake.handle(
        Request(method="POST", path=f"/api/{method}", headers=headers, body=body, at=at)
    )


def section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (lambda fake: ask(fake, "chat.delete"), "unknown_method"),
        (lambda fake: ask(fake, token="xoxb-wrong"), "invalid_auth"),
        (lambda fake: ask(fake, token=""), "not_authed"),
        (lambda fake: ask(fake, kind="text/plain"), "invalid_json"),
        (lambda fake: ask(fake, channel="C0UNKNOWN"), "channel_not_found"),
        (lambda fake: ask(fake, channel=None), "channel_not_found"),
        (lambda fake: ask(fake, text=""), "no_text"),
        (lambda fake: ask(fake, text="x" * 40_001), "msg_too_long"),
        (lambda fake: ask(fake, text="<!channel>"), "invalid_arguments"),
        (lambda fake: ask(fake, text="a & b"), "invalid_arguments"),
        (lambda fake: ask(fake, link_name=True), "invalid_arguments"),
        (lambda fake: ask(fake, blocks=[{"type": "divider"}] * 51), "invalid_blocks"),
        (lambda fake: ask(fake, blocks=[section("x" * 3001)]), "invalid_blocks"),
        (lambda fake: ask(fake, blocks=[section("x" * 2990)] * 5), "msg_blocks_too_long"),
        (lambda fake: ask(fake, thread_ts="1.2"), "thread_not_found"),
        (lambda fake: ask(fake, "chat.update", ts="1.2"), "message_not_found"),
        (lambda fake: ask(fake, "chat.update", ts="1.2", text="x" * 4001), "msg_too_long"),
        (lambda fake: ask(fake, "chat.update", ts="1.2", unfurl_links=False), "invalid_arguments"),
    ],
)
def test_the_fake_is_as_strict_as_slack(
    fake: SlackApiFake, asked: Callable[[SlackApiFake], Reply], error: str
) -> None:
    """A fake that takes everything would prove nothing: it refuses what Slack refuses, with 200."""
    reply = asked(fake)
    assert (reply.status, json.loads(reply.body)) == (200, {"ok": False, "error": error})
    assert fake.messages == []


def test_the_fake_limits_posts_in_a_channel_and_edits_in_a_minute() -> None:
    """About a message a second into each channel, and 50 edits a minute in all."""
    fake = SlackApiFake(TOKEN, {CHANNEL, OTHER}, burst=2)
    assert [ask(fake).status for _ in range(3)] == [200, 200, 429]
    assert ask(fake, channel=OTHER).status == 200
    assert ask(fake, at=NOW + 1).status == 200
    ts = fake.messages[0].ts
    edits = [ask(fake, "chat.update", ts=ts) for _ in range(51)]
    assert [reply.status for reply in edits] == [200] * 50 + [429]
    assert edits[-1].headers["retry-after"] == "61"
    assert ask(fake, "chat.update", ts=ts, at=NOW + 61).status == 200


async def illustrated(
    notify_io: NotifyIO, fake: SlackApiFake, times: int = 1, **changes: Any
) -> None:
    async with bot(notify_io, fake, **changes) as notifier:
        assert isinstance(notifier, Illustrator)
        for _ in range(times):
            delivery = await notifier.send(message(brief=brief()), 10, None)
            await notifier.illustrate(message(brief=brief()), delivery.remote_key, 5)


async def test_a_new_message_has_its_picture_in_the_thread(
    notify_io: NotifyIO, fake: SlackApiFake
) -> None:
    """Where the bot may; the token goes to the Web API only, which the fake insists on."""
    await illustrated(notify_io, fake)
    [picture] = fake.pictures
    assert (picture.channel, picture.thread_ts) == (CHANNEL, fake.messages[0].ts)
    assert picture.content.startswith(b"\x89PNG")
    assert TOKEN.encode() not in picture.content


async def test_without_the_scope_there_is_no_picture_and_one_line_in_the_log(
    notify_io: NotifyIO, fake: SlackApiFake, caplog: pytest.LogCaptureFixture
) -> None:
    """The messages are there all the same."""
    fake.scopes.remove("files:write")
    await illustrated(notify_io, fake, times=3)
    assert len(fake.messages) == 3
    assert fake.pictures == []
    assert [it.getMessage() for it in caplog.records if "picture" in it.getMessage()] == [
        "no picture in Slack: missing_scope"
    ]


async def test_pictures_can_be_left_out(notify_io: NotifyIO, fake: SlackApiFake) -> None:
    """For workspaces that want none."""
    await illustrated(notify_io, fake, pictures=False)
    assert (len(fake.messages), fake.pictures) == (1, [])


@pytest.mark.parametrize("method", ["files.getUploadURLExternal", "files.completeUploadExternal"])
@pytest.mark.parametrize("word", ["internal_error", "<html>"])
async def test_a_picture_that_fails_costs_nothing_else(
    method: str, word: str, notify_io: NotifyIO, fake: SlackApiFake
) -> None:
    """Whatever Slack says to it, nothing is raised and nothing said twice."""
    script: Any = Script(fake, method, word)
    await illustrated(notify_io, script)
    assert (len(fake.messages), fake.pictures) == (1, [])
    assert script.calls.count(method) == 1
