"""The `expiry` kind: days before and after a date, wherever the date comes from."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.model import Outcome, Sample
from monitor.probes.base import ProbeIO
from monitor.probes.expiry import DAY_S, ExpiryProbeConfig
from tests.probes.kinds import build, load, load_example
from tests.probes.raw_server import loop_connect, no_names
from tests.support import virtual

Run = Callable[..., Any]
PLAN = {"last_rotated": "2025-12-01", "every": "90d", "notice": "14d"}
"""The plan's 6.2: rotated every 90 days, notice 14 days before."""


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def look(at: float, io: ProbeIO | None = None, **fields: Any) -> Sample:
    return virtual.run(build(ExpiryProbeConfig, io=io, **fields)(at, 5.0))


@pytest.mark.parametrize(
    ("fields", "at", "reason", "days_left"),
    [
        (PLAN, "2025-12-01 00:00", "", 90),
        (PLAN, "2026-02-14 23:59:59", "", 14 + 1 / DAY_S),
        (PLAN, "2026-02-15 00:00", "expiring", 14),
        (PLAN, "2026-02-28 23:59:59", "expiring", 1 / DAY_S),
        (PLAN, "2026-03-01 00:00", "expired", 0),
        (PLAN, "2026-03-03 12:00", "expired", -2.5),
        ({"expires": "2026-03-01"}, "2026-02-14 23:59", "", 14 + 60 / DAY_S),
        ({"expires": "2026-03-01"}, "2026-02-15 00:00", "expiring", 14),
        ({"expires": "2026-03-01", "notice": "0s"}, "2026-02-28 23:59:59", "", 1 / DAY_S),
        ({"expires": "2026-03-01", "notice": "0s"}, "2026-03-01 00:00", "expired", 0),
        (
            {"expires": "2026-03-01", "notice": "0s", "timezone": "Europe/Berlin"},
            "2026-02-28 23:00",
            "expired",
            0,
        ),
        (
            {"expires": "2026-03-01T12:00:00Z", "notice": "1h"},
            "2026-03-01 11:00",
            "expiring",
            1 / 24,
        ),
    ],
)
def test_days(fields: dict[str, Any], at: str, reason: str, days_left: float) -> None:
    """GOOD before the notice, `expiring` within it, `expired` from the moment itself."""
    sample = look(utc(at), **fields)
    assert sample.reason == reason
    assert sample.outcome is (Outcome.BAD if reason else Outcome.GOOD)
    assert dict(sample.values) == {"days_left": pytest.approx(days_left)}
    assert (sample.latency_s, sample.censored) == (None, False)
    assert bool(sample.detail) is bool(reason)


def test_details() -> None:
    """They say when, and how far away that is."""
    assert look(utc("2026-02-20 12:00"), **PLAN).detail == (
        "expires at 2026-03-01 00:00:00Z, in 8.5 days"
    )
    assert look(utc("2026-02-28 22:30"), **PLAN).detail.endswith("in 1h30m")
    assert look(utc("2026-03-11 00:00"), **PLAN).detail == (
        "expired at 2026-03-01 00:00:00Z, 10.0 days ago"
    )


def test_a_real_file(run: Run, tmp_path: Path) -> None:
    """Its last change counts, anew in every run; without the file nothing is known."""
    key = tmp_path / "api.key"
    key.write_text("secret")
    os.utime(key, (0, utc("2025-12-01 00:00")))
    fields = {"file": str(key), "every": "90d"}

    async def story() -> list[Sample]:
        probe = build(ExpiryProbeConfig, **fields)
        samples = [await probe(utc("2026-03-01 00:00"), 5.0)]
        os.utime(key, (0, utc("2026-02-28 00:00")))
        samples.append(await probe(utc("2026-03-01 00:00"), 5.0))
        key.unlink()
        return [*samples, await probe(utc("2026-03-01 00:00"), 5.0)]

    old, rotated, gone = run(story())
    assert [each.reason for each in (old, rotated, gone)] == ["expired", "", "prober_error"]
    assert gone.outcome is Outcome.UNKNOWN
    assert gone.detail == f"cannot look at {key}: No such file or directory"[:200]
    assert gone.values == ()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(13, "Permission denied"), "prober_error"),
        (OSError(24, "Too many open files"), "local_resource"),
    ],
)
def test_a_file_that_cannot_be_looked_at(error: OSError, reason: str) -> None:
    """That is our own failure."""

    async def refuse(path: str) -> float:
        raise error

    io = ProbeIO(connect=loop_connect, resolve=no_names, modified_at=refuse)
    sample = look(0.0, io, file="/x", every="1d")
    assert (sample.outcome, sample.reason) == (Outcome.UNKNOWN, reason)


def test_a_disk_that_hangs() -> None:
    """The deadline holds, and the silence of a disk is not the secret's age."""

    async def hang(path: str) -> float:
        await asyncio.sleep(3600)
        return 0.0

    io = ProbeIO(connect=loop_connect, resolve=no_names, modified_at=hang)
    sample = look(0.0, io, file="/x", every="1d")
    assert (sample.outcome, sample.reason) == (Outcome.UNKNOWN, "prober_error")
    assert "did not answer within 5 s" in sample.detail


@given(st.floats(-1e11, 1e11), st.sampled_from(["0s", "14d", "5w"]))
def test_it_gets_worse_only(at: float, notice: str) -> None:
    """At any time there is a verdict, and a later one is never better."""
    rank = ["", "expiring", "expired"]
    fields = {"expires": "2026-03-01", "notice": notice}
    assert rank.index(look(at, **fields).reason) <= rank.index(look(at + 1e6, **fields).reason)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "expected one of expires, last_rotated, file"),
        ({"expires": "2026-03-01", "file": "/x"}, "expected one of"),
        ({"expires": "2026-03-01", "every": "90d"}, "not with expires"),
        ({"last_rotated": "2026-03-01"}, "expected every together with"),
        ({"file": "/x"}, "expected every together with"),
        ({"expires": "next week"}, "expected a date such as"),
        ({"last_rotated": "2026-03-01", "every": "0s"}, "every"),
        ({"expires": "2026-03-01", "timezone": "CEST/x"}, "expected a time zone"),
    ],
)
def test_bad_fields_are_named(fields: dict[str, Any], problem: str) -> None:
    """An error says which field, or which fields do not go together."""
    with pytest.raises(ValidationError) as caught:
        load(ExpiryProbeConfig, **fields)
    assert problem in str(caught.value)


def test_the_example_loads() -> None:
    """The example of the documentation is the plan's rotation, with its date unquoted."""
    config = load_example(ExpiryProbeConfig)
    assert (config.last_rotated, config.every_s, config.notice_s) == (
        "2025-12-01",
        90 * DAY_S,
        14 * DAY_S,
    )
