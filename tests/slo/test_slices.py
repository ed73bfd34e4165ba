"""What is stored of slices is what was judged."""

from __future__ import annotations

from fractions import Fraction

from monitor.model import Outcome
from monitor.slo.objective import Budgeting, Objective
from monitor.slo.slices import Slices

MINUTES = Objective(
    target=Fraction(99, 100),
    budgeting=Budgeting.TIMESLICES,
    slice_s=60,
    slice_target=Fraction(1, 2),
)


def restored(slices: Slices) -> Slices:
    again = Slices(MINUTES)
    again.add(600.0, Outcome.BAD, 3)
    list(again.judge(700.0, 0.0))
    again.load(slices.to_bytes())
    return again


def test_a_verdict_is_worth_storing() -> None:
    """What was counted before a restart is not counted once more after it."""
    slices = Slices(MINUTES)
    slices.add(0.0, Outcome.BAD, 1)
    slices.to_bytes()
    assert not slices.changed
    assert len(list(slices.judge(61.0, 0.0))) == 1
    assert slices.changed
    again = restored(slices)
    assert list(again.judge(62.0, 0.0)) == []


def test_what_is_loaded_replaces_what_was_known() -> None:
    """Verdicts of slices that the stored state does not know are gone with them."""
    slices = Slices(MINUTES)
    slices.add(0.0, Outcome.GOOD, 1)
    list(slices.judge(61.0, 0.0))
    again = restored(slices)
    again.add(600.0, Outcome.BAD, 1)
    assert len(list(again.judge(700.0, 0.0))) == 1
