"""The strict fakes that a plan's channels and hooks talk to in a scenario, and what they took in.

Owns which fake stands for which kind. A kind without a fake (a local command) cannot be played.
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any, TypeVar
from urllib.parse import urlsplit

from monitor.config.plan import DeploymentPlan, Plan
from monitor.model import SendReason
from monitor.notify.alertmanager import AlertmanagerConfig
from monitor.notify.base import ChannelConfig
from monitor.notify.console import ConsoleConfig
from monitor.notify.email import EmailConfig
from monitor.notify.pagerduty import PagerDutyConfig
from monitor.notify.slack import SlackConfig
from monitor.notify.slack_bot import SlackBotConfig
from monitor.notify.webhook import WebhookConfig
from monitor.rollback.base import HookConfig
from monitor.rollback.github import GithubHookConfig
from monitor.rollback.webhook import WebhookHookConfig
from monitor.scenario.alertmanager import AlertmanagerFake
from monitor.scenario.github import GitHubFake
from monitor.scenario.heard import (
    Heard,
    heard_by_alertmanager,
    heard_by_pagerduty,
    heard_in,
    heard_in_document,
)
from monitor.scenario.hook import HookFake
from monitor.scenario.pagerduty import PagerDutyFake
from monitor.scenario.provider import Provider
from monitor.scenario.receiver import Receiver, WebhookFake
from monitor.scenario.sink import SinkFake
from monitor.scenario.slack import SlackFake
from monitor.scenario.slack_api import SlackApiFake
from monitor.scenario.story import Step
from monitor.scenario.world import MailFake, World

T = TypeVar("T")
PAGERDUTY = "https://events.pagerduty.com"


class UnplayableError(ValueError):
    """The configuration uses something that no story can play."""


@dataclass(slots=True)
class Rollbacks:
    """Counts a deployment's rollbacks and puts the earlier release back on its servers."""

    world: World
    hosts: tuple[str, ...]
    versions: dict[str, str] = field(default_factory=dict)
    """Host -> the release that was there when the story began."""
    undone: list[str] = field(default_factory=list)
    """The releases that were rolled back, in order."""

    def __call__(self, document: Mapping[str, Any]) -> None:
        """Carry one out."""
        self.undone.append(", ".join(sorted({self.world.targets[h].version for h in self.hosts})))
        for host in self.hosts:
            self.world.targets[host].version = document.get("to_revision") or self.versions[host]


class Receivers:
    """Everybody who can be told or asked something by the daemon of a story."""

    def __init__(self, world: World, console: io.StringIO) -> None:
        """Start with nobody; `add` lets in those of a plan."""
        self.providers: dict[str, Provider] = {}
        self._world = world
        self._console = console
        self._mail: dict[str, MailFake] = {}
        self._fakes: dict[str, Receiver] = {}
        self._configs: dict[str, ChannelConfig] = {}
        self._hooks: dict[str, Receiver] = {}
        self._hook_configs: dict[str, HookConfig] = {}
        self._rollbacks: dict[str, Rollbacks] = {}
        self.sink: SinkFake | None = None
        """Who hears the dead man's beat; None: nobody."""

    def add(self, plan: Plan) -> None:
        """Make one fake for each channel and hook of `plan` that is new.

        Raises:
            UnplayableError: a kind has no fake, or two share one address.
        """
        for name, config in plan.channels.items():
            if _is_new(name, config, self._configs, "channel"):
                self._add_channel(name, config)
        if plan.deadman is not None and plan.deadman.url is not None and self.sink is None:
            url = urlsplit(plan.deadman.url.reveal())
            self.sink = SinkFake(url.path, period_s=plan.deadman.interval_s)
            self._serve(url.hostname, self.sink)
        for each in plan.deployments:
            name = each.deployment.name
            if each.rollback is None:
                continue
            if _is_new(name, each.rollback.hook, self._hook_configs, "the hook of"):
                self._add_hook(each, each.rollback.hook)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of all channels that were ever configured."""
        return tuple(self._configs)

    @property
    def hooks(self) -> tuple[str, ...]:
        """Deployments that ever had a hook."""
        return tuple(self._hooks)

    async def send_mail(self, message: Any, **options: Any) -> tuple[dict[str, Any], str]:
        """Stand in for `aiosmtplib.send`, with one fake for each mail server."""
        return await self._mail[options["hostname"]].send(message, **options)

    def can_only_die(self, channel: str) -> bool:
        """Whether the receiver of `channel` knows `alive` and no other manner."""
        return channel not in self._fakes

    def act(self, step: Step) -> None:
        """Let the receiver that `step` names act as it says."""
        config = self._configs.get(step.channel or "")
        if isinstance(config, EmailConfig):
            self._mail[config.host].dead = step.alive is False
            return
        fake = self._hooks[step.hook] if step.hook else self._fakes[step.channel or ""]
        if step.alive:
            fake.recover()
        elif step.alive is not None:
            fake.dead = True
        if step.hang_s is not None:
            fake.hang_s = step.hang_s
        if step.lose_answers is not None:
            fake.lose_next(step.lose_answers)
        if step.refuse is not None:
            fake.fail_next(step.refuse.status, step.refuse.times, step.refuse.retry_after_s)
        if step.failing is not None and isinstance(fake, HookFake):
            fake.failing = step.failing
        if step.failing is not None and isinstance(fake, GitHubFake):
            fake.conclusion = "failure" if step.failing else "success"

    def told(self, channel: str) -> dict[str, int]:
        """Return how many opens and resolves the receiver of `channel` took in."""
        fake = self._fakes.get(channel)
        if isinstance(fake, PagerDutyFake):
            count, still = len(fake.incidents), len(fake.open_incidents)
            return {"opened": count, "resolved": count - still, "still_open": still}
        if isinstance(fake, AlertmanagerFake):
            count = len(fake.episodes)
            still = sum(each.resolved_at is None for each in fake.episodes)
            return {"opened": count, "resolved": count - still, "still_open": still}
        heard = self.heard(channel)
        return {
            "opened": sum(each.reason is SendReason.FIRST for each in heard),
            "resolved": sum(each.reason is SendReason.RESOLVED for each in heard),
            "still_open": 0,
        }

    def heard(self, channel: str) -> list[Heard]:
        """Return what the receiver of `channel` took in, oldest first."""
        config, fake = self._configs[channel], self._fakes.get(channel)
        if isinstance(fake, PagerDutyFake):
            return heard_by_pagerduty(fake)
        if isinstance(fake, AlertmanagerFake):
            return heard_by_alertmanager(fake)
        if isinstance(config, ConsoleConfig):
            blocks = self._console.getvalue().split("\n--- ")
            texts = [block for block in blocks if block.startswith(f"{channel} ---")]
        elif isinstance(config, EmailConfig):
            texts = [_mail_text(mail) for mail in self._mail[config.host].messages]
        elif isinstance(fake, SlackFake | SlackApiFake):
            texts = [message.text for message in fake.messages]
        elif isinstance(fake, WebhookFake):
            return [heard_in_document(each.document) for each in fake.received]
        else:
            msg = f"channel {channel} cannot be read"
            raise UnplayableError(msg)
        return [heard_in(text) for text in texts]

    def rolled_back(self, deployment: str) -> list[str]:
        """Return the releases that the hook of `deployment` really rolled back, in order."""
        return list(self._rollbacks[deployment].undone)

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
            case SlackBotConfig():
                url = urlsplit(config.base_url)
                fake = SlackApiFake(config.token.reveal(), {config.channel})
            case WebhookConfig():
                url = urlsplit(config.url.reveal())
                secrets = [secret.reveal() for secret in config.secrets]
                fake = WebhookFake(*secrets, path=url.path)
            case AlertmanagerConfig():
                url = urlsplit(config.url.reveal())
                fake = AlertmanagerFake(
                    path=config.endpoint().target.decode("ascii"),
                    authorization=_authorization(config),
                )
            case PagerDutyConfig():
                url = urlsplit(config.base_url or PAGERDUTY)
                keys = [config.routing_key, *config.previous_routing_keys]
                fake = PagerDutyFake({key.reveal() for key in keys})
            case _:
                msg = f"channel {name}: no fake for kind {config.kind}"
                raise UnplayableError(msg)
        self._fakes[name] = fake
        self._serve(url.hostname, fake)

    def _add_hook(self, plan: DeploymentPlan, hook: HookConfig) -> None:
        name, targets = plan.deployment.name, self._world.targets
        hosts = {urlsplit(bound.url).hostname or "" for bound in plan.probes} & set(targets)
        versions = {host: targets[host].version for host in hosts}
        act = Rollbacks(self._world, tuple(sorted(hosts)), versions=versions)
        host, fake = _hook_fake(hook, act)
        self._rollbacks[name], self._hooks[name] = act, fake
        self._serve(host, fake)

    def _serve(self, host: str | None, fake: Provider) -> None:
        if host is None or host in self.providers:
            msg = f"two receivers at {host}: give each its own host name in a story"
            raise UnplayableError(msg)
        self.providers[host] = fake


def _is_new(name: str, config: T, known: dict[str, T], what: str) -> bool:
    if name in known and known[name] != config:
        msg = f"{what} {name} changes within the story: give the second one another name"
        raise UnplayableError(msg)
    is_new = name not in known
    known[name] = config
    return is_new


def _authorization(config: AlertmanagerConfig) -> str | None:
    if config.token is not None:
        return f"Bearer {config.token.reveal()}"
    user = config.endpoint().auth
    return user and f"Basic {b64encode(':'.join(user).encode()).decode()}"


def _mail_text(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    return f"{mail['Subject']}\n{body.get_content() if body else ''}"


def _hook_fake(
    hook: HookConfig, act: Callable[[Mapping[str, Any]], None]
) -> tuple[str | None, Receiver]:
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
