"""The mapping of foreign errors to reasons."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from monitor.model import Outcome
from monitor.probes.failure import connect_failure, lost_failure, resolve_failure
from monitor.probes.reason import Reason


@pytest.mark.parametrize(
    ("error", "reason", "outcome"),
    [
        (socket.gaierror(socket.EAI_NONAME, "no"), Reason.DNS, Outcome.BAD),
        (socket.gaierror(socket.EAI_NODATA, "no"), Reason.DNS, Outcome.BAD),
        (socket.gaierror(socket.EAI_AGAIN, "no"), Reason.RESOLVER, Outcome.UNKNOWN),
        (socket.gaierror(socket.EAI_FAIL, "no"), Reason.RESOLVER, Outcome.UNKNOWN),
        (socket.gaierror(socket.EAI_SYSTEM, "no"), Reason.RESOLVER, Outcome.UNKNOWN),
        (OSError(errno.EMFILE, "no"), Reason.RESOLVER, Outcome.UNKNOWN),
        (TimeoutError(), Reason.RESOLVER, Outcome.UNKNOWN),
    ],
)
def test_resolve(error: OSError, reason: Reason, outcome: Outcome) -> None:
    """Only a name that certainly does not exist is the target's fault."""
    failure = resolve_failure(error, "shop.test")
    assert (failure.reason, failure.reason.outcome) == (reason, outcome)
    assert "shop.test" in failure.detail


@pytest.mark.parametrize(
    ("number", "reason", "outcome"),
    [
        (errno.ECONNREFUSED, Reason.CONNECT_REFUSED, Outcome.BAD),
        (errno.ETIMEDOUT, Reason.CONNECT_TIMEOUT, Outcome.BAD),
        (errno.EHOSTUNREACH, Reason.CONNECT_UNREACHABLE, Outcome.BAD),
        (errno.ENETUNREACH, Reason.CONNECT_UNREACHABLE, Outcome.BAD),
        (errno.ECONNRESET, Reason.RESET, Outcome.BAD),
        (errno.EMFILE, Reason.LOCAL_RESOURCE, Outcome.UNKNOWN),
        (errno.ENFILE, Reason.LOCAL_RESOURCE, Outcome.UNKNOWN),
        (errno.ENOBUFS, Reason.LOCAL_RESOURCE, Outcome.UNKNOWN),
        (errno.ENOMEM, Reason.LOCAL_RESOURCE, Outcome.UNKNOWN),
        (errno.EADDRNOTAVAIL, Reason.LOCAL_RESOURCE, Outcome.UNKNOWN),
        (errno.EPERM, Reason.PROBER_ERROR, Outcome.UNKNOWN),
    ],
)
def test_connect(number: int, reason: Reason, outcome: Outcome) -> None:
    """What we ran out of, and what we cannot explain, is never held against the target."""
    failure = connect_failure(OSError(number, os.strerror(number)), "192.0.2.1", 443)
    assert (failure.reason, failure.reason.outcome) == (reason, outcome)
    assert "192.0.2.1" in failure.detail


def test_an_error_without_number_is_ours() -> None:
    """An OSError that says nothing is no evidence against the target."""
    failure = connect_failure(OSError("strange"), "192.0.2.1", 443)
    assert failure.reason.outcome is Outcome.UNKNOWN


def test_a_lost_connection_is_a_reset() -> None:
    """Any loss of an established connection that is not TLS's is a reset."""
    assert lost_failure(BrokenPipeError(), "while testing").reason is Reason.RESET


def test_timeouts_and_answers_exclude_each_other() -> None:
    """A sample's latency is either measured or censored, and the target's in both cases."""
    for reason in Reason:
        assert not (reason.is_timeout and reason.is_answer)
        if reason.is_timeout or reason.is_answer:
            assert reason.outcome is Outcome.BAD
