"""How the application is served: deadlines and caps on connections."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import cast

from aiohttp import web
from aiohttp.http import HttpProcessingError

HEAD_DEADLINE_S = 15.0
"""From the opening of a connection, or its latest answer, to a whole request head."""
LINGER_S = 1.0
"""How long an unread body is drained after its request was refused."""
SHUTDOWN_S = 2.0
MAX_CONNECTIONS = 256


def make_runner(app: web.Application, *, head_deadline_s: float = HEAD_DEADLINE_S) -> web.AppRunner:
    """Return the runner of `app`; listen with `CappedSite` once it is set up."""
    logger = logging.getLogger(__name__)
    logger.addFilter(_is_ours)
    return web.AppRunner(
        app,
        handle_signals=False,
        access_log=None,
        logger=logger,
        keepalive_timeout=head_deadline_s,
        lingering_time=LINGER_S,
        shutdown_timeout=SHUTDOWN_S,
        # A small compressed body may be a large one: nobody needs to send such.
        auto_decompress=False,
    )


def _is_ours(record: logging.LogRecord) -> bool:
    """Keep what is a mistake of ours; a traceback for each malformed request would be a gift."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


class CappedSite(web.BaseSite):
    """Listens on a TCP address; closes connections beyond the cap at once."""

    __slots__ = ("_cap", "_host", "_port")

    def __init__(
        self,
        runner: web.AppRunner,
        host: str,
        port: int,
        *,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        """Listen on `host`:`port` after `start`; port 0 takes a free one, see `port`."""
        super().__init__(runner, ssl_context=ssl_context)
        self._host = host
        self._port = port
        self._cap = max_connections

    @property
    def port(self) -> int:
        """The port that is listened on."""
        if self._server is not None:
            sockets = cast("asyncio.Server", self._server).sockets
            return int(sockets[0].getsockname()[1])
        return self._port

    @property
    def name(self) -> str:
        """The address, for people."""
        scheme = "https" if self._ssl_context else "http"
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{scheme}://{host}:{self.port}"

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be used.
        """
        await super().start()
        server = self._runner.server
        if server is None:
            msg = "set the runner up first"
            raise RuntimeError(msg)

        def connection() -> asyncio.Protocol:
            return server() if len(server.connections) < self._cap else _Refused()

        self._server = await asyncio.get_running_loop().create_server(
            connection, self._host, self._port, ssl=self._ssl_context, backlog=self._backlog
        )


class _Refused(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it without a word."""
        transport.close()
