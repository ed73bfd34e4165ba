"""The two-minute demo of `make run`: a shop with faults to switch on, and the daemon beside it.

Everything listens on 127.0.0.1 and keeps its files in `.demo/`. Ctrl-C ends both.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from receiver import Receiver

HOST, SHOP_PORT, MONITOR_PORT = "127.0.0.1", 9912, 9911
ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".demo"
GOOD, BAD = "1.4.2", "1.5.0"


@dataclass(slots=True)
class Shop:
    """One environment's running release and the faults of release 1.5.0."""

    version: str = GOOD
    slow: bool = False
    down: bool = False
    requests: int = 0


class Demo:
    """The shop's web server, its switches and its rollback hook."""

    def __init__(self, hook_secret: str) -> None:
        """Start with the good release everywhere."""
        self.shops = {name: Shop() for name in ("staging", "canary", "production")}
        self._receiver = Receiver([hook_secret], self._roll_back)

    def app(self) -> web.Application:
        """Return the web application."""
        app = web.Application()
        app.router.add_post("/demo/{switch}", self._switch)
        app.add_subapp("/hooks/", self._receiver.app())
        app.router.add_get("/{shop}", self._page)
        app.router.add_get("/{shop}/{path:.*}", self._page)
        return app

    async def _roll_back(self, request: dict[str, str]) -> str:
        """What the team's own rollback would do: put the earlier release back."""
        self.shops["production"] = Shop(version=request["to_revision"] or GOOD)
        print(f"\n  [shop] rolled back to {self.shops['production'].version} by the signed hook\n")
        return f"production runs {self.shops['production'].version}"

    async def _switch(self, request: web.Request) -> web.Response:
        switch = request.match_info["switch"]
        changed = {
            "break": Shop(version=BAD),
            "slow": Shop(slow=True),
            "down": Shop(down=True),
            "fix": Shop(),
        }.get(switch)
        if changed is None:
            raise web.HTTPNotFound(text="switches: break, slow, down, fix\n")
        self.shops["production"] = changed
        print(f"\n  [shop] production: {switch}\n")
        return web.Response(text=f"production: {switch}\n")

    async def _page(self, request: web.Request) -> web.Response:
        shop = self.shops.get(request.match_info["shop"])
        if shop is None:
            raise web.HTTPNotFound
        path = request.match_info.get("path", "")
        if path == "version.json":
            return web.json_response({"version": shop.version})
        if shop.down:
            raise web.HTTPServiceUnavailable
        if shop.slow:
            await asyncio.sleep(0.7)
        shop.requests += 1
        if shop.version == BAD and shop.requests % 2:
            raise web.HTTPInternalServerError
        if path == "api/health":
            return web.json_response({"status": "healthy", "version": shop.version})
        if path in {"", "assets/index.js"}:
            return web.Response(text="shop\n")
        raise web.HTTPNotFound


def guide() -> str:
    """Return what a newcomer is told."""
    return f"""
  slo-monitor demo: a shop in three environments, watched by the daemon beside it.

    live page   http://{HOST}:{MONITOR_PORT}/
    metrics     http://{HOST}:{MONITOR_PORT}/metrics

  Break production (a bad release: every second request fails), in another terminal:

    curl -X POST http://{HOST}:{SHOP_PORT}/demo/break

  Within seconds a page arrives here, then the hook rolls the release back, and about a minute
  later "resolved" arrives. Others to try: /demo/slow /demo/down /demo/fix. Ctrl-C ends the demo.
"""


def port_is_free(port: int) -> bool:
    """Say whether we can listen on `port`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex((HOST, port)) != 0


async def main() -> int:
    """Run shop and daemon until either ends or a signal comes."""
    for port in (SHOP_PORT, MONITOR_PORT):
        if not port_is_free(port):
            print(f"port {port} on {HOST} is in use: is another demo running?", file=sys.stderr)
            return 2
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir()
    hook_secret = secrets.token_urlsafe(24)
    environment = os.environ | {
        "DEMO_HOOK_SECRET": hook_secret,
        "DEMO_TOKEN": secrets.token_urlsafe(24),
    }
    runner = web.AppRunner(Demo(hook_secret).app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, SHOP_PORT).start()
    with (HOME / "monitor.log").open("wb") as log:
        daemon = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "monitor", "run", "--config", "examples/demo/monitor.yml",
            cwd=ROOT, env=environment, stderr=log,
        )  # fmt: skip
    print(guide(), flush=True)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, daemon.terminate)
    code = await daemon.wait()
    await runner.cleanup()
    if code:
        print(
            f"the daemon ended with code {code}; its log: {HOME / 'monitor.log'}", file=sys.stderr
        )
    return code


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
