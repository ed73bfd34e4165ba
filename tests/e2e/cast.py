"""Everybody around the real daemon in one story: the product, its team's channels, its hook."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from monitor.scenario.github import GitHubFake
from monitor.scenario.pagerduty import PagerDutyFake
from monitor.scenario.slack import SlackFake
from tests.support.daemon import Daemon
from tests.support.serve import serve
from tests.support.site import Site
from tests.support.smtp import PASSWORD, USERNAME, Mailbox, smtp_server

ROUTING_KEY = "0123456789abcdef0123456789abcdef"
SLACK_PATH = "/services/T000/B000/canarySlackToken"
TOKEN = "canary-github-token"
CAUTION = "may be a repetition"
RULES = {
    "alerts": [
        {
            "name": "high_error_rate",
            "condition": "error_rate_1m > 5 && health != 'healthy'",
            "severity": "critical",
            "channels": ["slack", "pagerduty", "email"],
            "keep_firing_for": "0s",
        }
    ]
}


@dataclass(slots=True, kw_only=True)
class Cast:
    """The real daemon and the strict fakes that it meets."""

    daemon: Daemon
    site: Site
    slack: SlackFake
    pagerduty: PagerDutyFake
    github: GitHubFake
    mailbox: Mailbox
    config: dict[str, Any]
    """What `write` writes; a test may change it first."""

    def write(self, *more_rules: dict[str, Any]) -> None:
        """Write the configuration as it is now, with `more_rules` behind the one of every story."""
        self.daemon.write(self.config, alerts={"alerts": [*RULES["alerts"], *more_rules]})

    def slack_texts(self, word: str) -> list[str]:
        """Return the Slack messages whose title says `word`."""
        return [m.text for m in self.slack.messages if f"] {word}: " in m.text]

    def mails(self, word: str) -> list[str]:
        """Return the text of the mails whose subject says `word`."""
        mails = [mail.message for mail in self.mailbox.mails]
        found = [mail for mail in mails if f"] {word}: " in str(mail["Subject"])]
        return [str(mail.get_body(("plain",)).get_content()) for mail in found]  # type: ignore[union-attr]

    def everybody_knows(self, word: str) -> bool:
        """Say whether Slack, mail and PagerDuty were told `word`."""
        resolved = [each for each in self.pagerduty.incidents if each.resolved_at is not None]
        paged = self.pagerduty.incidents if word == "FIRING" else resolved
        return bool(self.slack_texts(word) and self.mails(word) and paged)


@asynccontextmanager
async def cast(
    home: Path, *, hang_s: float = 0.0, heals_after_s: float = 0.0
) -> AsyncIterator[Cast]:
    """Start all servers and write the daemon's configuration; the daemon itself is not started.

    `hang_s` is how long providers take to answer, so that a kill finds calls under way;
    `heals_after_s` is how long a rollback takes to show.
    """
    authority = trustme.CA()
    (home / "providers.pem").write_bytes(authority.cert_pem.bytes())
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    site = Site()
    slack = SlackFake(path=SLACK_PATH)
    pagerduty = PagerDutyFake({ROUTING_KEY})

    def put_back(_inputs: Any) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(heals_after_s, setattr, site, "version", "1.4.2")

    github = GitHubFake("shop/web", TOKEN, on_rollback=put_back)
    github.queued_s, github.working_s = 0.5, 0.5 + heals_after_s
    for fake in (slack, pagerduty, github):
        fake.hang_s = hang_s
    async with AsyncExitStack() as stack:
        start = stack.enter_async_context
        site_url = await start(serve(site))
        slack_url = await start(serve(slack))
        pagerduty_url = await start(serve(pagerduty, ssl_context=tls))
        github_url = await start(serve(github))
        mailbox = await start(smtp_server(home))
        env = {
            "SSL_CERT_FILE": str(home / "providers.pem"),
            "SLACK_WEBHOOK": slack_url + SLACK_PATH,
            "PAGERDUTY_ROUTING_KEY": ROUTING_KEY,
            "GITHUB_TOKEN": TOKEN,
            "SMTP_PASSWORD": PASSWORD,
        }
        daemon = Daemon(home, env)
        story = Cast(
            daemon=daemon,
            site=site,
            slack=slack,
            pagerduty=pagerduty,
            github=github,
            mailbox=mailbox,
            config=_config(site_url, pagerduty_url, github_url, mailbox),
        )
        story.write()
        stack.push_async_callback(daemon.clean_up)
        yield story


def _config(site: str, pagerduty: str, github: str, mailbox: Mailbox) -> dict[str, Any]:
    return {
        "service": "shop",
        "environments": {"Production": {"url": site, "sla": "99.9% uptime"}},
        "sla": {"uptime": "99.9%", "response_time": {"p95": "< 2500ms"}, "error_rate": "< 0.1%"},
        "rules": "alerts.yml",
        "evaluation_interval": "200ms",
        "defaults": {"interval": "1s", "timeout": "800ms"},
        "deployments": [
            {
                "environment": "Production",
                "version": {"path": "/version.json", "json": "version"},
                "rollback": {
                    "on": ["high_error_rate"],
                    "min_samples": 1,
                    "hook": {
                        "kind": "github",
                        "repository": "shop/web",
                        "token": {"env": "GITHUB_TOKEN"},
                        "api_url": github,
                    },
                },
            }
        ],
        "channels": {
            "slack": {"kind": "slack", "url": {"env": "SLACK_WEBHOOK"}},
            "pagerduty": {
                "kind": "pagerduty",
                "routing_key": {"env": "PAGERDUTY_ROUTING_KEY"},
                "base_url": pagerduty,
            },
            "email": {
                "kind": "email",
                "host": mailbox.host,
                "port": mailbox.port,
                "ca_file": mailbox.ca_file,
                "from": "slo-monitor@shop.test",
                "to": ["oncall@shop.test"],
                "username": USERNAME,
                "password": {"env": "SMTP_PASSWORD"},
            },
        },
        "storage": {"path": "data", "flush_interval": "1s"},
        "shutdown_grace": "5s",
    }
