"""The strict fakes that a plan's channels and hooks talk to in a scenario, and what they took in.

Owns which fake stands for which kind. A kind without a fake (a local command) cannot be played.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from monitor.config.plan import DeploymentPlan, Plan
from monitor.notify.base import ChannelConfig
from monitor.notify.console import ConsoleConfig
from monitor.notify.email import EmailConfig
from monitor.notify.pagerduty import PagerDutyConfig
from monitor.notify.slack import SlackConfig
from monitor.notify.webhook import WebhookConfig
from monitor.rollback.base import HookConfig
from monitor.rollback.github import GithubHookConfig
from monitor.rollback.webhook import WebhookHookConfig
from monitor.scenario.github import GitHubFake
from monitor.scenario.hook import HookFake
from monitor.scenario.pagerduty import PagerDutyFake
from monitor.scenario.provider import Provider
from monitor.scenario.receiver import Receiver, WebhookFake
from monitor.scenario.slack import SlackFake
from monitor.scenario.world import MailFake, World

PAGERDUTY = "https://events.pagerduty.com"
_OPENED = re.compile(r"\] FIRING: ")
_RESOLVED = re.compile(r"\] RESOLVED: ")


class UnplayableError(ValueError):
    """The configuration uses something that no story can play."""


@dataclass(slots=True)
class Rollbacks:
    """Counts a deployment's rollbacks and puts the earlier release back on its servers."""

    world: World
    hosts: tuple[str, ...]
    count: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    """Host -> the release that was there when the story began."""

    def __call__(self, document: Mapping[str, Any]) -> None:
        """Carry one out."""
        self.count += 1
        for host in self.hosts:
            self.world.targets[host].version = document.get("to_revision") or self.versions[host]


class Receivers:
    """Everybody who can be told or asked something by the daemon of a story."""

    def __init__(self, plan: Plan, world: World, console: io.StringIO) -> None:
        """Make one fake for each channel and hook of `plan`.

        Raises:
            UnplayableError: a kind has no fake, or two share one address.
        """
        self.providers: dict[str, Provider] = {}
        self._console = console
        self._mail: dict[str, MailFake] = {}
        self._fakes: dict[str, Receiver] = {}
        self._configs = dict(plan.channels)
        for name, config in plan.channels.items():
            self._add_channel(name, config)
        self._rollbacks: dict[str, Rollbacks] = {}
        for each in plan.deployments:
            if each.rollback is not None:
                self._add_hook(each, each.rollback.hook, world)

    async def send_mail(self, message: Any, **options: Any) -> tuple[dict[str, Any], str]:
        """Stand in for `aiosmtplib.send`, with one fake for each mail server."""
        return await self._mail[options["hostname"]].send(message, **options)

    def set_alive(self, channel: str, *, alive: bool) -> None:
        """Let a channel's receiver die or come back."""
        config = self._configs[channel]
        if isinstance(config, EmailConfig):
            self._mail[config.host].dead = not alive
        else:
            self._fakes[channel].dead = not alive

    def told(self, channel: str) -> dict[str, int]:
        """Return how many opens and resolves the receiver of `channel` took in."""
        fake = self._fakes.get(channel)
        if isinstance(fake, PagerDutyFake):
            closed = sum(each.resolved_at is not None for each in fake.incidents)
            count = len(fake.incidents)
            return {"opened": count, "resolved": closed, "still_open": count - closed}
        text = "\n".join(self._texts(channel))
        return {
            "opened": len(_OPENED.findall(text)),
            "resolved": len(_RESOLVED.findall(text)),
            "still_open": 0,
        }

    def rolled_back(self, deployment: str) -> int:
        """Return how often the hook of `deployment` really rolled back."""
        return self._rollbacks[deployment].count

    def _texts(self, channel: str) -> list[str]:
        config, fake = self._configs[channel], self._fakes.get(channel)
        if isinstance(config, ConsoleConfig):
            blocks = self._console.getvalue().split("\n--- ")
            return [block for block in blocks if block.startswith(f"{channel} ---")]
        if isinstance(config, EmailConfig):
            return [str(mail["Subject"]) for mail in self._mail[config.host].messages]
        if isinstance(fake, SlackFake):
            return [str(message.payload.get("text", "")) for message in fake.messages]
        if isinstance(fake, WebhookFake):
            return [str(each.document["data"]["title"]) for each in fake.received]
        msg = f"channel {channel} cannot be read"
        raise UnplayableError(msg)

    def _add_channel(self, name: str, config: ChannelConfig) -> None:
        match config:
            case ConsoleConfig():
                return
            case EmailConfig():
                self._mail.setdefault(config.host, MailFake())
                return
            case SlackConfig():
                url = urlsplit(config.url.reveal())
                fake: Receiver = SlackFake(path=url.path)
            case WebhookConfig():
                url = urlsplit(config.url.reveal())
                secrets = [secret.reveal() for secret in config.secrets]
                fake = WebhookFake(*secrets, path=url.path)
            case PagerDutyConfig():
                url = urlsplit(config.base_url or PAGERDUTY)
                keys = [config.routing_key, *config.previous_routing_keys]
                fake = PagerDutyFake({key.reveal() for key in keys})
            case _:
                msg = f"channel {name}: no fake for kind {config.kind}"
                raise UnplayableError(msg)
        self._fakes[name] = fake
        self._serve(url.hostname, fake)

    def _add_hook(self, plan: DeploymentPlan, hook: HookConfig, world: World) -> None:
        name = plan.deployment.name
        hosts = {urlsplit(bound.url).hostname or "" for bound in plan.probes} & set(world.targets)
        versions = {host: world.targets[host].version for host in hosts}
        act = Rollbacks(world, tuple(sorted(hosts)), versions=versions)
        self._rollbacks[name] = act
        self._serve(*_hook_fake(hook, act))

    def _serve(self, host: str | None, fake: Provider) -> None:
        if host is None or host in self.providers:
            msg = f"two receivers at {host}: give each its own host name in a story"
            raise UnplayableError(msg)
        self.providers[host] = fake


def _hook_fake(
    hook: HookConfig, act: Callable[[Mapping[str, Any]], None]
) -> tuple[str | None, Provider]:
    match hook:
        case WebhookHookConfig():
            url = urlsplit(hook.url)
            secrets = [secret.reveal() for secret in hook.secrets]
            return url.hostname, HookFake(*secrets, path=url.path, on_rollback=act, work_s=10)
        case GithubHookConfig():
            fake = GitHubFake(
                hook.repository,
                hook.token.reveal(),
                hook.workflow,
                hook.ref,
                inputs=tuple(hook.inputs),
                title_input=next(
                    (name for name, text in hook.inputs.items() if "{id}" in text), None
                ),
                on_rollback=act,
            )
            return urlsplit(hook.api_url).hostname, fake
        case _:
            msg = f"no fake for hooks of kind {hook.kind}"
            raise UnplayableError(msg)
