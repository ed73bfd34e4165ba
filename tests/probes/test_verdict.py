"""What a failure makes of a sample, and what may be shown of a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.model import Outcome, Sample
from monitor.probes.failure import ProbeError
from monitor.probes.reason import Reason
from monitor.probes.verdict import DETAIL_MAX, failed, to_detail

MEASURED = Sample(
    target="a", at=1.0, outcome=Outcome.GOOD, latency_s=0.2, values=(("x", 1.0),), status=200
)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason(reason: Reason) -> None:
    """The outcome is the reason's; latency stays with an answer, is censored by a deadline."""
    sample = failed(MEASURED, ProbeError(reason, "why"), 5.0)
    assert (sample.outcome, sample.reason, sample.detail) == (reason.outcome, reason.value, "why")
    assert sample.outcome is not Outcome.GOOD
    assert (sample.values, sample.status) == (MEASURED.values, 200)
    expected = 0.2 if reason.is_answer else 5.0 if reason.is_timeout else None
    assert (sample.latency_s, sample.censored) == (expected, reason.is_timeout)
    assert not (reason.is_answer and reason.is_timeout)


@given(st.text(max_size=300))
def test_details_are_short_and_printable(text: str) -> None:
    """Whatever a target puts into a text, people get one printable line of at most 200."""
    detail = to_detail(text)
    assert len(detail) <= DETAIL_MAX
    assert detail.isprintable()
    if text.isprintable() and len(text) <= DETAIL_MAX:
        assert detail == text
