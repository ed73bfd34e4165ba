"""Writes docs/channels.md from the kinds of channels themselves; `make docs` calls it.

Fields, traits and examples stand in the kinds. What a status means is not written anywhere: each
notifier is asked, by a transport that answers every status there is.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import aiosmtplib
import httpx2
import yaml

from docs.fields import MISSING, cell, nested, paragraphs, table
from monitor.config.kinds import discover
from monitor.config.loader import parse
from monitor.config.tree import to_plain
from monitor.fields import format_duration
from monitor.model import Delivery, DeliveryResult, Incident, Message, SendReason, Severity
from monitor.notify import base
from monitor.notify.base import ChannelConfig, Notifier, NotifyIO
from monitor.notify.email import judge

PAGE = Path(__file__).resolve().parent / "channels.md"
SECRETS = {
    "SLACK_WEBHOOK": "https://hooks.slack.test/services/T000/B000/XXXX",
    "SLACK_BOT_TOKEN": "xoxb-example",
    "PAGERDUTY_ROUTING_KEY": "0123456789abcdef0123456789abcdef",
    "SMTP_PASSWORD": "correct horse",
    "APPRISE_URL": "ntfy://ntfy.shop.test/alerts",
    "WEBHOOK_SECRET": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
}
"""What the references in the examples stand for, here and in tests."""
EXAMPLE = """\
service: shop
environments:
  Production: {url: https://shop.example.com}
channels:
  inbox: {kind: console, path: inbox.jsonl}
"""
ANSWER = "inbox: delivered written"

_STATUSES = range(200, 600)
_REPLIES = range(400, 600)
_ANSWERS = {
    "pagerduty": b'{"status": "success", "dedup_key": "x"}',
    "slack_bot": b'{"ok": true, "channel": "C0123456789", "ts": "1.1"}',
}
"""The body of a good answer; most kinds want no more than `ok`."""
_WORDS = {
    DeliveryResult.DELIVERED: "success",
    DeliveryResult.RETRY: "retry",
    DeliveryResult.PERMANENT: "permanent",
    DeliveryResult.UNCERTAIN: "uncertain",
}
_STATED: dict[str, tuple[tuple[DeliveryResult, str], ...]] = {
    "console": (
        (DeliveryResult.DELIVERED, "the line is in the file; without `path`, on the console"),
        (DeliveryResult.RETRY, "the file cannot be written, or an earlier line is still stuck"),
        (DeliveryResult.UNCERTAIN, "writing takes longer than the timeout"),
    ),
    "apprise": (
        (DeliveryResult.DELIVERED, "Apprise says yes"),
        (DeliveryResult.RETRY, "an earlier message is still being sent"),
        (
            DeliveryResult.UNCERTAIN,
            "Apprise says no (a refusal, or no answer), fails, or takes longer than the timeout",
        ),
    ),
}
_HTTP = (
    (DeliveryResult.RETRY, "no connection: nothing was sent"),
    (DeliveryResult.UNCERTAIN, "no answer within the timeout, or the connection broke"),
)
_INTRO = """\
# Channels

Written by `make docs` from the kinds themselves; edit them, not this page.

A channel is one way to tell somebody. Rules name the channels that hear of them. Each channel has
a worker of its own, so one that hangs delays no other. `monitor schema` prints the same as a JSON
Schema.

```yaml
{example}```

Try a channel before you need it; this sends one message that says it is only a test:

```console
$ monitor notify test inbox --config monitor.yml
{answer}
```

The exit code is 0 when it was delivered, 1 when it was not, 2 when the configuration is wrong;
`--output json` prints the same for programs.

Every attempt ends in one of four ways, and all of them stand in the ledger:

- **success**: the receiver has it.
- **retry**: it certainly did not arrive. It is tried again, later each time, or when the receiver
  said (`Retry-After`).
- **permanent**: trying the same again cannot help (a wrong token, an address that is gone). It is
  tried again after a reload or restart.
- **uncertain**: it went out and no answer came back. It is sent again; where the receiver cannot
  tell by a key that it has it already, the message says that it may be a repetition.

What differs between the kinds:

{traits}

{legend}

Kinds: {kinds}.

"""


class Inline(Executor):
    """Runs blocking work at once: there is nothing to wait for here."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it and return what came of it."""
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


def example_of(kind: type[ChannelConfig]) -> Any:
    """Return the example of a kind as plain values, read as users' files are."""
    document = parse(kind.example.encode(), "example.yml")
    if document.root is None:
        msg = f"the example of {kind.__name__} is not readable"
        raise ValueError(msg)
    return to_plain(document.root)


def config_of(kind: type[ChannelConfig]) -> ChannelConfig:
    """Return the example of a kind as it is configured where `SECRETS` are set."""
    context = {"secrets": lambda _how, name: SECRETS[name]}
    return kind.model_validate(example_of(kind), context=context, by_name=False, by_alias=True)


def page() -> str:
    """Return the whole page."""
    kinds = discover(ChannelConfig)
    parts = [
        _INTRO.format(
            example=EXAMPLE,
            answer=ANSWER,
            traits=_traits(kinds),
            legend="\n".join(f"- *{_title(name)}*: {text}" for name, text in legend().items()),
            kinds=", ".join(f"[`{name}`](#{name})" for name in kinds),
        )
    ]
    parts += [_section(name, model) for name, model in kinds.items()]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def legend() -> dict[str, str]:
    """Return what each trait of a notifier means, as the protocol says."""
    body = next(
        each
        for each in ast.parse(inspect.getsource(base)).body
        if isinstance(each, ast.ClassDef) and each.name == Notifier.__name__
    ).body
    found: dict[str, str] = {}
    for member, text in zip(body, [*body[1:], None], strict=True):
        if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
            is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
            found[member.target.id] = (
                " ".join(str(text.value.value).split()) if is_text else MISSING
            )
    return found


def _traits(kinds: dict[str, type[ChannelConfig]]) -> str:
    names = list(legend())
    rows = [
        "| kind | " + " | ".join(map(_title, names)) + " |",
        "| --- " * (len(names) + 1) + "|",
    ]
    for kind, model in kinds.items():
        notifier = notifier_of(model, 200, b"")
        values = " | ".join(_value(name, getattr(notifier, name)) for name in names)
        rows.append(f"| [`{kind}`](#{kind}) | {values} |")
    return "\n".join(rows)


def _title(name: str) -> str:
    return name.removesuffix("_s").replace("_per", " per second").replace("_", " ")


def _value(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return format_duration(value) if name == "repeat_s" else f"{value:g}"
    return "" if value is None else str(value)


def _section(name: str, model: type[ChannelConfig]) -> str:
    schema = model.model_json_schema(by_alias=True)
    defs = schema.get("$defs", {})
    fields = tuple(key for key in schema["properties"] if key != "kind")
    shown = yaml.safe_dump(
        {name: example_of(model)}, sort_keys=False, width=100, allow_unicode=True
    )
    block = "".join(f"  {line}\n" for line in shown.splitlines())
    rows = "\n".join(
        f"| {_WORDS[result]} | {cell(when)} |" for result, when in outcomes(name, model)
    )
    return "\n".join(
        [
            f"## {name}\n",
            f"{paragraphs(inspect.cleandoc(model.__doc__ or ''))}\n",
            f"```yaml\nchannels:\n{block}```\n",
            table(schema, defs, fields),
            *(f"\n{line}" for line in nested(schema, defs, fields)),
            f"\n| outcome | when |\n| --- | --- |\n{rows}\n",
        ]
    )


def outcomes(name: str, model: type[ChannelConfig]) -> list[tuple[DeliveryResult, str]]:
    """Return (outcome, when) for all that a receiver of this kind may answer."""
    if name in _STATED:
        return list(_STATED[name])
    if name == "email":
        return list(_smtp_outcomes())
    found: dict[DeliveryResult, list[int]] = {result: [] for result in DeliveryResult}
    body = _ANSWERS.get(name, b"ok")
    for status in _STATUSES:
        found[_result(model, status, body)].append(status)
    said = [(each, f"status {ranges(found[each])}") for each in DeliveryResult if found[each]]
    page_result = _result(model, 200, b"<html>", "text/html")
    if _result(model, 200, body) is not page_result:
        said.append((page_result, "status 200 with a web page, such as the login of a proxy"))
    order = list(DeliveryResult)
    return sorted([*said, *_HTTP], key=lambda row: order.index(row[0]))


def _smtp_outcomes() -> Iterator[tuple[DeliveryResult, str]]:
    found: dict[DeliveryResult, list[int]] = {}
    for code in _REPLIES:
        result, _ = judge(aiosmtplib.SMTPResponseException(code, ""))
        found.setdefault(result, []).append(code)
    yield DeliveryResult.DELIVERED, "the final reply, after the whole mail, is 2yz"
    for result, codes in found.items():
        yield result, f"reply {ranges(codes)}"
    yield DeliveryResult.RETRY, "no connection, or TLS fails: nothing was sent"
    yield DeliveryResult.PERMANENT, "the server offers no STARTTLS: nothing was sent"
    yield DeliveryResult.UNCERTAIN, "no reply within the timeout, or the connection broke"


def _result(
    model: type[ChannelConfig], status: int, body: bytes, content_type: str = "text/plain"
) -> DeliveryResult:
    notifier = notifier_of(model, status, body, content_type)
    return asyncio.run(_sent(notifier)).result


async def _sent(notifier: Notifier) -> Delivery:
    return await notifier.send(_message(), 10.0, None)


def notifier_of(
    model: type[ChannelConfig], status: int, body: bytes, content_type: str = "text/plain"
) -> Notifier:
    """Return the notifier of the example, in a world where all answers are the same."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        stream, headers = httpx2.ByteStream(body), {"content-type": content_type}
        return httpx2.Response(status, stream=stream, headers=headers, request=request)

    transport = httpx2.MockTransport(answer)
    world = NotifyIO(
        http=httpx2.AsyncClient(transport=transport),
        sync_transport=transport,
        executor=Inline(),
        smtp_send=aiosmtplib.send,
        console=io.StringIO(),
    )
    return config_of(model).build("example", world)


def ranges(numbers: Sequence[int]) -> str:
    """Return rising numbers as `200-299, 429`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _message() -> Message:
    incident = Incident(
        id="example",
        key="example",
        rule="high_error_rate",
        deployment="shop-production",
        service="shop",
        environment="production",
        severity=Severity.CRITICAL,
        channels=("example",),
        condition="error_rate_5m > 5",
        summary="",
        started_at=0.0,
        opened_at=0.0,
    )
    return Message(reason=SendReason.FIRST, incident=incident, at=0.0)
