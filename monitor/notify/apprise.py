"""Whatever else there is (Teams, Discord, Telegram, ntfy, ...), through the library Apprise.

Owns what Apprise is asked and what its answer is worth: it says only yes or no. A no may be a
refusal or an answer that never came, so it is UNCERTAIN and the next attempt says that it may be a
repetition. The library is an optional extra, loaded when a configuration names the kind.
"""

from __future__ import annotations

import importlib
import logging
import re
from functools import partial
from threading import Lock
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from monitor.fields import Duration, Secret
from monitor.model import Delivery, DeliveryResult, Message, SendReason, Severity
from monitor.notify import blocking
from monitor.notify.base import ChannelConfig, Notifier, NotifyIO
from monitor.notify.http import Address, shown
from monitor.notify.render import Text, render

TURN_S = 0.5
"""How long a message waits for the one before it; longer would keep threads from others."""

_TALKATIVE = ("apprise", "oauthlib", "requests_oauthlib", "urllib3")
"""Loggers that show addresses, and so tokens. Silent altogether: some do it in warnings."""
_MENTION = re.compile(r"@(?=channel|here|everyone|all)|<(?=[!@#])", re.IGNORECASE)
_SEVERITY = {
    Severity.CRITICAL: "failure",
    Severity.WARNING: "warning",
    Severity.INFO: "info",
}


class AppriseConfig(ChannelConfig):
    """Sends through any service that Apprise knows, such as Teams, Discord, Telegram or ntfy.

    Needs the extra: `pip install 'slo-monitor[apprise]'`. Apprise's own documentation says how the
    address of each service is written.
    """

    example: ClassVar[str] = "{kind: apprise, url: {env: APPRISE_URL}}"

    kind: Literal["apprise"]
    url: Address
    """Address of the service as Apprise writes it, e.g. `ntfy://ntfy.shop.test/alerts`."""
    timeout_s: Duration = Field(alias="timeout", default=15.0)
    """How long one attempt may take."""

    @field_validator("url")
    @classmethod
    def _is_service(cls, url: Secret) -> Secret:
        _service(url)
        return url

    def build(self, name: str, io: NotifyIO) -> Notifier:  # noqa: ARG002 - the contract of kinds
        """Return the notifier."""
        return AppriseNotifier(self, io)


class AppriseNotifier:
    """Hands one message for each send to Apprise."""

    deduplicates = False
    repeats = True
    updates = True
    repeat_s: float | None = None
    rate_per_s = 1.0
    burst = 5

    def __init__(self, config: AppriseConfig, io: NotifyIO) -> None:
        """Use `config`; Apprise blocks, so it runs on the executor of `io`."""
        library, service = _service(config.url)
        # The library's own limits are for each wait; ours is for the whole, and must come last.
        service.socket_connect_timeout = service.socket_read_timeout = config.timeout_s / 3
        if service.overflow_mode == library.OverflowMode.UPSTREAM:
            # A message that is too long would be refused as a whole.
            service.overflow_mode = library.OverflowMode.TRUNCATE
        self._apprise = library.Apprise()
        self._apprise.add(service)
        self._format = library.NotifyFormat.TEXT
        self._said = str(service.service_name)
        self._timeout_s = config.timeout_s
        self._executor = io.executor
        self._turn = Lock()
        """A service that hangs costs one thread of the pool, not all."""

    async def send(self, message: Message, deadline_s: float, remote_key: str | None) -> Delivery:  # noqa: ARG002 - Apprise gives none
        """Send `message` once."""
        limit_s = min(self._timeout_s, deadline_s)
        work = partial(self._notify, render(message), kind_of(message))
        try:
            return await blocking.run(self._executor, limit_s, work)
        except blocking.NotStartedError as error:
            return Delivery(result=DeliveryResult.RETRY, detail=f"{error}; nothing was sent")
        except TimeoutError:
            detail = f"no answer within {limit_s:g} s; it may have arrived"
            return Delivery(result=DeliveryResult.UNCERTAIN, detail=detail)

    def _notify(self, text: Text, kind: str) -> Delivery:
        if not self._turn.acquire(timeout=TURN_S):
            detail = "an earlier message is still being sent; nothing was sent"
            return Delivery(result=DeliveryResult.RETRY, detail=detail)
        try:
            is_sent = self._apprise.notify(
                title=harmless(text.title),
                body=harmless(text.plain().partition("\n")[2] or text.title),
                notify_type=kind,
                body_format=self._format,
            )
        except Exception as error:  # noqa: BLE001 - a hundred services, each with errors of its own
            detail = f"{self._said} failed ({type(error).__name__}); it may have arrived"
            return Delivery(result=DeliveryResult.UNCERTAIN, detail=shown(detail, ()))
        finally:
            self._turn.release()
        if is_sent:
            return Delivery(result=DeliveryResult.DELIVERED, detail=f"accepted by {self._said}")
        detail = f"{self._said} refused it or did not answer; it may have arrived"
        return Delivery(result=DeliveryResult.UNCERTAIN, detail=shown(detail, ()))


def kind_of(message: Message) -> str:
    """Return Apprise's type of notification, which services show as a colour or a picture."""
    if message.reason is SendReason.RESOLVED:
        return "success"
    is_test = message.reason is SendReason.TEST
    return "info" if is_test else _SEVERITY[message.incident.severity]


def harmless(text: str) -> str:
    """Return `text` without mentions that would wake a whole room."""
    return _MENTION.sub(lambda found: f"{found[0]}\u200b", text)


def _service(url: Secret) -> tuple[Any, Any]:
    """Return the library and its service behind `url`.

    Raises:
        ValueError: when the library is missing or cannot use the address, which is not shown.
    """
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        # Not imported above: it is an extra that most installations do without.
        library = importlib.import_module("apprise")
    except ImportError:
        msg = "expected the library Apprise to be there: pip install 'slo-monitor[apprise]'"
        raise ValueError(msg) from None
    asset = library.AppriseAsset(app_id="slo-monitor", app_desc="slo-monitor")
    service = library.Apprise.instantiate(url.reveal().strip(), asset=asset)
    if service is None:
        msg = "expected an address that Apprise can use, such as ntfy://host/topic"
        raise ValueError(msg)
    return library, service
