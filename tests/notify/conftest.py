"""The outside world that notifiers under test are given: real clients on loopback."""

from __future__ import annotations

import io
import ssl
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import aiosmtplib
import httpx2
import pytest
import trustme

from monitor.notify.base import NotifyIO


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A private certificate authority."""
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """TLS of a server at 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    """TLS of a client that trusts only the private authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """Two threads, gone after the test."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
async def notify_io(
    executor: ThreadPoolExecutor, client_tls: ssl.SSLContext
) -> AsyncIterator[NotifyIO]:
    """Real clients; both trust the private authority only."""
    transport = httpx2.HTTPTransport(verify=client_tls)
    async with httpx2.AsyncClient(verify=client_tls, trust_env=False) as http:
        yield NotifyIO(
            http=http,
            sync_transport=transport,
            executor=executor,
            smtp_send=aiosmtplib.send,
            console=io.StringIO(),
        )
    transport.close()
