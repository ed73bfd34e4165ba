"""The configuration of a WebSocket probe: what may stand in a file, checked before it runs."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from monitor import __version__
from monitor.fields import Secret
from monitor.model import Deployment, Target
from monitor.probes.base import ProbeConfig, ProbeIO
from monitor.probes.http.conditions import compile_regex
from monitor.probes.http.fields import Headers, Regex, UrlPath
from monitor.probes.http.url import join
from monitor.probes.websocket.probe import WebSocketProbe
from monitor.probes.websocket.session import MAX_MESSAGE_BYTES

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_OWN = "sec-websocket-"
_HOST, _USER_AGENT = "host", "user-agent"


class WebSocketProbeConfig(ProbeConfig):
    """Opens a WebSocket (`ws` for http, `wss` for https) and closes it in order.

    In between it may say something and may wait for a certain message.
    """

    example: ClassVar[str] = (
        "{kind: websocket, name: live-prices, path: /live, send: ping, expect: '^pong'}"
    )

    kind: Literal["websocket"] = "websocket"
    path: UrlPath = "/"
    """Appended to the deployment's URL; `/` stands for that URL as it is written."""
    send: Annotated[str, Field(min_length=1, max_length=MAX_MESSAGE_BYTES)] | None = None
    """A text message to send once the connection is open."""
    expect: Regex | None = None
    """RE2 to wait for, somewhere in a message of at most 64 KiB; other messages are passed over."""
    subprotocol: Annotated[str, Field(pattern=f"^{_TOKEN.pattern}$")] | None = None
    """The server must agree to it."""
    headers: Headers = Field(default_factory=dict)
    """Sent with the upgrade; values may be secrets."""
    ca_file: str | None = None
    """PEM file with the authorities to trust instead of the system's."""
    insecure: bool = False
    """Accept any certificate; its expiry is then not reported."""

    @model_validator(mode="after")
    def _check_headers(self) -> Self:
        for name in self.headers:
            if name.lower().startswith(_OWN):
                msg = f"{name} belongs to the prober and cannot be set"
                raise ValueError(msg)
        return self

    def build(
        self,
        target: Target,
        deployment: Deployment,  # noqa: ARG002 - the signature of every kind
        url: str,
        io: ProbeIO,
    ) -> WebSocketProbe:
        """Return the probe of `target` at `url` and the configured path.

        Raises:
            ValueError: when `url` is no base URL or `ca_file` cannot be loaded.
        """
        address = join(url, self.path)
        headers = {name: _plain(value).strip() for name, value in self.headers.items()}
        hosts = [value for name, value in headers.items() if name.lower() == _HOST]
        if not any(name.lower() == _USER_AGENT for name in headers):
            headers["User-Agent"] = f"slo-monitor/{__version__}"
        context = io.tls.get(self.ca_file, insecure=self.insecure)
        return WebSocketProbe(
            target=target.id,
            url=address,
            host=hosts[0] if hosts else address.authority,
            headers=[
                (name.encode("ascii"), value.encode("latin-1"))
                for name, value in headers.items()
                if name.lower() != _HOST
            ],
            subprotocol=self.subprotocol,
            send=self.send,
            expect=None if self.expect is None else compile_regex(self.expect),
            context=context if address.scheme == "https" else None,
            io=io,
        )


def _plain(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value
