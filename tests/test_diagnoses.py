"""Which part is to blame, from what a probe and the look after it found."""

from __future__ import annotations

import pytest

from monitor.diagnoses import Look, Tried, judge
from monitor.model import Cause, Outcome, Sample

A, B = "192.0.2.1", "192.0.2.2"
REFUSED = Tried(A, 0.001, "connect_refused", f"{A}:443 refused the connection")
HANGS = Tried(A, 2.0, "timeout", "nothing within 2 s")
WELL = Tried(A, 0.003)
NAME = Tried("shop.test", 0.002)


def look(*connections: Tried, lookup: Tried = NAME, handshake: Tried | None = None) -> Look:
    return Look(host="shop.test", lookup=lookup, connections=connections, handshake=handshake)


@pytest.mark.parametrize(
    ("reason", "found", "cause", "words"),
    [
        ("dns", look(lookup=Tried("shop.test", 0.1, "dns", "no such name")), "dns",
         "shop.test cannot be looked up: no such name"),
        ("resolver", look(WELL), "dns", f"could not be looked up a moment ago, and now is {A}"),
        ("connect_refused", look(REFUSED), "app", "the host is there, the service is not"),
        ("connect_timeout", look(HANGS), "route", f"no connection to {A}: nothing within 2 s"),
        ("connect_timeout", look(HANGS, REFUSED), "route", f"no connection to {A}"),
        ("connect_timeout", look(HANGS, Tried(B, 0.01)), "route",
         f"1 of 2 addresses cannot be connected to: {A}; {B} can"),
        ("connect_timeout", look(WELL), "route", "in 3 ms now, but did not a moment ago"),
        ("tls_protocol", look(WELL, handshake=Tried(A, 0.1, "tls_protocol", "it speaks no TLS")),
         "tls", f"{A} accepts connections, but it speaks no TLS"),
        ("tls_timeout", look(WELL, handshake=Tried(A, 2, "timeout", "nothing within 2 s")),
         "tls", "accepts connections, but nothing within 2 s"),
        ("tls_timeout", look(WELL, handshake=Tried(A, 0.02)), "route",
         "and TLS in 20 ms now, but did not a moment ago"),
        ("tls_expired", look(WELL, handshake=Tried(A, 0.02)), "tls", "but what the probe said"),
        ("timeout_headers", look(WELL), "slow", "but its answers are slow"),
        ("slow", look(WELL, handshake=Tried(A, 0.02)), "slow", "and TLS in 20 ms, but its answers"),
        ("status", look(WELL), "app", "in 3 ms, so the application itself answers wrongly"),
        ("reset", look(WELL), "app", "the application itself"),
        ("status", look(WELL, Tried(B, 2, "connect_unreachable", "no route")), "app",
         f"{A} accepts connections in 3 ms ({B} does not), so the application itself"),
        ("slow", look(WELL, Tried(B, 2, "connect_unreachable", "no route")), "slow",
         f"({B} does not), but its answers are slow"),
    ],
)  # fmt: skip
def test_what_is_to_blame(reason: str, found: Look, cause: str, words: str) -> None:
    """The first part of the way that does not work, or the application when all of it does."""
    sample = Sample(
        target="t", at=0.0, outcome=Outcome.BAD, reason=reason, detail="what the probe said"
    )
    judged = judge(sample, found)
    assert judged is not None
    assert judged[0] is Cause(cause)
    assert words in judged[1]


@pytest.mark.parametrize("failure", ["resolver", "timeout", "address_denied", ""])
def test_what_may_be_our_own_doing_blames_nobody(failure: str) -> None:
    """A resolver of ours that fails and an address that we may not ask say nothing of it."""
    sample = Sample(target="t", at=0.0, outcome=Outcome.BAD, reason="status")
    found = look(lookup=Tried("shop.test", 2, failure, "because"))
    assert judge(sample, found) is None
