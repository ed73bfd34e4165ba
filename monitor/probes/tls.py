"""TLS as a client: contexts shared between targets that trust the same authorities, handshakes.

Owns what a probe accepts as a TLS peer. Opens no connection and has no deadline of its own.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Hashable

from monitor.probes.failure import tls_failure

_HANDSHAKE_S = 3600.0
"""Beyond any probe's deadline, which is the one that counts."""


async def shake_hands(
    transport: asyncio.WriteTransport,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    host: str,
) -> asyncio.Transport:
    """Return `transport` as it is once it speaks TLS for `protocol`, with a peer that is `host`.

    Raises:
        ProbeError: (tls_*, reset) when that fails.
    """
    try:
        secured = await asyncio.get_running_loop().start_tls(
            transport,
            protocol,
            context,
            server_hostname=host,
            ssl_handshake_timeout=_HANDSHAKE_S,
        )
    except OSError as error:
        raise tls_failure(error, host) from error
    if secured is None:
        raise tls_failure(ConnectionResetError(), host)
    return secured


class TlsContexts:
    """One context for each way to build one, because reading roots costs milliseconds."""

    def __init__(self) -> None:
        """Start without any context."""
        self._contexts: dict[Hashable, ssl.SSLContext] = {}

    def get(
        self,
        ca_file: str | None,
        *,
        insecure: bool,
        alpn: tuple[str, ...] = (),
        prepare: Callable[[ssl.SSLContext], None] | None = None,
    ) -> ssl.SSLContext:
        """Return the context that trusts `ca_file` (PEM), or the system's roots when it is None.

        `insecure` accepts any certificate for any name; `alpn` are the protocols to offer;
        `prepare` (hashable) changes what else there is to change.

        Raises:
            ValueError: when the file cannot be read or holds no certificate.
        """
        key = (ca_file, insecure, alpn, prepare)
        if key not in self._contexts:
            context = _build(ca_file, insecure=insecure)
            if alpn:
                context.set_alpn_protocols(alpn)
            if prepare is not None:
                prepare(context)
            self._contexts[key] = context
        return self._contexts[key]


def _build(ca_file: str | None, *, insecure: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        msg = f"ca_file: cannot load certificates from {ca_file}: {error.strerror or error}"
        raise ValueError(msg) from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def certificate_expiry(transport: asyncio.BaseTransport) -> float | None:
    """Return notAfter of the peer's leaf certificate in UTC seconds.

    None without TLS, and for an unverified peer, whose certificate Python does not take apart.
    """
    tls = transport.get_extra_info("ssl_object")
    if tls is None:
        return None
    not_after = (tls.getpeercert() or {}).get("notAfter")
    try:
        return None if not_after is None else float(ssl.cert_time_to_seconds(not_after))
    except ValueError:
        return None
