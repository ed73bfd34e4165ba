"""The real daemon in a process of its own, for tests that kill it."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import yaml

START_S = 20.0
STOP_S = 20.0


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Daemon:
    """`monitor run` in `home`, where `write` puts its configuration."""

    def __init__(self, home: Path, env: Mapping[str, str]) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = dict(env)
        self._process: asyncio.subprocess.Process | None = None

    def write(self, config: Mapping[str, Any], **files: Any) -> None:
        """Write monitor.yml, listening on our port, and `name.yml` for each of `files`."""
        server = {"listen": f"127.0.0.1:{self.port}", **config.get("server", {})}
        whole = {"allowed_networks": ["127.0.0.0/8"], **config, "server": server}
        for name, content in {"monitor": whole, **files}.items():
            (self.home / f"{name}.yml").write_text(yaml.safe_dump(content))

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    async def spawn(self, output: int | None = None) -> None:
        """Start the process without waiting for it; `output` is a descriptor instead of a file."""
        with (self.home / "monitor.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "monitor",
                "run",
                "--config",
                str(self.home / "monitor.yml"),
                env=self.env,
                stdout=log if output is None else output,
                stderr=log if output is None else output,
            )

    async def start(self, output: int | None = None) -> None:
        """Start it and wait until it is ready."""
        await self.spawn(output)
        await self.wait_for("/readyz", lambda answer: answer.status_code == 200)

    async def wait_for(self, path: str, holds: Any, within_s: float = START_S) -> httpx2.Response:
        """Poll `path` until `holds(response)`; raise with the daemon's log otherwise."""
        async with httpx2.AsyncClient(base_url=self.url, trust_env=False, timeout=5) as client:
            try:
                async with asyncio.timeout(within_s):
                    while True:
                        answer = await _try(client, path)
                        if answer is not None and holds(answer):
                            return answer
                        if self._process is not None and self._process.returncode is not None:
                            break
                        await asyncio.sleep(0.05)
            except TimeoutError:
                pass
        msg = f"{path} never came true; the daemon's log:\n{self.log()[-4000:]}"
        raise AssertionError(msg)

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()

    async def ended(self) -> int:
        """Wait for its end and return the exit code."""
        assert self._process is not None
        async with asyncio.timeout(STOP_S):
            return await self._process.wait()

    async def clean_up(self) -> None:
        """End it in any case; a failed test leaves no process behind."""
        if self._process is not None and self._process.returncode is None:
            self.kill()
            await self.ended()

    async def stop(self) -> int:
        """SIGTERM, then wait."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await self.ended()

    def signal(self, number: int) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def log(self) -> str:
        """Everything it said."""
        return (self.home / "monitor.log").read_text()


async def _try(client: httpx2.AsyncClient, path: str) -> httpx2.Response | None:
    try:
        return await client.get(path)
    except httpx2.HTTPError:
        return None
